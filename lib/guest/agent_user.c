// SPDX-License-Identifier: MIT
// Who a command runs as. What was found last is kept while /etc/passwd and /etc/group stay as they
// are: the libraries read them anew each time, which takes longer than the start of a small
// command.
#include "guest/agent_core.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <time.h>

#include "base/num.h"

#define SETTLED_S 2 // a file younger than that may change once more without looking different

static int find_group(const char *group, gid_t *out, struct err *e)
{
	const struct group *g = getgrnam(group);
	struct err ignored = { 0 };
	uint64_t id;

	if (g)
		*out = g->gr_gid;
	else if (num_u64(group, 0, UINT32_MAX - 1, &id, &ignored) == 0)
		*out = (gid_t)id;
	else
		return err_kind(e, ERR_MISSING, "no group '%s' in the guest", group);
	return 0;
}

// USER, UID, USER:GROUP, UID:GID; a number needs no entry in /etc/passwd.
static int look_up(const char *user, struct spawn_user *out, struct err *e)
{
	char name[GUEST_TEXT];
	const struct passwd *pw;
	const char *group = strchr(user, ':');
	struct err ignored = { 0 };
	uint64_t id = geteuid();

	*out = (struct spawn_user){ .home = "/", .group_count = 1 };
	if (base_fmt(name, sizeof(name), "%.*s", (int)strcspn(user, ":"), user) < 0)
		return err_kind(e, ERR_USAGE, "user: too long");
	pw = name[0] ? getpwnam(name) : getpwuid(geteuid());
	if (!pw && num_u64(name, 0, UINT32_MAX - 1, &id, &ignored) < 0 && name[0])
		return err_kind(e, ERR_MISSING, "no user '%s' in the guest", name);
	if (!pw && name[0])
		pw = getpwuid((uid_t)id);
	out->uid = pw ? pw->pw_uid : (uid_t)id;
	out->gid = pw ? pw->pw_gid : (gid_t)id;
	if (pw && (COPY(out->name, pw->pw_name) < 0 || COPY(out->home, pw->pw_dir) < 0 ||
		   COPY(out->shell, pw->pw_shell) < 0))
		return err_set(e, ENAMETOOLONG, "user %s", name);
	if (group && find_group(group + 1, &out->gid, e) < 0)
		return -e->no;
	out->groups[0] = out->gid;
	if (pw && !group) {
		out->group_count = COUNT(out->groups);
		if (getgrouplist(out->name, out->gid, out->groups, &out->group_count) < 0)
			return err_set(e, E2BIG, "user %s is in too many groups", name);
	}
	return 0;
}

struct look { // of a file, or of its absence
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec changed;
};

// False: it was changed just now, by the clock that gave it its time.
static bool look_at(const char *path, struct look *out)
{
	struct timespec now = { 0 };
	struct stat st;

	*out = (struct look){ 0 };
	if (stat(path, &st) < 0)
		return errno == ENOENT;
	*out = (struct look){ st.st_dev, st.st_ino, st.st_size, st.st_ctim };
	(void)clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec - st.st_ctim.tv_sec > SETTLED_S;
}

static bool same(const struct look *a, const struct look *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

int agent_spawn_find_user(const char *user, struct spawn_user *out, struct err *e)
{
	static struct {
		bool valid;
		char user[GUEST_TEXT];
		struct look passwd, group;
		struct spawn_user found;
	} kept;
	struct look passwd, group;
	bool settled = look_at("/etc/passwd", &passwd);

	settled &= look_at("/etc/group", &group);
	if (kept.valid && str_eq(kept.user, user) && same(&kept.passwd, &passwd) &&
	    same(&kept.group, &group)) {
		*out = kept.found;
		return 0;
	}
	kept.valid = false;
	if (look_up(user, out, e) < 0)
		return -e->no;
	if (settled && COPY(kept.user, user) == 0) {
		kept.passwd = passwd;
		kept.group = group;
		kept.found = *out;
		kept.valid = true;
	}
	return 0;
}
