// SPDX-License-Identifier: MIT
// A running guest's agent for people and scripts. exec: the table's own exit status until the
// command has started, the command's from then on.
#include "base/clock.h"
#include "life/guest_cli.h"
#include "life/guest_verbs.h"

static const char *arg_reason = "asked by hand";
static uint64_t arg_grace_ms = 5000;

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

static int run_shutdown(const struct call *call, struct buf *out, struct err *e)
{
	struct guest_down down = { .grace_ms = (uint32_t)arg_grace_ms };
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;

	if (COPY(down.reason, arg_reason) < 0)
		return err_usage(e, "--reason: too long");
	if (guest_cli_enter(call->argv[0], AUDIT_GUEST_SHUT_DOWN, arg_reason, &vmm, &c, e) < 0)
		return -e->no;
	if (guest_ask_shutdown(c, &down, clock_ms() + GUEST_CLI_ASK_MS, e) < 0)
		return guest_cli_failed(call->argv[0], AUDIT_GUEST_SHUT_DOWN, e);
	buf_str(out, "{\"schema_version\":1,\"asked\":true}");
	return 0;
}

static const struct verb verbs[] = {
	{ "exec", "TENANT/POOL/INSTANCE -- COMMAND [ARGUMENT]...",
	  "run a command in the guest, with its streams and its exit status", guest_exec_opts, 2,
	  -1, guest_exec_run, VERB_RAW | VERB_DAEMON },
	{ "ssh", "TENANT/POOL/INSTANCE [COMMAND]...",
	  "open a shell in the guest, or run a command line in it", guest_ssh_opts, 1, -1,
	  guest_ssh_run, VERB_RAW | VERB_DAEMON },
	{ "attach", "TENANT/POOL/INSTANCE SESSION",
	  "go back to a session: what it wrote, what it writes, its exit status", guest_attach_opts,
	  2, 2, guest_attach_run, VERB_RAW | VERB_DAEMON },
	{ "sessions", "TENANT/POOL/INSTANCE", "list the sessions of a guest, or end one",
	  guest_sessions_opts, 1, 1, guest_sessions_run, 0 },
	{ "cp", "SOURCE TARGET", "copy files into a guest or out of it (INSTANCE:PATH)",
	  guest_cp_opts, 2, 2, guest_cp_run, 0 },
	{ "port-forward", "TENANT/POOL/INSTANCE [ADDRESS:]PORT:[ADDRESS:]PORT...",
	  "reach ports of a guest at addresses of this machine", NULL, 2, -1,
	  guest_port_forward_run, VERB_RAW | VERB_DAEMON },
	{ "health", "TENANT/POOL/INSTANCE", "what the guest's agent says of itself", NULL, 1, 1,
	  guest_health_run, 0 },
	{ "logs", "TENANT/POOL/INSTANCE",
	  "print the console, or the log of the VMM, the agent or the entrypoint", guest_logs_opts,
	  1, 1, guest_logs_run, VERB_RAW },
	{ "console", "TENANT/POOL/INSTANCE",
	  "print what the guest wrote on its console: logs --source console", guest_console_opts, 1,
	  1, guest_console_run, VERB_RAW },
	{ "hook", "TENANT/POOL/INSTANCE sleep-prep|repair|wake", "one step around a capture",
	  guest_hook_opts, 2, 2, guest_hook_run, VERB_HIDDEN },
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
