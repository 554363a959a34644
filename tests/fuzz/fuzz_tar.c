// SPDX-License-Identifier: MIT
// A tar stream. What comes out of it is clean, and comes back when it is written and read again.
#include "guest/tar.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct text {
	const uint8_t *p;
	size_t left;
};

static ssize_t from_text(void *arg, void *out, size_t len, struct err *e)
{
	struct text *t = arg;
	size_t n = MIN(MIN(len, t->left), (size_t)333); // in pieces, as a pipe gives them

	(void)e;
	memcpy(out, t->p, n);
	t->p += n;
	t->left -= n;
	return (ssize_t)n;
}

static void check_path(const char *path)
{
	assert(strlen(path) < TAR_PATH && path[0] != '/');
	for (const char *p = path; *p;) {
		size_t len = strcspn(p, "/");

		assert(len > 0 && len < 256 && !(len == 1 && p[0] == '.') &&
		       !(len == 2 && p[0] == '.' && p[1] == '.'));
		p += len;
		assert(*p == '\0' || p[1] != '\0');
		p += *p == '/';
	}
}

static void round_trip(const struct tar_entry *in)
{
	struct tar_entry *out = base_alloc(1, sizeof(*out));
	cleanup_buf struct buf b = BUF_INIT;
	struct tar_reader r;
	struct err e = { 0 };

	tar_put_header(&b, in);
	struct text t = { (const uint8_t *)b.data, b.len };
	tar_open(&r, from_text, &t);
	assert(tar_next(&r, out, &e) == 1);
	assert(out->type == in->type && strcmp(out->path, in->path) == 0 &&
	       strcmp(out->link, in->link) == 0 && out->mode == in->mode && out->uid == in->uid &&
	       out->gid == in->gid && out->size == in->size && out->mtime_s == in->mtime_s &&
	       out->mtime_ns == in->mtime_ns);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tar_entry *en = base_alloc(1, sizeof(*en));
	struct text t = { data, size };
	struct tar_reader r;
	struct err e = { 0 };
	char bytes[4096];
	ssize_t n = 0;

	tar_open(&r, from_text, &t);
	while ((n = tar_next(&r, en, &e)) == 1) {
		uint64_t had = 0;

		check_path(en->path);
		if (en->type == TAR_HARDLINK)
			check_path(en->link);
		assert(en->type == TAR_FILE || en->size == 0);
		round_trip(en);
		while ((n = tar_data(&r, bytes, sizeof(bytes), &e)) > 0)
			had += (uint64_t)n;
		assert(n < 0 || had == en->size);
		if (n < 0)
			break;
	}
	assert((n < 0) == (e.no != 0) && r.total <= size);
	free(en);
	return 0;
}
