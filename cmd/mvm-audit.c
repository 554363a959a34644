// SPDX-License-Identifier: MIT
#include <fcntl.h>

#include "audit/follow.h"
#include "audit/verify.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/tool.h"
#include "sys/sandbox.h"

#define EVENT_MAX    (64 * KIB)
#define EVENTS_LAST  20
#define SINCE_MAX_MS (10ULL * 365 * 24 * 3600 * 1000)

static uint64_t arg_last;
static const char *arg_since;
static int arg_action;
static bool arg_archived, arg_follow, arg_dry_run, given_last, given_action;

#define LAST_OPT                                                                   \
	{                                                                          \
		.letter = 'n', .kind = OPT_U64, .name = "last", .arg = "N",        \
		.help = "only the newest N", .slot = &arg_last, .max = UINT32_MAX, \
		.given = &given_last                                               \
	}
#define SINCE_OPT                                                                        \
	{                                                                                \
		.kind = OPT_TEXT, .name = "since", .arg = "TIME",                        \
		.help = "not before 2025-01-31T12:00:00Z, or as long ago as 90s, 2h30m", \
		.slot = &arg_since                                                       \
	}
#define ACTION_OPT                                                              \
	{                                                                       \
		.kind = OPT_ENUM, .name = "action", .arg = "ACTION",            \
		.help = "only this one, as TenantCreated", .slot = &arg_action, \
		.words = audit_action_names, .given = &given_action             \
	}
#define ARCHIVED_OPT                                                                        \
	{                                                                                   \
		.kind = OPT_FLAG, .name = "archived",                                       \
		.help = "the logs of destroyed tenants of that name", .slot = &arg_archived \
	}
#define DRY_RUN_OPT                                                                             \
	{                                                                                       \
		.kind = OPT_FLAG, .name = "dry-run", .help = "check and print, change nothing", \
		.slot = &arg_dry_run                                                            \
	}

static const struct opt append_opts[] = { DRY_RUN_OPT, OPT_END };
static const struct opt list_opts[] = { LAST_OPT, SINCE_OPT, ACTION_OPT, ARCHIVED_OPT, OPT_END };
static const struct opt events_opts[] = { LAST_OPT,
					  SINCE_OPT,
					  ACTION_OPT,
					  ARCHIVED_OPT,
					  { .letter = 'f',
					    .kind = OPT_FLAG,
					    .name = "follow",
					    .help = "then print new ones as they come, one a line",
					    .slot = &arg_follow },
					  OPT_END };
static const struct opt follow_opts[] = { LAST_OPT, SINCE_OPT, ACTION_OPT, OPT_END };
static const struct opt rotate_opts[] = { DRY_RUN_OPT, OPT_END };
static const struct opt verify_opts[] = { ARCHIVED_OPT, OPT_END };

// What append reads.
struct event {
	name_text tenant_id, pool_id;
	instance_text instance_id;
	int action;
	char detail[AUDIT_DETAIL_MAX + 1];
};
static const struct field event_fields[] = {
	{ FIELD_SLOT(struct event, tenant_id, name_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 1, .check = name_check, .doc = "tenant" },
	{ FIELD_SLOT(struct event, pool_id, name_text), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .check = name_check, .doc = "pool" },
	{ FIELD_SLOT(struct event, instance_id, instance_text), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .check = name_check_instance, .doc = "instance" },
	{ FIELD_SLOT(struct event, action, int), .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
	  .names = audit_action_names, .doc = "what was done" },
	{ FIELD_SLOT(struct event, detail, char[AUDIT_DETAIL_MAX + 1]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "more about it" },
	FIELD_END
};

static int read_event(struct event *in, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	if (fd_read_all(STDIN_FILENO, EVENT_MAX, &text, e) < 0 ||
	    codec_parse(event_fields, buf_text(&text), text.len, in, e) < 0)
		return err_wrap(e, "stdin");
	if (in->instance_id[0] && !in->pool_id[0])
		return err_usage(e, "stdin: instance_id without pool_id");
	return 0;
}

static int run_append(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_files struct audit_files there = FILES_NONE;
	struct audit_event event = { 0 };
	struct event in = { 0 };
	uint64_t seq = 0;

	(void)call;
	if (read_event(&in, e) < 0 || files_open(in.tenant_id, &there, e) < 0)
		return -e->no;
	memcpy(event.at.tenant, in.tenant_id, sizeof(event.at.tenant));
	memcpy(event.at.pool, in.pool_id, sizeof(event.at.pool));
	memcpy(event.at.instance, in.instance_id, sizeof(event.at.instance));
	event.action = (enum audit_action)in.action;
	event.detail = in.detail;
	files_close(&there); // its lock is wanted
	if (!arg_dry_run && audit_append_seq(&event, &seq, e) < 0)
		return err_wrap(e, "%s", in.tenant_id);
	buf_fmt(out, "{\"schema_version\":1,\"tenant_id\":\"%s\",\"action\":\"%s\",", in.tenant_id,
		audit_action_names[in.action]);
	if (arg_dry_run)
		buf_str(out, "\"changed\":true,\"dry_run\":true}");
	else
		buf_fmt(out, "\"changed\":true,\"seq\":%llu}", (unsigned long long)seq);
	return 0;
}

static int read_since(int64_t *ret_us, struct err *e)
{
	struct err ignored = { 0 };
	uint64_t ago_ms;
	int64_t now;
	audit_time text;

	if (num_duration_ms(arg_since, SINCE_MAX_MS, &ago_ms, &ignored) < 0)
		return audit_parse_time(arg_since, ret_us, e) < 0 ? err_wrap(e, "--since") : 0;
	audit_now(text);
	if (audit_parse_time(text, &now, e) < 0)
		return -e->no;
	*ret_us = now - (int64_t)ago_ms * 1000;
	return 0;
}

static int read_query(struct audit_query *q, struct err *e)
{
	*q = (struct audit_query){ .last = arg_last,
				   .since_given = arg_since != NULL,
				   .action = given_action ? arg_action : -1 };
	if (given_last && !arg_last)
		q->after_seq = UINT64_MAX; // none of what is there
	return arg_since ? read_since(&q->since_us, e) : 0;
}

// The newest archive first: --last is about the newest entries.
static int collect_archived(const char *tenant, const struct audit_query *q, struct audit_rows *r,
			    struct err *e)
{
	cleanup_archives struct audit_archives a = ARCHIVES_NONE;

	if (archives_find(tenant, &a, e) < 0)
		return -e->no;
	for (size_t i = a.len; i-- > 0;) {
		cleanup_files struct audit_files f = FILES_NONE;

		if (archives_open(&a, i, tenant, &f, e) < 0 || list_collect(&f, q, r, e) < 0)
			return -e->no;
	}
	return 0;
}

static int list(const char *tenant, const struct audit_query *q, struct buf *out, struct err *e)
{
	cleanup_files struct audit_files f = FILES_NONE;
	cleanup_rows struct audit_rows r = ROWS_NONE;

	if (arg_archived ? collect_archived(tenant, q, &r, e) < 0
			 : files_open(tenant, &f, e) < 0 || list_collect(&f, q, &r, e) < 0)
		return -e->no;
	list_print(&r, out);
	return r.damaged ? err_kinds[ERR_DAMAGED].exit : 0;
}

static int run_list(const struct call *call, struct buf *out, struct err *e)
{
	struct audit_query q;

	return read_query(&q, e) < 0 ? -e->no : list(call->argv[0], &q, out, e);
}

// A tenant's actions fill the log, and this reads it for as long as somebody looks.
static int follow(const char *tenant, const struct audit_query *q, struct err *e)
{
	static const struct sandbox_rule rules[] = { SANDBOX_NO_CODE, { 0 } };
	cleanup_files struct audit_files f = FILES_NONE;
	cleanup_fd int dir = -1, lock = -1;

	if (files_open(tenant, &f, e) < 0)
		return -e->no;
	dir = fd_open_dir(AT_FDCWD, f.path, e);
	if (dir < 0)
		return err_wrap(e, "%s", tenant);
	// The lock is opened as its holders open it. Whose log was never written to has none yet.
	lock = openat(dir, AUDIT_LOCK, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	const struct sandbox_path paths[] = {
		{ dir, SANDBOX_READ | SANDBOX_LIST },
		{ lock < 0 ? dir : lock, SANDBOX_READ | SANDBOX_WRITE },
	};

	files_close(&f);
	if (!SANDBOX_CHECKED &&
	    sandbox_settle(
		    paths, COUNT(paths),
		    "openat openat2 getdents64 readlink readlinkat statx flock inotify_init1 "
		    "inotify_add_watch",
		    rules, e) < 0)
		return err_wrap(e, "give up rights");
	return follow_log(tenant, q, STDOUT_FILENO, e);
}

static int run_follow(const struct call *call, struct buf *out, struct err *e)
{
	struct audit_query q;

	(void)out;
	if (read_query(&q, e) < 0)
		return -e->no;
	if (!given_last && !arg_since)
		q.after_seq = UINT64_MAX;
	return follow(call->argv[0], &q, e);
}

static int run_events(const struct call *call, struct buf *out, struct err *e)
{
	struct audit_query q;

	if (arg_follow && arg_archived)
		return err_usage(e, "--follow: nothing comes to an archive any more");
	if (read_query(&q, e) < 0)
		return -e->no;
	if (!given_last && !arg_since)
		q.last = EVENTS_LAST;
	return arg_follow ? follow(call->argv[0], &q, e) : list(call->argv[0], &q, out, e);
}

static int run_rotate(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_trail struct audit_trail t = TRAIL_NONE;
	cleanup_files struct audit_files f = FILES_NONE;
	cleanup_fd int dir = -1;
	bool changed;

	if (files_open(call->argv[0], &f, e) < 0)
		return -e->no;
	changed = f.len && str_eq(f.items[f.len - 1].name, AUDIT_LOG) && f.items[f.len - 1].size;
	if (!arg_dry_run && changed) {
		dir = fd_open_dir(AT_FDCWD, f.path, e);
		if (dir < 0 || trail_open(&t, dir, f.tenant, e) < 0 ||
		    trail_rotate(&t, &changed, e) < 0)
			return err_wrap(e, "%s", f.tenant);
	}
	buf_fmt(out, "{\"schema_version\":1,\"tenant_id\":\"%s\",\"changed\":%s%s}", f.tenant,
		changed ? "true" : "false", arg_dry_run ? ",\"dry_run\":true" : "");
	return 0;
}

static int verify_archived(const char *tenant, struct verify_report *r, struct err *e)
{
	cleanup_archives struct audit_archives a = ARCHIVES_NONE;

	if (archives_find(tenant, &a, e) < 0)
		return -e->no;
	for (size_t i = 0; i < a.len; i++) {
		cleanup_files struct audit_files f = FILES_NONE;

		if (archives_open(&a, i, tenant, &f, e) < 0 || verify_log(&f, r, e) < 0)
			return -e->no;
	}
	return 0;
}

static int run_verify(const struct call *call, struct buf *out, struct err *e)
{
	cleanup(verify_free) struct verify_report r = { 0 };
	cleanup_files struct audit_files f = FILES_NONE;

	verify_begin(call->argv[0], &r);
	if (arg_archived ? verify_archived(call->argv[0], &r, e) < 0
			 : files_open(call->argv[0], &f, e) < 0 || verify_log(&f, &r, e) < 0)
		return -e->no;
	codec_print(verify_fields, &r, out);
	return r.ok ? 0 : err_kinds[ERR_STATE].exit;
}

static int run_actions(const struct call *call, struct buf *out, struct err *e)
{
	(void)call;
	(void)e;
	audit_actions_print(out);
	return 0;
}

static const struct verb verbs[] = {
	{ "list", "TENANT", "list what was done to a tenant, oldest first", list_opts, 1, 1,
	  run_list, 0 },
	{ "events", "TENANT", "the same, the newest 20", events_opts, 1, 1, run_events, 0 },
	{ "follow", "TENANT", "print new entries as they come, as JSON lines", follow_opts, 1, 1,
	  run_follow, VERB_RAW },
	{ "verify", "TENANT", "check that the chain of entries is unbroken", verify_opts, 1, 1,
	  run_verify, 0 },
	{ "rotate", "TENANT", "begin a new file now", rotate_opts, 1, 1, run_rotate, 0 },
	{ "append", "<EVENT", "add an entry: a JSON object on standard input", append_opts, 0, 0,
	  run_append, 0 },
	{ "actions", "", "list what an entry can say was done, and which tool says it", NULL, 0, 0,
	  run_actions, 0 },
};

int main(int argc, char **argv)
{
	static const struct tool tool = {
		.name = "mvm-audit",
		.summary = "keep and show what was done to a tenant",
		.verbs = verbs,
		.verb_count = COUNT(verbs),
	};

	return tool_main(&tool, argc, argv);
}
