// SPDX-License-Identifier: MIT
#include "life/bridge.h"

#include "base/proc.h"
#include "life/metad.h"

#define TOOL_MS 60000

int bridge_run(const char *verb, const char *object, struct err *e)
{
	const char *const argv[] = { "mvm-bridge", verb, object, NULL };

	return proc_tool(argv, NULL, NULL, TOOL_MS, e);
}

int bridge_attach(const struct address *a, bool metadata, struct err *e)
{
	address_text address;

	address_print(a, address);
	if (bridge_run("tap-attach", address, e) < 0)
		return -e->no;
	return metadata ? metad_offer(a, e) : 0;
}
