// SPDX-License-Identifier: MIT
#include "life/figures.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"

#define FIGURES_FILE "figures.json"
#define FIGURES_LOCK "figures.lock"
#define LOCK_MS	     5000
#define DRAIN_MS     1000

#define CARRIED(member, text)                                                     \
	{                                                                         \
		FIELD_SLOT(struct link_traffic, member, uint64_t),                \
			.kind = KIND_UINT, .max = (1ULL << 53) - 1, .doc = (text) \
	}
static const struct field traffic_fields[] = { CARRIED(rx_bytes, "bytes from the guest"),
					       CARRIED(rx_packets, "packets from the guest"),
					       CARRIED(rx_drops, "of them dropped"),
					       CARRIED(tx_bytes, "bytes to the guest"),
					       CARRIED(tx_packets, "packets to the guest"),
					       CARRIED(tx_drops, "of them dropped"),
					       FIELD_END };
const struct field figures_fields[] = {
	{ FIELD_SLOT(struct figures, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct figures, read_at, time_text), .kind = KIND_TEXT,
	  .doc = "when the newest line of the VMM's was read (UTC)" },
	{ FIELD_SLOT(struct figures, before, struct link_traffic), .kind = KIND_RECORD,
	  .sub = traffic_fields, .doc = "what the TAP had carried before the start" },
	{ FIELD_SLOT(struct figures, metrics, struct metrics), .kind = KIND_RECORD,
	  .sub = metrics_fields, .doc = "the VMM's lines, added up" },
	FIELD_END
};

void figures_clear(struct figures *f)
{
	codec_free(figures_fields, f);
}

// The instance's run directory, with its figures locked.
static int lock_figures(const char *instance, int *ret_dir, struct err *e)
{
	cleanup_fd int dir = -1;
	path_text path;
	int lock;

	path_run_instance(instance, path);
	dir = fd_open_dir(AT_FDCWD, path, e);
	if (dir < 0)
		return -e->no;
	lock = fd_lock(dir, FIGURES_LOCK, true, LOCK_MS, e);
	if (lock >= 0)
		*ret_dir = steal_fd(&dir);
	return lock;
}

static int save(int dir, const struct figures *f, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	codec_print(figures_fields, f, &text);
	return fd_replace_file(dir, FIGURES_FILE, buf_text(&text), text.len, 0600, e);
}

static int load(int dir, struct figures *f, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	metrics_init(&f->metrics);
	if (fd_read_file(dir, FIGURES_FILE, 64 * KIB, &text, e) < 0)
		return -e->no;
	if (codec_parse(figures_fields, buf_text(&text), text.len, f, e) == 0)
		return 0;
	e->kind = ERR_DAMAGED;
	return err_wrap(e, FIGURES_FILE);
}

static int carried(const char *tap, struct link_traffic *ret, struct err *e)
{
	cleanup_nl struct nl *nl = NULL;

	return nl_new(NETLINK_ROUTE, &nl, e) < 0 ? -e->no : link_traffic(nl, tap, ret, e);
}

static int make_pipe(const struct jail *jail, struct err *e)
{
	if (mkfifoat(jail->run, FIGURES_PIPE, 0600) < 0 ||
	    fchmodat(jail->run, FIGURES_PIPE, 0600, 0) < 0 ||
	    fchownat(jail->run, FIGURES_PIPE, jail->uid, jail->uid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "make the FIFO " FIGURES_PIPE);
	return 0;
}

int figures_begin(const char *instance, const char *tap, const struct jail *jail,
		  const struct codec_list *drives, struct err *e)
{
	cleanup_figures struct figures f = { .schema_version = 1 };
	char *const *ids = drives->items;
	cleanup_fd int dir = -1, lock = -1;

	metrics_init(&f.metrics);
	for (size_t i = 0; i < drives->len; i++)
		(void)metrics_want(&f.metrics, ids[i]);
	lock = lock_figures(instance, &dir, e);
	if (lock < 0 || make_pipe(jail, e) < 0 || carried(tap, &f.before, e) < 0)
		return -e->no;
	return save(dir, &f, e);
}

static int open_pipe(int run_dir, uint32_t uid, int flags, struct err *e)
{
	cleanup_fd int at = jail_open_fifo(run_dir, FIGURES_PIPE, uid, e);
	fd_path path;
	int fd;

	if (at < 0)
		return -e->no;
	jail_fd_path(at, path);
	fd = open(path, flags | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open " FIGURES_PIPE) : fd;
}

int figures_hold(int run_dir, uint32_t uid, struct err *e)
{
	int fd = open_pipe(run_dir, uid, O_RDWR, e);

	// A kernel that gives less keeps fewer lines.
	if (fd >= 0)
		(void)fcntl(fd, F_SETPIPE_SZ, FIGURES_PIPE_SIZE);
	return fd;
}

int figures_read(const struct instance *i, uint32_t uid, int wait_ms, struct figures *ret,
		 struct err *e)
{
	struct err ignored = { 0 };
	cleanup_figures struct figures f = { 0 };
	cleanup_fd int dir = -1, lock = lock_figures(i->instance_id, &dir, e), pipe = -1;
	cleanup_jail struct jail jail = JAIL_NONE;
	uint64_t lines;

	if (lock < 0 || load(dir, &f, e) < 0)
		return -e->no;
	lines = f.metrics.lines;
	if (jail_open(instance_vmm_names[i->vmm], i->instance_id, uid, &jail, e) < 0)
		return -e->no;
	pipe = open_pipe(jail.run, uid, O_RDONLY, e);
	// First the room for the line that is asked for.
	if (pipe < 0 || metrics_drain(&f.metrics, pipe, clock_ms() + DRAIN_MS, e) < 0)
		return -e->no;
	if (wait_ms > 0) // whether it answers or not: what it has written counts
		(void)!metrics_ask(jail.run, "api.sock", uid, clock_ms() + wait_ms, &ignored);
	if (metrics_drain(&f.metrics, pipe, clock_ms() + DRAIN_MS, e) < 0)
		return -e->no;
	if (f.metrics.lines != lines) {
		clock_utc(f.read_at);
		if (save(dir, &f, e) < 0)
			return -e->no;
	}
	*ret = f;
	f = (struct figures){ 0 };
	return 0;
}
