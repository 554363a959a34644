// SPDX-License-Identifier: MIT
#include "base/sig.h"

#include <stdarg.h>
#include <sys/signalfd.h>

static sigset_t saved_mask;
static bool saved;

int sig_open(struct err *e, ...)
{
	sigset_t set;
	va_list ap;
	int sig;

	(void)sigemptyset(&set);
	va_start(ap, e);
	while ((sig = va_arg(ap, int)) != 0)
		(void)sigaddset(&set, sig);
	va_end(ap);
	sig_save_mask();
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_sys(e, "block signals");
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "signalfd");
	return fd;
}

int sig_read(int fd)
{
	struct signalfd_siginfo info;
	ssize_t n;

	do
		n = read(fd, &info, sizeof(info));
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(info) ? (int)info.ssi_signo : 0;
}

void sig_save_mask(void)
{
	if (!saved)
		saved = sigprocmask(SIG_SETMASK, NULL, &saved_mask) == 0;
}

const sigset_t *sig_saved_mask(void)
{
	sig_save_mask();
	return &saved_mask;
}
