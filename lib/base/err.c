// SPDX-License-Identifier: MIT
#include "base/err.h"

#include "base/buf.h"
#include <stdarg.h>

const struct err_row err_kinds[ERR_KINDS] = {
	[ERR_FAILED] = { "failed", 1, EIO, false, "failed, the message says why" },
	[ERR_DAMAGED] = { "damaged", 1, EBADMSG, false,
			  "a file of mvm's own state does not decode; it is left as it is" },
	[ERR_USAGE] = { "usage", 2, EINVAL, false, "wrong usage or invalid input" },
	[ERR_STATE] = { "state", 3, EBADFD, false, "exists, but is not in the asked state" },
	[ERR_MISSING] = { "missing", 4, ENOENT, false, "not found" },
	[ERR_CONFLICT] = { "conflict", 5, EEXIST, false, "exists with another specification" },
	[ERR_QUOTA] = { "quota", 6, EDQUOT, false, "over a quota or the node's capacity" },
	[ERR_DENIED] = { "denied", 7, EACCES, false, "denied" },
	[ERR_UNAVAILABLE] = { "unavailable", 8, EAGAIN, true,
			      "locked, busy or not reachable now: try again" },
	[ERR_TIMEOUT] = { "timeout", 124, ETIMEDOUT, true, "timed out" },
	[ERR_EXEC_LOST] = { "exec-lost", 125, EPIPE, false, "exec: the guest's agent failed" },
	[ERR_EXEC_DENIED] = { "exec-denied", 126, ENOEXEC, false, "exec: not executable" },
	[ERR_EXEC_MISSING] = { "exec-missing", 127, ENOENT, false, "exec: not found" },
};

static enum err_kind kind_of(int no)
{
	switch (no) {
	case EACCES:
	case EPERM:
		return ERR_DENIED;
	case EAGAIN:
	case EBUSY:
		return ERR_UNAVAILABLE;
	case ETIMEDOUT:
		return ERR_TIMEOUT;
	case ENOENT:
		return ERR_MISSING;
	case EEXIST:
		return ERR_CONFLICT;
	case EBADMSG:
		return ERR_DAMAGED;
	default: // EINVAL too: the kernel's is not the caller's fault
		return ERR_FAILED;
	}
}

static int PRINTF(4, 0)
	err_fill(struct err *e, int no, enum err_kind kind, const char *fmt, va_list ap)
{
	*e = (struct err){ .no = no > 0 ? no : EIO, .kind = kind };
	(void)vsnprintf(e->msg, sizeof(e->msg), fmt, ap); // a cut message is still a message
	return -e->no;
}

int err_set(struct err *e, int no, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)err_fill(e, no, kind_of(no), fmt, ap);
	va_end(ap);
	return -e->no;
}

int err_sys(struct err *e, const char *fmt, ...)
{
	int no = errno;
	va_list ap;

	va_start(ap, fmt);
	(void)err_fill(e, no, kind_of(no), fmt, ap);
	va_end(ap);
	size_t len = strlen(e->msg);
	base_cut(e->msg + len, sizeof(e->msg) - len, ": %s", strerror(e->no));
	return -e->no;
}

int err_kind(struct err *e, enum err_kind kind, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)err_fill(e, err_kinds[kind].no, kind, fmt, ap);
	va_end(ap);
	return -e->no;
}

int err_usage(struct err *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)err_fill(e, EINVAL, ERR_USAGE, fmt, ap);
	va_end(ap);
	return -e->no;
}

static void PRINTF(2, 0)
	err_prepend(struct err *e, const char *fmt, va_list ap, const char *between)
{
	char head[sizeof(e->msg)];

	(void)vsnprintf(head, sizeof(head), fmt, ap);
	size_t gap = strlen(between), tail = strlen(e->msg);
	size_t len = MIN(strlen(head), sizeof(e->msg) - 1 - gap);
	tail = MIN(tail, sizeof(e->msg) - 1 - gap - len); // the innermost end gives way
	memmove(e->msg + len + gap, e->msg, tail);
	memcpy(e->msg, head, len);
	memcpy(e->msg + len, between, gap);
	e->msg[len + gap + tail] = '\0';
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_prepend(e, fmt, ap, ": ");
	va_end(ap);
	return -e->no;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_prepend(e, fmt, ap, "");
	va_end(ap);
	return -e->no;
}

int err_hint(struct err *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(e->hint, sizeof(e->hint), fmt, ap);
	va_end(ap);
	return -e->no;
}

int err_object(struct err *e, const char *fmt, ...)
{
	va_list ap;

	if (e->object[0])
		return -e->no;
	va_start(ap, fmt);
	(void)vsnprintf(e->object, sizeof(e->object), fmt, ap);
	va_end(ap);
	return -e->no;
}

int err_exit(const struct err *e)
{
	return e->exit ? e->exit : err_kinds[e->kind].exit;
}

void err_clear(struct err *e)
{
	*e = (struct err){ 0 };
}
