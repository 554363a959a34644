// SPDX-License-Identifier: MIT
// Notes of what is done whatever becomes of its line.
#include <stdarg.h>

#include "audit/audit.h"
#include "base/log.h"

// Of some actions the word says it.
static enum audit_outcome outcome_of(enum audit_action action)
{
	return action == AUDIT_START_FAILED || action == AUDIT_QUOTA_EXCEEDED ? AUDIT_FAILED
									      : AUDIT_DONE;
}

static void note(const struct audit_event *event)
{
	struct err e = { 0 };
	address_text address;

	if (audit_append(event, &e) == 0)
		return;
	address_print(&event->at, address);
	log_error(address, "%s is not in the audit log: %s", audit_action_names[event->action],
		  e.msg);
}

void audit_note(const struct address *at, enum audit_action action, const struct audit_context *by,
		const char *fmt, ...)
{
	struct audit_event event = {
		.at = *at, .action = action, .outcome = outcome_of(action), .by = by
	};
	char detail[AUDIT_DETAIL_MAX + 1];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
	event.detail = detail;
	note(&event);
}

static void add_change(const char *key, const struct codec_node *from, const struct codec_node *to,
		       struct buf *out)
{
	cleanup_buf struct buf old = BUF_INIT, new = BUF_INIT;

	if (from)
		codec_node_print(from, &old);
	if (to)
		codec_node_print(to, &new);
	if (str_eq(buf_text(&old), buf_text(&new)))
		return;
	buf_fmt(out, "%s%s: %s -> %s", out->len ? ", " : "", key, old.len ? old.data : "none",
		new.len ? new.data : "none");
}

// What is only in the first one was taken away; the others are in the second one.
static void add_changes(const char *prefix, const struct codec_node *from,
			const struct codec_node *to, int depth, struct buf *out)
{
	for (const struct codec_node *n = codec_child(from); n; n = codec_next(n)) {
		cleanup_free char *key = base_printf("%s%s", prefix, codec_key(n));

		if (!codec_get(to, codec_key(n)))
			add_change(key, n, NULL, out);
	}
	for (const struct codec_node *n = codec_child(to); n; n = codec_next(n)) {
		const struct codec_node *was = codec_get(from, codec_key(n));
		bool deeper = depth > 0 && codec_type(n) == CODEC_OBJECT && was &&
			      codec_type(was) == CODEC_OBJECT;
		cleanup_free char *key =
			base_printf("%s%s%s", prefix, codec_key(n), deeper ? "." : "");

		if (deeper)
			add_changes(key, was, n, depth - 1, out);
		else
			add_change(key, was, n, out);
	}
}

void audit_note_changes(const struct address *at, enum audit_action action, const char *before,
			const char *after)
{
	cleanup_tree struct codec_node *from = NULL, *to = NULL;
	cleanup_buf struct buf text = BUF_INIT;
	struct err e = { 0 };

	if (codec_tree(before, strlen(before), &from, &e) == 0 &&
	    codec_tree(after, strlen(after), &to, &e) == 0)
		add_changes("", from, to, 1, &text);
	audit_note(at, action, NULL, "%s", e.no ? e.msg : buf_text(&text));
}

void audit_note_quota(const struct address *at, const struct err *why)
{
	if (why->kind == ERR_QUOTA && why->no)
		audit_note(at, AUDIT_QUOTA_EXCEEDED, NULL, "%s", why->msg);
}

// A switch, so that a new kind has to be thought of.
static bool was_begun(const struct err *e)
{
	switch (e->kind) {
	case ERR_FAILED:
	case ERR_DAMAGED:
	case ERR_DENIED:
	case ERR_TIMEOUT:
	case ERR_EXEC_LOST:
		return true;
	case ERR_USAGE:
	case ERR_STATE:
	case ERR_MISSING:
	case ERR_CONFLICT:
	case ERR_QUOTA:
	case ERR_UNAVAILABLE:
	case ERR_EXEC_DENIED:
	case ERR_EXEC_MISSING:
	case ERR_KINDS:
		break;
	}
	return false;
}

// Whether or not it can be noted, the failure itself is told: stderr is for that one line.
int audit_note_broken(const struct address *at, enum audit_action action,
		      const struct audit_context *by, const struct err *e)
{
	struct audit_event event = {
		.at = *at, .action = action, .outcome = AUDIT_FAILED, .detail = e->msg, .by = by
	};
	struct err why = { 0 };

	if (audit_append(&event, &why) < 0)
		log_info(at->tenant, "%s is not in the audit log: %s", audit_action_names[action],
			 why.msg);
	return -e->no;
}

int audit_note_failed(const struct address *at, enum audit_action action,
		      const struct audit_context *by, const struct err *e)
{
	return was_begun(e) ? audit_note_broken(at, action, by, e) : -e->no;
}
