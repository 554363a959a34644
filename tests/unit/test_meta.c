// SPDX-License-Identifier: MIT
// Keys, tokens, and the answer to a request, without a socket.
#include "tap.h"

#include "meta/request.h"
#include "meta/values.h"
#include "json/codec.h"

#define IP  0x0AF00703u // 10.240.7.3
#define NOW 1000000u

static const char document[] = "{\"schema_version\":1,\"address\":\"a/b/i-00000003\","
			       "\"meta-data\":{\"instance-id\":\"i-00000003\",\"prefix\":24},"
			       "\"user-data\":{\"a.b\":\"one\",\"c\":\"\"},\"tenant-data\":{}}";

static int read_document(void *arg, uint32_t ip, struct buf *out, struct err *e)
{
	if (ip != IP)
		return err_set(e, ENOENT, "no such document");
	buf_str(out, arg);
	return 0;
}

static struct meta_service service(const char *text)
{
	struct meta_service s = { .read = read_document };

	memset(s.key.bytes, 7, sizeof(s.key.bytes));
	memcpy(&s.arg, &text, sizeof(text));
	return s;
}

// The status, and the body in *body, of one request with a good token.
static unsigned get(const char *path, const char *accept, struct buf *body)
{
	const struct meta_service s = service(document);
	struct meta_request q = { "GET", path, "HTTP/1.1", NULL, NULL, accept, false, IP };
	struct meta_answer a;
	meta_token token;

	meta_token_make(&s.key, IP, NOW + 1, token);
	q.token = token;
	meta_answer(&s, &q, NOW, &a);
	buf_clear(body);
	buf_add(body, buf_text(&a.body), a.body.len);
	buf_free(&a.body);
	return a.status;
}

TEST(paths_lead_to_texts_lists_and_objects)
{
	static const struct {
		const char *path, *accept, *body;
	} good[] = {
		{ "/", NULL, "latest/" },
		{ "/latest", NULL, "meta-data/\ntenant-data/\nuser-data/" },
		{ "/latest/", "application/json",
		  "[\"meta-data/\",\"tenant-data/\",\"user-data/\"]" },
		{ "/latest/meta-data", NULL, "instance-id\nprefix" },
		{ "/latest/meta-data/prefix", "text/html", "24" },
		{ "/latest/meta-data/", "x/y, application/json;q=0.1",
		  "{\"instance-id\":\"i-00000003\",\"prefix\":24}" },
		{ "/latest/user-data/a.b", "application/jsonx", "one" },
		{ "/latest/user-data/%61%2eb", NULL, "one" },
		{ "/latest/user-data/a.b", "Application/JSON", "\"one\"" },
		{ "/latest/user-data/c", NULL, "" },
		{ "/latest/tenant-data/", NULL, "" },
		{ "/latest/tenant-data", "application/json", "{}" },
	};
	cleanup_buf struct buf body = BUF_INIT;

	for (size_t i = 0; i < COUNT(good); i++) {
		CHECK_INT(get(good[i].path, good[i].accept, &body), 200);
		CHECK_STR(buf_text(&body), good[i].body);
	}
}

TEST(what_no_path_leads_to_is_404_and_empty)
{
	static const char *const bad[] = { "/x",
					   "//",
					   "/latest/address",
					   "/latest/schema_version",
					   "/latest/meta-dat",
					   "/latest/meta-datax",
					   "/latest/meta-data//",
					   "/latest/meta-data/prefix/",
					   "/latest/meta-data/prefix/x",
					   "/latest/user-data/a",
					   "/latest/user-data/..",
					   "/Latest/",
					   "/latest/api",
					   "/latest/api/token/" };
	cleanup_buf struct buf body = BUF_INIT;

	for (size_t i = 0; i < COUNT(bad); i++) {
		CHECK_INT(get(bad[i], NULL, &body), 404);
		CHECK_INT(body.len, 0);
	}
}

TEST(bad_escapes_and_long_paths_are_400)
{
	static const char *const bad[] = { "",	    "latest", "*",     "/%",	"/%4",
					   "/%4g",  "/%g4",   "/%2f",  "/%2F",	"/%00",
					   "/a%0a", "/%7f",   "/\x1f", "/%%30", "http://h/latest" };
	cleanup_buf struct buf body = BUF_INIT;
	char path[META_PATH_MAX + 2];

	for (size_t i = 0; i < COUNT(bad); i++)
		CHECK_INT(get(bad[i], NULL, &body), 400);
	memset(path, '/', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	CHECK_INT(get(path, NULL, &body), 400);
	path[sizeof(path) - 2] = '\0';
	CHECK_INT(get(path, NULL, &body), 404);
}

TEST(the_order_of_refusals_is_fixed)
{
	static const struct {
		struct meta_request q;
		unsigned status;
		const char *allow;
	} bad[] = {
		{ { "BREW", "x", "HTTP/2.0", NULL, NULL, NULL, true, IP }, 505, NULL },
		{ { "BREW", "x", "HTTP/1.1", NULL, NULL, NULL, true, IP }, 403, NULL },
		{ { "BREW", "x", "HTTP/1.1", NULL, NULL, NULL, false, IP }, 400, NULL },
		{ { "BREW", "/", "HTTP/1.1", NULL, NULL, NULL, false, IP }, 405, "GET, HEAD" },
		{ { "get", "/", "HTTP/1.0", NULL, NULL, NULL, false, IP }, 405, "GET, HEAD" },
		{ { "PUT", "/x", "HTTP/1.0", NULL, "5", NULL, false, IP }, 405, "GET, HEAD" },
		{ { "GET", "/latest/api/token", "HTTP/1.1", NULL, NULL, NULL, false, IP },
		  405,
		  "PUT" },
		{ { "PUT", "/latest/api/token", "HTTP/1.1", NULL, NULL, NULL, false, IP },
		  400,
		  NULL },
		{ { "PUT", "/latest/api/token", "HTTP/1.1", NULL, "0", NULL, false, IP },
		  400,
		  NULL },
		{ { "PUT", "/latest/api/token", "HTTP/1.1", NULL, "21601", NULL, false, IP },
		  400,
		  NULL },
		{ { "PUT", "/latest/api/token", "HTTP/1.1", NULL, "5 ", NULL, false, IP },
		  400,
		  NULL },
		{ { "GET", "/", "HTTP/1.1", NULL, NULL, NULL, false, IP }, 401, NULL },
		{ { "HEAD", "/x", "HTTP/1.1", "", NULL, NULL, false, IP }, 401, NULL },
	};
	const struct meta_service s = service(document);

	for (size_t i = 0; i < COUNT(bad); i++) {
		struct meta_answer a;

		meta_answer(&s, &bad[i].q, NOW, &a);
		CHECK_INT(a.status, bad[i].status);
		CHECK_STR(a.allow ? a.allow : "", bad[i].allow ? bad[i].allow : "");
		CHECK_INT(a.body.len, 0);
		buf_free(&a.body);
	}
}

TEST(a_token_is_of_one_address_and_one_time)
{
	struct meta_service s = service(document);
	struct meta_request put = { "PUT", "/latest/api/token", "HTTP/1.1", NULL, "2", NULL, false,
				    IP };
	struct meta_answer a;
	char changed[80];

	meta_answer(&s, &put, NOW, &a);
	CHECK_INT(a.status, 200);
	CHECK_INT(a.ttl_s, 2);
	CHECK_INT(a.body.len, sizeof(meta_token) - 1);
	CHECK(strspn(buf_text(&a.body),
		     "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
		     "-_") == a.body.len);
	CHECK(meta_token_good(&s.key, IP, NOW, buf_text(&a.body)));
	CHECK(meta_token_good(&s.key, IP, NOW + 1999, buf_text(&a.body)));
	CHECK(!meta_token_good(&s.key, IP, NOW + 2000, buf_text(&a.body)));
	CHECK(!meta_token_good(&s.key, IP + 1, NOW, buf_text(&a.body)));
	for (size_t i = 0; i < a.body.len; i++) {
		memcpy(changed, buf_text(&a.body), a.body.len + 1);
		changed[i] = changed[i] == 'f' ? 'e' : 'f';
		CHECK(!meta_token_good(&s.key, IP, NOW, changed));
		changed[i] = '\0';
		CHECK(!meta_token_good(&s.key, IP, NOW, changed));
	}
	s.key.bytes[31] ^= 1;
	CHECK(!meta_token_good(&s.key, IP, NOW, buf_text(&a.body)));
	buf_free(&a.body);
}

TEST(no_document_is_404_and_a_bad_one_500)
{
	static const char *const bad[] = { "", "{", "{}{}", "{\"user-data\":{\"a\":1,}}" };
	struct meta_request q = { "GET", "/latest/user-data/", "HTTP/1.1", NULL, NULL, NULL, false,
				  IP + 1 };
	meta_token token;
	struct meta_answer a;

	for (size_t i = 0; i <= COUNT(bad); i++) {
		const struct meta_service s = service(i ? bad[i - 1] : document);

		meta_token_make(&s.key, q.ip, NOW + 1, token);
		q.token = token;
		meta_answer(&s, &q, NOW, &a);
		CHECK_INT(a.status, i ? 500 : 404);
		CHECK_INT(a.body.len, 0);
		buf_free(&a.body);
		q.ip = IP;
	}
}

TEST(keys_are_sorted_and_replaced)
{
	cleanup_values struct meta_values v = META_VALUES_NONE;
	cleanup_buf struct buf text = BUF_INIT;
	struct err e = { 0 };
	bool changed = false;

	CHECK(meta_values_set(&v, "b", "1", &changed, &e) == 0 && changed);
	CHECK(meta_values_merge(&v, "{\"a\":\"\\u00e9\",\"c\":\"\"}", 21, NULL, &e) == 0);
	changed = false;
	CHECK(meta_values_set(&v, "b", "1", &changed, &e) == 0 && !changed);
	CHECK(meta_values_set(&v, "b", "2\n", &changed, &e) == 0 && changed);
	meta_values_print(&v, &text);
	CHECK_STR(buf_text(&text), "{\"a\":\"\xc3\xa9\",\"b\":\"2\\n\",\"c\":\"\"}");
	changed = false;
	meta_values_remove(&v, "x", &changed);
	CHECK(!changed);
	meta_values_remove(&v, "a", &changed);
	CHECK(changed && v.len == 2 && !meta_values_get(&v, "a"));
	CHECK_STR(meta_values_get(&v, "c"), "");
}

TEST(bad_keys_and_objects_are_misuse)
{
	static const char *const keys[] = { "",	   "-a",  ".a",	 "_a",	    "A",
					    "a b", "a/b", "a\n", "\xc3\xa9" };
	static const char *const objects[] = { "",
					       "[]",
					       "\"a\"",
					       "{\"a\":1}",
					       "{\"a\":{}}",
					       "{\"a\":\"b\",\"a\":\"b\"}",
					       "{\"A\":\"b\"}" };
	struct err e = { 0 };

	for (size_t i = 0; i < COUNT(keys); i++) {
		CHECK(meta_key_check(keys[i], &e) < 0);
		CHECK_INT(e.kind, ERR_USAGE);
	}
	CHECK(meta_key_check("0a._-", &e) == 0);
	CHECK(meta_key_check("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
			     &e) == 0); // 63
	CHECK(meta_key_check("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
			     &e) < 0);
	for (size_t i = 0; i < COUNT(objects); i++) {
		cleanup_values struct meta_values v = META_VALUES_NONE;

		CHECK(meta_values_merge(&v, objects[i], strlen(objects[i]), NULL, &e) < 0);
		CHECK_INT(e.kind, ERR_USAGE);
	}
}

TEST(values_and_their_sum_are_bounded)
{
	cleanup_values struct meta_values v = META_VALUES_NONE;
	cleanup_free char *big = base_alloc(META_VALUE_BYTES + 2, 1);
	struct err e = { 0 };
	char key[16];

	memset(big, '"', META_VALUE_BYTES + 1);
	CHECK(meta_values_set(&v, "a", big, NULL, &e) < 0);
	big[META_VALUE_BYTES] = '\0';
	CHECK(meta_values_set(&v, "a", big, NULL, &e) == 0);
	CHECK(meta_values_check_total(&v, &e) == 0);
	CHECK(meta_values_set(&v, "b", big, NULL, &e) == 0);
	CHECK(meta_values_check_total(&v, &e) < 0); // each " is two bytes in JSON
	CHECK_INT(e.kind, ERR_QUOTA);
	for (unsigned i = 0; i < META_KEYS - 2; i++) {
		base_cut(key, sizeof(key), "k%u", i);
		CHECK(meta_values_set(&v, key, "", NULL, &e) == 0);
	}
	CHECK(meta_values_set(&v, "one-more", "", NULL, &e) < 0);
	CHECK_INT(e.kind, ERR_QUOTA);
	CHECK(meta_values_set(&v, "k0", "x", NULL, &e) == 0); // an old one still changes
	CHECK(meta_values_set(&v, "k1", "\xff", NULL, &e) < 0);
	CHECK_INT(e.kind, ERR_USAGE);
}
