// SPDX-License-Identifier: MIT
// A guest for the tests of the VMM: init of an initrd, it inserts the drivers that lie in /modules
// and serves host connections on ports of the mux.
//	7	echoes
//	8	commands, a line each, an answer line each; see commands[]
// On the console it says "vmm-guest: up" once the port is open, and the name of a key it is told.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mux.h"

#define LINE 1024

static struct loop *loop;
static struct mux *mux;
static uint8_t *memory; // what "fill" took
static size_t memory_len;

static void say(const char *text)
{
	int fd = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);

	(void)!write(fd, text, strlen(text));
	(void)close(fd);
}

static uint32_t sum_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
	uint8_t *data = aligned_alloc(4096, 65536);
	uint32_t crc = 0;
	ssize_t n;

	while ((n = read(fd, data, 65536)) > 0)
		crc = mux_crc32(crc, data, (size_t)n);
	free(data);
	(void)close(fd);
	return crc;
}

static void fill(char *args, char *out)
{
	unsigned seed = 0;
	size_t mib = 0;

	(void)sscanf(args, "%zu %u", &mib, &seed);
	if (memory)
		(void)munmap(memory, memory_len);
	memory_len = mib << 20;
	memory = mmap(NULL, memory_len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	for (size_t i = 0; i < memory_len; i += 64)
		memset(memory + i, (int)(seed + i / 4096 * 31 + i), 64);
	(void)snprintf(out, LINE, "filled %zu\n", memory_len);
}

// Zeros in pages that held something.
static void zero(char *args, char *out)
{
	size_t kib = 0;

	(void)sscanf(args, "%zu", &kib);
	memset(memory, 0, MIN(kib << 10, memory_len));
	(void)snprintf(out, LINE, "zeroed\n");
}

static void sum(char *args, char *out)
{
	(void)args;
	(void)snprintf(out, LINE, "%08x\n", mux_crc32(0, memory, memory_len));
}

static void drive(char *args, char *out)
{
	char path[64], serial[32] = "";
	unsigned long sectors = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/sys/block/%.8s/serial", args);
	if ((f = fopen(path, "r")) != NULL) {
		(void)!fread(serial, 1, 20, f);
		(void)fclose(f);
	}
	(void)snprintf(path, sizeof(path), "/sys/block/%.8s/size", args);
	if ((f = fopen(path, "r")) != NULL) {
		(void)!fscanf(f, "%lu", &sectors);
		(void)fclose(f);
	}
	serial[strcspn(serial, "\n")] = '\0';
	(void)snprintf(path, sizeof(path), "/dev/%.8s", args);
	(void)snprintf(out, LINE, "%s %lu %08x\n", serial, sectors, sum_file(path));
}

static void put(char *args, char *out)
{
	char path[64];
	char *text = strchr(args, ' ');
	uint8_t *block = aligned_alloc(4096, 4096);
	int fd;

	memset(block, 0, 4096);
	*text++ = '\0';
	(void)snprintf(path, sizeof(path), "/dev/%.8s", args);
	(void)snprintf((char *)block, 4096, "%s", text);
	fd = open(path, O_WRONLY | O_CLOEXEC | O_DIRECT);
	(void)snprintf(out, LINE, "%s\n",
		       fd >= 0 && write(fd, block, 4096) == 4096 ? "written" : strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	free(block);
}

static void cat(char *args, char *out)
{
	int fd = open(args, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, LINE - 2);

	(void)snprintf(out + MAX(n, 0), 2, "%s", n > 0 && out[n - 1] == '\n' ? "" : "\n");
	for (ssize_t i = 0; i + 1 < n; i++)
		if (out[i] == '\n')
			out[i] = ' ';
	(void)close(fd);
}

static void cpus(char *args, char *out)
{
	(void)args;
	(void)snprintf(out, LINE, "%d\n", get_nprocs());
}

static void taken(void *arg, bool yes)
{
	if (!yes)
		say("vmm-guest: refused\n");
	(void)arg;
}

// "dial PORT TEXT": sends the text and leaves; the console tells a refusal.
static void dial(char *args, char *out)
{
	char *text = strchr(args, ' ');
	struct err e = { 0 };
	int fds[2];

	*text++ = '\0';
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return;
	(void)!write(fds[1], text, strlen(text));
	(void)shutdown(fds[1], SHUT_WR);
	(void)snprintf(out, LINE, "%s\n",
		       mux_dial(mux, (uint32_t)strtoul(args, NULL, 10), fds[0], taken, NULL, &e) < 0
			       ? e.msg
			       : "dialled"); // fds[1] stays open: the process is init and small
}

static void end(char *args, char *out)
{
	int how = str_eq(args, "poweroff") ? RB_POWER_OFF : RB_AUTOBOOT;

	(void)out;
	if (str_eq(args, "panic")) {
		int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

		(void)!write(fd, "c", 1);
	}
	(void)reboot(how);
}

static const struct {
	const char *name;
	void (*run)(char *args, char *out);
} commands[] = {
	{ "fill", fill }, { "zero", zero }, { "sum", sum },   { "drive", drive }, { "put", put },
	{ "cat", cat },	  { "cpus", cpus }, { "dial", dial }, { "end", end },
};

static void serve(char *line, char *out)
{
	char *args = strchr(line, ' ');

	if (args)
		*args++ = '\0';
	(void)snprintf(out, LINE, "unknown\n");
	for (size_t i = 0; i < COUNT(commands); i++)
		if (str_eq(commands[i].name, line))
			commands[i].run(args ? args : line + strlen(line), out);
}

struct client {
	int fd;
	struct loop_source *src;
	struct buf in;
};

static void client_event(void *arg, uint32_t events)
{
	struct client *c = arg;
	char data[4096], out[LINE], *nl;
	ssize_t n = read(c->fd, data, sizeof(data));

	(void)events;
	if (n <= 0) {
		loop_remove(c->src);
		(void)close(c->fd);
		buf_free(&c->in);
		free(c);
		return;
	}
	buf_add(&c->in, data, (size_t)n);
	while (c->in.len && (nl = memchr(c->in.data, '\n', c->in.len)) != NULL) {
		*nl = '\0';
		serve(c->in.data, out);
		buf_drop(&c->in, (size_t)(nl - c->in.data) + 1);
		(void)!write(c->fd, out, strlen(out));
	}
}

// Echo in a process of its own, so that one slow caller holds up nobody.
static int echo_process(int fds[2])
{
	pid_t pid = fork();

	if (pid == 0) {
		char data[16384];
		ssize_t n;

		(void)syscall(SYS_close_range, 3, fds[1] - 1, 0);
		(void)syscall(SYS_close_range, fds[1] + 1, ~0U, 0);
		while ((n = read(fds[1], data, sizeof(data))) > 0)
			for (ssize_t at = 0, w; at < n; at += w)
				if ((w = write(fds[1], data + at, (size_t)(n - at))) <= 0)
					_exit(1);
		_exit(0);
	}
	(void)close(fds[1]);
	return pid < 0 ? -ENOMEM : fds[0];
}

static int dialled(void *arg, uint32_t port)
{
	struct client *c;
	struct err e = { 0 };
	int fds[2];

	(void)arg;
	if ((port != 7 && port != 8) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return -ECONNREFUSED;
	if (port == 7)
		return echo_process(fds);
	c = base_alloc(1, sizeof(*c));
	c->fd = fds[1];
	if (loop_add_fd(loop, fds[1], EPOLLIN, client_event, c, &c->src, &e) < 0)
		return -ENOMEM;
	return fds[0];
}

static void load_modules(void)
{
	FILE *order = fopen("/modules/order", "r");
	char name[128], path[160];

	while (order && fgets(name, sizeof(name), order)) {
		name[strcspn(name, "\n")] = '\0';
		(void)snprintf(path, sizeof(path), "/modules/%s", name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
			say("vmm-guest: a driver was not taken\n");
		(void)close(fd);
	}
}

static int open_port(void)
{
	char path[64], name[32];

	for (int tries = 0; tries < 200; tries++, clock_sleep_ms(10))
		for (int i = 0; i < 4; i++) {
			(void)snprintf(path, sizeof(path), "/sys/class/virtio-ports/vport%dp1/name",
				       i);
			FILE *f = fopen(path, "r");

			if (!f)
				continue;
			name[0] = '\0';
			(void)!fscanf(f, "%31s", name);
			(void)fclose(f);
			(void)snprintf(path, sizeof(path), "/dev/vport%dp1", i);
			if (str_eq(name, "mvm.0"))
				return open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		}
	return -1;
}

// "vmm-guest=late" on the command line: for some seconds nobody is there.
static void be_late(void)
{
	cleanup_fd int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	char text[4096] = "";

	if (read(fd, text, sizeof(text) - 1) > 0 && strstr(text, "vmm-guest=late"))
		clock_sleep_ms(6000);
}

static void bring_up_nets(void)
{
	struct {
		char name[16];
		short flags;
		char rest[22];
	} req = { "eth0", 1, "" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)syscall(SYS_ioctl, fd, 0x8914,
		      &req); // SIOCSIFFLAGS, IFF_UP: it sends neighbour frames
	(void)close(fd);
}

static void three_keys(int sig)
{
	(void)sig;
	say("vmm-guest: ctrl-alt-del\n");
	(void)reboot(RB_AUTOBOOT);
}

int main(void)
{
	static const struct mux_ops ops = { .dialled = dialled };
	const struct rlimit files = { 8192, 8192 };
	struct err e = { 0 };
	int port;

	(void)setrlimit(RLIMIT_NOFILE, &files);
	(void)mkdir("/proc", 0755);
	(void)mkdir("/sys", 0755);
	(void)mount("proc", "/proc", "proc", 0, NULL);
	(void)mount("sys", "/sys", "sysfs", 0, NULL);
	(void)mount("dev", "/dev", "devtmpfs", 0, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGCHLD, SIG_IGN);
	load_modules();
	be_late();
	bring_up_nets();
	(void)reboot(RB_DISABLE_CAD); // init gets SIGINT
	(void)signal(SIGINT, three_keys);
	port = open_port();
	if (loop_new(&loop, &e) < 0)
		return 1;
	if (port >= 0 && mux_new(loop, port, MUX_GUEST, &ops, NULL, &mux, &e) < 0)
		say("vmm-guest: no mux\n");
	say(port >= 0 ? "vmm-guest: up\n" : "vmm-guest: up, no port\n");
	if (loop_run(loop, &e) < 0)
		say("vmm-guest: the loop has ended\n");
	for (;;)
		(void)pause();
}
