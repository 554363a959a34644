// SPDX-License-Identifier: MIT
// Terminals of commands: the agent holds the master's side, twice, as the command's stdin and as
// its stdout, so that the streams of a command look alike with and without one.
#include "guest/agent_core.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "base/fd.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

void agent_pty_resize(int master, const struct guest_size *size)
{
	const struct winsize w = { .ws_row = size->rows ? size->rows : 24,
				   .ws_col = size->cols ? size->cols : 80 };

	(void)ioctl(master, TIOCSWINSZ, &w);
}

int agent_pty_open(const struct guest_size *size, int fd[GUEST_STREAMS], int *theirs, struct err *e)
{
	cleanup_fd int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	cleanup_fd int again = -1, slave = -1;

	if (master < 0 || unlockpt(master) < 0)
		return err_sys(e, "terminal");
	// By descriptor: a name would be looked up in whatever is mounted on /dev/pts.
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	again = fcntl(master, F_DUPFD_CLOEXEC, 3);
	if (slave < 0 || again < 0)
		return err_sys(e, "terminal");
	if (fd_set_nonblock(master, true, e) < 0)
		return -e->no;
	agent_pty_resize(master, size);
	fd[GUEST_STDIN] = steal_fd(&again);
	fd[GUEST_STDOUT] = steal_fd(&master);
	*theirs = steal_fd(&slave);
	return 0;
}

// The end of input is a character here, as when somebody types it: once ends a line that was begun,
// once more is the end. A program that reads single keys gets none.
void agent_pty_eof(int master, bool line_begun, struct buf *out)
{
	struct termios t;

	if (tcgetattr(master, &t) < 0 || !(t.c_lflag & ICANON) || !t.c_cc[VEOF])
		return;
	if (line_begun)
		buf_char(out, (char)t.c_cc[VEOF]);
	buf_char(out, (char)t.c_cc[VEOF]);
}

// What a keyboard sends goes to the job in front, the rest to the command, too.
void agent_pty_signal(int master, pid_t pid, int sig)
{
	pid_t front = tcgetpgrp(master);
	bool keyboard = sig == SIGINT || sig == SIGQUIT || sig == SIGTSTP;

	if (front > 1 && front != pid)
		(void)kill(-front, sig);
	if (front <= 1 || front == pid || !keyboard)
		(void)kill(-pid, sig);
}
