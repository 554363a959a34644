// SPDX-License-Identifier: MIT
#include "audit/context.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/path.h"
#include "disk/drive.h"
#include "life/backend.h"
#include "life/bridge.h"
#include "life/capture.h"
#include "life/console.h"
#include "life/held.h"
#include "life/launch.h"
#include "life/metad.h"
#include "life/steps.h"
#include "state/transition.h"
#include "sys/cgroup.h"
#include "sys/jail.h"

#define CONSOLE_LOOK 65536 // of the console's end, for the cause of an end
#define CONSOLE_SHOW 6	   // lines of it in a message
#define GOING_DOWN   "mvm-guestd: going down: "
#define OVER_MEMORY  "the VMM was killed: over its memory limit"

struct ending {
	enum instance_status status;
	enum exit_cause cause;
	char message[900];
	struct result_error error; // code "": none
};

static bool environment_is(const char *name, const char *value)
{
	const char *v = getenv(name);

	return v && str_eq(v, value);
}

static void read_console(const struct address *a, struct buf *text, char *lines, size_t size)
{
	struct err e = { 0 };

	lines[0] = '\0';
	if (console_tail(a, CONSOLE_LOOK, text, &e) < 0)
		log_warn(a->instance, "console: %s", e.msg);
	console_excerpt(text, CONSOLE_SHOW, lines, size);
}

static bool has_panic(const struct buf *console)
{
	return strstr(buf_text(console), "Kernel panic");
}

// A VMM that ends with 0 was ended by its guest: the agent wrote why before it rebooted, a panic
// stands on the console too, and what says neither was a reset.
static enum exit_cause guest_cause(const struct buf *console)
{
	if (strstr(buf_text(console), GOING_DOWN))
		return EXIT_GUEST_REBOOT;
	if (has_panic(console))
		return EXIT_GUEST_PANIC;
	return EXIT_GUEST_RESET;
}

// systemd may learn of the end before it learns of its cause; finish runs in the unit's group and
// can see for itself. mvm-sup has looked.
static bool over_memory(void)
{
	enum backend_kind kind = BACKEND_DIRECT;
	struct cgroup_host host = { 0 };
	struct err ignored = { 0 };
	cleanup_fd int group = -1;

	if (environment_is("SERVICE_RESULT", "oom-kill"))
		return true;
	if (backend_kind(&kind, &ignored) < 0 || kind != BACKEND_SYSTEMD ||
	    cgroup_find(&host, &ignored) < 0)
		return false;
	group = cgroup_open_pid(&host, getpid(), &ignored);
	return group >= 0 && cgroup_was_oom(group);
}

// By SIGSYS; Firecracker and mvm-fc-qemu catch it of their threads and of QEMU, and end with this.
static bool forbidden_call(void)
{
	return environment_is("EXIT_STATUS", "SYS") ||
	       (environment_is("EXIT_CODE", "exited") && environment_is("EXIT_STATUS", "148"));
}

static void tell_end(enum exit_cause cause, char out[80])
{
	if (cause == EXIT_OOM)
		(void)snprintf(out, 80, OVER_MEMORY);
	else
		(void)snprintf(out, 80, "the VMM ended (%s)",
			       cause == EXIT_FORBIDDEN_CALL ? "killed: a forbidden system call"
							    : exit_cause_names[cause]);
}

static enum exit_cause own_cause(const struct buf *console)
{
	if (over_memory())
		return EXIT_OOM;
	if (environment_is("SERVICE_RESULT", "timeout"))
		return EXIT_TIMEOUT;
	if (forbidden_call())
		return EXIT_FORBIDDEN_CALL;
	if (environment_is("EXIT_CODE", "killed"))
		return EXIT_KILLED;
	if (environment_is("EXIT_CODE", "exited") && environment_is("EXIT_STATUS", "0"))
		return guest_cause(console);
	return getenv("EXIT_CODE") ? EXIT_CRASHED : EXIT_KILLED;
}

static void ended_by_itself(const struct address *a, struct ending *end)
{
	cleanup_buf struct buf console = BUF_INIT;
	char lines[600], how[80];

	read_console(a, &console, lines, sizeof(lines));
	end->status = INSTANCE_STOPPED;
	end->cause = own_cause(&console);
	tell_end(end->cause, how);
	(void)snprintf(end->message, sizeof(end->message), "%s; console: %s", how, lines);
}

static void took_too_long(const struct address *a, const struct instance *i, struct err *why)
{
	const char *verb = i->op.from == INSTANCE_SLEEPING ? capture_verb_to_whole(a) : NULL;

	(void)err_kind(why, ERR_TIMEOUT, "the start took longer than its unit allows");
	if (verb)
		(void)err_hint(why, "its capture was not whole yet: 'mvm-snap %s %s/%s/%s'", verb,
			       a->tenant, a->pool, a->instance);
}

// The launcher's helper, or prepare, wrote down why; when the VMM was quicker than the helper the
// console has to tell, and so it has when a guest that panicked does not get as far as its reset.
static void start_failed(const struct address *a, const struct instance *i, struct ending *end)
{
	cleanup_start struct start_record start = { 0 };
	cleanup_buf struct buf console = BUF_INIT;
	struct err e = { 0 }, why = { 0 };
	char lines[500], how[80];

	end->status = (enum instance_status)i->op.from;
	// Its memory may have met its disks, or the disks have gone on without it.
	if (end->status == INSTANCE_SLEEPING && !capture_there(a))
		end->status = INSTANCE_STOPPED;
	end->cause = EXIT_START_FAILED;
	if (launch_load_start(a->instance, &start, &e) == 0 && start.error.code[0])
		end->error = start.error;
	// The backend's patience ends before ours: then the VMM's end is not the cause.
	if (over_memory() || forbidden_call()) {
		tell_end(over_memory() ? EXIT_OOM : EXIT_FORBIDDEN_CALL, how);
		(void)err_kind(&why, ERR_FAILED, "%s", how);
	} else if (environment_is("SERVICE_RESULT", "timeout")) {
		took_too_long(a, i, &why);
	} else if (!end->error.code[0]) {
		(void)err_kind(&why, ERR_FAILED, "the VMM ended before the guest was ready");
	}
	lines[0] = '\0';
	if (launch_written(a->instance))
		read_console(a, &console, lines, sizeof(lines));
	if (has_panic(&console))
		(void)err_kind(&why, ERR_FAILED, "the guest's kernel panicked");
	if (why.no)
		result_from_err(&why, "", &end->error);
	(void)snprintf(end->message, sizeof(end->message), "%.360s%s%s", end->error.message,
		       lines[0] ? "; console: " : "", lines);
	(void)snprintf(end->error.message, sizeof(end->error.message), "%s", end->message);
}

// A wake that was stopped before it loaded its capture, as by the host's shutdown, leaves it.
static void asked_for(const struct address *a, const struct instance *i, struct ending *end)
{
	bool sleeps =
		i->op.verb == DO_SLEEP || (i->op.from == INSTANCE_SLEEPING && capture_there(a));

	end->status = sleeps ? INSTANCE_SLEEPING : INSTANCE_STOPPED;
	end->cause = EXIT_ASKED;
	(void)snprintf(end->message, sizeof(end->message), "%s was asked for",
		       action_names[i->op.verb]);
}

// op.stage alone decides. False: nothing ran and nothing is to be written.
static bool decide(const struct address *a, const struct instance *i, struct ending *end)
{
	bool op = instance_has_op(i);

	if (op && i->op.stage == OP_ENDING)
		asked_for(a, i, end);
	// With a VMM it is a stop that was asked for, and the VMM was quicker.
	else if (op &&
		 (i->op.stage == OP_STARTING || (i->op.stage == OP_ASKED && !instance_has_vmm(i))))
		start_failed(a, i, end);
	else if (instance_has_vmm(i))
		ended_by_itself(a, end);
	else
		return false;
	return true;
}

// What ended by itself was nobody's wish. What a guest wrote on its console stays out of the log:
// it may be a secret.
static void note(const struct held *h, const struct ending *end, int verb, struct audit_context *by)
{
	const char *console = strstr(end->message, "; console: ");
	int len = console ? (int)(console - end->message) : (int)strlen(end->message);

	if (end->cause == EXIT_ASKED) {
		audit_note(&h->a, verb == DO_SLEEP ? AUDIT_INSTANCE_SLEPT : AUDIT_INSTANCE_STOPPED,
			   by, "%s", "");
	} else if (end->cause == EXIT_START_FAILED) {
		audit_note(&h->a, AUDIT_START_FAILED, by, "%.*s", len, end->message);
	} else {
		by->why = AUDIT_GUEST;
		by->request_id[0] = '\0';
		audit_note(&h->a, AUDIT_INSTANCE_EXITED, by, "%s", exit_cause_names[end->cause]);
	}
}

static int record(struct held *h, const struct ending *end, struct err *e)
{
	int verb = h->i.op.verb;
	struct audit_context by;
	bool ran = instance_has_vmm(&h->i);

	if (held_save_exit(h, end->cause, end->message, end->error.code[0] ? &end->error : NULL,
			   e) < 0)
		return -e->no;
	if (fault_point("life-finish-exit"))
		return err_sys(e, "fault");
	instance_set_status(&h->i, end->status);
	if (ran)
		clock_utc(h->i.last_stopped_at);
	if (end->cause == EXIT_START_FAILED)
		h->i.failures++;
	memset(&h->i.vmm_process, 0, sizeof(h->i.vmm_process));
	h->i.boot_id[0] = '\0';
	audit_context_of(h->store.dir, h->i.op.id, &by);
	note(h, end, verb, &by);
	instance_op_clear(&h->i);
	h->i.unreleased = true;
	return held_save(h, e);
}

static int release(const struct address *a, int vmm, struct err *e)
{
	address_text address;

	address_print(a, address);
	if (fault_point("life-finish-release"))
		return err_sys(e, "fault");
	// Secrets before all else; no VMM has them open any more.
	if (drive_release(a, e) < 0)
		return err_wrap(e, "drives");
	// The document first: it is the TAP that makes its address true.
	if (metad_withdraw(a, e) < 0 || bridge_run("tap-del", address, e) < 0)
		return -e->no;
	return vmm == INSTANCE_VMM_NONE ? 0 : jail_remove(instance_vmm_names[vmm], a->instance, e);
}

// Whoever has begun with it meanwhile has made what is there, and says himself what becomes of it.
static bool is_free(const struct held *h)
{
	return !instance_has_op(&h->i) && !instance_has_vmm(&h->i);
}

static int all_released(const struct address *a, int wait_ms, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;

	if (held_open(&h, a, wait_ms, e) < 0)
		return -e->no;
	if (!h.i.unreleased || !is_free(&h))
		return 0;
	h.i.unreleased = false;
	return held_save(&h, e);
}

static int let_go(const struct address *a, const struct instance *i, int wait_ms, struct err *e)
{
	if (release(a, i->vmm, e) == 0 && (!i->unreleased || all_released(a, wait_ms, e) == 0))
		return 0;
	(void)err_prefix(e, "it is %s, but what its run held may be there yet: ",
			 instance_status_names[i->status]);
	if (!e->hint[0])
		(void)err_hint(e, "each verb on it begins with that: repeat it");
	return -e->no;
}

int step_finish(const struct address *a, int wait_ms, struct err *e)
{
	struct ending end = { 0 };
	struct instance seen = { 0 };

	// The console is read before the locks are taken: the journal may take its time.
	if (instance_load(a, NULL, &seen, e) < 0)
		return -e->no;
	bool ended = decide(a, &seen, &end);
	cleanup_held struct held h = HELD_NONE;

	if (fault_point("life-finish-seen"))
		return err_sys(e, "fault");
	if (held_open(&h, a, wait_ms, e) < 0)
		return -e->no;
	if (ended && str_eq(seen.op.id, h.i.op.id) && record(&h, &end, e) < 0)
		return -e->no;
	if (!is_free(&h))
		return 0;
	held_close(&h);
	return let_go(a, &h.i, wait_ms, e);
}
