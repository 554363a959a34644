// SPDX-License-Identifier: MIT
// What QEMU may say on its monitor, were it taken over by its guest.
#include <sys/socket.h>

#include "fc/qemu_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void event(void *arg, const char *name, const struct codec_node *data)
{
	const struct codec_node *reason = data ? codec_get(data, "reason") : NULL;

	*(size_t *)arg += strlen(name);
	if (reason && codec_type(reason) == CODEC_TEXT)
		*(size_t *)arg += strlen(codec_text(reason));
}

static void closed(void *arg)
{
	(void)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char hello[] = "{\"QMP\":{\"version\":{}}}\n{\"event\":\"X\"}\n";
	static const struct qmp_ops ops = { event, closed };
	struct loop *l = NULL;
	struct qmp *m = NULL;
	struct err e = { 0 };
	size_t sum = 0;
	int fds[2];

	if (size < 1 || size > 65536 || loop_new(&l, &e) < 0)
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	// Without the greeting of ours the input has to bring its own.
	if (data[0] & 1)
		(void)!write(fds[1], hello, sizeof(hello) - 1);
	(void)!write(fds[1], data + 1, size - 1);
	(void)shutdown(fds[1], SHUT_WR);
	if (qmp_new(l, fds[0], &ops, &sum, 10, &m, &e) == 0)
		qmp_free(m);
	else if (!e.no)
		abort();
	(void)close(fds[1]);
	loop_free(l);
	return 0;
}
