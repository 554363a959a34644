// SPDX-License-Identifier: MIT
#include "base/path.h"

#include <assert.h>

#define STATE_DIR "/var/lib/mvm"
#define RUN_DIR	  "/run/mvm"
#define CONFIG	  "/etc/mvm/mvm.conf"

// The longest path below a root takes some 200 bytes: tenants/<40>/pools/<40>/instances/<i>/...
#define ROOT_MAX 255

static const char *root(const char *variable, const char *otherwise)
{
	const char *s = getenv(variable);

	return s && s[0] ? s : otherwise;
}

const char *path_state(void)
{
	return root("MVM_STATE_DIR", STATE_DIR);
}

const char *path_run(void)
{
	return root("MVM_RUN_DIR", RUN_DIR);
}

const char *path_config(void)
{
	return root("MVM_CONFIG", CONFIG);
}

bool path_is_default(void)
{
	return str_eq(path_state(), STATE_DIR) && str_eq(path_run(), RUN_DIR);
}

int path_check_env(struct err *e)
{
	static const char *const variables[] = { "MVM_STATE_DIR", "MVM_RUN_DIR", "MVM_CONFIG" };

	for (size_t i = 0; i < COUNT(variables); i++) {
		const char *s = root(variables[i], "/");

		if (s[0] != '/')
			return err_usage(e, "%s: '%.64s' is not an absolute path", variables[i], s);
		if (strlen(s) > ROOT_MAX)
			return err_usage(e, "%s: longer than %d bytes", variables[i], ROOT_MAX);
	}
	return 0;
}

// PATH_LEN is our own limit and every part was checked: what does not fit is a bug, and a cut path
// would name somebody else's file.
static void must_fit(int n)
{
	if (n < 0 || n >= PATH_LEN)
		abort();
}

void path_join(path_text out, const char *a, const char *b)
{
	path_text joined; // out may be a

	must_fit(snprintf(joined, sizeof(joined), "%s/%s", a, b));
	memcpy(out, joined, sizeof(joined));
}

void path_tenant(const char *tenant, path_text out)
{
	must_fit(snprintf(out, PATH_LEN, "%s/tenants/%s", path_state(), tenant));
}

void path_pool(const char *tenant, const char *pool, path_text out)
{
	must_fit(snprintf(out, PATH_LEN, "%s/tenants/%s/pools/%s", path_state(), tenant, pool));
}

void path_instance(const struct address *a, path_text out)
{
	must_fit(snprintf(out, PATH_LEN, "%s/tenants/%s/pools/%s/instances/%s", path_state(),
			  a->tenant, a->pool, a->instance));
}

void path_run_instance(const char *instance, path_text out)
{
	must_fit(snprintf(out, PATH_LEN, "%s/instances/%s", path_run(), instance));
}

void path_jail(const char *vmm, const char *instance, path_text out)
{
	must_fit(snprintf(out, PATH_LEN, "%s/jails/%s/%s", path_state(), vmm, instance));
}

// Directory of the running binary, up levels above it; false when it cannot be told.
static bool own_directory(int up, path_text out)
{
	ssize_t n = readlink("/proc/self/exe", out, PATH_LEN);

	if (n <= 0 || n >= PATH_LEN)
		return false;
	out[n] = '\0';
	for (; up >= 0; up--) {
		char *slash = strrchr(out, '/');

		if (!slash)
			return false;
		*slash = '\0';
	}
	return true;
}

void path_tool(const char *tool, path_text out)
{
	path_text dir, beside;

	if (own_directory(0, dir) && strlen(dir) + strlen(tool) + 2 < PATH_LEN) {
		path_join(beside, dir, tool);
		if (access(beside, X_OK) == 0) {
			memcpy(out, beside, sizeof(beside));
			return;
		}
	}
	must_fit(snprintf(out, PATH_LEN, "%s", tool));
}

void path_lib(const char *file, path_text out)
{
	path_text prefix;

	if (!own_directory(1, prefix) || strlen(prefix) > ROOT_MAX)
		must_fit(snprintf(prefix, sizeof(prefix), "/usr"));
	must_fit(snprintf(out, PATH_LEN, "%s/lib/mvm/%s", prefix, file));
}
