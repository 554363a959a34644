// SPDX-License-Identifier: MIT
// Replays inputs where there is no libFuzzer: each file given is fed to the target once.
#include "base/base.h"
#include <fcntl.h>

#include "base/fd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		cleanup_buf struct buf b = BUF_INIT;
		struct err e = { 0 };

		if (fd_read_file(AT_FDCWD, argv[i], 16 * MIB, &b, &e) < 0) {
			fprintf(stderr, "%s\n", e.msg);
			return 1;
		}
		// An allocation of exactly that size, so that a sanitizer sees each byte too far.
		cleanup_free uint8_t *exact = base_alloc(b.len, 1);
		if (b.len)
			memcpy(exact, b.data, b.len);
		(void)LLVMFuzzerTestOneInput(exact, b.len);
	}
	return argc > 1 ? 0 : 1; // nothing replayed has shown nothing
}
