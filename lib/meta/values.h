// SPDX-License-Identifier: MIT
// What a tenant, or whoever runs an instance for it, has to tell its guests: keys and texts in
// metadata.json beside tenant.json or instance.json. Bounded, so that a document of both always
// fits into one answer.
#pragma once
#include "state/store.h"

#define META_FILE	 "metadata.json"
#define META_KEYS	 256u
#define META_VALUE_BYTES 16384u
#define META_TOTAL_BYTES 65536u // of the object as compact JSON

struct meta_value {
	char key[64]; // [a-z0-9][a-z0-9._-]{0,62}
	char *text;
};
struct meta_values { // sorted by key
	struct meta_value *items;
	size_t len;
};
#define META_VALUES_NONE \
	{                \
		NULL, 0  \
	}
#define cleanup_values cleanup(meta_values_free)
void meta_values_free(struct meta_values *v);

int meta_key_check(const char *key, struct err *e) MUST_CHECK;
// *changed (may be NULL) becomes true when it was not so before; it is never set to false.
int meta_values_set(struct meta_values *v, const char *key, const char *text, bool *changed,
		    struct err *e) MUST_CHECK;
void meta_values_remove(struct meta_values *v, const char *key, bool *changed);
const char *meta_values_get(const struct meta_values *v, const char *key); // NULL: none
// Adds the keys of a JSON object of texts.
int meta_values_merge(struct meta_values *v, const char *json, size_t len, bool *changed,
		      struct err *e) MUST_CHECK;
void meta_values_print(const struct meta_values *v, struct buf *out);
int meta_values_check_total(const struct meta_values *v, struct err *e) MUST_CHECK;

// An absent file holds no keys; one that does not decode is damaged, never empty.
int meta_values_load(const struct store *s, struct meta_values *ret, struct err *e) MUST_CHECK;
int meta_values_save(const struct store *s, const struct meta_values *v, struct err *e) MUST_CHECK;
