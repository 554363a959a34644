// SPDX-License-Identifier: MIT
// Snapshots: QEMU writes its devices into a memfd (the memory is shared and stays out of it), we
// write that and the memory into the two files; and back.
#include <fcntl.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/fd.h"
#include "fc/qemu_parts.h"
#include "fc/resolve.h"

#define CALL_MS	   5000
#define MIGRATE_MS 30000

// "completed", "failed", "active"...; the reason of a failure in e.
static int migrate_status(struct qemu *q, char out[32], struct err *e)
{
	const struct codec_node *r, *status, *why;
	struct codec_node *doc = NULL;

	if (qmp_call(q->qmp, "query-migrate", NULL, -1, CALL_MS, &doc, e) < 0)
		return -e->no;
	r = codec_get(doc, "return");
	status = r ? codec_get(r, "status") : NULL;
	why = r ? codec_get(r, "error-desc") : NULL;
	base_cut(out, 32, "%s",
		 status && codec_type(status) == CODEC_TEXT ? codec_text(status) : "");
	if (str_eq(out, "failed") || str_eq(out, "cancelled"))
		(void)err_set(e, EIO, "QEMU's state: %s",
			      why && codec_type(why) == CODEC_TEXT ? codec_text(why) : out);
	codec_tree_free(doc);
	return e->no ? -e->no : 0;
}

static int await_migration(struct qemu *q, struct err *e)
{
	int64_t deadline = clock_ms() + MIGRATE_MS;
	char status[32] = "";

	for (int64_t pause = 1; !str_eq(status, "completed"); pause = MIN(pause * 2, 20)) {
		if (clock_left(deadline) == 0)
			return err_kind(e, ERR_TIMEOUT, "QEMU's state: not there in %d ms",
					MIGRATE_MS);
		clock_sleep_ms(pause);
		if (migrate_status(q, status, e) < 0)
			return -e->no;
	}
	return 0;
}

static int set_up_migration(struct qemu *q, struct err *e)
{
	if (qmp_call(q->qmp, "migrate-set-capabilities",
		     "{\"capabilities\":[{\"capability\":\"x-ignore-shared\",\"state\":true}]}", -1,
		     CALL_MS, NULL, e) < 0)
		return -e->no;
	return qmp_call(q->qmp, "migrate-set-parameters", "{\"max-bandwidth\":1099511627776}", -1,
			CALL_MS, NULL, e);
}

// QEMU gives its state once in a pause, so it is kept for the snapshots that follow in the same
// one.
static int take_state(struct qemu *q, struct err *e)
{
	cleanup_fd int fd = -1;

	if (q->state_stream >= 0)
		return 0;
	fd = memfd_create("qemu-state", MFD_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "memfd");
	if (set_up_migration(q, e) < 0 ||
	    qmp_call(q->qmp, "getfd", "{\"fdname\":\"state\"}", fd, CALL_MS, NULL, e) < 0 ||
	    qmp_call(q->qmp, "migrate", "{\"uri\":\"fd:state\"}", -1, CALL_MS, NULL, e) < 0 ||
	    await_migration(q, e) < 0)
		return -e->no;
	q->state_stream = steal_fd(&fd);
	return 0;
}

int qemu_snapshot(struct qemu *q, const struct fc_snapshot_create *s, struct err *e)
{
	const int flags = O_RDWR | O_CREAT; // what is there stays until there is something better
	cleanup_fd int state = -1, mem = -1;

	if (!q->running || !q->paused)
		return err_kind(e, ERR_STATE, "the guest is not paused");
	state = qemu_resolve_file(q->env.root_fd, s->snapshot_path, flags, e);
	mem = state < 0 ? -1 : qemu_resolve_file(q->env.root_fd, s->mem_file_path, flags, e);
	if (state < 0 || mem < 0)
		return -e->no;
	if (take_state(q, e) < 0 || qemu_state_write(state, &q->doc, q->state_stream, e) < 0)
		return err_wrap(e, "%s", s->snapshot_path);
	if (qemu_ram_save(&q->ram, steal_fd(&mem), s->snapshot_type == FC_SNAPSHOT_DIFF, e) < 0)
		return err_wrap(e, "%s", s->mem_file_path);
	return 0;
}

// --- load

static int check_doc(const struct qemu *q, const struct qemu_doc *d, struct err *e)
{
	const char *accel = q->kvm ? "kvm" : "tcg";

	if (!str_eq(d->accel, accel))
		return err_kind(e, ERR_CONFLICT, "the state is of accelerator %s, this is %s",
				d->accel, accel);
	if (!str_eq(d->cpu, qemu_cpu_model(q->kvm)))
		return err_kind(e, ERR_CONFLICT, "the state is of CPU model %s, this is %s", d->cpu,
				qemu_cpu_model(q->kvm));
	return 0;
}

// These are known when QEMU runs.
static int check_host(struct qemu *q, const struct qemu_doc *d, struct err *e)
{
	uint64_t khz = qemu_tsc_khz(&q->tsc);

	if (!str_eq(d->qemu, qmp_version(q->qmp)))
		return err_kind(e, ERR_CONFLICT, "the state is of QEMU %s, this is %s", d->qemu,
				qmp_version(q->qmp));
	if (!qemu_tsc_same(d->tsc_khz, khz))
		return err_kind(e, ERR_CONFLICT,
				"the state is of a host with a TSC of %llu kHz, this one has %llu",
				(unsigned long long)d->tsc_khz, (unsigned long long)khz);
	return 0;
}

static int override_nets(struct qemu_config *c, const struct codec_list *overrides, struct err *e)
{
	const struct fc_net_override *o = overrides->items;
	struct fc_net *n = c->nets.items;

	for (size_t i = 0; i < overrides->len; i++) {
		size_t k = 0;

		while (k < c->nets.len && !str_eq(n[k].iface_id, o[i].iface_id))
			k++;
		if (k == c->nets.len)
			return err_usage(e, "network_overrides: the state has no interface %s",
					 o[i].iface_id);
		free(n[k].host_dev_name);
		n[k].host_dev_name = base_strdup(o[i].host_dev_name);
	}
	return 0;
}

static int read_state(struct qemu *q, const struct fc_snapshot_load *l, struct qemu_config *c,
		      struct qemu_doc *d, int *ret_stream, struct err *e)
{
	cleanup_fd int file = qemu_resolve(q->env.root_fd, l->snapshot_path, O_RDONLY, e);

	if (file < 0)
		return -e->no;
	if (qemu_state_read(file, d, ret_stream, e) < 0 || check_doc(q, d, e) < 0)
		return err_wrap(e, "%s", l->snapshot_path);
	if (qemu_config_from_doc(c, d, e) < 0 || override_nets(c, &l->network_overrides, e) < 0)
		return -e->no;
	c->machine.track_dirty_pages = l->track_dirty_pages || l->enable_diff_snapshots;
	return 0;
}

static int feed_state(struct qemu *q, int stream, struct err *e)
{
	if (set_up_migration(q, e) < 0 ||
	    qmp_call(q->qmp, "getfd", "{\"fdname\":\"state\"}", stream, CALL_MS, NULL, e) < 0 ||
	    qmp_call(q->qmp, "migrate-incoming", "{\"uri\":\"fd:state\"}", -1, CALL_MS, NULL, e) <
		    0)
		return -e->no;
	return await_migration(q, e);
}

static int load(struct qemu *q, const struct fc_snapshot_load *l, struct qemu_config *c,
		struct err *e)
{
	const char *mem_path = l->mem_file_path ? l->mem_file_path : l->mem_backend.backend_path;
	struct qemu_doc d = { .entropy = false };
	cleanup_fd int stream = -1, mem = -1;
	int r;

	if (!mem_path || (!l->mem_file_path && l->mem_backend.backend_type != FC_BACKEND_FILE))
		return err_usage(e, "only a memory file can be loaded");
	r = read_state(q, l, c, &d, &stream, e);
	if (r == 0) {
		mem = qemu_resolve(q->env.root_fd, mem_path, O_RDONLY, e);
		r = mem < 0 ? mem : qemu_run(q, c, true, e);
	}
	if (r == 0)
		r = check_host(q, &d, e);
	qemu_doc_clear(&d);
	if (r < 0)
		return r;
	// QEMU does not look at the memory until it is given the state.
	if (qemu_ram_load(&q->ram, steal_fd(&mem), e) < 0)
		return err_wrap(e, "%s", mem_path);
	return feed_state(q, stream, e);
}

int qemu_load(struct qemu *q, const struct fc_snapshot_load *l, struct qemu_config *ret_config,
	      struct err *e)
{
	struct qemu_config c = { .has_vsock = false };

	if (q->running)
		return err_kind(e, ERR_STATE, "a guest is running");
	if (load(q, l, &c, e) < 0 || (l->resume_vm && qemu_go(q, e) < 0)) {
		q->running = false; // so that nothing of it stays
		qemu_stop(q);
		qemu_config_clear(&c);
		return -e->no;
	}
	*ret_config = c;
	return 0;
}
