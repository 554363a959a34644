// SPDX-License-Identifier: MIT
// The census of what lies in file systems: jails, mounts, groups, run directories, drafts, claims.
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "life/census_impl.h"
#include "sys/cgroup.h"
#include "sys/mounts.h"

static int take_jail(struct census *c, int dir, const char *path, const char *name, struct err *e)
{
	const char *vmm = strrchr(path, '/') + 1;
	const struct census_want *w = census_by_id(c, name);
	struct census_row *r;
	path_text full;

	(void)dir;
	(void)e;
	path_join(full, path, name);
	r = census_add(c, CENSUS_JAIL, full, NULL);
	census_judge_live(r, w);
	if (w && r->owned && !w->damaged && !str_eq(instance_vmm_names[w->vmm], vmm))
		census_stray(r, "the instance runs in another VMM");
	return 0;
}

static int take_vmm(struct census *c, int dir, const char *path, const char *name, struct err *e)
{
	struct err why = { 0 };
	path_text full;

	(void)dir;
	if (name_check(name, &why) < 0)
		return 0;
	path_join(full, path, name);
	return census_each(c, full, take_jail, e);
}

// The instance id that a path below one of our directories names.
static const struct census_want *want_in_path(const struct census *c, const char *path)
{
	for (const char *at = strstr(path, "/i-"); at; at = strstr(at + 1, "/i-")) {
		instance_text id = "";
		struct err why = { 0 };

		memcpy(id, at + 1, strnlen(at + 1, sizeof(id) - 1));
		if (name_check_instance(id, &why) == 0 && census_by_id(c, id))
			return census_by_id(c, id);
	}
	return NULL;
}

// As mountinfo shows it, whatever links lead there.
static bool real_path(const char *dir, const char *below, char out[PATH_MAX])
{
	path_text path;

	path_join(path, dir, below);
	return realpath(path, out) != NULL;
}

static int take_mounts(struct census *c, const char *dir, const char *below, struct err *e)
{
	cleanup_mounts struct mounts m = MOUNTS_INIT;
	char real[PATH_MAX];

	if (!real_path(dir, below, real))
		return 0;
	if (mounts_read(&m, e) < 0)
		return -e->no;
	for (size_t i = 0; i < m.len; i++)
		// the directory itself may be a mount of the administrator's
		if (mounts_below(m.items[i].point, real) && !str_eq(m.items[i].point, real))
			census_judge_live(census_add(c, CENSUS_MOUNT, m.items[i].point, NULL),
					  want_in_path(c, m.items[i].point));
	return 0;
}

int census_jails(struct census *c, struct err *e)
{
	path_text path;

	path_join(path, path_state(), "jails");
	if (census_each(c, path, take_vmm, e) < 0 || take_mounts(c, path_state(), "jails", e) < 0)
		return -e->no;
	return take_mounts(c, path_run(), "instances", e);
}

// Above an instance's group are those of its pool and tenant, which go with the last one below.
static int take_group(void *arg, const char *node_id, const struct address *a, struct err *e)
{
	struct census *c = arg;
	struct census_row *r;
	address_text address;
	char name[PATH_LEN];

	(void)e;
	address_print(a, address);
	(void)snprintf(name, sizeof(name), "mvm/%s/%s", node_id, address);
	r = census_add(c, CENSUS_CGROUP, name, a);
	if (!str_eq(node_id, c->node_id))
		census_foreign(r, node_id);
	else if (a->instance[0])
		census_judge_live(r, census_by_address(c, a));
	else if (census_tenant(c, a->tenant))
		census_own(r, "of a tenant");
	else
		census_stray(r, "no such tenant");
	return 0;
}

int census_groups(struct census *c, struct err *e)
{
	struct cgroup_host h;

	if (cgroup_find(&h, e) < 0)
		return -e->no;
	return cgroup_each(&h, take_group, c, e);
}

static int take_socket(struct census *c, int dir, const char *path, const char *name, struct err *e)
{
	struct stat st;
	path_text full;

	(void)e;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISSOCK(st.st_mode) ||
	    strlen(path) + strlen(name) + 2 > PATH_LEN)
		return 0;
	path_join(full, path, name);
	census_judge_live(census_add(c, CENSUS_SOCKET, full, NULL),
			  census_by_id(c, strrchr(path, '/') + 1));
	return 0;
}

static int take_run_dir(struct census *c, int dir, const char *path, const char *name,
			struct err *e)
{
	struct stat st;
	path_text full;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) // gone meanwhile
		return 0;
	path_join(full, path, name);
	census_judge_record(census_add(c, CENSUS_RUN_DIR, full, NULL), census_by_id(c, name));
	return S_ISDIR(st.st_mode) ? census_each(c, full, take_socket, e) : 0;
}

// Between an end and the next start nothing of an instance is on the ramfs.
static int take_drives(struct census *c, int dir, const char *path, const char *name, struct err *e)
{
	path_text full;

	(void)dir;
	(void)e;
	path_join(full, path, name);
	census_judge_live(census_add(c, CENSUS_DRIVES, full, NULL), census_by_id(c, name));
	return 0;
}

int census_run_dirs(struct census *c, struct err *e)
{
	path_text path;

	path_join(path, path_run(), "instances");
	if (census_each(c, path, take_run_dir, e) < 0)
		return -e->no;
	path_join(path, path_run(), "secrets");
	return census_each(c, path, take_drives, e);
}

// What the sweep would remove: paths below the state directory, one a line.
static void take_sweep(struct census *c, char *lines)
{
	for (char *line = lines, *end; (end = strchr(line, '\n')); line = end + 1) {
		bool claim = str_starts(line, "/ids/i-");
		path_text full;

		*end = '\0';
		if (strlen(path_state()) + strlen(line) + 2 > PATH_LEN)
			continue;
		path_join(full, path_state(), line + 1);
		census_stray(census_add(c, claim ? CENSUS_CLAIM : CENSUS_DRAFT, full, NULL),
			     claim ? "no such instance" : "left unfinished");
	}
}

static void take_claim(struct census *c, const char *id)
{
	const struct census_want *w = census_by_id(c, id);
	path_text dir, full;

	if (!w)
		return; // the sweep told about it, under its creator's lock
	path_join(dir, path_state(), "ids");
	path_join(full, dir, id);
	census_own(census_add(c, CENSUS_CLAIM, full, &w->a), "of an instance");
}

int census_files(struct census *c, int wait_ms, struct err *e)
{
	cleanup_names struct store_names ids = STORE_NAMES_NONE;
	cleanup_store struct store node = STORE_NONE;
	cleanup_buf struct buf found = BUF_INIT;

	if (!store_exists(STORE_NODE, NULL))
		return 0;
	if (store_sweep(true, wait_ms, &found, e) < 0)
		return -e->no;
	if (found.data)
		take_sweep(c, found.data);
	if (store_open(&node, STORE_NODE, NULL, e) < 0 || store_list(&node, "ids", &ids, e) < 0)
		return -e->no;
	for (size_t i = 0; i < ids.len; i++)
		take_claim(c, ids.items[i]);
	return 0;
}
