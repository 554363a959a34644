// SPDX-License-Identifier: MIT
// Records as tables for people. The only module that includes libsmartcols.
#pragma once
#include "json/codec.h"

struct table_style {
	bool wide;
	bool colour;
	bool no_headers;
	const char *columns; // keys with commas between, in place of the usual columns; may be NULL
};

// A list becomes rows, an object lines of key and value with its lists as tables below; anything
// else stands alone.
int table_print(const struct codec_node *doc, const struct table_style *style, struct buf *out,
		struct err *e) MUST_CHECK;
