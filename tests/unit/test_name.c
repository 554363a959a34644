// SPDX-License-Identifier: MIT
#include "base/name.h"

#include "tap.h"

TEST(tenant_and_pool_ids_follow_the_rule)
{
	static const char *const good[] = {
		"a", "7", "acme", "a-b", "a-b-c", "0a9", "abcdefghijabcdefghijabcdefghijabcdefghij",
	};
	static const char *const bad[] = {
		"",
		"-",
		"-a",
		"a-",
		"a--b",
		"A",
		"a_b",
		"a.b",
		"a b",
		"a/b",
		".",
		"..",
		"a\n",
		"\xc3\xa9",
		"acme!",
		"a\x7f",
		"abcdefghijabcdefghijabcdefghijabcdefghijk",
	};
	struct err e = { 0 };

	for (size_t i = 0; i < COUNT(good); i++)
		CHECK_INT(name_check(good[i], &e), 0);
	for (size_t i = 0; i < COUNT(bad); i++) {
		CHECK_INT(name_check(bad[i], &e), -EINVAL);
		CHECK_INT(e.kind, ERR_USAGE);
	}
	(void)!name_check("A", &e);
	CHECK_STR(e.msg, "'A' is not a name (a-z, 0-9 and single '-' inside, at most 40)");
}

TEST(instance_ids_are_i_and_eight_hex_digits)
{
	static const char *const bad[] = {
		"",	      "i-",	  "i-a3f7b2c",	"i-a3f7b2c1d",
		"i-A3f7b2c1", "a3f7b2c1", "j-a3f7b2c1", "i-a3f7b2cg",
	};
	instance_text a, b;
	struct err e = { 0 };

	CHECK_INT(name_check_instance("i-a3f7b2c1", &e), 0);
	for (size_t i = 0; i < COUNT(bad); i++)
		CHECK_INT(name_check_instance(bad[i], &e), -EINVAL);
	CHECK_INT(name_new_instance(a, &e), 0);
	CHECK_INT(name_new_instance(b, &e), 0);
	CHECK_INT(name_check_instance(a, &e), 0);
	CHECK(!str_eq(a, b));
}

TEST(addresses_have_one_to_three_parts)
{
	static const struct {
		const char *in;
		enum address_depth min, max;
		const char *says;
	} cases[] = {
		{ "acme", 1, 3, NULL },
		{ "acme/web", 1, 3, NULL },
		{ "acme/web/i-00000001", 3, 3, NULL },
		{ "acme", 2, 3, "'acme' is not TENANT/POOL" },
		{ "acme/web", 3, 3, "'acme/web' is not TENANT/POOL/INSTANCE" },
		{ "acme/web", 1, 1, "'acme/web' has more parts than TENANT" },
		{ "acme/web/i-00000001", 1, 2,
		  "'acme/web/i-00000001' has more parts than TENANT/POOL" },
		{ "a/b/i-00000001/x", 1, 3,
		  "'a/b/i-00000001/x' has more parts than TENANT/POOL/INSTANCE" },
		{ "a/", 1, 3,
		  "'a/': '' is not a name (a-z, 0-9 and single '-' inside, at most 40)" },
		{ "/a", 1, 3,
		  "'/a': '' is not a name (a-z, 0-9 and single '-' inside, at most 40)" },
		{ "a/b/c", 1, 3, "'a/b/c': 'c' is not an instance id (i- and 8 hex digits)" },
		{ "a/b/i-000000012", 1, 3, "'a/b/i-000000012': a part is longer than 10" },
		{ "", 1, 3, "'' is not a name (a-z, 0-9 and single '-' inside, at most 40)" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct address a = { 0 };
		struct err e = { 0 };
		address_text text;
		int rc = address_parse(cases[i].in, cases[i].min, cases[i].max, &a, &e);

		CHECK_INT(rc, cases[i].says ? -EINVAL : 0);
		CHECK_STR(e.msg, cases[i].says ? cases[i].says : "");
		address_print(&a, text);
		CHECK_STR(text,
			  cases[i].says ? "" : cases[i].in); // round trip, untouched on failure
	}
}

TEST(subnets_are_16_to_28_without_host_bits)
{
	static const struct {
		const char *in;
		uint32_t last;
	} good[] = {
		{ "10.20.0.0/24", 254 },      { "10.0.0.0/16", 65534 }, { "192.168.1.240/28", 14 },
		{ "172.16.128.0/17", 32766 }, { "0.0.0.0/16", 65534 },
	};
	static const struct {
		const char *in, *says;
	} bad[] = {
		{ "10.20.0.0", "'10.20.0.0' is not a subnet like 10.20.0.0/24" },
		{ "10.20.0/24", "'10.20.0/24' is not a subnet like 10.20.0.0/24" },
		{ "10.20.0.0.0/24", "'10.20.0.0.0/24' is not a subnet like 10.20.0.0/24" },
		{ "10.20.0.256/24", "'10.20.0.256/24' is not a subnet like 10.20.0.0/24" },
		{ "10.020.0.0/24", "'10.020.0.0/24' is not a subnet like 10.20.0.0/24" },
		{ "10.20.0.0/", "'10.20.0.0/' is not a subnet like 10.20.0.0/24" },
		{ "10.20.0.0/024", "'10.20.0.0/024' is not a subnet like 10.20.0.0/24" },
		{ "10.20.0.0/24 ", "'10.20.0.0/24 ' is not a subnet like 10.20.0.0/24" },
		{ "1000.20.0.0/24", "'1000.20.0.0/24' is not a subnet like 10.20.0.0/24" },
		{ "10.20.0.0/33", "'10.20.0.0/33' is not a subnet like 10.20.0.0/24" },
		{ "10.0.0.0/15", "10.0.0.0/15: the prefix is outside /16../28" },
		{ "10.0.0.0/29", "10.0.0.0/29: the prefix is outside /16../28" },
		{ "10.20.0.1/24", "10.20.0.1/24: bits are set behind the prefix" },
		{ "10.20.1.0/23", "10.20.1.0/23: bits are set behind the prefix" },
	};
	struct subnet s;
	struct err e = { 0 };
	subnet_text text;

	for (size_t i = 0; i < COUNT(good); i++) {
		CHECK_INT(subnet_parse(good[i].in, &s, &e), 0);
		subnet_print(&s, text);
		CHECK_STR(text, good[i].in);
		CHECK_INT(subnet_last(&s), good[i].last);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		CHECK_INT(subnet_parse(bad[i].in, &s, &e), -EINVAL);
		CHECK_STR(e.msg, bad[i].says);
	}
}

TEST(overlap_and_offsets)
{
	struct subnet a, b, c;
	struct err e = { 0 };
	uint32_t ip;
	ip_text text;

	CHECK(subnet_parse("10.20.0.0/16", &a, &e) == 0 &&
	      subnet_parse("10.20.7.0/24", &b, &e) == 0 &&
	      subnet_parse("10.21.0.0/24", &c, &e) == 0);
	CHECK(subnet_overlap(&a, &b) && subnet_overlap(&b, &a) && subnet_overlap(&a, &a));
	CHECK(!subnet_overlap(&a, &c) && !subnet_overlap(&c, &b));
	subnet_ip(&b, OFFSET_GATEWAY, text);
	CHECK_STR(text, "10.20.7.1");
	subnet_ip(&a, 65534, text);
	CHECK_STR(text, "10.20.255.254");
	CHECK_INT(ip_parse("10.20.7.1", &ip, &e), 0);
	CHECK_INT(ip, 0x0A140701);
	CHECK_INT(ip_parse("255.255.255.255", &ip, &e), 0);
	CHECK_INT(ip_parse("10.20.7.1/24", &ip, &e), -EINVAL);
	CHECK_INT(ip_parse("10.20.7", &ip, &e), -EINVAL);
	CHECK_INT(ip_parse("10.20.7.1 ", &ip, &e), -EINVAL);
}

TEST(derived_names_are_formulas)
{
	char table[16], bridge[16], tap[16];
	mac_text mac;

	name_bridge(1, bridge);
	CHECK_STR(bridge, "br-tenant-1");
	name_bridge(4093, bridge);
	CHECK_STR(bridge, "br-tenant-4093");
	name_tap(4093, 65534, tap);
	CHECK_STR(tap, "tn4093i65534");
	name_mac(0x0abc, 0x1234, mac);
	CHECK_STR(mac, "02:fc:0a:bc:12:34");
	name_mac(1, 3, mac);
	CHECK_STR(mac, "02:fc:00:01:00:03");
	name_table(42, table);
	CHECK_STR(table, "mvm-42");
	CHECK_INT(name_uid(1, 3), 0x70010003);
	CHECK_INT(name_uid(4093, 65535), 0x70000000 + 4093 * 65536LL + 65535);
}

TEST(derived_names_are_read_back)
{
	static const char *const not_taps[] = {
		"tn0i3", "tn4094i3", "tn1i65536", "tn01i3", "tn1i03", "tn1i", "tni3",
		"tn1",	 "tap1i3",   "i",	  "tn1i3x", "tn1 i3", "",
	};
	static const char *const not_bridges[] = { "br-tenant-",
						   "br-tenant-0",
						   "br-tenant-4094",
						   "br-tenant-01",
						   "br-tenant-1x",
						   "br0",
						   "" };
	uint32_t net_id, offset;

	for (size_t i = 0; i < COUNT(not_taps); i++)
		CHECK(!name_is_tap(not_taps[i], &net_id, &offset));
	for (size_t i = 0; i < COUNT(not_bridges); i++)
		CHECK(!name_is_bridge(not_bridges[i], &net_id));
	CHECK(!name_is_table("mvm-x", &net_id) && !name_is_table("mvm-", &net_id));
	for (uint32_t id = NET_ID_MIN; id <= NET_ID_MAX; id += 31)
		for (uint32_t at = 0; at <= 65535; at += 4369) {
			char text[16];

			name_bridge(id, text);
			CHECK(name_is_bridge(text, &net_id) && net_id == id);
			name_table(id, text);
			CHECK(name_is_table(text, &net_id) && net_id == id);
			name_tap(id, at, text);
			CHECK(name_is_tap(text, &net_id, &offset) && net_id == id && offset == at);
		}
}

TEST(escaping_is_what_systemd_escape_path_does)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "smoke-test/workers/i-a3f7b2c1", "smoke\\x2dtest-workers-i\\x2da3f7b2c1" },
		{ "acme", "acme" },
		{ "acme/web", "acme-web" },
		{ "a-b/c", "a\\x2db-c" },
		{ "/", "-" },
		{ "//", "-" },
		{ "/foo//bar/", "foo-bar" },
		{ ".foo/.bar", "\\x2efoo-.bar" },
		{ "a:b_c.d", "a:b_c.d" },
		{ "a b\\c", "a\\x20b\\x5cc" },
		{ "\xc3\xa9", "\\xc3\\xa9" },
	};
	char escaped[256], back[256];
	struct err e = { 0 };

	for (size_t i = 0; i < COUNT(cases); i++) {
		name_escape(cases[i].in, escaped);
		CHECK_STR(escaped, cases[i].out);
		CHECK_INT(name_unescape(escaped, back, sizeof(back), &e), 0);
		if (i < 5 || i > 6) // repeated and outer slashes are gone
			CHECK_STR(back, cases[i].in);
	}
}

TEST(unescaping_refuses_what_no_escaper_writes)
{
	static const char *const bad[] = { "\\",    "\\x",   "\\x2", "\\xzz",
					   "\\x00", "\\X2d", "\\n",  "a\\x2D" };
	char out[8];
	struct err e = { 0 };

	for (size_t i = 0; i < COUNT(bad); i++)
		CHECK_INT(name_unescape(bad[i], out, sizeof(out), &e), -EINVAL);
	CHECK_INT(name_unescape("1234567", out, sizeof(out), &e), 0);
	CHECK_INT(name_unescape("12345678", out, sizeof(out), &e), -EINVAL);
}

TEST(the_longest_unit_name_fits)
{
	struct address a = { .instance = "i-00000001" };
	char unit[256];

	for (size_t i = 0; i < NAME_MAX_LEN; i++) // as many '-' as the rule allows
		a.tenant[i] = a.pool[i] = i % 2 && i < NAME_MAX_LEN - 1 ? '-' : 'a';
	name_unit(&a, unit);
	CHECK(strlen(unit) <= 255);
	CHECK(str_starts(unit, "mvm-instance@a\\x2da") && str_ends(unit, "\\x2d00000001.service"));
}
