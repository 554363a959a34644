// SPDX-License-Identifier: MIT
// What the steps of a start and an end leave beside instance.json: start.json (the stages' times or
// the error) and exit.json (why the last run ended).
#pragma once
#include "state/instance.h"

#define EXIT_FILE  "exit.json"
#define START_FILE "start.json"

enum exit_cause {
	EXIT_ASKED,
	EXIT_GUEST_REBOOT,
	EXIT_GUEST_PANIC,
	EXIT_GUEST_RESET,
	EXIT_KILLED,
	EXIT_OOM,
	EXIT_CRASHED,
	EXIT_START_FAILED,
	EXIT_TIMEOUT,
	EXIT_HOST_REBOOT,
	EXIT_FORBIDDEN_CALL, // of the system: its filter has ended the VMM
	EXIT_CAUSES
};
extern const char *const exit_cause_names[];

// An error that crosses a process: the same keys as --errors json. code "": none (null).
struct result_error {
	char code[32];
	uint32_t exit;
	char message[904];
	char hint[240];
	char object[160];
	char request_id[64];
	bool retryable;
};
extern const struct field result_error_fields[];
void result_from_err(const struct err *e, const char *request_id, struct result_error *out);
int result_to_err(const struct result_error *r, struct err *e); // always fails: returns -e->no

struct exit_record {
	uint32_t schema_version; // 1
	int cause;		 // enum exit_cause
	char exit_code[16];	 // systemd's EXIT_CODE: exited, killed, dumped, ""
	char exit_status[16];	 // number or signal name, ""
	char service_result[32]; // systemd's SERVICE_RESULT, ""
	char message[904];
	time_text at;
	struct result_error error; // of a failed start
};
extern const struct field exit_fields[];

struct start_stage {
	char stage[32];
	uint64_t ms; // since the start was asked for
};

struct start_drive {
	char drive[16]; // of disk/drive.h's names
	uint64_t number;
};
struct start_record {
	uint32_t schema_version; // 1
	char op_id[11];
	time_text at;
	bool load;	// woken from a capture
	char cold[240]; // why a wake became a cold start, ""
	uint64_t total_ms;
	struct codec_list drives; // of struct start_drive
	struct codec_list stages; // of struct start_stage
	struct result_error error;
};
extern const struct field start_fields[], start_stage_fields[];
#define cleanup_start cleanup(start_free)
void start_free(struct start_record *r);
void start_stage_add(struct codec_list *stages, const char *stage, uint64_t ms);
void start_drive_add(struct start_record *r, const char *drive, uint64_t number);
bool start_has_drive(const struct start_record *r, const char *drive, uint64_t number);

// exit.json in the instance's directory; absent is ERR_MISSING. Saving needs the instance's lock.
int exit_load(const struct store *s, struct exit_record *ret, struct err *e) MUST_CHECK;
int exit_save(const struct store *s, const struct exit_record *r, struct err *e) MUST_CHECK;
