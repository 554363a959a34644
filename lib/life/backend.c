// SPDX-License-Identifier: MIT
#include "life/backend.h"
#include "base/path.h"
#include "base/proc.h"
#include "life/conf.h"
#include <inttypes.h>

const char *const backend_names[] = { "systemd", "direct", NULL };

// A start is ended by the backend after 180 s, a stop after the pool's drain limit and a kill.
#define BACKEND_WAIT_MS 300000

int backend_kind(enum backend_kind *ret, struct err *e)
{
	char asked[CONF_VALUE];

	if (conf_get("backend", "auto", asked, e) < 0)
		return -e->no;
	if (str_eq(asked, "systemd") && !path_is_default())
		return err_usage(
			e, "backend systemd serves only the default state and run directories");
	if (str_eq(asked, "systemd"))
		*ret = BACKEND_SYSTEMD;
	else if (str_eq(asked, "direct"))
		*ret = BACKEND_DIRECT;
	else if (str_eq(asked, "auto"))
		*ret = path_is_default() && access("/run/systemd/system", F_OK) == 0
			       ? BACKEND_SYSTEMD
			       : BACKEND_DIRECT;
	else
		return err_usage(e, "backend is '%s', expected auto, systemd or direct", asked);
	return 0;
}

static int ask(const char *verb, const struct address *a, const char *const *more, struct buf *out,
	       struct err *e)
{
	cleanup_proc_result struct proc_result r = { 0 };
	const char *argv[12] = { 0 };
	enum backend_kind kind = BACKEND_DIRECT;
	address_text address;
	path_text script;
	size_t n = 0;

	if (backend_kind(&kind, e) < 0)
		return -e->no;
	path_lib("backend", script);
	address_print(a, address);
	argv[n++] = script;
	argv[n++] = backend_names[kind];
	argv[n++] = verb;
	argv[n++] = address;
	for (; more && *more && n + 1 < COUNT(argv); more++)
		argv[n++] = *more;
	if (proc_capture(argv, NULL, 64 * KIB, BACKEND_WAIT_MS, &r, e) < 0)
		return err_wrap(e, "backend %s", verb);
	if (r.status != 0) {
		(void)err_kind(e, r.status == 8 ? ERR_UNAVAILABLE : ERR_FAILED, "backend %s %s: %s",
			       backend_names[kind], verb,
			       r.last_line[0] ? r.last_line : "failed without a word");
		return -e->no;
	}
	if (out)
		buf_add(out, buf_text(&r.out), r.out.len);
	return 0;
}

int backend_start(const struct address *a, struct err *e)
{
	return ask("start", a, NULL, NULL, e);
}

int backend_stop(const struct address *a, bool force, struct err *e)
{
	const char *const more[] = { force ? "--force" : NULL, NULL };

	return ask("stop", a, more, NULL, e);
}

int backend_forget(const struct address *a, struct err *e)
{
	return ask("forget", a, NULL, NULL, e);
}

int backend_status(const struct address *a, enum backend_status *ret, struct err *e)
{
	static const char *const words[] = { "inactive", "activating", "active", "deactivating" };
	cleanup_buf struct buf said = BUF_INIT;

	if (ask("status", a, NULL, &said, e) < 0)
		return -e->no;
	for (size_t i = 0; i < COUNT(words); i++) {
		const char *text = buf_text(&said);

		if (str_starts(text, words[i]) && text[strlen(words[i])] == '\n') {
			*ret = (enum backend_status)i;
			return 0;
		}
	}
	return err_kind(e, ERR_FAILED, "backend status said '%.40s'", buf_text(&said));
}

int backend_limits(const struct address *a, const struct backend_limits *l, struct err *e)
{
	char memory[24], cpu[24], tasks[24];
	const char *const more[] = { memory, cpu, tasks, NULL };

	if (base_fmt(memory, sizeof(memory), "%" PRIu64, l->memory_mib) < 0 ||
	    base_fmt(cpu, sizeof(cpu), "%" PRIu64, l->cpu_pct) < 0 ||
	    base_fmt(tasks, sizeof(tasks), "%" PRIu64, l->tasks) < 0)
		return err_set(e, ERANGE, "limits");
	return ask("limits", a, more, NULL, e);
}
