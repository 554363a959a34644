// SPDX-License-Identifier: MIT
// Where things lie (design.md section 3). Paths are built here and nowhere else, from checked
// names. The roots come from MVM_STATE_DIR, MVM_RUN_DIR and MVM_CONFIG; they must be absolute.
#pragma once
#include "base/name.h"

#define PATH_LEN 512
typedef char path_text[PATH_LEN];

const char *path_state(void);  // /var/lib/mvm
const char *path_run(void);    // /run/mvm
const char *path_config(void); // /etc/mvm/mvm.conf
bool path_is_default(void);    // state and run dir are the default places (units serve only these)
// Checks the three variables; called by tool_main before anything else.
int path_check_env(struct err *e) MUST_CHECK;

void path_tenant(const char *tenant, path_text out);
void path_pool(const char *tenant, const char *pool, path_text out);
void path_instance(const struct address *a, path_text out);
void path_run_instance(const char *instance, path_text out);	      // $RUN/instances/<i>
void path_jail(const char *vmm, const char *instance, path_text out); // jails/<vmm>/<i>
// Joins "a/b"; ends the process when it does not fit (all parts are bounded names of ours).
void path_join(path_text out, const char *a, const char *b);
// A program of ours: beside the running binary if there, else to be looked up on PATH.
void path_tool(const char *tool, path_text out);
// A file of ours under <prefix>/lib/mvm, found relative to the running binary.
void path_lib(const char *file, path_text out);
