// SPDX-License-Identifier: MIT
// The host's side of every request against an agent that says what it likes: the first byte picks
// the request, the rest is what comes from the guest, then its end. Nothing may crash, hang or be
// kept; a refusal says why.
#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "guest/drive.h"
#include "guest/host.h"
#include "guest/host_session.h"

#define SENT_MAX 65536u // a socket takes that much without a reader

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int null_fd(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	return fd;
}

static struct guest_io io(void)
{
	return (struct guest_io){
		-1, null_fd(), null_fd(), -1, clock_ms() + 1000, clock_ms() + 1000
	};
}

static int ask_run(struct guest_conn *c, struct err *e)
{
	cleanup(guest_exec_clear) struct guest_exec x = { 0 };
	const struct guest_io streams = io();
	int status = 0;

	if (guest_words_add(&x.argv, "true", e) < 0)
		return -e->no;
	return guest_run(c, &x, &streams, &status, e);
}

static int ask_attach(struct guest_conn *c, struct err *e)
{
	const struct guest_seat none = { NULL, NULL };
	const struct guest_io streams = io();
	struct guest_parting part = { 0 };

	return guest_session_attach(c, "s", &streams, &none, &part, e);
}

static int ask_sessions(struct guest_conn *c, struct err *e)
{
	cleanup(guest_session_list_clear) struct guest_session_list l = { .count = 0 };

	return guest_ask_sessions(c, clock_ms() + 1000, &l, e);
}

static int ask_forget(struct guest_conn *c, struct err *e)
{
	return guest_ask_session_signal(c, "s", 0, clock_ms() + 1000, e);
}

static int ask_health(struct guest_conn *c, struct err *e)
{
	struct guest_health h;

	return guest_ask_health(c, clock_ms() + 1000, &h, e);
}

static int ask_down(struct guest_conn *c, struct err *e)
{
	const struct guest_down down = { "fuzz", 1 };

	return guest_ask_shutdown(c, &down, clock_ms() + 1000, e);
}

static int ask_logs(struct guest_conn *c, struct err *e)
{
	const struct guest_logs logs = { .source = GUEST_LOG_AGENT };

	return guest_ask_logs(c, &logs, null_fd(), e);
}

static int ask_hook(struct guest_conn *c, struct err *e)
{
	cleanup(guest_hook_done_clear) struct guest_hook_done done = { 0 };
	const struct guest_hook h = { .deadline_ms = 100 };

	return guest_prepare_sleep(c, &h, &done, e);
}

static int ask_drive(struct guest_conn *c, struct err *e)
{
	const uint8_t digest[GUEST_DIGEST] = { 0 };

	return guest_ask_drive(c, GUEST_DRIVE_SECRETS, digest, clock_ms() + 1000, e);
}

static int ask_forward(struct guest_conn *c, struct err *e)
{
	const struct guest_forward to = { 0, 80 };
	cleanup_fd int ours = -1, theirs = -1;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "socketpair");
	ours = pair[0];
	theirs = pair[1];
	r = shutdown(theirs, SHUT_WR) < 0 ? err_sys(e, "shutdown") : guest_forward(c, &to, ours, e);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int (*const asks[])(struct guest_conn * c, struct err * e) = {
		ask_run,  ask_attach, ask_sessions, ask_forget, ask_health,
		ask_down, ask_logs,   ask_hook,	    ask_drive,	ask_forward,
	};
	cleanup_guest struct guest_conn *c = NULL;
	cleanup_fd int guest = -1;
	struct err e = { 0 };
	int pair[2];

	if (!size || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return 0;
	(void)signal(SIGPIPE, SIG_IGN);
	log_default(LOG_LEVEL_ERROR); // notes of a session are warnings
	guest = pair[1];
	size = MIN(size, (size_t)SENT_MAX);
	assert(send(guest, data + 1, size - 1, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size - 1);
	(void)shutdown(guest, SHUT_WR);
	if (guest_open_fd(pair[0], clock_ms() + 1000, &c, &e) < 0)
		return 0;
	if (asks[data[0] % COUNT(asks)](c, &e) < 0)
		assert(e.no && e.msg[0]);
	return 0;
}
