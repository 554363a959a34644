// SPDX-License-Identifier: MIT
// JSON by field tables: one table per object drives decode, encode, validation, JSON Schema and
// its documentation. The only module that includes cJSON.
//
// Strict: unknown and repeated keys, trailing bytes, numbers out of range or not integers, leading
// zeros, raw control bytes, broken UTF-8, NUL, depth > 32 and size > the cap are refused, and the
// message starts with the path: "quotas: max_vcpus: 0 is outside 1..1024".
// Integers are exact to 2^53-1 both ways.
//
// A record is a plain struct of the caller's, zeroed before decode. Members are inline where they
// are bounded; KIND_STRING, KIND_LIST and KIND_RAW own heap memory: codec_free releases them.
#pragma once
#include "base/buf.h"
#include "base/err.h"

enum field_kind {
	KIND_TEXT,   // char[N], NUL-terminated
	KIND_STRING, // char *, NULL when absent; max = longest length
	KIND_BOOL,   // bool
	KIND_UINT,   // uint8_t..uint64_t by the member's size, min..max
	KIND_INT,    // int32_t or int64_t, imin..max
	KIND_REAL,   // double, finite
	KIND_ENUM,   // int (an enum) by names[]
	KIND_RECORD, // struct, by sub
	KIND_LIST,   // struct codec_list of structs, by sub and item_size; max = most items
	KIND_TEXTS,  // struct codec_list of char *, max = most items
	KIND_RAW,    // char *: any JSON value as text; max = longest text
};

struct codec_list {
	void *items; // array of len structs (KIND_LIST) or char * (KIND_TEXTS)
	size_t len;
};

enum field_flags {
	FIELD_REQUIRED = 1,
	// Encoded as null, and null accepted, when empty (TEXT "", STRING/RAW NULL, UINT 0, RECORD
	// with its first member empty). Implies that absent is accepted unless FIELD_REQUIRED.
	FIELD_NULLABLE = 2,
	FIELD_OMIT_EMPTY = 4, // left out of the text when empty (as above, also BOOL false, lists)
	// A figure (UINT, INT, REAL) that may not have been measured: empty is codec_unknown's
	// mark, so that a 0 is a 0. With FIELD_NULLABLE or FIELD_OMIT_EMPTY.
	FIELD_UNKNOWN = 8,
};

typedef int (*field_check)(const char *text, struct err *e);

struct field {
	const char *key; // NULL ends the table
	size_t at, size; // offset and size of the member
	enum field_kind kind;
	unsigned flags;
	uint64_t min, max; // numbers (max 0: what the member holds, at most 2^53-1);
			   // TEXT/STRING: bytes (max 0: the member's size - 1, 64 KiB);
			   // lists: items (max 0: 4096); RAW: bytes (max 0: 64 KiB)
	int64_t imin;
	const char *const *names; // KIND_ENUM, NULL-terminated
	const struct field *sub;  // KIND_RECORD, KIND_LIST
	size_t item_size;	  // KIND_LIST
	field_check check;	  // KIND_TEXT, KIND_STRING, each of KIND_TEXTS; not asked about ""
				  // in a field without flags, where it stands for "not set"
	const char *doc;
	const char *schema_pattern; // regular expression for the schema, where check has one
};
// Key, offset and size from the member; a member of another type does not compile.
#define FIELD_SLOT(type, member, ctype) FIELD_NAMED(#member, type, member, ctype)
// The same with a key that is not the member's name ("boot-source").
#define FIELD_NAMED(name, type, member, ctype)                                                \
	.key = (name), .at = offsetof(type, member),                                          \
	.size = sizeof(((type *)0)->member) +                                                 \
		0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((type *)0)->member), \
							     ctype)                           \
					? 1                                                   \
					: -1])
#define FIELD_END           \
	{                   \
		.key = NULL \
	}

#define CODEC_MAX	 (1u << 20)  // bytes of one record
#define CODEC_TREE_MAX	 (64u << 20) // bytes of a list or of any document as a tree
#define CODEC_LIST_ITEMS (1u << 18)  // records in codec_parse_list

// text need not be NUL-terminated. On failure kind usage; *out holds nothing that has to be freed.
int codec_parse(const struct field *tab, const char *text, size_t len, void *out,
		struct err *e) MUST_CHECK;
// A bare array of objects.
int codec_parse_list(const struct field *tab, size_t item_size, const char *text, size_t len,
		     struct codec_list *out, struct err *e) MUST_CHECK;
// Appends compact JSON, without a newline.
void codec_print(const struct field *tab, const void *in, struct buf *out);
void codec_print_list(const struct field *tab, size_t item_size, const struct codec_list *in,
		      struct buf *out);
// Only checks that the text is one strict JSON value.
int codec_check(const char *text, size_t len, struct err *e) MUST_CHECK;
void codec_free(const struct field *tab, void *rec);
// Marks every FIELD_UNKNOWN member as not measured: all its bits are ones (a REAL is then no
// number).
void codec_unknown(const struct field *tab, void *rec);
void codec_free_list(const struct field *tab, size_t item_size, struct codec_list *l);
// Appends a zeroed item and returns it; what was returned before may move.
void *codec_list_add(struct codec_list *l, size_t item_size);
void codec_texts_add(struct codec_list *l, const char *text);
// Appends a JSON string literal.
void codec_quote(const char *text, struct buf *out);
// JSON Schema (2020-12) and a Markdown table of the same rows.
void codec_schema(const char *title, const struct field *tab, struct buf *out);
void codec_markdown(const char *title, const struct field *tab, struct buf *out);

// A parsed document as a tree for tools that show any JSON (mvm-fmt). Opaque cJSON inside.
struct codec_node;
int codec_tree(const char *text, size_t len, struct codec_node **ret, struct err *e) MUST_CHECK;
void codec_tree_free(struct codec_node *n);
void codec_tree_freep(struct codec_node **n);
#define cleanup_tree cleanup(codec_tree_freep)
enum codec_type { CODEC_NULL, CODEC_BOOL, CODEC_NUMBER, CODEC_TEXT, CODEC_ARRAY, CODEC_OBJECT };
enum codec_type codec_type(const struct codec_node *n);
const struct codec_node *codec_child(const struct codec_node *n); // first element or NULL
const struct codec_node *codec_next(const struct codec_node *n);
const char *codec_key(const struct codec_node *n);  // "" in arrays
const char *codec_text(const struct codec_node *n); // CODEC_TEXT
bool codec_bool(const struct codec_node *n);
double codec_number(const struct codec_node *n);
const char *codec_number_text(const struct codec_node *n); // as it was spelled: exact
const struct codec_node *codec_get(const struct codec_node *n, const char *key); // case-sensitive
void codec_node_print(const struct codec_node *n, struct buf *out);		 // compact JSON
