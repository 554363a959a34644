// SPDX-License-Identifier: MIT
#include "fc/config.h"

#include <ctype.h>
#include <strings.h>

// What upstream's deserializer takes for an Option is nullable here; what it fills in by default
// may be absent but not null. The order of rows is that of upstream's answers.

int fc_id_check(const char *id, struct err *e)
{
	if (!*id)
		return err_usage(e, "The ID cannot be empty.");
	for (; *id; id++)
		if (!isalnum((unsigned char)*id) && *id != '_')
			return err_usage(e, "API Resource IDs can only contain alphanumeric "
					    "characters and underscores.");
	return 0;
}

static int check_mac(const char *mac, struct err *e)
{
	size_t i;

	for (i = 0; i < 17 && mac[i]; i++)
		if (i % 3 == 2 ? mac[i] != ':' : !isxdigit((unsigned char)mac[i]))
			break;
	if (i != 17 || mac[i])
		return err_usage(e, "'%.32s' is not a MAC address", mac);
	return 0;
}

static int check_word(const char *const *words, const char *what, const char *s, struct err *e)
{
	for (; *words; words++)
		if (strcasecmp(*words, s) == 0)
			return 0;
	return err_usage(e, "unknown %s '%.32s'", what, s);
}

static int check_template(const char *s, struct err *e)
{
	static const char *const words[] = {
		"C3", "T2", "T2S", "T2CL", "T2A", "V1N1", "None", NULL
	};

	for (const char *const *w = words; *w; w++)
		if (str_eq(*w, s))
			return 0;
	return err_usage(e, "unknown CPU template '%.32s'", s);
}

static int check_level(const char *s, struct err *e)
{
	static const char *const words[] = { "Off",  "Trace",	"Debug", "Info",
					     "Warn", "Warning", "Error", NULL };

	return check_word(words, "level", s, e);
}

const struct field fc_boot_source_fields[] = {
	{ FIELD_SLOT(struct fc_boot_source, kernel_image_path, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .doc = "file of the kernel, an ELF image" },
	{ FIELD_SLOT(struct fc_boot_source, initrd_path, char *), .kind = KIND_STRING,
	  .flags = FIELD_NULLABLE, .doc = "file of the initial RAM disk" },
	{ FIELD_SLOT(struct fc_boot_source, boot_args, char *), .kind = KIND_STRING,
	  .flags = FIELD_NULLABLE, .doc = "the kernel's command line, replaces the default" },
	FIELD_END
};

static const char *const huge_names[] = { "None", "2M", NULL };

// Limits on the numbers are fc_machine_config_check's: a body out of range is understood and
// refused, which upstream tells from one that is not understood.
const struct field fc_machine_config_fields[] = {
	{ FIELD_SLOT(struct fc_machine_config, vcpu_count, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 255, .doc = "virtual CPUs, 1 to 32" },
	{ FIELD_SLOT(struct fc_machine_config, mem_size_mib, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 1ULL << 44, .doc = "memory of the guest" },
	{ FIELD_SLOT(struct fc_machine_config, smt, bool), .kind = KIND_BOOL,
	  .doc = "two threads per core" },
	{ FIELD_SLOT(struct fc_machine_config, cpu_template, char *), .kind = KIND_STRING,
	  .flags = FIELD_NULLABLE | FIELD_OMIT_EMPTY, .check = check_template,
	  .doc = "static CPU template (deprecated)" },
	{ FIELD_SLOT(struct fc_machine_config, track_dirty_pages, bool), .kind = KIND_BOOL,
	  .doc = "keep a log of written pages, for differential snapshots" },
	{ FIELD_SLOT(struct fc_machine_config, huge_pages, int), .kind = KIND_ENUM,
	  .names = huge_names, .doc = "pages that back the guest's memory" },
	FIELD_END
};

static const char *const cache_names[] = { "Unsafe", "Writeback", NULL };
static const char *const engine_names[] = { "Sync", "Async", NULL };

const struct field fc_drive_fields[] = {
	{ FIELD_SLOT(struct fc_drive, drive_id, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .check = fc_id_check, .doc = "letters, digits and _" },
	{ FIELD_SLOT(struct fc_drive, partuuid, char *), .kind = KIND_STRING,
	  .flags = FIELD_NULLABLE, .doc = "partition to boot from" },
	{ FIELD_SLOT(struct fc_drive, is_root_device, bool), .kind = KIND_BOOL,
	  .flags = FIELD_REQUIRED, .doc = "the drive to boot from" },
	{ FIELD_SLOT(struct fc_drive, cache_type, int), .kind = KIND_ENUM, .names = cache_names,
	  .doc = "whether flushes of the guest reach the disk" },
	{ FIELD_SLOT(struct fc_drive, is_read_only, bool), .kind = KIND_BOOL,
	  .flags = FIELD_NULLABLE, .doc = "the guest may not write" },
	{ FIELD_SLOT(struct fc_drive, path_on_host, char *), .kind = KIND_STRING,
	  .flags = FIELD_NULLABLE, .doc = "file or block device behind it" },
	{ FIELD_SLOT(struct fc_drive, rate_limiter, char *), .kind = KIND_RAW,
	  .flags = FIELD_NULLABLE, .doc = "token buckets for bytes and operations" },
	{ FIELD_SLOT(struct fc_drive, io_engine, int), .kind = KIND_ENUM, .flags = FIELD_NULLABLE,
	  .names = engine_names, .doc = "how the host reads and writes" },
	{ FIELD_SLOT(struct fc_drive, socket, char *), .kind = KIND_STRING, .flags = FIELD_NULLABLE,
	  .doc = "vhost-user backend instead of a file" },
	FIELD_END
};

const struct field fc_net_fields[] = {
	{ FIELD_SLOT(struct fc_net, iface_id, char *), .kind = KIND_STRING, .flags = FIELD_REQUIRED,
	  .check = fc_id_check, .doc = "letters, digits and _" },
	{ FIELD_SLOT(struct fc_net, host_dev_name, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .doc = "TAP device of the host" },
	{ FIELD_SLOT(struct fc_net, guest_mac, char *), .kind = KIND_STRING,
	  .flags = FIELD_NULLABLE, .check = check_mac, .doc = "address the guest uses" },
	{ FIELD_SLOT(struct fc_net, rx_rate_limiter, char *), .kind = KIND_RAW,
	  .flags = FIELD_NULLABLE, .doc = "token buckets towards the guest" },
	{ FIELD_SLOT(struct fc_net, tx_rate_limiter, char *), .kind = KIND_RAW,
	  .flags = FIELD_NULLABLE, .doc = "token buckets from the guest" },
	FIELD_END
};

const struct field fc_vsock_fields[] = {
	{ FIELD_SLOT(struct fc_vsock, vsock_id, char *), .kind = KIND_STRING,
	  .flags = FIELD_NULLABLE | FIELD_OMIT_EMPTY, .doc = "name (deprecated)" },
	{ FIELD_SLOT(struct fc_vsock, guest_cid, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = UINT32_MAX, .doc = "the guest's context id" },
	{ FIELD_SLOT(struct fc_vsock, uds_path, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .doc = "socket of the host for connections into the guest" },
	FIELD_END
};

const struct field fc_entropy_fields[] = { { FIELD_SLOT(struct fc_entropy, rate_limiter, char *),
					     .kind = KIND_RAW, .flags = FIELD_NULLABLE,
					     .doc = "token buckets for bytes and operations" },
					   FIELD_END };

const struct field fc_logger_fields[] = {
	{ FIELD_SLOT(struct fc_logger, log_path, char *), .kind = KIND_STRING,
	  .flags = FIELD_NULLABLE, .doc = "file or named pipe for log lines" },
	{ FIELD_SLOT(struct fc_logger, level, char *), .kind = KIND_STRING, .flags = FIELD_NULLABLE,
	  .check = check_level, .doc = "Off, Error, Warning, Info, Debug" },
	{ FIELD_SLOT(struct fc_logger, show_level, bool), .kind = KIND_BOOL,
	  .flags = FIELD_NULLABLE, .doc = "lines tell their level" },
	{ FIELD_SLOT(struct fc_logger, show_log_origin, bool), .kind = KIND_BOOL,
	  .flags = FIELD_NULLABLE, .doc = "lines tell where in the program they were made" },
	{ FIELD_SLOT(struct fc_logger, module, char *), .kind = KIND_STRING,
	  .flags = FIELD_NULLABLE, .doc = "only lines of this part of the program" },
	FIELD_END
};

const struct field fc_metrics_fields[] = { { FIELD_SLOT(struct fc_metrics, metrics_path, char *),
					     .kind = KIND_STRING, .flags = FIELD_REQUIRED,
					     .doc = "file or named pipe for metrics, a line each" },
					   FIELD_END };

const struct field fc_serial_fields[] = { { FIELD_SLOT(struct fc_serial, serial_out_path, char *),
					    .kind = KIND_STRING, .flags = FIELD_NULLABLE,
					    .doc = "file or named pipe for the guest's console" },
					  FIELD_END };

static const char *const action_names[] = { "InstanceStart", "FlushMetrics", "SendCtrlAltDel",
					    NULL };

const struct field fc_action_fields[] = { { FIELD_SLOT(struct fc_action, action_type, int),
					    .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
					    .names = action_names, .doc = "what is to be done" },
					  FIELD_END };

static const char *const state_names[] = { "Paused", "Resumed", NULL };

const struct field fc_vm_fields[] = { { FIELD_SLOT(struct fc_vm, state, int), .kind = KIND_ENUM,
					.flags = FIELD_REQUIRED, .names = state_names,
					.doc = "the state to bring the VM into" },
				      FIELD_END };

static const char *const snapshot_names[] = { "Full", "Diff", NULL };

const struct field fc_snapshot_create_fields[] = {
	{ FIELD_SLOT(struct fc_snapshot_create, snapshot_type, int), .kind = KIND_ENUM,
	  .names = snapshot_names, .doc = "all memory, or what changed" },
	{ FIELD_SLOT(struct fc_snapshot_create, snapshot_path, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .doc = "file for the state" },
	{ FIELD_SLOT(struct fc_snapshot_create, mem_file_path, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .doc = "file for the memory" },
	FIELD_END
};

static const char *const backend_names[] = { "File", "Uffd", NULL };

static const struct field mem_backend_fields[] = {
	{ FIELD_SLOT(struct fc_mem_backend, backend_path, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .doc = "memory file, or socket of a page-fault handler" },
	{ FIELD_SLOT(struct fc_mem_backend, backend_type, int), .kind = KIND_ENUM,
	  .flags = FIELD_REQUIRED, .names = backend_names, .doc = "where pages come from" },
	FIELD_END
};

static const struct field net_override_fields[] = {
	{ FIELD_SLOT(struct fc_net_override, iface_id, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .doc = "interface of the snapshot" },
	{ FIELD_SLOT(struct fc_net_override, host_dev_name, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .doc = "TAP device to use for it" },
	FIELD_END
};

// Rows that older versions do not know are left out when they say nothing.
const struct field fc_snapshot_load_fields[] = {
	{ FIELD_SLOT(struct fc_snapshot_load, snapshot_path, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .doc = "file of the state" },
	{ FIELD_SLOT(struct fc_snapshot_load, mem_file_path, char *), .kind = KIND_STRING,
	  .flags = FIELD_NULLABLE | FIELD_OMIT_EMPTY, .doc = "file of the memory (deprecated)" },
	{ FIELD_SLOT(struct fc_snapshot_load, mem_backend, struct fc_mem_backend),
	  .kind = KIND_RECORD, .flags = FIELD_NULLABLE | FIELD_OMIT_EMPTY,
	  .sub = mem_backend_fields, .doc = "where the memory is" },
	{ FIELD_SLOT(struct fc_snapshot_load, enable_diff_snapshots, bool), .kind = KIND_BOOL,
	  .flags = FIELD_OMIT_EMPTY, .doc = "old name of track_dirty_pages (deprecated)" },
	{ FIELD_SLOT(struct fc_snapshot_load, track_dirty_pages, bool), .kind = KIND_BOOL,
	  .flags = FIELD_OMIT_EMPTY, .doc = "keep a log of written pages" },
	{ FIELD_SLOT(struct fc_snapshot_load, resume_vm, bool), .kind = KIND_BOOL,
	  .doc = "let it run at once" },
	{ FIELD_SLOT(struct fc_snapshot_load, network_overrides, struct codec_list),
	  .kind = KIND_LIST, .flags = FIELD_OMIT_EMPTY, .max = 64, .sub = net_override_fields,
	  .item_size = sizeof(struct fc_net_override), .doc = "other TAP devices" },
	{ FIELD_SLOT(struct fc_snapshot_load, clock_realtime, bool), .kind = KIND_BOOL,
	  .flags = FIELD_OMIT_EMPTY, .doc = "the guest's clock moves on by the time asleep" },
	FIELD_END
};

int fc_machine_config_check(const struct fc_machine_config *c, struct err *e)
{
	if (c->vcpu_count < 1 || c->vcpu_count > 32 ||
	    (c->smt && c->vcpu_count > 1 && c->vcpu_count % 2))
		return err_usage(e, "The number of vCPUs must be greater than 0, at most 32 and "
				    "1 or an even number if SMT is enabled.");
	if (c->mem_size_mib == 0 || (c->huge_pages == FC_HUGE_2M && c->mem_size_mib % 2))
		return err_usage(e, "The memory size (MiB) is either 0, or not a multiple of the "
				    "configured page size.");
	return 0;
}

// The table of a PATCH: the same rows, none required, null for "as it is".
static void patch_table(struct field out[COUNT(fc_machine_config_fields)])
{
	memcpy(out, fc_machine_config_fields, sizeof(fc_machine_config_fields));
	for (struct field *f = out; f->key; f++)
		f->flags = FIELD_NULLABLE;
}

static bool given(const struct codec_node *doc, const char *key)
{
	const struct codec_node *n = codec_get(doc, key);

	return n && codec_type(n) != CODEC_NULL;
}

int fc_machine_config_patch(struct fc_machine_config *c, const char *text, size_t len,
			    bool *ret_deprecated, struct err *e)
{
	struct field tab[COUNT(fc_machine_config_fields)];
	struct fc_machine_config next = { 0 };
	struct codec_node *doc = NULL;
	int set = 0;

	patch_table(tab);
	if (codec_parse(tab, text, len, &next, e) < 0)
		return -e->no;
	if (codec_tree(text, len, &doc, e) < 0) {
		codec_free(tab, &next);
		return -e->no;
	}
	for (const struct field *f = tab; f->key; f++) {
		if (!given(doc, f->key))
			continue;
		set++;
		if (f->kind == KIND_STRING) // the only member that owns memory
			free(c->cpu_template);
		memcpy((char *)c + f->at, (char *)&next + f->at, f->size);
	}
	*ret_deprecated = given(doc, "cpu_template");
	if (!*ret_deprecated)
		free(next.cpu_template);
	codec_tree_free(doc);
	return set ? 0 : err_usage(e, "Empty PATCH request.");
}
