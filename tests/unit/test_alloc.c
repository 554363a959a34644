// SPDX-License-Identifier: MIT
#include "state/alloc.h"

#include <sys/stat.h>

#include "base/fd.h"
#include "state/instances.h"
#include "state/pools.h"
#include "state/tenants.h"
#include "tap.h"

static void use_state(void)
{
	char path[PATH_LEN];

	base_cut(path, sizeof(path), "%s/state", tap_dir());
	setenv("MVM_STATE_DIR", path, 1);
}

static int tenant(const char *id, uint32_t net_id, const char *subnet, struct tenant *t,
		  struct err *e)
{
	struct tenant_spec spec = { .id = id, .net_id = net_id };
	bool changed;

	if (subnet && subnet_parse(subnet, &spec.subnet, e) < 0)
		return -e->no;
	return tenants_create(&spec, false, 1000, t, &changed, e);
}

static void pool(const char *id)
{
	struct err e = { 0 };
	struct pool p;
	bool changed;

	pool_init(&p, "acme", id);
	CHECK(COPY(p.flake_ref, "/flake") == 0 && COPY(p.profile, "minimal") == 0);
	CHECK(pools_create(&p, false, 1000, &changed, &e) == 0);
}

TEST(offsets_are_the_lowest_free_ones_and_end_before_the_broadcast)
{
	cleanup_alloc struct alloc m = ALLOC_NONE;
	struct err e = { 0 };
	struct tenant t;
	uint32_t offset;

	use_state();
	CHECK(tenant("acme", 0, "10.1.0.0/28", &t, &e) == 0);
	CHECK(alloc_scan(&t, &m, &e) == 0);
	for (uint32_t want = 3; want <= 14; want++) {
		CHECK(alloc_offset(&m, &offset, &e) == 0);
		CHECK_INT(offset, want);
	}
	CHECK(alloc_offset(&m, &offset, &e) < 0);
	CHECK_INT(e.kind, ERR_QUOTA);
}

TEST(offsets_are_unique_over_all_pools_and_freed_ones_come_again)
{
	cleanup_buf struct buf created = BUF_INIT;
	const struct address web = { .tenant = "acme", .pool = "web" },
			     db = { .tenant = "acme", .pool = "db" },
			     first = { .tenant = "acme", .pool = "web", .instance = "i-00000001" };
	struct err e = { 0 };
	struct tenant t;
	struct instance i;
	uint32_t made;

	use_state();
	CHECK(tenant("acme", 0, "10.1.0.0/16", &t, &e) == 0);
	pool("web");
	pool("db");
	CHECK(instances_create(&first, 1, false, 1000, &made, &created, &e) == 0);
	CHECK(instances_create(&db, 1, false, 1000, &made, &created, &e) == 0);
	CHECK(instances_create(&web, 300, false, 1000, &made, &created, &e) == 0);
	CHECK_INT(made, 300);
	CHECK(instances_remove(&first, false, 1000, &e) == 0);
	buf_clear(&created);
	CHECK(instances_create(&db, 2, false, 1000, &made, &created, &e) == 0);
	struct address a;
	char *end = strchr(created.data, '\n');
	*end = '\0';
	CHECK(address_parse(created.data, ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, &e) == 0);
	CHECK(instance_load(&a, &t, &i, &e) == 0);
	CHECK_INT(i.net.offset, 3);
	end[strcspn(end + 1, "\n") + 1] = '\0';
	CHECK(address_parse(end + 1, ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, &e) == 0);
	CHECK(instance_load(&a, &t, &i, &e) == 0);
	CHECK_INT(i.net.offset, 305);
	CHECK_STR(i.net.guest_ip, "10.1.1.49");
}

TEST(the_address_of_a_damaged_record_is_not_given_away)
{
	cleanup_buf struct buf created = BUF_INIT;
	cleanup_alloc struct alloc m = ALLOC_NONE;
	cleanup_store struct store s = STORE_NONE;
	const struct address a = { .tenant = "acme", .pool = "web", .instance = "i-00000001" };
	struct err e = { 0 };
	struct tenant t;
	uint32_t made, offset;

	use_state();
	CHECK(tenant("acme", 0, NULL, &t, &e) == 0);
	pool("web");
	CHECK(instances_create(&a, 1, false, 1000, &made, &created, &e) == 0);
	CHECK(store_lock(&s, STORE_INSTANCE, &a, 0, &e) == 0);
	CHECK(fd_replace_file(s.dir, INSTANCE_FILE, "", 0, 0640, &e) == 0);
	store_close(&s);
	CHECK(alloc_scan(&t, &m, &e) == 0);
	CHECK(alloc_offset(&m, &offset, &e) == 0);
	CHECK_INT(offset, 4);
	alloc_free(&m);
	CHECK(alloc_release("i-00000001", &e) == 0); // now nobody knows its address
	CHECK(alloc_scan(&t, &m, &e) < 0);
	CHECK_INT(e.kind, ERR_DAMAGED);
}

TEST(an_id_is_claimed_once_on_the_node)
{
	struct address a = { .tenant = "acme", .pool = "web", .instance = "i-00000001" },
		       b = { .tenant = "acme", .pool = "db" };
	struct address found;
	struct err e = { 0 };
	struct tenant t;
	uint32_t offset;

	use_state();
	CHECK(tenant("acme", 0, NULL, &t, &e) == 0);
	CHECK(alloc_claim(&a, 9, &e) == 0);
	CHECK(alloc_claim(&a, 9, &e) < 0 && e.kind == ERR_CONFLICT);
	CHECK(alloc_claim(&b, 10, &e) == 0);
	CHECK(str_starts(b.instance, "i-") && strlen(b.instance) == 10);
	CHECK(alloc_find("i-00000001", &found, &offset, &e) == 0);
	CHECK_STR(found.pool, "web");
	CHECK_INT(offset, 9);
	CHECK(alloc_release("i-00000001", &e) == 0 && alloc_release("i-00000001", &e) == 0);
	CHECK(alloc_find("i-00000001", &found, NULL, &e) < 0 && e.kind == ERR_MISSING);
}

TEST(a_damaged_claim_is_told_and_never_trusted)
{
	static const char *const bad[] = { "",
					   "acme/web/i-00000001",
					   "acme/web/i-00000001 3",
					   "acme/web/i-00000002 3\n",
					   "../x/i-00000001 3\n",
					   "acme/web/i-00000001 03\n",
					   "acme/web/i-00000001 3\n\n" };
	struct address found;
	struct tenant t;
	struct err e = { 0 };
	path_text path;

	use_state();
	CHECK(tenant("acme", 0, NULL, &t, &e) == 0);
	base_cut(path, sizeof(path), "%s/ids", path_state());
	CHECK(mkdir(path, 0700) == 0);
	cleanup_fd int ids = fd_open_dir(-1, path, &e);
	for (size_t i = 0; i < COUNT(bad); i++) {
		err_clear(&e);
		CHECK(fd_replace_file(ids, "i-00000001", bad[i], strlen(bad[i]), 0640, &e) == 0);
		CHECK(alloc_find("i-00000001", &found, NULL, &e) < 0);
		CHECK_INT(e.kind, ERR_DAMAGED);
	}
}

TEST(networks_are_chosen_without_overlap_and_checked_when_given)
{
	struct err e = { 0 };
	struct tenant t;

	use_state();
	CHECK(tenant("a", 0, NULL, &t, &e) == 0);
	CHECK_INT(t.net.tenant_net_id, 1);
	CHECK_STR(t.net.ipv4_subnet, "10.240.1.0/24");
	CHECK(tenant("b", 0, "10.240.2.0/23", &t, &e) == 0); // takes the subnets of 2 and 3
	CHECK_INT(t.net.tenant_net_id, 2);
	CHECK(tenant("c", 0, NULL, &t, &e) == 0);
	CHECK_INT(t.net.tenant_net_id, 4);
	CHECK(tenant("d", 1, "10.9.0.0/24", &t, &e) < 0 && e.kind == ERR_CONFLICT);
	CHECK(tenant("d", 9, "10.240.0.0/16", &t, &e) < 0 && e.kind == ERR_CONFLICT);
	CHECK(strstr(e.msg, "overlaps 10.240.1.0/24 of tenant a") != NULL);
	CHECK(tenant("d", 4092, NULL, &t, &e) == 0);
	CHECK_STR(t.net.ipv4_subnet, "10.255.252.0/24");
	CHECK(tenant("e", 4093, NULL, &t, &e) < 0 && e.kind == ERR_USAGE);
	CHECK(tenant("dev", 4093, NULL, &t, &e) == 0);
}
