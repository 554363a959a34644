// SPDX-License-Identifier: MIT
#include "life/launch.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "state/pool.h"
#include <fcntl.h>

static const char *const mode_names[] = { "boot", "load", NULL };

static const struct field request_fields[] = {
	{ FIELD_SLOT(struct launch_request, stage, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .max = 31,
	  .doc = "what the call is counted as in the stage times" },
	{ FIELD_SLOT(struct launch_request, method, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .max = 8, .doc = "HTTP method" },
	{ FIELD_SLOT(struct launch_request, path, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .max = 128, .doc = "path of the call" },
	{ FIELD_SLOT(struct launch_request, body, char *), .kind = KIND_RAW,
	  .flags = FIELD_REQUIRED, .max = 51200, .doc = "its JSON body" },
	FIELD_END
};

static int check_address(const char *s, struct err *e)
{
	struct address a;

	return address_parse(s, ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e);
}

static int check_ip(const char *s, struct err *e)
{
	uint32_t ip;

	return ip_parse(s, &ip, e);
}

static int check_absolute(const char *s, struct err *e)
{
	return s[0] == '/' ? 0 : err_usage(e, "'%s' is not an absolute path", s);
}

static int check_file_name(const char *s, struct err *e)
{
	return s[0] == '.' || strchr(s, '/') ? err_usage(e, "'%s' is not a file name", s) : 0;
}

static const struct field bind_fields[] = {
	{ FIELD_SLOT(struct launch_bind, from, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .max = PATH_LEN, .check = check_absolute,
	  .doc = "the file outside of the jail" },
	{ FIELD_SLOT(struct launch_bind, name, char[64]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 1, .check = check_file_name,
	  .doc = "its name in the jail's root" },
	FIELD_END
};

const struct field launch_fields[] = {
	{ FIELD_SLOT(struct launch, address, address_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = check_address, .doc = "tenant/pool/instance" },
	{ FIELD_SLOT(struct launch, vmm, char[12]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .doc = "firecracker or qemu" },
	{ FIELD_SLOT(struct launch, mode, int), .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
	  .names = mode_names, .doc = "boot or load" },
	{ FIELD_SLOT(struct launch, jail, char *), .kind = KIND_STRING, .flags = FIELD_REQUIRED,
	  .max = PATH_LEN, .check = check_absolute, .doc = "the VMM's root directory" },
	{ FIELD_SLOT(struct launch, uid, uint32_t), .kind = KIND_UINT, .flags = FIELD_REQUIRED,
	  .min = VM_UID_BASE, .max = UINT32_MAX, .doc = "uid and gid of the VM" },
	{ FIELD_SLOT(struct launch, seccomp, int), .kind = KIND_ENUM, .names = pool_seccomp_names,
	  .doc = "baseline or strict" },
	{ FIELD_SLOT(struct launch, argv, struct codec_list), .kind = KIND_TEXTS,
	  .flags = FIELD_REQUIRED, .max = 64, .doc = "program and arguments" },
	{ FIELD_SLOT(struct launch, binds, struct codec_list), .kind = KIND_LIST, .max = 8,
	  .sub = bind_fields, .item_size = sizeof(struct launch_bind),
	  .doc = "files to bind into the jail, read-only" },
	{ FIELD_SLOT(struct launch, requests, struct codec_list), .kind = KIND_LIST,
	  .flags = FIELD_REQUIRED, .max = 64, .sub = request_fields,
	  .item_size = sizeof(struct launch_request), .doc = "API calls in order" },
	{ FIELD_SLOT(struct launch, capture, char[41]), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .doc = "the capture that is loaded" },
	{ FIELD_SLOT(struct launch, capture_seal, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "seal of its manifest" },
	{ FIELD_SLOT(struct launch, clone, bool), .kind = KIND_BOOL, .flags = FIELD_OMIT_EMPTY,
	  .doc = "its memory is that of another instance" },
	{ FIELD_SLOT(struct launch, restless, bool), .kind = KIND_BOOL, .flags = FIELD_OMIT_EMPTY,
	  .doc = "its guest was not at rest when it was captured" },
	{ FIELD_SLOT(struct launch, begun_ms, uint64_t), .kind = KIND_UINT, .max = 1ULL << 52,
	  .doc = "when prepare began (CLOCK_MONOTONIC)" },
	{ FIELD_SLOT(struct launch, stages, struct codec_list), .kind = KIND_LIST, .max = 16,
	  .sub = start_stage_fields, .item_size = sizeof(struct start_stage),
	  .doc = "what prepare took" },
	{ FIELD_SLOT(struct launch, hostname, char[65]), .kind = KIND_TEXT,
	  .doc = "the guest's name" },
	{ FIELD_SLOT(struct launch, guest_ip, ip_text), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .check = check_ip, .doc = "the guest's address" },
	{ FIELD_SLOT(struct launch, gateway_ip, ip_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = check_ip, .doc = "the tenant's gateway" },
	{ FIELD_SLOT(struct launch, prefix, uint8_t), .kind = KIND_UINT, .flags = FIELD_REQUIRED,
	  .min = 16, .max = 28, .doc = "prefix length of the tenant's subnet" },
	{ FIELD_SLOT(struct launch, entrypoint, struct codec_list), .kind = KIND_TEXTS, .max = 256,
	  .doc = "what the guest runs, none when empty" },
	{ FIELD_SLOT(struct launch, environment, struct codec_list), .kind = KIND_TEXTS, .max = 256,
	  .doc = "K=V for the entrypoint and every command" },
	{ FIELD_SLOT(struct launch, probes, struct codec_list), .kind = KIND_TEXTS, .max = 1024,
	  .doc = "how the guest is probed, not at all when empty" },
	{ FIELD_SLOT(struct launch, ready_timeout_ms, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 600000, .doc = "how long the guest may take" },
	FIELD_END
};

static int open_run_dir(const char *instance, path_text path, struct err *e)
{
	path_run_instance(instance, path);
	return fd_open_dir(AT_FDCWD, path, e);
}

// Both documents are small and ours, but a reader never trusts a file's size.
static int load(const char *instance, const char *name, const struct field *tab, void *rec,
		struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	path_text path;
	cleanup_fd int dir = open_run_dir(instance, path, e);

	if (dir < 0)
		return -e->no;
	if (fd_read_file(dir, name, CODEC_MAX, &text, e) < 0) {
		if (e->no == EFBIG)
			e->kind = ERR_DAMAGED;
		return err_wrap(e, "%s", path);
	}
	if (codec_parse(tab, buf_text(&text), text.len, rec, e) < 0) {
		e->kind = ERR_DAMAGED;
		return err_wrap(e, "%s/%s", path, name);
	}
	return 0;
}

static int save(const char *instance, const char *name, const struct field *tab, const void *rec,
		struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	path_text path;
	cleanup_fd int dir = open_run_dir(instance, path, e);

	if (dir < 0)
		return -e->no;
	codec_print(tab, rec, &text);
	buf_char(&text, '\n');
	if (fd_replace_file(dir, name, buf_text(&text), text.len, 0600, e) < 0)
		return err_wrap(e, "%s", path);
	return 0;
}

int launch_load(const char *instance, struct launch *ret, struct err *e)
{
	return load(instance, LAUNCH_FILE, launch_fields, ret, e);
}

int launch_save(const char *instance, const struct launch *l, struct err *e)
{
	return save(instance, LAUNCH_FILE, launch_fields, l, e);
}

bool launch_written(const char *instance)
{
	path_text dir, file;

	path_run_instance(instance, dir);
	path_join(file, dir, LAUNCH_FILE);
	return access(file, F_OK) == 0;
}

int launch_load_start(const char *instance, struct start_record *ret, struct err *e)
{
	return load(instance, START_FILE, start_fields, ret, e);
}

int launch_save_start(const char *instance, const struct start_record *r, struct err *e)
{
	return save(instance, START_FILE, start_fields, r, e);
}

void launch_leave_error(const struct address *a, const struct err *why)
{
	cleanup_start struct start_record r = { .schema_version = 1 };
	struct err e = { 0 };
	path_text dir;

	clock_utc(r.at);
	result_from_err(why, "", &r.error);
	path_run_instance(a->instance, dir);
	if (fd_mkdirs(dir, 0700, &e) < 0 || launch_save_start(a->instance, &r, &e) < 0)
		log_error(a->instance, "%s", e.msg);
}

void launch_free(struct launch *l)
{
	codec_free(launch_fields, l);
}
