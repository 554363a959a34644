// SPDX-License-Identifier: MIT
#include "life/vm.h"

#include <fcntl.h>
#include <poll.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/proc.h"
#include "fc/api.h"
#include "snap/gen.h"

#define NOWHERE	  "/snap/none" // in the jail: not there
#define API_MS	  2000	       // until the socket of a VMM that runs answers
#define PAUSE_MS  35000	       // the VMM itself waits up to 30 s for its CPUs
#define AGENT_MS  20000	       // until the agent has taken a connection
#define AGAIN_MS  50
#define REPAIR_MS 20000
#define THAW_MS	  30000
// A capture's memory is written at this rate at least, beside a while for the rest.
#define WRITE_MIB_S 8
#define CREATE_MS   60000

static int load_records(struct vm *v, const struct address *a, struct err *e)
{
	v->a = *a;
	if (tenant_load(a->tenant, &v->tenant, e) < 0 || instance_load(a, &v->tenant, &v->i, e) < 0)
		return -e->no;
	v->uid = name_uid(v->tenant.net.tenant_net_id, v->i.net.offset);
	return 0;
}

static int open_jail(struct vm *v, struct err *e)
{
	return jail_open(instance_vmm_names[v->i.vmm], v->a.instance, v->uid, &v->jail, e);
}

int vm_open(struct vm *v, const struct address *a, struct err *e)
{
	if (load_records(v, a, e) < 0)
		return -e->no;
	const struct proc_id id = { (pid_t)v->i.vmm_process.pid, v->i.vmm_process.pid_start };

	v->gone = proc_id_open(&id, e);
	if (v->gone < 0)
		return err_kind(e, ERR_UNAVAILABLE, "its VMM does not run any more");
	return open_jail(v, e);
}

int vm_open_started(struct vm *v, const struct address *a, int vmm_fd, struct err *e)
{
	if (load_records(v, a, e) < 0)
		return -e->no;
	v->gone = fcntl(vmm_fd, F_DUPFD_CLOEXEC, 3);
	return v->gone < 0 ? err_sys(e, "duplicate a descriptor") : open_jail(v, e);
}

void vm_close(struct vm *v)
{
	jail_close(&v->jail);
	base_closep(&v->gone);
	*v = (struct vm)VM_NONE;
}

// --- the VMM

static int call(const struct vm *v, const char *method, const char *path, const struct field *tab,
		const void *body, int timeout_ms, struct err *e)
{
	cleanup_api struct api *api = NULL;
	cleanup_buf struct buf text = BUF_INIT;

	codec_print(tab, body, &text);
	if (api_open(v->jail.run, "api.sock", v->uid, clock_ms() + API_MS, v->gone, &api, e) < 0)
		return -e->no;
	return api_call(api, method, path, buf_text(&text), timeout_ms, NULL, e);
}

int vm_pause(const struct vm *v, struct err *e)
{
	const struct fc_vm body = { FC_PAUSED };

	return call(v, "PATCH", "/vm", fc_vm_fields, &body, PAUSE_MS, e);
}

// Such a release holds back what the host sends to the guest's vsock from every resume until the
// guest has acknowledged a reset, and only a create call has one sent: before it writes its first
// byte. So it is asked for one that finds no place to write to. The guest has to stand still, or it
// might acknowledge before the resume begins to wait for that.
static int send_reset(const struct vm *v, struct err *e)
{
	char state[] = NOWHERE "/" SNAP_VMSTATE, memory[] = NOWHERE "/" SNAP_MEM;
	const struct fc_snapshot_create nowhere = { .snapshot_path = state,
						    .mem_file_path = memory,
						    .snapshot_type = FC_SNAPSHOT_FULL };

	if (vm_pause(v, e) < 0)
		return -e->no;
	if (call(v, "PUT", "/snapshot/create", fc_snapshot_create_fields, &nowhere, PAUSE_MS, e) <
	    0) {
		if (e->kind != ERR_FAILED)
			return -e->no;
		err_clear(e);
	}
	return 0;
}

int vm_run(const struct vm *v, struct err *e)
{
	const struct fc_vm body = { FC_RESUMED };
	struct err bad = { 0 };

	if (snap_release_check(v->i.vmm, v->i.vmm_version, SNAP_USE_WARM, 0, &bad) < 0 &&
	    send_reset(v, e) < 0)
		return err_wrap(e, "reset the guest's vsock");
	return call(v, "PATCH", "/vm", fc_vm_fields, &body, PAUSE_MS, e);
}

int vm_create(const struct vm *v, enum fc_snapshot_type type, const char *state, const char *memory,
	      uint64_t mem_mib, struct err *e)
{
	cleanup_free char *state_path = base_printf("/snap/%s", state);
	cleanup_free char *memory_path = base_printf("/snap/%s", memory);
	const struct fc_snapshot_create body = { .snapshot_path = state_path,
						 .mem_file_path = memory_path,
						 .snapshot_type = (int)type };
	int timeout = CREATE_MS + (int)MIN(mem_mib * 1000 / WRITE_MIB_S, 3600000u);

	return call(v, "PUT", "/snapshot/create", fc_snapshot_create_fields, &body, timeout, e);
}

int vm_drop_files(const struct vm *v, struct err *e)
{
	static const char *const names[] = { SNAP_VMSTATE, SNAP_DELTA, SNAP_MEM };

	for (size_t i = 0; v->jail.snap >= 0 && i < COUNT(names); i++)
		if (unlinkat(v->jail.snap, names[i], 0) < 0 && errno != ENOENT)
			return err_sys(e, "remove %s", names[i]);
	return 0;
}

// --- the agent

// What is asked for: each of guest/host.h's calls, by its arguments.
struct request {
	int (*fn)(struct guest_conn *c, const struct guest_hook *h, struct guest_hook_done *ret,
		  struct err *e);
	uint32_t flags, deadline_ms;
	struct guest_told *told; // without fn: a repair that tells of these
	size_t told_count;
};

static int fill_net(const struct vm *v, struct guest_net *net, struct err *e)
{
	if (ip_parse(v->i.net.guest_ip, &net->address, e) < 0 ||
	    ip_parse(v->i.net.gateway_ip, &net->gateway, e) < 0)
		return -e->no;
	net->prefix = (uint8_t)v->i.net.cidr;
	return COPY(net->hostname, v->a.instance) < 0 ? err_set(e, ENAMETOOLONG, "hostname") : 0;
}

static int ask_once(struct vm *v, const struct request *r, const struct guest_hook *h,
		    struct err *e)
{
	const struct guest_place at = {
		.dirfd = v->jail.run, .name = "v.sock", .uid = v->uid, .gone_fd = v->gone
	};
	cleanup_guest struct guest_conn *c = NULL;
	int no;

	if (guest_open(&at, clock_ms() + AGENT_MS, &c, e) < 0)
		return -e->no;
	no = r->fn ? r->fn(c, h, NULL, e) : guest_repair_telling(c, h, r->told, r->told_count, e);
	v->heard |= guest_heard(c);
	return no;
}

static bool has_ended(const struct vm *v)
{
	struct pollfd p = { .fd = v->gone, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

// An agent that undoes something just now is asked again.
static int ask(struct vm *v, const struct request *r, struct err *e)
{
	struct guest_hook h = { .deadline_ms = r->deadline_ms, .flags = r->flags };
	int64_t until = clock_ms() + AGENT_MS;

	if (fill_net(v, &h.net, e) < 0)
		return -e->no;
	name_mac_bytes(v->tenant.net.tenant_net_id, v->i.net.offset, h.mac);
	while (ask_once(v, r, &h, e) < 0) {
		if (e->kind != ERR_UNAVAILABLE || clock_left(until) < AGAIN_MS || has_ended(v))
			return -e->no;
		err_clear(e);
		clock_sleep_ms(AGAIN_MS);
	}
	return 0;
}

int vm_quiesce(struct vm *v, uint32_t deadline_ms, bool quiet, struct err *e)
{
	const struct request r = { .fn = guest_prepare_sleep,
				   .flags = quiet ? GUEST_HOOK_QUIET : 0,
				   .deadline_ms = deadline_ms };

	return ask(v, &r, e);
}

int vm_leave(struct vm *v, uint32_t deadline_ms, struct err *e)
{
	const struct request r = { .fn = guest_prepare_sleep,
				   .flags = GUEST_HOOK_TEMPLATE,
				   .deadline_ms = deadline_ms };

	return ask(v, &r, e);
}

int vm_adopt(struct vm *v, struct err *e)
{
	const struct request r = { .fn = guest_repair,
				   .flags = GUEST_HOOK_TEMPLATE,
				   .deadline_ms = REPAIR_MS };

	return ask(v, &r, e);
}

int vm_repair(struct vm *v, struct err *e)
{
	return vm_repair_telling(v, NULL, 0, e);
}

int vm_repair_telling(struct vm *v, struct guest_told *told, size_t count, struct err *e)
{
	const struct request r = { .deadline_ms = REPAIR_MS, .told = told, .told_count = count };

	return ask(v, &r, e);
}

static int thaw(struct vm *v, uint32_t flags, struct err *e)
{
	const struct request r = { .fn = guest_thaw, .flags = flags, .deadline_ms = THAW_MS };

	return ask(v, &r, e);
}

// A program of the guest's own that fails comes after all that was frozen goes on.
int vm_thaw(struct vm *v, struct err *e)
{
	struct err why = { 0 };

	if (thaw(v, 0, &why) == 0)
		return 0;
	if (thaw(v, GUEST_HOOK_QUIET, e) < 0)
		return -e->no;
	log_warn(v->a.instance, "%s", why.msg);
	return 0;
}
