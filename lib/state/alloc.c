// SPDX-License-Identifier: MIT
#include "state/alloc.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/num.h"
#include "state/instance.h"

#define IDS_DIR	  "ids"
#define CLAIM_MAX 256
#define TRIES	  64 // four billion ids: even the second try is rare

void alloc_free(struct alloc *m)
{
	free(m->used);
	*m = (struct alloc)ALLOC_NONE;
}

bool alloc_is_used(const struct alloc *m, uint32_t offset)
{
	return m->used[offset / 8] >> (offset % 8) & 1;
}

void alloc_mark(struct alloc *m, uint32_t offset)
{
	if (offset <= m->last)
		m->used[offset / 8] = (uint8_t)(m->used[offset / 8] | 1u << (offset % 8));
}

// A damaged record still has its address: its claim says which.
static int offset_of(const struct tenant *t, struct address *a, const char *name, uint32_t *ret,
		     struct err *e)
{
	struct address claimed;
	struct instance i;

	*ret = 0;
	if (name_check_instance(name, e) < 0 || COPY(a->instance, name) < 0)
		return err_wrap(e, "%s/%s", a->tenant, a->pool);
	if (instance_load(a, t, &i, e) == 0) {
		*ret = i.net.offset;
		return 0;
	}
	if (e->kind == ERR_MISSING) {
		err_clear(e);
		return 0;
	}
	struct err why = { 0 };
	if (e->kind != ERR_DAMAGED || alloc_find(name, &claimed, ret, &why) < 0)
		return -e->no;
	err_clear(e);
	return 0;
}

int alloc_scan(const struct tenant *t, struct alloc *ret, struct err *e)
{
	cleanup_names struct store_names pools = STORE_NAMES_NONE;
	cleanup_alloc struct alloc m = { .last = subnet_last(&t->subnet) };
	struct address a = { 0 };

	m.used = base_alloc(m.last / 8 + 1, 1);
	memcpy(a.tenant, t->tenant_id, sizeof(a.tenant));
	if (store_list_pools(t->tenant_id, &pools, e) < 0)
		return -e->no;
	for (size_t p = 0; p < pools.len; p++) {
		cleanup_names struct store_names names = STORE_NAMES_NONE;

		if (store_list_instances(t->tenant_id, pools.items[p], &names, e) < 0)
			return -e->no;
		if (COPY(a.pool, pools.items[p]) < 0)
			abort(); // both hold names
		for (size_t n = 0; n < names.len; n++) {
			uint32_t offset;

			if (offset_of(t, &a, names.items[n], &offset, e) < 0)
				return -e->no;
			alloc_mark(&m, offset);
		}
	}
	*ret = m;
	m.used = NULL;
	return 0;
}

int alloc_offset(struct alloc *m, uint32_t *ret, struct err *e)
{
	for (uint32_t o = OFFSET_FIRST; o <= m->last; o++)
		if (!alloc_is_used(m, o)) {
			alloc_mark(m, o);
			*ret = o;
			return 0;
		}
	return err_kind(e, ERR_QUOTA, "no free address: all %u of the subnet are taken",
			m->last - OFFSET_FIRST + 1);
}

static int open_ids(bool make, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;

	if (store_open(&s, STORE_NODE, NULL, e) < 0 ||
	    (make && fd_mkdir(s.dir, IDS_DIR, STORE_DIR_MODE, e) < 0))
		return -e->no;
	return fd_open_dir(s.dir, IDS_DIR, e);
}

// Written aside under a flock of its own (a sweeper that gets that lock knows that the writer is
// dead), then linked: the claim is there whole or not at all.
static int claim_once(int ids, const char *id, const char *line, struct err *e)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	cleanup_fd int fd = -1;
	char aside[64];

	if (base_fmt(aside, sizeof(aside), STORE_NEW "%s-%d", id, getpid()) < 0)
		return err_usage(e, "'%.64s' is too long", id);
	fd = fault_point("claim-create") ? -1 : openat(ids, aside, flags, STORE_FILE_MODE);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fchmod(fd, STORE_FILE_MODE) < 0)
		return err_sys(e, "create " IDS_DIR "/%s", aside);
	if (fd_write_all(fd, line, strlen(line), e) < 0) {
		(void)unlinkat(ids, aside, 0);
		return err_wrap(e, IDS_DIR "/%s", aside);
	}
	bool linked =
		!fault_point("claim-link") && fsync(fd) == 0 && linkat(ids, aside, ids, id, 0) == 0;
	int no = errno;
	(void)unlinkat(ids, aside, 0);
	errno = no;
	if (!linked)
		return err_sys(e, "claim " IDS_DIR "/%s", id);
	if (fault_point("claim-sync"))
		return err_sys(e, "sync " IDS_DIR);
	return fd_sync_dir(ids, e);
}

int alloc_claim(struct address *a, uint32_t offset, struct err *e)
{
	cleanup_fd int ids = open_ids(true, e);
	bool choose = !a->instance[0];
	char line[CLAIM_MAX];
	address_text text;

	if (ids < 0)
		return -e->no;
	for (int tries = 0; tries < TRIES; tries++) {
		if (choose && name_new_instance(a->instance, e) < 0)
			return -e->no;
		address_print(a, text);
		(void)snprintf(line, sizeof(line), "%s %u\n", text, offset);
		if (claim_once(ids, a->instance, line, e) == 0)
			return 0;
		if (e->no != EEXIST &&
		    e->no != ENOENT) // ENOENT: a sweeper was faster than our flock
			break;
		if (e->no == EEXIST && !choose)
			return err_kind(e, ERR_CONFLICT, "%s: the id is in use on this node",
					a->instance);
	}
	if (choose)
		a->instance[0] = '\0';
	return -e->no;
}

int alloc_release(const char *instance, struct err *e)
{
	cleanup_fd int ids = open_ids(false, e);

	if (ids < 0 && e->no == ENOENT) {
		err_clear(e);
		return 0;
	}
	if (ids < 0 || name_check_instance(instance, e) < 0)
		return -e->no;
	if (fault_point("claim-release") || (unlinkat(ids, instance, 0) < 0 && errno != ENOENT))
		return err_sys(e, "remove " IDS_DIR "/%s", instance);
	return fd_sync_dir(ids, e);
}

static int parse_claim(char *line, struct address *ret, uint32_t *offset, struct err *e)
{
	char *space = strchr(line, ' '), *end = strchr(line, '\n');
	uint64_t o;

	if (!space || !end || end[1] || end < space)
		return err_usage(e, "not \"ADDRESS OFFSET\"");
	*space = *end = '\0';
	if (num_u64(space + 1, 0, 0xFFFF, &o, e) < 0 ||
	    address_parse(line, ADDRESS_INSTANCE, ADDRESS_INSTANCE, ret, e) < 0)
		return -e->no;
	if (offset)
		*offset = (uint32_t)o;
	return 0;
}

int alloc_find(const char *instance, struct address *ret, uint32_t *offset, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	cleanup_fd int ids = -1;
	char said[sizeof(e->msg)];

	if (name_check_instance(instance, e) < 0)
		return -e->no;
	ids = open_ids(false, e);
	if (ids < 0 || fd_read_file(ids, instance, CLAIM_MAX, &text, e) < 0) {
		if (e->no != ENOENT)
			return -e->no;
		err_kind(e, ERR_MISSING, "%s: no such instance", instance);
		return err_object(e, "%s", instance);
	}
	if (strlen(buf_text(&text)) == text.len && text.len &&
	    parse_claim(text.data, ret, offset, e) == 0 && str_eq(ret->instance, instance))
		return 0;
	memcpy(said, e->no ? e->msg : "another instance's",
	       e->no ? sizeof(said) : sizeof("another instance's"));
	err_kind(e, ERR_DAMAGED, "%s/" IDS_DIR "/%s: damaged: %s", path_state(), instance, said);
	err_object(e, "%s", instance);
	return err_hint(e, "it holds one line, ADDRESS OFFSET; by its full address the instance is "
			   "found without it");
}

struct networks { // of the other tenants
	struct tenant *of;
	size_t len;
};

static int networks_load(const char *but, struct networks *ret, struct err *e)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	cleanup_free struct tenant *of = NULL;
	size_t len = 0;

	if (store_list_tenants(&names, e) < 0)
		return -e->no;
	of = base_alloc(names.len + 1, sizeof(*of));
	for (size_t n = 0; n < names.len; n++) {
		if (str_eq(names.items[n], but))
			continue;
		if (tenant_load(names.items[n], &of[len++], e) <
		    0) // which network it has is not known
			return err_wrap(e, "choose a network");
	}
	*ret = (struct networks){ .of = steal_ptr(&of), .len = len };
	return 0;
}

static struct subnet subnet_of_id(uint32_t id)
{
	return (struct subnet){ .base = 10u << 24 | (240 + (id >> 8)) << 16 | (id & 255) << 8,
				.prefix = 24 };
}

static const struct tenant *overlapping(const struct networks *n, const struct subnet *s)
{
	for (size_t i = 0; i < n->len; i++)
		if (subnet_overlap(&n->of[i].subnet, s))
			return &n->of[i];
	return NULL;
}

static const struct tenant *with_id(const struct networks *n, uint32_t id)
{
	for (size_t i = 0; i < n->len; i++)
		if (n->of[i].net.tenant_net_id == id)
			return &n->of[i];
	return NULL;
}

// The lowest one that is free, and whose own subnet is when that is wanted too.
static int choose_net_id(const struct networks *n, bool subnet_too, uint32_t *ret, struct err *e)
{
	for (uint32_t id = NET_ID_MIN; id < NET_ID_MAX;
	     id++) { // the last one is the hidden tenant's
		struct subnet s = subnet_of_id(id);

		if (with_id(n, id) || (subnet_too && overlapping(n, &s)))
			continue;
		*ret = id;
		return 0;
	}
	return err_kind(e, ERR_QUOTA, "no free net id: all %d are taken", NET_ID_MAX - NET_ID_MIN);
}

static int networks_check(const struct networks *n, uint32_t id, const struct subnet *s,
			  struct err *e)
{
	const struct tenant *other = with_id(n, id);
	subnet_text text;

	if (other)
		return err_kind(e, ERR_CONFLICT, "net id %u belongs to tenant %s", id,
				other->tenant_id);
	other = overlapping(n, s);
	if (!other)
		return 0;
	subnet_print(s, text);
	return err_kind(e, ERR_CONFLICT, "subnet %s overlaps %s of tenant %s", text,
			other->net.ipv4_subnet, other->tenant_id);
}

int alloc_net(const char *tenant, uint32_t *net_id, struct subnet *subnet, struct err *e)
{
	struct networks others = { 0 };
	struct subnet s = *subnet;
	uint32_t id = *net_id;

	if (networks_load(tenant, &others, e) < 0)
		return -e->no;
	cleanup_free struct tenant *held = others.of;
	if (!id && choose_net_id(&others, !s.prefix, &id, e) < 0)
		return -e->no;
	if (!s.prefix)
		s = subnet_of_id(id);
	if (networks_check(&others, id, &s, e) < 0)
		return -e->no;
	*net_id = id;
	*subnet = s;
	return 0;
}
