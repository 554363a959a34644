// SPDX-License-Identifier: MIT
// A sealed file as somebody may have changed it, and the set of secrets inside. The first byte
// tells which: a sealed text opens only when it is one of ours; a set that is taken comes back byte
// for byte.
#include "disk/secrets.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static const struct seal_place here = { "node", "acme", 1 };

// Nobody but the holder of the key makes one that opens.
static void sealed(const uint8_t *data, size_t size)
{
	cleanup_safe struct safe plain = SAFE_NONE;
	struct seal_key k = { .key = { 1 } };
	struct err e = { 0 };

	seal_key_id(&k);
	must(seal_open(&k, &here, data, size, &plain, &e) < 0);
	must((e.kind == ERR_DAMAGED || e.kind == ERR_DENIED) && !plain.data);
}

// Ours, with one byte of it replaced where the input says.
static void changed(const uint8_t *data, size_t size)
{
	cleanup_safe struct safe text = SAFE_NONE, plain = SAFE_NONE;
	cleanup_buf struct buf out = BUF_INIT;
	struct seal_key k = { .key = { 1 } };
	struct err e = { 0 };
	bool same;

	seal_key_id(&k);
	if (size < 2 || safe_add(&text, data + 2, size - 2, &e) < 0)
		return;
	must(seal_close(&k, &here, &text, &out, &e) == 0);
	same = out.data[data[0] % out.len] == (char)data[1];
	out.data[data[0] % out.len] = (char)data[1];
	must((seal_open(&k, &here, out.data, out.len, &plain, &e) == 0) == same);
}

static void set(const uint8_t *data, size_t size)
{
	cleanup_safe struct safe text = SAFE_NONE, again = SAFE_NONE;
	cleanup_secrets struct secrets s = SECRETS_NONE;
	struct err e = { 0 };

	must(safe_add(&text, data, size, &e) == 0);
	if (secrets_parse(&s, &text, &e) < 0) {
		must(e.kind == ERR_DAMAGED && s.len == 0);
		return;
	}
	must(secrets_print(&s, &again, &e) == 0);
	must(again.len == size && memcmp(again.data, data, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const what[])(const uint8_t *, size_t) = { sealed, changed, set };

	if (size)
		what[data[0] % COUNT(what)](data + 1, size - 1);
	return 0;
}
