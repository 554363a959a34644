// SPDX-License-Identifier: MIT
#include "state/tenants.h"

#include <sys/stat.h>

#include "base/fd.h"
#include "state/node.h"
#include "tap.h"

static void use_state(void)
{
	char path[PATH_LEN];

	base_cut(path, sizeof(path), "%s/state", tap_dir());
	setenv("MVM_STATE_DIR", path, 1);
}

static int create(const char *id, uint32_t net_id, const char *subnet, struct tenant *t,
		  bool *changed, struct err *e)
{
	struct tenant_spec spec = { .id = id, .net_id = net_id };

	if (subnet && subnet_parse(subnet, &spec.subnet, e) < 0)
		return -e->no;
	return tenants_create(&spec, false, 1000, t, changed, e);
}

TEST(a_record_survives_the_round_trip)
{
	cleanup_buf struct buf text = BUF_INIT, again = BUF_INIT;
	const struct subnet s = { .base = 10u << 24 | 9u << 16, .prefix = 20 };
	struct tenant t, back = { 0 };
	struct err e = { 0 };

	tenant_init(&t, "acme");
	CHECK(tenant_set_net(&t, 7, &s, &e) == 0);
	codec_print(tenant_fields, &t, &text);
	CHECK(codec_parse(tenant_fields, text.data, text.len, &back, &e) == 0);
	codec_print(tenant_fields, &back, &again);
	CHECK_STR(buf_text(&again), buf_text(&text));
	CHECK(tenant_check(&back, "acme", &e) == 0);
	CHECK_INT(back.subnet.prefix, 20);
	CHECK_STR(back.net.gateway_ip, "10.9.0.1");
	CHECK_STR(back.net.bridge_name, "br-tenant-7");
	CHECK_INT(back.quotas.max_pools, 64);
	CHECK_INT(back.quotas.max_instances_per_pool, 1024);
}

TEST(derived_values_that_do_not_fit_are_refused)
{
	const struct subnet s = { .base = 10u << 24, .prefix = 24 };
	struct tenant good, t;
	struct err e = { 0 };

	tenant_init(&good, "acme");
	CHECK(tenant_set_net(&good, 7, &s, &e) == 0);
	t = good;
	CHECK(tenant_check(&t, "other", &e) < 0);
	t = good;
	CHECK(COPY(t.net.gateway_ip, "10.0.0.2") == 0);
	CHECK(tenant_check(&t, "acme", &e) < 0);
	CHECK_STR(e.msg, "net: gateway_ip: 10.0.0.2, must be 10.0.0.1");
	t = good;
	CHECK(COPY(t.net.bridge_name, "br-tenant-8") == 0);
	CHECK(tenant_check(&t, "acme", &e) < 0);
}

TEST(a_name_that_leads_elsewhere_makes_nothing)
{
	static const char *const bad[] = { "../x", "a/b", ".", "..", "", "A", "a--b" };
	struct tenant t;
	bool changed = false;

	use_state();
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct err e = { 0 };

		CHECK(create(bad[i], 0, NULL, &t, &changed, &e) < 0);
		CHECK_INT(e.kind, ERR_USAGE);
	}
	CHECK(!store_exists(STORE_NODE, NULL));
}

TEST(creating_twice_is_fine_and_differently_is_a_conflict)
{
	struct tenant t;
	struct err e = { 0 };
	bool changed = false;

	use_state();
	CHECK(create("acme", 9, "10.9.0.0/24", &t, &changed, &e) == 0 && changed);
	CHECK(create("acme", 9, "10.9.0.0/24", &t, &changed, &e) == 0 && !changed);
	CHECK(create("acme", 0, NULL, &t, &changed, &e) == 0 && !changed);
	CHECK(create("acme", 8, NULL, &t, &changed, &e) < 0);
	CHECK_INT(e.kind, ERR_CONFLICT);
	CHECK(create("acme", 0, "10.8.0.0/24", &t, &changed, &e) < 0);
	CHECK_INT(e.kind, ERR_CONFLICT);
}

TEST(the_deny_log_is_off_until_asked_for_and_changed_by_an_update)
{
	struct tenant_spec spec = { .id = "acme" };
	struct tenant t;
	struct err e = { 0 };
	bool changed = false;

	use_state();
	CHECK(tenants_create(&spec, false, 1000, &t, &changed, &e) == 0 && !t.net.deny_log);
	spec.deny_log = spec.given.deny_log = true;
	CHECK(tenants_create(&spec, false, 1000, &t, &changed, &e) < 0);
	CHECK_INT(e.kind, ERR_CONFLICT);
	CHECK(tenants_update(&spec, true, 1000, &t, &changed, &e) == 0 && changed);
	CHECK(tenant_load("acme", &t, &e) == 0 && !t.net.deny_log);
	CHECK(tenants_update(&spec, false, 1000, &t, &changed, &e) == 0 && changed);
	CHECK(tenants_update(&spec, false, 1000, &t, &changed, &e) == 0 && !changed);
	CHECK(tenant_load("acme", &t, &e) == 0 && t.net.deny_log);
	spec.given.deny_log = false;
	spec.deny_log = false;
	CHECK(tenants_update(&spec, false, 1000, &t, &changed, &e) == 0 && !changed);
	CHECK(t.net.deny_log);
}

TEST(a_record_of_before_there_was_a_deny_log_has_none)
{
	cleanup_buf struct buf text = BUF_INIT;
	const struct subnet s = { .base = 10u << 24, .prefix = 24 };
	struct tenant t, back = { 0 };
	struct err e = { 0 };
	char *at;

	tenant_init(&t, "acme");
	CHECK(tenant_set_net(&t, 7, &s, &e) == 0);
	codec_print(tenant_fields, &t, &text);
	at = strstr(text.data, ",\"deny_log\":false");
	CHECK(at);
	if (!at)
		return;
	memmove(at, strchr(at, '}'), strlen(strchr(at, '}')) + 1);
	CHECK(codec_parse(tenant_fields, text.data, strlen(text.data), &back, &e) == 0);
	CHECK(tenant_check(&back, "acme", &e) == 0 && !back.net.deny_log);
}

TEST(a_failure_anywhere_in_create_leaves_no_tenant_and_can_be_repeated)
{
	static const char *const points[] = { "draft-mkdir", "draft-create", "draft-write",
					      "draft-sync", "draft-rename" };
	const struct address a = { .tenant = "acme" };
	struct tenant t;
	bool changed;

	use_state();
	for (size_t i = 0; i < COUNT(points); i++) {
		struct err e = { 0 };
		char fault[64];

		base_cut(fault, sizeof(fault), "%s:err=ENOSPC", points[i]);
		setenv("MVM_FAULT", fault, 1);
		CHECK(create("acme", 0, NULL, &t, &changed, &e) < 0);
		unsetenv("MVM_FAULT");
		CHECK(!store_exists(STORE_TENANT, &a));
		CHECK_INT(e.no, ENOSPC);
	}
	struct err e = { 0 };
	CHECK(create("acme", 0, NULL, &t, &changed, &e) == 0 && changed);
}

TEST(destroy_keeps_the_audit_log_in_the_archive)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	const struct address a = { .tenant = "acme" };
	struct tenant t;
	struct err e = { 0 };
	struct stat st;
	path_text path;
	bool changed;

	use_state();
	CHECK(create("acme", 0, NULL, &t, &changed, &e) == 0);
	CHECK(store_open(&s, STORE_TENANT, &a, &e) == 0);
	CHECK(fd_replace_file(s.dir, "audit.log", "x\n", 2, 0640, &e) == 0);
	store_close(&s);
	CHECK(tenants_destroy("acme", false, 1000, &e) == 0);
	CHECK(!store_exists(STORE_TENANT, &a));
	CHECK(store_open(&s, STORE_NODE, NULL, &e) == 0);
	CHECK(store_list(&s, "archive", &names, &e) == 0);
	CHECK_INT(names.len, 1);
	base_cut(path, sizeof(path), "%s/archive/%s/audit.log", path_state(),
		 names.len ? names.items[0] : "");
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600 && st.st_size > 2);
	CHECK(tenants_destroy("acme", false, 1000, &e) < 0);
	CHECK_INT(e.kind, ERR_MISSING);
}

TEST(the_node_id_is_minted_once)
{
	node_id_text first, second;
	struct err e = { 0 };

	use_state();
	CHECK(node_id_load(first, &e) < 0);
	CHECK_INT(e.kind, ERR_MISSING);
	CHECK(node_id_ensure(NULL, 1000, first, &e) == 0);
	CHECK_INT(strlen(first), 36);
	CHECK(node_id_ensure(NULL, 1000, second, &e) == 0);
	CHECK_STR(second, first);
}

TEST(a_damaged_node_id_is_not_minted_again)
{
	cleanup_store struct store s = STORE_NONE;
	node_id_text id;
	struct err e = { 0 };

	use_state();
	CHECK(node_id_ensure(NULL, 1000, id, &e) == 0);
	CHECK(store_open(&s, STORE_NODE, NULL, &e) == 0);
	CHECK(fd_replace_file(s.dir, "node-id", "junk\n", 5, 0640, &e) == 0);
	CHECK(node_id_ensure(NULL, 1000, id, &e) < 0);
	CHECK_INT(e.kind, ERR_DAMAGED);
}
