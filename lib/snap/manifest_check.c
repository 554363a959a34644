// SPDX-License-Identifier: MIT
// Where a capture may be loaded.
#include <fcntl.h>
#include <sys/utsname.h>

#include "base/fd.h"
#include "base/num.h"
#include "fc/qemu.h"
#include "fc/version.h"
#include "snap/manifest.h"

#define SHOWN 160

// Both as the codec prints them: one rule for numbers, texts and lists, and no row that somebody
// forgot to compare.
static int compare(const struct field *tab, const char *what, const void *have, const void *want,
		   struct err *e)
{
	for (const struct field *f = tab; f->key; f++) {
		const struct field one[] = { *f, FIELD_END };
		cleanup_buf struct buf a = BUF_INIT, b = BUF_INIT;
		size_t skip = strlen(f->key) + 4; // {"key":

		if (f->kind == KIND_RECORD) {
			if (compare(f->sub, f->key, (const char *)have + f->at,
				    (const char *)want + f->at, e) < 0)
				return err_wrap(e, "%s", what);
			continue;
		}
		codec_print(one, have, &a);
		codec_print(one, want, &b);
		if (a.len == b.len && memcmp(a.data, b.data, a.len) == 0)
			continue;
		return err_kind(e, ERR_CONFLICT, "%s: %s: the capture has %.*s, here it is %.*s",
				what, f->key, (int)MIN(a.len - skip - 1, SHOWN), a.data + skip,
				(int)MIN(b.len - skip - 1, SHOWN), b.data + skip);
	}
	return 0;
}

// The capture is good: it is this host that has to become what it was again. What does not say what
// it needs is compared by the VMM alone.
static int compare_qemu(const struct snap_machine *have, const struct snap_machine *want,
			struct err *e)
{
	if (have->emulator[0] && !str_eq(have->emulator, want->emulator)) {
		(void)err_kind(e, ERR_UNAVAILABLE,
			       "machine: emulator: the capture is of QEMU %s, here it is %s",
			       have->emulator, want->emulator[0] ? want->emulator : "none");
		return err_hint(e, "install that QEMU again; or 'mvm instance start --cold', which "
				   "gives up the memory");
	}
	if (!have->tsc_khz || qemu_tsc_same(have->tsc_khz, want->tsc_khz))
		return 0;
	(void)err_kind(e, ERR_UNAVAILABLE,
		       "machine: tsc_khz: the capture is of a host with a TSC of %llu kHz, this "
		       "one has %llu",
		       (unsigned long long)have->tsc_khz, (unsigned long long)want->tsc_khz);
	return err_hint(e, "wake it where it slept; or 'mvm instance start --cold', which gives up "
			   "the memory");
}

static int compare_all(const struct snap_manifest *m, const struct snap_wanted *wanted,
		       struct err *e)
{
	struct snap_machine want = wanted->machine; // its list stays wanted's

	memcpy(want.emulator, m->machine.emulator, sizeof(want.emulator));
	want.tsc_khz = m->machine.tsc_khz;
	if (compare(snap_machine_fields, "machine", &m->machine, &want, e) < 0 ||
	    compare(snap_guest_fields, "guest", &m->guest, &wanted->guest, e) < 0)
		return -e->no;
	return compare_qemu(&m->machine, &wanted->machine, e);
}

int snap_manifest_check(const struct snap_manifest *m, const struct snap_wanted *wanted,
			struct err *e)
{
	const struct snap_machine *vm = &m->machine;

	if (compare_all(m, wanted, e) < 0)
		return -e->no;
	if (snap_release_check(vm->vmm, vm->vmm_version, SNAP_USE_LOAD, vm->mem_mib, e) < 0)
		return err_wrap(e, "machine: vmm_version");
	// What such a release wrote as a delta is wrong for good, composed or not.
	if ((m->memory.form == SNAP_FORM_DELTA || m->composed_from[0]) &&
	    snap_release_check(vm->vmm, vm->vmm_version, SNAP_USE_DIFF, vm->mem_mib, e) < 0)
		return err_wrap(e, "machine: vmm_version");
	return snap_manifest_sealed(m, e);
}

static const struct release_row {
	const char *from, *to; // both included
	enum snap_use use;
	uint64_t above_mib;
	const char *why;
} bad_releases[] = {
	{ "0.0.0", "1.11.999", SNAP_USE_LOAD, 0,
	  "it cannot give a restored guest another TAP (1.12 can)" },
	{ "1.14.0", "1.14.1", SNAP_USE_DIFF, 3072,
	  "its deltas of more than 3 GiB of memory are wrong (1.14.2 and later are right)" },
	{ "1.16.0", "1.16.0", SNAP_USE_LOAD, 0,
	  "its vsock may hang after a restore (1.16.1 does not)" },
	{ "1.16.0", "1.16.1", SNAP_USE_WARM, 0,
	  "its vsock stays blocked after a pause without a capture" },
};

int snap_release_check(int vmm, const char *version, enum snap_use use, uint64_t mem_mib,
		       struct err *e)
{
	char plain[32];
	long n;

	if (vmm != INSTANCE_VMM_FIRECRACKER)
		return 0;
	// "1.17.0-dev" is taken for what it will be.
	base_cut(plain, sizeof(plain), "%.*s", (int)strcspn(version, "-+"), version);
	n = version_number(plain);
	if (n < 0)
		return err_kind(e, ERR_STATE, "Firecracker '%.32s': not a version", version);
	for (size_t i = 0; i < COUNT(bad_releases); i++) {
		const struct release_row *r = &bad_releases[i];

		if (r->use == use && n >= version_number(r->from) && n <= version_number(r->to) &&
		    (r->above_mib == 0 || mem_mib > r->above_mib))
			return err_kind(e, ERR_STATE, "Firecracker %s: %s", plain, r->why);
	}
	return 0;
}

// --- this host

// The value of the first "key : value" of /proc/cpuinfo, "" when there is none.
static void cpu_value(const struct buf *text, const char *key, char *out, size_t size)
{
	const char *at = buf_text(text);

	out[0] = '\0';
	for (size_t len = strlen(key); at && *at; at = strchr(at, '\n'), at += at ? 1 : 0) {
		const char *colon = at + len;

		if (strncmp(at, key, len) != 0)
			continue;
		colon += strspn(colon, " \t");
		if (*colon != ':')
			continue;
		colon++;
		colon += strspn(colon, " \t");
		base_cut(out, size, "%.*s", (int)strcspn(colon, "\n"), colon);
		return;
	}
}

static uint32_t cpu_number(const struct buf *text, const char *key)
{
	const char *at;
	char value[32];
	uint64_t n = 0;

	cpu_value(text, key, value, sizeof(value));
	at = value;
	return num_next(&at, &n) && n <= UINT32_MAX ? (uint32_t)n : 0;
}

static int by_word(const void *a, const void *b)
{
	const char *x, *y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return strcmp(x, y);
}

// Their order is the kernel's business.
static void flags_digest(char *flags, digest_text out)
{
	const char *words[1024] = { NULL };
	struct sha256 s;
	uint8_t raw[32];
	size_t n = 0;

	for (char *p = flags, *next; n < COUNT(words) && *p; p = next) {
		next = p + strcspn(p, " ");
		if (*next)
			*next++ = '\0';
		if (*p)
			words[n++] = p;
	}
	qsort(words, n, sizeof(*words), by_word);
	sha256_begin(&s);
	for (size_t i = 0; i < n; i++)
		sha256_add(&s, words[i], strlen(words[i]) + 1);
	sha256_end(&s, raw);
	num_to_hex(raw, sizeof(raw), out);
}

int snap_machine_host(struct snap_machine *m, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	cleanup_free char *flags = base_alloc(1, 16 * KIB);
	struct utsname u;

	if (uname(&u) < 0)
		return err_sys(e, "uname");
	if (fd_read_file(AT_FDCWD, "/proc/cpuinfo", 64 * MIB, &text, e) < 0)
		return err_wrap(e, "/proc");
	if (COPY(m->arch, u.machine) < 0 || COPY(m->host_kernel, u.release) < 0)
		return err_set(e, ENAMETOOLONG, "release of the kernel");
	cpu_value(&text, "vendor_id", m->cpu.vendor, sizeof(m->cpu.vendor));
	cpu_value(&text, "microcode", m->cpu.microcode, sizeof(m->cpu.microcode));
	m->cpu.family = cpu_number(&text, "cpu family");
	m->cpu.model = cpu_number(&text, "model");
	m->cpu.stepping = cpu_number(&text, "stepping");
	cpu_value(&text, "flags", flags, 16 * KIB);
	flags_digest(flags, m->cpu.flags_sha256);
	return 0;
}
