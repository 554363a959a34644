// SPDX-License-Identifier: MIT
// An instance with captures, and a model of what its memory has to be: one byte for each page.
#pragma once
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "snap/compose.h"
#include "snap/list.h"
#include "snap/pack.h"
#include "state/pool.h"
#include "tap.h"

#define MEM_MIB 3
#define PAGES	(MEM_MIB * 256)
#define KEEP	(-1) // of a delta: not in it

static const struct address world_at = { "acme", "web", "i-0000002a" };

static inline void must(int r, const struct err *e)
{
	if (r < 0) {
		tap_fail(__FILE__, __LINE__, "%s", e->msg);
		exit(1);
	}
}

static inline void world_lock(struct store *s)
{
	struct err e = { 0 };

	must(store_lock(s, STORE_INSTANCE, &world_at, 1000, &e), &e);
}

static inline void world_diff_base(const char *ref, const char *sha256)
{
	cleanup_store struct store s = STORE_NONE;
	struct err e = { 0 };
	struct instance i = { 0 };

	world_lock(&s);
	must(instance_load_from(&s, &world_at, NULL, &i, &e), &e);
	base_cut(i.diff_base.ref, sizeof(i.diff_base.ref), "%s", ref);
	base_cut(i.diff_base.sha256, sizeof(i.diff_base.sha256), "%s", sha256);
	must(instance_save(&s, &i, &e), &e);
}

static inline void world_make(void)
{
	cleanup_store struct store s = STORE_NONE;
	struct subnet net = { 0 };
	struct instance i = { 0 };
	struct tenant t = { 0 };
	struct err e = { 0 };
	path_text state, dir;

	path_join(state, tap_dir(), "state");
	(void)setenv("MVM_STATE_DIR", state, 1);
	path_instance(&world_at, dir);
	must(fd_mkdirs(dir, 0750, &e), &e);
	must(subnet_parse("10.240.7.0/24", &net, &e), &e);
	tenant_init(&t, "acme");
	must(tenant_set_net(&t, 7, &net, &e), &e);
	instance_init(&i, &world_at, &t, 3);
	instance_set_status(&i, INSTANCE_SLEEPING);
	world_lock(&s);
	must(instance_save(&s, &i, &e), &e);
}

static inline void world_manifest(struct snap_manifest *m)
{
	*m = (struct snap_manifest){
		.quiesced = true,
		.machine = { .revision_hash = "",
			     .arch = "x86_64",
			     .vmm = INSTANCE_VMM_FIRECRACKER,
			     .vmm_version = "1.15.1",
			     .state_format = "9.0.0",
			     .accel = "kvm",
			     .cpu = { .vendor = "GenuineIntel", .family = 6, .model = 85 },
			     .host_kernel = "6.1.0",
			     .vcpus = 2,
			     .mem_mib = MEM_MIB,
			     .agent_protocol = 1 },
		.guest = { .tenant_id = "acme",
			   .pool_id = "web",
			   .instance_id = "i-0000002a",
			   .guest_ip = "10.240.7.3",
			   .gateway_ip = "10.240.7.1",
			   .cidr = 24,
			   .mac = "02:fc:00:07:00:03" },
	};
	struct snap_device *d = codec_list_add(&m->machine.devices, sizeof(*d));

	*d = (struct snap_device){ .kind = "drive", .id = "rootfs", .bytes = 4096 };
	d = codec_list_add(&m->guest.disks, sizeof(*d));
	*d = (struct snap_device){
		.kind = "drive", .id = "data", .bytes = 64 * MIB, .identity = "9c0e1f0a"
	};
}

// A sparse file whose pages have these bytes; KEEP is a hole.
static inline void write_pages(int dir, const char *name, const int *pages)
{
	cleanup_fd int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint8_t page[PAGES_PAGE];

	CHECK(fd >= 0 && ftruncate(fd, PAGES * PAGES_PAGE) == 0);
	for (off_t i = 0; i < PAGES; i++) {
		memset(page, pages[i], sizeof(page));
		if (pages[i] != KEEP)
			CHECK(pwrite(fd, page, sizeof(page), i * PAGES_PAGE) == PAGES_PAGE);
	}
}

static inline void write_text(int dir, const char *name, const char *text)
{
	cleanup_fd int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static inline void lay(int *model, const int *delta)
{
	for (size_t i = 0; i < PAGES; i++)
		if (delta[i] != KEEP)
			model[i] = delta[i];
}

static inline bool same_pages(int dir, const char *name, const int *model)
{
	cleanup_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	uint8_t page[PAGES_PAGE];
	struct stat st;
	bool same = fd >= 0 && fstat(fd, &st) == 0 && st.st_size == PAGES * (off_t)PAGES_PAGE;

	for (off_t i = 0; same && i < PAGES; i++) {
		int byte = model[i] == KEEP ? 0 : model[i];

		same = pread(fd, page, sizeof(page), i * PAGES_PAGE) == PAGES_PAGE;
		for (size_t k = 0; same && k < sizeof(page); k++)
			same = page[k] == byte;
	}
	return same;
}

static inline void pages_clear(int *pages)
{
	for (size_t i = 0; i < PAGES; i++)
		pages[i] = KEEP;
}

// A capture, all the way. The store is not locked while the files are written.
static inline int world_capture(enum snap_kind kind, const struct snap_parent *parent,
				const int *pages, const char *name, snap_ref out, struct err *e)
{
	bool delta = parent && !str_eq(parent->ref, SNAP_NONE);
	cleanup_snap_draft struct snap_draft d = SNAP_DRAFT_NONE;
	cleanup_manifest struct snap_manifest m = { 0 };
	cleanup_store struct store s = STORE_NONE;

	world_manifest(&m);
	base_cut(m.name, sizeof(m.name), "%s", name);
	if (store_lock(&s, STORE_INSTANCE, &world_at, 1000, e) < 0 ||
	    snap_draft_begin(&s, kind, "", parent, &d, e) < 0)
		return -e->no;
	store_close(&s);
	write_text(d.draft.dir, SNAP_VMSTATE, "state of CPUs");
	write_pages(d.draft.dir, delta ? SNAP_DELTA : SNAP_MEM, pages);
	if (snap_draft_seal(&d, &m, NULL, e) < 0 ||
	    store_lock(&s, STORE_INSTANCE, &world_at, 1000, e) < 0 ||
	    snap_draft_commit(&s, &d, e) < 0)
		return -e->no;
	memcpy(out, d.ref, sizeof(d.ref));
	return 0;
}

static inline void world_parent(const char *ref, struct snap_parent *out)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err e = { 0 };

	must(store_open(&s, STORE_INSTANCE, &world_at, &e), &e);
	must(snap_gen_open(&s, ref, SNAP_UNLOCKED, 0, &g, &e), &e);
	*out = (struct snap_parent){ 0 };
	memcpy(out->ref, g.ref, sizeof(out->ref));
	memcpy(out->sha256, g.m.memory.sha256, sizeof(out->sha256));
}

// Calls fn in a process of its own, with MVM_FAULT as it says.
static inline int with_fault(const char *fault, int (*fn)(void))
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		(void)setenv("MVM_FAULT", fault, 1);
		_exit(fn() < 0 ? 1 : 0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	return status;
}
