// SPDX-License-Identifier: MIT
#include "state/result.h"

const char *const exit_cause_names[] = { "asked",	"guest-reboot",	  "guest-panic",
					 "guest-reset", "killed",	  "oom",
					 "crashed",	"start-failed",	  "timeout",
					 "host-reboot", "forbidden-call", NULL };

const struct field result_error_fields[] = {
	{ FIELD_SLOT(struct result_error, code, char[32]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "word for the kind of failure" },
	{ FIELD_SLOT(struct result_error, exit, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 255, .doc = "exit status" },
	{ FIELD_SLOT(struct result_error, message, char[904]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "what failed" },
	{ FIELD_SLOT(struct result_error, hint, char[240]), .kind = KIND_TEXT,
	  .doc = "what to do" },
	{ FIELD_SLOT(struct result_error, object, char[160]), .kind = KIND_TEXT,
	  .doc = "what it is about" },
	{ FIELD_SLOT(struct result_error, request_id, char[64]), .kind = KIND_TEXT,
	  .doc = "the request it answers" },
	{ FIELD_SLOT(struct result_error, retryable, bool), .kind = KIND_BOOL,
	  .doc = "the same may work later" },
	FIELD_END
};

const struct field exit_fields[] = {
	{ FIELD_SLOT(struct exit_record, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct exit_record, cause, int), .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
	  .names = exit_cause_names, .doc = "why it ended" },
	{ FIELD_SLOT(struct exit_record, exit_code, char[16]), .kind = KIND_TEXT,
	  .doc = "how the VMM ended: exited, killed, dumped" },
	{ FIELD_SLOT(struct exit_record, exit_status, char[16]), .kind = KIND_TEXT,
	  .doc = "its exit status or the signal's name" },
	{ FIELD_SLOT(struct exit_record, service_result, char[32]), .kind = KIND_TEXT,
	  .doc = "the supervisor's word for it" },
	{ FIELD_SLOT(struct exit_record, message, char[904]), .kind = KIND_TEXT,
	  .doc = "for people; the console's last lines" },
	{ FIELD_SLOT(struct exit_record, at, time_text), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .min = 1, .check = store_check_time, .doc = "when (UTC)" },
	{ FIELD_SLOT(struct exit_record, error, struct result_error), .kind = KIND_RECORD,
	  .flags = FIELD_NULLABLE, .sub = result_error_fields, .doc = "of a start that failed" },
	FIELD_END
};

const struct field start_stage_fields[] = {
	{ FIELD_SLOT(struct start_stage, stage, char[32]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 1, .doc = "what was done" },
	{ FIELD_SLOT(struct start_stage, ms, uint64_t), .kind = KIND_UINT, .flags = FIELD_REQUIRED,
	  .max = 1ULL << 40, .doc = "when it was done, since the start was asked for" },
	FIELD_END
};

static const struct field start_drive_fields[] = {
	{ FIELD_SLOT(struct start_drive, drive, char[16]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 1, .doc = "secrets or config" },
	{ FIELD_SLOT(struct start_drive, number, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .doc = "epoch of the secrets, version of the configuration" },
	FIELD_END
};

const struct field start_fields[] = {
	{ FIELD_SLOT(struct start_record, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct start_record, op_id, char[11]), .kind = KIND_TEXT,
	  .doc = "the work it belongs to" },
	{ FIELD_SLOT(struct start_record, at, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_time, .doc = "when it was written (UTC)" },
	{ FIELD_SLOT(struct start_record, load, bool), .kind = KIND_BOOL,
	  .doc = "woken from a capture" },
	{ FIELD_SLOT(struct start_record, cold, char[240]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "why a wake became a cold start" },
	{ FIELD_SLOT(struct start_record, total_ms, uint64_t), .kind = KIND_UINT, .max = 1ULL << 40,
	  .doc = "until the guest was ready" },
	{ FIELD_SLOT(struct start_record, drives, struct codec_list), .kind = KIND_LIST,
	  .flags = FIELD_OMIT_EMPTY, .max = 8, .sub = start_drive_fields,
	  .item_size = sizeof(struct start_drive),
	  .doc = "what a woken guest took with its repair" },
	{ FIELD_SLOT(struct start_record, stages, struct codec_list), .kind = KIND_LIST, .max = 64,
	  .sub = start_stage_fields, .item_size = sizeof(struct start_stage), .doc = "in order" },
	{ FIELD_SLOT(struct start_record, error, struct result_error), .kind = KIND_RECORD,
	  .flags = FIELD_NULLABLE, .sub = result_error_fields, .doc = "why it failed" },
	FIELD_END
};

void result_from_err(const struct err *e, const char *request_id, struct result_error *out)
{
	*out = (struct result_error){ .exit = (uint32_t)err_exit(e) & 255,
				      .retryable = err_kinds[e->kind].retryable };
	(void)snprintf(out->code, sizeof(out->code), "%s", err_kinds[e->kind].code);
	memcpy(out->message, e->msg, sizeof(out->message));
	memcpy(out->hint, e->hint, sizeof(out->hint));
	memcpy(out->object, e->object, sizeof(out->object));
	(void)snprintf(out->request_id, sizeof(out->request_id), "%s", request_id);
}

int result_to_err(const struct result_error *r, struct err *e)
{
	int kind = ERR_FAILED;

	for (int k = 0; k < ERR_KINDS; k++)
		if (str_eq(err_kinds[k].code, r->code))
			kind = k;
	err_kind(e, (enum err_kind)kind, "%s", r->message);
	if (r->exit && (int)r->exit != err_kinds[kind].exit)
		e->exit = (int)r->exit;
	memcpy(e->hint, r->hint, sizeof(e->hint));
	memcpy(e->object, r->object, sizeof(e->object));
	return -e->no;
}

void start_free(struct start_record *r)
{
	codec_free(start_fields, r);
}

void start_stage_add(struct codec_list *stages, const char *stage, uint64_t ms)
{
	struct start_stage *s = codec_list_add(stages, sizeof(*s));

	(void)snprintf(s->stage, sizeof(s->stage), "%s", stage);
	s->ms = ms;
}

void start_drive_add(struct start_record *r, const char *drive, uint64_t number)
{
	struct start_drive *d = codec_list_add(&r->drives, sizeof(*d));

	(void)snprintf(d->drive, sizeof(d->drive), "%s", drive);
	d->number = number;
}

bool start_has_drive(const struct start_record *r, const char *drive, uint64_t number)
{
	const struct start_drive *d = r->drives.items;

	for (size_t i = 0; i < r->drives.len; i++)
		if (str_eq(d[i].drive, drive) && d[i].number == number)
			return true;
	return false;
}

int exit_load(const struct store *s, struct exit_record *ret, struct err *e)
{
	struct exit_record r = { 0 };

	if (store_load(s, EXIT_FILE, exit_fields, &r, e) < 0)
		return -e->no;
	*ret = r;
	return 0;
}

int exit_save(const struct store *s, const struct exit_record *r, struct err *e)
{
	return store_save(s, EXIT_FILE, exit_fields, r, e);
}
