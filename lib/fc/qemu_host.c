// SPDX-License-Identifier: MIT
// What a state of mvm-fc-qemu depends on beside the program itself: this host's QEMU, and the rate
// of its time-stamp counter. QEMU takes longer to tell its version than all else that a wake
// compares, and the rate takes a while to measure: both are remembered until the next boot, or
// until another QEMU lies in its place.
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/proc.h"
#include "fc/qemu_parts.h"

#define SEEN_FILE "qemu-host.json" // in the run directory
#define SEEN_MAX  4096
#define TOOL_MS	  10000
#define SAYS	  "QEMU emulator version "

struct seen {
	char boot_id[37];
	char file[96]; // which QEMU: device, inode, size, time
	char version[128];
	uint64_t tsc_khz;
};

static const struct field seen_fields[] = {
	{ FIELD_SLOT(struct seen, boot_id, char[37]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .doc = "boot of the host" },
	{ FIELD_SLOT(struct seen, file, char[96]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .doc = "device, inode, size and time of QEMU" },
	{ FIELD_SLOT(struct seen, version, char[128]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .doc = "its version" },
	{ FIELD_SLOT(struct seen, tsc_khz, uint64_t), .kind = KIND_UINT, .flags = FIELD_REQUIRED,
	  .max = 1ULL << 40, .doc = "rate of the time-stamp counter" },
	FIELD_END
};

static int identify(const char *program, struct seen *s, struct err *e)
{
	struct stat st;

	if (stat(program, &st) < 0)
		return err_sys(e, "stat %s", program);
	base_cut(s->file, sizeof(s->file), "%" PRIu64 " %" PRIu64 " %" PRIu64 " %lld.%09ld",
		 (uint64_t)st.st_dev, (uint64_t)st.st_ino, (uint64_t)st.st_size,
		 (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	return clock_boot_id(s->boot_id, e);
}

static bool remembered(struct seen *s)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct seen old = { .boot_id = "" };
	struct err none = { 0 };
	path_text file;

	path_join(file, path_run(), SEEN_FILE);
	if (fd_read_file(AT_FDCWD, file, SEEN_MAX, &text, &none) < 0 ||
	    codec_parse(seen_fields, buf_text(&text), text.len, &old, &none) < 0 ||
	    !str_eq(old.boot_id, s->boot_id) || !str_eq(old.file, s->file))
		return false;
	*s = old;
	return true;
}

// Without it the next one asks again.
static void remember(const struct seen *s)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct err none = { 0 };
	cleanup_fd int dir = fd_open_dir(AT_FDCWD, path_run(), &none);

	codec_print(seen_fields, s, &text);
	if (dir >= 0)
		(void)!fd_replace_file(dir, SEEN_FILE, text.data, text.len, 0600, &none);
}

// As the greeting of its monitor has it (qmp_version): a build without a name has none there.
static int ask_version(const char *program, char out[128], struct err *e)
{
	const char *const argv[] = { program, "--version", NULL };
	cleanup_proc_result struct proc_result r = { 0 };
	const char *text;
	int len;

	if (proc_capture(argv, NULL, 64 * KIB, TOOL_MS, &r, e) < 0)
		return err_wrap(e, "%s --version", program);
	text = buf_text(&r.out);
	if (r.status != 0 || !str_starts(text, SAYS))
		return err_kind(e, ERR_FAILED, "%s --version: ended with %d and no version",
				program, r.status);
	text += strlen(SAYS);
	len = (int)strcspn(text, "\n");
	base_cut(out, 128, "%.*s%s", len, text, memchr(text, '(', (size_t)len) ? "" : " ()");
	return 0;
}

int qemu_host(struct qemu_host *ret, struct err *e)
{
	cleanup_free char *program = qemu_program();
	struct seen s = { .boot_id = "" };
	struct qemu_tsc since;

	if (!program)
		return err_kind(e, ERR_UNAVAILABLE, QEMU_PROGRAM " is not on PATH");
	qemu_tsc_sample(&since);
	if (identify(program, &s, e) < 0)
		return -e->no;
	if (!remembered(&s)) {
		if (ask_version(program, s.version, e) < 0)
			return -e->no;
		s.tsc_khz = qemu_tsc_khz(&since);
		remember(&s);
	}
	memcpy(ret->version, s.version, sizeof(ret->version));
	ret->tsc_khz = s.tsc_khz;
	return 0;
}

int qemu_host_of(int file, struct qemu_host *ret, struct err *e)
{
	struct qemu_doc doc = { .entropy = false };
	cleanup_fd int stream = -1;

	if (qemu_state_read(file, &doc, &stream, e) < 0)
		return -e->no;
	memcpy(ret->version, doc.qemu, sizeof(ret->version));
	ret->tsc_khz = doc.tsc_khz;
	qemu_doc_clear(&doc);
	return 0;
}
