// SPDX-License-Identifier: MIT
// attach and sessions: commands that outlive their clients.
#include <signal.h>
#include <time.h>

#include "base/clock.h"
#include "base/num.h"
#include "life/guest_cli.h"
#include "json/codec.h"

static const char *arg_keys = GUEST_CLIENT_KEYS, *arg_kill = "", *arg_forget = "",
		  *arg_signal = "TERM";
static bool arg_no_stdin, arg_signal_given;

const struct opt guest_attach_opts[] = {
	{ .letter = 'n',
	  .kind = OPT_FLAG,
	  .name = "no-stdin",
	  .help = "only read: whoever has the input keeps it",
	  .slot = &arg_no_stdin },
	{ .kind = OPT_TEXT,
	  .name = "detach-keys",
	  .arg = "KEYS",
	  .help = "what leaves it on a terminal, or none (default: " GUEST_CLIENT_KEYS ")",
	  .slot = &arg_keys },
	OPT_END
};
const struct opt guest_sessions_opts[] = { { .kind = OPT_TEXT,
					     .name = "kill",
					     .arg = "NAME",
					     .help = "send this one a signal instead",
					     .slot = &arg_kill },
					   { .kind = OPT_TEXT,
					     .name = "signal",
					     .arg = "SIGNAL",
					     .help = "which, by name or number (default: TERM)",
					     .slot = &arg_signal,
					     .given = &arg_signal_given },
					   { .kind = OPT_TEXT,
					     .name = "rm",
					     .arg = "NAME",
					     .help = "forget this one, which has ended, instead",
					     .slot = &arg_forget },
					   OPT_END };

int guest_attach_run(const struct call *call, struct buf *out, struct err *e)
{
	const char *word = call->argv[0], *name = call->argv[1];
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;
	cleanup_client struct guest_client k = GUEST_CLIENT_NONE;
	struct guest_parting part = { 0 };
	char detail[64];

	(void)out;
	if (!guest_session_name_ok(name))
		return err_usage(e, "session '%.64s': not [a-z0-9][a-z0-9._-]{0,38}", name);
	base_cut(detail, sizeof(detail), "session %s", name);
	if (guest_client_open(&k, !arg_no_stdin, !arg_no_stdin, arg_keys, e) < 0 ||
	    guest_cli_enter(word, AUDIT_GUEST_ATTACHED, detail, &vmm, &c, e) < 0 ||
	    guest_cli_settle(e) < 0)
		return -e->no;
	if (guest_session_attach(c, name, &k.io, &k.seat, &part, e) < 0)
		return guest_cli_failed(word, AUDIT_GUEST_ATTACHED, e);
	return guest_client_part(&k, &part, word, name);
}

struct row {
	uint32_t schema_version;
	char name[sizeof(guest_session_name)];
	struct codec_list argv;
	int state;
	uint32_t pid, wait_status, exit_status, attached;
	time_text started_at;
	uint64_t kept_bytes;
	bool tty;
};
static const char *const states[] = { "running", "ended", NULL };
static const struct field row_fields[] = {
	{ FIELD_SLOT(struct row, schema_version, uint32_t), .kind = KIND_UINT, .max = 1,
	  .doc = "1" },
	{ FIELD_SLOT(struct row, name, guest_session_name), .kind = KIND_TEXT,
	  .doc = "of the session" },
	{ FIELD_SLOT(struct row, argv, struct codec_list), .kind = KIND_TEXTS, .max = GUEST_WORDS,
	  .doc = "its command" },
	{ FIELD_SLOT(struct row, state, int), .kind = KIND_ENUM, .names = states,
	  .doc = "of the command" },
	{ FIELD_SLOT(struct row, pid, uint32_t), .kind = KIND_UINT, .max = UINT32_MAX,
	  .doc = "in the guest, also after its end" },
	{ FIELD_SLOT(struct row, wait_status, uint32_t), .kind = KIND_UINT, .max = UINT32_MAX,
	  .doc = "as of waitpid(2), once ended" },
	{ FIELD_SLOT(struct row, exit_status, uint32_t), .kind = KIND_UINT, .max = 255,
	  .doc = "once ended; 128+n by signal n" },
	{ FIELD_SLOT(struct row, started_at, time_text), .kind = KIND_TEXT,
	  .doc = "by the guest's clock" },
	{ FIELD_SLOT(struct row, attached, uint32_t), .kind = KIND_UINT, .max = UINT32_MAX,
	  .doc = "clients that read it" },
	{ FIELD_SLOT(struct row, kept_bytes, uint64_t), .kind = KIND_UINT,
	  .max = GUEST_SESSION_KEEP, .doc = "of its output" },
	{ FIELD_SLOT(struct row, tty, bool), .kind = KIND_BOOL, .doc = "has a terminal" },
	FIELD_END
};

static void print_time(uint64_t us, time_text out)
{
	time_t s = (time_t)MIN(us / 1000000, 253402300799u); // the year 9999
	struct tm tm;

	out[0] = '\0';
	if (gmtime_r(&s, &tm))
		(void)strftime(out, sizeof(time_text), "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void fill(const struct guest_session *s, struct row *out)
{
	*out = (struct row){ .schema_version = 1,
			     .state = s->ended,
			     .pid = s->pid,
			     .wait_status = s->status & 0xffff,
			     .exit_status = (uint32_t)guest_cli_status((int)s->status & 0xffff),
			     .attached = s->attached,
			     .kept_bytes = MIN(s->kept, GUEST_SESSION_KEEP),
			     .tty = s->tty };
	memcpy(out->name, s->name, sizeof(out->name));
	print_time(s->started_us, out->started_at);
	for (uint32_t i = 0; i < s->argv.count; i++)
		codec_texts_add(&out->argv, guest_words_at(&s->argv, i));
}

static int list(const char *word, struct buf *out, struct err *e)
{
	cleanup(guest_session_list_clear) struct guest_session_list l = { .count = 0 };
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;

	if (guest_cli_open(word, &vmm, &c, e) < 0)
		return -e->no;
	if (guest_ask_sessions(c, clock_ms() + GUEST_CLI_ASK_MS, &l, e) < 0)
		return err_wrap(e, "%s", word);
	buf_char(out, '[');
	for (size_t i = 0; i < l.count; i++) {
		struct row r;

		fill(&l.items[i], &r);
		if (i)
			buf_char(out, ',');
		codec_print(row_fields, &r, out);
		codec_free(row_fields, &r);
	}
	buf_char(out, ']');
	return 0;
}

static int parse_signal(const char *s, uint32_t *ret, struct err *e)
{
	const char *name = str_starts(s, "SIG") ? s + 3 : s;
	struct err ignored = { 0 };
	uint64_t n;

	for (int i = 1; i < 32; i++) {
		const char *known = sigabbrev_np(i);

		if (known && str_eq(known, name)) {
			*ret = (uint32_t)i;
			return 0;
		}
	}
	if (num_u64(s, 1, 64, &n, &ignored) < 0)
		return err_usage(e, "--signal %.32s: no such signal", s);
	*ret = (uint32_t)n;
	return 0;
}

int guest_sessions_run(const struct call *call, struct buf *out, struct err *e)
{
	const char *word = call->argv[0], *name = arg_kill[0] ? arg_kill : arg_forget;
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;
	uint32_t sig = 0;
	char detail[96];

	if (arg_kill[0] && arg_forget[0])
		return err_usage(e, "--kill and --rm exclude each other");
	if (arg_signal_given && !arg_kill[0])
		return err_usage(e, "--signal goes with --kill");
	if (!name[0])
		return list(word, out, e);
	if (!guest_session_name_ok(name))
		return err_usage(e, "session '%.64s': not [a-z0-9][a-z0-9._-]{0,38}", name);
	if (arg_kill[0] && parse_signal(arg_signal, &sig, e) < 0)
		return -e->no;
	base_cut(detail, sizeof(detail), sig ? "session %s, signal %u" : "session %s forgotten",
		 name, sig);
	if (guest_cli_enter(word, AUDIT_GUEST_SIGNALLED, detail, &vmm, &c, e) < 0)
		return -e->no;
	if (guest_ask_session_signal(c, name, sig, clock_ms() + GUEST_CLI_ASK_MS, e) < 0)
		return guest_cli_failed(word, AUDIT_GUEST_SIGNALLED, e);
	buf_fmt(out, "{\"schema_version\":1,\"name\":\"%s\",", name);
	if (sig)
		buf_fmt(out, "\"signal\":%u}", sig);
	else
		buf_str(out, "\"forgotten\":true}");
	return 0;
}
