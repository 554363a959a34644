// SPDX-License-Identifier: MIT
// One entry's headers. What ustar cannot say goes into a pax header before it.
#include "guest/tar.h"

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100];
	char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == TAR_BLOCK, "a header is one block");

// Octal digits and a NUL; what does not fit is 0 and stands in the pax header.
static void put_octal(char *field, size_t size, uint64_t v)
{
	uint64_t most = ((uint64_t)1 << (3 * (size - 1))) - 1;

	if (v > most)
		v = 0;
	field[size - 1] = '\0';
	for (size_t i = size - 1; i-- > 0; v >>= 3)
		field[i] = (char)('0' + (v & 7));
}

static void put_block(struct buf *out, struct header *h)
{
	const uint8_t *p = (const uint8_t *)h;
	uint32_t sum = 0;

	memset(h->sum, ' ', sizeof(h->sum));
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += p[i];
	put_octal(h->sum, sizeof(h->sum) - 1, sum);
	buf_add(out, h, TAR_BLOCK);
}

static void start(struct header *h, char type, uint32_t mode, uint64_t size)
{
	*h = (struct header){ .type = type, .magic = "ustar", .version = { '0', '0' } };
	put_octal(h->mode, sizeof(h->mode), mode);
	put_octal(h->uid, sizeof(h->uid), 0);
	put_octal(h->gid, sizeof(h->gid), 0);
	put_octal(h->size, sizeof(h->size), size);
	put_octal(h->mtime, sizeof(h->mtime), 0);
}

// "LENGTH KEY=VALUE\n", where the length counts its own digits too.
static void put_record(struct buf *out, const char *key, const char *value)
{
	size_t rest = strlen(key) + strlen(value) + 3, len = rest + 1;

	for (size_t digits = 1, ten = 10; len >= ten; ten *= 10)
		len = rest + ++digits;
	buf_fmt(out, "%zu %s=%s\n", len, key, value);
}

static void put_number(struct buf *out, const char *key, uint64_t v, uint64_t most)
{
	char text[24];

	if (v <= most)
		return;
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	put_record(out, key, text);
}

static void put_time(struct buf *out, const struct tar_entry *en)
{
	char text[48];

	if (!en->mtime_ns && en->mtime_s >= 0 && en->mtime_s < (int64_t)1 << 33)
		return;
	if (en->mtime_ns && en->mtime_s >= 0)
		(void)snprintf(text, sizeof(text), "%lld.%09u", (long long)en->mtime_s,
			       en->mtime_ns);
	else // a fraction before 1970 is not worth its rules
		(void)snprintf(text, sizeof(text), "%lld", (long long)en->mtime_s);
	put_record(out, "mtime", text);
}

static void put_pax(struct buf *out, const struct tar_entry *en, const char *path)
{
	cleanup_buf struct buf records = BUF_INIT;
	struct header h;

	if (strlen(path) > sizeof(h.name))
		put_record(&records, "path", path);
	if (strlen(en->link) > sizeof(h.link))
		put_record(&records, "linkpath", en->link);
	put_number(&records, "uid", en->uid, 07777777);
	put_number(&records, "gid", en->gid, 07777777);
	put_number(&records, "size", en->size, 077777777777);
	put_time(&records, en);
	if (!records.len)
		return;
	start(&h, 'x', 0644, records.len);
	memcpy(h.name, "pax", 3);
	put_block(out, &h);
	buf_add(out, records.data, records.len);
	tar_put_pad(out, records.len);
}

void tar_put_header(struct buf *out, const struct tar_entry *en)
{
	static const char types[] = { '0', '5', '2', '1' };
	cleanup_buf struct buf path = BUF_INIT;
	struct header h;

	buf_fmt(&path, "%s%s", en->path[0] ? en->path : ".", en->type == TAR_DIRECTORY ? "/" : "");
	put_pax(out, en, buf_text(&path));
	start(&h, types[en->type], en->mode & 07777, en->size);
	memcpy(h.name, buf_text(&path), MIN(path.len, sizeof(h.name)));
	memcpy(h.link, en->link, MIN(strlen(en->link), sizeof(h.link)));
	put_octal(h.uid, sizeof(h.uid), en->uid);
	put_octal(h.gid, sizeof(h.gid), en->gid);
	put_octal(h.mtime, sizeof(h.mtime), en->mtime_s < 0 ? 0 : (uint64_t)en->mtime_s);
	put_block(out, &h);
}

static void put_zeros(struct buf *out, size_t len)
{
	static const char zeros[TAR_BLOCK];

	for (; len; len -= MIN(len, sizeof(zeros)))
		buf_add(out, zeros, MIN(len, sizeof(zeros)));
}

void tar_put_pad(struct buf *out, uint64_t size)
{
	put_zeros(out, (size_t)(-size & (TAR_BLOCK - 1)));
}

void tar_put_end(struct buf *out)
{
	put_zeros(out, (size_t)2 * TAR_BLOCK);
}
