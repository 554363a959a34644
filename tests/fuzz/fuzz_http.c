// SPDX-License-Identifier: MIT
// Bytes of a hostile API client, whole and in pieces whose sizes the first byte picks. Fed in other
// pieces, input that is not refused has to mean the same requests.
#include "fc/http_parse.h"

#include <assert.h>

#define BODY_MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool collect(const char *data, size_t len, size_t piece, struct buf *out)
{
	struct http_parse *p = http_parse_new(BODY_MAX);
	bool clean = true;

	for (size_t at = 0; at < len; at += piece) {
		http_parse_feed(p, data + at, MIN(piece, len - at));
		for (struct http_item *it; (it = http_parse_take(p));) {
			if (it->what == HTTP_ITEM_REFUSED) {
				assert(it->text && *it->text);
				clean = false;
			} else if (it->what == HTTP_ITEM_REQUEST) {
				assert(it->path[0] == '/' && it->body_len <= BODY_MAX);
				assert(!it->body == !it->body_len);
				buf_fmt(out, "%s %s %zu ", http_verb_name(it->verb), it->path,
					it->body_len);
				buf_add(out, it->body, it->body_len);
				buf_char(out, '\n');
			}
			http_item_free(it);
		}
	}
	http_parse_free(p);
	return clean;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = BUF_INIT, pieces = BUF_INIT;
	size_t piece;

	if (size < 2 || size > 8192)
		return 0;
	piece = 1 + data[0] % 64u;
	bool a = collect((const char *)data + 1, size - 1, size, &whole);
	bool b = collect((const char *)data + 1, size - 1, piece, &pieces);

	assert(a == b);
	if (a) {
		assert(whole.len == pieces.len);
		assert(whole.len == 0 || memcmp(whole.data, pieces.data, whole.len) == 0);
	}
	buf_free(&whole);
	buf_free(&pieces);
	return 0;
}
