// SPDX-License-Identifier: MIT
// A running guest's agent for people and scripts. exec: the table's own exit status until the
// command has started, the command's from then on.
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/sig.h"
#include "base/tool.h"
#include "guest/host.h"
#include "life/console.h"
#include "state/instances.h"
#include "sys/jail.h"
#include "json/codec.h"

#define ASK_MS	 10000
#define START_MS 30000

enum source { SOURCE_CONSOLE, SOURCE_VMM, SOURCE_AGENT, SOURCE_ENTRYPOINT };
static const char *const sources[] = { "console", "vmm", "agent", "entrypoint", NULL };

static struct strlist arg_env;
static const char *arg_cwd = "", *arg_user = "", *arg_reason = "asked by hand";
static uint64_t arg_timeout_ms, arg_tail, arg_grace_ms = 5000;
static int arg_source = SOURCE_CONSOLE;
static bool arg_follow, arg_no_stdin;

static const struct opt exec_opts[] = {
	{ .letter = 'e',
	  .kind = OPT_LIST,
	  .name = "env",
	  .arg = "NAME=VALUE",
	  .help = "set a variable of the command's environment; may be given again",
	  .slot = &arg_env },
	{ .letter = 'w',
	  .kind = OPT_TEXT,
	  .name = "cwd",
	  .arg = "DIR",
	  .help = "run it in this directory instead of the user's home",
	  .slot = &arg_cwd },
	{ .letter = 'u',
	  .kind = OPT_TEXT,
	  .name = "user",
	  .arg = "USER[:GROUP]",
	  .help = "run it as this user of the guest, by name or number, instead of root",
	  .slot = &arg_user },
	{ .kind = OPT_MS,
	  .name = "timeout",
	  .arg = "TIME",
	  .help = "end it after this time: TERM, two seconds later KILL, exit status 124",
	  .slot = &arg_timeout_ms,
	  .min = 1,
	  .max = UINT32_MAX },
	{ .letter = 'n',
	  .kind = OPT_FLAG,
	  .name = "no-stdin",
	  .help = "give it an empty standard input",
	  .slot = &arg_no_stdin },
	OPT_END
};
static const struct opt logs_opts[] = {
	{ .kind = OPT_ENUM,
	  .name = "source",
	  .arg = "SOURCE",
	  .help = "whose log: console (of the last run too), vmm, agent or entrypoint",
	  .slot = &arg_source,
	  .words = sources },
	{ .letter = 'f',
	  .kind = OPT_FLAG,
	  .name = "follow",
	  .help = "go on as it grows",
	  .slot = &arg_follow },
	{ .kind = OPT_U64,
	  .name = "tail",
	  .arg = "BYTES",
	  .help = "only that much of its end",
	  .slot = &arg_tail,
	  .min = 1,
	  .max = UINT32_MAX },
	OPT_END
};
static const struct opt shutdown_opts[] = { { .kind = OPT_TEXT,
					      .name = "reason",
					      .arg = "TEXT",
					      .help = "what the console will say",
					      .slot = &arg_reason },
					    { .kind = OPT_MS,
					      .name = "grace",
					      .arg = "TIME",
					      .help = "between TERM and KILL",
					      .slot = &arg_grace_ms,
					      .min = 0,
					      .max = 600000 },
					    OPT_END };

// A warm guest is there and does not answer: better said at once than after a time-out.
static int check_running(const struct instance *i, const struct address *a, struct err *e)
{
	if (i->status == INSTANCE_RUNNING)
		return 0;
	(void)err_kind(e, ERR_STATE, "the instance is %s", instance_status_names[i->status]);
	return err_hint(e, "run 'mvm instance %s %s/%s/%s'",
			i->status == INSTANCE_WARM || i->status == INSTANCE_SLEEPING ? "wake"
										     : "start",
			a->tenant, a->pool, a->instance);
}

// *vmm: a pidfd that the connection watches; the caller closes it after the connection.
static int reach(const struct address *a, const struct tenant *t, const struct instance *i,
		 int *vmm, struct guest_conn **ret, struct err *e)
{
	const struct proc_id id = { (pid_t)i->vmm_process.pid, i->vmm_process.pid_start };
	uint32_t uid = name_uid(t->net.tenant_net_id, i->net.offset);
	cleanup_jail struct jail jail = JAIL_NONE;

	if (check_running(i, a, e) < 0)
		return -e->no;
	*vmm = proc_id_open(&id, e);
	if (*vmm < 0)
		return err_kind(e, ERR_UNAVAILABLE, "its VMM does not run any more");
	if (jail_open(instance_vmm_names[i->vmm], a->instance, uid, &jail, e) < 0)
		return -e->no;
	const struct guest_place at = { jail.run, "v.sock", uid, *vmm };
	return guest_open(&at, clock_ms() + ASK_MS, ret, e);
}

static int open_guest(const char *word, int *vmm, struct guest_conn **ret, struct err *e)
{
	struct address a;
	struct instance i = { 0 };
	struct tenant t = { 0 };
	address_text name;

	if (instances_resolve(word, &a, e) < 0 || tenant_load(a.tenant, &t, e) < 0 ||
	    instance_load(&a, &t, &i, e) < 0)
		return -e->no;
	if (reach(&a, &t, &i, vmm, ret, e) == 0)
		return 0;
	address_print(&a, name);
	(void)err_object(e, "%s", name);
	return err_wrap(e, "%s", name);
}

static int fill_exec(const struct call *call, struct guest_exec *x, struct err *e)
{
	for (int i = 1; i < call->argc; i++)
		if (guest_words_add(&x->argv, call->argv[i], e) < 0)
			return -e->no;
	for (size_t i = 0; i < arg_env.len; i++) {
		if (arg_env.items[i][0] == '=' || !strchr(arg_env.items[i], '='))
			return err_usage(e, "--env %s: not NAME=VALUE", arg_env.items[i]);
		if (guest_words_add(&x->env, arg_env.items[i], e) < 0)
			return err_wrap(e, "--env");
	}
	if (COPY(x->cwd, arg_cwd) < 0 || COPY(x->user, arg_user) < 0)
		return err_usage(e, "--cwd or --user: too long");
	x->flags = arg_no_stdin ? GUEST_EXEC_NO_STDIN : 0;
	return 0;
}

static int run_exec(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;
	cleanup(guest_exec_clear) struct guest_exec x = { 0 };
	cleanup_fd int signals = -1;
	struct guest_io io = { arg_no_stdin ? -1 : STDIN_FILENO,
			       STDOUT_FILENO,
			       STDERR_FILENO,
			       -1,
			       clock_ms() + START_MS,
			       0 };
	int status;

	(void)out;
	if (fill_exec(call, &x, e) < 0 || open_guest(call->argv[0], &vmm, &c, e) < 0)
		return -e->no;
	io.signals = signals =
		sig_open(e, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT, 0);
	if (signals < 0)
		return -e->no;
	if (arg_timeout_ms)
		io.deadline_ms = clock_ms() + (int64_t)arg_timeout_ms;
	if (guest_run(c, &x, &io, &status, e) < 0) {
		(void)err_object(e, "%s", call->argv[0]);
		return err_wrap(e, "%s", call->argv[0]);
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

struct health {
	uint32_t schema_version;
	bool ready;
	uint64_t uptime_ms, mem_total_mib, mem_available_mib;
	double load_1m;
	int64_t clock_offset_ms;
	uint32_t commands_running;
	int entrypoint; // enum guest_entry_state
	uint32_t entrypoint_status;
};
static const char *const entry_names[] = { "none", "running", "ended", NULL };
static const struct field health_fields[] = {
	{ FIELD_SLOT(struct health, schema_version, uint32_t), .kind = KIND_UINT, .max = 1,
	  .doc = "1" },
	{ FIELD_SLOT(struct health, ready, bool), .kind = KIND_BOOL, .doc = "set up by the host" },
	{ FIELD_SLOT(struct health, uptime_ms, uint64_t), .kind = KIND_UINT, .max = UINT64_MAX,
	  .doc = "since its kernel started" },
	{ FIELD_SLOT(struct health, mem_total_mib, uint64_t), .kind = KIND_UINT, .max = UINT64_MAX,
	  .doc = "memory as the guest sees it" },
	{ FIELD_SLOT(struct health, mem_available_mib, uint64_t), .kind = KIND_UINT,
	  .max = UINT64_MAX, .doc = "for new work" },
	{ FIELD_SLOT(struct health, load_1m, double), .kind = KIND_REAL, .doc = "load average" },
	{ FIELD_SLOT(struct health, clock_offset_ms, int64_t), .kind = KIND_INT, .imin = INT64_MIN,
	  .max = INT64_MAX, .doc = "its clock less ours" },
	{ FIELD_SLOT(struct health, commands_running, uint32_t), .kind = KIND_UINT,
	  .max = UINT32_MAX, .doc = "of exec" },
	{ FIELD_SLOT(struct health, entrypoint, int), .kind = KIND_ENUM, .names = entry_names,
	  .doc = "what the image runs" },
	{ FIELD_SLOT(struct health, entrypoint_status, uint32_t), .kind = KIND_UINT, .max = 255,
	  .doc = "once ended; 128+n by signal n" },
	FIELD_END
};

static int run_health(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;
	struct guest_health h;
	struct timespec now = { 0 };
	int ended;

	if (open_guest(call->argv[0], &vmm, &c, e) < 0 ||
	    guest_ask_health(c, clock_ms() + ASK_MS, &h, e) < 0)
		return -e->no;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	ended = (int)h.entry_status;
	const struct health doc = {
		.schema_version = 1,
		.ready = h.ready,
		.uptime_ms = h.uptime_ms,
		.mem_total_mib = h.mem_total_kib / 1024,
		.mem_available_mib = h.mem_available_kib / 1024,
		.load_1m = h.load_milli / 1000.0,
		.clock_offset_ms = (int64_t)(h.time_us / 1000) -
				   ((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000),
		.commands_running = h.execs,
		.entrypoint = (int)h.entry_state,
		.entrypoint_status =
			(uint32_t)(WIFSIGNALED(ended) ? 128 + WTERMSIG(ended) : WEXITSTATUS(ended)),
	};
	codec_print(health_fields, &doc, out);
	return h.ready ? 0 : 3;
}

// What the host keeps: there also when the guest does not run, or never came up.
static int print_console(const char *word, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT, lines = BUF_INIT;
	struct instance i = { 0 };
	struct address a;

	if (arg_follow)
		return err_usage(e, "--follow goes with --source agent or entrypoint");
	if (instances_resolve(word, &a, e) < 0 || instance_load(&a, NULL, &i, e) < 0 ||
	    console_tail(&a, arg_tail ? arg_tail : CONSOLE_KEEP, &text, e) < 0)
		return -e->no;
	console_filter(&text, a.instance, arg_source == SOURCE_VMM, &lines);
	return fd_write_all(STDOUT_FILENO, buf_text(&lines), lines.len, e);
}

static int run_logs(const struct call *call, struct buf *out, struct err *e)
{
	const struct guest_logs what = { arg_source == SOURCE_AGENT ? GUEST_LOG_AGENT
								    : GUEST_LOG_ENTRYPOINT,
					 arg_follow, (uint32_t)arg_tail };
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;

	(void)out;
	if (arg_source == SOURCE_CONSOLE || arg_source == SOURCE_VMM)
		return print_console(call->argv[0], e);
	if (open_guest(call->argv[0], &vmm, &c, e) < 0)
		return -e->no;
	return guest_ask_logs(c, &what, STDOUT_FILENO, e);
}

static int run_shutdown(const struct call *call, struct buf *out, struct err *e)
{
	struct guest_down down = { .grace_ms = (uint32_t)arg_grace_ms };
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;

	if (COPY(down.reason, arg_reason) < 0)
		return err_usage(e, "--reason: too long");
	if (open_guest(call->argv[0], &vmm, &c, e) < 0 ||
	    guest_ask_shutdown(c, &down, clock_ms() + ASK_MS, e) < 0)
		return -e->no;
	buf_str(out, "{\"schema_version\":1,\"asked\":true}");
	return 0;
}

static const struct verb verbs[] = {
	{ "exec", "TENANT/POOL/INSTANCE -- COMMAND [ARGUMENT]...",
	  "run a command in the guest, with its streams and its exit status", exec_opts, 2, -1,
	  run_exec, VERB_RAW },
	{ "health", "TENANT/POOL/INSTANCE", "what the guest's agent says of itself", NULL, 1, 1,
	  run_health, 0 },
	{ "logs", "TENANT/POOL/INSTANCE",
	  "print the console, or the log of the VMM, the agent or the entrypoint", logs_opts, 1, 1,
	  run_logs, VERB_RAW },
	{ "shutdown", "TENANT/POOL/INSTANCE", "ask the guest to go down", shutdown_opts, 1, 1,
	  run_shutdown, VERB_HIDDEN },
};

int main(int argc, char **argv)
{
	static const struct tool tool = { .name = "mvm-guest",
					  .summary = "talk to the agent in a running guest",
					  .verbs = verbs,
					  .verb_count = COUNT(verbs) };

	return tool_main(&tool, argc, argv);
}
