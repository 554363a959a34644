// SPDX-License-Identifier: MIT
#include "sys/mounts.h"

#include <fcntl.h>
#include <sys/mount.h>

#include "base/fd.h"
#include "base/num.h"

#define MOUNTINFO     "/proc/self/mountinfo"
#define MOUNTINFO_MAX (64 * MIB)

void mounts_free(struct mounts *m)
{
	for (size_t i = 0; i < m->len; i++) {
		struct mount_row *r = &m->items[i];

		free(r->root);
		free(r->point);
		free(r->options);
		free(r->fstype);
		free(r->source);
		free(r->super);
	}
	free(m->items);
	*m = (struct mounts)MOUNTS_INIT;
}

static bool is_octal(const char *s)
{
	return s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' && s[2] >= '0' &&
	       s[2] <= '7';
}

static void unescape(char *s)
{
	char *to = s;

	for (; *s; to++) {
		if (s[0] == '\\' && is_octal(s + 1)) {
			*to = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to = *s++;
		}
	}
	*to = '\0';
}

// Cuts the next field at exactly one space: a field may be empty (a source of "").
static char *field(char **rest)
{
	char *at = *rest;
	char *space = at ? strchr(at, ' ') : NULL;

	*rest = space ? space + 1 : NULL;
	if (space)
		*space = '\0';
	return at;
}

static bool take_u32(const char *s, uint32_t *out)
{
	struct err why = { 0 };
	uint64_t v;

	if (!s || num_u64(s, 0, UINT32_MAX, &v, &why) < 0)
		return false;
	*out = (uint32_t)v;
	return true;
}

static bool take_device(char *s, struct mount_row *row)
{
	char *colon = s ? strchr(s, ':') : NULL;

	if (!colon)
		return false;
	*colon = '\0';
	return take_u32(s, &row->major) && take_u32(colon + 1, &row->minor);
}

static char *keep(char *s)
{
	unescape(s);
	return base_strdup(s);
}

// id parent major:minor root point options [optional...] - fstype source super
static bool parse_line(char *line, struct mount_row *row)
{
	char *rest = line, *root, *point, *options, *word, *fstype, *source, *super;

	if (!take_u32(field(&rest), &row->id) || !take_u32(field(&rest), &row->parent) ||
	    !take_device(field(&rest), row))
		return false;
	root = field(&rest);
	point = field(&rest);
	options = field(&rest);
	do {
		word = field(&rest);
	} while (word && !str_eq(word, "-"));
	fstype = field(&rest);
	source = field(&rest);
	super = field(&rest);
	if (!super || point[0] != '/')
		return false;
	row->root = keep(root);
	row->point = keep(point);
	row->options = keep(options);
	row->fstype = keep(fstype);
	row->source = keep(source);
	row->super = keep(super);
	return true;
}

int mounts_parse(const char *text, size_t len, struct mounts *out, struct err *e)
{
	cleanup_mounts struct mounts m = MOUNTS_INIT;
	cleanup_free char *copy = base_alloc(len + 1, 1);
	char *next = copy;

	memcpy(copy, text, len);
	while (*next) {
		char *line = next, *end = strchr(next, '\n');
		struct mount_row row = { 0 };

		next = end ? end + 1 : line + strlen(line);
		if (end)
			*end = '\0';
		if (!parse_line(line, &row))
			return err_set(e, EPROTO, "line %zu of the mount table is not understood",
				       m.len + 1);
		m.items = base_grow(m.items, m.len + 1, sizeof(*m.items));
		m.items[m.len++] = row;
	}
	if (next != copy + len)
		return err_set(e, EPROTO, "the mount table holds a NUL");
	*out = m;
	m = (struct mounts)MOUNTS_INIT;
	return 0;
}

int mounts_read(struct mounts *out, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	if (fd_read_file(AT_FDCWD, MOUNTINFO, MOUNTINFO_MAX, &text, e) < 0)
		return -e->no;
	if (mounts_parse(buf_text(&text), text.len, out, e) < 0)
		return err_wrap(e, "%s", MOUNTINFO);
	return 0;
}

bool mounts_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	if (str_eq(dir, "/"))
		return path[0] == '/';
	return strncmp(path, dir, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

const struct mount_row *mounts_of(const struct mounts *m, const char *path)
{
	const struct mount_row *best = NULL;

	for (size_t i = 0; i < m->len; i++) {
		const struct mount_row *r = &m->items[i];

		if (mounts_below(path, r->point) &&
		    (!best || strlen(r->point) >= strlen(best->point)))
			best = r;
	}
	return best;
}

bool mounts_option(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (strncmp(at, word, len) == 0 && (at[len] == '\0' || at[len] == ','))
			return true;
	return false;
}

// Backwards, since a later mount may lie on an earlier one.
int mounts_drop_below(const char *dir, struct err *e)
{
	cleanup_mounts struct mounts m = MOUNTS_INIT;

	if (mounts_read(&m, e) < 0)
		return -e->no;
	for (size_t i = m.len; i > 0; i--) {
		const char *point = m.items[i - 1].point;

		if (!mounts_below(point, dir))
			continue;
		// EINVAL: it went with the one before, or its directory is deleted
		if (umount2(point, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL &&
		    errno != ENOENT)
			return err_sys(e, "unmount %s", point);
	}
	return 0;
}
