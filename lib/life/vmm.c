// SPDX-License-Identifier: MIT
#include "life/vmm.h"
#include "base/fd.h"
#include "base/tool.h"
#include "fc/config.h"
#include "fc/kvm.h"
#include "fc/version.h"
#include "life/conf.h"
#include "sys/sandbox.h"
#include <dirent.h>
#include <fcntl.h>

#define MINOR_MIN 12
#define MINOR_MAX 16

bool vmm_in_range(const char *version)
{
	long n = version_number(version);

	return n >= 1000000 + MINOR_MIN * 1000 && n < 1000000 + (MINOR_MAX + 1) * 1000;
}

static bool take(struct vmm_choice *c, const char *dir, const char *version)
{
	path_join(c->program, dir, "firecracker");
	path_join(c->jailer, dir, "jailer");
	if (access(c->program, X_OK) < 0 || access(c->jailer, X_OK) < 0)
		return false;
	c->kind = INSTANCE_VMM_FIRECRACKER;
	return COPY(c->version, version) == 0;
}

static bool find_installed(const char *version, struct vmm_choice *ret)
{
	path_text base, dir;
	char best[32] = "";
	struct dirent *d;
	DIR *all;

	path_join(base, path_state(), "firecracker");
	all = opendir(base);
	if (!all)
		return false;
	while ((d = readdir(all))) {
		bool asked = !*version || str_eq(d->d_name, version);

		if (asked && vmm_in_range(d->d_name) &&
		    version_number(d->d_name) > version_number(best))
			(void)snprintf(best, sizeof(best), "%.31s", d->d_name);
	}
	(void)closedir(all);
	if (!*best)
		return false;
	path_join(dir, base, best);
	return take(ret, dir, best);
}

static bool find_on_path(const char *version, struct vmm_choice *ret)
{
	cleanup_free char *path = base_strdup(getenv("PATH") ? getenv("PATH") : "");
	char *rest = path, found[32] = "";

	for (char *dir = strsep(&rest, ":"); dir; dir = strsep(&rest, ":")) {
		struct err ignored = { 0 };

		if (*dir != '/' || strlen(dir) > 400 || !take(ret, dir, ""))
			continue;
		if (version_of_program(ret->program, found, &ignored) < 0 || !vmm_in_range(found))
			continue;
		if (*version && !str_eq(found, version))
			continue;
		return COPY(ret->version, found) == 0;
	}
	return false;
}

int vmm_find_firecracker(const char *version, struct vmm_choice *ret, struct err *e)
{
	if (find_installed(version, ret) || find_on_path(version, ret))
		return 0;
	(void)err_kind(e, ERR_MISSING, "no firecracker%s%s with its jailer is installed",
		       *version ? " of version " : " in the range 1.12 to 1.16", version);
	return err_hint(e, "run 'mvm bootstrap'");
}

int vmm_check_seccomp(const struct vmm_choice *c, int policy, const struct codec_list *drives,
		      struct err *e)
{
	const struct fc_drive *d = drives->items;

	if (policy != POOL_SECCOMP_STRICT)
		return 0;
#ifndef __x86_64__
	return err_kind(e, ERR_UNAVAILABLE,
			"seccomp strict: no list of system calls for this architecture yet");
#endif
	for (size_t i = 0; c->kind == INSTANCE_VMM_FIRECRACKER && i < drives->len; i++)
		if (d[i].io_engine == FC_IO_ASYNC)
			return err_kind(e, ERR_STATE,
					"seccomp strict: drive %.64s is of the Async engine, whose "
					"system calls are not allowed",
					d[i].drive_id);
	return sandbox_can_kill(e) < 0 ? err_wrap(e, "seccomp strict") : 0;
}

static int take_qemu(struct vmm_choice *c, const char *why, struct err *e)
{
	c->kind = INSTANCE_VMM_QEMU;
	c->jailer[0] = '\0';
	path_tool("mvm-fc-qemu", c->program);
	(void)snprintf(c->why, sizeof(c->why), "%s", why);
	if (COPY(c->version, tool_version) < 0)
		return err_set(e, ENAMETOOLONG, "version");
#ifdef __aarch64__
	return err_kind(e, ERR_UNAVAILABLE, "mvm-fc-qemu does not run on arm64 yet");
#endif
	return 0;
}

int vmm_choose(struct vmm_choice *ret, struct err *e)
{
	char asked[CONF_VALUE], version[CONF_VALUE], why[200];
	struct err missing = { 0 };

	if (conf_get("vmm", "auto", asked, e) < 0 ||
	    conf_get("firecracker_version", "", version, e) < 0)
		return -e->no;
	memset(ret, 0, sizeof(*ret));
	if (str_eq(asked, "qemu"))
		return take_qemu(ret, "the configuration asks for it", e);
	if (!str_eq(asked, "auto") && !str_eq(asked, "firecracker"))
		return err_usage(e, "vmm is '%s', expected auto, firecracker or qemu", asked);
	if (!kvm_usable(why)) {
		if (str_eq(asked, "firecracker"))
			return err_kind(e, ERR_UNAVAILABLE, "firecracker needs KVM: %s", why);
		return take_qemu(ret, why, e);
	}
	if (vmm_find_firecracker(version, ret, &missing) == 0) {
		(void)snprintf(ret->why, sizeof(ret->why), "KVM and firecracker are there");
		return 0;
	}
	if (str_eq(asked, "firecracker")) {
		*e = missing;
		return -e->no;
	}
	return take_qemu(ret, "KVM is usable but no firecracker is installed: run 'mvm bootstrap'",
			 e);
}
