// SPDX-License-Identifier: MIT
#include "fc/server.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/sig.h"
#include "base/tool.h"
#include "fc/resolve.h"
#include "fc/server_parts.h"

#define CONFIG_FILE_MAX (1u << 20)
#define FLUSH_MS	1000 // for answers that are under way when the process ends

#ifdef __x86_64__
static const bool x86_64 = true;
#else
static const bool x86_64 = false;
#endif

// Where upstream panics, it says so on stdout and dies by SIGABRT.
static _Noreturn void give_up(struct server *s, const char *what, const char *why)
{
	const struct rlimit none = { 0, 0 };

	s->log.level = VMLOG_ERROR;
	vmlog(&s->log, VMLOG_ERROR, VMLOG_VMM, "Firecracker panicked: %s: %s", what, why);
	(void)setrlimit(RLIMIT_CORE, &none);
	abort();
}

static uint64_t number(struct server *s, const struct cmdline *c, enum cmdline_flag f,
		       const char *name)
{
	struct err e = { 0 };
	uint64_t v = 0;

	if (c->word[f] && num_u64(c->word[f], 0, INT64_MAX, &v, &e) < 0)
		give_up(s, name, e.msg);
	return v;
}

static int check_id(const char *id, struct err *e)
{
	size_t len = strlen(id);

	if (len < 1 || len > 64)
		return err_usage(e, "Invalid len (%zu);  the length must be between 1 and 64", len);
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)id[i]) && id[i] != '-')
			return err_usage(e, "Invalid char (%c) at position %zu", id[i], i);
	return 0;
}

// ---- command line ----

static int set_log(struct server *s, const struct cmdline *c, struct err *e)
{
	const char *words[] = { c->word[CMD_LOG_PATH], c->word[CMD_LEVEL], c->word[CMD_MODULE] };
	struct fc_logger l = { 0 };
	char **members[] = { &l.log_path, &l.level, &l.module };
	int r;

	for (size_t i = 0; i < COUNT(words); i++)
		if (words[i])
			*members[i] = base_strdup(words[i]);
	l.show_level = c->word[CMD_SHOW_LEVEL];
	l.show_log_origin = c->word[CMD_SHOW_LOG_ORIGIN];
	r = vmlog_configure(&s->log, s->root_fd, &l, e);
	codec_free(fc_logger_fields, &l);
	return r < 0 ? err_wrap(e, "LoggerInitialization") : 0;
}

static int set_accel(const struct cmdline *c, enum qemu_accel *ret, struct err *e)
{
	static const char *const names[] = { "auto", "kvm", "tcg" };
	const char *word = c->word[CMD_ACCEL] ? c->word[CMD_ACCEL] : getenv("MVM_QEMU_ACCEL");

	*ret = QEMU_ACCEL_AUTO;
	if (!word || !*word)
		return 0;
	for (size_t i = 0; i < COUNT(names); i++)
		if (str_eq(word, names[i])) {
			*ret = (enum qemu_accel)i;
			return 0;
		}
	return err_usage(e, "ParseArguments(InvalidValue(\"accel\", \"%.32s\"))", word);
}

static int set_ids(struct server *s, const struct cmdline *c, struct err *e)
{
	const char *word = c->word[CMD_SECCOMP];
	uint64_t uid, gid;
	struct err why;

	if (!str_eq(word, "baseline") && !str_eq(word, "strict"))
		return err_usage(e, "ParseArguments(InvalidValue(\"seccomp\", \"%.32s\"))", word);
	if (!c->word[CMD_UID])
		return 0;
	// 0 would be no confinement, and the last one means "leave as it is" to the kernel.
	if (num_u64(c->word[CMD_UID], 1, UINT32_MAX - 1, &uid, &why) < 0 ||
	    num_u64(c->word[CMD_GID], 1, UINT32_MAX - 1, &gid, &why) < 0)
		return err_usage(e, "ParseArguments(InvalidValue(\"uid and gid\", %s))", why.msg);
	s->confined = (struct qemu_confined){ .on = true,
					      .strict = str_eq(c->word[CMD_SECCOMP], "strict"),
					      .uid = (uint32_t)uid,
					      .gid = (uint32_t)gid };
	return 0;
}

static int set_root(struct server *s, const struct cmdline *c, struct err *e)
{
	if (!c->word[CMD_ROOT])
		return 0;
	s->root_fd = open(c->word[CMD_ROOT], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->root_fd < 0)
		return err_sys(e, "open %s", c->word[CMD_ROOT]);
	return 0;
}

static void on_ended(void *arg, int status, const char *why)
{
	struct server *s = arg;

	vmlog(&s->log, VMLOG_INFO, VMLOG_VMM, "The guest has ended: %s.", why);
	// Upstream ends with that status when its own filter has caught it.
	server_end(s, status == 128 + SIGSYS ? FC_EXIT_BAD_CALL : status ? FC_EXIT_FAILED : 0, why);
}

// ---- start ----

static int open_qemu(struct server *s, const struct cmdline *c, struct err *e)
{
	struct qemu_env env = {
		.loop = s->loop,
		.root_fd = s->root_fd,
		.confined = s->confined,
		.ended = on_ended,
		.arg = s,
	};

	if (set_accel(c, &env.accel, e) < 0)
		return -e->no;
	// A descriptor of its own: PUT /serial puts a file under its number.
	s->console_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (s->console_fd < 0)
		return err_sys(e, "console");
	env.console_fd = s->console_fd;
	return qemu_new(&env, &s->qemu, e);
}

// Whatever lies there stays, a dead socket too: whose it was is not ours to judge.
static int bind_api(int dir, const char *name, struct err *e)
{
	struct stat sb;

	if (fstatat(dir, name, &sb, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(e, EADDRINUSE, "Check that it is not already used");
	return fd_unix_listen(dir, name, 0600, 128, e);
}

static int open_api(struct server *s, const struct cmdline *c, int *ret_fd, struct err *e)
{
	const char *path = c->word[CMD_API_SOCK], *name = NULL;
	cleanup_fd int dir = qemu_resolve_dir(s->root_fd, path, &name, e);

	*ret_fd = dir < 0 ? dir : bind_api(dir, name, e);
	if (*ret_fd < 0)
		return err_wrap(e, "RunWithApi(FailedToBindSocket(\"%.200s\"))", path);
	if (http_new(s->loop, *ret_fd,
		     (size_t)number(s, c, CMD_HTTP_API_MAX_PAYLOAD_SIZE,
				    "http-api-max-payload-size"),
		     server_handle, s, &s->http, e) < 0)
		return -e->no;
	vmlog(&s->log, VMLOG_INFO, VMLOG_VMM, "Listening on API socket (\"%s\").", path);
	return 0;
}

static int run_config_file(struct server *s, const struct cmdline *c, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	cleanup_fd int fd = -1;

	if (!c->word[CMD_CONFIG_FILE])
		return 0;
	fd = qemu_resolve(s->root_fd, c->word[CMD_CONFIG_FILE], O_RDONLY, e);
	if (fd < 0 || fd_read_all(fd, CONFIG_FILE_MAX, &text, e) < 0)
		give_up(s, "Unable to open or read from the configuration file", e->msg);
	if (server_config_file(s, buf_text(&text), text.len, e) < 0)
		return err_wrap(e, "ParseFromJson");
	return server_start(s, e) < 0 ? err_wrap(e, "StartMicroVM") : 0;
}

static void note_start(struct server *s, const struct cmdline *c)
{
	uint64_t since = number(s, c, CMD_START_TIME_US, "start-time-us");
	uint64_t cpu = number(s, c, CMD_START_TIME_CPU_US, "start-time-cpu-us");
	uint64_t parent = number(s, c, CMD_PARENT_CPU_TIME_US, "parent-cpu-time-us");
	struct timespec t;

	(void)number(s, c, CMD_MMDS_SIZE_LIMIT, "mmds-size-limit");
	if (since)
		vmmetrics_set(&s->metrics, METRIC_API_START, (uint64_t)clock_us() - since);
	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0)
		vmmetrics_set(&s->metrics, METRIC_API_START_CPU,
			      (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000 - cpu +
				      parent);
}

// Everything up to the loop. *api: the API's socket, which outlives the call.
static int begin(struct server *s, const struct cmdline *c, int *api, struct err *e)
{
	if (set_ids(s, c, e) < 0 || set_root(s, c, e) < 0 || loop_new(&s->loop, e) < 0 ||
	    open_qemu(s, c, e) < 0)
		return -e->no;
	if (s->confined.on && server_drop_rights(s, e) < 0)
		return -e->no;
	if (set_log(s, c, e) < 0)
		return -e->no;
	vmlog(&s->log, VMLOG_INFO, VMLOG_VMM,
	      "Running Firecracker v" FC_VERSION " (mvm-fc-qemu %s)", tool_version);
	if (c->word[CMD_METRICS_PATH] &&
	    vmmetrics_open(&s->metrics, s->root_fd, c->word[CMD_METRICS_PATH], e) < 0)
		return err_wrap(e, "MetricsInitialization");
	note_start(s, c);
	if (!c->word[CMD_NO_API] && open_api(s, c, api, e) < 0)
		return -e->no;
	return run_config_file(s, c, e);
}

static int server_run(struct server *s, const struct cmdline *c, struct err *e)
{
	cleanup_fd int api = -1;
	int r = begin(s, c, &api, e);

	if (r == 0 && !s->ended)
		r = loop_run(s->loop, e);
	if (s->http)
		http_finish(s->http, FLUSH_MS);
	if (s->started)
		server_metrics_write(s);
	if (r == 0 && s->status)
		r = err_set(e, EIO, "RunWithApi(MicroVMStopped): %s", s->why);
	http_free(s->http);
	qemu_free(s->qemu);
	return r;
}

static void server_clear(struct server *s)
{
	qemu_config_clear(&s->config);
	free(s->serial_path);
	loop_free(s->loop);
	if (s->console_fd >= 0)
		(void)close(s->console_fd);
	if (s->root_fd >= 0)
		(void)close(s->root_fd);
	vmmetrics_close(&s->metrics);
	vmlog_clear(&s->log);
}

static int end(struct server *s, int status, const char *why)
{
	if (why)
		(void)fprintf(stderr, "Error: %s\n", why);
	if (status)
		vmlog(&s->log, VMLOG_ERROR, VMLOG_VMM,
		      "Firecracker exiting with error. exit_code=%d", status);
	else
		vmlog(&s->log, VMLOG_INFO, VMLOG_VMM,
		      "Firecracker exiting successfully. exit_code=0");
	server_clear(s);
	return status;
}

static int print(const struct buf *text)
{
	struct err e;

	if (fd_write_all(STDOUT_FILENO, text->data, text->len, &e) == 0)
		return 0;
	(void)fprintf(stderr, "Error: %s\n", e.msg);
	return FC_EXIT_FAILED;
}

// What ends the process before there is a server: -1 for nothing of it.
static int only_say(const struct cmdline *c)
{
	cleanup_buf struct buf out = BUF_INIT;

	if (c->word[CMD_VERSION])
		// Scripts take the first line, whatever follows.
		buf_fmt(&out, "Firecracker v" FC_VERSION "\n\nmvm-fc-qemu %s\n", tool_version);
	else if (c->word[CMD_HELP])
		cmdline_help(&out);
	else if (c->word[CMD_SNAPSHOT_VERSION])
		buf_fmt(&out, "v%s\n", qemu_format);
	else
		return -1;
	return print(&out);
}

// A state file is as hostile as what wrote it: it is read with no more rights than a guest's.
static int describe(struct server *s, const struct cmdline *c, struct err *e)
{
	cleanup_buf struct buf out = BUF_INIT;
	int fd;

	s->log.level = VMLOG_OFF; // stdout is for the version alone
	if (set_ids(s, c, e) < 0 || set_root(s, c, e) < 0 ||
	    (s->confined.on && server_drop_rights(s, e) < 0))
		return -e->no;
	fd = qemu_resolve(s->root_fd, c->word[CMD_DESCRIBE_SNAPSHOT], O_RDONLY, e);
	if (fd < 0 || qemu_describe(fd, e) < 0)
		return err_wrap(e, "PrintSnapshotDataFormat");
	buf_fmt(&out, "v%s\n", qemu_format);
	return print(&out) ? err_sys(e, "write") : 0;
}

static int help_as(const char *form)
{
	cleanup_buf struct buf out = BUF_INIT;

	cmdline_help_as(form, &out);
	return print(&out);
}

int server_main(int argc, char **argv)
{
	struct server s = { .root_fd = AT_FDCWD,
			    .console_fd = -1,
			    .log = VMLOG_INIT,
			    .metrics = VMMETRICS_INIT,
			    .config.machine = { .vcpu_count = 1, .mem_size_mib = 128 } };
	struct err e = { 0 };
	enum vmlog_level level;
	struct cmdline c;
	int status;

	fd_sanitize();
	sig_save_mask();
	(void)signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && (str_eq(argv[1], "--help=scd") || str_eq(argv[1], "--help=complete")))
		return help_as(argv[1] + 7);
	if (cmdline_parse(&c, argc, argv, &e) < 0)
		return end(&s, FC_EXIT_BAD_ARGS, e.msg);
	status = only_say(&c);
	if (status >= 0)
		return status;
	if (!x86_64)
		return end(&s, err_kinds[ERR_UNAVAILABLE].exit, "guests on QEMU need x86-64");
	s.id = c.word[CMD_ID];
	if (check_id(s.id, &e) < 0)
		give_up(&s, "Invalid instance ID", e.msg);
	base_cut(s.log.id, sizeof(s.log.id), "%s", s.id);
	if (c.word[CMD_LEVEL] && !vmlog_level_of(c.word[CMD_LEVEL], &level)) {
		(void)err_usage(&e, "InvalidLogLevel(\"%.32s\")", c.word[CMD_LEVEL]);
		return end(&s, FC_EXIT_BAD_CONFIG, e.msg);
	}
	if (c.word[CMD_DESCRIBE_SNAPSHOT] ? describe(&s, &c, &e) < 0 : server_run(&s, &c, &e) < 0)
		return end(&s,
			   str_starts(e.msg, "ParseArguments") ? FC_EXIT_BAD_ARGS
			   : s.status			       ? s.status
							       : FC_EXIT_FAILED,
			   e.msg);
	return end(&s, 0, NULL);
}
