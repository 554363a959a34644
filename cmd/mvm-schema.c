// SPDX-License-Identifier: MIT
// Prints what the documents of mvm look like, from the very tables that decode and encode them.
#include "audit/audit.h"
#include "base/tool.h"
#include "life/doctor.h"
#include "life/explain.h"
#include "life/figures.h"
#include "life/launch.h"
#include "life/named.h"
#include "life/rates.h"
#include "life/stats.h"
#include "snap/manifest.h"
#include "state/instance.h"
#include "state/result.h"
#include "state/transition.h"

static const struct document {
	const char *name, *title;
	const struct field *fields;
} documents[] = {
	{ "tenant", "tenant.json", tenant_fields },
	{ "pool", "pool.json", pool_fields },
	{ "instance", "instance.json", instance_fields },
	{ "exit", "exit.json", exit_fields },
	{ "start", "start.json", start_fields },
	{ "sleep", "sleep.json", sleep_fields },
	{ "explain", "what mvm-instance explain prints", explain_fields },
	{ "launch", "launch.json", launch_fields },
	{ "snapshot", "manifest.json of a snapshot", snap_manifest_fields },
	{ "snapshot-row", "a row of mvm instance snapshot list", named_row_fields },
	{ "snapshot-created", "what mvm instance snapshot create prints", named_created_fields },
	{ "audit", "a line of audit.log", audit_entry_fields },
	{ "stats", "mvm instance stats", stats_fields },
	{ "rate", "a line of mvm instance top", rate_fields },
	{ "figures", "figures.json", figures_fields },
	{ "doctor", "a row of mvm doctor", doctor_fields },
};

static bool arg_markdown, arg_dot;

static const struct opt show_opts[] = { { .kind = OPT_FLAG,
					  .name = "markdown",
					  .help = "a table for people in place of the schema",
					  .slot = &arg_markdown },
					OPT_END };
static const struct opt lifecycle_opts[] = {
	{ .kind = OPT_FLAG,
	  .name = "dot",
	  .help = "a diagram for Graphviz in place of the table",
	  .slot = &arg_dot },
	OPT_END
};

static int run_list(const struct call *call, struct buf *out, struct err *e)
{
	(void)call;
	(void)e;
	for (size_t i = 0; i < COUNT(documents); i++)
		buf_fmt(out, "%s{\"name\":\"%s\",\"document\":\"%s\"}", i ? "," : "[",
			documents[i].name, documents[i].title);
	buf_char(out, ']');
	return 0;
}

static int write_out(const struct buf *text, struct err *e)
{
	if (fputs(buf_text(text), stdout) < 0 || fflush(stdout) < 0)
		return err_sys(e, "write");
	return 0;
}

static int run_show(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	(void)out;
	for (size_t i = 0; i < COUNT(documents); i++) {
		if (!str_eq(documents[i].name, call->argv[0]))
			continue;
		if (arg_markdown)
			codec_markdown(documents[i].title, documents[i].fields, &text);
		else
			codec_schema(documents[i].title, documents[i].fields, &text);
		if (!arg_markdown)
			buf_char(&text, '\n');
		return write_out(&text, e);
	}
	(void)err_kind(e, ERR_MISSING, "%s: no such document", call->argv[0]);
	return err_hint(e, "'mvm schema list' names them");
}

static int run_lifecycle(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	(void)call;
	(void)out;
	if (arg_dot)
		transition_dot(&text);
	else
		transition_markdown(&text);
	return write_out(&text, e);
}

int main(int argc, char **argv)
{
	static const struct verb verbs[] = {
		{ .name = "list", .args = "", .summary = "name the documents", .run = run_list },
		{ .name = "show",
		  .args = "DOCUMENT",
		  .summary = "print the JSON Schema of a document",
		  .opts = show_opts,
		  .min_args = 1,
		  .max_args = 1,
		  .run = run_show,
		  .flags = VERB_RAW },
		{ .name = "lifecycle",
		  .args = "",
		  .summary = "print which verb leads from which state to which",
		  .opts = lifecycle_opts,
		  .run = run_lifecycle,
		  .flags = VERB_RAW },
	};
	static const struct tool tool = {
		.name = "mvm-schema",
		.summary = "shows the formats of mvm's documents",
		.verbs = verbs,
		.verb_count = COUNT(verbs),
		.details = "Printed from the tables that decode and encode the documents."
	};

	return tool_main(&tool, argc, argv);
}
