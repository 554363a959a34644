// SPDX-License-Identifier: MIT
// The metadata server of one tenant. See meta/metad.h.
#include "base/tool.h"
#include "life/conf.h"
#include "meta/metad.h"

static const char *arg_user;
static bool arg_detach, arg_stop;

static const struct opt opts[] = {
	{ 0, OPT_TEXT, "user", "NAME", "run as NAME, or as that number (default mvm)", &arg_user, 0,
	  0, NULL, NULL },
	{ 0, OPT_FLAG, "detach", NULL, "leave it running and return when it serves", &arg_detach, 0,
	  0, NULL, NULL },
	{ 0, OPT_FLAG, "stop", NULL, "end the one that runs", &arg_stop, 0, 0, NULL, NULL },
	OPT_END
};

static int run(const struct call *call, struct buf *out, struct err *e)
{
	struct metad m = { .tenant = call->argv[0], .user = arg_user };
	char user[CONF_VALUE];
	int r;

	(void)out;
	if (name_check(m.tenant, e) < 0)
		return -e->no;
	if (arg_detach && arg_stop)
		return err_usage(e, "--detach and --stop exclude each other");
	if (!m.user) {
		if (conf_get("metad_user", "mvm", user, e) < 0)
			return -e->no;
		m.user = user;
	}
	if (arg_stop)
		r = metad_stop(m.tenant, call->lock_wait_ms, e);
	else if (arg_detach)
		r = metad_detach(&m, call->lock_wait_ms, e);
	else
		r = metad_run(&m, -1, e);
	return r < 0 ? err_object(e, "%s", m.tenant) : 0;
}

int main(int argc, char **argv)
{
	static const struct verb verb = { .args = "TENANT",
					  .summary = "serve the tenant's guests their metadata",
					  .opts = opts,
					  .min_args = 1,
					  .max_args = 1,
					  .run = run,
					  .flags = VERB_RAW | VERB_DAEMON };
	static const struct tool tool = {
		.name = "mvm-metad",
		.summary = "Serves guests their metadata over HTTP",
		.verbs = &verb,
		.verb_count = 1,
		.details = "Listens on port 8169 of the tenant's gateway address. MVM_METAD_USER "
			   "stands for --user where that is not given."
	};

	return tool_main(&tool, argc, argv);
}
