// SPDX-License-Identifier: MIT
#include "fc/cmdline.h"

static const struct row {
	const char *name, *arg; // arg NULL: takes no value
	const char *preset;
	const char *help;
	bool refused; // of Firecracker's, and nothing here could obey it
} rows[CMD_FLAGS] = {
	[CMD_ACCEL] = { "accel", "auto|kvm|tcg", NULL,
			"Run the guest by KVM or by emulation (default: MVM_QEMU_ACCEL, else auto)",
			false },
	[CMD_API_SOCK] = { "api-sock", "FILE", "/run/firecracker.socket",
			   "Serve the API on the unix socket FILE", false },
	[CMD_BOOT_TIMER] = { "boot-timer", NULL, NULL, "Refused: there is no boot timer device",
			     true },
	[CMD_CONFIG_FILE] = { "config-file", "FILE", NULL,
			      "Configure the guest by the JSON in FILE and start it at once",
			      false },
	[CMD_DESCRIBE_SNAPSHOT] = { "describe-snapshot", "FILE", NULL,
				    "Print the format version of a snapshot's state file", false },
	[CMD_ENABLE_PCI] = { "enable-pci", NULL, NULL, "Refused: devices are on virtio-mmio only",
			     true },
	[CMD_GID] = { "gid", "N", NULL, "With --uid: run as this group", false },
	[CMD_HTTP_API_MAX_PAYLOAD_SIZE] = { "http-api-max-payload-size", "BYTES", "51200",
					    "Refuse request bodies that are longer", false },
	[CMD_ID] = { "id", "ID", "anonymous-instance",
		     "Name of the guest: up to 64 letters, digits and hyphens", false },
	[CMD_LEVEL] = { "level", "LEVEL", NULL,
			"Log only what matters so much: Off, Error, Warning, Info (the default) or "
			"Debug",
			false },
	[CMD_LOG_PATH] = { "log-path", "FILE", NULL,
			   "Log into a file or named pipe instead of stdout", false },
	[CMD_METADATA] = { "metadata", "FILE", NULL, "Refused: there is no metadata service",
			   true },
	[CMD_METRICS_PATH] = { "metrics-path", "FILE", NULL,
			       "Write metrics into a file or named pipe", false },
	[CMD_MMDS_SIZE_LIMIT] = { "mmds-size-limit", "BYTES", NULL,
				  "Accepted, without effect: there is no metadata service", false },
	[CMD_MODULE] = { "module", "NAME", NULL,
			 "Log only what comes from this part of the program", false },
	[CMD_NO_API] = { "no-api", NULL, NULL, "With --config-file: serve no API", false },
	[CMD_NO_SECCOMP] = { "no-seccomp", NULL, NULL,
			     "Accepted, without effect: QEMU keeps its filter", false },
	[CMD_PARENT_CPU_TIME_US] = { "parent-cpu-time-us", "US", NULL,
				     "CPU time of the parent, for the metrics", false },
	[CMD_ROOT] = { "root", "DIR", NULL,
		       "Take every path as one below DIR, as if it were the root directory",
		       false },
	[CMD_SECCOMP] = { "seccomp", "baseline|strict", "baseline",
			  "With --uid: strict lets QEMU make only the system calls of a list, and "
			  "one that is on no list ends the guest",
			  false },
	[CMD_SECCOMP_FILTER] = { "seccomp-filter", "FILE", NULL,
				 "Refused: Firecracker's filters do not fit QEMU", true },
	[CMD_SHOW_LEVEL] = { "show-level", NULL, NULL, "Log lines tell their level", false },
	[CMD_SHOW_LOG_ORIGIN] = { "show-log-origin", NULL, NULL,
				  "Log lines tell where in the program they were made", false },
	[CMD_SNAPSHOT_VERSION] = { "snapshot-version", NULL, NULL,
				   "Print the format version of snapshots made here", false },
	[CMD_START_TIME_CPU_US] = { "start-time-cpu-us", "US", NULL,
				    "CPU time at the start, for the metrics", false },
	[CMD_START_TIME_US] = { "start-time-us", "US", NULL,
				"Monotonic time of the start, for the metrics", false },
	[CMD_UID] = { "uid", "N", NULL,
		      "Confined: start as root, run this program and QEMU as this user", false },
	[CMD_VERSION] = { "version", NULL, NULL, "Print the version", false },
	[CMD_HELP] = { "help", NULL, NULL, "Print this text", false },
};

static int bad(struct err *e, const char *what, const char *word)
{
	cleanup_buf struct buf quoted = BUF_INIT;

	buf_json(&quoted, word);
	return err_usage(e, "ParseArguments(%s(%.200s))", what, quoted.data);
}

static int find(const char *word, struct err *e)
{
	if (!str_starts(word, "--"))
		return bad(e, "UnexpectedArgument", word);
	for (int i = 0; i < CMD_FLAGS; i++)
		if (str_eq(word + 2, rows[i].name))
			return i;
	return bad(e, "UnexpectedArgument", word + 2);
}

static int check_together(const struct cmdline *c, struct err *e)
{
	if (c->word[CMD_NO_API] && !c->word[CMD_CONFIG_FILE])
		return bad(e, "MissingArgument", "config-file");
	if (c->word[CMD_NO_SECCOMP] && c->word[CMD_SECCOMP_FILTER])
		return err_usage(e, "ParseArguments(ForbiddenArgument(\"no-seccomp\", "
				    "\"seccomp-filter\"))");
	if (!c->word[CMD_UID] != !c->word[CMD_GID])
		return bad(e, "MissingArgument", c->word[CMD_UID] ? "gid" : "uid");
	if (c->word[CMD_SECCOMP] && str_eq(c->word[CMD_SECCOMP], "strict") && !c->word[CMD_UID])
		return bad(e, "MissingArgument", "uid");
	for (int i = 0; i < CMD_FLAGS; i++)
		if (rows[i].refused && c->word[i])
			return bad(e, "NotSupported", rows[i].name);
	return 0;
}

int cmdline_parse(struct cmdline *c, int argc, char **argv, struct err *e)
{
	int end = 1;

	*c = (struct cmdline){ 0 };
	while (end < argc && !str_eq(argv[end], "--"))
		end++;
	for (int i = 1; i < end; i++) // these win over anything else on the line
		if (str_eq(argv[i], "--help") || str_eq(argv[i], "-h")) {
			c->word[CMD_HELP] = "";
			return 0;
		}
	for (int i = 1; i < end; i++)
		if (str_eq(argv[i], "--version")) {
			c->word[CMD_VERSION] = "";
			return 0;
		}
	for (int i = 1; i < end; i++) {
		int flag = find(argv[i], e);

		if (flag < 0)
			return flag;
		if (c->word[flag])
			return bad(e, "DuplicateArgument", rows[flag].name);
		if (!rows[flag].arg)
			c->word[flag] = "";
		else if (i + 1 == end || str_starts(argv[i + 1], "--"))
			return bad(e, "MissingValue", rows[flag].name);
		else
			c->word[flag] = argv[++i];
	}
	if (check_together(c, e) < 0)
		return -e->no;
	for (int i = 0; i < CMD_FLAGS; i++)
		if (!c->word[i])
			c->word[i] = rows[i].preset;
	return 0;
}

void cmdline_help(struct buf *out)
{
	char left[48];

	buf_str(out, "Usage: mvm-fc-qemu [--api-sock FILE] [--root DIR --uid N --gid N] [FLAG...]\n"
		     "\nFirecracker's command line and API, with QEMU behind them.\n\nFlags:\n");
	for (int i = 0; i < CMD_FLAGS; i++) {
		(void)snprintf(left, sizeof(left), "--%s%s%s", rows[i].name, rows[i].arg ? " " : "",
			       rows[i].arg ? rows[i].arg : "");
		buf_fmt(out, "  %-34s %s", left, rows[i].help);
		if (rows[i].preset)
			buf_fmt(out, " [default: %s]", rows[i].preset);
		buf_char(out, '\n');
	}
}

static void scd_row(const struct row *r, struct buf *out)
{
	buf_fmt(out, "*--%s*", r->name);
	if (r->arg)
		buf_fmt(out, " _%s_", r->arg);
	buf_str(out, "\n\t");
	for (const char *s = r->help; *s; s++) {
		if (strchr("_*\\", *s)) // scdoc takes these for markup
			buf_char(out, '\\');
		buf_char(out, *s);
	}
	if (r->preset)
		buf_fmt(out, " (default: %s)", r->preset);
	buf_str(out, ".\n\n");
}

void cmdline_help_as(const char *form, struct buf *out)
{
	bool scd = str_eq(form, "scd");

	if (scd)
		buf_str(out, "# SYNOPSIS\n\n*mvm-fc-qemu* [_flag_...]\n\n# OPTIONS\n\n");
	for (int i = 0; i < CMD_FLAGS; i++) {
		if (scd)
			scd_row(&rows[i], out);
		else
			buf_fmt(out, "opt\t-\t--%s\t%s\t%s\t-\n", rows[i].name,
				rows[i].arg ? rows[i].arg : "-", rows[i].help);
	}
}
