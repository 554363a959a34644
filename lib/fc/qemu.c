// SPDX-License-Identifier: MIT
#include "fc/qemu.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/tool.h"
#include "fc/kvm.h"
#include "fc/qemu_parts.h"

#define START_MS  30000 // a busy host; QEMU itself takes 50
#define CALL_MS	  10000
#define FORBIDDEN "killed: a forbidden system call"

enum qemu_accel qemu_accel_usable(void)
{
	char why[200];

	return kvm_usable(why) ? QEMU_ACCEL_KVM : QEMU_ACCEL_TCG;
}

// --- what QEMU tells

static void event(void *arg, const char *name, const struct codec_node *data)
{
	struct qemu *q = arg;
	const struct codec_node *reason = data ? codec_get(data, "reason") : NULL;

	if (str_eq(name, "SHUTDOWN") && reason && codec_type(reason) == CODEC_TEXT)
		base_cut(q->reason, sizeof(q->reason), "%s", codec_text(reason));
}

static void closed(void *arg)
{
	(void)arg; // its end follows, and is heard of from its process
}

static const struct qmp_ops monitor = { event, closed };

// Everything that QEMU said before its end is heard first.
static void tell_end(struct qemu *q, int status)
{
	char why[512];

	qmp_drain(q->qmp);
	qemu_pipe_drain(q->console);
	qemu_pipe_drain(q->messages);
	if (status == 0 && str_starts(q->reason, "guest-"))
		base_cut(why, sizeof(why), "%s", q->reason);
	else if (status > 0 && status <= 128)
		base_cut(why, sizeof(why), "%s", qemu_pipe_last(q->messages));
	else if (status == 128 + SIGSYS)
		base_cut(why, sizeof(why), FORBIDDEN);
	else // by a signal, also by one that it obeyed
		base_cut(why, sizeof(why), "killed");
	qemu_stop(q);
	q->ended = true;
	q->env.ended(q->env.arg, status, why);
}

static void process_event(void *arg, uint32_t events)
{
	struct qemu *q = arg;
	int status = 0;

	(void)events;
	if (qemu_spawn_ended(&q->spawn, 0, &status))
		tell_end(q, status);
}

// --- start

static int pair(int *ours, int *theirs, struct err *e)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return err_sys(e, "socketpair");
	*ours = fds[0];
	*theirs = fds[1];
	return fd_set_nonblock(fds[0], true, e);
}

static void fill_doc(struct qemu *q, uint64_t tsc_khz)
{
	(void)!COPY(q->doc.accel, q->kvm ? "kvm" : "tcg");
	(void)!COPY(q->doc.cpu, qemu_cpu_model(q->kvm));
	base_cut(q->doc.qemu, sizeof(q->doc.qemu), "%s", qmp_version(q->qmp));
	q->doc.tsc_khz = tsc_khz;
}

static int prepare(struct qemu *q, const struct qemu_config *c, struct qemu_plan *p, int *ret_qmp,
		   struct err *e)
{
	cleanup_fd int mux = -1;
	int console = -1;

	p->config = c;
	p->program = q->program;
	p->kvm = q->kvm;
	p->chroot_dir = q->spawn.confined.on ? q->chroot_dir : NULL;
	p->uid = q->env.confined.uid;
	p->gid = q->env.confined.gid;
	if (qemu_open_all(p, q->env.root_fd, q->tun, e) < 0 ||
	    qemu_ram_new(&q->ram, c->machine.mem_size_mib * MIB, e) < 0 ||
	    qemu_doc_from_config(&q->doc, c, e) < 0)
		return -e->no;
	for (size_t i = 0; i < QEMU_DRIVES && p->drives[i] >= 0; i++)
		q->drive_sizes[i] = (uint64_t)MAX(lseek(p->drives[i], 0, SEEK_END), 0);
	p->ram = fcntl(q->ram.fd, F_DUPFD_CLOEXEC, 3);
	if (p->ram < 0)
		return err_sys(e, "dup");
	if (pair(&console, &p->console, e) < 0)
		return -e->no;
	if (qemu_pipe_new(q->env.loop, console, q->env.console_fd, &q->console, e) < 0)
		return -e->no;
	if (pair(ret_qmp, &p->qmp, e) < 0)
		return -e->no;
	if (!c->has_vsock)
		return 0;
	if (pair(&mux, &p->mux, e) < 0)
		return -e->no;
	return qemu_vsock_new(q->env.loop, q->env.root_fd, c->vsock.uds_path, steal_fd(&mux),
			      &q->vsock, e);
}

static int spawn(struct qemu *q, const struct qemu_plan *p, struct err *e)
{
	cleanup_args struct qemu_args args = { .fd_count = 0 };
	cleanup_fd int write_end = -1;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	write_end = fds[1];
	if (fd_set_nonblock(fds[0], true, e) < 0 ||
	    qemu_pipe_new(q->env.loop, fds[0], -1, &q->messages, e) < 0)
		return -e->no;
	qemu_args_build(p, &args);
	return qemu_spawn_run(&q->spawn, &args, write_end, e);
}

// QEMU's own words say more than that it is gone.
static int explain(struct qemu *q, struct err *e)
{
	int status;

	if (e->no == EPIPE && qemu_spawn_ended(&q->spawn, 2000, &status) && q->messages) {
		if (status == 128 + SIGSYS)
			return err_set(e, EIO, "QEMU: " FORBIDDEN);
		qemu_pipe_drain(q->messages);
		if (*qemu_pipe_last(q->messages))
			return err_set(e, EIO, "%s", qemu_pipe_last(q->messages));
	}
	return err_wrap(e, "QEMU");
}

int qemu_run(struct qemu *q, const struct qemu_config *c, bool incoming, struct err *e)
{
	cleanup_plan struct qemu_plan p;
	cleanup_fd int monitor_fd = -1;

	qemu_plan_init(&p);
	q->reason[0] = '\0';
	q->exchanges = 0;
	memset(q->drive_sets, 0, sizeof(q->drive_sets));
	p.incoming = incoming;
	p.tsc_khz = incoming ? 0 : qemu_tsc_khz(&q->tsc);
	if (qemu_check_config(c, e) < 0 || prepare(q, c, &p, &monitor_fd, e) < 0 ||
	    spawn(q, &p, e) < 0)
		return -e->no;
	uint64_t khz = p.tsc_khz ? p.tsc_khz : qemu_tsc_khz(&q->tsc);

	qemu_plan_clear(&p); // QEMU's ends are QEMU's alone: their closing tells of its end
	if (qmp_new(q->env.loop, steal_fd(&monitor_fd), &monitor, q, START_MS, &q->qmp, e) < 0)
		return explain(q, e);
	fill_doc(q, khz);
	if (qemu_spawn_settle(&q->spawn, e) < 0)
		return explain(q, e);
	if (loop_add_fd(q->env.loop, qemu_spawn_watch(&q->spawn), EPOLLIN, process_event, q,
			&q->watch, e) < 0)
		return -e->no;
	q->running = q->paused = true;
	return 0;
}

void qemu_stop(struct qemu *q)
{
	loop_remove(q->watch);
	q->watch = NULL;
	qemu_spawn_abort(&q->spawn);
	qmp_free(steal_ptr(&q->qmp));
	if (q->vsock && !q->running)
		qemu_vsock_unbind(q->vsock);
	qemu_vsock_free(steal_ptr(&q->vsock));
	qemu_pipe_free(steal_ptr(&q->console));
	qemu_pipe_free(steal_ptr(&q->messages));
	qemu_ram_free(&q->ram);
	qemu_doc_clear(&q->doc);
	base_closep(&q->state_stream);
	q->state_stream = -1;
	q->running = q->paused = false;
}

int qemu_go(struct qemu *q, struct err *e)
{
	if (!q->running)
		return err_kind(e, ERR_STATE, "no guest is running");
	if (!q->paused)
		return 0;
	qemu_ram_leave(&q->ram, q->doc.machine.track_dirty_pages);
	if (qmp_call(q->qmp, "cont", NULL, -1, CALL_MS, NULL, e) < 0)
		return -e->no;
	base_closep(&q->state_stream);
	q->state_stream = -1;
	q->paused = false;
	return 0;
}

int qemu_start(struct qemu *q, const struct qemu_config *c, struct err *e)
{
	if (q->running)
		return err_kind(e, ERR_STATE, "a guest is running");
	if (qemu_run(q, c, false, e) < 0 || qemu_go(q, e) < 0) {
		q->running = false; // so that nothing of it stays
		qemu_stop(q);
		return -e->no;
	}
	return 0;
}

// --- while it runs

int qemu_pause(struct qemu *q, struct err *e)
{
	if (!q->running)
		return err_kind(e, ERR_STATE, "no guest is running");
	if (q->paused)
		return 0;
	if (qmp_call(q->qmp, "stop", NULL, -1, CALL_MS, NULL, e) < 0)
		return -e->no;
	q->paused = true;
	return 0;
}

int qemu_resume(struct qemu *q, struct err *e)
{
	return qemu_go(q, e);
}

int qemu_ctrl_alt_del(struct qemu *q, struct err *e)
{
	if (!q->running)
		return err_kind(e, ERR_STATE, "no guest is running");
	return qmp_call(q->qmp, "send-key",
			"{\"keys\":[{\"type\":\"qcode\",\"data\":\"ctrl\"},"
			"{\"type\":\"qcode\",\"data\":\"alt\"},"
			"{\"type\":\"qcode\",\"data\":\"delete\"}]}",
			-1, CALL_MS, NULL, e);
}

bool qemu_is_running(const struct qemu *q)
{
	return q->running;
}

bool qemu_is_paused(const struct qemu *q)
{
	return q->running && q->paused;
}
