// SPDX-License-Identifier: MIT
#include "snap/rules.h"

const char *const snap_choice_why[] = {
	"",
	"asked for",
	"nothing is known of the memory that the guest was loaded from",
	"the memory that the guest was loaded from is gone",
	"the memory that the guest was loaded from is another one now",
	"this release of the VMM writes wrong deltas",
	"the file system does not keep holes page by page",
};
const char *const gc_why_names[] = { "unused",	"current", "diff-base", "named", "parent",
				     "damaged", "doubt",   "image",	NULL };

void snap_base_after(enum snap_event ev, const struct instance_base *loaded,
		     struct instance_base *base)
{
	*base = (struct instance_base){ 0 };
	if (ev == SNAP_EV_LOADED)
		*base = *loaded;
}

static bool has_base(const struct instance_base *b)
{
	return b->ref[0] && !str_eq(b->ref, SNAP_NONE) && b->sha256[0];
}

static enum snap_choice choose(const struct snap_before *b)
{
	if (b->full_wanted)
		return SNAP_TAKE_FULL_ASKED;
	if (!has_base(&b->base))
		return SNAP_TAKE_FULL_NO_BASE;
	if (!b->parent_there || !b->parent_sha256)
		return SNAP_TAKE_FULL_GONE;
	if (!str_eq(b->base.sha256, b->parent_sha256))
		return SNAP_TAKE_FULL_OTHER;
	if (!b->release_good)
		return SNAP_TAKE_FULL_RELEASE;
	return b->holes_by_page ? SNAP_TAKE_DIFF : SNAP_TAKE_FULL_HOLES;
}

enum snap_choice snap_choose(const struct snap_before *b, struct snap_parent *ret_parent)
{
	enum snap_choice choice = choose(b);
	struct snap_parent p = { .ref = SNAP_NONE };

	if (choice == SNAP_TAKE_DIFF && COPY(p.ref, b->base.ref) == 0)
		memcpy(p.sha256, b->base.sha256, sizeof(p.sha256));
	else if (choice == SNAP_TAKE_DIFF) {
		p = (struct snap_parent){ .ref = SNAP_NONE };
		choice = SNAP_TAKE_FULL_GONE; // no capture has so long a name
	}
	*ret_parent = p;
	return choice;
}

int snap_may_load(const struct snap_manifest *m, struct err *e)
{
	if (m->spent)
		return err_kind(e, ERR_STATE,
				"spent: it was loaded %s, and the disks have moved on",
				m->spent_at);
	if (m->memory.form != SNAP_FORM_MEM)
		return err_kind(e, ERR_STATE, "memory: form: it is in %s; %s it first",
				snap_form_names[m->memory.form],
				m->memory.form == SNAP_FORM_DELTA ? "compose" : "unpack");
	return 0;
}

int snap_may_share(const struct snap_manifest *m, struct err *e)
{
	if (m->quiesced)
		return 0;
	(void)err_kind(e, ERR_STATE,
		       "its guest was not at rest when it was captured, so that those who go on "
		       "from it would draw the same random numbers");
	return err_hint(e, "take another one without --force");
}

static bool is_used(const struct gc_refs *refs, const char *ref)
{
	for (size_t i = 0; i < refs->used_len; i++)
		if (str_eq(refs->used[i], ref))
			return true;
	return false;
}

static enum gc_why by_itself(const struct gc_item *it, const struct gc_refs *refs)
{
	if (it->damaged)
		return GC_DAMAGED;
	if (refs->current[0] && str_eq(refs->current, it->ref))
		return GC_CURRENT;
	if (is_used(refs, it->ref))
		return GC_DIFF_BASE;
	if (it->kind == SNAP_NAMED && !it->left)
		return GC_NAMED;
	return it->current_image ? GC_IMAGE : GC_UNUSED;
}

// A damaged manifest may name any older generation as its parent, and any base.
static bool in_doubt(const struct gc_item *items, size_t n, const struct gc_refs *refs,
		     const struct gc_item *it)
{
	uint32_t number = snap_ref_number(it->ref);
	bool doubt = refs->doubt;

	for (size_t i = 0; i < n; i++)
		doubt |= items[i].damaged && number && snap_ref_number(items[i].ref) > number;
	return doubt;
}

void gc_decide(const struct gc_item *items, size_t n, const struct gc_refs *refs, enum gc_why *why)
{
	bool again = true;

	for (size_t i = 0; i < n; i++) {
		why[i] = by_itself(&items[i], refs);
		if (why[i] == GC_UNUSED && in_doubt(items, n, refs, &items[i]))
			why[i] = GC_DOUBT;
	}
	while (again) { // what stays takes its parent along
		again = false;
		for (size_t i = 0; i < n; i++)
			for (size_t k = 0; why[i] != GC_UNUSED && k < n; k++)
				if (why[k] == GC_UNUSED && str_eq(items[k].ref, items[i].parent)) {
					why[k] = GC_PARENT;
					again = true;
				}
	}
}
