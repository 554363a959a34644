// SPDX-License-Identifier: MIT
#include "base/tool.h"
#include "life/doctor.h"

static bool arg_production;

static const struct opt opts[] = { { 0, OPT_FLAG, "production", NULL,
				     "hold the machine to what serving customers needs",
				     &arg_production, 0, 0, NULL, NULL },
				   OPT_END };

static int run(const struct call *call, struct buf *out, struct err *e)
{
	enum doctor_level worst = DOCTOR_OK;
	struct codec_list list = { 0 };

	(void)call;
	(void)e;
	doctor_run(arg_production, &list, &worst);
	codec_print_list(doctor_fields, sizeof(struct doctor_check), &list, out);
	codec_free_list(doctor_fields, sizeof(struct doctor_check), &list);
	// A report is printed whole also when what it found is bad.
	return worst == DOCTOR_FAIL ? 3 : 0;
}

int main(int argc, char **argv)
{
	static const struct verb verbs[] = {
		{ .args = "",
		  .summary = "tell what this machine offers, check by check",
		  .opts = opts,
		  .run = run },
	};
	static const struct tool tool = { .name = "mvm-doctor",
					  .summary = "explains what this machine offers to mvm",
					  .verbs = verbs,
					  .verb_count = COUNT(verbs),
					  .details = "Ends with 3 when a check fails." };

	return tool_main(&tool, argc, argv);
}
