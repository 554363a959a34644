// SPDX-License-Identifier: MIT
// Named sessions: commands that outlive the connection that started them. They are bounded in
// number, and what each keeps is bounded; an ended one stays until somebody forgets it, or until
// its place is needed.
#include "guest/agent_session.h"

#include <signal.h>
#include <time.h>

#include "base/clock.h"

struct session *agent_session_find(const struct agent *a, const char *name)
{
	for (struct session *s = a->sessions; s; s = s->next)
		if (str_eq(s->name, name))
			return s;
	return NULL;
}

static void session_free(struct session *s)
{
	loop_remove(s->patience);
	if (s->exec)
		agent_exec_free(s->exec);
	tape_free(&s->tape);
	guest_words_clear(&s->argv);
	free(s);
}

void agent_session_free_all(struct agent *a)
{
	for (struct session *s = a->sessions, *next; s; s = next) {
		next = s->next;
		session_free(s);
	}
}

static void forget(struct session *s)
{
	struct session **at = &s->a->sessions;

	agent_attach_drop(s);
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	session_free(s);
}

// They stand in the order of their start. *ret: the one that has to give way, or NULL.
static int find_room(struct agent *a, struct session **ret, struct err *e)
{
	struct session *oldest = NULL;
	unsigned count = 0;

	for (struct session *s = a->sessions; s; s = s->next, count++)
		if (!oldest && s->done && agent_attach_count(s) == 0)
			oldest = s;
	*ret = count < GUEST_SESSIONS_MAX ? NULL : oldest;
	if (count >= GUEST_SESSIONS_MAX && !oldest)
		return err_kind(e, ERR_QUOTA, "%u sessions are there", GUEST_SESSIONS_MAX);
	return 0;
}

static int check(struct agent *a, const struct guest_session_start *want, struct session **ret,
		 struct err *e)
{
	const struct guest_words *argv = &want->exec.argv;

	// It will be told in one frame.
	if (argv->text.len + (size_t)4 * argv->count > GUEST_WORDS_SIZE)
		return err_kind(e, ERR_USAGE, "words of more than %u bytes together",
				GUEST_WORDS_SIZE);
	if (agent_session_find(a, want->name))
		return err_kind(e, ERR_CONFLICT, "a session '%s' is there already", want->name);
	return find_room(a, ret, e);
}

static void words_copy(const struct guest_words *from, struct guest_words *to)
{
	buf_add(&to->text, from->text.data, from->text.len);
	to->count = from->count;
}

static uint64_t utc_us(void)
{
	struct timespec now = { 0 };

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

int agent_session_start(struct conn *c, const struct guest_session_start *want, struct err *e)
{
	struct agent *a = c->a;
	struct session *s, *gives_way = NULL, **at = &a->sessions;
	struct exec *x = NULL;

	if (check(a, want, &gives_way, e) < 0 ||
	    agent_exec_new(a, &want->exec, &c->size, &x, e) < 0)
		return -e->no;
	if (gives_way)
		forget(gives_way);
	s = base_alloc(1, sizeof(*s));
	*s = (struct session){ .a = a, .exec = x, .started_us = utc_us() };
	(void)!COPY(s->name, want->name);
	words_copy(&want->exec.argv, &s->argv);
	tape_init(&s->tape);
	while (*at)
		at = &(*at)->next;
	*at = s;
	x->session = s;
	agent_conn_send_u32(c, GUEST_STARTED, 0, (uint32_t)x->pid);
	agent_attach_to(c, s, true);
	agent_exec_watch(x);
	return 0;
}

void agent_session_describe(const struct session *s, struct buf *out)
{
	const struct guest_session about = {
		.argv = s->argv,
		.started_us = s->started_us,
		.kept = s->tape.bytes.end - tape_start(&s->tape),
		.pid = (uint32_t)s->exec->pid,
		.status = s->done ? (uint32_t)s->exec->status : 0,
		.attached = agent_attach_count(s),
		.ended = s->done,
		.tty = s->exec->tty,
	};
	struct guest_session named = about;

	(void)!COPY(named.name, s->name);
	guest_session_put(out, &named);
}

void agent_session_list(struct conn *c)
{
	for (const struct session *s = c->a->sessions; s; s = s->next) {
		cleanup_buf struct buf b = BUF_INIT;

		agent_session_describe(s, &b);
		agent_conn_send(c, GUEST_SESSION, 0, b.data, b.len);
	}
	agent_conn_send(c, GUEST_OK, 0, NULL, 0);
	agent_conn_finish(c);
}

int agent_session_signal(struct agent *a, const struct guest_session_signal *want, struct err *e)
{
	struct session *s = agent_session_find(a, want->name);

	if (!s)
		return err_kind(e, ERR_MISSING, "no session '%s'", want->name);
	if (want->signal == 0 && !s->done)
		return err_kind(e, ERR_STATE, "session '%s' still runs", want->name);
	if (want->signal != 0 && s->exec->ended)
		return err_kind(e, ERR_STATE, "session '%s' has ended", want->name);
	if (want->signal == 0)
		forget(s);
	else
		agent_exec_signal(s->exec, (int)want->signal);
	return 0;
}

void agent_session_output(struct session *s, int stream, const void *p, size_t len)
{
	tape_add(&s->tape, stream, p, len);
	agent_attach_pump(s);
}

void agent_session_done(struct session *s)
{
	s->done = true;
	agent_attach_pump(s);
}

void agent_session_child(struct agent *a, pid_t pid, int wait_status)
{
	for (struct session *s = a->sessions; s; s = s->next)
		if (s->exec->pid == pid && !s->exec->ended)
			agent_exec_ended(s->exec, wait_status);
}
