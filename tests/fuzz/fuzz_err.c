// SPDX-License-Identifier: MIT
// The last line of another tool's stderr: whatever it is, it is read within bounds, and what is
// taken goes out and comes back the same.
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *line = base_alloc(size + 1, 1);
	cleanup_buf struct buf once = BUF_INIT, twice = BUF_INIT;
	struct err a = { 0 }, b = { 0 };

	if (size)
		memcpy(line, data, size);
	if (!err_from_json(line, 1, &a))
		return 0;
	err_to_json(&a, "R", &once);
	if (!err_from_json(once.data, err_exit(&a), &b))
		abort();
	err_to_json(&b, "R", &twice);
	if (!str_eq(once.data, twice.data))
		abort();
	log_clean(line);
	return 0;
}
