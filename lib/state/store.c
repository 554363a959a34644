// SPDX-License-Identifier: MIT
#include "state/store.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"

// Locks of each level that this process holds: the order is a rule about one process.
static unsigned held[STORE_LEVELS];

static const char *const level_words[STORE_LEVELS] = { "node", "tenant", "pool", "instance" };

static void level_address(enum store_level level, const struct address *a, struct address *out)
{
	*out = (struct address){ 0 };
	if (level >= STORE_TENANT)
		memcpy(out->tenant, a->tenant, sizeof(out->tenant));
	if (level >= STORE_POOL)
		memcpy(out->pool, a->pool, sizeof(out->pool));
	if (level >= STORE_INSTANCE)
		memcpy(out->instance, a->instance, sizeof(out->instance));
}

static void level_path(enum store_level level, const struct address *a, path_text out)
{
	switch (level) {
	case STORE_NODE:
		if (base_copy(out, PATH_LEN, path_state()) < 0)
			break; // path_check_env saw to that
		return;
	case STORE_TENANT:
		path_tenant(a->tenant, out);
		return;
	case STORE_POOL:
		path_pool(a->tenant, a->pool, out);
		return;
	case STORE_INSTANCE:
		path_instance(a, out);
		return;
	case STORE_LEVELS:
		break;
	}
	abort();
}

static int missing(const struct store *s, struct err *e)
{
	err_kind(e, ERR_MISSING, "no such %s", level_words[s->level]);
	err_object(e, "%s", s->name);
	return err_wrap(e, "%s", s->level == STORE_NODE ? s->path : s->name);
}

int store_open(struct store *s, enum store_level level, const struct address *a, struct err *e)
{
	struct store open_s = { .dir = -1, .lock = -1, .level = level };
	struct address at = { 0 };

	if (level > STORE_NODE) {
		level_address(level, a, &at);
		address_print(&at, open_s.name);
	}
	level_path(level, &at, open_s.path);
	open_s.dir = open(open_s.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (open_s.dir < 0 && errno == ENOENT)
		return missing(&open_s, e);
	if (open_s.dir < 0)
		return err_sys(e, "open %s", open_s.path);
	*s = open_s;
	return 0;
}

// The directory at the path is still the one that was opened: it may have been destroyed, and made
// again, while this process waited for its lock.
static bool still_there(const struct store *s)
{
	struct stat mine, now;

	return fstat(s->dir, &mine) == 0 && lstat(s->path, &now) == 0 &&
	       mine.st_dev == now.st_dev && mine.st_ino == now.st_ino;
}

int store_lock(struct store *s, enum store_level level, const struct address *a, int wait_ms,
	       struct err *e)
{
	int64_t deadline = clock_ms() + wait_ms;

	for (unsigned l = level; l < STORE_LEVELS; l++)
		assert(held[l] == 0); // order: node, tenant, pool, instance
	if (level == STORE_NODE && fd_mkdirs(path_state(), STORE_DIR_MODE, e) < 0)
		return -e->no;
	for (;;) {
		cleanup_store struct store try = STORE_NONE;

		if (store_open(&try, level, a, e) < 0)
			return -e->no;
		try.lock = fd_lock(try.dir, "lock", true, (int)clock_left(deadline), e);
		if (try.lock < 0 && e->no == ENOENT) // destroyed between open and lock
			return missing(&try, e);
		if (try.lock < 0) {
			err_object(e, "%s", try.name);
			return err_wrap(e, "%s", try.name[0] ? try.name : "node");
		}
		held[level]++;
		if (still_there(&try)) {
			*s = try;
			try = (struct store)STORE_NONE;
			return 0;
		}
	}
}

void store_close(struct store *s)
{
	if (s->lock >= 0) {
		assert(held[s->level] > 0);
		held[s->level]--;
		(void)close(s->lock);
	}
	if (s->dir >= 0)
		(void)close(s->dir);
	s->lock = s->dir = -1;
}

bool store_exists(enum store_level level, const struct address *a)
{
	struct address at = { 0 };
	path_text path;
	struct stat st;

	if (level > STORE_NODE)
		level_address(level, a, &at);
	level_path(level, &at, path);
	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int store_damaged(const struct store *s, const char *file, struct err *e)
{
	char said[sizeof(e->msg)];

	memcpy(said, e->msg, sizeof(said));
	err_kind(e, ERR_DAMAGED, "%s/%s: damaged: %s", s->path, file, said);
	err_object(e, "%s", s->name);
	err_hint(e, "nothing was changed; put a good copy of the file back, or move %s away",
		 s->path);
	return s->name[0] ? err_wrap(e, "%s", s->name) : -e->no;
}

int store_load(const struct store *s, const char *file, const struct field *tab, void *out,
	       struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	if (fd_read_file(s->dir, file, CODEC_MAX, &text, e) < 0) {
		if (e->no == EFBIG)
			return store_damaged(s, file, e);
		err_object(e, "%s", s->name);
		return err_wrap(e, "%s", s->name[0] ? s->name : "node");
	}
	if (codec_parse(tab, buf_text(&text), text.len, out, e) < 0)
		return store_damaged(s, file, e);
	return 0;
}

int store_load_record(const struct store *s, const char *file, const struct field *tab, void *out,
		      struct err *e)
{
	if (store_load(s, file, tab, out, e) == 0)
		return 0;
	if (e->no != ENOENT || e->kind != ERR_MISSING)
		return -e->no;
	if (!still_there(s)) // destroyed between our open and our read
		return missing(s, e);
	(void)err_kind(e, ERR_DAMAGED, "the file is missing");
	return store_damaged(s, file, e);
}

int store_save(const struct store *s, const char *file, const struct field *tab, const void *in,
	       struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	assert(s->lock >= 0);
	codec_print(tab, in, &text);
	buf_char(&text, '\n');
	if (fault_point("store-save")) {
		err_sys(e, "write %s", file);
		return err_wrap(e, "%s", s->name[0] ? s->name : "node");
	}
	if (fd_replace_file(s->dir, file, text.data, text.len, STORE_FILE_MODE, e) < 0)
		return err_wrap(e, "%s", s->name[0] ? s->name : "node");
	return 0;
}

int store_check_name(const char *text, struct err *e)
{
	return name_check(text, e);
}

int store_check_instance(const char *text, struct err *e)
{
	return name_check_instance(text, e);
}

int store_check_time(const char *text, struct err *e)
{
	int64_t unix_s;

	if (!text[0])
		return 0;
	return clock_parse_utc(text, &unix_s, e);
}

int store_check_subnet(const char *text, struct err *e)
{
	struct subnet s;

	return subnet_parse(text, &s, e);
}

int store_check_ip(const char *text, struct err *e)
{
	uint32_t ip;

	return ip_parse(text, &ip, e);
}
