// SPDX-License-Identifier: MIT
// The tables of manifest.json.
#include "snap/manifest.h"
#include "state/pool.h"

#define HEX "^[0-9a-f]{64}$"

const char *const snap_kind_names[] = { "base", "delta", "full", "named", NULL };
const char *const snap_form_names[] = { "mem", "delta", "pack", NULL };

static int check_sha256(const char *text, struct err *e)
{
	size_t digits = strspn(text, "0123456789abcdef");

	if (text[0] && (digits != 64 || text[64]))
		return err_usage(e, "not a SHA-256");
	return 0;
}

static int check_hex(const char *text, struct err *e)
{
	return text[strspn(text, "0123456789abcdef")] ? err_usage(e, "not hexadecimal") : 0;
}

// As a directory of the pool is called: what it is a digest of is its builder's affair.
static int check_revision(const char *text, struct err *e)
{
	size_t good = strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz");

	return text[good] ? err_usage(e, "not the name of an image") : 0;
}

static int check_parent(const char *text, struct err *e)
{
	return str_eq(text, SNAP_NONE) ? 0 : snap_ref_check(text, e);
}

static int check_digits(const char *text, struct err *e)
{
	return text[strspn(text, "0123456789.")] ? err_usage(e, "not a number") : 0;
}

#define TEXT_ROW(type, member, ctype, words)                                                 \
	{                                                                                    \
		FIELD_SLOT(type, member, ctype), .kind = KIND_TEXT, .flags = FIELD_REQUIRED, \
						 .doc = (words)                              \
	}
#define UINT_ROW(type, member, ctype, words)                                                 \
	{                                                                                    \
		FIELD_SLOT(type, member, ctype), .kind = KIND_UINT, .flags = FIELD_REQUIRED, \
						 .doc = (words)                              \
	}
#define SHA_ROW(type, member, words)                                                 \
	{                                                                            \
		FIELD_SLOT(type, member, char[65]),                                  \
			.kind = KIND_TEXT, .flags = FIELD_REQUIRED | FIELD_NULLABLE, \
			.check = check_sha256, .schema_pattern = HEX, .doc = (words) \
	}
#define RECORD_ROW(type, member, ctype, table, words)                                          \
	{                                                                                      \
		FIELD_SLOT(type, member, ctype), .kind = KIND_RECORD, .flags = FIELD_REQUIRED, \
						 .sub = (table), .doc = (words)                \
	}

static const struct field cpu_fields[] = {
	TEXT_ROW(struct snap_cpu, vendor, char[16], "who made it"),
	UINT_ROW(struct snap_cpu, family, uint32_t, "family"),
	UINT_ROW(struct snap_cpu, model, uint32_t, "model"),
	UINT_ROW(struct snap_cpu, stepping, uint32_t, "stepping"),
	TEXT_ROW(struct snap_cpu, microcode, char[24], "version of its microcode"),
	SHA_ROW(struct snap_cpu, flags_sha256, "digest of its sorted flags"),
	FIELD_END
};

static const struct field device_fields[] = {
	TEXT_ROW(struct snap_device, kind, char[16], "drive, net, vsock, entropy"),
	TEXT_ROW(struct snap_device, id, char[32], "its name towards the VMM"),
	UINT_ROW(struct snap_device, bytes, uint64_t, "size of a drive"),
	TEXT_ROW(struct snap_device, identity, char[80],
		 "of a drive: digest or UUID of its file system; of an interface: its MAC"),
	FIELD_END
};

const struct field snap_machine_fields[] = {
	{ FIELD_SLOT(struct snap_machine, revision_hash, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED | FIELD_NULLABLE, .check = check_revision, .doc = "the image" },
	TEXT_ROW(struct snap_machine, arch, char[16], "of the host"),
	{ FIELD_SLOT(struct snap_machine, vmm, int), .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
	  .names = instance_vmm_names, .doc = "what ran it" },
	TEXT_ROW(struct snap_machine, vmm_version, char[32], "its version"),
	SHA_ROW(struct snap_machine, vmm_sha256, "digest of its program"),
	TEXT_ROW(struct snap_machine, state_format, char[32], "version of the format of vmstate"),
	TEXT_ROW(struct snap_machine, accel, char[8], "kvm or tcg"),
	RECORD_ROW(struct snap_machine, cpu, struct snap_cpu, cpu_fields, "the host's CPU"),
	TEXT_ROW(struct snap_machine, cpu_template, char[65], "CPU template"),
	TEXT_ROW(struct snap_machine, host_kernel, char[80], "release of the host's kernel"),
	UINT_ROW(struct snap_machine, vcpus, uint32_t, "virtual CPUs"),
	UINT_ROW(struct snap_machine, mem_mib, uint64_t, "memory"),
	{ FIELD_SLOT(struct snap_machine, pci, bool), .kind = KIND_BOOL, .flags = FIELD_REQUIRED,
	  .doc = "devices are on PCI" },
	UINT_ROW(struct snap_machine, agent_protocol, uint32_t, "version the guest's agent speaks"),
	{ FIELD_SLOT(struct snap_machine, devices, struct codec_list), .kind = KIND_LIST,
	  .flags = FIELD_REQUIRED, .sub = device_fields, .item_size = sizeof(struct snap_device),
	  .max = SNAP_DEVICES, .doc = "devices, in order" },
	{ FIELD_SLOT(struct snap_machine, emulator, char[128]), .kind = KIND_TEXT,
	  .flags = FIELD_OMIT_EMPTY, .doc = "of mvm-fc-qemu: version of QEMU" },
	{ FIELD_SLOT(struct snap_machine, tsc_khz, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_OMIT_EMPTY, .max = 1ULL << 40,
	  .doc = "of mvm-fc-qemu: rate of the host's time-stamp counter" },
	FIELD_END
};

const struct field snap_guest_fields[] = {
	{ FIELD_SLOT(struct snap_guest, tenant_id, name_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_name, .doc = "tenant" },
	{ FIELD_SLOT(struct snap_guest, pool_id, name_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_name, .doc = "pool" },
	{ FIELD_SLOT(struct snap_guest, instance_id, instance_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_instance,
	  .doc = "the instance; of a base, its template" },
	{ FIELD_SLOT(struct snap_guest, guest_ip, ip_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_ip, .doc = "its address" },
	{ FIELD_SLOT(struct snap_guest, gateway_ip, ip_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_ip, .doc = "its gateway" },
	UINT_ROW(struct snap_guest, cidr, uint32_t, "prefix length of its network"),
	TEXT_ROW(struct snap_guest, mac, mac_text, "its MAC"),
	{ FIELD_SLOT(struct snap_guest, disks, struct codec_list), .kind = KIND_LIST,
	  .flags = FIELD_REQUIRED, .sub = device_fields, .item_size = sizeof(struct snap_device),
	  .max = SNAP_DEVICES, .doc = "drives of its own" },
	FIELD_END
};

static const struct field parent_fields[] = {
	{ FIELD_SLOT(struct snap_parent, ref, snap_ref), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .check = check_parent, .doc = "base-<hash>, gen-<n> or none" },
	SHA_ROW(struct snap_parent, sha256, "digest of its memory"),
	FIELD_END
};

static const struct field file_fields[] = { UINT_ROW(struct snap_file, bytes, uint64_t, "size"),
					    SHA_ROW(struct snap_file, sha256, "digest"),
					    FIELD_END };

static const struct field seen_fields[] = {
	{ FIELD_SLOT(struct snap_seen, inode, char[24]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .check = check_digits, .doc = "inode" },
	{ FIELD_SLOT(struct snap_seen, mtime, char[32]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .check = check_digits, .doc = "time of the last change" },
	FIELD_END
};

static const struct field memory_fields[] = {
	{ FIELD_SLOT(struct snap_memory, form, int), .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
	  .names = snap_form_names, .doc = "which file holds it" },
	UINT_ROW(struct snap_memory, bytes, uint64_t, "size of the memory"),
	SHA_ROW(struct snap_memory, sha256, "digest of its pages"),
	RECORD_ROW(struct snap_memory, seen, struct snap_seen, seen_fields,
		   "the file mem when the digest was taken"),
	RECORD_ROW(struct snap_memory, pack, struct snap_file, file_fields, "the packed file"),
	FIELD_END
};

const struct field snap_manifest_fields[] = {
	{ FIELD_SLOT(struct snap_manifest, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "1" },
	{ FIELD_SLOT(struct snap_manifest, kind, int), .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
	  .names = snap_kind_names, .doc = "how it was taken" },
	{ FIELD_SLOT(struct snap_manifest, name, name_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED | FIELD_NULLABLE, .check = store_check_name,
	  .doc = "of a named one" },
	{ FIELD_SLOT(struct snap_manifest, created_at, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_time, .doc = "when" },
	// Older ones do not say it, and then it does not count as so.
	{ FIELD_SLOT(struct snap_manifest, quiesced, bool), .kind = KIND_BOOL,
	  .flags = FIELD_OMIT_EMPTY, .doc = "the guest was at rest; left out: not known to be" },
	RECORD_ROW(struct snap_manifest, machine, struct snap_machine, snap_machine_fields,
		   "what has to be the same at a load"),
	RECORD_ROW(struct snap_manifest, guest, struct snap_guest, snap_guest_fields,
		   "whose it is; has to be the same too"),
	RECORD_ROW(struct snap_manifest, parent, struct snap_parent, parent_fields,
		   "what a delta is laid over"),
	{ FIELD_SLOT(struct snap_manifest, composed_from, snap_ref), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED | FIELD_NULLABLE, .check = snap_ref_check,
	  .doc = "parent that a composed one had" },
	RECORD_ROW(struct snap_manifest, vmstate, struct snap_file, file_fields,
		   "state of CPUs and devices"),
	RECORD_ROW(struct snap_manifest, memory, struct snap_memory, memory_fields, "memory"),
	{ FIELD_SLOT(struct snap_manifest, compression, int), .kind = KIND_ENUM,
	  .flags = FIELD_REQUIRED, .names = pool_compression_names, .doc = "of the packed file" },
	{ FIELD_SLOT(struct snap_manifest, spent, bool), .kind = KIND_BOOL, .flags = FIELD_REQUIRED,
	  .doc = "it was loaded, and may not be loaded again" },
	{ FIELD_SLOT(struct snap_manifest, spent_at, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED | FIELD_NULLABLE, .check = store_check_time, .doc = "when" },
	{ FIELD_SLOT(struct snap_manifest, data, struct snap_file), .kind = KIND_RECORD,
	  .flags = FIELD_OMIT_EMPTY, .sub = file_fields,
	  .doc = "of a named one: its copy of the data disk, with the digest of its pages" },
	{ FIELD_SLOT(struct snap_manifest, cloned_from, instance_text), .kind = KIND_TEXT,
	  .flags = FIELD_OMIT_EMPTY, .check = store_check_instance,
	  .doc = "the instance whose memory it is, when its own guest is another" },
	{ FIELD_SLOT(struct snap_manifest, marks, char[SNAP_MARKS]), .kind = KIND_TEXT,
	  .flags = FIELD_OMIT_EMPTY, .check = check_hex,
	  .doc = "four digits for each field: where the seal does not fit, they tell which" },
	{ FIELD_SLOT(struct snap_manifest, seal, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_OMIT_EMPTY, .check = check_sha256, .schema_pattern = HEX,
	  .doc = "SHA-256 of the document without this field" },
	FIELD_END
};
