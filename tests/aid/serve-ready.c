// SPDX-License-Identifier: MIT
// What mvm-fc-launch's helper does for a booting guest, alone: serve-ready RUN-DIR UID IP/PREFIX
// GATEWAY binds v.sock_1024 there, says "bound", and ends when the guest's agent is ready. For the
// benchmark that starts the same VM by hand.
#include "base/clock.h"
#include "base/fd.h"
#include "base/name.h"
#include "base/num.h"
#include "guest/host.h"
#include <fcntl.h>
#include <sys/stat.h>

static int serve(char **argv, struct err *e)
{
	struct guest_welcome w = { .net = { .hostname = "by-hand" } };
	struct guest_info info;
	uint64_t uid;
	int dir, sock;
	char *slash = strchr(argv[3], '/');

	if (!slash)
		return err_usage(e, "IP/PREFIX");
	*slash = '\0';
	if (num_u64(argv[2], 1, UINT32_MAX, &uid, e) < 0 ||
	    ip_parse(argv[3], &w.net.address, e) < 0 || ip_parse(argv[4], &w.net.gateway, e) < 0)
		return -e->no;
	w.net.prefix = 24;
	dir = fd_open_dir(AT_FDCWD, argv[1], e);
	if (dir < 0)
		return -e->no;
	sock = fd_unix_listen(dir, "v.sock_1024", 0600, 4, e);
	if (sock < 0 ||
	    fchownat(dir, "v.sock_1024", (uid_t)uid, (gid_t)uid, AT_SYMLINK_NOFOLLOW) < 0)
		return e->no ? -e->no : err_sys(e, "chown");
	(void)puts("bound");
	(void)fflush(stdout);
	return guest_serve_ready(sock, (uint32_t)uid, -1, &w, clock_ms() + 60000, &info, e);
}

int main(int argc, char **argv)
{
	struct err e = { 0 };

	if (argc == 5 && serve(argv, &e) == 0)
		return 0;
	(void)fprintf(stderr, "serve-ready: %s\n",
		      argc == 5 ? e.msg : "RUN-DIR UID IP/PREFIX GATEWAY");
	return 1;
}
