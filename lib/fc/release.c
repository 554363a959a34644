// SPDX-License-Identifier: MIT
#include "fc/release.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/proc.h"
#include "fc/download.h"
#include "fc/version.h"
#include "sys/digest.h"
#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#define TARBALL	    "release.tgz"
#define TARBALL_MAX (256 * MIB)
#define UNPACKED    "unpacked"
#define READY	    "ready"
#define TAR_MS	    120000
#define LOCK_MS	    60000

#define TEXT(member, n, text)                                                     \
	{                                                                         \
		FIELD_SLOT(struct release, member, char[n]),                      \
			.kind = KIND_TEXT, .flags = FIELD_REQUIRED, .doc = (text) \
	}

const struct field release_fields[] = { { FIELD_SLOT(struct release, schema_version, uint32_t),
					  .kind = KIND_UINT, .flags = FIELD_REQUIRED, .min = 1,
					  .max = 1, .doc = "version of this format" },
					TEXT(version, 32, "of firecracker and jailer"),
					TEXT(arch, 16, "machine"),
					TEXT(source, 512, "where it came from"),
					TEXT(verified, 32, "pinned, release or none"),
					TEXT(firecracker_sha256, 65, "digest"),
					TEXT(jailer_sha256, 65, "digest"),
					TEXT(installed_at, 25, "UTC"),
					FIELD_END };

// One installation: base is $STATE/firecracker, work is base/.new-<version>.
struct job {
	const struct release_ask *ask;
	struct release *r;
	int base, work, from; // from: the folder that holds the two binaries
	char suffix[64];      // of their names in it: "-v1.15.1-x86_64" or ""
	path_text work_path;
};

// "<64 hex>  name" lines; the digest of the line whose name ends with name.
static int sum_of(const char *text, const char *name, digest_text out)
{
	for (const char *line = text; line && *line;
	     line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		size_t len = strcspn(line, "\n"), want = strlen(name);

		if (len < 64 + want || strncmp(line + len - want, name, want) != 0 ||
		    strspn(line, "0123456789abcdef") != 64)
			continue;
		memcpy(out, line, 64);
		out[64] = '\0';
		return 0;
	}
	return -1;
}

static int fetch(struct job *j, const char *file, struct err *e)
{
	const char *base = getenv("MVM_FIRECRACKER_URL");
	cleanup_buf struct buf sums = BUF_INIT;
	digest_text want, got;
	char url[400], sum_url[420];

	if (base_fmt(url, sizeof(url), "%s/v%s/%s", base && *base ? base : RELEASE_URL,
		     j->ask->version, file) < 0 ||
	    base_fmt(sum_url, sizeof(sum_url), "%s.sha256.txt", url) < 0)
		return err_usage(e, "the release's address is too long");
	if (download(sum_url, j->work, "sum", 64 * KIB, e) < 0 ||
	    download(url, j->work, TARBALL, TARBALL_MAX, e) < 0 ||
	    fd_read_file(j->work, "sum", 64 * KIB, &sums, e) < 0 ||
	    digest_file(j->work, TARBALL, got, e) < 0)
		return -e->no;
	if (sum_of(buf_text(&sums), file, want) < 0)
		return err_kind(e, ERR_FAILED, "%s has no digest of %s", sum_url, file);
	if (!str_eq(want, got))
		return err_kind(e, ERR_FAILED,
				"%s is altered or cut off: sha256 %s, the release says %s", url,
				got, want);
	(void)snprintf(j->r->source, sizeof(j->r->source), "%s", url);
	return 0;
}

static int check_pinned(struct job *j, const char *path, struct err *e)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	digest_text got;

	(void)snprintf(j->r->verified, sizeof(j->r->verified), "release");
	if (!*j->ask->pinned)
		return 0;
	if (fd < 0)
		return err_sys(e, "open %s", path);
	if (digest_fd(fd, got, e) < 0)
		return -e->no;
	if (!str_eq(got, j->ask->pinned))
		return err_kind(e, ERR_DENIED, "%s has sha256 %s, but %s is pinned", path, got,
				j->ask->pinned);
	(void)snprintf(j->r->verified, sizeof(j->r->verified), "pinned");
	return 0;
}

static int unpack(struct job *j, const char *tarball, struct err *e)
{
	path_text into;
	const char *const argv[] = { "tar",
				     "-xzf",
				     tarball,
				     "-C",
				     into,
				     "--no-same-owner",
				     "--no-same-permissions",
				     "--strip-components=1",
				     NULL };
	cleanup_proc_result struct proc_result r = { 0 };

	path_join(into, j->work_path, UNPACKED);
	if (fd_mkdir(j->work, UNPACKED, 0700, e) < 0 ||
	    proc_capture(argv, NULL, KIB, TAR_MS, &r, e) < 0)
		return -e->no;
	if (r.status != 0)
		return err_kind(e, ERR_FAILED, "%s does not unpack: %s", tarball, r.last_line);
	j->from = fd_open_dir(j->work, UNPACKED, e);
	return j->from < 0 ? -e->no : 0;
}

// The release's own list names every file in it.
static int check_sums(struct job *j, struct err *e)
{
	static const char *const names[] = { "firecracker", "jailer" };
	cleanup_buf struct buf sums = BUF_INIT;

	if (fd_read_file(j->from, "SHA256SUMS", MIB, &sums, e) < 0)
		return err_wrap(e, "the release has no list of digests");
	for (size_t i = 0; i < COUNT(names); i++) {
		digest_text want, got;
		char file[96];

		if (base_fmt(file, sizeof(file), "%s%s", names[i], j->suffix) < 0 ||
		    sum_of(buf_text(&sums), file, want) < 0)
			return err_kind(e, ERR_FAILED, "SHA256SUMS does not name %s", file);
		if (digest_file(j->from, file, got, e) < 0)
			return -e->no;
		if (!str_eq(want, got))
			return err_kind(e, ERR_FAILED, "%s does not have the digest in SHA256SUMS",
					file);
	}
	return 0;
}

static int from_tarball(struct job *j, const char *path, struct err *e)
{
	if (check_pinned(j, path, e) < 0 || unpack(j, path, e) < 0)
		return -e->no;
	// A file given by hand tells its version by its names.
	if (base_fmt(j->suffix, sizeof(j->suffix), "-v%s-%s", j->ask->version, j->r->arch) < 0)
		return err_usage(e, "version %s", j->ask->version);
	return check_sums(j, e);
}

static int get_files(struct job *j, struct err *e)
{
	struct stat st;
	path_text tarball;
	char file[96];

	if (!j->ask->from) {
		if (base_fmt(file, sizeof(file), "firecracker-v%s-%s.tgz", j->ask->version,
			     j->r->arch) < 0)
			return err_usage(e, "version %s", j->ask->version);
		path_join(tarball, j->work_path, TARBALL);
		return fetch(j, file, e) < 0 ? -e->no : from_tarball(j, tarball, e);
	}
	(void)snprintf(j->r->source, sizeof(j->r->source), "%.500s", j->ask->from);
	if (stat(j->ask->from, &st) < 0)
		return err_sys(e, "%s", j->ask->from);
	if (!S_ISDIR(st.st_mode))
		return from_tarball(j, j->ask->from, e);
	(void)snprintf(j->r->verified, sizeof(j->r->verified), "none");
	j->from = fd_open_dir(AT_FDCWD, j->ask->from, e);
	return j->from < 0 ? -e->no : 0;
}

// The jailer copies the binary into an empty root, where no loader and no library is.
static int check_static(int dir, const char *name, struct err *e)
{
	cleanup_fd int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	Elf64_Phdr ph;
	Elf64_Ehdr eh;

	if (fd < 0)
		return err_sys(e, "open %s", name);
	if (pread(fd, &eh, sizeof(eh), 0) != sizeof(eh) ||
	    memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 || eh.e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh.e_phentsize != sizeof(ph))
		return err_kind(e, ERR_FAILED, "%s is not a program of this machine", name);
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		if (pread(fd, &ph, sizeof(ph), (off_t)(eh.e_phoff + i * sizeof(ph))) != sizeof(ph))
			return err_kind(e, ERR_FAILED, "%s is cut off", name);
		if (ph.p_type == PT_INTERP)
			return err_kind(e, ERR_FAILED, "%s is not static: it cannot run in a jail",
					name);
	}
	return 0;
}

static int copy_file(int from, const char *name, int to, const char *as, struct err *e)
{
	cleanup_fd int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_fd int out =
		openat(to, as, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0700);
	ssize_t n;

	if (in < 0 || out < 0)
		return err_sys(e, "copy %s", name);
	while ((n = copy_file_range(in, NULL, out, NULL, GIB, 0)) > 0)
		;
	if (n < 0)
		return err_sys(e, "copy %s", name);
	if (fchmod(out, 0755) < 0 || fsync(out) < 0)
		return err_sys(e, "sync %s", name);
	return 0;
}

static int ask_version(struct job *j, const char *name, char out[32], struct err *e)
{
	path_text dir, program;

	path_join(dir, j->work_path, READY);
	path_join(program, dir, name);
	return version_of_program(program, out, e);
}

static int check_versions(struct job *j, struct err *e)
{
	char vmm[32] = "", jailer[32] = "";

	if (ask_version(j, "firecracker", vmm, e) < 0 || ask_version(j, "jailer", jailer, e) < 0)
		return -e->no;
	if (!str_eq(vmm, jailer))
		return err_kind(e, ERR_FAILED, "firecracker is %s but its jailer is %s", vmm,
				jailer);
	if (version_number(vmm) < 0 || (*j->ask->version && !str_eq(vmm, j->ask->version)))
		return err_kind(e, ERR_FAILED, "firecracker is %s, not %s", vmm, j->ask->version);
	(void)snprintf(j->r->version, sizeof(j->r->version), "%s", vmm);
	return 0;
}

static int build(struct job *j, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	cleanup_fd int ready = -1;
	char file[96];

	if (fd_mkdir(j->work, READY, 0755, e) < 0)
		return -e->no;
	ready = fd_open_dir(j->work, READY, e);
	if (ready < 0 || fchmod(ready, 0755) < 0)
		return e->no ? -e->no : err_sys(e, "chmod " READY);
	for (int i = 0; i < 2; i++) {
		const char *name = i ? "jailer" : "firecracker";

		(void)snprintf(file, sizeof(file), "%s%s", name, j->suffix);
		if (copy_file(j->from, file, ready, name, e) < 0 ||
		    check_static(ready, name, e) < 0 ||
		    digest_file(ready, name, i ? j->r->jailer_sha256 : j->r->firecracker_sha256,
				e) < 0)
			return -e->no;
	}
	if (check_versions(j, e) < 0)
		return -e->no;
	clock_utc(j->r->installed_at);
	codec_print(release_fields, j->r, &text);
	buf_char(&text, '\n');
	return fd_replace_file(ready, "manifest.json", buf_text(&text), text.len, 0644, e);
}

static int put_in_place(struct job *j, bool *changed, struct err *e)
{
	struct release there = { 0 };
	struct err none = { 0 };

	if (release_load(j->r->version, &there, &none) == 0) {
		*changed = false;
		if (str_eq(there.firecracker_sha256, j->r->firecracker_sha256) &&
		    str_eq(there.jailer_sha256, j->r->jailer_sha256))
			return 0;
		return err_kind(e, ERR_CONFLICT, "version %s is installed with other bytes",
				j->r->version);
	}
	if (none.kind != ERR_MISSING)
		return *e = none, -e->no;
	if (fault_point("release-rename") ||
	    renameat2(j->work, READY, j->base, j->r->version, RENAME_NOREPLACE) < 0)
		return err_sys(e, "put firecracker/%s in place", j->r->version);
	*changed = true;
	return fd_sync_dir(j->base, e);
}

static int install(struct job *j, bool *changed, struct err *e)
{
	path_text base;

	path_join(base, path_state(), "firecracker");
	path_join(j->work_path, base, ".new-release");
	// Under the lock nobody else uses it: what is there is a killed installation's.
	if (fd_remove_tree(j->base, ".new-release", e) < 0 ||
	    fd_mkdir(j->base, ".new-release", 0700, e) < 0)
		return -e->no;
	j->work = fd_open_dir(j->base, ".new-release", e);
	if (j->work < 0 || get_files(j, e) < 0 || build(j, e) < 0)
		return -e->no;
	return put_in_place(j, changed, e);
}

int release_install(const struct release_ask *ask, struct release *ret, bool *changed,
		    struct err *e)
{
	cleanup_fd int base = -1, lock = -1;
	struct job j = { .ask = ask, .r = ret, .work = -1, .from = -1 };
	struct err ignored = { 0 };
	struct utsname host;
	path_text path;
	int r;

	if ((*ask->version || !ask->from) && version_number(ask->version) < 0)
		return err_usage(e, "'%s' is not a version like 1.15.1", ask->version);
	if (uname(&host) < 0 || COPY(ret->arch, host.machine) < 0)
		return err_sys(e, "uname");
	ret->schema_version = 1;
	path_join(path, path_state(), "firecracker");
	if (fd_mkdirs(path, 0755, e) < 0)
		return -e->no;
	j.base = base = fd_open_dir(AT_FDCWD, path, e);
	if (base < 0 || (lock = fd_lock(base, ".lock", true, LOCK_MS, e)) < 0)
		return -e->no;
	r = install(&j, changed, e);
	base_closep(&j.work);
	base_closep(&j.from);
	if (fd_remove_tree(base, ".new-release", r < 0 ? &ignored : e) < 0 && r == 0)
		r = -e->no;
	return r;
}

int release_load(const char *version, struct release *ret, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	path_text base, dir;
	cleanup_fd int fd = -1;

	path_join(base, path_state(), "firecracker");
	path_join(dir, base, version);
	fd = open(dir, O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? err_kind(e, ERR_MISSING, "firecracker %s is not installed",
						  version)
				       : err_sys(e, "open %s", dir);
	if (fd_read_file(fd, "manifest.json", CODEC_MAX, &text, e) < 0)
		return err_wrap(e, "%s", dir);
	if (codec_parse(release_fields, buf_text(&text), text.len, ret, e) < 0) {
		e->kind = ERR_DAMAGED;
		return err_wrap(e, "%s/manifest.json", dir);
	}
	return 0;
}
