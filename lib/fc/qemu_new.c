// SPDX-License-Identifier: MIT
// What is there before and after a guest, and the figures of one.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/path.h"
#include "fc/qemu_parts.h"

#define CALL_MS 5000

char *qemu_program(void)
{
	const char *path = getenv("PATH");

	for (const char *at = path ? path : "/usr/bin:/bin"; *at;) {
		size_t len = strcspn(at, ":");
		char *full = base_printf("%.*s/" QEMU_PROGRAM, (int)len, at);

		if (*full == '/' && access(full, X_OK) == 0)
			return full;
		free(full);
		at += len + (at[len] == ':');
	}
	return NULL;
}

// The root of a confined QEMU: nobody but root can put anything in.
static int make_empty(struct qemu *q, struct err *e)
{
	path_text dir;
	struct stat st;

	path_join(dir, path_run(), "empty");
	if (fd_mkdirs(dir, 0755, e) < 0)
		return -e->no;
	if (lstat(dir, &st) < 0)
		return err_sys(e, "stat %s", dir);
	if (!S_ISDIR(st.st_mode) || st.st_uid != 0 || st.st_mode & 022 || st.st_nlink > 2)
		return err_kind(e, ERR_DENIED, "%s: has to be an empty directory of root's", dir);
	q->chroot_dir = base_strdup(dir);
	return 0;
}

// Where only root may open this device, descriptors are put by for the time after the change of
// user: attaching one to a TAP is then checked against that user.
static void open_tun(struct qemu *q)
{
	struct stat st;

	if (!q->env.confined.on || stat("/dev/net/tun", &st) < 0 || (st.st_mode & 06) == 06)
		return;
	for (size_t i = 0; i < QEMU_NETS; i++)
		q->tun[i] = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

// A descriptor for each of vsock's connections, and then some.
static void raise_limit(void)
{
	const rlim_t want = MUX_CONNS + 512;
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0 || lim.rlim_cur >= want)
		return;
	lim.rlim_cur = MIN(lim.rlim_max, want);
	(void)setrlimit(RLIMIT_NOFILE, &lim); // without it there are fewer connections
}

static int set_up(struct qemu *q, struct err *e)
{
	enum qemu_accel accel = q->env.accel;

#ifndef __x86_64__
	return err_kind(e, ERR_UNAVAILABLE, "only x86-64 is supported");
#endif
	q->kvm = (accel == QEMU_ACCEL_AUTO ? qemu_accel_usable() : accel) == QEMU_ACCEL_KVM;
	q->program = qemu_program();
	if (!q->program)
		return err_kind(e, ERR_UNAVAILABLE, QEMU_PROGRAM " is not on PATH");
	if (q->env.confined.on && make_empty(q, e) < 0)
		return -e->no;
	raise_limit();
	open_tun(q);
	// The starter last: it has no use for what was opened here, and closes its copies.
	return qemu_spawn_init(&q->spawn, &q->env.confined, q->chroot_dir, e);
}

int qemu_new(const struct qemu_env *env, struct qemu **ret, struct err *e)
{
	struct qemu *q = base_alloc(1, sizeof(*q));

	q->env = *env;
	q->state_stream = q->ram.fd = q->ram.ref_fd = -1;
	q->spawn.starter_sock = q->spawn.starter_pidfd = q->spawn.pidfd = -1;
	for (size_t i = 0; i < QEMU_NETS; i++)
		q->tun[i] = -1;
	qemu_tsc_sample(&q->tsc);
	if (set_up(q, e) < 0) {
		qemu_free(q);
		return -e->no;
	}
	*ret = q;
	return 0;
}

void qemu_free(struct qemu *q)
{
	if (!q)
		return;
	qemu_stop(q);
	qemu_spawn_kill(&q->spawn);
	for (size_t i = 0; i < QEMU_NETS; i++)
		base_closep(&q->tun[i]);
	free(q->program);
	free(q->chroot_dir);
	free(q);
}

// --- figures

static uint64_t figure(const struct codec_node *stats, const char *key)
{
	const struct codec_node *n = codec_get(stats, key);
	double v = n && codec_type(n) == CODEC_NUMBER ? codec_number(n) : 0;

	return v > 0 && v < 9e18 ? (uint64_t)v : 0;
}

static void add_block(struct qemu_block *to, const struct codec_node *stats)
{
	to->read_bytes += figure(stats, "rd_bytes");
	to->write_bytes += figure(stats, "wr_bytes");
	to->read_ops += figure(stats, "rd_operations");
	to->write_ops += figure(stats, "wr_operations");
	to->flush_ops += figure(stats, "flush_operations");
}

// The row of a drive's device; other rows are of the files below.
static void take_row(struct qemu_stats *s, const struct codec_node *row)
{
	const struct codec_node *stats = codec_get(row, "stats"),
				*name = codec_get(row, "node-name");
	char node[16];

	if (!stats)
		return;
	add_block(&s->block, stats);
	for (size_t i = 0; name && codec_type(name) == CODEC_TEXT && i < s->drive_count; i++)
		if (str_eq(codec_text(name), qemu_drive_node(i, 'd', node)))
			add_block(&s->drives[i].block, stats);
}

int qemu_stats(struct qemu *q, struct qemu_stats *ret, struct err *e)
{
	struct codec_node *doc = NULL;
	struct qemu_stats s = { 0 };
	const struct fc_drive *order[QEMU_DRIVES];
	const struct codec_node *list;

	if (!q->running) {
		*ret = s;
		return 0;
	}
	if (qmp_call(q->qmp, "query-blockstats", NULL, -1, CALL_MS, &doc, e) < 0)
		return -e->no;
	list = codec_get(doc, "return");
	s.drive_count = qemu_drive_order(&q->doc.drives, order);
	for (size_t i = 0; i < s.drive_count; i++)
		s.drives[i].id = order[i]->drive_id;
	for (const struct codec_node *n = list ? codec_child(list) : NULL; n; n = codec_next(n))
		take_row(&s, n);
	codec_tree_free(doc);
	if (q->vsock)
		qemu_vsock_counts(q->vsock, &s);
	*ret = s;
	return 0;
}
