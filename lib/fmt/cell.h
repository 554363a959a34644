// SPDX-License-Identifier: MIT
// One value of a JSON record as the text of a table's cell, and which columns a kind of record has.
#pragma once
#include "json/codec.h"

struct column {
	const char *head;
	const char *path; // "usage.instance_counts.running"; "a/b": two values with a slash between
	unsigned flags;
};
enum column_flags { COLUMN_RIGHT = 1, COLUMN_WIDE = 2, COLUMN_STATUS = 4, COLUMN_SHORT = 8 };

// The columns of a list of records, NULL-terminated; NULL when they are of no kind that is known.
const struct column *columns_of(const struct codec_node *rows);
// The value at a dotted path; NULL when there is none.
const struct codec_node *cell_find(const struct codec_node *record, const char *path);
// Appends it: "-" for none and null, yes and no, lists with commas, objects as JSON. Control bytes
// are replaced.
void cell_value(const struct codec_node *v, struct buf *out);
void cell_print(const struct codec_node *record, const struct column *c, struct buf *out);
bool cell_is_plain(
	const struct codec_node *v); // no object, and no list with objects or lists in it
