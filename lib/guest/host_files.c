// SPDX-License-Identifier: MIT
// Files in and out of a guest. What reads or writes files here does so in a process of its own,
// joined to the stream by a pipe: neither a slow disk nor a hostile stream holds the connection up,
// and what that process found is in memory that both share.
#include "guest/host.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/host_stream.h"

#define START_MS 30000

struct worker {
	pid_t pid;
	int fd; // our end of its pipe, non-blocking
	struct worker_result {
		bool ended; // by itself
		struct err e;
		struct files_count count;
	} * result;
};

static void worker_end(struct worker *w)
{
	base_closep(&w->fd);
	w->fd = -1;
	while (w->pid > 0 && waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		;
	w->pid = 0;
}

static void worker_free(struct worker *w)
{
	if (w->pid > 0)
		(void)kill(w->pid, SIGKILL);
	worker_end(w);
	if (w->result)
		(void)munmap(w->result, sizeof(*w->result));
}

static void work(const struct guest_copy *copy, bool in, int fd, struct worker_result *ret)
{
	const char *name = copy->want.name;
	int r;

	if (in)
		r = files_pack(copy->local, name, fd, &ret->count, &ret->e);
	else if (copy->local)
		r = files_unpack(&copy->target, &copy->rules, files_read_fd, &fd, &ret->count,
				 &ret->e);
	else
		r = files_filter(&copy->rules, files_read_fd, &fd, copy->fd, &ret->count, &ret->e);
	ret->ended = true;
	_exit(r < 0);
}

// in: it writes what we read. PDEATHSIG, since it must not go on for nobody.
static int worker_start(const struct guest_copy *copy, bool in, const struct guest_conn *c,
			struct worker *w, struct err *e)
{
	cleanup_fd int theirs = -1;
	pid_t parent = getpid();
	int fd[2];

	w->result = mmap(NULL, sizeof(*w->result), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (w->result == MAP_FAILED) {
		w->result = NULL;
		return err_sys(e, "memory");
	}
	if (pipe2(fd, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	w->fd = fd[in ? 0 : 1];
	theirs = fd[in ? 1 : 0];
	(void)fcntl(theirs, F_SETPIPE_SZ, 4 * (int)GUEST_WINDOW);
	if (fd_set_nonblock(w->fd, true, e) < 0)
		return -e->no;
	w->pid = fork();
	if (w->pid < 0)
		return err_sys(e, "fork");
	if (w->pid > 0)
		return 0;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	(void)close(w->fd);
	(void)close(c->fd);
	work(copy, in, theirs, w->result);
	_exit(1);
}

// What stopped this side first of all; what the guest says of itself; then how the stream ended. A
// pipe that broke here, or a stream cut short there, is what the other side's failure looks like.
static int judge(const struct stream *s, const struct worker_result *ours, bool in, int r,
		 struct guest_copy *copy, struct err *e)
{
	struct guest_files_done done = { 0 };
	struct err why = { 0 };
	bool failed = ours && (!ours->ended || ours->e.no);

	if (in && failed && ours->ended && ours->e.no != EPIPE) {
		*e = ours->e;
		return -e->no;
	}
	if (r == 0 && guest_files_done_get(s->words.data, s->words.len, &done, &why) < 0)
		return err_kind(e, ERR_FAILED, "the guest's agent: it does not say how it ended");
	if (r == 0 && done.error.no) {
		(void)guest_error_to(&done.error, e);
		return err_wrap(e, "guest");
	}
	if (failed && (r == 0 || s->out_lost)) {
		if (!ours->ended)
			return err_kind(e, ERR_FAILED, "the process that copies was ended");
		*e = ours->e;
		return -e->no;
	}
	if (r < 0)
		return r;
	if (s->status != 0)
		return err_kind(e, ERR_FAILED, "the guest's agent: the copy ended with %d",
				s->status);
	copy->count = ours ? ours->count : done.count;
	copy->count.skipped = MAX(copy->count.skipped, done.count.skipped);
	return 0;
}

static int copy(struct guest_conn *c, struct guest_copy *what, bool in, struct err *e)
{
	cleanup(worker_free) struct worker w = { .fd = -1 };
	cleanup(host_stream_clear) struct stream s = { .conn = c,
						       .in = -1,
						       .out = -1,
						       .start_ms = clock_ms() +
								   MIN(START_MS, what->idle_ms),
						       .idle_ms = what->idle_ms };
	cleanup_buf struct buf b = BUF_INIT;
	bool process = !in || what->local;
	int r;

	if (process && worker_start(what, in, c, &w, e) < 0)
		return -e->no;
	if (in)
		s.in = process ? w.fd : what->fd;
	else
		s.out = w.fd;
	guest_files_put(&b, &what->want);
	guest_frame_put(&c->out, in ? GUEST_PUT : GUEST_GET, 0, b.data, b.len);
	r = host_stream_run(&s, e);
	// A stream that broke off must not look like one that ended: what unpacks it is stopped.
	if (r < 0 && !s.out_lost && !in && w.pid > 0)
		(void)kill(w.pid, SIGKILL);
	worker_end(&w);
	return judge(&s, process ? w.result : NULL, in, r, what, e);
}

int guest_copy_in(struct guest_conn *c, struct guest_copy *what, struct err *e)
{
	return copy(c, what, true, e);
}

int guest_copy_out(struct guest_conn *c, struct guest_copy *what, struct err *e)
{
	return copy(c, what, false, e);
}
