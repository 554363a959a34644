// SPDX-License-Identifier: MIT
#include "json/codec.h"

#include <math.h>

#include "base/name.h"
#include "tap.h"

enum phase { PHASE_NEW, PHASE_RUNNING, PHASE_GONE };
static const char *const phases[] = { "new", "running", "gone", NULL };

struct quota {
	uint32_t max_vcpus;
	uint64_t max_mem_mib;
};

struct pool {
	char id[41];
	int32_t delta;
};

struct thing {
	char id[41];
	enum phase phase;
	bool isolated;
	uint8_t small;
	uint16_t port;
	uint64_t big;
	int64_t offset;
	double ratio;
	char *note;
	char address[20];
	struct quota quotas;
	struct quota extra;
	struct codec_list pools;
	struct codec_list labels;
	char *raw;
};

static const struct field quota_fields[] = {
	{ FIELD_SLOT(struct quota, max_vcpus, uint32_t), .kind = KIND_UINT, .flags = FIELD_REQUIRED,
	  .min = 1, .max = 1024, .doc = "vCPUs of all instances | together" },
	{ FIELD_SLOT(struct quota, max_mem_mib, uint64_t), .kind = KIND_UINT,
	  .doc = "memory of all instances" },
	FIELD_END
};
static const struct field pool_fields[] = {
	{ FIELD_SLOT(struct pool, id, char[41]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .check = name_check, .schema_pattern = "^[a-z0-9-]+$", .doc = "name" },
	{ FIELD_SLOT(struct pool, delta, int32_t), .kind = KIND_INT, .imin = -5, .max = 5,
	  .doc = "change" },
	FIELD_END
};
static const struct field thing_fields[] = {
	{ FIELD_SLOT(struct thing, id, char[41]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .check = name_check, .doc = "name" },
	{ FIELD_SLOT(struct thing, phase, enum phase), .kind = KIND_ENUM, .names = phases,
	  .doc = "where it is" },
	{ FIELD_SLOT(struct thing, isolated, bool), .kind = KIND_BOOL, .doc = "alone" },
	{ FIELD_SLOT(struct thing, small, uint8_t), .kind = KIND_UINT, .flags = FIELD_OMIT_EMPTY,
	  .doc = "a byte" },
	{ FIELD_NAMED("tcp-port", struct thing, port, uint16_t), .kind = KIND_UINT,
	  .flags = FIELD_NULLABLE, .doc = "port" },
	{ FIELD_SLOT(struct thing, big, uint64_t), .kind = KIND_UINT, .flags = FIELD_OMIT_EMPTY,
	  .doc = "large" },
	{ FIELD_SLOT(struct thing, offset, int64_t), .kind = KIND_INT, .flags = FIELD_OMIT_EMPTY,
	  .doc = "signed" },
	{ FIELD_SLOT(struct thing, ratio, double), .kind = KIND_REAL, .flags = FIELD_OMIT_EMPTY,
	  .doc = "share" },
	{ FIELD_SLOT(struct thing, note, char *), .kind = KIND_STRING, .flags = FIELD_NULLABLE,
	  .max = 8, .doc = "free text" },
	{ FIELD_SLOT(struct thing, address, char[20]), .kind = KIND_TEXT, .min = 3,
	  .doc = "not set: empty" },
	{ FIELD_SLOT(struct thing, quotas, struct quota), .kind = KIND_RECORD,
	  .flags = FIELD_REQUIRED, .sub = quota_fields, .doc = "limits" },
	{ FIELD_SLOT(struct thing, extra, struct quota), .kind = KIND_RECORD,
	  .flags = FIELD_NULLABLE, .sub = quota_fields, .doc = "more" },
	{ FIELD_SLOT(struct thing, pools, struct codec_list), .kind = KIND_LIST,
	  .flags = FIELD_OMIT_EMPTY, .sub = pool_fields, .item_size = sizeof(struct pool), .max = 3,
	  .doc = "pools" },
	{ FIELD_SLOT(struct thing, labels, struct codec_list), .kind = KIND_TEXTS, .max = 3,
	  .check = name_check, .doc = "labels" },
	{ FIELD_SLOT(struct thing, raw, char *), .kind = KIND_RAW, .flags = FIELD_OMIT_EMPTY,
	  .max = 40, .doc = "anything" },
	FIELD_END
};

#define Q	  "\"quotas\":{\"max_vcpus\":1}"
#define NAME_RULE " is not a name (a-z, 0-9 and single '-' inside, at most 40)"

static const struct {
	const char *in, *says;
} bad[] = {
	// not JSON at all, or JSON that others would let pass
	{ "", "empty" },
	{ " \n\t\r ", "empty" },
	{ "{", "not JSON at byte 1" },
	{ "{} {}", "not JSON at byte 3" },
	{ "{}x", "not JSON at byte 2" },
	{ "\xef\xbb\xbf{}", "not JSON at byte 0" },
	{ "{\"id\":\"a\",}", "not JSON at byte 10" },
	{ "{\"labels\":[\"a\",]}", "not JSON at byte 15" },
	{ "{'id':1}", "not JSON at byte 1" },
	{ "{id:1}", "not JSON at byte 1" },
	{ "{\"id\" \"a\"}", "not JSON at byte 6" },
	{ "{\"id\":\"a\" \"b\":1}", "not JSON at byte 10" },
	{ "{\"id\":tru}", "not JSON at byte 6" },
	{ "{\"id\":NaN}", "not JSON at byte 6" },
	{ "{\"id\":True}", "not JSON at byte 6" },
	{ "{\"id\":\"a}", "not JSON at byte 9" },
	{ "{\"id\":\"a\\q\"}", "not JSON at byte 9" },
	{ "{\"id\":\"a\\u12g4\"}", "not JSON at byte 12" },
	{ "{\"id\":01}", "not JSON at byte 7" },
	{ "{\"id\":-}", "not JSON at byte 7" },
	{ "{\"id\":+1}", "not JSON at byte 6" },
	{ "{\"id\":1.}", "not JSON at byte 8" },
	{ "{\"id\":.5}", "not JSON at byte 6" },
	{ "{\"id\":1e}", "not JSON at byte 8" },
	{ "{\"id\":0x1}", "not JSON at byte 7" },
	{ "{} // no", "not JSON at byte 3" },
	{ "{\"id\":\"a\nb\"}", "control byte 0x0a in a string at byte 8" },
	{ "{\"id\":\"a\\u0000b\"}", "NUL in a string at byte 8" },
	{ "{\"id\":\"\xff\"}", "broken UTF-8 at byte 7" },
	{ "{\"id\":\"\xc0\xaf\"}", "broken UTF-8 at byte 7" },
	{ "{\"id\":\"\\ud800\"}", "half a surrogate pair at byte 7" },
	{ "{\"id\":\"\\udc00\"}", "half a surrogate pair at byte 7" },
	{ "{\"id\":\"\\ud800\\u0041\"}", "half a surrogate pair at byte 7" },
	{ "{\"ratio\":1e999}", "ratio: 1e999 is too large" },
	{ "{\"big\":1111111111111111111111111111111111111111111111111111111111111111}",
	  "number of more than 63 digits at byte 7" },
	// keys
	{ "[]", "expected an object" },
	{ "null", "expected an object" },
	{ "{}", "id: missing" },
	{ "{\"id\":\"a\"}", "quotas: missing" },
	{ "{\"id\":\"a\",\"quotas\":{}}", "quotas: max_vcpus: missing" },
	{ "{\"id\":\"a\",\"id\":\"b\"}", "id: given twice" },
	{ "{\"i\\u0064\":\"a\",\"id\":\"b\"}", "id: given twice" },
	{ "{\"quotas\":{\"max_vcpus\":1,\"max_vcpus\":1}}", "quotas: max_vcpus: given twice" },
	{ "{\"raw\":[1,{\"a\":1,\"b\":2,\"a\":3}]}", "raw[1]: a: given twice" },
	{ "{\"ID\":\"a\"}", "unknown key 'ID'" },
	{ "{\"quotas\":{\"vcpus\":1}}", "quotas: unknown key 'vcpus'" },
	// values
	{ "{\"id\":null}", "id: null is not allowed here" },
	{ "{\"id\":7}", "id: expected a string" },
	{ "{\"id\":\"\"}", "id: ''" NAME_RULE },
	{ "{\"id\":\"A\"}", "id: 'A'" NAME_RULE },
	{ "{\"id\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", "id: longer than 40 bytes" },
	{ "{\"address\":\"ab\"}", "address: shorter than 3 bytes" },
	{ "{\"note\":\"123456789\"}", "note: longer than 8 bytes" },
	{ "{\"phase\":\"Running\"}", "phase: 'Running' is none of new, running, gone" },
	{ "{\"phase\":1}", "phase: expected a string" },
	{ "{\"isolated\":1}", "isolated: expected true or false" },
	{ "{\"isolated\":\"true\"}", "isolated: expected true or false" },
	{ "{\"quotas\":{\"max_vcpus\":0}}", "quotas: max_vcpus: 0 is outside 1..1024" },
	{ "{\"quotas\":{\"max_vcpus\":1025}}", "quotas: max_vcpus: 1025 is outside 1..1024" },
	{ "{\"quotas\":{\"max_vcpus\":-1}}", "quotas: max_vcpus: -1 is outside 1..1024" },
	{ "{\"quotas\":{\"max_vcpus\":\"1\"}}", "quotas: max_vcpus: expected an integer" },
	{ "{\"quotas\":{\"max_vcpus\":1.0}}", "quotas: max_vcpus: 1.0 is not a plain integer" },
	{ "{\"quotas\":{\"max_vcpus\":1e3}}", "quotas: max_vcpus: 1e3 is not a plain integer" },
	{ "{\"small\":-0}", "small: -0 is not a plain integer" },
	{ "{\"small\":256}", "small: 256 is outside 0..255" },
	{ "{\"tcp-port\":65536}", "tcp-port: 65536 is outside 0..65535" },
	{ "{\"big\":9007199254740992}", "big: 9007199254740992 is outside 0..9007199254740991" },
	{ "{\"big\":18446744073709551616}",
	  "big: 18446744073709551616 is outside 0..9007199254740991" },
	{ "{\"offset\":-9007199254740992}",
	  "offset: -9007199254740992 is outside -9007199254740991..9007199254740991" },
	{ "{\"offset\":99999999999999999999999}",
	  "offset: 99999999999999999999999 is outside -9007199254740991..9007199254740991" },
	{ "{\"ratio\":\"1\"}", "ratio: expected a number" },
	{ "{\"quotas\":[]}", "quotas: expected an object" },
	// lists
	{ "{\"pools\":{}}", "pools: expected a list" },
	{ "{\"pools\":[{\"id\":\"a\"},{\"id\":\"b\",\"delta\":6}]}",
	  "pools[1]: delta: 6 is outside -5..5" },
	{ "{\"pools\":[{\"id\":\"a\"},{}]}", "pools[1]: id: missing" },
	{ "{\"pools\":[7]}", "pools[0]: expected an object" },
	{ "{\"pools\":[{\"id\":\"a\"},{\"id\":\"a\"},{\"id\":\"a\"},{\"id\":\"a\"}]}",
	  "pools: more than 3 items" },
	{ "{\"labels\":[\"a\",\"b\",\"C\"]}", "labels[2]: 'C'" NAME_RULE },
	{ "{\"labels\":[\"a\",null]}", "labels[1]: expected a string" },
	{ "{\"raw\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]}", "" }, // 39 bytes: fits
	{ "{\"raw\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,1]}", "raw: longer than 40 bytes" },
};

TEST(rejects_and_says_where)
{
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct thing t = { 0 };
		struct err e = { 0 };
		int rc = codec_parse(thing_fields, bad[i].in, strlen(bad[i].in), &t, &e);

		if (!bad[i].says[0]) {
			CHECK_STR(e.msg, "id: missing"); // got past the member
			continue;
		}
		CHECK_INT(rc, -EINVAL);
		CHECK_INT(e.kind, ERR_USAGE);
		CHECK_STR(e.msg, bad[i].says);
		CHECK(!t.note && !t.raw && !t.pools.items && !t.labels.items);
	}
}

TEST(a_nul_byte_ends_nothing)
{
	static const char text[] = "{\"id\":\"a\"}\0{}", inside[] = "{\"id\":\"a\0b\"}";
	struct thing t = { 0 };
	struct err e = { 0 };

	CHECK_INT(codec_parse(thing_fields, text, sizeof(text) - 1, &t, &e), -EINVAL);
	CHECK_STR(e.msg, "not JSON at byte 10");
	CHECK_INT(codec_parse(thing_fields, inside, sizeof(inside) - 1, &t, &e), -EINVAL);
	CHECK_STR(e.msg, "control byte 0x00 in a string at byte 8");
}

TEST(depth_and_size_are_bounded)
{
	cleanup_free char *big = malloc(CODEC_MAX + 1);
	struct err e = { 0 };
	struct thing t = { 0 };
	char deep[128] = "";

	memset(deep, '[', 32);
	memset(deep + 32, ']', 32);
	CHECK_INT(codec_check(deep, 64, &e), 0);
	memset(deep, '[', 33);
	memset(deep + 33, ']', 33);
	CHECK_INT(codec_check(deep, 66, &e), -EINVAL);
	CHECK_STR(e.msg, "nested deeper than 32 at byte 32");
	memset(big, ' ', CODEC_MAX + 1);
	CHECK_INT(codec_parse(thing_fields, big, CODEC_MAX + 1, &t, &e), -EINVAL);
	CHECK_STR(e.msg, "larger than 1048576 bytes");
	CHECK_INT(codec_parse(thing_fields, big, CODEC_MAX, &t, &e), -EINVAL);
	CHECK_STR(e.msg, "empty");
	memset(big, '[', CODEC_MAX); // hostile nesting costs no stack
	CHECK_INT(codec_check(big, CODEC_MAX, &e), -EINVAL);
}

// Many keys of one object must not cost their square.
TEST(a_hundred_thousand_keys_are_compared_in_time)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct err e = { 0 };

	buf_char(&text, '{');
	for (int i = 0; i < 100000; i++)
		buf_fmt(&text, "%s\"%d\":0", i ? "," : "", i);
	buf_str(&text, ",\"77\":1}");
	CHECK_INT(codec_check(text.data, text.len, &e), -EINVAL);
	CHECK_STR(e.msg, "77: given twice");
}

static const char full[] =
	"{\"id\":\"acme\",\"phase\":\"running\",\"isolated\":true,\"small\":255,\"tcp-port\":65535,"
	"\"big\":9007199254740991,\"offset\":-9007199254740991,\"ratio\":0.1,\"note\":"
	"\"a\\\"\\u0001\xc3\xa9\","
	"\"address\":\"10.0.0.1\",\"quotas\":{\"max_vcpus\":7,\"max_mem_mib\":1000000000000000},"
	"\"extra\":{\"max_vcpus\":1,\"max_mem_mib\":0},"
	"\"pools\":[{\"id\":\"a\",\"delta\":-5},{\"id\":\"b\",\"delta\":0}],\"labels\":[\"x\","
	"\"y\"],"
	"\"raw\":{\"n\":12345678901234567890,\"f\":1.50}}";

TEST(round_trip_is_exact)
{
	cleanup_buf struct buf out = BUF_INIT;
	struct thing t = { 0 };
	struct err e = { 0 };

	CHECK_INT(codec_parse(thing_fields, full, sizeof(full) - 1, &t, &e), 0);
	CHECK_STR(e.msg, "");
	CHECK(t.phase == PHASE_RUNNING && t.isolated && t.small == 255 && t.port == 65535);
	CHECK(t.big == 9007199254740991 && t.offset == -9007199254740991 && t.ratio == 0.1);
	CHECK_STR(t.note, "a\"\x01\xc3\xa9");
	CHECK(t.pools.len == 2 && ((const struct pool *)t.pools.items)[0].delta == -5);
	CHECK(t.labels.len == 2);
	CHECK_STR(((char **)t.labels.items)[1], "y");
	CHECK_STR(t.raw, "{\"n\":12345678901234567890,\"f\":1.50}");
	codec_print(thing_fields, &t, &out);
	CHECK_STR(out.data, full);
	codec_free(thing_fields, &t);
	CHECK(!t.note && !t.raw && !t.pools.items && t.pools.len == 0 && !t.labels.items);
}

TEST(empty_members_are_null_left_out_or_plain)
{
	static const char want[] =
		"{\"id\":\"a\",\"phase\":\"new\",\"isolated\":false,\"tcp-port\":null,"
		"\"note\":null,\"address\":\"\",\"quotas\":{\"max_vcpus\":1,\"max_mem_mib\":0},"
		"\"extra\":null,\"labels\":[]}";
	struct thing t = { .id = "a", .quotas = { 1, 0 } }, back = { 0 };
	cleanup_buf struct buf out = BUF_INIT, again = BUF_INIT;
	struct err e = { 0 };

	codec_print(thing_fields, &t, &out);
	CHECK_STR(out.data, want);
	CHECK_INT(codec_parse(thing_fields, want, sizeof(want) - 1, &back, &e), 0);
	CHECK_STR(e.msg, "");
	codec_print(thing_fields, &back, &again);
	CHECK_STR(again.data, want);
	codec_free(thing_fields, &back);
}

TEST(escapes_of_every_kind_are_read)
{
	static const char text[] =
		" {\"id\" : \"a\" ,\t\"note\":\"\\u00e9\\n\\/\\ud83d\\ude00\"," Q "}\r\n";
	struct thing t = { 0 };
	struct err e = { 0 };

	CHECK_INT(codec_parse(thing_fields, text, sizeof(text) - 1, &t, &e), 0);
	CHECK_STR(t.note, "\xc3\xa9\n/\xf0\x9f\x98\x80");
	codec_free(thing_fields, &t);
}

TEST(the_text_need_not_be_terminated)
{
	static const char text[] = "{\"id\":\"a\",\"small\":12," Q "}";
	cleanup_free char *exact = malloc(sizeof(text) - 1); // a sanitizer sees each byte too far
	struct thing t = { 0 };
	struct err e = { 0 };

	memcpy(exact, text, sizeof(text) - 1);
	CHECK_INT(codec_parse(thing_fields, exact, sizeof(text) - 1, &t, &e), 0);
	CHECK_INT(t.small, 12);
	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		cleanup_free char *cut = malloc(n ? n : 1);

		memcpy(cut, text, n);
		CHECK_INT(codec_parse(thing_fields, cut, n, &t, &e), -EINVAL);
	}
	CHECK_INT(codec_check("7", 1, &e), 0);
}

TEST(reals_read_back_as_they_were)
{
	static const double values[] = { 0.1,  1e21, 1.0 / 3, 5e-324, 1.7976931348623157e308,
					 -2.5, 100,  1e15 };

	for (size_t i = 0; i < COUNT(values); i++) {
		struct thing t = { .id = "a", .ratio = values[i], .quotas = { 1, 0 } },
			     back = { 0 };
		cleanup_buf struct buf out = BUF_INIT;
		struct err e = { 0 };

		codec_print(thing_fields, &t, &out);
		CHECK_INT(codec_parse(thing_fields, out.data, out.len, &back, &e), 0);
		CHECK(back.ratio == values[i]);
	}
	struct thing odd = { .id = "a", .ratio = NAN, .quotas = { 1, 0 } };
	cleanup_buf struct buf out = BUF_INIT;
	codec_print(thing_fields, &odd, &out);
	CHECK(strstr(out.data, "\"ratio\":0,"));
}

TEST(bare_lists)
{
	static const char text[] = "[{\"id\":\"a\",\"delta\":1},{\"id\":\"b\",\"delta\":0}]";
	static const char *const wrong[][2] = {
		{ "{}", "expected a list" },
		{ "[{\"id\":\"a\"},{\"id\":\"a\",\"x\":1}]", "[1]: unknown key 'x'" },
		{ "[{\"id\":\"a\",\"id\":\"a\"}]", "[0]: id: given twice" },
		{ "[[]]", "[0]: expected an object" },
	};
	cleanup_buf struct buf out = BUF_INIT;
	struct codec_list l = { NULL, 0 };
	struct err e = { 0 };

	CHECK_INT(codec_parse_list(pool_fields, sizeof(struct pool), text, strlen(text), &l, &e),
		  0);
	CHECK_INT(l.len, 2);
	codec_print_list(pool_fields, sizeof(struct pool), &l, &out);
	CHECK_STR(out.data, text);
	codec_free_list(pool_fields, sizeof(struct pool), &l);
	CHECK_INT(codec_parse_list(pool_fields, sizeof(struct pool), "[]", 2, &l, &e), 0);
	buf_clear(&out);
	codec_print_list(pool_fields, sizeof(struct pool), &l, &out);
	CHECK_STR(out.data, "[]");
	for (size_t i = 0; i < COUNT(wrong); i++) {
		CHECK_INT(codec_parse_list(pool_fields, sizeof(struct pool), wrong[i][0],
					   strlen(wrong[i][0]), &l, &e),
			  -EINVAL);
		CHECK_STR(e.msg, wrong[i][1]);
		CHECK(!l.items && l.len == 0);
	}
}

TEST(lists_grow_by_hand)
{
	struct thing t = { .id = "a", .quotas = { 1, 0 } };
	cleanup_buf struct buf out = BUF_INIT;

	for (int i = 0; i < 3; i++) {
		struct pool *p = codec_list_add(&t.pools, sizeof(*p));

		base_cut(p->id, sizeof(p->id), "p%d", i);
		codec_texts_add(&t.labels, p->id);
	}
	codec_print(thing_fields, &t, &out);
	CHECK(strstr(out.data, "\"pools\":[{\"id\":\"p0\",\"delta\":0},{\"id\":\"p1\",\"delta\":0},"
			       "{\"id\":\"p2\",\"delta\":0}],\"labels\":[\"p0\",\"p1\",\"p2\"]"));
	codec_free(thing_fields, &t);
}

TEST(a_tree_shows_any_document)
{
	static const char text[] =
		"{\"a\":[1,-2.50,1e2,true,false,null,\"x\\ty\"],\"B\":{},\"b\":9007199254740993}";
	struct codec_node *root = NULL;
	cleanup_buf struct buf out = BUF_INIT;
	struct err e = { 0 };

	CHECK_INT(codec_tree(text, strlen(text), &root, &e), 0);
	CHECK_INT(codec_type(root), CODEC_OBJECT);
	const struct codec_node *a = codec_child(root), *it = codec_child(a);
	CHECK_STR(codec_key(a), "a");
	CHECK(codec_type(a) == CODEC_ARRAY && codec_type(it) == CODEC_NUMBER);
	CHECK_STR(codec_key(it), "");
	it = codec_next(it);
	CHECK(codec_number(it) == -2.5);
	CHECK_STR(codec_number_text(it), "-2.50");
	CHECK_STR(codec_text(it), "");
	it = codec_next(codec_next(it));
	CHECK(codec_type(it) == CODEC_BOOL && codec_bool(it) && !codec_bool(codec_next(it)));
	it = codec_next(codec_next(it));
	CHECK(codec_type(it) == CODEC_NULL);
	it = codec_next(it);
	CHECK(codec_type(it) == CODEC_TEXT && !codec_next(it));
	CHECK_STR(codec_text(it), "x\ty");
	CHECK(codec_type(codec_get(root, "B")) == CODEC_OBJECT &&
	      !codec_child(codec_get(root, "B")));
	CHECK_STR(codec_number_text(codec_get(root, "b")), "9007199254740993");
	CHECK(!codec_get(root, "A") && !codec_get(root, "c"));
	codec_node_print(root, &out);
	CHECK_STR(out.data, text);
	codec_tree_free(root);
	codec_tree_free(NULL);
	CHECK_INT(codec_tree("[", 1, &root, &e), -EINVAL);
}

TEST(the_schema_holds_the_rules)
{
	cleanup_buf struct buf out = BUF_INIT, sub = BUF_INIT;
	struct err e = { 0 };

	codec_schema("pool", pool_fields, &sub);
	CHECK_STR(
		sub.data,
		"{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"pool\","
		"\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"id\"],"
		"\"properties\":{"
		"\"id\":{\"description\":\"name\",\"type\":\"string\",\"maxLength\":40,"
		"\"pattern\":\"^[a-z0-9-]+$\"},"
		"\"delta\":{\"description\":\"change\",\"type\":\"integer\",\"minimum\":-5,"
		"\"maximum\":5}}}");
	codec_schema("thing", thing_fields, &out);
	CHECK_INT(codec_check(out.data, out.len, &e), 0);
	CHECK(strstr(out.data, "\"required\":[\"id\",\"quotas\"]"));
	CHECK(strstr(out.data, "\"phase\":{\"description\":\"where it is\",\"type\":\"string\","
			       "\"enum\":[\"new\",\"running\",\"gone\"]}"));
	CHECK(strstr(out.data,
		     "\"tcp-port\":{\"description\":\"port\",\"type\":[\"integer\",\"null\"],"
		     "\"minimum\":0,\"maximum\":65535}"));
	CHECK(strstr(out.data,
		     "\"labels\":{\"description\":\"labels\",\"type\":\"array\",\"maxItems\":3,"
		     "\"items\":{\"type\":\"string\"}}"));
	CHECK(strstr(out.data, "\"raw\":{\"description\":\"anything\"}"));
}

TEST(the_table_for_people)
{
	cleanup_buf struct buf out = BUF_INIT;

	codec_markdown("Thing", thing_fields, &out);
	CHECK(str_starts(out.data,
			 "## Thing\n\n| Key | Type | | Meaning |\n|---|---|---|---|\n"
			 "| `id` | string, 0..40 bytes | required | name |\n"
			 "| `phase` | `new`, `running`, `gone` | optional | where it is |\n"));
	CHECK(strstr(out.data, "| `quotas.max_vcpus` | integer 1..1024 | required | "
			       "vCPUs of all instances \\| together |\n"));
	CHECK(strstr(out.data, "| `pools[].delta` | integer -5..5 | optional | change |\n"));
	CHECK(strstr(out.data, "| `extra` | object or null | optional | more |\n"));
}
