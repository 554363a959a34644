// SPDX-License-Identifier: MIT
// Where the node's key comes from.
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/sha256.h"
#include "disk/seal.h"
#include "state/store.h"

#define KEY_FILE   "secrets.key"
#define CREDENTIAL "mvm-key"

void seal_forget(struct seal_key *k)
{
	explicit_bzero(k, sizeof(*k));
}

void seal_key_id(struct seal_key *k)
{
	static const char use[] = "mvm key id 1";
	uint8_t digest[32];
	struct sha256 s;

	sha256_begin(&s);
	sha256_add(&s, use, sizeof(use));
	sha256_add(&s, k->key, SEAL_KEY);
	sha256_end(&s, digest);
	memcpy(k->id, digest, SEAL_ID);
}

static int check_file(const char *path, const struct stat *st, struct err *e)
{
	const char *why = NULL;

	if (!S_ISREG(st->st_mode) || st->st_nlink != 1)
		why = "is not a plain file";
	else if (st->st_uid != geteuid())
		why = "belongs to somebody else";
	else if (st->st_mode & 0377)
		why = "is not of mode 0400";
	if (!why)
		return 0;
	(void)err_kind(e, ERR_DENIED, "the key %s %s", path, why);
	return err_hint(e, "its owner has to be root alone, its mode 0400");
}

static int read_key(int dir, const char *name, const char *path, struct seal_key *k, struct err *e)
{
	cleanup_fd int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	uint8_t more;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open the key %s", path);
	if (check_file(path, &st, e) < 0)
		return -e->no;
	if (read(fd, k->key, SEAL_KEY) != (ssize_t)SEAL_KEY || read(fd, &more, 1) != 0)
		return err_kind(e, ERR_DAMAGED, "the key %s has to have %u bytes", path, SEAL_KEY);
	seal_key_id(k);
	return 0;
}

static int load_from(const char *dir_path, const char *name, struct seal_key *k, struct err *e)
{
	cleanup_fd int dir = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	path_text path;

	path_join(path, dir_path, name);
	return dir < 0 ? err_sys(e, "open the key %s", path) : read_key(dir, name, path, k, e);
}

// Whoever gets the lock first makes it; the others find it.
static int make_key(struct seal_key *k, int wait_ms, struct err *e)
{
	cleanup_store struct store node = STORE_NONE;
	int r;

	if (store_lock(&node, STORE_NODE, NULL, wait_ms, e) < 0)
		return -e->no;
	r = load_from(path_state(), KEY_FILE, k, e);
	if (r == 0 || e->kind != ERR_MISSING)
		return r;
	err_clear(e);
	if (getrandom(k->key, SEAL_KEY, 0) != (ssize_t)SEAL_KEY)
		return err_sys(e, "random numbers");
	if (fault_point("seal-key"))
		return err_sys(e, "write %s", KEY_FILE);
	if (fd_replace_file(node.dir, KEY_FILE, k->key, SEAL_KEY, 0400, e) < 0)
		return -e->no;
	seal_key_id(k);
	return 0;
}

static int missing_key(struct err *e)
{
	err_clear(e);
	(void)err_kind(e, ERR_DENIED, "the key %s/" KEY_FILE " is missing", path_state());
	return err_hint(e, "put it back, or give it as the credential " CREDENTIAL);
}

int seal_key_load(struct seal_key *k, bool make, int wait_ms, struct err *e)
{
	const char *given = getenv("CREDENTIALS_DIRECTORY");
	int r;

	if (given && given[0] == '/' && strlen(given) < PATH_LEN / 2) {
		r = load_from(given, CREDENTIAL, k, e);
		if (r == 0 || e->kind != ERR_MISSING)
			return r;
		err_clear(e); // there are only credentials of other names
	}
	r = load_from(path_state(), KEY_FILE, k, e);
	if (r == 0 || e->kind != ERR_MISSING)
		return r;
	err_clear(e);
	return make ? make_key(k, wait_ms, e) : missing_key(e);
}
