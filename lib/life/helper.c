// SPDX-License-Identifier: MIT
#include "life/helper.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "base/proc.h"
#include "fc/api.h"
#include "guest/host.h"
#include "life/figures.h"
#include "sys/sandbox.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/socket.h>

#define API_UP_MS 10000
// A request is answered in order behind those before it; only the start itself takes long.
#define API_CALL_MS 60000
#define BARRIER_MS  60000  // a guest that is ready is not ended for a machine that has much to do
#define LOAD_MS	    170000 // the backend's patience ends after it

uint64_t helper_ms(const struct launch *l)
{
	return (uint64_t)clock_ms() - l->begun_ms;
}

void helper_begin(const struct launch *l, struct start_record *r)
{
	const struct start_stage *s = l->stages.items;

	for (size_t i = 0; i < l->stages.len; i++)
		start_stage_add(&r->stages, s[i].stage, s[i].ms);
}

// Open until the VMM has it open too: so long a FIFO keeps its size.
int helper_hold_metrics(const struct launch *l, int run_fd)
{
	struct err e = { 0 };
	int fd = figures_hold(run_fd, l->uid, &e);

	if (fd < 0 && e.kind != ERR_MISSING)
		log_warn(l->address, "%s", e.msg);
	return fd;
}

// From its first answer on the VMM may be a stranger's, and so may the guest: what is left is to
// talk to them, to write start.json, and to end the VMM, which has another uid.
int helper_settle(const char *instance, int run_fd, struct err *e)
{
	static const struct sandbox_rule rules[] = {
		SANDBOX_NO_CODE,
		{ .call = "socket", .mask = UINT32_MAX, .value = AF_UNIX },
		{ .call = "socketpair", .mask = UINT32_MAX, .value = AF_UNIX },
		{ 0 }
	};
	path_text dir;
	cleanup_fd int ours = -1;

	path_run_instance(instance, dir);
	ours = fd_open_dir(AT_FDCWD, dir, e);
	if (ours < 0)
		return -e->no;
	const struct sandbox_path paths[] = {
		{ ours, SANDBOX_READ | SANDBOX_LIST | SANDBOX_WRITE },
		{ run_fd, SANDBOX_READ | SANDBOX_LIST },
	};

	sandbox_drop_bounding();
	if (sandbox_drop_capabilities(1u << CAP_KILL | 1u << CAP_DAC_OVERRIDE, e) < 0)
		return -e->no;
	return sandbox_settle(
		paths, COUNT(paths),
		"openat openat2 connect accept4 recvfrom recvmsg sendto sendmsg "
		"shutdown getsockopt setsockopt getsockname getpeername pipe2 eventfd2 "
		"ioctl fsync renameat renameat2 unlinkat fchmod ftruncate umask "
		"readlink readlinkat statx uname getuid geteuid getgid getegid "
		"pidfd_send_signal",
		rules, e);
}

static int configure(const struct helper *h, struct start_record *r, struct err *e)
{
	cleanup_fd int metrics = helper_hold_metrics(h->launch, h->run_fd);
	const struct launch_request *q = h->launch->requests.items;
	cleanup_api struct api *api = NULL;
	int64_t deadline = clock_ms() + API_UP_MS;

	if (api_open(h->run_fd, "api.sock", h->launch->uid, deadline, h->vmm_fd, &api, e) < 0)
		return -e->no;
	if (helper_settle(h->instance, h->run_fd, e) < 0)
		return err_wrap(e, "give up rights");
	start_stage_add(&r->stages, "api-up", helper_ms(h->launch));
	for (size_t i = 0; i < h->launch->requests.len; i++) {
		if (api_call(api, q[i].method, q[i].path, q[i].body, API_CALL_MS, NULL, e) < 0)
			return -e->no;
		// One row per stage, with the time its last call was answered.
		if (i + 1 == h->launch->requests.len || !str_eq(q[i].stage, q[i + 1].stage))
			start_stage_add(&r->stages, q[i].stage, helper_ms(h->launch));
	}
	return 0;
}

static int add_words(struct guest_words *to, const struct codec_list *from, struct err *e)
{
	char *const *items = from->items;

	for (size_t i = 0; i < from->len; i++)
		if (guest_words_add(to, items[i], e) < 0)
			return -e->no;
	return 0;
}

static int welcome_from(const struct launch *l, struct guest_welcome *w, struct err *e)
{
	if (COPY(w->net.hostname, l->hostname) < 0)
		return err_set(e, ENAMETOOLONG, "hostname");
	if (ip_parse(l->guest_ip, &w->net.address, e) < 0 ||
	    ip_parse(l->gateway_ip, &w->net.gateway, e) < 0)
		return -e->no;
	w->net.prefix = l->prefix;
	if (add_words(&w->argv, &l->entrypoint, e) < 0 ||
	    add_words(&w->env, &l->environment, e) < 0 || add_words(&w->probes, &l->probes, e) < 0)
		return -e->no;
	return 0;
}

static int wait_ready(const struct helper *h, struct start_record *r, struct err *e)
{
	cleanup(guest_welcome_clear) struct guest_welcome w = { 0 };
	struct guest_info info = { 0 };
	int64_t deadline = clock_ms() + (int64_t)h->launch->ready_timeout_ms;

	if (welcome_from(h->launch, &w, e) < 0)
		return -e->no;
	if (guest_serve_ready(h->listen_fd, h->launch->uid, h->vmm_fd, &w, deadline, &info, e) < 0)
		return err_wrap(e, "wait for the guest's agent");
	start_stage_add(&r->stages, "ready", helper_ms(h->launch));
	return 0;
}

// Nothing of it is the helper's own work: that it is gone, whatever ended it, is what it waits for.
static int load(const struct helper *h, struct err *e)
{
	path_text tool;
	char number[16];
	const char *const argv[] = { tool, "load", h->launch->address, "--vmm-fd", number, NULL };
	struct proc_spec spec = PROC_SPEC(argv);
	cleanup_proc struct proc p = PROC_NONE;
	int status = 0;

	path_tool("mvm-snap", tool);
	(void)snprintf(number, sizeof(number), "%d", h->vmm_fd);
	spec.keep_fds = &h->vmm_fd;
	spec.keep_count = 1;
	spec.death_signal = SIGKILL;
	if (proc_spawn(&spec, &p, e) < 0 || proc_wait(&p, LOAD_MS, &status, e) < 0)
		return err_wrap(e, "load the capture");
	return status ? err_kind(e, ERR_FAILED, "the load of the capture ended with %d", status)
		      : 0;
}

static int boot(const struct helper *h, struct start_record *r, struct err *e)
{
	helper_begin(h->launch, r);
	if (configure(h, r, e) < 0 || wait_ready(h, r, e) < 0)
		return -e->no;
	r->total_ms = helper_ms(h->launch);
	return launch_save_start(h->instance, r, e);
}

static bool has_told(const struct helper *h)
{
	cleanup_start struct start_record r = { 0 };
	struct err ignored = { 0 };

	return launch_load_start(h->instance, &r, &ignored) == 0 && r.error.code[0];
}

int helper_run(const struct helper *h)
{
	cleanup_start struct start_record r = { .schema_version = 1 };
	bool loads = h->launch->mode == LAUNCH_LOAD;
	struct err e = { 0 }, ignored = { 0 };

	clock_utc(r.at);
	if ((loads ? load(h, &e) : boot(h, &r, &e)) == 0 && log_notify("READY=1", &e) == 0 &&
	    log_notify_barrier(BARRIER_MS, &e) == 0)
		return 0;
	result_from_err(&e, "", &r.error);
	if (!(loads && has_told(h)) && launch_save_start(h->instance, &r, &ignored) < 0)
		log_error(h->launch->address, "%s", ignored.msg);
	log_error(h->launch->address, "%s", e.msg);
	if (proc_kill(h->vmm_fd, SIGKILL, &ignored) < 0)
		log_error(h->launch->address, "%s", ignored.msg);
	return 1;
}
