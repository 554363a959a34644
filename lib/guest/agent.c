// SPDX-License-Identifier: MIT
#include "guest/agent.h"

#include <stdarg.h>

#include "base/clock.h"
#include "base/log.h"
#include "guest/agent_core.h"

#define LINE	 512
#define LATER_MS 1000

int agent_new(struct loop *l, const struct agent_hooks *hooks, void *arg, struct agent **ret,
	      struct err *e)
{
	struct agent *a = base_alloc(1, sizeof(*a));

	(void)e;
	a->loop = l;
	a->hooks = *hooks;
	a->arg = arg;
	a->entry_fd = -1;
	a->logs[GUEST_LOG_AGENT].bytes.size = 64 * KIB;
	a->logs[GUEST_LOG_ENTRYPOINT].bytes.size = 256 * KIB;
	for (size_t i = 0; i < COUNT(a->logs); i++)
		a->logs[i].bytes.data = base_alloc(a->logs[i].bytes.size, 1);
	*ret = a;
	return 0;
}

void agent_free(struct agent *a)
{
	if (!a)
		return;
	for (struct conn *c = a->conns, *next; c; c = next) {
		next = c->next;
		agent_conn_free(c);
	}
	for (struct exec *x = a->execs, *next; x; x = next) {
		next = x->next;
		agent_exec_free(x);
	}
	agent_session_free_all(a);
	agent_entry_free(a);
	agent_hook_free(a->hook);
	agent_probe_free(a);
	loop_remove(a->later_timer);
	buf_free(&a->later);
	guest_welcome_clear(&a->welcome);
	for (size_t i = 0; i < COUNT(a->logs); i++)
		free(a->logs[i].bytes.data);
	free(a);
}

void agent_take(struct agent *a, int fd)
{
	agent_conn_add(a, fd, false);
	agent_settle(a);
}

void agent_dialled(struct agent *a, int fd)
{
	agent_conn_add(a, fd, true);
	agent_settle(a);
}

// True when there was one.
static bool free_dead(struct agent *a)
{
	bool any = false;

	for (struct conn **at = &a->conns; *at;) {
		struct conn *c = *at;

		if (!c->dead) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		any = true;
		a->conn_count--;
		a->down_asked |= c->down;
		if (c->exec)
			agent_exec_orphan(c->exec);
		if (c->session)
			agent_session_left(c);
		if (c->hook)
			agent_hook_orphan(c->hook);
		if (c->owed)
			agent_hook_pay(a);
		if (c->ours)
			a->hooks.dial_ended(a->arg, c->taken);
		agent_conn_free(c);
	}
	for (struct exec **at = &a->execs; *at;) {
		struct exec *x = *at;

		if (!x->ended || x->conn) {
			at = &x->next;
			continue;
		}
		*at = x->next;
		a->exec_count--;
		agent_exec_free(x);
	}
	return any;
}

void agent_settle(struct agent *a)
{
	do { // one that goes may let a session's other readers have more
		for (struct conn *c = a->conns; c; c = c->next)
			agent_conn_settle(c);
	} while (free_dead(a));
	if (a->down_asked) {
		a->down_asked = false;
		a->hooks.down(a->arg, &a->down);
	}
}

void agent_child(struct agent *a, pid_t pid, int wait_status)
{
	if (pid == a->entry_pid)
		agent_entry_ended(a, wait_status);
	for (struct exec *x = a->execs; x; x = x->next)
		if (x->pid == pid && !x->ended)
			agent_exec_ended(x, wait_status);
	agent_session_child(a, pid, wait_status);
	agent_hook_child(a, pid);
	agent_probe_child(a, pid, wait_status);
	agent_settle(a);
}

static void keep(struct agent *a, const char *fmt, va_list ap, char line[static LINE])
{
	(void)vsnprintf(line, LINE - 1, fmt, ap);
	log_clean(line);
	memcpy(line + strlen(line), "\n", 2);
	agent_log_add(a, GUEST_LOG_AGENT, line, strlen(line));
}

static void say(const char *lines)
{
	for (const char *end; (end = strchr(lines, '\n')); lines = end + 1)
		log_info("", "%.*s", (int)(end - lines), lines);
}

void agent_say(struct agent *a, const char *fmt, ...)
{
	char line[LINE];
	va_list ap;

	va_start(ap, fmt);
	keep(a, fmt, ap, line);
	va_end(ap);
	say(line);
}

static void on_later(void *arg)
{
	struct agent *a = arg;

	loop_remove(a->later_timer);
	a->later_timer = NULL;
	say(buf_text(&a->later));
	buf_clear(&a->later);
}

void agent_say_later(struct agent *a, const char *fmt, ...)
{
	struct err ignored = { 0 };
	char line[LINE];
	va_list ap;

	va_start(ap, fmt);
	keep(a, fmt, ap, line);
	va_end(ap);
	buf_str(&a->later, line);
	if (!a->later_timer && loop_add_timer(a->loop, clock_ms() + LATER_MS, on_later, a,
					      &a->later_timer, &ignored) < 0)
		on_later(a);
}

bool agent_is_ready(const struct agent *a)
{
	return a->ready;
}
