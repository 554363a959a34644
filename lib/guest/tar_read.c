// SPDX-License-Identifier: MIT
#include "guest/tar.h"

#include "base/num.h"

#define META_MAX   65536u     // bytes of a pax header or a long name
#define META_COUNT 8	      // of those before one entry
#define DRAIN_MAX  (16 * MIB) // behind the end: tar's blocking factor, not another payload
#define COMPONENT  255u

enum { NAME_AT = 0, MODE_AT = 100, UID_AT = 108, GID_AT = 116, SIZE_AT = 124, MTIME_AT = 136 };
enum { SUM_AT = 148, TYPE_AT = 156, LINK_AT = 157, MAGIC_AT = 257, PREFIX_AT = 345 };

void tar_open(struct tar_reader *r, tar_source source, void *arg)
{
	*r = (struct tar_reader){ .source = source, .arg = arg };
}

static int damaged(struct err *e, const char *what)
{
	return err_kind(e, ERR_DAMAGED, "the tar stream: %s", what);
}

int tar_clean_path(char *path, struct err *e)
{
	char *from = path, *to = path;
	uint32_t depth = 0;

	if (path[0] == '/')
		return err_kind(e, ERR_DENIED, "the tar stream: an absolute path");
	while (*from) {
		size_t len = strcspn(from, "/");
		bool dot = len == 1 && from[0] == '.';

		if (len == 2 && from[0] == '.' && from[1] == '.')
			return err_kind(e, ERR_DENIED, "the tar stream: a path with '..'");
		if (len > COMPONENT || (len && !dot && ++depth > TAR_DEPTH))
			return err_kind(e, ERR_DENIED,
					"the tar stream: a path that is too long or too deep");
		if (len && !dot) {
			if (to != path)
				*to++ = '/';
			memmove(to, from, len);
			to += len;
		}
		from += len + (from[len] == '/');
	}
	*to = '\0';
	return 0;
}

// All of len: 1; nothing at all, which only may_end allows: 0.
static int take(struct tar_reader *r, void *out, size_t len, bool may_end, struct err *e)
{
	for (size_t n = 0; n < len;) {
		ssize_t got = r->source(r->arg, (char *)out + n, len - n, e);

		if (got < 0)
			return (int)got;
		if (got == 0 && n == 0 && may_end)
			return 0;
		if (got == 0)
			return damaged(e, "cut short");
		n += (size_t)got;
		r->total += (uint64_t)got;
	}
	return 1;
}

static int skip(struct tar_reader *r, uint64_t len, struct err *e)
{
	char bytes[8192];

	while (len) {
		size_t n = (size_t)MIN(len, sizeof(bytes));
		int got = take(r, bytes, n, false, e);

		if (got < 0)
			return got;
		len -= n;
	}
	return 0;
}

// Octal with blanks around it, or GNU's binary form. False when it is neither.
static bool number(const uint8_t *p, size_t len, uint64_t *out)
{
	size_t i = 0;

	*out = 0;
	if (p[0] == 0x80) {
		for (i = 1; i < len; i++) {
			if (*out >> 55)
				return false;
			*out = *out << 8 | p[i];
		}
		return true;
	}
	while (i < len && p[i] == ' ')
		i++;
	for (; i < len && p[i] >= '0' && p[i] <= '7'; i++)
		*out = *out << 3 | (uint64_t)(p[i] - '0'); // 12 digits at most
	return i == len || p[i] == ' ' || p[i] == '\0';
}

static bool sum_fits(const uint8_t *h)
{
	uint64_t want;
	uint32_t sum = 0;

	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += i >= SUM_AT && i < SUM_AT + 8 ? ' ' : h[i];
	return number(h + SUM_AT, 8, &want) && want == sum;
}

static bool is_zero(const uint8_t *h)
{
	for (size_t i = 0; i < TAR_BLOCK; i++)
		if (h[i])
			return false;
	return true;
}

// What a pax header, or GNU's long names, say of the entry that follows.
struct meta {
	bool has_path, has_link, has_size, has_uid, has_gid, has_time;
	struct tar_entry said;
};

static bool take_text(char *out, const char *value, size_t len)
{
	if (len >= TAR_PATH || len == 0 || memchr(value, '\0', len))
		return false;
	memcpy(out, value, len);
	out[len] = '\0';
	return true;
}

static bool take_number(const char *value, size_t len, uint64_t max, uint64_t *out)
{
	struct err ignored = { 0 };
	char text[24] = "";

	if (len >= sizeof(text))
		return false;
	memcpy(text, value, len);
	return num_u64(text, 0, max, out, &ignored) == 0;
}

// Seconds, with a fraction of which nine digits count; before 1970 the fraction is dropped.
static bool take_time(const char *value, size_t len, struct tar_entry *out)
{
	const char *dot = memchr(value, '.', len);
	size_t whole = dot ? (size_t)(dot - value) : len;
	bool minus = whole && value[0] == '-';
	uint64_t s, scale = 100000000;

	if (!take_number(value + minus, whole - minus, (uint64_t)1 << 40, &s))
		return false;
	out->mtime_s = minus ? -(int64_t)s : (int64_t)s;
	out->mtime_ns = 0;
	for (size_t i = whole + 1; i < len; i++, scale /= 10) {
		if (value[i] < '0' || value[i] > '9')
			return false;
		out->mtime_ns += (uint32_t)((uint64_t)(value[i] - '0') * scale);
	}
	if (minus)
		out->mtime_ns = 0;
	return true;
}

static bool take_record(const char *key, size_t key_len, const char *value, size_t len,
			struct meta *m)
{
	uint64_t n = 0;
	bool ok = true;

#define IS(word) (key_len == sizeof(word) - 1 && memcmp(key, word, key_len) == 0)
	if (IS("path"))
		ok = m->has_path = take_text(m->said.path, value, len);
	else if (IS("linkpath"))
		ok = m->has_link = take_text(m->said.link, value, len);
	else if (IS("size"))
		ok = m->has_size = take_number(value, len, INT64_MAX, &m->said.size);
	else if (IS("mtime"))
		ok = m->has_time = take_time(value, len, &m->said);
	else if (IS("uid") && (ok = m->has_uid = take_number(value, len, UINT32_MAX, &n)))
		m->said.uid = (uint32_t)n;
	else if (IS("gid") && (ok = m->has_gid = take_number(value, len, UINT32_MAX, &n)))
		m->said.gid = (uint32_t)n;
	else if (key_len >= 11 && memcmp(key, "GNU.sparse.", 11) == 0)
		ok = false; // its content is no content
#undef IS
	return ok;
}

static int read_pax(const struct buf *b, struct meta *m, struct err *e)
{
	const char *p = b->data, *end = p + b->len;

	while (p < end && *p) {
		const char *space = memchr(p, ' ', (size_t)(end - p)), *equals;
		uint64_t len;

		if (!space || !take_number(p, (size_t)(space - p), META_MAX, &len) ||
		    len > (uint64_t)(end - p) || len < (uint64_t)(space - p) + 4 ||
		    p[len - 1] != '\n')
			return damaged(e, "a pax header that is none");
		equals = memchr(space, '=', len - (size_t)(space - p));
		if (!equals || !take_record(space + 1, (size_t)(equals - space - 1), equals + 1,
					    (size_t)(p + len - 1 - (equals + 1)), m))
			return damaged(e, "a pax header that cannot be followed");
		p += len;
	}
	return 0;
}

static int read_meta(struct tar_reader *r, char type, uint64_t size, struct meta *m, struct err *e)
{
	cleanup_free char *text = NULL;
	struct buf b = { NULL, (size_t)size, 0 };

	if (size > META_MAX)
		return damaged(e, "a header that is too long");
	b.data = text = base_alloc((size_t)size + 1, 1);
	if ((size && take(r, text, (size_t)size, false, e) < 0) ||
	    skip(r, -size & (TAR_BLOCK - 1), e) < 0)
		return -e->no;
	if (type == 'g')
		return 0;
	if (type == 'x')
		return read_pax(&b, m, e);
	if (type == 'L')
		m->has_path = take_text(m->said.path, text, strlen(text));
	else
		m->has_link = take_text(m->said.link, text, strlen(text));
	return m->has_path || m->has_link ? 0 : damaged(e, "a name that is too long");
}

static int set_names(const uint8_t *h, const struct meta *m, struct tar_entry *out, struct err *e)
{
	const char *name = (const char *)h + NAME_AT, *link = (const char *)h + LINK_AT;
	const char *prefix = (const char *)h + PREFIX_AT;
	bool posix = h[MAGIC_AT + 5] == '\0' && prefix[0];

	if (m->has_path)
		memcpy(out->path, m->said.path, sizeof(out->path));
	else if (posix)
		(void)snprintf(out->path, sizeof(out->path), "%.155s/%.100s", prefix, name);
	else
		(void)snprintf(out->path, sizeof(out->path), "%.100s", name);
	if (m->has_link)
		memcpy(out->link, m->said.link, sizeof(out->link));
	else
		(void)snprintf(out->link, sizeof(out->link), "%.100s", link);
	if (!out->path[0])
		return damaged(e, "an entry without a name");
	if (tar_clean_path(out->path, e) < 0)
		return -e->no;
	if (out->type < TAR_SYMLINK) {
		out->link[0] = '\0';
		return 0;
	}
	if (!out->link[0])
		return damaged(e, "a link to nothing");
	return out->type == TAR_HARDLINK ? tar_clean_path(out->link, e) : 0;
}

static int set_type(uint8_t type, struct tar_entry *out, struct err *e)
{
	if (type == '0' || type == '\0' || type == '7')
		out->type = TAR_FILE;
	else if (type == '1')
		out->type = TAR_HARDLINK;
	else if (type == '2')
		out->type = TAR_SYMLINK;
	else if (type == '5')
		out->type = TAR_DIRECTORY;
	else if (type == '3' || type == '4' || type == '6')
		return err_kind(e, ERR_DENIED, "the tar stream: a device or a pipe");
	else
		return err_kind(e, ERR_DENIED, "the tar stream: an entry of type %d", type);
	return 0;
}

static int set_numbers(const uint8_t *h, const struct meta *m, struct tar_entry *out, struct err *e)
{
	uint64_t mode, uid, gid, size, mtime;

	if (!number(h + MODE_AT, 8, &mode) || !number(h + UID_AT, 8, &uid) ||
	    !number(h + GID_AT, 8, &gid) || !number(h + SIZE_AT, 12, &size) ||
	    !number(h + MTIME_AT, 12, &mtime) || uid > UINT32_MAX || gid > UINT32_MAX ||
	    size > INT64_MAX || mtime >> 40)
		return damaged(e, "a number out of range");
	out->mode = (uint32_t)mode & 07777;
	out->uid = m->has_uid ? m->said.uid : (uint32_t)uid;
	out->gid = m->has_gid ? m->said.gid : (uint32_t)gid;
	out->size = m->has_size ? m->said.size : size;
	out->mtime_s = m->has_time ? m->said.mtime_s : (int64_t)mtime;
	out->mtime_ns = m->has_time ? m->said.mtime_ns : 0;
	if (out->type == TAR_DIRECTORY)
		out->size = 0; // what it says is how much room to make, nothing follows
	if (out->type != TAR_FILE && out->size)
		return damaged(e, "a link with content");
	if (out->type != TAR_DIRECTORY && !out->path[0])
		return err_kind(e, ERR_DENIED, "the tar stream: a file in place of the tree");
	return 0;
}

// The next block that is a header: 1; end: 0. A second block of zeros is not asked for.
static int read_header(struct tar_reader *r, uint8_t h[TAR_BLOCK], struct err *e)
{
	int got = take(r, h, TAR_BLOCK, false, e);

	if (got < 0)
		return got;
	if (is_zero(h))
		return 0;
	if (memcmp(h + MAGIC_AT, "ustar", 5) != 0 || !sum_fits(h))
		return damaged(e, "this is none");
	return 1;
}

int tar_next(struct tar_reader *r, struct tar_entry *out, struct err *e)
{
	cleanup_free struct meta *m = base_alloc(1, sizeof(*m));
	uint8_t h[TAR_BLOCK];
	uint64_t size;

	if (skip(r, r->left, e) < 0 || skip(r, r->pad, e) < 0)
		return -e->no;
	r->left = r->pad = 0;
	for (int i = 0; i <= META_COUNT; i++) {
		int got = read_header(r, h, e);

		if (got <= 0)
			return got;
		if (!h[TYPE_AT] || !strchr("xgLK", h[TYPE_AT])) {
			*out = (struct tar_entry){ 0 };
			if (set_type(h[TYPE_AT], out, e) < 0 || set_names(h, m, out, e) < 0 ||
			    set_numbers(h, m, out, e) < 0)
				return -e->no;
			r->left = out->size;
			r->pad = (uint32_t)(-out->size & (TAR_BLOCK - 1));
			return 1;
		}
		if (!number(h + SIZE_AT, 12, &size))
			return damaged(e, "a number out of range");
		if (read_meta(r, (char)h[TYPE_AT], size, m, e) < 0)
			return -e->no;
	}
	return damaged(e, "headers without an entry");
}

ssize_t tar_data(struct tar_reader *r, void *out, size_t len, struct err *e)
{
	ssize_t n;

	if (!r->left)
		return 0;
	n = r->source(r->arg, out, (size_t)MIN(len, r->left), e);
	if (n == 0)
		return damaged(e, "cut short");
	if (n > 0) {
		r->left -= (uint64_t)n;
		r->total += (uint64_t)n;
	}
	return n;
}

int tar_drain(struct tar_reader *r, struct err *e)
{
	char bytes[8192];

	for (uint64_t n = 0; n < DRAIN_MAX;) {
		ssize_t got = r->source(r->arg, bytes, sizeof(bytes), e);

		if (got <= 0)
			return (int)got;
		n += (uint64_t)got;
	}
	return damaged(e, "does not end");
}
