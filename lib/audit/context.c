// SPDX-License-Identifier: MIT
#include "audit/context.h"

#include <fcntl.h>
#include <pwd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/num.h"

struct asked {
	uint32_t schema_version; // 1
	char op_id[11];
	struct audit_who who;
	int why;
	char request_id[65];
};
static const struct field asked_fields[] = {
	{ FIELD_SLOT(struct asked, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "1" },
	{ FIELD_SLOT(struct asked, op_id, char[11]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .doc = "id of the work" },
	{ FIELD_SLOT(struct asked, who, struct audit_who), .kind = KIND_RECORD,
	  .flags = FIELD_REQUIRED, .sub = audit_who_fields, .doc = "who asked" },
	{ FIELD_SLOT(struct asked, why, int), .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
	  .names = audit_why_names, .doc = "on whose account" },
	{ FIELD_SLOT(struct asked, request_id, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "id of the request" },
	FIELD_END
};

// Only root's word counts for who is behind it: sudo sets it, and anybody else is himself.
static uint32_t real_user(void)
{
	const char *sudo = getenv("SUDO_UID");
	struct err ignored = { 0 };
	uint64_t uid;

	if (getuid() == 0 && sudo && num_u64(sudo, 0, UINT32_MAX - 1, &uid, &ignored) == 0)
		return (uint32_t)uid;
	return getuid();
}

// What systemd started this process as, by its group. A session is a scope, whatever service it
// lies in, and is none.
static void find_unit(char *out, size_t size)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct err ignored = { 0 };
	char *line, *last;

	if (fd_read_file(AT_FDCWD, "/proc/self/cgroup", 64 * KIB, &text, &ignored) < 0)
		return;
	line = text.data ? strstr(text.data, "0::/") : NULL;
	if (!line)
		return;
	line[strcspn(line, "\n")] = '\0';
	while ((last = strrchr(line, '/')) != NULL && !str_ends(last, ".scope")) {
		if (str_ends(last, ".service")) {
			base_cut(out, size, "%s", last + 1);
			return;
		}
		*last = '\0';
	}
}

static int why_from_environment(void)
{
	const char *word = getenv("MVM_WHY");

	if (!word || !word[0])
		return AUDIT_MANUAL;
	for (int i = 0; audit_why_names[i]; i++)
		if (str_eq(word, audit_why_names[i]))
			return i;
	log_warn("MVM_WHY", "'%.32s' is none of manual, reconcile, policy and guest", word);
	return AUDIT_MANUAL;
}

void audit_context_now(struct audit_context *out)
{
	const char *request = getenv("MVM_REQUEST_ID");
	const struct passwd *user;

	*out = (struct audit_context){ .who.uid = real_user(), .why = why_from_environment() };
	user = getpwuid(out->who.uid);
	base_cut(out->who.user, sizeof(out->who.user), "%s", user ? user->pw_name : "");
	log_clean(out->who.user);
	find_unit(out->who.unit, sizeof(out->who.unit));
	log_clean(out->who.unit);
	base_cut(out->request_id, sizeof(out->request_id), "%s", request ? request : "");
	log_clean(out->request_id);
}

void audit_context_leave(int dirfd, const char *op_id)
{
	const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	cleanup_fd int fd = openat(dirfd, AUDIT_ASKED_FILE, flags, AUDIT_FILE_MODE);
	cleanup_buf struct buf text = BUF_INIT;
	struct asked a = { .schema_version = 1 };
	struct audit_context c;
	struct err e = { 0 };

	audit_context_now(&c);
	a.who = c.who;
	a.why = c.why;
	memcpy(a.request_id, c.request_id, sizeof(a.request_id));
	if (COPY(a.op_id, op_id) < 0)
		return;
	codec_print(asked_fields, &a, &text);
	if (fd < 0)
		(void)err_sys(&e, "create " AUDIT_ASKED_FILE);
	if (e.no || fd_write_all(fd, text.data, text.len, &e) < 0)
		log_warn(op_id, "the audit log will not know who asked: %s", e.msg);
}

void audit_context_of(int dirfd, const char *op_id, struct audit_context *out)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct err ignored = { 0 };
	struct asked a = { 0 };

	audit_context_now(out);
	if (!op_id[0] || fd_read_file(dirfd, AUDIT_ASKED_FILE, CODEC_MAX, &text, &ignored) < 0 ||
	    codec_parse(asked_fields, buf_text(&text), text.len, &a, &ignored) < 0 ||
	    !str_eq(a.op_id, op_id))
		return;
	out->who = a.who;
	out->why = a.why;
	memcpy(out->request_id, a.request_id, sizeof(out->request_id));
}
