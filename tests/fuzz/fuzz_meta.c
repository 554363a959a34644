// SPDX-License-Identifier: MIT
// A request of a hostile guest: lines of method, path, version, token ("=": a good one), life of a
// token, accept. Nothing of the document goes out without a good token.
#include "meta/request.h"
#include "json/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define IP  0x0AF00703u
#define NOW 1000000u

static void must(bool ok)
{
	if (!ok)
		abort();
}

static int read_document(void *arg, uint32_t ip, struct buf *out, struct err *e)
{
	(void)arg;
	(void)e;
	must(ip == IP);
	buf_str(out, "{\"schema_version\":1,\"address\":\"a/b/"
		     "i-00000003\",\"meta-data\":{\"mac\":\"m\"},"
		     "\"user-data\":{\"a.b\":\"one\",\"c\":\"\"},\"tenant-data\":{}}");
	return 0;
}

// The next line, NULL when it is empty or there is none.
static const char *line(char **rest)
{
	const char *l = strsep(rest, "\n");

	return l && *l ? l : NULL;
}

static void check(const struct meta_request *q, const struct meta_service *s,
		  const struct meta_answer *a)
{
	char path[META_PATH_MAX + 1];
	struct err ignored = { 0 };

	must(a->status == 200 || a->status == 400 || a->status == 401 || a->status == 404 ||
	     a->status == 405 || a->status == 505);
	must(a->status == 200 || a->body.len == 0);
	must(!a->allow == (a->status != 405));
	if (meta_path_decode(q->path, path, &ignored) < 0)
		must(a->status == 400 || a->status == 505);
	else
		must(strlen(path) <= strlen(q->path));
	if (a->status != 200)
		return;
	if (str_eq(q->method, "PUT"))
		must(a->ttl_s > 0 && meta_token_good(&s->key, IP, NOW, buf_text(&a->body)) &&
		     !meta_token_good(&s->key, IP, NOW + a->ttl_s * 1000, buf_text(&a->body)));
	else
		must(q->token && meta_token_good(&s->key, IP, NOW, q->token) &&
		     !strstr(buf_text(&a->body), "i-00000003"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = base_alloc(size + 1, 1);
	const struct meta_service s = { .read = read_document };
	struct meta_request q = { .ip = IP };
	struct meta_answer a;
	meta_token good;
	char *rest = text;

	if (size)
		memcpy(text, data, size);
	q.method = line(&rest);
	q.path = line(&rest);
	q.version = line(&rest);
	q.token = line(&rest);
	q.ttl = line(&rest);
	q.accept = line(&rest);
	if (!q.method || !q.path || !q.version)
		return 0;
	meta_token_make(&s.key, IP, NOW + 5, good);
	if (q.token && str_eq(q.token, "="))
		q.token = good;
	meta_answer(&s, &q, NOW, &a);
	check(&q, &s, &a);
	buf_free(&a.body);
	return 0;
}
