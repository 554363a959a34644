// SPDX-License-Identifier: MIT
// What the files of the codec share; nobody else includes it, and nobody else includes cJSON.
#pragma once
#include "json/codec.h"
#include <cjson/cJSON.h>

#define CODEC_EXACT	 (((uint64_t)1 << 53) - 1) // the largest integer all JSON readers agree on
#define CODEC_STRING_MAX (64 * KIB)
#define CODEC_ITEMS_MAX	 4096

// Checked text as a tree. Every number node carries its spelling in valuestring, and no object in
// it has a key twice.
int codec_load(const char *text, size_t len, size_t max, cJSON **ret, struct err *e) MUST_CHECK;
void codec_unload(cJSON **root);
#define cleanup_json cleanup(codec_unload)

// Prepends a step of the path: "pools" before "[3]: ..." and "[3]: " before "id: missing".
int codec_at_key(struct err *e, const char *key);
int codec_at_index(struct err *e, size_t index);

// One row per kind: get decodes into the zeroed member, put appends its JSON.
struct codec_kind {
	int (*get)(const struct field *f, const cJSON *in, void *at, struct err *e);
	void (*put)(const struct field *f, const void *at, struct buf *out);
};
extern const struct codec_kind codec_kinds[];
int codec_get_uint(const struct field *f, const cJSON *in, void *at, struct err *e);
int codec_get_int(const struct field *f, const cJSON *in, void *at, struct err *e);
int codec_get_real(const struct field *f, const cJSON *in, void *at, struct err *e);
void codec_put_uint(const struct field *f, const void *at, struct buf *out);
void codec_put_int(const struct field *f, const void *at, struct buf *out);
void codec_put_real(const struct field *f, const void *at, struct buf *out);
bool codec_is_empty(const struct field *f, const void *at);
void codec_free_member(const struct field *f, void *at);
int codec_want_list(const struct field *f, const cJSON *in, struct err *e) MUST_CHECK;
int codec_get_items(const struct field *sub, size_t item_size, const cJSON *in,
		    struct codec_list *out, struct err *e) MUST_CHECK;
int codec_decode(const struct field *tab, const cJSON *in, void *out, struct err *e) MUST_CHECK;

// The limits of a field with its defaults put in.
uint64_t codec_max(const struct field *f);
int64_t codec_int_min(const struct field *f);
