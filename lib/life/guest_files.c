// SPDX-License-Identifier: MIT
#include <sys/stat.h>

#include "audit/audit.h"
#include "base/clock.h"
#include "life/guest_cli.h"
#include "life/guest_verbs.h"

static bool arg_archive;
static uint64_t arg_max_size = FILES_MAX_SIZE, arg_timeout_ms = 120000;
static const char *arg_user = "";

const struct opt guest_cp_opts[] = {
	{ .letter = 'a',
	  .kind = OPT_FLAG,
	  .name = "archive",
	  .help = "keep owners and groups by number, and into the guest set-id bits",
	  .slot = &arg_archive },
	{ .letter = 'u',
	  .kind = OPT_TEXT,
	  .name = "user",
	  .arg = "USER[:GROUP]",
	  .help = "do it as this user of the guest instead of root",
	  .slot = &arg_user },
	{ .kind = OPT_U64,
	  .name = "max-size",
	  .arg = "BYTES",
	  .help = "write no more than that (64 GiB unless given)",
	  .slot = &arg_max_size,
	  .min = 1,
	  .max = INT64_MAX },
	{ .kind = OPT_MS,
	  .name = "timeout",
	  .arg = "TIME",
	  .help = "give up on a guest that has not moved anything for so long (2m unless given)",
	  .slot = &arg_timeout_ms,
	  .min = 1,
	  .max = 86400000 },
	OPT_END
};

// INSTANCE:PATH, where what begins with "/" or "." is a path here whatever stands in it.
static const char *guest_path(const char *word, char instance[128])
{
	const char *colon = strchr(word, ':');

	if (word[0] == '/' || word[0] == '.' || !colon ||
	    base_fmt(instance, 128, "%.*s", (int)(colon - word), word) < 0)
		return NULL;
	return colon + 1;
}

// Some of them are what the guest says.
static unsigned long long exact(uint64_t n)
{
	return MIN(n, ((uint64_t)1 << 53) - 1);
}

static void print_count(const struct files_count *n, struct buf *out)
{
	buf_fmt(out,
		"{\"schema_version\":1,\"files\":%llu,\"directories\":%llu,\"links\":%llu,"
		"\"bytes\":%llu,\"skipped\":%llu}",
		exact(n->files), exact(n->directories), exact(n->links), exact(n->bytes),
		exact(n->skipped));
}

static int fill(struct guest_copy *copy, const char *path, struct err *e)
{
	if (!path[0])
		return err_usage(e, "no path in the guest");
	if (COPY(copy->want.path, path) < 0 || COPY(copy->want.user, arg_user) < 0)
		return err_usage(e, "the path or --user: too long");
	copy->idle_ms = (int64_t)arg_timeout_ms;
	copy->want.max_size = arg_max_size;
	copy->rules = (struct files_rules){ .archive = arg_archive, .max_size = arg_max_size };
	return 0;
}

static int copy_in(const char *instance, const char *from, const char *to, struct guest_copy *copy,
		   struct err *e)
{
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;
	char detail[AUDIT_DETAIL_MAX];
	struct stat st;

	copy->want.flags = arg_archive ? GUEST_FILES_ARCHIVE : 0;
	if (fill(copy, to, e) < 0)
		return -e->no;
	if (str_eq(from, "-")) {
		copy->fd = STDIN_FILENO;
		copy->want.flags |= GUEST_FILES_STREAM;
	} else {
		copy->local = from;
		if (files_name(from, copy->want.name, e) < 0)
			return -e->no;
		if (stat(from, &st) < 0)
			return files_fail(e, "open", from);
		if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
			return err_usage(e, "%s: not a file or a directory", from);
	}
	base_cut(detail, sizeof(detail), "in to %s", to);
	if (guest_cli_enter(instance, AUDIT_GUEST_COPIED, detail, &vmm, &c, e) < 0)
		return -e->no;
	return guest_copy_in(c, copy, e) < 0 ? guest_cli_note(instance, AUDIT_GUEST_COPIED, e) : 0;
}

static int copy_out(const char *instance, const char *from, const char *to, struct guest_copy *copy,
		    struct err *e)
{
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;
	char detail[AUDIT_DETAIL_MAX];

	if (fill(copy, from, e) < 0 || files_name(from, copy->want.name, e) < 0)
		return -e->no;
	if (str_eq(to, "-")) {
		if (isatty(STDOUT_FILENO))
			return err_usage(e, "a tar stream is nothing for a terminal");
		copy->fd = STDOUT_FILENO;
	} else {
		copy->local = to;
		if (files_aim(to, copy->want.name, false, &copy->target, e) < 0)
			return -e->no;
	}
	base_cut(detail, sizeof(detail), "out of %s", from);
	if (guest_cli_enter(instance, AUDIT_GUEST_COPIED, detail, &vmm, &c, e) < 0)
		return -e->no;
	return guest_copy_out(c, copy, e) < 0 ? guest_cli_note(instance, AUDIT_GUEST_COPIED, e) : 0;
}

static void copy_clear(struct guest_copy *copy)
{
	files_target_close(&copy->target);
}

int guest_cp_run(const struct call *call, struct buf *out, struct err *e)
{
	const char *from = call->argv[0], *to = call->argv[1];
	cleanup(copy_clear) struct guest_copy copy = { .target = FILES_TARGET_NONE };
	char in[128], other[128];
	const char *source = guest_path(from, in), *target = guest_path(to, other);
	int r;

	if (!source == !target)
		return err_usage(e, "one of '%s' and '%s' must be INSTANCE:PATH", from, to);
	r = source ? copy_out(in, source, to, &copy, e) : copy_in(other, from, target, &copy, e);
	if (r < 0) {
		(void)err_object(e, "%s", source ? in : other);
		return err_wrap(e, "copy %s to %s", from, to);
	}
	if (!str_eq(to, "-")) // there it would be in the stream
		print_count(&copy.count, out);
	return 0;
}
