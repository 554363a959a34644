// SPDX-License-Identifier: MIT
#include "state/pools.h"

#include "state/instances.h"
#include "state/tenants.h"
#include "tap.h"

static void use_tenant(void)
{
	const struct tenant_spec spec = { .id = "acme" };
	struct tenant t;
	struct err e = { 0 };
	char path[PATH_LEN];
	bool changed;

	base_cut(path, sizeof(path), "%s/state", tap_dir());
	setenv("MVM_STATE_DIR", path, 1);
	CHECK(tenants_create(&spec, false, 1000, &t, &changed, &e) == 0);
}

static void want(struct pool *p)
{
	pool_init(p, "acme", "web");
	CHECK(COPY(p->flake_ref, "/flake") == 0 && COPY(p->profile, "minimal") == 0);
}

TEST(a_record_survives_the_round_trip_with_its_egress_list)
{
	cleanup_buf struct buf text = BUF_INIT, again = BUF_INIT;
	cleanup_pool struct pool p = { 0 }, back = { 0 };
	struct err e = { 0 };

	want(&p);
	p.egress = POOL_EGRESS_ALLOW;
	struct pool_allow *a = codec_list_add(&p.egress_allow, sizeof(*a));
	*a = (struct pool_allow){ .cidr = "192.0.2.0/24", .port = 443, .proto = "tcp" };
	codec_print(pool_fields, &p, &text);
	CHECK(codec_parse(pool_fields, text.data, text.len, &back, &e) == 0);
	codec_print(pool_fields, &back, &again);
	CHECK_STR(buf_text(&again), buf_text(&text));
	CHECK(pool_check(&back, "acme", "web", &e) == 0);
	back.egress = POOL_EGRESS_OPEN;
	CHECK(pool_check(&back, "acme", "web", &e) < 0);
}

TEST(networks_of_the_egress_list_are_checked)
{
	static const char *const bad[] = { "192.0.2.1/24", "192.0.2.0/33", "192.0.2/24",
					   "host.name",	   "192.0.2.0/",   "1.2.3.4/0" };
	static const char *const good[] = { "0.0.0.0/0", "192.0.2.1", "10.0.0.0/8",
					    "192.0.2.1/32" };

	for (size_t i = 0; i < COUNT(bad) + COUNT(good); i++) {
		const char *cidr = i < COUNT(bad) ? bad[i] : good[i - COUNT(bad)];
		cleanup_free char *text = base_printf("{\"cidr\":\"%s\"}", cidr);
		struct pool_allow a = { 0 };
		struct err e = { 0 };

		CHECK((codec_parse(pool_allow_fields, text, strlen(text), &a, &e) < 0) ==
		      (i < COUNT(bad)));
	}
}

TEST(flake_references_become_absolute_by_their_words)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ ".", "/tmp" },
		{ "./a/../b", "/tmp/b" },
		{ "..", "/" },
		{ "/x/y", "/x/y" },
		{ "path:./a?dir=b", "path:/tmp/a?dir=b" },
		{ "path:/x/./y", "path:/x/y" },
		{ "github:o/r/v1", "github:o/r/v1" },
		{ "nixpkgs", "nixpkgs" },
	};
	static const char *const bad[] = { "", ".#x", "a b", "a\tb" };
	char out[1024];
	struct err e = { 0 };

	CHECK(chdir("/tmp") == 0);
	for (size_t i = 0; i < COUNT(cases); i++) {
		CHECK(pools_flake(cases[i].in, out, &e) == 0);
		CHECK_STR(out, cases[i].out);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		CHECK(pools_flake(bad[i], out, &e) < 0 && e.kind == ERR_USAGE);
}

TEST(scale_makes_the_missing_records_and_never_removes_one)
{
	cleanup_buf struct buf created = BUF_INIT;
	cleanup_pool struct pool p = { 0 }, after = { 0 };
	struct pools_scale s = { .running_given = true, .counts = { .running = 3 } };
	struct err e = { 0 };
	uint32_t missing;
	bool changed;

	use_tenant();
	want(&p);
	CHECK(pools_create(&p, false, 1000, &changed, &e) == 0 && changed);
	CHECK(pools_scale("acme", "web", &s, true, 1000, &after, &changed, &missing, &created,
			  &e) == 0);
	CHECK(changed && missing == 3 && created.len == 0);
	CHECK(pools_scale("acme", "web", &s, false, 1000, &after, &changed, &missing, &created,
			  &e) == 0);
	CHECK_INT(missing, 3);
	CHECK(pools_scale("acme", "web", &s, false, 1000, &after, &changed, &missing, &created,
			  &e) == 0);
	CHECK(!changed && missing == 0);
	s.counts.running = 1;
	CHECK(pools_scale("acme", "web", &s, false, 1000, &after, &changed, &missing, &created,
			  &e) == 0);
	CHECK(changed && missing == 0);
	CHECK_INT(after.desired_counts.running, 1);
}

TEST(an_equal_pool_is_unchanged_whatever_its_counts_and_another_is_a_conflict)
{
	cleanup_buf struct buf created = BUF_INIT;
	cleanup_pool struct pool p = { 0 }, scaled = { 0 };
	const struct pools_scale s = { .warm_given = true, .counts = { .warm = 1 } };
	struct err e = { 0 };
	uint32_t missing;
	bool changed;

	use_tenant();
	want(&p);
	CHECK(pools_create(&p, false, 1000, &changed, &e) == 0);
	CHECK(pools_scale("acme", "web", &s, false, 1000, &scaled, &changed, &missing, &created,
			  &e) == 0);
	CHECK(pools_create(&p, false, 1000, &changed, &e) == 0 && !changed);
	p.instance_resources.vcpus = 2;
	CHECK(pools_create(&p, false, 1000, &changed, &e) < 0);
	CHECK_INT(e.kind, ERR_CONFLICT);
}

TEST(a_pool_of_which_something_runs_is_not_destroyed)
{
	cleanup_store struct store is = STORE_NONE;
	cleanup_buf struct buf created = BUF_INIT;
	cleanup_pool struct pool p = { 0 };
	struct address a = { .tenant = "acme", .pool = "web", .instance = "i-00000001" };
	struct err e = { 0 };
	struct instance i;
	uint32_t made;
	bool changed;

	use_tenant();
	want(&p);
	CHECK(pools_create(&p, false, 1000, &changed, &e) == 0);
	CHECK(instances_create(&a, 1, false, 1000, &made, &created, &e) == 0);
	CHECK(store_lock(&is, STORE_INSTANCE, &a, 0, &e) == 0 &&
	      instance_load_from(&is, &a, NULL, &i, &e) == 0);
	instance_set_status(&i, INSTANCE_RUNNING);
	CHECK(instance_save(&is, &i, &e) == 0);
	store_close(&is);
	CHECK(pools_destroy("acme", "web", true, false, 1000, &e) < 0);
	CHECK_INT(e.kind, ERR_STATE);
	CHECK(store_exists(STORE_INSTANCE, &a));
	CHECK(tenants_destroy("acme", false, 1000, &e) < 0);
	CHECK_INT(e.kind, ERR_STATE);
	CHECK(store_lock(&is, STORE_INSTANCE, &a, 0, &e) == 0);
	instance_set_status(&i, INSTANCE_STOPPED);
	CHECK(instance_save(&is, &i, &e) == 0);
	store_close(&is);
	CHECK(pools_destroy("acme", "web", false, false, 1000, &e) == 0);
	CHECK(!store_exists(STORE_POOL, &a));
}
