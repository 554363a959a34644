// SPDX-License-Identifier: MIT
#include "life/metad.h"

#include "base/path.h"
#include "base/proc.h"
#include "life/backend.h"

#define TOOL_MS 60000

int metad_ensure(const char *tenant, bool run, struct err *e)
{
	cleanup_proc_result struct proc_result r = { 0 };
	enum backend_kind kind = BACKEND_DIRECT;
	const char *verb = run ? "metad-start" : "metad-stop";
	path_text script;

	if (backend_kind(&kind, e) < 0)
		return -e->no;
	path_lib("backend", script);
	const char *const argv[] = { script, backend_names[kind], verb, tenant, NULL };

	if (proc_capture(argv, NULL, 64 * KIB, TOOL_MS, &r, e) < 0)
		return err_wrap(e, "backend %s", verb);
	if (r.status == 0)
		return 0;
	return err_kind(e, r.status == 8 ? ERR_UNAVAILABLE : ERR_FAILED, "backend %s %s: %s",
			backend_names[kind], verb,
			r.last_line[0] ? r.last_line : "failed without a word");
}

static int metadata(const char *verb, const struct address *a, struct err *e)
{
	address_text address;
	const char *const argv[] = { "mvm-metadata", verb, address, NULL };

	address_print(a, address);
	return proc_tool(argv, NULL, NULL, TOOL_MS, e);
}

int metad_offer(const struct address *a, struct err *e)
{
	if (metadata("publish", a, e) < 0 || metad_ensure(a->tenant, true, e) < 0)
		return err_wrap(e, "metadata");
	return 0;
}

int metad_withdraw(const struct address *a, struct err *e)
{
	path_text all, dir;

	path_join(all, path_run(), "metadata");
	path_join(dir, all, a->tenant);
	if (access(dir, F_OK) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "look at %s", dir);
	return metadata("retract", a, e) < 0 ? err_wrap(e, "metadata") : 0;
}
