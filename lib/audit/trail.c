// SPDX-License-Identifier: MIT
#include "audit/trail.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "audit/context.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/num.h"

#define WAIT_MS	  10000	     // for the lock, unless MVM_LOCK_TIMEOUT_MS says otherwise
#define TAIL_MAX  (64 * KIB) // looked at for the last line
#define QUOTE_MAX 512	     // of an unfinished line, in the entry that replaces it

// The number of the last line; of one that does not decode, by those before it: what it was is for
// verify to say, and must not keep new entries out.
static void number_last(struct audit_trail *t, const char *text, size_t len)
{
	for (uint64_t behind = 0; len > 0; behind++) {
		const char *before = memrchr(text, '\n', len - 1);
		const char *line = before ? before + 1 : text;
		struct audit_entry entry = { 0 };
		struct err ignored = { 0 };

		if (audit_parse_line(line, (size_t)(text + len - 1 - line), &entry, &ignored) ==
		    0) {
			// A number that nobody reached by counting is not counted on from.
			t->seq = entry.seq + behind < AUDIT_SEQ_MAX ? entry.seq + behind : 0;
			if (!behind && entry.outcome == AUDIT_DONE)
				t->last_action = entry.outcome == AUDIT_DONE ? entry.action : -1;
			return;
		}
		len = (size_t)(line - text);
	}
}

// From text, which ends with a newline.
static void take_last(struct audit_trail *t, const char *text, size_t len)
{
	const char *before = memrchr(text, '\n', len - 1);
	const char *line = before ? before + 1 : text;

	number_last(t, text, len);
	audit_digest(line, (size_t)(text + len - 1 - line), t->prev);
}

// The first line of a new file follows the last one of the rotated file.
static int take_rotated(struct audit_trail *t, struct err *e)
{
	for (size_t i = 3; i-- > 0;) { // from the newest packed one
		cleanup_buf struct buf text = BUF_INIT;
		cleanup_fd int fd = openat(t->dir, trail_files[i],
					   O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0)
			return err_sys(e, "open %s", trail_files[i]);
		if (trail_pack_read(fd, 2 * TRAIL_MAX, &text, e) < 0) {
			if (e->no != EBADMSG)
				return err_wrap(e, "%s", trail_files[i]);
			log_warn(t->tenant, "%s: %s: a new chain begins", trail_files[i], e->msg);
			err_clear(e);
			break;
		}
		while (text.len && text.data[text.len - 1] != '\n')
			text.len--;
		if (text.len) {
			take_last(t, text.data, text.len);
			return 0;
		}
	}
	return COPY(t->prev, AUDIT_FIRST_PREV);
}

// Reads the end of the file: the last whole line, and in *torn what stands behind it.
static int read_tail(struct audit_trail *t, struct buf *torn, struct err *e)
{
	cleanup_free char *tail = base_alloc(1, TAIL_MAX);
	struct stat st;
	bool rotated;
	size_t len;

	if (t->fd >= 0 && fstat(t->fd, &st) < 0)
		return err_sys(e, "stat " AUDIT_LOG);
	if (t->fd >= 0 && !S_ISREG(st.st_mode))
		return err_set(e, EINVAL, AUDIT_LOG ": not a regular file");
	t->size = t->fd < 0 ? 0 : st.st_size;
	len = (size_t)MIN((uint64_t)t->size, TAIL_MAX);
	if (len && pread(t->fd, tail, len, t->size - (off_t)len) != (ssize_t)len)
		return err_set(e, EIO, "read the end of " AUDIT_LOG);
	const char *end = memrchr(tail, '\n', len);
	size_t whole = end ? (size_t)(end + 1 - tail) : 0;

	if (!whole && (uint64_t)t->size > TAIL_MAX) { // no crash of ours: it is left for verify
		if (trail_rotate(t, &rotated, e) < 0)
			return -e->no;
		return take_rotated(t, e);
	}
	buf_add(torn, tail + whole, len - whole);
	t->size -= (int64_t)torn->len;
	if (!whole)
		return take_rotated(t, e);
	take_last(t, tail, whole);
	return 0;
}

static void make_entry(const struct audit_trail *t, const struct audit_event *event,
		       struct audit_entry *out)
{
	struct audit_context now;

	if (!event->by)
		audit_context_now(&now);
	const struct audit_context *by = event->by ? event->by : &now;

	*out = (struct audit_entry){ .schema_version = 1,
				     .seq = t->seq + 1,
				     .action = (int)event->action,
				     .who = by->who,
				     .why = by->why,
				     .outcome = event->outcome };
	audit_now(out->timestamp);
	memcpy(out->tenant_id, t->tenant, sizeof(out->tenant_id));
	memcpy(out->pool_id, event->at.pool, sizeof(out->pool_id));
	memcpy(out->instance_id, event->at.instance, sizeof(out->instance_id));
	memcpy(out->request_id, by->request_id, sizeof(out->request_id));
	memcpy(out->prev, t->prev, sizeof(out->prev));
	base_cut(out->detail, sizeof(out->detail), "%s", event->detail ? event->detail : "");
	log_clean(out->detail);
}

static int open_log(struct audit_trail *t, struct err *e)
{
	t->fd = openat(t->dir, AUDIT_LOG, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return t->fd < 0 && errno != ENOENT ? err_sys(e, "open " AUDIT_LOG) : 0;
}

static int create_log(struct audit_trail *t, struct err *e)
{
	t->fd = openat(t->dir, AUDIT_LOG, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		       AUDIT_FILE_MODE);
	if (t->fd < 0)
		return err_sys(e, "create " AUDIT_LOG);
	return fd_sync_dir(t->dir, e);
}

// One write at the end of the whole lines. over: bytes of an unfinished line that it replaces.
static int write_line(struct audit_trail *t, const struct buf *line, size_t over, struct err *e)
{
	ssize_t n = -1;

	if (!fault_point("audit-write"))
		n = pwrite(t->fd, line->data, line->len, t->size);
	if (n != (ssize_t)line->len) {
		if (n >= 0)
			errno = ENOSPC; // why else would it be short
		(void)err_sys(e, "write " AUDIT_LOG);
		if (!over) // what stands there now was never acknowledged, and is ours
			(void)!ftruncate(t->fd, t->size);
		return -e->no;
	}
	if (over > line->len && ftruncate(t->fd, t->size + (off_t)line->len) < 0)
		return err_sys(e, "cut " AUDIT_LOG);
	if (fault_point("audit-sync") || fdatasync(t->fd) < 0) {
		(void)err_sys(e, "sync " AUDIT_LOG);
		if (!over)
			(void)!ftruncate(t->fd, t->size);
		return -e->no;
	}
	return 0;
}

static int add(struct audit_trail *t, const struct audit_event *event, size_t over, struct err *e)
{
	cleanup_buf struct buf line = BUF_INIT;
	struct audit_entry entry;
	char digest[65];
	bool rotated;

	make_entry(t, event, &entry);
	codec_print(audit_entry_fields, &entry, &line);
	audit_digest(line.data, line.len, digest);
	buf_char(&line, '\n');
	if (!over && (uint64_t)t->size + line.len > t->max && trail_rotate(t, &rotated, e) < 0)
		return -e->no;
	if ((t->fd < 0 && create_log(t, e) < 0) || write_line(t, &line, over, e) < 0)
		return -e->no;
	t->size += (int64_t)line.len;
	t->seq = entry.seq;
	t->last_action = entry.outcome == AUDIT_DONE ? entry.action : -1;
	memcpy(t->prev, digest, sizeof(t->prev));
	return 0;
}

static int replace_torn(struct audit_trail *t, const struct buf *torn, struct err *e)
{
	struct audit_event event = { .action = AUDIT_LOG_REPAIRED };
	char detail[AUDIT_DETAIL_MAX];
	char digest[65];

	audit_digest(torn->data, torn->len, digest);
	base_cut(detail, sizeof(detail), "an unfinished line of %zu bytes (SHA-256 %s): %.*s",
		 torn->len, digest, QUOTE_MAX, buf_text(torn));
	event.detail = detail;
	return add(t, &event, torn->len, e);
}

int trail_lock(int dir, bool exclusive, struct err *e)
{
	const char *text = getenv("MVM_LOCK_TIMEOUT_MS");
	struct err ignored = { 0 };
	uint64_t wait_ms = WAIT_MS;

	if (text && num_u64(text, 0, INT32_MAX, &wait_ms, &ignored) < 0)
		wait_ms = WAIT_MS;
	return fd_lock(dir, AUDIT_LOCK, exclusive, (int)wait_ms, e);
}

int trail_open(struct audit_trail *t, int dir, const char *tenant, struct err *e)
{
	cleanup_buf struct buf torn = BUF_INIT;
	struct audit_trail new = {
		.dir = dir, .lock = -1, .fd = -1, .last_action = -1, .max = TRAIL_MAX
	};

	if (COPY(new.tenant, tenant) < 0)
		return err_usage(e, "'%.64s' is not a tenant", tenant);
	new.lock = trail_lock(dir, true, e);
	if (new.lock < 0)
		return -e->no;
	*t = new; // from here on its closing is the caller's
	if (fault_point("audit-locked"))
		return err_sys(e, "open " AUDIT_LOG);
	if (trail_finish_rotation(dir, e) < 0 || open_log(t, e) < 0 || read_tail(t, &torn, e) < 0)
		return -e->no;
	if (torn.len && replace_torn(t, &torn, e) < 0)
		return -e->no;
	t->ready = true;
	return 0;
}

int trail_add(struct audit_trail *t, const struct audit_event *event, struct err *e)
{
	return add(t, event, 0, e);
}

void trail_close(struct audit_trail *t)
{
	base_closep(&t->fd);
	base_closep(&t->lock);
	t->fd = t->lock = -1;
	t->ready = false;
}
