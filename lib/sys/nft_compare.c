// SPDX-License-Identifier: MIT
#include <linux/netfilter.h>
#include <stdarg.h>

#include "sys/nft_read.h"

#define SHOWN 200 // bytes of a line in a message

bool nft_lines_equal(const struct nft_lines *want, const struct nft_lines *have)
{
	if (want->len != have->len)
		return false;
	for (size_t i = 0; i < want->len; i++) {
		const struct nft_line *w = &want->items[i], *h = &have->items[i];

		if (w->family != h->family || w->kind != h->kind || !str_eq(w->owner, h->owner) ||
		    !str_eq(w->text, h->text))
			return false;
	}
	return true;
}

static const char *family_name(uint8_t family)
{
	return family == NFPROTO_INET ? "inet" : "netdev";
}

void nft_fault_add(struct codec_list *faults, const char *check, const char *fmt, ...)
{
	struct nft_fault *f = codec_list_add(faults, sizeof(*f));
	va_list args;

	f->check = check;
	va_start(args, fmt);
	(void)vsnprintf(f->text, sizeof(f->text), fmt, args);
	va_end(args);
}

static void missing(const struct nft_line *w, const char *table, struct codec_list *faults)
{
	const char *family = family_name(w->family);

	if (w->kind == NFT_RULE)
		nft_fault_add(faults, w->check, "%s %s, chain %s: the rule \"%s\" is missing",
			      family, table, w->owner, w->doc);
	else if (w->kind == NFT_CHAIN && !w->owner[0])
		nft_fault_add(faults, w->check, "%s %s: it should have %s", family, table, w->text);
	else if (w->kind == NFT_CHAIN)
		nft_fault_add(faults, w->check, "%s %s: the chain %s is missing or another one",
			      family, table, w->owner);
	else if (w->kind == NFT_SET && w->text[0] == 'e')
		nft_fault_add(faults, w->check, "%s %s, set %s: the %s is missing", family, table,
			      w->owner, w->text);
	else
		nft_fault_add(faults, w->check, "%s %s: %s is missing", family, table, w->owner);
}

static void surplus(const struct nft_line *h, const char *check, const char *table,
		    struct codec_list *faults)
{
	const char *family = family_name(h->family);

	if (h->kind == NFT_RULE)
		nft_fault_add(faults, "foreign", "%s %s, chain %s: a rule that is not mvm's: %.*s",
			      family, table, h->owner, SHOWN, h->text);
	else if (h->kind == NFT_SET && h->text[0] == 'e')
		nft_fault_add(faults, check, "%s %s, set %s: an %.*s that belongs to no guest",
			      family, table, h->owner, SHOWN, h->text);
}

static bool same_group(const struct nft_line *a, const struct nft_line *b)
{
	return a->family == b->family && a->kind == b->kind && str_eq(a->owner, b->owner);
}

static int group_order(const struct nft_line *a, const struct nft_line *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return strcmp(a->owner, b->owner);
}

static size_t group_end(const struct nft_lines *l, size_t from)
{
	size_t to = from;

	while (to < l->len && same_group(&l->items[from], &l->items[to]))
		to++;
	return to;
}

struct group {
	const struct nft_line *items;
	size_t len;
};

// In both the lines are in order, so what is not found further on is missing, and what is passed
// over is too much.
static void compare_group(struct group want, struct group have, const char *table,
			  struct codec_list *faults)
{
	const char *check = want.len ? want.items[0].check : "foreign";
	size_t at = 0;

	for (size_t i = 0; i < want.len; i++) {
		size_t found = at;

		while (found < have.len && !str_eq(have.items[found].text, want.items[i].text))
			found++;
		if (found == have.len) {
			missing(&want.items[i], table, faults);
			continue;
		}
		for (; at < found; at++)
			surplus(&have.items[at], check, table, faults);
		at = found + 1;
	}
	for (; at < have.len; at++)
		surplus(&have.items[at], check, table, faults);
}

void nft_lines_compare(const struct nft_lines *want, const struct nft_lines *have,
		       const char *table, struct codec_list *faults)
{
	size_t w = 0, h = 0;

	while (w < want->len || h < have->len) {
		int order = w == want->len   ? 1
			    : h == have->len ? -1
					     : group_order(&want->items[w], &have->items[h]);
		size_t w_end = order <= 0 ? group_end(want, w) : w;
		size_t h_end = order >= 0 ? group_end(have, h) : h;

		compare_group((struct group){ &want->items[w], w_end - w },
			      (struct group){ &have->items[h], h_end - h }, table, faults);
		w = w_end;
		h = h_end;
	}
}
