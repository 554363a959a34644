// SPDX-License-Identifier: MIT
// Rows of lists and keys that are added to a printed record.
#pragma once
#include "state/store.h"
#include "json/codec.h"

void rows_next(struct buf *out);   // a comma, unless the array was just opened
void rows_reopen(struct buf *out); // takes the closing brace of a printed record off again
void rows_text(struct buf *out, const char *key, const char *value); // ,"key":"value"
void rows_lines(const char *lines, struct buf *out); // ["...", ...], one of each line
// The row of an object whose record does not decode: its ids, status "damaged", the error; and a
// warning in the log.
void rows_damaged(struct buf *out, const struct address *a, const struct err *why);
