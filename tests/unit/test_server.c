// SPDX-License-Identifier: MIT
// The API before a guest is started, without a socket; tests/fc-api has the rest.
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "fc/resolve.h"
#include "fc/server_parts.h"
#include "tap.h"

static void server_open(struct server *s)
{
	struct err e;

	*s = (struct server){ .log = VMLOG_INIT,
			      .metrics = VMMETRICS_INIT,
			      .console_fd = -1,
			      .id = "t",
			      .root_fd = AT_FDCWD,
			      .config.machine = { .vcpu_count = 1, .mem_size_mib = 128 } };
	s->log.level = VMLOG_OFF; // stdout is TAP's
	s->root_fd = open(tap_dir(), O_DIRECTORY | O_CLOEXEC);
	CHECK(s->root_fd >= 0);
	CHECK(fd_replace_file(s->root_fd, "disk", "x", 1, 0600, &e) == 0);
	CHECK(symlinkat("/etc/passwd", s->root_fd, "out") == 0);
	CHECK(symlinkat("/disk", s->root_fd, "in") == 0);
	CHECK(mkdirat(s->root_fd, "dir", 0700) == 0);
}

static void server_shut(struct server *s)
{
	qemu_config_clear(&s->config);
	free(s->serial_path);
	vmlog_clear(&s->log);
	vmmetrics_close(&s->metrics);
	(void)close(s->root_fd);
}

// One request; the status, and the body in *ret_body (may be NULL).
static int ask(struct server *s, enum http_verb verb, const char *path, const char *body,
	       char **ret_body)
{
	struct http_item rq = { .what = HTTP_ITEM_REQUEST, .verb = verb };
	struct http_answer a = { .status = 204 };
	cleanup_free char *p = base_strdup(path), *b = body ? base_strdup(body) : NULL;

	rq.path = p;
	rq.body = b;
	rq.body_len = b ? strlen(b) : 0;
	server_handle(s, &rq, &a);
	if (ret_body)
		*ret_body = buf_steal(&a.body);
	else
		buf_free(&a.body);
	return a.status;
}

#define GET(s, path)	     ask(s, HTTP_VERB_GET, path, NULL, NULL)
#define PUT(s, path, body)   ask(s, HTTP_VERB_PUT, path, body, NULL)
#define PATCH(s, path, body) ask(s, HTTP_VERB_PATCH, path, body, NULL)

static int put_drive(struct server *s, const char *id, const char *file, bool root)
{
	cleanup_free char *path = base_printf("/drives/%s", id);
	cleanup_free char *body =
		base_printf("{\"drive_id\":\"%s\",\"path_on_host\":\"%s\",\"is_root_device\":%s}",
			    id, file, root ? "true" : "false");

	return PUT(s, path, body);
}

TEST(every_path_is_one_below_the_root_directory)
{
	struct server s;

	server_open(&s);
	CHECK_INT(put_drive(&s, "a", "/disk", false), 204);
	CHECK_INT(put_drive(&s, "a", "disk", false), 204);
	CHECK_INT(put_drive(&s, "a", "../../disk", false), 204);
	CHECK_INT(put_drive(&s, "a", "/in", false), 204);
	CHECK_INT(put_drive(&s, "a", "/out", false), 400);
	CHECK_INT(put_drive(&s, "a", "/etc/passwd", false), 400);
	CHECK_INT(put_drive(&s, "a", "/dir", false), 400);
	CHECK_INT(PUT(&s, "/vsock", "{\"guest_cid\":3,\"uds_path\":\"/dir/v\"}"), 204);
	CHECK_INT(PUT(&s, "/vsock", "{\"guest_cid\":3,\"uds_path\":\"/tmp/v\"}"), 400);
	CHECK_INT(PUT(&s, "/vsock", "{\"guest_cid\":3,\"uds_path\":\"/dir/..\"}"), 400);
	CHECK_INT(PUT(&s, "/metrics", "{\"metrics_path\":\"/dir/m\"}"), 204);
	CHECK_INT(faccessat(s.root_fd, "dir/m", F_OK, 0), 0);
	server_shut(&s);
}

TEST(the_root_drive_comes_first_and_is_one)
{
	const struct fc_drive *d;
	struct server s;

	server_open(&s);
	CHECK_INT(put_drive(&s, "a", "/disk", false), 204);
	CHECK_INT(put_drive(&s, "b", "/disk", false), 204);
	CHECK_INT(put_drive(&s, "c", "/disk", true), 204);
	CHECK_INT(put_drive(&s, "d", "/disk", true), 400);
	CHECK_INT(put_drive(&s, "b", "/disk", false), 204);
	d = s.config.drives.items;
	CHECK(s.config.drives.len == 3);
	CHECK_STR(d[0].drive_id, "c");
	CHECK_STR(d[1].drive_id, "a");
	CHECK_STR(d[2].drive_id, "b");
	CHECK_INT(put_drive(&s, "c", "/disk", false), 204);
	CHECK_INT(put_drive(&s, "b", "/disk", true), 204);
	d = s.config.drives.items;
	CHECK_STR(d[0].drive_id, "b");
	CHECK_STR(d[1].drive_id, "c");
	CHECK_STR(d[2].drive_id, "a");
	server_shut(&s);
}

TEST(requests_cannot_pile_up_devices)
{
	struct server s;
	char id[16];
	int last = 0;

	server_open(&s);
	for (int i = 0; i < 40; i++) {
		CHECK(base_fmt(id, sizeof(id), "d%d", i) == 0);
		last = put_drive(&s, id, "/disk", false);
	}
	CHECK_INT(last, 400);
	CHECK(s.config.drives.len <= 32);
	server_shut(&s);
}

static const struct {
	enum http_verb verb;
	const char *path, *body, *names;
} missing[] = {
	{ HTTP_VERB_PUT, "/mmds", "{}", "MMDS" },
	{ HTTP_VERB_GET, "/mmds", NULL, "MMDS" },
	{ HTTP_VERB_PUT, "/mmds/config", "{}", "MMDS" },
	{ HTTP_VERB_PUT, "/balloon", "{}", "balloon" },
	{ HTTP_VERB_GET, "/balloon/statistics", NULL, "balloon" },
	{ HTTP_VERB_PUT, "/pmem/a", "{}", "pmem" },
	{ HTTP_VERB_PUT, "/hotplug/memory", "{}", "memory hotplug" },
	{ HTTP_VERB_PUT, "/cpu-config", "{}", "CPU templates" },
	{ HTTP_VERB_PUT, "/machine-config",
	  "{\"vcpu_count\":1,\"mem_size_mib\":128,\"cpu_template\":\"T2\"}", "CPU templates" },
	{ HTTP_VERB_PATCH, "/machine-config", "{\"huge_pages\":\"2M\"}", "huge pages" },
	{ HTTP_VERB_PUT, "/entropy", "{\"rate_limiter\":{}}", "rate limiters" },
	{ HTTP_VERB_PUT, "/drives/a",
	  "{\"drive_id\":\"a\",\"is_root_device\":false,\"path_on_host\":\"/disk\","
	  "\"rate_limiter\":{\"ops\":null}}",
	  "rate limiters" },
	{ HTTP_VERB_PUT, "/drives/a",
	  "{\"drive_id\":\"a\",\"is_root_device\":false,\"socket\":\"/disk\"}", "vhost-user" },
	{ HTTP_VERB_PUT, "/network-interfaces/a",
	  "{\"iface_id\":\"a\",\"host_dev_name\":\"lo\",\"tx_rate_limiter\":{}}", "rate limiters" },
};

TEST(what_is_not_there_is_refused_by_its_name)
{
	struct server s;

	server_open(&s);
	for (size_t i = 0; i < COUNT(missing); i++) {
		cleanup_free char *body = NULL;

		CHECK_INT(ask(&s, missing[i].verb, missing[i].path, missing[i].body, &body), 400);
		if (!strstr(body, missing[i].names) || !strstr(body, "not supported"))
			tap_fail(__FILE__, __LINE__, "%s: %s", missing[i].path, body);
	}
	CHECK(s.config.drives.len == 0 && s.config.nets.len == 0 && !s.config.has_entropy);
	CHECK(s.config.machine.huge_pages == FC_HUGE_NONE);
	server_shut(&s);
}

TEST(a_refused_request_changes_nothing)
{
	cleanup_free char *before = NULL, *after = NULL;
	struct server s;

	server_open(&s);
	CHECK_INT(PUT(&s, "/machine-config", "{\"vcpu_count\":2,\"mem_size_mib\":64}"), 204);
	CHECK_INT(put_drive(&s, "a", "/disk", false), 204);
	CHECK_INT(ask(&s, HTTP_VERB_GET, "/vm/config", NULL, &before), 200);
	CHECK_INT(PATCH(&s, "/machine-config", "{\"vcpu_count\":40}"), 400);
	CHECK_INT(put_drive(&s, "a", "/nothing", false), 400);
	CHECK_INT(put_drive(&s, "b-c", "/disk", false), 400);
	CHECK_INT(PUT(&s, "/drives/b", "{\"drive_id\":\"a\",\"is_root_device\":false}"), 400);
	CHECK_INT(PUT(&s, "/boot-source", "{\"kernel_image_path\":\"/nothing\"}"), 400);
	CHECK_INT(PUT(&s, "/logger", "{\"level\":\"Loud\"}"), 400);
	CHECK_INT(ask(&s, HTTP_VERB_GET, "/vm/config", NULL, &after), 200);
	CHECK_STR(after, before);
	server_shut(&s);
}

TEST(paths_and_methods_that_nobody_knows)
{
	struct server s;

	server_open(&s);
	CHECK_INT(GET(&s, "/"), 200);
	CHECK_INT(GET(&s, "//version/"), 200);
	CHECK_INT(GET(&s, "/vm"), 400);
	CHECK_INT(GET(&s, "/vm/other"), 400);
	CHECK_INT(GET(&s, "/version?a=b"), 400);
	CHECK_INT(GET(&s, "/boot-source"), 400);
	CHECK_INT(PUT(&s, "/", "{}"), 400);
	CHECK_INT(PUT(&s, "/machine-config", NULL), 400);
	CHECK_INT(PUT(&s, "/snapshot", "{}"), 400);
	CHECK_INT(PATCH(&s, "/vm", "{\"state\":\"Paused\"}"), 400);
	CHECK_INT(PUT(&s, "/actions", "{\"action_type\":\"FlushMetrics\"}"), 400);
	server_shut(&s);
}

TEST(a_configuration_file_is_obeyed_whole_or_refused)
{
	static const struct {
		const char *text, *says;
	} files[] = {
		{ "{\"boot-source\":{\"kernel_image_path\":\"/disk\"},\"drives\":[]}", NULL },
		{ "{\"boot-source\":{\"kernel_image_path\":\"/disk\"},\"drives\":[{\"drive_id\":"
		  "\"a\",\"is_root_device\":true,\"path_on_host\":\"/disk\"}],\"balloon\":null,"
		  "\"pmem\":[],\"vsock\":{\"guest_cid\":3,\"uds_path\":\"/v\"},\"colour\":1}",
		  NULL },
		{ "{\"boot-source\":{\"kernel_image_path\":\"/disk\"}}", "drives" },
		{ "{\"drives\":[]}", "boot-source" },
		{ "[]", "object" },
		{ "{\"boot-source\":", "JSON" },
		{ "{\"boot-source\":{\"kernel_image_path\":\"/disk\"},\"drives\":[],"
		  "\"balloon\":{\"amount_mib\":1}}",
		  "balloon" },
		{ "{\"boot-source\":{\"kernel_image_path\":\"/disk\"},\"drives\":[1]}", "objects" },
		{ "{\"boot-source\":{\"kernel_image_path\":\"/disk\"},\"drives\":[{}]}", "drives" },
	};

	for (size_t i = 0; i < COUNT(files); i++) {
		struct server s;
		struct err e = { 0 };

		// One directory for the whole case.
		CHECK(i == 0 || (fd_remove_tree(AT_FDCWD, tap_dir(), &e) == 0 &&
				 mkdir(tap_dir(), 0700) == 0));
		server_open(&s);
		int r = server_config_file(&s, files[i].text, strlen(files[i].text), &e);

		if (!files[i].says != (r == 0) || (r < 0 && !strstr(e.msg, files[i].says)))
			tap_fail(__FILE__, __LINE__, "%s: %s", files[i].text, e.msg);
		server_shut(&s);
	}
}

TEST(metrics_are_increments_in_whole_lines)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct server s;
	struct err e;

	server_open(&s);
	CHECK_INT(PUT(&s, "/metrics", "{\"metrics_path\":\"/m\"}"), 204);
	CHECK_INT(GET(&s, "/"), 200);
	CHECK_INT(GET(&s, "/"), 200);
	CHECK(vmmetrics_write(&s.metrics, &e) == 0);
	CHECK_INT(GET(&s, "/"), 200);
	CHECK(vmmetrics_write(&s.metrics, &e) == 0);
	CHECK(fd_read_file(s.root_fd, "m", 1 << 16, &text, &e) == 0);
	char *second = strchr(buf_text(&text), '\n');

	CHECK(second && second[1]);
	if (second) {
		CHECK(second - text.data < 4096); // whole in a pipe
		*second++ = '\0';
		CHECK(strstr(text.data, "\"instance_info_count\":2"));
		CHECK(strstr(text.data, "\"metrics_count\":1"));
		CHECK(strstr(second, "\"instance_info_count\":1"));
		CHECK(codec_check(text.data, strlen(text.data), &e) == 0);
		CHECK(codec_check(second, strlen(second), &e) == 0);
	}
	server_shut(&s);
}

static void drain(int fd, struct buf *out)
{
	char data[65536];
	ssize_t n;

	while ((n = read(fd, data, sizeof(data))) > 0)
		buf_add(out, data, (size_t)n);
}

TEST(what_a_full_pipe_did_not_take_is_told_by_the_next_line)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct vmmetrics m = VMMETRICS_INIT;
	char name[65];
	struct err e;
	int ends[2];

	CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
	CHECK(fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 4096);
	m.fd = ends[1];
	for (int i = 0; i < VMMETRICS_DRIVES + 1; i++) { // longer than the pipe
		base_cut(name, sizeof(name), "d%062d", i);
		vmmetrics_set_drive(&m, name, 0, 7);
	}
	vmmetrics_set_drive(
		&m, "a_name_that_is_longer_than_any_drive_may_have_in_this_table_of_lines", 0, 7);
	CHECK_INT(m.drive_count, VMMETRICS_DRIVES);
	CHECK(vmmetrics_write(&m, &e) < 0 && m.torn);
	CHECK(vmmetrics_write(&m, &e) < 0); // full: not a byte of it
	drain(ends[0], &text);
	CHECK(!strchr(buf_text(&text), '\n'));
	CHECK(fcntl(ends[1], F_SETPIPE_SZ, 65536) >= 65536);
	buf_clear(&text);
	CHECK(vmmetrics_write(&m, &e) == 0 && !m.torn);
	drain(ends[0], &text);
	CHECK(text.data[0] == '\n' && codec_check(text.data + 1, text.len - 2, &e) == 0);
	CHECK(strstr(text.data, "\"read_bytes\":7"));
	CHECK(strstr(text.data, "\"missed_metrics_count\":2"));
	(void)close(ends[0]);
	vmmetrics_close(&m);
}

static int parse(struct cmdline *c, struct err *e, const char *line)
{
	static char copy[256];
	char *argv[16] = { NULL }, *save = NULL;
	int argc = 0;

	base_cut(copy, sizeof(copy), "%s", line);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	return cmdline_parse(c, argc, argv, e);
}

TEST(the_command_line_has_upstreams_rules)
{
	static const struct {
		const char *line, *says;
	} lines[] = {
		{ "x", NULL },
		{ "x --id a --api-sock s -- --anything", NULL },
		{ "x --colour --version", NULL },
		{ "x --no-seccomp --level Info --start-time-us 1", NULL },
		{ "x --uid 5 --gid 6 --root /", NULL },
		{ "x start", "UnexpectedArgument(\"start\")" },
		{ "x --colour a", "UnexpectedArgument(\"colour\")" },
		{ "x --id=a", "UnexpectedArgument(\"id=a\")" },
		{ "x --id", "MissingValue(\"id\")" },
		{ "x --id --no-api", "MissingValue(\"id\")" },
		{ "x --id a --id b", "DuplicateArgument(\"id\")" },
		{ "x --no-api", "MissingArgument(\"config-file\")" },
		{ "x --uid 5", "MissingArgument(\"gid\")" },
		{ "x --no-seccomp --seccomp-filter f", "ForbiddenArgument" },
		{ "x --seccomp-filter f", "NotSupported(\"seccomp-filter\")" },
		{ "x --seccomp strict --uid 5 --gid 6", NULL },
		{ "x --seccomp strict", "MissingArgument(\"uid\")" },
		{ "x --enable-pci", "NotSupported(\"enable-pci\")" },
		{ "x --metadata f", "NotSupported(\"metadata\")" },
	};

	for (size_t i = 0; i < COUNT(lines); i++) {
		struct cmdline c;
		struct err e = { 0 };
		int r = parse(&c, &e, lines[i].line);

		if (!lines[i].says != (r == 0) || (r < 0 && !strstr(e.msg, lines[i].says)))
			tap_fail(__FILE__, __LINE__, "%s: %s", lines[i].line, e.msg);
		if (i == 0)
			CHECK_STR(c.word[CMD_API_SOCK], "/run/firecracker.socket");
	}
}

TEST(a_configured_server_loads_no_snapshot)
{
	const char *load = "{\"snapshot_path\":\"/disk\",\"mem_backend\":"
			   "{\"backend_type\":\"File\",\"backend_path\":\"/disk\"}}";
	cleanup_free char *says = NULL;
	struct server s;

	server_open(&s);
	CHECK_INT(PUT(&s, "/machine-config", "{\"vcpu_count\":1,\"mem_size_mib\":256}"), 204);
	CHECK_INT(ask(&s, HTTP_VERB_PUT, "/snapshot/load", load, &says), 400);
	CHECK(strstr(says, "not allowed after configuring boot-specific resources") != NULL);
	CHECK(!s.started && !s.ended);
	server_shut(&s);
}
