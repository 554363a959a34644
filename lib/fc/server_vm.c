// SPDX-License-Identifier: MIT
#include "fc/server_parts.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "fc/resolve.h"

#define METRICS_PERIOD_MS 60000

// ---- metrics ----

// In the order of the rows METRIC_BLOCK_*.
static uint64_t block_figure(const struct qemu_block *b, size_t i)
{
	const uint64_t figures[VMMETRICS_BLOCK] = { b->read_bytes, b->write_bytes, b->read_ops,
						    b->write_ops, b->flush_ops };

	return figures[i];
}

static void stats_take(struct server *s)
{
	struct qemu_stats st = { 0 };
	struct err e;

	vmmetrics_set(&s->metrics, METRIC_MISSED_LOG, s->log.missed);
	if (!s->qemu || !qemu_is_running(s->qemu) || qemu_stats(s->qemu, &st, &e) < 0)
		return;
	for (size_t i = 0; i < VMMETRICS_BLOCK; i++)
		vmmetrics_set(&s->metrics, (enum metric)(METRIC_BLOCK_READ_BYTES + i),
			      block_figure(&st.block, i));
	for (size_t d = 0; d < st.drive_count; d++)
		for (size_t i = 0; i < VMMETRICS_BLOCK; i++)
			vmmetrics_set_drive(&s->metrics, st.drives[d].id, i,
					    block_figure(&st.drives[d].block, i));
	vmmetrics_set(&s->metrics, METRIC_VSOCK_ADDED, st.vsock_conns);
	vmmetrics_set(&s->metrics, METRIC_VSOCK_RX, st.vsock_rx_bytes);
	vmmetrics_set(&s->metrics, METRIC_VSOCK_TX, st.vsock_tx_bytes);
}

static int metrics_flush(struct server *s, struct err *e)
{
	if (s->metrics.fd >= 0)
		stats_take(s);
	return vmmetrics_write(&s->metrics, e);
}

void server_metrics_write(struct server *s)
{
	struct err e;

	if (metrics_flush(s, &e) < 0)
		vmlog(&s->log, VMLOG_ERROR, VMLOG_VMM, "Failed to write metrics: %s", e.msg);
}

static void metrics_due(void *arg)
{
	struct server *s = arg;

	server_metrics_write(s);
	loop_set_timer(s->metrics_timer, clock_ms() + METRICS_PERIOD_MS);
}

// A line at once, then one a minute.
int server_metrics_start(struct server *s, struct err *e)
{
	server_metrics_write(s);
	return loop_add_timer(s->loop, clock_ms() + METRICS_PERIOD_MS, metrics_due, s,
			      &s->metrics_timer, e);
}

static void took(struct server *s, enum metric api, enum metric vmm, int64_t since_us,
		 const char *what)
{
	uint64_t us = (uint64_t)(clock_us() - since_us);

	vmmetrics_set(&s->metrics, api, us);
	vmmetrics_set(&s->metrics, vmm, us);
	vmlog(&s->log, VMLOG_INFO, VMLOG_API, "'%s' API request took %llu us.", what,
	      (unsigned long long)us);
}

// ---- start ----

// PUT /serial: the console's descriptor is exchanged under its number, which QEMU's side has.
static int serial_open(struct server *s, struct err *e)
{
	cleanup_fd int fd = -1;

	if (!s->serial_path)
		return 0;
	fd = qemu_resolve(s->root_fd, s->serial_path, O_RDWR | O_CREAT | O_APPEND, e);
	if (fd < 0)
		return err_wrap(e, "serial output");
	return dup3(fd, s->console_fd, O_CLOEXEC) < 0 ? err_sys(e, "serial output") : 0;
}

// An empty one is understood by nobody, and QEMU would pass it over.
static int check_initrd(struct server *s, struct err *e)
{
	const char *path = s->config.boot.initrd_path;
	cleanup_fd int fd = -1;
	struct stat sb;

	if (!path)
		return 0;
	fd = qemu_resolve(s->root_fd, path, O_RDONLY, e);
	if (fd < 0)
		return fd;
	if (fstat(fd, &sb) < 0)
		return err_sys(e, "stat %s", path);
	return S_ISREG(sb.st_mode) && sb.st_size > 0
		       ? 0
		       : err_set(e, EINVAL, "Cannot load initrd: %s is empty or no file", path);
}

int server_start(struct server *s, struct err *e)
{
	if (!s->config.boot.kernel_image_path)
		return err_usage(e, "Start microvm error: Cannot start microvm without kernel "
				    "configuration.");
	if (check_initrd(s, e) < 0 || serial_open(s, e) < 0 ||
	    qemu_start(s->qemu, &s->config, e) < 0)
		return err_wrap(e, "Start microvm error");
	s->started = true;
	vmlog(&s->log, VMLOG_INFO, VMLOG_VMM, "The guest was started.");
	return server_metrics_start(s, e);
}

int server_put_action(struct server_call *c, struct err *e)
{
	struct fc_action a = { 0 };
	bool start;

	if (server_parse(c, fc_action_fields, &a, e) < 0)
		return -e->no;
	start = a.action_type == FC_INSTANCE_START;
	if (c->s->started == start)
		return err_kind(e, ERR_STATE,
				"The requested operation is not supported %s starting the microVM.",
				start ? "after" : "before");
	if (start)
		return server_start(c->s, e);
	if (a.action_type == FC_FLUSH_METRICS)
		return metrics_flush(c->s, e) < 0 ? err_wrap(e, "Internal VMM error") : 0;
	if (qemu_ctrl_alt_del(c->s->qemu, e) < 0)
		return err_wrap(e, "Internal VMM error");
	return 0;
}

// ---- pause, resume ----

int server_patch_vm(struct server_call *c, struct err *e)
{
	int64_t since = clock_us();
	struct fc_vm vm = { 0 };
	bool pause;

	if (server_parse(c, fc_vm_fields, &vm, e) < 0)
		return -e->no;
	pause = vm.state == FC_PAUSED;
	if ((pause ? qemu_pause(c->s->qemu, e) : qemu_resume(c->s->qemu, e)) < 0)
		return err_wrap(e, "Internal VMM error");
	if (pause)
		took(c->s, METRIC_LATENCY_PAUSE, METRIC_LATENCY_VMM_PAUSE, since, "pause vm");
	else
		took(c->s, METRIC_LATENCY_RESUME, METRIC_LATENCY_VMM_RESUME, since, "resume vm");
	return 0;
}

// ---- snapshots ----

int server_create_snapshot(struct server_call *c, struct err *e)
{
	struct fc_snapshot_create p = { 0 };
	int64_t since = clock_us();
	int r;

	if (server_parse(c, fc_snapshot_create_fields, &p, e) < 0)
		return -e->no;
	if (!qemu_is_paused(c->s->qemu))
		r = err_kind(e, ERR_STATE, "save/restore unavailable while running");
	else
		r = qemu_snapshot(c->s->qemu, &p, e);
	if (r < 0)
		(void)err_wrap(e, "Create snapshot error");
	else if (p.snapshot_type == FC_SNAPSHOT_FULL)
		took(c->s, METRIC_LATENCY_FULL, METRIC_LATENCY_VMM_FULL, since,
		     "create full snapshot");
	else
		took(c->s, METRIC_LATENCY_DIFF, METRIC_LATENCY_VMM_DIFF, since,
		     "create diff snapshot");
	codec_free(fc_snapshot_create_fields, &p);
	return r;
}

// The deprecated spellings become the present ones.
static int load_normal(struct server_call *c, struct fc_snapshot_load *l, struct err *e)
{
	if (!l->mem_file_path == !l->mem_backend.backend_path)
		return err_usage(e,
				 "An error occurred when deserializing the json body of a "
				 "request: %s: either `mem_backend` or `mem_file_path` %sis "
				 "required",
				 l->mem_file_path ? "too many fields" : "missing field",
				 l->mem_file_path ? "exclusively " : "");
	c->deprecated = l->mem_file_path || l->enable_diff_snapshots;
	if (l->mem_file_path) {
		l->mem_backend.backend_path = steal_ptr(&l->mem_file_path);
		l->mem_backend.backend_type = FC_BACKEND_FILE;
	}
	l->track_dirty_pages |= l->enable_diff_snapshots;
	l->enable_diff_snapshots = false;
	return 0;
}

static int load(struct server *s, const struct fc_snapshot_load *l, struct err *e)
{
	struct qemu_config config = { 0 };

	if (l->mem_backend.backend_type == FC_BACKEND_UFFD)
		return server_refuse(e, "page-fault handlers (the Uffd backend)");
	if (serial_open(s, e) < 0 || qemu_load(s->qemu, l, &config, e) < 0)
		return -e->no;
	qemu_config_clear(&s->config);
	s->config = config;
	s->started = true;
	return server_metrics_start(s, e);
}

int server_load_snapshot(struct server_call *c, struct err *e)
{
	struct fc_snapshot_load l = { 0 };
	int64_t since = clock_us();
	int r;

	if (server_parse(c, fc_snapshot_load_fields, &l, e) < 0)
		return -e->no;
	r = load_normal(c, &l, e);
	if (r == 0 && c->s->booting) {
		r = err_kind(e, ERR_STATE,
			     "Load snapshot error: Loading a microVM snapshot not "
			     "allowed after configuring boot-specific resources.");
	} else if (r == 0) {
		r = load(c->s, &l, e);
		if (r < 0) { // what was begun cannot be taken back: this process is spent
			(void)err_wrap(e, "Load snapshot error");
			server_end(c->s, FC_EXIT_FAILED, e->msg);
		} else {
			took(c->s, METRIC_LATENCY_LOAD, METRIC_LATENCY_VMM_LOAD, since,
			     "load snapshot");
		}
	}
	codec_free(fc_snapshot_load_fields, &l);
	return r;
}

void server_end(struct server *s, int status, const char *why)
{
	if (s->ended)
		return;
	s->ended = true;
	s->status = status;
	base_cut(s->why, sizeof(s->why), "%s", why);
	loop_stop(s->loop);
}
