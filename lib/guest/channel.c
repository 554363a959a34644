// SPDX-License-Identifier: MIT
#include "guest/channel.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
// after sys/socket.h
#include <linux/vm_sockets.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mux.h"
#include "guest/machine.h"

#define PORT_NAME  "mvm.0"
#define PORTS_DIR  "/sys/class/virtio-ports"
#define PAUSE_MIN  20 // ms
#define PAUSE_MAX  2000
#define LATE_DIALS 10 // after READY was said once: the host may have taken it

struct channel {
	struct loop *loop;
	struct agent *agent;
	int vsock, port, dialling; // listener; virtio-serial port; a connect under way
	struct loop_source *vsock_source, *dial_source, *timer;
	struct mux *mux;
	int mux_end; // our end of the dial that the multiplexer has
	bool busy, taken;
	unsigned late;
	int64_t pause;
};

static void again(struct channel *k);

static void dial_failed(struct channel *k)
{
	k->busy = false;
	again(k);
}

static void on_connected(void *arg, uint32_t events)
{
	struct channel *k = arg;
	int no = 0;
	socklen_t len = sizeof(no);

	(void)events;
	loop_remove(k->dial_source);
	k->dial_source = NULL;
	if (getsockopt(k->dialling, SOL_SOCKET, SO_ERROR, &no, &len) < 0 || no) {
		(void)close(steal_fd(&k->dialling));
		dial_failed(k);
		return;
	}
	agent_dialled(k->agent, steal_fd(&k->dialling));
}

static void dial_vsock(struct channel *k)
{
	struct sockaddr_vm host = { .svm_family = AF_VSOCK,
				    .svm_cid = VMADDR_CID_HOST,
				    .svm_port = GUEST_PORT_READY };
	struct err e = { 0 };

	k->dialling = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (k->dialling < 0 ||
	    (connect(k->dialling, (struct sockaddr *)&host, sizeof(host)) < 0 &&
	     errno != EINPROGRESS) ||
	    loop_add_fd(k->loop, k->dialling, EPOLLOUT, on_connected, k, &k->dial_source, &e) < 0) {
		base_closep(&k->dialling);
		k->dialling = -1;
		dial_failed(k);
	}
}

static void on_mux_dialled(void *arg, bool taken)
{
	struct channel *k = arg;
	int fd = steal_fd(&k->mux_end);

	if (taken) {
		agent_dialled(k->agent, fd);
		return;
	}
	base_closep(&fd);
	dial_failed(k);
}

static void dial_mux(struct channel *k)
{
	struct err e = { 0 };
	int pair[2];

	if (!mux_is_up(k->mux)) { // its `up` dials
		k->busy = false;
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
		dial_failed(k);
		return;
	}
	k->mux_end = pair[0];
	if (mux_dial(k->mux, GUEST_PORT_READY, pair[1], on_mux_dialled, k, &e) < 0) {
		(void)close(steal_fd(&k->mux_end));
		dial_failed(k);
	}
}

static void dial(struct channel *k)
{
	if (k->busy || k->taken || k->late > LATE_DIALS)
		return;
	k->busy = true;
	if (k->mux)
		dial_mux(k);
	else
		dial_vsock(k);
}

static int mux_dialled(void *arg, uint32_t port)
{
	struct channel *k = arg;
	int pair[2];

	if (port != GUEST_PORT_AGENT)
		return -ECONNREFUSED;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	agent_take(k->agent, pair[0]);
	return pair[1];
}

static void mux_up(void *arg)
{
	struct channel *k = arg;

	k->pause = PAUSE_MIN;
	dial(k);
}

static void open_port(struct channel *k, const char *port)
{
	static const struct mux_ops ops = { mux_dialled, mux_up, NULL };
	struct err e = { 0 };
	char path[300];

	if (base_fmt(path, sizeof(path), "/dev/%s", port) < 0)
		return;
	k->port = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (k->port < 0)
		return;
	if (mux_new(k->loop, k->port, MUX_GUEST, &ops, k, &k->mux, &e) < 0) {
		(void)close(steal_fd(&k->port));
		return;
	}
	machine_fast_reset();
	agent_say(k->agent, "the host is reached by port %s", port);
}

static void find_port(struct channel *k)
{
	DIR *d = opendir(PORTS_DIR);

	if (!d)
		return;
	for (struct dirent *it; k->port < 0 && (it = readdir(d)) != NULL;) {
		cleanup_fd int dir = openat(dirfd(d), it->d_name, O_DIRECTORY | O_CLOEXEC);
		cleanup_buf struct buf name = BUF_INIT;
		struct err e = { 0 };

		if (it->d_name[0] != '.' && dir >= 0 &&
		    fd_read_file(dir, "name", 256, &name, &e) == 0 &&
		    str_eq(buf_text(&name), PORT_NAME "\n"))
			open_port(k, it->d_name);
	}
	(void)closedir(d);
}

// Only the host is listened to: a process of the guest must not get at root by a local connection.
static void on_vsock(void *arg, uint32_t events)
{
	struct channel *k = arg;
	struct sockaddr_vm peer = { 0 };
	socklen_t len = sizeof(peer);
	int fd = accept4(k->vsock, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	if (peer.svm_cid == VMADDR_CID_HOST)
		agent_take(k->agent, fd);
	else
		(void)close(fd);
}

static void find_vsock(struct channel *k)
{
	struct sockaddr_vm any = { .svm_family = AF_VSOCK,
				   .svm_cid = VMADDR_CID_ANY,
				   .svm_port = GUEST_PORT_AGENT };
	cleanup_fd int dev = open("/dev/vsock", O_RDONLY | O_CLOEXEC);
	cleanup_fd int fd = -1;
	unsigned cid = VMADDR_CID_ANY;
	struct err e = { 0 };

	// The module may be there without a device.
	if (dev < 0 || ioctl(dev, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0 ||
	    cid <= VMADDR_CID_HOST || cid == VMADDR_CID_ANY)
		return;
	fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 ||
	    listen(fd, (int)GUEST_CONNS) < 0 ||
	    loop_add_fd(k->loop, fd, EPOLLIN, on_vsock, k, &k->vsock_source, &e) < 0)
		return;
	k->vsock = steal_fd(&fd);
	agent_say(k->agent, "the host is reached by vsock, cid %u", cid);
}

static void on_timer(void *arg)
{
	struct channel *k = arg;

	if (k->vsock < 0 && !k->mux)
		find_vsock(k);
	if (k->vsock < 0 && !k->mux)
		find_port(k);
	if (k->vsock >= 0 || k->mux)
		dial(k);
	else
		again(k);
}

static void again(struct channel *k)
{
	struct err e = { 0 };

	loop_remove(k->timer);
	k->timer = NULL;
	(void)!loop_add_timer(k->loop, clock_ms() + k->pause, on_timer, k, &k->timer, &e);
	k->pause = MIN(k->pause * 2, PAUSE_MAX);
}

void channel_dial_ended(struct channel *k, bool taken)
{
	k->busy = false;
	k->taken |= taken;
	if (agent_is_ready(k->agent))
		k->late++;
	if (!k->taken)
		again(k);
}

int channel_new(struct loop *l, struct agent *a, struct channel **ret, struct err *e)
{
	struct channel *k = base_alloc(1, sizeof(*k));

	*k = (struct channel){ .loop = l,
			       .agent = a,
			       .vsock = -1,
			       .port = -1,
			       .dialling = -1,
			       .mux_end = -1,
			       .pause = PAUSE_MIN };
	*ret = k;
	return loop_add_timer(l, clock_ms(), on_timer, k, &k->timer, e);
}

void channel_free(struct channel *k)
{
	if (!k)
		return;
	mux_free(k->mux);
	loop_remove(k->timer);
	loop_remove(k->vsock_source);
	loop_remove(k->dial_source);
	base_closep(&k->vsock);
	base_closep(&k->port);
	base_closep(&k->dialling);
	base_closep(&k->mux_end);
	free(k);
}
