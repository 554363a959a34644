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
	p.bandwidth = (struct pool_bandwidth){ 64, POOL_KBIT_MAX };
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
					   "host.name",	   "192.0.2.0/",   "1.2.3.4/0",
					   "10.0.0.0/08",  "10.0.0.0/8/8", "10.0.0.0/-1" };
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

static int check_entry(const char *cidr, struct err *e)
{
	cleanup_pool struct pool p = { 0 };
	struct pool_allow *a;

	pool_init(&p, "acme", "web");
	p.egress = POOL_EGRESS_ALLOW;
	a = codec_list_add(&p.egress_allow, sizeof(*a));
	CHECK(COPY(a->cidr, cidr) == 0);
	return pool_check(&p, "acme", "web", e);
}

TEST(no_way_out_leads_to_what_is_not_outside)
{
	static const char *const bad[] = { "169.254.169.254", "169.254.0.0/16", "169.254.8.0/24",
					   "169.0.0.0/8",     "128.0.0.0/1",	"127.0.0.1/32",
					   "127.0.0.0/8",     "0.0.0.0/8",	"0.1.0.0/16",
					   "0.0.0.0/1",	      "224.0.0.1",	"224.0.0.0/3",
					   "239.255.255.250", "240.0.0.0/4",	"255.255.255.255" };
	static const char *const good[] = { "1.0.0.0/8",      "126.0.0.0/8",	"128.0.0.0/8",
					    "169.253.0.0/16", "169.255.0.0/16", "223.0.0.0/8",
					    "10.0.0.0/8",     "64.0.0.0/3" };
	struct err e = { 0 };

	for (size_t i = 0; i < COUNT(bad); i++) {
		CHECK(check_entry(bad[i], &e) < 0 && e.kind == ERR_USAGE);
		CHECK(strstr(e.msg, " overlaps "));
	}
	for (size_t i = 0; i < COUNT(good); i++)
		CHECK(check_entry(good[i], &e) == 0);
}

TEST(everything_is_no_entry_of_a_list)
{
	struct err e = { 0 };

	CHECK(check_entry("0.0.0.0/0", &e) < 0);
	CHECK_INT(e.kind, ERR_USAGE);
	CHECK_STR(e.msg, "egress_allow: 0.0.0.0/0 is everything");
	CHECK_STR(e.hint, "use --egress open");
}

TEST(a_way_out_is_read_as_people_write_it)
{
	static const struct {
		const char *word, *cidr;
		uint32_t port;
		const char *proto;
	} good[] = {
		{ "192.0.2.0/24", "192.0.2.0/24", 0, "" },
		{ "192.0.2.1", "192.0.2.1", 0, "" },
		{ "192.0.2.0/24:53", "192.0.2.0/24", 53, "" },
		{ "192.0.2.1:65535/udp", "192.0.2.1", 65535, "udp" },
	};
	static const char *const bad[] = { "192.0.2.1:0",
					   "192.0.2.1:65536",
					   "192.0.2.1:",
					   "192.0.2.1:x",
					   "192.0.2.1:080",
					   "192.0.2.1:80/",
					   "192.0.2.1:80/icmp",
					   "192.0.2.1:80:90",
					   "192.0.2.192.0.2.0.0/24",
					   "192.0.2.1:10000000000000000" };
	struct err e = { 0 };

	for (size_t i = 0; i < COUNT(good); i++) {
		struct pool_allow a;

		CHECK(pool_allow_parse(good[i].word, &a, &e) == 0);
		CHECK_STR(a.cidr, good[i].cidr);
		CHECK_STR(a.proto, good[i].proto);
		CHECK_INT(a.port, good[i].port);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct pool_allow a = { .port = 7 };

		CHECK(pool_allow_parse(bad[i], &a, &e) < 0 && e.kind == ERR_USAGE);
		CHECK(a.port == 7 && !a.cidr[0]);
	}
}

TEST(a_limit_is_none_or_one_that_can_be_kept)
{
	static const struct {
		uint32_t kbit;
		bool good;
	} cases[] = {
		{ 0, true }, { 1, false }, { 63, false }, { 64, true }, { POOL_KBIT_MAX, true }
	};
	struct err e = { 0 };

	for (size_t i = 0; i < COUNT(cases); i++) {
		cleanup_pool struct pool p = { 0 };

		pool_init(&p, "acme", "web");
		p.bandwidth.ingress_kbit = cases[i].kbit;
		CHECK((pool_check(&p, "acme", "web", &e) == 0) == cases[i].good);
		p.bandwidth = (struct pool_bandwidth){ .egress_kbit = cases[i].kbit };
		CHECK((pool_check(&p, "acme", "web", &e) == 0) == cases[i].good);
	}
}

TEST(a_record_of_before_there_were_limits_has_none)
{
	cleanup_buf struct buf text = BUF_INIT;
	cleanup_pool struct pool p = { 0 }, back = { 0 };
	struct err e = { 0 };
	char *from, *to;

	want(&p);
	p.bandwidth.ingress_kbit = 64;
	codec_print(pool_fields, &p, &text);
	from = strstr(text.data, "\"bandwidth\":");
	to = from ? strstr(from, "},") : NULL;
	CHECK(to);
	if (!to)
		return;
	memmove(from, to + 2, strlen(to + 2) + 1);
	CHECK(codec_parse(pool_fields, text.data, strlen(text.data), &back, &e) == 0);
	CHECK(back.bandwidth.ingress_kbit == 0 && back.bandwidth.egress_kbit == 0);
	CHECK(pool_check(&back, "acme", "web", &e) == 0);
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

TEST(an_update_changes_what_is_given_and_nothing_else)
{
	cleanup_pool struct pool p = { 0 }, after = { 0 }, stored = { 0 };
	struct pools_change c = { .given = { .egress_kbit = true, .pinned = true } };
	struct err e = { 0 };
	bool changed;

	use_tenant();
	want(&p);
	p.bandwidth.ingress_kbit = 100;
	p.metadata_enabled = true;
	CHECK(pools_create(&p, false, 1000, &changed, &e) == 0);
	c.to.bandwidth.egress_kbit = 200;
	c.to.pinned = true;
	CHECK(pools_update("acme", "web", &c, true, 1000, &after, &changed, &e) == 0 && changed);
	CHECK_INT(after.bandwidth.egress_kbit, 200);
	CHECK(pool_load("acme", "web", &stored, &e) == 0);
	CHECK_INT(stored.bandwidth.egress_kbit, 0);
	CHECK(pools_update("acme", "web", &c, false, 1000, &after, &changed, &e) == 0 && changed);
	CHECK(pool_load("acme", "web", &stored, &e) == 0);
	CHECK(stored.bandwidth.egress_kbit == 200 && stored.bandwidth.ingress_kbit == 100);
	CHECK(stored.pinned && stored.metadata_enabled && stored.egress == POOL_EGRESS_OPEN);
	CHECK_INT(stored.runtime.start_timeout_s, 60);
	CHECK(pools_update("acme", "web", &c, false, 1000, &after, &changed, &e) == 0 && !changed);
	CHECK(pools_update("acme", "db", &c, false, 1000, &after, &changed, &e) < 0);
	CHECK_INT(e.kind, ERR_MISSING);
}

TEST(an_update_replaces_the_list_and_another_egress_drops_it)
{
	cleanup_pool struct pool p = { 0 }, a1 = { 0 }, a2 = { 0 }, a3 = { 0 };
	struct pool_allow ways[] = { { .cidr = "192.0.2.0/24" }, { .cidr = "10.0.0.0/8" } };
	struct pools_change c = { .given = { .egress = true, .egress_allow = true } };
	struct err e = { 0 };
	bool changed;

	use_tenant();
	want(&p);
	CHECK(pools_create(&p, false, 1000, &changed, &e) == 0);
	c.to.egress = POOL_EGRESS_ALLOW;
	c.to.egress_allow = (struct codec_list){ ways, 2 };
	CHECK(pools_update("acme", "web", &c, false, 1000, &a1, &changed, &e) == 0 && changed);
	CHECK_INT(a1.egress_allow.len, 2);
	c.to.egress_allow = (struct codec_list){ ways + 1, 1 };
	CHECK(pools_update("acme", "web", &c, false, 1000, &a2, &changed, &e) == 0 && changed);
	CHECK_INT(a2.egress_allow.len, 1);
	CHECK_STR(((struct pool_allow *)a2.egress_allow.items)->cidr, "10.0.0.0/8");
	c.to.egress_allow = (struct codec_list){ &(struct pool_allow){ .cidr = "127.0.0.1" }, 1 };
	CHECK(pools_update("acme", "web", &c, false, 1000, &a3, &changed, &e) < 0);
	CHECK_INT(e.kind, ERR_USAGE);
	c = (struct pools_change){ .given = { .egress = true },
				   .to = { .egress = POOL_EGRESS_NONE } };
	CHECK(pools_update("acme", "web", &c, false, 1000, &a3, &changed, &e) == 0 && changed);
	CHECK(a3.egress == POOL_EGRESS_NONE && a3.egress_allow.len == 0);
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
