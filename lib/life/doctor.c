// SPDX-License-Identifier: MIT
#include "life/doctor.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/path.h"
#include "fc/kvm.h"
#include "fc/release.h"
#include "life/backend.h"
#include "life/vmm.h"
#include "sys/cgroup.h"
#include "sys/mounts.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

static const char *const level_names[] = { "ok", "info", "warn", "fail", NULL };

const struct field doctor_fields[] = {
	{ FIELD_SLOT(struct doctor_check, schema_version, uint32_t), .kind = KIND_UINT, .min = 1,
	  .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct doctor_check, check, char[32]), .kind = KIND_TEXT,
	  .doc = "what was looked at" },
	{ FIELD_SLOT(struct doctor_check, level, int), .kind = KIND_ENUM, .names = level_names,
	  .doc = "ok, info, warn or fail" },
	{ FIELD_SLOT(struct doctor_check, finding, char[400]), .kind = KIND_TEXT,
	  .doc = "what was found" },
	{ FIELD_SLOT(struct doctor_check, fix, char[240]), .kind = KIND_TEXT,
	  .flags = FIELD_OMIT_EMPTY, .doc = "what to do" },
	FIELD_END
};

struct doctor {
	bool production;
	struct codec_list *list;
	enum doctor_level worst;
};

static void say(struct doctor *d, const char *check, enum doctor_level level, const char *fix,
		const char *fmt, ...) PRINTF(5, 6);
static void say(struct doctor *d, const char *check, enum doctor_level level, const char *fix,
		const char *fmt, ...)
{
	struct doctor_check *c = codec_list_add(d->list, sizeof(*c));
	va_list ap;

	c->schema_version = 1;
	c->level = (int)level;
	(void)snprintf(c->check, sizeof(c->check), "%s", check);
	(void)snprintf(c->fix, sizeof(c->fix), "%s", level == DOCTOR_OK ? "" : fix);
	va_start(ap, fmt);
	(void)vsnprintf(c->finding, sizeof(c->finding), fmt, ap);
	va_end(ap);
	d->worst = MAX(d->worst, level);
}

// A warning that a production machine may not have.
static enum doctor_level strict(const struct doctor *d)
{
	return d->production ? DOCTOR_FAIL : DOCTOR_WARN;
}

static void check_kvm(struct doctor *d)
{
	char why[200];

	if (kvm_usable(why))
		say(d, "kvm", DOCTOR_OK, "", "/dev/kvm opens and the CPU has virtualisation");
	else
		say(d, "kvm", strict(d),
		    "use a machine with KVM, or enable nested virtualisation; guests run by "
		    "emulation until then",
		    "%s", why);
}

static void check_vmm(struct doctor *d)
{
	struct vmm_choice c;
	struct release r = { 0 };
	struct err e = { 0 };

	if (vmm_choose(&c, &e) < 0) {
		say(d, "vmm", DOCTOR_FAIL, "run 'mvm bootstrap'", "%s", e.msg);
		return;
	}
	if (c.kind == INSTANCE_VMM_QEMU) {
		say(d, "vmm", strict(d),
		    "mvm-fc-qemu is no sandbox of Firecracker's strength: not for guests of "
		    "customers",
		    "mvm-fc-qemu %s, since %s", c.version, c.why);
		return;
	}
	if (release_load(c.version, &r, &e) < 0 || str_eq(r.verified, "none"))
		say(d, "vmm", strict(d),
		    "install upstream's release with 'mvm bootstrap': others may lack its seccomp "
		    "filters",
		    "firecracker %s at %s is not a verified release", c.version, c.program);
	else
		say(d, "vmm", DOCTOR_OK, "", "firecracker %s (%s), %s", c.version, r.verified,
		    c.why);
}

static void check_qemu(struct doctor *d)
{
	path_text dir = "/usr/bin", program;

	path_join(program, dir, "qemu-system-x86_64");
	if (access(program, X_OK) == 0)
		say(d, "qemu", DOCTOR_OK, "", "%s is there", program);
	else
		say(d, "qemu", DOCTOR_INFO, "apt-get install qemu-system-x86",
		    "no %s: mvm-fc-qemu cannot run", program);
}

static void check_cgroup(struct doctor *d)
{
	struct cgroup_host h = { 0 };
	struct err e = { 0 };

	if (cgroup_find(&h, &e) < 0)
		say(d, "cgroup", DOCTOR_FAIL, "mount /sys/fs/cgroup", "%s", e.msg);
	else if (cgroup_has_limits(&h))
		say(d, "cgroup", DOCTOR_OK, "", "version 2 with memory, cpu and pids");
	else
		say(d, "cgroup", strict(d), "boot with systemd.unified_cgroup_hierarchy=1",
		    "%s: guests run without limits", cgroup_mode_names[h.mode]);
}

static void check_device(struct doctor *d, const char *check, const char *path, const char *fix)
{
	cleanup_fd int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		say(d, check, DOCTOR_OK, "", "%s opens", path);
	else
		say(d, check, DOCTOR_FAIL, fix, "%s: %s", path, strerror(errno));
}

static void check_state(struct doctor *d)
{
	cleanup_mounts struct mounts m = MOUNTS_INIT;
	const struct mount_row *on;
	struct err e = { 0 };
	struct statvfs fs;

	if (mounts_read(&m, &e) < 0 || statvfs(path_state(), &fs) < 0) {
		say(d, "state", DOCTOR_FAIL, "run 'mvm bootstrap'", "%s: %s", path_state(),
		    e.no ? e.msg : strerror(errno));
		return;
	}
	on = mounts_of(&m, path_state());
	uint64_t free_mib = (uint64_t)fs.f_bavail * fs.f_frsize / MIB;

	if (on && (mounts_option(on->options, "nodev") || mounts_option(on->options, "noexec")))
		say(d, "state", DOCTOR_FAIL,
		    "jails need device nodes and programs: mount it without nodev and noexec",
		    "%s lies on %s (%s)", path_state(), on->point, on->options);
	else if (free_mib < 2048)
		say(d, "state", DOCTOR_WARN, "free some space: 'mvm node disk', 'mvm node gc'",
		    "%s has %" PRIu64 " MiB left", path_state(), free_mib);
	else
		say(d, "state", DOCTOR_OK, "", "%s on %s, %" PRIu64 " MiB free", path_state(),
		    on ? on->fstype : "?", free_mib);
}

// "name:x:1000:..." of passwd, "name:100000:65536" of subuid and subgid
static bool id_range(const char *line, bool passwd, uint64_t *first, uint64_t *count)
{
	for (int skip = passwd ? 2 : 1; skip; skip--) {
		line = strchr(line, ':');
		if (!line++)
			return false;
	}
	if (!num_next(&line, first))
		return false;
	return passwd || (*line++ == ':' && num_next(&line, count));
}

// Ids of VMs come from a formula: nobody else may own one.
static void check_ids(struct doctor *d)
{
	static const char *const files[] = { "/etc/passwd", "/etc/subuid", "/etc/subgid" };

	for (size_t i = 0; i < COUNT(files); i++) {
		cleanup_buf struct buf text = BUF_INIT;
		struct err ignored = { 0 };
		char *rest;

		if (fd_read_file(AT_FDCWD, files[i], 4 * MIB, &text, &ignored) < 0)
			continue;
		rest = text.data;
		for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
			uint64_t first = 0, count = 1;
			uint64_t last = VM_UID_BASE + (uint64_t)(NET_ID_MAX + 1) * 65536;

			if (id_range(line, i == 0, &first, &count) && first < last &&
			    first + count > VM_UID_BASE) {
				say(d, "ids", DOCTOR_FAIL,
				    "move that range: VMs use 1879048192 and above",
				    "%s: '%.60s' overlaps the ids of VMs", files[i], line);
				return;
			}
		}
	}
	say(d, "ids", DOCTOR_OK, "", "nobody else has ids from %u on", VM_UID_BASE);
}

static void check_backend(struct doctor *d)
{
	enum backend_kind kind;
	struct err e = { 0 };

	if (backend_kind(&kind, &e) < 0)
		say(d, "backend", DOCTOR_FAIL, "correct the configuration", "%s", e.msg);
	else if (kind == BACKEND_SYSTEMD)
		say(d, "backend", DOCTOR_OK, "", "systemd");
	else
		say(d, "backend", strict(d), "run a node under systemd",
		    "direct: mvm-sup keeps the VMMs");
}

static void check_swap(struct doctor *d)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct err ignored = { 0 };
	const char *second;

	if (fd_read_file(AT_FDCWD, "/proc/swaps", 64 * KIB, &text, &ignored) < 0)
		return;
	second = strchr(buf_text(&text), '\n');
	if (second && second[1])
		say(d, "swap", strict(d),
		    "turn swap off: guests' memory may reach the disk in plain", "swap is on");
	else
		say(d, "swap", DOCTOR_OK, "", "swap is off");
}

static void check_machine(struct doctor *d)
{
	struct utsname u;

	if (uname(&u) < 0)
		return;
	if (str_eq(u.machine, "x86_64") || str_eq(u.machine, "aarch64"))
		say(d, "machine", DOCTOR_OK, "", "%s, Linux %s", u.machine, u.release);
	else
		say(d, "machine", DOCTOR_FAIL, "use x86-64 or arm64", "%s is not supported",
		    u.machine);
	if (geteuid() != 0)
		say(d, "root", DOCTOR_WARN, "run as root", "not root: some findings may be wrong");
}

void doctor_run(bool production, struct codec_list *ret, enum doctor_level *ret_worst)
{
	struct doctor d = { .production = production, .list = ret };

	check_machine(&d);
	check_kvm(&d);
	check_vmm(&d);
	check_qemu(&d);
	check_backend(&d);
	check_cgroup(&d);
	check_device(&d, "tun", "/dev/net/tun", "modprobe tun");
	check_state(&d);
	check_ids(&d);
	check_swap(&d);
	*ret_worst = d.worst;
}
