// SPDX-License-Identifier: MIT
#include "base/beside.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/fd.h"

static _Noreturn void run(beside_fn fn, const void *arg, pid_t caller, int to)
{
	struct err e = { 0 }, ignored = { 0 };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != caller)
		_exit(1);
	if (fn(arg, &e) == 0)
		_exit(0);
	(void)!fd_write_all(to, &e, sizeof(e), &ignored);
	_exit(1);
}

int beside_begin(beside_fn fn, const void *arg, struct beside *ret, struct err *e)
{
	pid_t caller = getpid();
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	(void)fflush(NULL); // else the child would write what we have buffered once more
	ret->pid = fork();
	if (ret->pid == 0)
		run(fn, arg, caller, ends[1]);
	(void)close(ends[1]);
	ret->from = ends[0];
	if (ret->pid > 0)
		return 0;
	ret->pid = 0;
	(void)err_sys(e, "fork");
	base_closep(&ret->from);
	ret->from = -1;
	return -e->no;
}

int beside_end(struct beside *b, struct err *e)
{
	struct err said = { 0 };
	ssize_t n;
	int status;

	if (b->pid <= 0)
		return 0;
	// One write of less than a pipe takes at once: whole, or none.
	do
		n = read(b->from, &said, sizeof(said));
	while (n < 0 && errno == EINTR);
	while (waitpid(b->pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(e, "wait");
	b->pid = 0;
	base_closep(&b->from);
	b->from = -1;
	if (n == (ssize_t)sizeof(said) && said.no)
		*e = said;
	else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		(void)err_kind(e, ERR_FAILED, "a process of ours was ended from outside");
	return e->no ? -e->no : 0;
}

void beside_free(struct beside *b)
{
	struct err ignored = { 0 };

	(void)!beside_end(b, &ignored);
}
