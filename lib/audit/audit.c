// SPDX-License-Identifier: MIT
#include "audit/audit.h"

#include <fcntl.h>
#include <time.h>

#include "audit/context.h"
#include "audit/trail.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/path.h"
#include "base/sha256.h"

const char *const audit_why_names[] = { "manual", "reconcile", "policy", "guest", NULL };
const char *const audit_outcome_names[] = { "done", "failed", NULL };

const struct field audit_who_fields[] = {
	{ FIELD_SLOT(struct audit_who, user, char[65]), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .doc = "name of the user, behind sudo; null when the uid has none" },
	{ FIELD_SLOT(struct audit_who, uid, uint32_t), .kind = KIND_UINT, .flags = FIELD_REQUIRED,
	  .max = UINT32_MAX, .doc = "the user's number" },
	{ FIELD_SLOT(struct audit_who, unit, char[257]), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .doc = "systemd unit that it was done in" },
	FIELD_END
};

static int check_time(const char *text, struct err *e)
{
	int64_t us;

	return audit_parse_time(text, &us, e);
}

static int check_digest(const char *text, struct err *e)
{
	if (strlen(text) != 64 || strspn(text, "0123456789abcdef") != 64)
		return err_usage(e, "'%.70s' is not a SHA-256", text);
	return 0;
}

const struct field audit_entry_fields[] = {
	{ FIELD_SLOT(struct audit_entry, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "1" },
	{ FIELD_SLOT(struct audit_entry, seq, uint64_t), .kind = KIND_UINT, .flags = FIELD_REQUIRED,
	  .min = 1, .max = AUDIT_SEQ_MAX, .doc = "number of the entry, without gaps" },
	{ FIELD_SLOT(struct audit_entry, timestamp, audit_time), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = check_time, .doc = "when, UTC, in microseconds" },
	{ FIELD_SLOT(struct audit_entry, tenant_id, name_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 1, .check = name_check, .doc = "tenant" },
	{ FIELD_SLOT(struct audit_entry, pool_id, name_text), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .check = name_check, .doc = "pool, where it is about one" },
	{ FIELD_SLOT(struct audit_entry, instance_id, instance_text), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .check = name_check_instance,
	  .doc = "instance, where it is about one" },
	{ FIELD_SLOT(struct audit_entry, action, int), .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
	  .names = audit_action_names, .doc = "what was done" },
	{ FIELD_SLOT(struct audit_entry, detail, char[AUDIT_DETAIL_MAX + 1]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "more about it, for people" },
	{ FIELD_SLOT(struct audit_entry, who, struct audit_who), .kind = KIND_RECORD,
	  .flags = FIELD_REQUIRED, .sub = audit_who_fields, .doc = "who did it" },
	{ FIELD_SLOT(struct audit_entry, why, int), .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
	  .names = audit_why_names, .doc = "on whose account" },
	{ FIELD_SLOT(struct audit_entry, outcome, int), .kind = KIND_ENUM,
	  .names = audit_outcome_names, .doc = "what came of it" },
	{ FIELD_SLOT(struct audit_entry, request_id, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "id of the request, as in errors and logs" },
	{ FIELD_SLOT(struct audit_entry, prev, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = check_digest,
	  .doc = "SHA-256 of the line before, zeros in the first" },
	FIELD_END
};

void audit_digest(const void *data, size_t len, char out[65])
{
	struct sha256 s;
	uint8_t raw[32];

	sha256_begin(&s);
	sha256_add(&s, data, len);
	sha256_end(&s, raw);
	num_to_hex(raw, sizeof(raw), out);
}

void audit_now(audit_time out)
{
	struct timespec t;
	struct tm tm;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	if (!gmtime_r(&t.tv_sec, &tm))
		memset(&tm, 0, sizeof(tm));
	size_t n = strftime(out, sizeof(audit_time), "%Y-%m-%dT%H:%M:%S", &tm);
	base_cut(out + n, sizeof(audit_time) - n, ".%06uZ", (unsigned)(t.tv_nsec / 1000) % 1000000);
}

int audit_parse_time(const char *s, int64_t *ret_us, struct err *e)
{
	const char *fraction = s[0] && strnlen(s, 20) == 20 && s[19] == '.' ? s + 20 : NULL;
	size_t digits = fraction ? strspn(fraction, "0123456789") : 0;
	int64_t unix_s, us = 0;
	char whole[21];

	if (!fraction)
		base_cut(whole, sizeof(whole), "%s", s);
	else
		base_cut(whole, sizeof(whole), "%.19sZ", s);
	if (fraction ? digits < 1 || digits > 6 || !str_eq(fraction + digits, "Z")
		     : strlen(s) != 20)
		return err_usage(e, "'%.64s' is not a time like 2025-01-31T12:00:00.123456Z", s);
	if (clock_parse_utc(whole, &unix_s, e) < 0)
		return -e->no;
	for (size_t i = 0; i < 6; i++)
		us = us * 10 + (i < digits ? fraction[i] - '0' : 0);
	*ret_us = unix_s * 1000000 + us;
	return 0;
}

int audit_parse_line(const char *line, size_t len, struct audit_entry *out, struct err *e)
{
	if (len > AUDIT_LINE_MAX)
		return err_set(e, EBADMSG, "a line of %zu bytes", len);
	return codec_parse(audit_entry_fields, line, len, out, e);
}

static int append_at(int dir, const struct audit_event *event, uint64_t *ret_seq, struct err *e)
{
	cleanup_trail struct audit_trail t = TRAIL_NONE;

	if (trail_open(&t, dir, event->at.tenant, e) < 0 || trail_add(&t, event, e) < 0)
		return err_wrap(e, "audit log");
	*ret_seq = t.seq;
	return 0;
}

int audit_append_at(int dir, const struct audit_event *event, struct err *e)
{
	uint64_t seq;

	return append_at(dir, event, &seq, e);
}

int audit_append_seq(const struct audit_event *event, uint64_t *ret_seq, struct err *e)
{
	cleanup_fd int dir = -1;
	path_text path;

	path_tenant(event->at.tenant, path);
	dir = fd_open_dir(AT_FDCWD, path, e);
	if (dir < 0 && e->no == ENOENT)
		return err_kind(e, ERR_MISSING, "%s: no such tenant", event->at.tenant);
	return dir < 0 ? err_wrap(e, "audit log") : append_at(dir, event, ret_seq, e);
}

int audit_append(const struct audit_event *event, struct err *e)
{
	uint64_t seq;

	return audit_append_seq(event, &seq, e);
}
