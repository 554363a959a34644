// SPDX-License-Identifier: MIT
// A manifest. What is taken keeps its rules, and comes back when it is written and read again.
#include "snap/manifest.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct snap_manifest m = { 0 }, again = { 0 };
	cleanup_buf struct buf one = BUF_INIT, two = BUF_INIT;
	struct snap_wanted w;
	struct err e = { 0 };

	if (snap_manifest_parse((const char *)data, size, &m, &e) < 0) {
		assert(e.kind == ERR_DAMAGED && e.msg[0]);
		return 0;
	}
	assert(m.memory.bytes <= PAGES_MAX && m.memory.bytes == m.machine.mem_mib * MIB);
	assert(m.memory.form <= SNAP_FORM_PACK && m.vmstate.bytes <= SNAP_STATE_MAX);
	snap_manifest_print(&m, &one);
	assert(snap_manifest_parse(buf_text(&one), one.len, &again, &e) == 0);
	assert(snap_manifest_sealed(&again, &e) == 0);
	snap_manifest_print(&again, &two);
	assert(str_eq(buf_text(&one), buf_text(&two)));
	// On the very machine it was taken on only its release may speak against it.
	w = (struct snap_wanted){ .machine = again.machine, .guest = again.guest };
	assert(snap_manifest_check(&m, &w, &e) == 0 || e.kind == ERR_STATE);
	snap_manifest_free(&m);
	snap_manifest_free(&again);
	return 0;
}
