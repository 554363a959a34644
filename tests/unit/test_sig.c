// SPDX-License-Identifier: MIT
#include "base/sig.h"

#include <fcntl.h>
#include <poll.h>

#include "tap.h"

TEST(signals_are_read_from_the_descriptor)
{
	struct err e = { 0 };
	cleanup_fd int fd = sig_open(&e, SIGTERM, SIGUSR1, 0);

	CHECK(fd >= 0 && fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHECK_INT(sig_read(fd), 0); // and does not block
	CHECK(raise(SIGTERM) == 0 && raise(SIGUSR1) == 0);
	int a = sig_read(fd), b = sig_read(fd);
	CHECK((a == SIGTERM && b == SIGUSR1) || (a == SIGUSR1 && b == SIGTERM));
	CHECK_INT(sig_read(fd), 0);
}

TEST(the_mask_of_the_start_is_kept)
{
	struct err e = { 0 };
	sigset_t before;

	CHECK(sigprocmask(SIG_SETMASK, NULL, &before) == 0 && !sigismember(&before, SIGHUP));
	sig_save_mask();
	cleanup_fd int fd = sig_open(&e, SIGHUP, 0);
	sig_save_mask(); // once is enough: later calls change nothing
	CHECK(fd >= 0 && !sigismember(sig_saved_mask(), SIGHUP));
}
