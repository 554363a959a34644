// SPDX-License-Identifier: MIT
#include "base/tool.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/log.h"
#include "tap.h"

static const char *arg_root = "/default";
static uint64_t arg_count, arg_wait;
static struct strlist arg_labels;
static bool arg_dry, arg_count_given;
static int arg_mode;

static const char *const modes[] = { "fast", "slow", NULL };
static const struct opt opts[] = { { .letter = 'r',
				     .kind = OPT_TEXT,
				     .name = "root",
				     .arg = "DIR",
				     .help = "use my_dir",
				     .slot = &arg_root },
				   { .letter = 'n',
				     .kind = OPT_U64,
				     .name = "count",
				     .arg = "N",
				     .help = "how many",
				     .slot = &arg_count,
				     .min = 1,
				     .max = 10,
				     .given = &arg_count_given },
				   { .letter = 'l',
				     .kind = OPT_LIST,
				     .name = "label",
				     .arg = "K=V",
				     .help = "add a label",
				     .slot = &arg_labels },
				   { .kind = OPT_ENUM,
				     .name = "mode",
				     .arg = "MODE",
				     .help = "fast or slow",
				     .slot = &arg_mode,
				     .words = modes },
				   { .kind = OPT_MS,
				     .name = "wait",
				     .arg = "TIME",
				     .help = "how long",
				     .slot = &arg_wait,
				     .min = 10,
				     .max = 60000 },
				   { .letter = 'd',
				     .kind = OPT_FLAG,
				     .name = "dry-run",
				     .help = "only say",
				     .slot = &arg_dry },
				   OPT_END };
static const char *arg_raw_output = "none";
static const struct opt raw_opts[] = { { .letter = 'o',
					 .kind = OPT_TEXT,
					 .name = "output",
					 .arg = "X",
					 .help = "its own",
					 .slot = &arg_raw_output },
				       OPT_END };

static int show(const struct call *c, struct buf *out, struct err *e)
{
	(void)e;
	buf_fmt(out, "{\"verb\":\"%s\",\"args\":[", c->verb->name ? c->verb->name : "");
	for (int i = 0; i < c->argc; i++) {
		buf_str(out, i ? "," : "");
		buf_json(out, c->argv[i]);
	}
	buf_fmt(out, "],\"root\":\"%s\",\"n\":%d%s,\"labels\":[", arg_root, (int)arg_count,
		arg_count_given ? "!" : "");
	for (size_t i = 0; i < arg_labels.len; i++)
		buf_fmt(out, "%s%s", i ? "," : "", arg_labels.items[i]);
	buf_fmt(out, "],\"mode\":%d,\"wait\":%d,\"dry\":%d}\n\n", arg_mode, (int)arg_wait, arg_dry);
	return 0;
}

static int fail(const struct call *c, struct buf *out, struct err *e)
{
	(void)c;
	buf_str(out, "{\"never\":\"printed\"}");
	log_info("", "hidden");
	(void)err_kind(e, ERR_CONFLICT, "open tenant.json: a\nb");
	(void)err_object(e, "%s", c->argc ? c->argv[0] : "acme");
	return err_hint(e, "give it another name");
}

static int report(const struct call *c, struct buf *out, struct err *e)
{
	(void)c;
	(void)e;
	buf_str(out, "{\"ok\":false}");
	return 3;
}

static int quiet(const struct call *c, struct buf *out, struct err *e)
{
	(void)c;
	(void)out;
	(void)e;
	return 42;
}

static int facts(const struct call *c, struct buf *out, struct err *e)
{
	(void)e;
	buf_fmt(out, "%d %s %s", c->lock_wait_ms, c->request_id,
		str_eq(getenv("MVM_REQUEST_ID"), c->request_id) ? "exported" : "hidden");
	tool_progress("acme", "build", 1, 2);
	return 0;
}

static int raw(const struct call *c, struct buf *out, struct err *e)
{
	(void)c;
	(void)out;
	(void)e;
	printf("raw %s", arg_raw_output);
	return 0;
}

static int daemon_run(const struct call *c, struct buf *out, struct err *e)
{
	(void)c;
	(void)out;
	(void)e;
	log_info("", "shown");
	return 0;
}

static const struct verb verbs[] = {
	{ "create", "TENANT [POOL]", "make a tenant", opts, 1, 2, show, 0 },
	{ "any", "WORD...", "take anything", NULL, 0, -1, show, 0 },
	{ "fail", "[OBJECT]", "fail", NULL, 0, 1, fail, 0 },
	{ "report", NULL, "find something", NULL, 0, 0, report, 0 },
	{ "quiet", NULL, "status alone", NULL, 0, 0, quiet, 0 },
	{ "facts", NULL, "what a call knows", NULL, 0, 0, facts, 0 },
	{ "raw", NULL, "write stdout itself", raw_opts, 0, 0, raw, VERB_RAW },
	{ "plain-raw", NULL, "the same without options", NULL, 0, 0, raw, VERB_RAW },
	{ "serve", NULL, "run for long", NULL, 0, 0, daemon_run, VERB_DAEMON },
	{ "step", NULL, "called by a unit", NULL, 0, 0, show, VERB_HIDDEN },
};
static const struct tool tool = { "mvm-demo", "do things", verbs, COUNT(verbs), "More text." };

static const struct verb one_verb[] = {
	{ NULL, "FILE", NULL, opts, 1, 1, show, 0 },
};
static const struct tool one = { "mvm-one", "do one thing", one_verb, 1, NULL };

struct ran {
	int status;
	char *out, *err;
};

static void ran_free(struct ran *r)
{
	free(r->out);
	free(r->err);
}

static char *take(const char *name)
{
	cleanup_free char *path = base_printf("%s/%s", tap_dir(), name);
	struct buf b = BUF_INIT;
	struct err e = { 0 };

	CHECK_INT(fd_read_file(AT_FDCWD, path, 1 << 20, &b, &e), 0);
	return buf_steal(&b);
}

static int make(const char *name)
{
	cleanup_free char *path = base_printf("%s/%s", tap_dir(), name);

	return open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
}

// Runs the tool in a process of its own; line is split at spaces.
static struct ran run_tool(const struct tool *t, const char *line, int out)
{
	cleanup_free char *text = base_strdup(line);
	char *argv[32] = { NULL };
	int argc = 0, status = 0;
	struct ran r = { .status = -1 };

	argv[argc++] = text;
	for (char *p = strchr(text, ' '); p; p = strchr(p, ' ')) {
		*p++ = '\0';
		argv[argc++] = p;
	}
	pid_t pid = fork();
	if (pid == 0) {
		int err = make("err");

		if (dup2(out < 0 ? make("out") : out, 1) < 0 || dup2(err, 2) < 0)
			_exit(99);
		exit(tool_main(t, argc, argv));
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	r.status = WEXITSTATUS(status);
	r.out = out < 0 ? take("out") : base_strdup("");
	r.err = take("err");
	return r;
}

static void expect(const char *line, int status, const char *out, const char *err)
{
	cleanup(ran_free) struct ran r = run_tool(&tool, line, -1);

	CHECK_INT(r.status, status);
	if (out)
		CHECK_STR(r.out, out);
	if (err)
		CHECK_STR(r.err, err);
}

#define SHOWN(verb, args, root, n, labels, mode, wait, dry)                         \
	"{\"verb\":\"" verb "\",\"args\":[" args "],\"root\":\"" root "\",\"n\":" n \
	",\"labels\":[" labels "],\"mode\":" mode ",\"wait\":" wait ",\"dry\":" dry "}\n"

TEST(options_in_every_form_and_place)
{
	static const struct {
		const char *line, *out;
	} cases[] = {
		{ "x create a", SHOWN("create", "\"a\"", "/default", "0", "", "0", "0", "0") },
		{ "x create a --root /x b --dry-run",
		  SHOWN("create", "\"a\",\"b\"", "/x", "0", "", "0", "0", "1") },
		{ "x create --root=/x a", SHOWN("create", "\"a\"", "/x", "0", "", "0", "0", "0") },
		{ "x create --root= a", SHOWN("create", "\"a\"", "", "0", "", "0", "0", "0") },
		{ "x create -r/x a", SHOWN("create", "\"a\"", "/x", "0", "", "0", "0", "0") },
		{ "x create -r /x a", SHOWN("create", "\"a\"", "/x", "0", "", "0", "0", "0") },
		{ "x create -dn3 a",
		  SHOWN("create", "\"a\"", "/default", "3!", "", "0", "0", "1") },
		{ "x create -dn 3 a",
		  SHOWN("create", "\"a\"", "/default", "3!", "", "0", "0", "1") },
		{ "x create -l a=1 a --label=b=2 -lc",
		  SHOWN("create", "\"a\"", "/default", "0", "a=1,b=2,c", "0", "0", "0") },
		{ "x create a --mode slow --wait 5s",
		  SHOWN("create", "\"a\"", "/default", "0", "", "1", "5000", "0") },
		{ "x create -r /x -r /y a",
		  SHOWN("create", "\"a\"", "/y", "0", "", "0", "0", "0") },
		{ "x --json create a",
		  SHOWN("create", "\"a\"", "/default", "0", "", "0", "0", "0") },
		{ "x create a -o json",
		  SHOWN("create", "\"a\"", "/default", "0", "", "0", "0", "0") },
		{ "x create a -ojson",
		  SHOWN("create", "\"a\"", "/default", "0", "", "0", "0", "0") },
		{ "x any a -- -b --c",
		  SHOWN("any", "\"a\",\"-b\",\"--c\"", "/default", "0", "", "0", "0", "0") },
		{ "x any - -- --",
		  SHOWN("any", "\"-\",\"--\"", "/default", "0", "", "0", "0", "0") },
		{ "x any", SHOWN("any", "", "/default", "0", "", "0", "0", "0") },
		{ "x step", SHOWN("step", "", "/default", "0", "", "0", "0", "0") },
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		expect(cases[i].line, 0, cases[i].out, "");
	cleanup(ran_free) struct ran r = run_tool(&one, "x f -d", -1);
	CHECK_STR(r.out, SHOWN("", "\"f\"", "/default", "0", "", "0", "0", "1"));
}

TEST(misuse_names_the_word)
{
	static const struct {
		const char *line, *err;
	} cases[] = {
		{ "x", "expected a verb (see mvm-demo --help)" },
		{ "x frob", "unknown verb 'frob' (see mvm-demo --help)" },
		{ "x cre a", "unknown verb 'cre' (see mvm-demo --help)" },
		{ "x create", "expected TENANT [POOL] (see mvm-demo create --help)" },
		{ "x create a b c", "surplus operand 'c' (see mvm-demo create --help)" },
		{ "x create --nope a", "unknown option '--nope' (see mvm-demo create --help)" },
		{ "x create --nope=1 a", "unknown option '--nope' (see mvm-demo create --help)" },
		{ "x create --roo /x a", "unknown option '--roo' (see mvm-demo create --help)" },
		{ "x --root /x create a", "unknown option '--root' (see mvm-demo --help)" },
		{ "x create -dx a", "unknown option '-x' (see mvm-demo create --help)" },
		{ "x create a --root", "--root needs a value" },
		{ "x create a -r", "-r needs a value" },
		{ "x create a --dry-run=1", "--dry-run takes no value" },
		{ "x create a -n 11", "--count: 11 is outside 1..10" },
		{ "x create a -n 0", "--count: 0 is outside 1..10" },
		{ "x create a -n x", "--count: 'x' is not a number" },
		{ "x create a --mode medium", "--mode: 'medium' is none of fast, slow" },
		{ "x create a --wait 5ms", "--wait: 5ms is too short" },
		{ "x create a --wait 2h", "--wait: 2h is longer than 60000 ms" },
		{ "x create a -o xml",
		  "--output: 'xml' is none of json, jsonl, yaml, table, wide, name" },
		{ "x create a --errors html", "--errors: 'html' is none of text, json" },
		{ "x create a --lock-timeout 25h",
		  "--lock-timeout: 25h is longer than 86400000 ms" },
		{ "x create a --request-id a/b",
		  "--request-id: 'a/b' is not 1 to 64 letters, digits, '-' and '_'" },
		{ "x create --help=html", "--help: 'html' is none of scd, complete, exits" },
		{ "x plain-raw -o json", "unknown option '-o' (see mvm-demo plain-raw --help)" },
		{ "x plain-raw --json", "unknown option '--json' (see mvm-demo plain-raw --help)" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		cleanup_free char *line = base_printf("mvm-demo: %s\n", cases[i].err);

		expect(cases[i].line, 2, "", line);
	}
}

TEST(a_failure_is_one_line_and_no_document)
{
	expect("x fail", 5, "", "mvm-demo: acme: open tenant.json: a?b (give it another name)\n");
	expect("x fail open", 5, "", "mvm-demo: open tenant.json: a?b (give it another name)\n");
	expect("x fail op", 5, "", "mvm-demo: op: open tenant.json: a?b (give it another name)\n");
	expect("x fail --errors json --request-id R-1", 5, "",
	       "{\"code\":\"conflict\",\"exit\":5,\"message\":\"open tenant.json: a?b\","
	       "\"hint\":\"give it another name\",\"object\":\"acme\",\"request_id\":\"R-1\","
	       "\"retryable\":false}\n");
	(void)setenv("MVM_REQUEST_ID", "env_1", 1);
	expect("x fail --nope --errors=json", 2, "",
	       "{\"code\":\"usage\",\"exit\":2,\"message\":\"unknown option '--nope'\","
	       "\"hint\":\"see mvm-demo fail --help\",\"object\":null,\"request_id\":\"env_1\","
	       "\"retryable\":false}\n");
	(void)setenv("MVM_ERRORS", "json", 1);
	cleanup(ran_free) struct ran r = run_tool(&tool, "x frob", -1);
	CHECK(str_starts(r.err, "{\"code\":\"usage\""));
	expect("x fail --errors text", 5, "",
	       "mvm-demo: acme: open tenant.json: a?b (give it another name)\n");
}

TEST(statuses_above_0_go_with_and_without_a_document)
{
	expect("x report", 3, "{\"ok\":false}\n", "");
	expect("x quiet", 42, "", "");
	expect("x raw", 0, "raw none", "");
	expect("x raw -o json", 0, "raw json", ""); // the renderer's own -o
	expect("x serve", 0, "", "mvm-demo: shown\n");
}

TEST(a_call_knows_its_request_and_its_patience)
{
	cleanup(ran_free) struct ran a = run_tool(&tool, "x facts", -1);
	cleanup(ran_free) struct ran b = run_tool(&tool, "x facts", -1);

	// A ULID: 26 digits of Crockford's base 32; the time in front makes them sort.
	CHECK(str_starts(a.out, "10000 01") && str_ends(a.out, " exported\n"));
	CHECK_INT(strspn(a.out + 6, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"), 26);
	CHECK(strncmp(a.out + 6, b.out + 6, 26) != 0 && strncmp(a.out + 6, b.out + 6, 10) <= 0);
	expect("x facts --lock-timeout 1500ms --request-id abc", 0, "1500 abc exported\n", "");
	(void)setenv("MVM_LOCK_TIMEOUT_MS", "70", 1);
	(void)setenv("MVM_REQUEST_ID", "from-env", 1);
	expect("x facts", 0, "70 from-env exported\n", "");
	expect("x facts --lock-timeout 0", 0, "0 from-env exported\n", "");
	(void)setenv("MVM_LOCK_TIMEOUT_MS", "-1", 1);
	expect("x facts", 2, "", "mvm-demo: MVM_LOCK_TIMEOUT_MS: '-1' is not a number\n");
}

TEST(the_environment_is_checked)
{
	static const struct {
		const char *name, *value, *err;
	} cases[] = {
		{ "MVM_STATE_DIR", "x", "mvm-demo: MVM_STATE_DIR: 'x' is not an absolute path\n" },
		{ "MVM_OUTPUT", "xml", "mvm-demo: MVM_OUTPUT: 'xml' is not a format\n" },
		{ "MVM_ERRORS", "xml", "mvm-demo: MVM_ERRORS: 'xml' is neither text nor json\n" },
		{ "MVM_REQUEST_ID", "a b",
		  "mvm-demo: MVM_REQUEST_ID: 'a b' is not 1 to 64 letters, digits, '-' and '_'\n" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		(void)setenv(cases[i].name, cases[i].value, 1);
		expect("x report", 2, "", cases[i].err);
		(void)setenv(cases[i].name, "", 1); // as if it were not set
		expect("x report", 3, "{\"ok\":false}\n", "");
	}
}

// mvm-fmt stands on PATH here; beside the test there is none.
static void make_fmt(const char *script)
{
	cleanup_free char *path = base_printf("%s:%s", tap_dir(), getenv("PATH"));
	cleanup_free char *text = base_printf("#!/bin/sh\n%s\n", script);
	cleanup_fd int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err e = { 0 };

	CHECK_INT(fd_replace_file(dir, "mvm-fmt", text, strlen(text), 0755, &e), 0);
	(void)setenv("PATH", path, 1);
}

TEST(other_formats_go_through_mvm_fmt)
{
	expect("x report -o table", 1, "",
	       "mvm-demo: render: exec mvm-fmt: No such file or directory\n");
	make_fmt("echo \"$@: $(cat)\"");
	expect("x report -o table", 3, "-o table: {\"ok\":false}\n", "");
	(void)setenv("MVM_OUTPUT", "wide", 1);
	expect("x report", 3, "-o wide: {\"ok\":false}\n", "");
	expect("x report -o yaml", 3, "-o yaml: {\"ok\":false}\n", "");
	expect("x report --json", 3, "{\"ok\":false}\n", "");
	expect("x raw", 0, "raw none", "");
	expect("x quiet", 42, "", ""); // nothing to render
	make_fmt("echo 'mvm-fmt: broken' >&2; exit 7");
	expect("x report", 7, "", "mvm-fmt: broken\n");
}

TEST(output_that_cannot_be_written_is_an_error)
{
	cleanup_fd int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	int gone[2];

	CHECK_INT(pipe2(gone, O_CLOEXEC), 0);
	(void)close(gone[0]);
	cleanup(ran_free) struct ran a = run_tool(&tool, "x report", full);
	CHECK_INT(a.status, 1);
	CHECK_STR(a.err, "mvm-demo: stdout: write: No space left on device\n");
	cleanup(ran_free) struct ran b = run_tool(&tool, "x raw", full); // by stdio
	CHECK_INT(b.status, 1);
	CHECK_STR(b.err, "mvm-demo: write to stdout: No space left on device\n");
	cleanup(ran_free) struct ran c = run_tool(&tool, "x report", gone[1]);
	CHECK_INT(c.status, 1);
	CHECK_STR(c.err, "mvm-demo: stdout: write: Broken pipe\n");
	cleanup(ran_free) struct ran d = run_tool(&tool, "x --help", full);
	CHECK_INT(d.status, 1);
}

TEST(progress_goes_where_it_is_asked_for)
{
	int fd = make("progress");
	char number[16];

	base_cut(number, sizeof(number), "%d", fd);
	(void)setenv("MVM_PROGRESS_FD", number, 1);
	expect("x facts --request-id r", 0, "10000 r exported\n", "");
	cleanup_free char *text = take("progress");
	CHECK_STR(text, "{\"object\":\"acme\",\"stage\":\"build\",\"done\":1,\"total\":2}\n");
	(void)close(fd);
	(void)setenv("MVM_PROGRESS_FD", "900", 1); // not open: as if it were not given
	expect("x facts --request-id r", 0, "10000 r exported\n", "");
}

TEST(help_for_people)
{
	cleanup(ran_free) struct ran t = run_tool(&tool, "x --help", -1);
	cleanup(ran_free) struct ran v = run_tool(&tool, "x create a -h --nonsense", -1);
	cleanup(ran_free) struct ran h = run_tool(&tool, "x step --help", -1);
	cleanup(ran_free) struct ran o = run_tool(&one, "x --help", -1);
	cleanup(ran_free) struct ran r = run_tool(&tool, "x plain-raw --help", -1);

	CHECK(t.status == 0 && v.status == 0 && h.status == 0 && o.status == 0);
	CHECK(str_starts(t.out,
			 "Usage: mvm-demo VERB [OPTION]... [OPERAND]...\n\nDo things.\n\nVerbs:\n"
			 "  create TENANT [POOL]        make a tenant\n"));
	CHECK(strstr(t.out, "\nMore text.\n") && strstr(t.out, "EXIT STATUS") &&
	      !strstr(t.out, "called by a unit"));
	CHECK(str_starts(v.out,
			 "Usage: mvm-demo create [OPTION]... TENANT [POOL]\n\nMake a tenant.\n\n"
			 "Options:\n  -r, --root DIR              use my_dir\n"));
	CHECK(strstr(v.out, "      --mode MODE             fast or slow\n"));
	CHECK(strstr(v.out, "  -o, --output FORMAT         print json,"));
	CHECK(str_starts(h.out, "Usage: mvm-demo step [OPTION]...\n"));
	CHECK(str_starts(o.out, "Usage: mvm-one [OPTION]... FILE\n\nDo one thing.\n"));
	CHECK(!strstr(r.out, "--output") && strstr(r.out, "--errors"));
	expect("x --version", 0, NULL, "");
	cleanup_free char *version = base_printf("mvm-demo %s\n", tool_version);
	expect("x create --version", 0, version, "");
}

TEST(help_for_the_manual_and_completion)
{
	cleanup(ran_free) struct ran s = run_tool(&tool, "x --help=scd", -1);
	cleanup(ran_free) struct ran c = run_tool(&tool, "x --help=complete", -1);
	cleanup(ran_free) struct ran o = run_tool(&one, "x --help=scd", -1);
	cleanup(ran_free) struct ran x = run_tool(&tool, "x --help=exits", -1);

	CHECK(str_starts(s.out,
			 "# SYNOPSIS\n\n*mvm-demo* *create* [_option_...] _TENANT_ _[POOL]_++\n"));
	CHECK(strstr(s.out, "\n\n# VERBS\n\n*create* _TENANT_ _[POOL]_\n\tmake a tenant.\n"));
	CHECK(strstr(
		s.out,
		"\n## create\n\n*-r*, *--root* _DIR_\n\tuse my\\_dir.\n\n*-n*, *--count* _N_\n"));
	CHECK(!strstr(s.out, "*step*") &&
	      strstr(s.out, "## Common options\n\n*-o*, *--output* _FORMAT_\n"));
	CHECK(str_starts(o.out,
			 "# SYNOPSIS\n\n*mvm-one* [_option_...] _FILE_\n\n# OPTIONS\n\n*-r*,"));
	CHECK(strstr(c.out, "verb\tcreate\tmake a tenant\n"));
	CHECK(strstr(c.out, "opt\tcreate\t--root\tDIR\tuse my_dir\t-\n"));
	CHECK(strstr(c.out, "opt\tcreate\t--mode\tMODE\tfast or slow\tfast slow\n"));
	CHECK(strstr(c.out, "opt\tcreate\t--dry-run\t-\tonly say\t-\n"));
	CHECK(!strstr(c.out, "step"));
	CHECK(str_starts(x.out, "*0*\n\tdone.\n\n*1*, _failed_\n") &&
	      strstr(x.out, "*127*, _exec-missing_\n"));
}
