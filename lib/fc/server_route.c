// SPDX-License-Identifier: MIT
#include "fc/server_parts.h"

#include <limits.h>

enum when { ANY, PRE, POST };

struct route {
	enum http_verb verb;
	enum when when;
	const char *path, *sub; // sub NULL: a second part is an id, or of no matter
	server_fn fn;
	enum metric count, fails;
};

static int get_info(struct server_call *c, struct err *e)
{
	const struct server *s = c->s;

	(void)e;
	buf_str(c->out, "{\"id\":");
	buf_json(c->out, s->id);
	buf_fmt(c->out,
		",\"state\":\"%s\",\"vmm_version\":\"" FC_VERSION "\","
		"\"app_name\":\"mvm-fc-qemu\"}",
		!s->started		  ? "Not started"
		: qemu_is_paused(s->qemu) ? "Paused"
					  : "Running");
	return 0;
}

static int get_version(struct server_call *c, struct err *e)
{
	(void)e;
	buf_str(c->out, "{\"firecracker_version\":\"" FC_VERSION "\"}");
	return 0;
}

static int get_config(struct server_call *c, struct err *e)
{
	(void)e;
	server_config_print(c->s, c->out);
	return 0;
}

#define GET	      HTTP_VERB_GET
#define PUT	      HTTP_VERB_PUT
#define PATCH	      HTTP_VERB_PATCH
#define COUNTED(name) METRIC_##name, METRIC_##name##_FAILS
#define UNCOUNTED     METRIC_NONE, METRIC_NONE

static const struct route routes[] = {
	{ GET, ANY, "", NULL, get_info, METRIC_GET_INFO, METRIC_NONE },
	{ GET, ANY, "version", NULL, get_version, METRIC_GET_VERSION, METRIC_NONE },
	{ GET, ANY, "vm", "config", get_config, UNCOUNTED },
	{ GET, ANY, "machine-config", NULL, server_get_machine, METRIC_GET_MACHINE, METRIC_NONE },
	{ PUT, ANY, "actions", NULL, server_put_action, COUNTED(PUT_ACTIONS) },
	{ PUT, PRE, "boot-source", NULL, server_put_boot_source, COUNTED(PUT_BOOT) },
	{ PUT, PRE, "machine-config", NULL, server_put_machine, COUNTED(PUT_MACHINE) },
	{ PATCH, PRE, "machine-config", NULL, server_patch_machine, COUNTED(PATCH_MACHINE) },
	{ PUT, PRE, "drives", NULL, server_put_drive, COUNTED(PUT_DRIVE) },
	{ PATCH, POST, "drives", NULL, server_patch_drive, COUNTED(PATCH_DRIVE) },
	{ PUT, PRE, "network-interfaces", NULL, server_put_net, COUNTED(PUT_NET) },
	{ PATCH, POST, "network-interfaces", NULL, server_patch_net, COUNTED(PATCH_NET) },
	{ PUT, PRE, "vsock", NULL, server_put_vsock, COUNTED(PUT_VSOCK) },
	{ PUT, PRE, "entropy", NULL, server_put_entropy, UNCOUNTED },
	{ PUT, PRE, "serial", NULL, server_put_serial, COUNTED(PUT_SERIAL) },
	{ PUT, PRE, "logger", NULL, server_put_logger, COUNTED(PUT_LOGGER) },
	{ PUT, PRE, "metrics", NULL, server_put_metrics, COUNTED(PUT_METRICS) },
	{ PATCH, POST, "vm", NULL, server_patch_vm, UNCOUNTED },
	{ PUT, POST, "snapshot", "create", server_create_snapshot, UNCOUNTED },
	{ PUT, PRE, "snapshot", "load", server_load_snapshot, UNCOUNTED },
};

// What Firecracker has and a guest behind QEMU does not get, whatever the method.
static const struct {
	const char *path, *what;
	enum metric put, put_fails;
} refused[] = {
	{ "mmds", "MMDS (the metadata service)", METRIC_PUT_MMDS, METRIC_PUT_MMDS_FAILS },
	{ "balloon", "balloon", METRIC_NONE, METRIC_NONE },
	{ "pmem", "pmem", METRIC_PUT_PMEM, METRIC_PUT_PMEM_FAILS },
	{ "hotplug", "memory hotplug", METRIC_NONE, METRIC_NONE },
	{ "cpu-config", "CPU templates", METRIC_PUT_CPU, METRIC_PUT_CPU_FAILS },
};

int server_refuse(struct err *e, const char *what)
{
	return err_usage(e,
			 "The requested operation is not supported: %s: mvm-fc-qemu does not "
			 "have it.",
			 what);
}

int server_parse(const struct server_call *c, const struct field *tab, void *rec, struct err *e)
{
	if (codec_parse(tab, c->body, c->len, rec, e) < 0)
		return err_wrap(e, "An error occurred when deserializing the json body of a "
				   "request");
	return 0;
}

int server_check_id(const struct server_call *c, const char *in_body, struct err *e)
{
	const char *id = c->id ? c->id : "";

	if (fc_id_check(id, e) < 0)
		return -e->no;
	if (!str_eq(id, in_body))
		return err_usage(e,
				 "The id from the path [%.64s] does not match the id from the "
				 "body [%.64s]!",
				 id, in_body);
	return 0;
}

// The parts of a path: slashes at its start do not count, nor what follows the second part.
static void split(char *path, const char **first, const char **second)
{
	char *save = path + strspn(path, "/"), *slash;

	*first = save;
	*second = NULL;
	slash = strchr(save, '/');
	if (!slash)
		return;
	*slash = '\0';
	save = slash + 1;
	if (!*save)
		return;
	*second = save;
	slash = strchr(save, '/');
	if (slash)
		*slash = '\0';
}

static const struct route *find(enum http_verb verb, const char *first, const char *second)
{
	for (size_t i = 0; i < COUNT(routes); i++) {
		const struct route *r = &routes[i];

		if (r->verb == verb && str_eq(r->path, first) &&
		    (!r->sub || (second && str_eq(r->sub, second))))
			return r;
	}
	return NULL;
}

static int is_refused(struct server *s, enum http_verb verb, const char *first, struct err *e)
{
	for (size_t i = 0; i < COUNT(refused); i++) {
		if (!str_eq(refused[i].path, first))
			continue;
		if (verb == HTTP_VERB_PUT) {
			vmmetrics_inc(&s->metrics, refused[i].put);
			vmmetrics_inc(&s->metrics, refused[i].put_fails);
		}
		return server_refuse(e, refused[i].what);
	}
	return 0;
}

static int check_body(const struct http_item *rq, struct err *e)
{
	if (rq->verb == HTTP_VERB_GET)
		return rq->body ? err_usage(e, "GET request cannot have a body.") : 0;
	if (rq->body)
		return 0;
	return err_usage(e, "Empty %s request.", http_verb_name(rq->verb));
}

static int check_when(const struct server *s, enum when when, struct err *e)
{
	if (when == PRE && s->started)
		return err_kind(e, ERR_STATE,
				"The requested operation is not supported after "
				"starting the microVM.");
	if (when == POST && !s->started)
		return err_kind(e, ERR_STATE,
				"The requested operation is not supported before "
				"starting the microVM.");
	return 0;
}

static int run(struct server_call *c, const struct route *r, struct err *e)
{
	struct server *s = c->s;

	vmmetrics_inc(&s->metrics, r->count);
	if (check_when(s, r->when, e) < 0 || r->fn(c, e) < 0) {
		vmmetrics_inc(&s->metrics, r->fails);
		return -e->no;
	}
	if (c->deprecated)
		vmmetrics_inc(&s->metrics, METRIC_DEPRECATED);
	return 0;
}

static int dispatch(struct server_call *c, const struct http_item *rq, char *path, struct err *e)
{
	const char *first, *second;
	const struct route *r;

	split(path, &first, &second);
	if (check_body(rq, e) < 0 || is_refused(c->s, rq->verb, first, e) < 0)
		return -e->no;
	r = find(rq->verb, first, second);
	if (!r)
		return err_usage(e, "Invalid request method and/or path: %s %.200s.",
				 http_verb_name(rq->verb), first);
	c->id = second;
	return run(c, r, e);
}

void server_handle(void *arg, const struct http_item *rq, struct http_answer *a)
{
	cleanup_free char *path = base_strdup(rq->path);
	struct server *s = arg;
	struct server_call c = {
		.s = s, .body = rq->body ? rq->body : "", .len = rq->body_len, .out = &a->body
	};
	struct err e = { 0 };

	vmlog(&s->log, VMLOG_INFO, VMLOG_API,
	      "The API server received a %s request on \"%.200s\"%s%.2000s.",
	      http_verb_name(rq->verb), rq->path, rq->body ? " with body " : "", c.body);
	if (dispatch(&c, rq, path, &e) < 0) {
		buf_clear(&a->body);
		a->status = 400;
		buf_str(&a->body, "{\"fault_message\":");
		buf_json(&a->body, e.msg);
		buf_str(&a->body, "}");
		vmlog(&s->log, VMLOG_ERROR, VMLOG_API,
		      "Received Error. Status code: 400 Bad Request. Message: %s", e.msg);
	} else {
		a->status = a->body.len ? 200 : 204;
		vmlog(&s->log, VMLOG_INFO, VMLOG_API,
		      "The request was executed successfully. Status code: %s.",
		      a->body.len ? "200 OK" : "204 No Content");
	}
	a->deprecated = c.deprecated;
	if (c.deprecated)
		vmlog(&s->log, VMLOG_WARN, VMLOG_API, "%s %.200s: a deprecated field was used.",
		      http_verb_name(rq->verb), rq->path);
	if (s->ended)
		http_stop(s->http);
}
