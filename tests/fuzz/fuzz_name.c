// SPDX-License-Identifier: MIT
// What a name parser takes, its printer gives back; what is refused says so as misuse.
#include "base/name.h"

#include "base/clock.h"
#include "base/num.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void addresses(const char *s)
{
	struct address a, b;
	struct err e = { 0 };
	address_text text;
	char escaped[256], back[256], unit[256];

	if (address_parse(s, ADDRESS_TENANT, ADDRESS_INSTANCE, &a, &e) < 0) {
		must(e.kind == ERR_USAGE);
		return;
	}
	address_print(&a, text);
	must(str_eq(text, s));
	must(address_parse(text, ADDRESS_TENANT, ADDRESS_INSTANCE, &b, &e) == 0);
	name_escape(text, escaped);
	must(strspn(escaped, "abcdefghijklmnopqrstuvwxyz0123456789-\\") == strlen(escaped));
	must(name_unescape(escaped, back, sizeof(back), &e) == 0 && str_eq(back, text));
	name_unit(&a, unit);
	must(strlen(unit) <= 255);
}

static void networks(const char *s)
{
	uint32_t net_id, offset, ip;
	struct subnet net;
	struct err e = { 0 };
	char text[32];

	if (subnet_parse(s, &net, &e) == 0) {
		subnet_print(&net, text);
		must(str_eq(text, s));
		must(net.base + subnet_last(&net) >= net.base && subnet_overlap(&net, &net));
	}
	if (ip_parse(s, &ip, &e) == 0) {
		subnet_ip(&(struct subnet){ .base = ip, .prefix = 16 }, 0, text);
		must(str_eq(text, s));
	}
	if (name_is_bridge(s, &net_id)) {
		name_bridge(net_id, text);
		must(str_eq(text, s));
	}
	if (name_is_tap(s, &net_id, &offset)) {
		name_tap(net_id, offset, text);
		must(str_eq(text, s));
	}
	if (name_is_table(s, &net_id)) {
		name_table(net_id, text);
		must(str_eq(text, s));
	}
}

static void numbers(const char *s)
{
	struct err e = { 0 };
	char text[32];
	uint64_t v;
	int64_t t;

	if (num_u64(s, 0, UINT64_MAX, &v, &e) == 0) {
		base_cut(text, sizeof(text), "%llu", (unsigned long long)v);
		must(str_eq(text, s));
	}
	if (num_duration_ms(s, 1 << 30, &v, &e) == 0)
		must(v <= 1 << 30);
	(void)!clock_parse_utc(s, &t, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *s = base_alloc(size + 1, 1);
	struct err e = { 0 };
	char out[64];

	if (size)
		memcpy(s, data, size);
	addresses(s);
	networks(s);
	numbers(s);
	(void)!name_unescape(s, out, sizeof(out), &e);
	return 0;
}
