// SPDX-License-Identifier: MIT
// What the files of the API server share. Not for others: they include fc/server.h.
#pragma once
#include "fc/cmdline.h"
#include "fc/http.h"
#include "fc/qemu.h"
#include "fc/vmlog.h"
#include "fc/vmmetrics.h"

struct server {
	struct loop *loop;
	struct http *http; // NULL with --no-api
	struct qemu *qemu;
	int root_fd;	// directory of all paths, or AT_FDCWD
	int console_fd; // where the guest's console goes; ours
	struct qemu_confined confined;
	const char *id;

	struct qemu_config config;
	char *serial_path;
	bool booting;  // something of a guest was configured: a load is refused from then on
	bool started;  // InstanceStart or a load was successful
	bool ended;    // the guest is gone, or a load failed: the process ends
	int status;    // then: exit status
	char why[256]; // then: for people

	struct vmlog log;
	struct vmmetrics metrics;
	struct loop_source *metrics_timer;
};

// One request while it is handled. A handler returns 0 with what it prints as the body of a 200, or
// nothing for 204; or -errno with *e for 400.
struct server_call {
	struct server *s;
	const char *id;	  // second part of the path, NULL when there is none
	const char *body; // never NULL for PUT and PATCH
	size_t len;
	bool deprecated; // a deprecated field was used
	struct buf *out;
};
typedef int (*server_fn)(struct server_call *c, struct err *e);

// server_route.c: an http_fn; arg is the server.
void server_handle(void *arg, const struct http_item *rq, struct http_answer *a);
// Decodes the body; the message of a failure is upstream's.
int server_parse(const struct server_call *c, const struct field *tab, void *rec,
		 struct err *e) MUST_CHECK;
// The path's id fits the rules and the one in the body.
int server_check_id(const struct server_call *c, const char *in_body, struct err *e) MUST_CHECK;
int server_refuse(struct err *e, const char *what); // "not supported: what"

// server_config.c: what is configured before the start
int server_put_boot_source(struct server_call *c, struct err *e);
int server_put_machine(struct server_call *c, struct err *e);
int server_patch_machine(struct server_call *c, struct err *e);
int server_get_machine(struct server_call *c, struct err *e);
int server_put_vsock(struct server_call *c, struct err *e);
int server_put_entropy(struct server_call *c, struct err *e);
int server_put_serial(struct server_call *c, struct err *e);
int server_put_logger(struct server_call *c, struct err *e);
int server_put_metrics(struct server_call *c, struct err *e);
void server_config_print(const struct server *s, struct buf *out); // GET /vm/config

// server_device.c
int server_put_drive(struct server_call *c, struct err *e);
int server_patch_drive(struct server_call *c, struct err *e);
int server_put_net(struct server_call *c, struct err *e);
int server_patch_net(struct server_call *c, struct err *e);
// Opens a drive's file as the guest will use it and checks its kind.
int server_check_drive_file(const struct server *s, const char *path, bool read_only,
			    struct err *e) MUST_CHECK;

// server_vm.c: the guest itself
int server_put_action(struct server_call *c, struct err *e);
int server_patch_vm(struct server_call *c, struct err *e);
int server_create_snapshot(struct server_call *c, struct err *e);
int server_load_snapshot(struct server_call *c, struct err *e);
int server_start(struct server *s, struct err *e) MUST_CHECK;
void server_metrics_write(struct server *s);
int server_metrics_start(struct server *s, struct err *e) MUST_CHECK;
// The guest has ended, or never will be: status is the exit status.
void server_end(struct server *s, int status, const char *why);

// server_file.c: configures by --config-file's text, not yet started.
int server_config_file(struct server *s, const char *text, size_t len, struct err *e) MUST_CHECK;

// server_rights.c: drops groups, gid, uid and all capabilities for good; what is left to open is
// the root directory, what is left of the system calls a list.
int server_drop_rights(const struct server *s, struct err *e) MUST_CHECK;
