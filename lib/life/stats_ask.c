// SPDX-License-Identifier: MIT
// What a VMM and its guest are asked for, and the TAP: each within a time of its own.
#include "life/stats.h"

#include <linux/netlink.h>

#include "base/clock.h"
#include "base/log.h"
#include "life/figures.h"
#include "life/guest_cli.h"

// A TAP that was taken from store went on counting where it had stopped; one that was made anew
// since has counted less.
static uint64_t since(uint64_t now, uint64_t before)
{
	return now >= before ? now - before : now;
}

// The TAP's counters are the host's view: what it received the guest has sent.
static void add_traffic(struct stats *s, const struct link_traffic *before)
{
	cleanup_nl struct nl *nl = NULL;
	struct link_traffic now = { 0 };
	struct err ignored = { 0 };

	if (nl_new(NETLINK_ROUTE, &nl, &ignored) < 0 ||
	    link_traffic(nl, s->tap_dev, &now, &ignored) < 0)
		return;
	s->net_rx_bytes = since(now.tx_bytes, before->tx_bytes);
	s->net_rx_packets = since(now.tx_packets, before->tx_packets);
	s->net_rx_drops = since(now.tx_drops, before->tx_drops);
	s->net_tx_bytes = since(now.rx_bytes, before->rx_bytes);
	s->net_tx_packets = since(now.rx_packets, before->rx_packets);
	s->net_tx_drops = since(now.rx_drops, before->rx_drops);
}

static void sum(uint64_t *total, uint64_t v)
{
	if (v == UINT64_MAX)
		return;
	*total = *total == UINT64_MAX ? v : MIN(*total + v, (1ULL << 53) - 1);
}

static void add_metrics(struct stats *s, const struct figures *f)
{
	const struct metrics *m = &f->metrics;
	const struct metrics_drive *d = m->drives.items;

	if (!f->read_at[0])
		return;
	memcpy(s->metrics_at, f->read_at, sizeof(s->metrics_at));
	s->metrics_lost = m->damaged + m->missed;
	s->vsock_rx_bytes = m->vsock_rx_bytes;
	s->vsock_tx_bytes = m->vsock_tx_bytes;
	s->vsock_connections = m->vsock_connections;
	s->drive_count = MIN(m->drives.len, (size_t)METRICS_DRIVES);
	for (size_t i = 0; i < s->drive_count; i++) {
		s->drive[i] = d[i];
		sum(&s->block_read_bytes, d[i].read_bytes);
		sum(&s->block_write_bytes, d[i].write_bytes);
		sum(&s->block_read_ops, d[i].read_ops);
		sum(&s->block_write_ops, d[i].write_ops);
	}
}

void stats_add_vmm(struct stats *s, const struct tenant *t, const struct instance *i, unsigned want)
{
	uint32_t uid = name_uid(t->net.tenant_net_id, i->net.offset);
	cleanup_figures struct figures f = { 0 };
	struct err e = { 0 };

	// Missing: a VMM that has just ended, or was started by an mvm that did not count.
	if (figures_read(i, uid, want & STATS_VMM ? STATS_VMM_MS : 0, &f, &e) < 0) {
		if (e.kind != ERR_MISSING)
			log_info(s->instance_path, "figures of its VMM: %s", e.msg);
		return;
	}
	add_traffic(s, &f.before);
	add_metrics(s, &f);
}

static void refused(struct stats *s, const struct instance *i, const struct err *e)
{
	// One that is paused cannot answer: that is known without asking.
	s->agent = instance_has_vmm(i) ? AGENT_SILENT : AGENT_UNKNOWN;
	base_cut(s->agent_message, sizeof(s->agent_message), "%s", e->msg);
	log_clean(s->agent_message);
}

void stats_add_agent(struct stats *s, const struct address *a, const struct tenant *t,
		     const struct instance *i)
{
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;
	int64_t deadline = clock_ms() + STATS_AGENT_MS;
	struct guest_health h = { 0 };
	struct err e = { 0 };

	if (guest_cli_reach(a, t, i, STATS_AGENT_MS, &vmm, &c, &e) < 0 ||
	    guest_ask_health(c, deadline, &h, &e) < 0) {
		refused(s, i, &e);
		return;
	}
	s->agent = h.ready ? AGENT_READY : AGENT_NOT_READY;
	s->worker = guest_worker_of(h.worker);
	if (s->worker)
		s->worker_age_ms = MIN(h.worker_age_ms, (1ULL << 53) - 1);
	s->guest_mem_total_mib = h.mem_total_kib / 1024;
	s->guest_mem_available_mib = h.mem_available_kib / 1024;
	s->guest_load_1m = h.load_milli / 1000.0;
}
