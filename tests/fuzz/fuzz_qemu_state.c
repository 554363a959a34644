// SPDX-License-Identifier: MIT
// State files come from a directory that others may write to. The head's magic and checksum are put
// right when the first byte is odd, so that what lies behind them is reached; what is taken has to
// come back the same from what it is written as.
#include <sys/mman.h>

#include "fc/qemu_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void dress(uint8_t *file, size_t size)
{
	uint32_t crc;

	memcpy(file, "mvmqemu\n\1\0\0", 12);
	file[12] = (uint8_t)(size - 32);
	file[13] = (uint8_t)((size - 32) >> 8);
	memset(file + 14, 0, 10);
	crc = mux_crc32(mux_crc32(0, file, 24), file + 32, size - 32);
	for (int i = 0; i < 4; i++)
		file[24 + i] = (uint8_t)(crc >> (8 * i));
	memset(file + 28, 0, 4);
}

static void again(const struct qemu_doc *d, int stream)
{
	cleanup_fd int file = memfd_create("again", MFD_CLOEXEC), second = -1;
	cleanup_buf struct buf a = BUF_INIT, b = BUF_INIT;
	struct qemu_doc back = { .entropy = false };
	struct err e = { 0 };

	if (qemu_state_write(file, d, stream, &e) < 0 || lseek(file, 0, SEEK_SET) < 0 ||
	    qemu_state_read(file, &back, &second, &e) < 0)
		abort();
	codec_print(qemu_doc_fields, d, &a);
	codec_print(qemu_doc_fields, &back, &b);
	if (!str_eq(buf_text(&a), buf_text(&b)))
		abort();
	qemu_doc_clear(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_fd int file = memfd_create("state", MFD_CLOEXEC), stream = -1;
	struct qemu_doc d = { .entropy = false };
	struct qemu_config c = { .has_vsock = false };
	struct err e = { 0 };
	uint8_t *copy;

	if (size < 34 || size > 65536)
		return 0;
	copy = base_alloc(1, size);
	memcpy(copy, data, size);
	if (data[0] & 1)
		dress(copy + 1, size - 1);
	if (write(file, copy + 1, size - 1) != (ssize_t)size - 1 || lseek(file, 0, SEEK_SET) < 0)
		abort();
	free(copy);
	if (qemu_state_read(file, &d, &stream, &e) < 0)
		return 0;
	again(&d, stream);
	if (qemu_config_from_doc(&c, &d, &e) == 0)
		qemu_config_clear(&c);
	qemu_doc_clear(&d);
	return 0;
}
