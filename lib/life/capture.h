// SPDX-License-Identifier: MIT
// The capture that an instance would wake from: taken, found loadable, dropped. The order of calls
// is that of docs/adr/012-snapshot-store.md.
#pragma once
#include "life/revision.h"
#include "life/vmm.h"
#include "snap/gen.h"
#include "snap/rules.h"
#include "state/pool.h"
#include "state/tenant.h"

#define CAPTURE_STATE  "capture-vmstate" // in the jail, for a load
#define CAPTURE_MEMORY "capture-mem"
#define CAPTURE_RESTLESS                                                                     \
	"its guest was not at rest when it was captured: its processes go on before clock, " \
	"random numbers, address and secrets are right"

// What a VM of this instance is here and now: the same fields for the manifest of a capture and for
// what one has to be to be loaded. The caller frees it by capture_machine_free.
struct capture_of {
	const struct address *a;
	const struct instance *i;
	const struct tenant *tenant;
	const struct pool *pool;
	const struct revision *revision;
	const struct vmm_choice *vmm;
	const char *data; // which file of the instance is its data disk; NULL: the one it runs on
};
int capture_machine(const struct capture_of *c, struct snap_wanted *ret, struct err *e) MUST_CHECK;
// The machine alone, of the image, VMM and pool: no instance is needed.
int capture_vm(const struct capture_of *c, struct snap_machine *ret, struct err *e) MUST_CHECK;
// Of a state that was just written, in dir: what wrote it, which may be older than what is
// installed by now.
int capture_emulator(int dir, struct snap_machine *m, struct err *e) MUST_CHECK;
// An instance's own drives by their sizes; data_bytes 0: it has no data disk.
void capture_drives(const struct pool *p, uint64_t data_bytes, struct codec_list *to);
void capture_machine_free(struct snap_wanted *w);

// Would a wake find something to load? Not: there is none, it is spent or damaged. Of one that
// cannot be looked at just now the wake itself has to find out.
bool capture_there(const struct address *a);
// What of its manifest a wake would refuse here and now, by the comparison that a wake makes.
// Nothing is locked or completed, and of its files nothing is read.
int capture_fits(const struct address *a, const char *ref, struct snap_gen *ret,
		 struct err *e) MUST_CHECK;
// No wake loads what there is: the link goes, and diff_base with it. Then what nobody refers to is
// removed, and the record says what is left. None is fine.
int capture_drop(const struct address *a, int wait_ms, struct err *e) MUST_CHECK;
// The same for a caller that holds the locks; the record is saved by him.
struct held;
int capture_drop_held(struct held *h, struct err *e) MUST_CHECK;
// Only what nobody refers to goes.
int capture_sweep_held(struct held *h, struct err *e) MUST_CHECK;
// Before it is removed: who packs it leaves off, and is waited for. What fails here fails again
// where the capture is removed.
void capture_stop_packing(const struct address *a, int wait_ms);
// Lays a delta over its parent, unpacks a pack: what is loaded is mem. g is locked exclusively.
int capture_make_whole(const struct store *s, struct snap_gen *g, struct err *e) MUST_CHECK;
// The same of what a wake would load, for as long as it takes, before anybody is asked who has no
// patience. None, and one that is whole, are fine; what fails here is prepare's to tell.
void capture_make_whole_ahead(const struct address *a);
// The verb of mvm-snap that does it by hand; NULL: there is nothing to be done.
const char *capture_verb_to_whole(const struct address *a);
// What its captures take on the disk, in MiB, rounded up; what two of them share once.
int capture_disk_mib(const struct store *s, uint64_t *ret, struct err *e) MUST_CHECK;
