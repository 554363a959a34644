// SPDX-License-Identifier: MIT
// The addresses of a document's records, one a line: what xargs and loops take.
#pragma once
#include "json/codec.h"

int names_print(const struct codec_node *doc, struct buf *out, struct err *e) MUST_CHECK;
