// SPDX-License-Identifier: MIT
#include "fc/qemu_parts.h"

const char qemu_format[] = "1.0.0"; // the head's version 1: qemu_state_read takes no other

int qemu_describe(int file, struct err *e)
{
	struct qemu_doc doc = { .entropy = false };
	cleanup_fd int fd = file, stream = -1;

	if (qemu_state_read(fd, &doc, &stream, e) < 0)
		return -e->no;
	qemu_doc_clear(&doc);
	return 0;
}
