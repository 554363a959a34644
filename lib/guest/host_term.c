// SPDX-License-Identifier: MIT
#include "guest/host_session.h"

#include <sys/ioctl.h>

bool guest_term_open(struct guest_term *t, int fd)
{
	*t = (struct guest_term){ .fd = fd };
	return tcgetattr(fd, &t->saved) == 0;
}

void guest_term_size(const struct guest_term *t, struct guest_size *out)
{
	struct winsize w = { 0 };

	(void)ioctl(t->fd, TIOCGWINSZ, &w);
	*out = (struct guest_size){ w.ws_row, w.ws_col };
}

int guest_term_raw(struct guest_term *t, struct err *e)
{
	struct termios raw = t->saved;

	cfmakeraw(&raw);
	if (tcsetattr(t->fd, TCSANOW, &raw) < 0)
		return err_sys(e, "terminal");
	t->raw = true;
	return 0;
}

void guest_term_restore(struct guest_term *t)
{
	if (t->raw)
		(void)tcsetattr(t->fd, TCSANOW, &t->saved);
	t->raw = false;
}
