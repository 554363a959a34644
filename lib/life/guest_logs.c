// SPDX-License-Identifier: MIT
#include <poll.h>
#include <time.h>

#include "base/clock.h"
#include "base/num.h"
#include "life/console_follow.h"
#include "life/guest_cli.h"
#include "life/guest_verbs.h"
#include "state/instances.h"

#define ENDING_MS 5000 // a guest closes its connections before its VMM ends

enum source { SOURCE_CONSOLE, SOURCE_VMM, SOURCE_AGENT, SOURCE_ENTRYPOINT };
static const char *const sources[] = { "console", "vmm", "agent", "entrypoint", NULL };

static uint64_t arg_tail;
static const char *arg_since;
static int arg_source = SOURCE_CONSOLE;
static bool arg_follow, arg_times;

#define FOLLOW_OPT                                                                         \
	{                                                                                  \
		.letter = 'f', .kind = OPT_FLAG, .name = "follow",                         \
		.help = "go on as it grows, until the instance stops", .slot = &arg_follow \
	}
#define TAIL_OPT                                                                             \
	{                                                                                    \
		.letter = 'n', .kind = OPT_U64, .name = "tail", .arg = "LINES",              \
		.help = "begin with only so many lines of what is there", .slot = &arg_tail, \
		.min = 1, .max = 1000000                                                     \
	}
#define SINCE_OPT                                                                             \
	{                                                                                     \
		.kind = OPT_TEXT, .name = "since", .arg = "TIME",                             \
		.help = "nothing older: a time (2026-11-21T10:00:00Z) or how long ago (10m)", \
		.slot = &arg_since                                                            \
	}
const struct opt guest_console_opts[] = { FOLLOW_OPT, TAIL_OPT, SINCE_OPT, OPT_END };
const struct opt guest_logs_opts[] = {
	{ .kind = OPT_ENUM,
	  .name = "source",
	  .arg = "SOURCE",
	  .help = "whose log: console (of the last run too), vmm, agent or entrypoint",
	  .slot = &arg_source,
	  .words = sources },
	FOLLOW_OPT,
	TAIL_OPT,
	SINCE_OPT,
	{ .letter = 't',
	  .kind = OPT_FLAG,
	  .name = "timestamps",
	  .help = "begin each line with its time (agent and entrypoint)",
	  .slot = &arg_times },
	OPT_END
};

// "+hh:mm" behind a time, or "Z".
static bool read_zone(const char *s, int64_t *minutes)
{
	int64_t h, m;

	*minutes = 0;
	if (str_eq(s, "Z") || str_eq(s, "z"))
		return true;
	if ((*s != '+' && *s != '-') || strlen(s) != 6 || s[3] != ':' ||
	    strspn(s + 1, "0123456789:") != 5)
		return false;
	h = (s[1] - '0') * 10 + (s[2] - '0');
	m = (s[4] - '0') * 10 + (s[5] - '0');
	*minutes = (*s == '-' ? -1 : 1) * (h * 60 + m);
	return h < 24 && m < 60 && !memchr(s + 1, ':', 2) && !strchr(s + 4, ':');
}

static bool read_time(const char *s, int64_t *ret_us)
{
	struct tm tm = { 0 };
	const char *p = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
	int64_t fraction = 0, zone, scale = 100000;
	time_t t;

	if (!p)
		return false;
	if (*p == '.')
		for (p++; *p >= '0' && *p <= '9'; p++, scale /= 10)
			fraction += (*p - '0') * scale;
	t = timegm(&tm);
	if (!read_zone(p, &zone))
		return false;
	*ret_us = ((int64_t)t - zone * 60) * 1000000 + fraction;
	return *ret_us > 0;
}

static int read_since(uint64_t *ret_us, struct err *e)
{
	struct timespec now = { 0 };
	int64_t at;
	uint64_t ago;

	*ret_us = 0;
	if (!arg_since)
		return 0;
	if (strchr(arg_since, '-')) {
		if (!read_time(arg_since, &at))
			return err_usage(e, "--since: '%.64s' is no time of RFC 3339", arg_since);
		*ret_us = (uint64_t)at;
		return 0;
	}
	if (num_duration_ms(arg_since, (uint64_t)366 * 86400 * 1000, &ago, e) < 0)
		return err_wrap(e, "--since");
	(void)clock_gettime(CLOCK_REALTIME, &now);
	*ret_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 - ago * 1000;
	return 0;
}

// What the host keeps: there also when the guest does not run, or never came up. Then there is
// nothing to follow.
static int show_console(const char *word, uint64_t since_us, struct err *e)
{
	const struct console_want want = { arg_source == SOURCE_VMM, arg_tail, since_us };
	struct instance i = { 0 };
	cleanup_fd int vmm = -1;
	struct err ignored = { 0 };
	struct address a;

	if (arg_times)
		return err_usage(e, "--timestamps goes with --source agent or entrypoint");
	if (instances_resolve(word, &a, e) < 0 || instance_load(&a, NULL, &i, e) < 0 ||
	    console_check_since(since_us, e) < 0)
		return -e->no;
	const struct proc_id id = { (pid_t)i.vmm_process.pid, i.vmm_process.pid_start };
	if (arg_follow && id.pid > 0)
		vmm = proc_id_open(&id, &ignored);
	if (vmm < 0)
		return console_print(&a, &want, STDOUT_FILENO, e);
	return console_follow(&a, &want, vmm, STDOUT_FILENO, e);
}

// The guest's end is the end of what can be followed, and no failure.
static int ask(struct guest_conn *c, const struct guest_logs *what, int vmm, struct err *e)
{
	struct pollfd p = { .fd = vmm, .events = POLLIN };
	int r = guest_ask_logs(c, what, STDOUT_FILENO, e);

	if (r < 0 && what->follow && poll(&p, 1, ENDING_MS) > 0) {
		err_clear(e);
		return 0;
	}
	return r;
}

int guest_logs_run(const struct call *call, struct buf *out, struct err *e)
{
	struct guest_logs what = { .source = arg_source == SOURCE_AGENT ? GUEST_LOG_AGENT
									: GUEST_LOG_ENTRYPOINT,
				   .follow = arg_follow,
				   .times = arg_times,
				   .lines = (uint32_t)arg_tail };
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;

	(void)out;
	if (read_since(&what.since_us, e) < 0)
		return -e->no;
	if (arg_source == SOURCE_CONSOLE || arg_source == SOURCE_VMM)
		return show_console(call->argv[0], what.since_us, e);
	if (guest_cli_open(call->argv[0], &vmm, &c, e) < 0 || guest_cli_settle(e) < 0)
		return -e->no;
	if (ask(c, &what, vmm, e) < 0) {
		(void)err_object(e, "%s", call->argv[0]);
		return err_wrap(e, "%s", call->argv[0]);
	}
	return 0;
}

int guest_console_run(const struct call *call, struct buf *out, struct err *e)
{
	uint64_t since_us;

	(void)out;
	return read_since(&since_us, e) < 0 ? -e->no : show_console(call->argv[0], since_us, e);
}
