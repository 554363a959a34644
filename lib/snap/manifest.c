// SPDX-License-Identifier: MIT
#include "snap/manifest.h"

#include "base/fd.h"
#include "base/num.h"
#include "state/pool.h"

#define BASE_DIGITS 32

void snap_manifest_free(struct snap_manifest *m)
{
	codec_free(snap_manifest_fields, m);
}

uint32_t snap_ref_number(const char *ref)
{
	struct err ignored = { 0 };
	uint64_t n;

	if (!str_starts(ref, "gen-") || num_u64(ref + 4, 1, 999999999, &n, &ignored) < 0)
		return 0;
	return (uint32_t)n;
}

int snap_ref_check(const char *ref, struct err *e)
{
	const char *hash = str_starts(ref, "base-") ? ref + 5 : "";

	if (snap_ref_number(ref))
		return 0;
	if (strlen(hash) == BASE_DIGITS && !hash[strspn(hash, "0123456789abcdef")])
		return 0;
	return err_usage(e, "'%.64s' is neither gen-<n> nor base-<hash>", ref);
}

static void sha_text(const struct buf *text, digest_text out)
{
	struct sha256 s;
	uint8_t raw[32];

	sha256_begin(&s);
	sha256_add(&s, buf_text(text), text->len);
	sha256_end(&s, raw);
	num_to_hex(raw, sizeof(raw), out);
}

void snap_base_ref(const struct snap_machine *m, snap_ref out)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct snap_machine same = *m; // its list stays m's
	digest_text hash;

	same.tsc_khz = 0; // each measurement is another
	codec_print(snap_machine_fields, &same, &text);
	sha_text(&text, hash);
	base_cut(out, sizeof(snap_ref), "base-%.*s", BASE_DIGITS, hash);
}

static int rule(struct err *e, const char *field, const char *why)
{
	return err_kind(e, ERR_DAMAGED, "%s: %s", field, why);
}

static int memory_rules(const struct snap_manifest *m, struct err *e)
{
	bool delta = m->memory.form == SNAP_FORM_DELTA, pack = m->memory.form == SNAP_FORM_PACK;
	bool parent = !str_eq(m->parent.ref, SNAP_NONE);

	if (delta != parent)
		return rule(e, "memory: form and parent: ref",
			    delta ? "a delta has a parent" : "only a delta has a parent");
	if (parent != (m->parent.sha256[0] != '\0'))
		return rule(e, "parent: sha256", "belongs to a parent");
	if (delta && m->kind != SNAP_DIFF && m->kind != SNAP_NAMED)
		return rule(e, "kind and memory: form", "a delta in a capture that is none");
	if (pack != (m->compression != POOL_COMPRESSION_NONE))
		return rule(e, "compression", "belongs to a packed memory");
	if (pack != (m->memory.pack.sha256[0] != '\0') || pack != (m->memory.pack.bytes != 0))
		return rule(e, "memory: pack: bytes and sha256", "belong to a packed memory");
	if (!m->memory.sha256[0])
		return rule(e, "memory: sha256", "missing");
	if (m->machine.mem_mib == 0 || m->machine.mem_mib > PAGES_MAX / MIB ||
	    m->memory.bytes != m->machine.mem_mib * MIB)
		return rule(e, "memory: bytes and machine: mem_mib", "are not the same");
	return 0;
}

int snap_manifest_rules(const struct snap_manifest *m, struct err *e)
{
	if ((m->kind == SNAP_NAMED) != (m->name[0] != '\0'))
		return rule(e, "kind and name", "a named capture has one, no other has");
	if (m->kind == SNAP_BASE && m->memory.form != SNAP_FORM_MEM)
		return rule(e, "kind and memory: form", "of a base it is mem");
	if (m->data.bytes && m->kind != SNAP_NAMED)
		return rule(e, "data", "belongs to a named capture");
	if ((m->data.bytes != 0) != (m->data.sha256[0] != '\0') || m->data.bytes > PAGES_FILE)
		return rule(e, "data: bytes and sha256", "belong together");
	if (m->cloned_from[0] && m->kind != SNAP_FULL)
		return rule(e, "cloned_from", "belongs to the first capture of a clone");
	if (!m->quiesced && (m->kind == SNAP_BASE || m->cloned_from[0]))
		return rule(e, "quiesced", "what many go on from is of a guest at rest");
	if (m->spent && (m->kind == SNAP_BASE || m->kind == SNAP_NAMED))
		return rule(e, "spent", "a base and a named capture are never");
	if (m->spent != (m->spent_at[0] != '\0'))
		return rule(e, "spent_at", "belongs to a spent capture");
	if (m->composed_from[0] && m->memory.form == SNAP_FORM_DELTA)
		return rule(e, "composed_from", "the memory is still a delta");
	if (m->vmstate.bytes == 0 || m->vmstate.bytes > SNAP_STATE_MAX)
		return rule(e, "vmstate: bytes", "out of range");
	if (!m->vmstate.sha256[0])
		return rule(e, "vmstate: sha256", "missing");
	if (m->machine.vmm == INSTANCE_VMM_NONE)
		return rule(e, "machine: vmm", "missing");
	return memory_rules(m, e);
}

static void seal_of(const struct snap_manifest *m, digest_text out)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct snap_manifest bare = *m; // its lists stay m's

	bare.seal[0] = '\0';
	codec_print(snap_manifest_fields, &bare, &text);
	sha_text(&text, out);
}

// The marks themselves are what was changed when the seal fits with those of the fields.
static bool are_marks_changed(const struct snap_manifest *m)
{
	struct snap_manifest now = *m; // its lists stay m's
	digest_text seal;

	snap_manifest_mark(&now);
	seal_of(&now, seal);
	return str_eq(seal, m->seal);
}

int snap_manifest_sealed(const struct snap_manifest *m, struct err *e)
{
	char field[128] = "";
	digest_text seal;

	seal_of(m, seal);
	if (str_eq(seal, m->seal))
		return 0;
	if (are_marks_changed(m))
		base_cut(field, sizeof(field), "marks");
	if (!field[0] && !snap_manifest_changed(m, field, sizeof(field)))
		return rule(e, "seal", "does not fit: the manifest was changed by somebody else");
	return rule(e, field, "does not fit the seal: it was changed by somebody else");
}

void snap_manifest_print(struct snap_manifest *m, struct buf *out)
{
	snap_manifest_mark(m);
	seal_of(m, m->seal);
	codec_print(snap_manifest_fields, m, out);
	buf_char(out, '\n');
}

int snap_manifest_parse(const char *text, size_t len, struct snap_manifest *ret, struct err *e)
{
	struct snap_manifest m = { 0 };

	if (codec_parse(snap_manifest_fields, text, len, &m, e) < 0) {
		e->kind = ERR_DAMAGED;
		return -e->no;
	}
	if (snap_manifest_rules(&m, e) < 0) {
		snap_manifest_free(&m);
		return -e->no;
	}
	*ret = m;
	return 0;
}

static int damaged(struct err *e)
{
	// Whole, and not for here, or not now.
	if (e->kind == ERR_CONFLICT || e->kind == ERR_STATE || e->kind == ERR_UNAVAILABLE)
		return -e->no;
	(void)err_wrap(e, SNAP_MANIFEST ": damaged");
	return err_hint(e, "nothing was changed; put a good copy of the file back, or remove the "
			   "capture");
}

int snap_manifest_load(int dir, const struct snap_wanted *wanted, struct snap_manifest *ret,
		       struct err *e)
{
	cleanup_manifest struct snap_manifest m = { 0 };
	cleanup_buf struct buf text = BUF_INIT;

	if (fd_read_file(dir, SNAP_MANIFEST, CODEC_MAX, &text, e) < 0) {
		if (e->no == EFBIG || e->no == EINVAL || e->no == ENOENT || e->no == ELOOP)
			e->kind = ERR_DAMAGED;
		return -e->no;
	}
	if (text.len == 0 || text.data[text.len - 1] != '\n') {
		(void)rule(e, "end", "the file was cut");
		return damaged(e);
	}
	if (snap_manifest_parse(buf_text(&text), text.len, &m, e) < 0 ||
	    (wanted && snap_manifest_check(&m, wanted, e) < 0) || snap_manifest_sealed(&m, e) < 0)
		return damaged(e);
	*ret = m;
	m = (struct snap_manifest){ 0 };
	return 0;
}

int snap_manifest_save(int dir, struct snap_manifest *m, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	if (snap_manifest_rules(m, e) < 0)
		return -e->no;
	snap_manifest_print(m, &text);
	return fd_replace_file(dir, SNAP_MANIFEST, text.data, text.len, SNAP_MANIFEST_MODE, e);
}
