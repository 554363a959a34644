// SPDX-License-Identifier: MIT
// Payloads of files, port forward, hooks and probes: the first byte picks the message. What is
// taken must come back byte for byte.
#include "guest/hook.h"
#include "guest/probe.h"
#include "guest/transfer.h"
#include "guest/wire.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct buf *b, const uint8_t *p, size_t len)
{
	assert(b->len == len && (!len || memcmp(b->data, p, len) == 0));
}

static void files(const uint8_t *p, size_t len, struct buf *b, struct err *e)
{
	struct guest_files m;

	if (guest_files_get(p, len, &m, e) < 0)
		return;
	assert(m.path[0] && !strchr(m.name, '/'));
	guest_files_put(b, &m);
	same(b, p, len);
}

static void files_done(const uint8_t *p, size_t len, struct buf *b, struct err *e)
{
	struct guest_files_done m;

	if (guest_files_done_get(p, len, &m, e) < 0)
		return;
	guest_files_done_put(b, &m);
	same(b, p, len);
}

static void forward(const uint8_t *p, size_t len, struct buf *b, struct err *e)
{
	struct guest_forward m;

	if (guest_forward_get(p, len, &m, e) < 0)
		return;
	assert(m.port);
	guest_forward_put(b, &m);
	same(b, p, len);
}

static void hook(const uint8_t *p, size_t len, struct buf *b, struct err *e)
{
	struct guest_hook m;

	if (guest_hook_get(p, len, &m, e) < 0)
		return;
	guest_hook_put(b, &m);
	same(b, p, len);
}

static void hook_done(const uint8_t *p, size_t len, struct buf *b, struct err *e)
{
	struct guest_hook_done m;

	if (guest_hook_done_get(p, len, &m, e) < 0)
		return;
	guest_hook_done_put(b, &m);
	same(b, p, len);
	guest_hook_done_clear(&m);
}

// Words as in WELCOME. Written again they mean the same.
static void probe(const uint8_t *p, size_t len, struct buf *b, struct err *e)
{
	struct wire w = { p, len, false };
	struct guest_words words = GUEST_WORDS_INIT, again = GUEST_WORDS_INIT;
	struct guest_probe m, n;
	struct err mine = { 0 };

	(void)b;
	wire_words(&w, &words);
	if (wire_done(&w, "probe", e) == 0 && guest_probe_get(&words, &m, e) == 0) {
		if (guest_probe_put(&again, &m, &mine) == 0) {
			assert(guest_probe_get(&again, &n, &mine) == 0);
			assert(n.kind == m.kind && n.port == m.port &&
			       strcmp(n.path, m.path) == 0 && n.command.count == m.command.count &&
			       n.interval_s == m.interval_s);
			guest_probe_clear(&n);
		}
		guest_probe_clear(&m);
	}
	guest_words_clear(&words);
	guest_words_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const all[])(const uint8_t *p, size_t len, struct buf *b, struct err *e) = {
		files, files_done, forward, hook, hook_done, probe,
	};
	cleanup_buf struct buf b = BUF_INIT;
	struct err e = { 0 };

	if (size)
		all[data[0] % COUNT(all)](data + 1, size - 1, &b, &e);
	return 0;
}
