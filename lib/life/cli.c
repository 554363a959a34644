// SPDX-License-Identifier: MIT
#include "life/cli.h"
#include "base/log.h"
#include "life/ask.h"
#include "life/steps.h"
#include "life/verbs.h"
#include "state/instances.h"
#include <sys/wait.h>

#define PARALLEL 4 // starts and stops at once, when several are asked for

static bool arg_force, arg_keep_volumes, arg_all, arg_yes, arg_cold;

const struct opt cli_start_opts[] = { { 0, OPT_FLAG, "cold", NULL,
					"boot it: without the capture of one that sleeps, "
					"and without the pool's base",
					&arg_cold, 0, 0, NULL, NULL },
				      OPT_END };
const struct opt cli_warm_opts[] = { { 'f', OPT_FLAG, "force", NULL,
				       "also what policy would leave alone yet", &arg_force, 0, 0,
				       NULL, NULL },
				     OPT_END };
const struct opt cli_sleep_opts[] = {
	{ 'f', OPT_FLAG, "force", NULL,
	  "also what policy would leave alone yet; without the guest's own programs, and as it is "
	  "when it does not come to rest",
	  &arg_force, 0, 0, NULL, NULL },
	OPT_END
};

const struct opt cli_stop_opts[] = { { 'f', OPT_FLAG, "force", NULL,
				       "end it at once, without asking the guest", &arg_force, 0, 0,
				       NULL, NULL },
				     OPT_END };
const struct opt cli_destroy_opts[] = {
	{ 0, OPT_FLAG, "all", NULL, "the operand is a tenant or pool: all of its instances",
	  &arg_all, 0, 0, NULL, NULL },
	{ 0, OPT_FLAG, "keep-volumes", NULL, "keep the data volume", &arg_keep_volumes, 0, 0, NULL,
	  NULL },
	{ 'f', OPT_FLAG, "force", NULL, "do not ask", &arg_yes, 0, 0, NULL, NULL },
	{ 'y', OPT_FLAG, "yes", NULL, "do not ask", &arg_yes, 0, 0, NULL, NULL },
	OPT_END
};

static int start_one(const struct address *a, const struct call *call, bool *changed, struct err *e)
{
	return verb_start(a, arg_cold, call->lock_wait_ms, changed, e);
}

static int wake_one(const struct address *a, const struct call *call, bool *changed, struct err *e)
{
	return verb_wake(a, call->lock_wait_ms, changed, e);
}

static int warm_one(const struct address *a, const struct call *call, bool *changed, struct err *e)
{
	return verb_warm(a, arg_force, call->lock_wait_ms, changed, e);
}

static int sleep_one(const struct address *a, const struct call *call, bool *changed, struct err *e)
{
	return verb_sleep(a, arg_force, call->lock_wait_ms, changed, e);
}

static int discard_one(const struct address *a, const struct call *call, bool *changed,
		       struct err *e)
{
	return verb_discard(a, call->lock_wait_ms, changed, e);
}

static int stop_one(const struct address *a, const struct call *call, bool *changed, struct err *e)
{
	return verb_stop(a, arg_force, call->lock_wait_ms, changed, e);
}

static int destroy_one(const struct address *a, const struct call *call, bool *changed,
		       struct err *e)
{
	return verb_destroy(a, arg_keep_volumes, call->lock_wait_ms, changed, e);
}

void cli_print_one(const struct address *a, bool changed, struct buf *out)
{
	struct err e = { 0 };
	address_text address;
	cleanup_buf struct buf info = BUF_INIT;

	address_print(a, address);
	if (instances_info(a, &info, &e) == 0 && info.len > 2) {
		// The record, with what this call did in front: {"changed":true, ...}
		buf_fmt(out, "{\"changed\":%s,", changed ? "true" : "false");
		buf_str(out, buf_text(&info) + 1);
	} else {
		buf_fmt(out, "{\"schema_version\":1,\"changed\":%s,\"instance_path\":\"%s\"}",
			changed ? "true" : "false", address);
	}
}

struct job {
	pid_t pid;
	struct address a;
	int status;
};

// Each in a process of its own: a fork is enough, since a verb keeps nothing in memory. The child's
// exit status says changed (0), unchanged (200, no status of ours) or the error's.
#define UNCHANGED 200
static pid_t start_job(const struct call *call, cli_one one, const struct address *a)
{
	struct err e = { 0 };
	bool changed = false;
	address_text address;
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	if (one(a, call, &changed, &e) == 0)
		_exit(changed ? 0 : UNCHANGED);
	address_print(a, address);
	log_error(address, "%s", e.msg);
	_exit(err_exit(&e));
}

// One that could not tell its end is told of.
static int job_status(const struct job *j, int status)
{
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	log_error(j->a.instance, "killed by signal %d on the way", WTERMSIG(status));
	return 1;
}

static int run_jobs(const struct call *call, cli_one one, struct job *jobs, size_t n, struct err *e)
{
	size_t next = 0, active = 0;

	while (next < n || active > 0) {
		int status = 0;
		pid_t pid;

		if (next < n && active < PARALLEL) {
			jobs[next].pid = start_job(call, one, &jobs[next].a);
			if (jobs[next].pid < 0)
				return err_sys(e, "fork");
			next++;
			active++;
			continue;
		}
		pid = waitpid(-1, &status, 0);
		if (pid < 0)
			return err_sys(e, "wait");
		for (size_t i = 0; i < next; i++)
			if (jobs[i].pid == pid)
				jobs[i].status = job_status(&jobs[i], status);
		active--;
	}
	return 0;
}

static int many(const struct call *call, cli_one one, struct job *jobs, size_t n, struct buf *out,
		struct err *e)
{
	int worst = 0;

	if (run_jobs(call, one, jobs, n, e) < 0)
		return -e->no;
	buf_char(out, '[');
	for (size_t i = 0; i < n; i++) {
		bool failed = jobs[i].status != 0 && jobs[i].status != UNCHANGED;

		if (failed && !worst)
			worst = jobs[i].status;
		if (failed)
			continue;
		if (out->len > 1)
			buf_char(out, ',');
		cli_print_one(&jobs[i].a, jobs[i].status == 0, out);
	}
	buf_char(out, ']');
	return worst;
}

int cli_lines(const struct call *call, cli_one one, const char *lines, struct buf *out,
	      struct err *e)
{
	cleanup_free struct job *jobs = NULL;
	size_t n = 0;

	while (*lines) {
		size_t len = strcspn(lines, "\n");
		cleanup_free char *line = base_printf("%.*s", (int)len, lines);

		jobs = base_grow(jobs, n + 1, sizeof(*jobs));
		jobs[n] = (struct job){ 0 };
		if (address_parse(line, ADDRESS_INSTANCE, ADDRESS_INSTANCE, &jobs[n++].a, e) < 0)
			return -e->no;
		lines += len + (lines[len] == '\n');
	}
	return many(call, one, jobs, n, out, e);
}

static int each_operand(const struct call *call, cli_one one, struct buf *out, struct err *e)
{
	cleanup_free struct job *jobs = base_alloc((size_t)call->argc, sizeof(*jobs));
	bool changed = false;

	for (int i = 0; i < call->argc; i++)
		if (instances_resolve(call->argv[i], &jobs[i].a, e) < 0)
			return -e->no;
	if (call->argc > 1)
		return many(call, one, jobs, (size_t)call->argc, out, e);
	if (one(&jobs[0].a, call, &changed, e) < 0)
		return -e->no;
	cli_print_one(&jobs[0].a, changed, out);
	return 0;
}

int cli_start(const struct call *call, struct buf *out, struct err *e)
{
	return each_operand(call, start_one, out, e);
}

int cli_wake(const struct call *call, struct buf *out, struct err *e)
{
	return each_operand(call, wake_one, out, e);
}

int cli_warm(const struct call *call, struct buf *out, struct err *e)
{
	return each_operand(call, warm_one, out, e);
}

int cli_sleep(const struct call *call, struct buf *out, struct err *e)
{
	return each_operand(call, sleep_one, out, e);
}

int cli_discard(const struct call *call, struct buf *out, struct err *e)
{
	return each_operand(call, discard_one, out, e);
}

int cli_stop(const struct call *call, struct buf *out, struct err *e)
{
	return each_operand(call, stop_one, out, e);
}

struct found {
	struct job *jobs;
	size_t n;
};

static int collect(void *arg, const struct address *a, const struct instance *i,
		   const struct err *why, struct err *e)
{
	struct found *f = arg;

	if (!i) {
		*e = *why;
		return -e->no;
	}
	f->jobs = base_grow(f->jobs, f->n + 1, sizeof(*f->jobs));
	f->jobs[f->n++] = (struct job){ .a = *a };
	return 0;
}

static int destroy_all(const struct call *call, struct buf *out, struct err *e)
{
	struct found f = { 0 };
	struct address a;
	int r;

	if (address_parse(call->argv[0], ADDRESS_TENANT, ADDRESS_POOL, &a, e) < 0 ||
	    instances_each(&a, collect, &f, e) < 0)
		r = -e->no;
	else
		r = many(call, destroy_one, f.jobs, f.n, out, e);
	free(f.jobs);
	return r;
}

static int may_destroy(const struct call *call, struct err *e)
{
	char answer[8] = "";

	if (arg_yes)
		return 0;
	if (!isatty(STDIN_FILENO)) {
		(void)err_usage(e, "destroys %s%s", arg_all ? "all instances of " : "",
				call->argv[0]);
		return err_hint(e, "give --yes");
	}
	(void)fprintf(stderr, "destroy %s%s? [y/N] ", arg_all ? "all instances of " : "",
		      call->argv[0]);
	if (fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
		return 0;
	return err_usage(e, "%s: not destroyed", call->argv[0]);
}

int cli_destroy(const struct call *call, struct buf *out, struct err *e)
{
	if (may_destroy(call, e) < 0)
		return -e->no;
	if (arg_all && call->argc != 1)
		return err_usage(e, "--all takes one TENANT or TENANT/POOL");
	return arg_all ? destroy_all(call, out, e) : each_operand(call, destroy_one, out, e);
}

typedef int (*step_fn)(const struct address *a, int wait_ms, struct err *e);
static int step(const struct call *call, step_fn fn, struct err *e)
{
	struct address a;

	if (address_parse(call->argv[0], ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0)
		return -e->no;
	return fn(&a, call->lock_wait_ms, e);
}

static int settle(const struct address *a, int wait_ms, struct err *e)
{
	return ask_settle(a, false, wait_ms, e);
}

int cli_settle(const struct call *call, struct buf *out, struct err *e)
{
	(void)out;
	return step(call, settle, e);
}

int cli_prepare(const struct call *call, struct buf *out, struct err *e)
{
	(void)out;
	return step(call, step_prepare, e);
}

int cli_commit(const struct call *call, struct buf *out, struct err *e)
{
	(void)out;
	return step(call, step_commit, e);
}

int cli_drain(const struct call *call, struct buf *out, struct err *e)
{
	(void)out;
	return step(call, step_drain, e);
}

int cli_finish(const struct call *call, struct buf *out, struct err *e)
{
	(void)out;
	return step(call, step_finish, e);
}
