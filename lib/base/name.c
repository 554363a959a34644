// SPDX-License-Identifier: MIT
#include "base/name.h"

#include <assert.h>
#include <sys/random.h>

#include "base/num.h"

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

int name_check(const char *s, struct err *e)
{
	size_t len = strlen(s);
	bool ok = len > 0 && len <= NAME_MAX_LEN && is_alnum(s[0]) && is_alnum(s[len - 1]);

	for (size_t i = 0; ok && i < len; i++)
		ok = is_alnum(s[i]) || (s[i] == '-' && s[i + 1] != '-');
	if (ok)
		return 0;
	return err_usage(e, "'%.64s' is not a name (a-z, 0-9 and single '-' inside, at most %d)", s,
			 NAME_MAX_LEN);
}

int name_check_instance(const char *s, struct err *e)
{
	struct err why = { 0 };
	uint64_t id;

	if (!str_starts(s, "i-") || num_hex(s + 2, 8, &id, &why) < 0)
		return err_usage(e, "'%.64s' is not an instance id (i- and 8 hex digits)", s);
	return 0;
}

int name_new_instance(instance_text out, struct err *e)
{
	uint8_t id[4];

	if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return err_sys(e, "getrandom");
	out[0] = 'i';
	out[1] = '-';
	num_to_hex(id, sizeof(id), out + 2);
	return 0;
}

// Cuts the segment before the next '/' out of *s; NULL in *s after the last one.
static bool take_segment(const char **s, char *out, size_t size)
{
	size_t len = strcspn(*s, "/");

	if (len >= size)
		return false;
	memcpy(out, *s, len);
	out[len] = '\0';
	*s = (*s)[len] ? *s + len + 1 : NULL;
	return true;
}

static const char *const shapes[] = { "", "TENANT", "TENANT/POOL", "TENANT/POOL/INSTANCE" };

int address_parse(const char *s, enum address_depth min, enum address_depth max,
		  struct address *out, struct err *e)
{
	struct address a = { 0 };
	const char *rest = s;
	int depth = 0;

	while (rest && depth < (int)max) {
		char *to = depth == 0 ? a.tenant : depth == 1 ? a.pool : a.instance;
		size_t size = depth == 2 ? sizeof(a.instance) : sizeof(a.tenant);
		int (*check)(const char *, struct err *) =
			depth == 2 ? name_check_instance : name_check;

		if (!take_segment(&rest, to, size))
			return err_usage(e, "'%.160s': a part is longer than %zu", s, size - 1);
		if (check(to, e) < 0)
			return depth || rest ? err_wrap(e, "'%.160s'", s) : -e->no;
		depth++;
	}
	if (rest)
		return err_usage(e, "'%.160s' has more parts than %s", s, shapes[max]);
	if (depth < (int)min)
		return err_usage(e, "'%.160s' is not %s", s, shapes[min]);
	*out = a;
	return 0;
}

void address_print(const struct address *a, address_text out)
{
	int n = snprintf(out, sizeof(address_text), "%s%s%s%s%s", a->tenant, a->pool[0] ? "/" : "",
			 a->pool, a->instance[0] ? "/" : "", a->instance);

	assert(n >= 0 && (size_t)n < sizeof(address_text));
}

// The dotted quad at s, up to stop or the end; no leading zeros.
static bool take_ip(const char *s, char stop, uint32_t *out, const char **end)
{
	uint32_t ip = 0;

	for (int i = 0; i < 4; i++) {
		uint32_t v = 0;
		int digits = 0;

		for (; *s >= '0' && *s <= '9' && digits < 4; s++, digits++)
			v = v * 10 + (uint32_t)(*s - '0');
		if (digits == 0 || v > 255 || (digits > 1 && s[-digits] == '0') || digits > 3)
			return false;
		if (*s != (i < 3 ? '.' : stop))
			return false;
		if (*s)
			s++;
		ip = ip << 8 | v;
	}
	*out = ip;
	*end = s;
	return true;
}

int ip_parse(const char *s, uint32_t *out, struct err *e)
{
	const char *end;

	if (!take_ip(s, '\0', out, &end))
		return err_usage(e, "'%.64s' is not an IPv4 address", s);
	return 0;
}

int subnet_parse(const char *s, struct subnet *out, struct err *e)
{
	const char *end = "";
	uint64_t prefix;
	uint32_t ip;

	if (!take_ip(s, '/', &ip, &end) || num_u64(end, 0, 32, &prefix, e) < 0)
		return err_usage(e, "'%.64s' is not a subnet like 10.20.0.0/24", s);
	if (prefix < 16 || prefix > 28)
		return err_usage(e, "%.64s: the prefix is outside /16../28", s);
	if (ip & (UINT32_MAX >> prefix))
		return err_usage(e, "%.64s: bits are set behind the prefix", s);
	*out = (struct subnet){ .base = ip, .prefix = (uint8_t)prefix };
	return 0;
}

static void print_ip(uint32_t ip, ip_text out)
{
	(void)snprintf(out, sizeof(ip_text), "%u.%u.%u.%u", ip >> 24 & 255, ip >> 16 & 255,
		       ip >> 8 & 255, ip & 255);
}

void subnet_print(const struct subnet *s, subnet_text out)
{
	ip_text ip;

	print_ip(s->base, ip);
	(void)snprintf(out, sizeof(subnet_text), "%s/%u", ip, s->prefix % 100u);
}

bool subnet_overlap(const struct subnet *a, const struct subnet *b)
{
	uint8_t prefix = MIN(a->prefix, b->prefix);

	return (a->base ^ b->base) >> (32 - prefix) == 0;
}

uint32_t subnet_last(const struct subnet *s)
{
	return (1u << (32 - s->prefix)) - 2;
}

void subnet_ip(const struct subnet *s, uint32_t offset, ip_text out)
{
	print_ip(s->base + offset, out);
}

void name_bridge(uint32_t net_id, ifname_text out)
{
	assert(net_id <= NET_ID_MAX);
	(void)snprintf(out, sizeof(ifname_text), "br-tenant-%u", net_id & 0xFFFF);
}

void name_tap(uint32_t net_id, uint32_t offset, ifname_text out)
{
	assert(net_id <= NET_ID_MAX && offset <= 0xFFFF);
	(void)snprintf(out, sizeof(ifname_text), "tn%ui%u", net_id & 0xFFFF, offset & 0xFFFF);
}

void name_mac_bytes(uint32_t net_id, uint32_t offset, uint8_t out[6])
{
	const uint8_t mac[] = { 0x02,
				0xfc,
				(uint8_t)(net_id >> 8),
				(uint8_t)net_id,
				(uint8_t)(offset >> 8),
				(uint8_t)offset };

	memcpy(out, mac, sizeof(mac));
}

void name_mac(uint32_t net_id, uint32_t offset, mac_text out)
{
	uint8_t m[6];

	name_mac_bytes(net_id, offset, m);
	(void)snprintf(out, sizeof(mac_text), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2],
		       m[3], m[4], m[5]);
}

void name_table(uint32_t net_id, char out[16])
{
	(void)snprintf(out, 16, "mvm-%u", net_id & 0xFFFF);
}

uint32_t name_uid(uint32_t net_id, uint32_t offset)
{
	return VM_UID_BASE + net_id * 65536 + offset;
}

// The number behind prefix, without leading zeros and in range, and nothing after it.
static bool number_behind(const char *s, const char *prefix, uint64_t min, uint64_t max,
			  uint32_t *out)
{
	struct err ignored = { 0 };
	uint64_t v;

	if (!str_starts(s, prefix) || num_u64(s + strlen(prefix), min, max, &v, &ignored) < 0)
		return false;
	*out = (uint32_t)v;
	return true;
}

bool name_is_bridge(const char *ifname, uint32_t *net_id)
{
	return number_behind(ifname, "br-tenant-", NET_ID_MIN, NET_ID_MAX, net_id);
}

bool name_is_tap(const char *ifname, uint32_t *net_id, uint32_t *offset)
{
	ifname_text head;
	const char *i = strchr(ifname, 'i');

	if (!i || (size_t)(i - ifname) >= sizeof(head))
		return false;
	memcpy(head, ifname, (size_t)(i - ifname));
	head[i - ifname] = '\0';
	return number_behind(head, "tn", NET_ID_MIN, NET_ID_MAX, net_id) &&
	       number_behind(i, "i", 0, 0xFFFF, offset);
}

bool name_is_table(const char *table, uint32_t *net_id)
{
	return number_behind(table, "mvm-", NET_ID_MIN, NET_ID_MAX, net_id);
}

// One character of systemd's unit_name_escape(): '/' becomes '-', what is neither a letter, a digit
// nor one of ":_." becomes \xNN, and so does a '.' at the very start.
static int escape_char(char c, bool first, char out[5])
{
	bool plain = is_alnum(c) || (c >= 'A' && c <= 'Z') || c == ':' || c == '_' ||
		     (c == '.' && !first);

	if (c == '/' || plain)
		return snprintf(out, 5, "%c", c == '/' ? '-' : c);
	return snprintf(out, 5, "\\x%02x", (unsigned char)c);
}

void name_escape(const char *address, char out[256])
{
	size_t used = 0;
	char piece[5];

	while (*address == '/')
		address++;
	for (const char *p = address; *p; p++) {
		if (*p == '/' &&
		    (p[1] == '/' || !p[1])) // repeated and trailing ones count for nothing
			continue;
		size_t n = (size_t)escape_char(*p, p == address, piece);
		assert(used + n < 256); // the longest address of ours takes 236
		memcpy(out + used, piece, n);
		used += n;
	}
	if (used == 0)
		out[used++] = '-'; // the root directory
	out[used] = '\0';
}

int name_unescape(const char *escaped, char *out, size_t size, struct err *e)
{
	size_t used = 0;

	for (const char *p = escaped; *p; p++) {
		char c = *p == '-' ? '/' : *p, hex[3] = "";
		struct err why = { 0 };
		uint64_t v;

		if (*p == '\\') {
			if (p[1] == 'x')
				base_cut(hex, sizeof(hex), "%.2s", p + 2);
			if (num_hex(hex, 2, &v, &why) < 0 || v == 0)
				return err_usage(e, "'%.160s' is not an escaped name", escaped);
			c = (char)v;
			p += 3;
		}
		if (used + 1 >= size)
			return err_usage(e, "'%.160s' is too long", escaped);
		out[used++] = c;
	}
	out[used] = '\0';
	return 0;
}

void name_unit(const struct address *a, char out[256])
{
	address_text text;
	char escaped[256];

	address_print(a, text);
	name_escape(text, escaped);
	int n = snprintf(out, 256, "mvm-instance@%s.service", escaped);
	assert(n > 0 && n < 256);
}
