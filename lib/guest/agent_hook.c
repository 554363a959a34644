// SPDX-License-Identifier: MIT
// Around a capture: sleep, repair, thaw. What may wait is done in a process of its own, one at a
// time, which tells its steps by a pipe: a line for each, then a NUL and the answer. At the
// deadline it is killed, the host is told which step it was, and what a half-done sleep has stopped
// goes on. What waits for nobody is done at once.
#include "guest/agent_core.h"

#include <fcntl.h>
#include <signal.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/hook.h"

#define OUT_MAX	   65536u
#define UNDO_MS	   30000
#define DEADLINE_S 600u // the longest that a host may ask for

struct hook {
	struct agent *a;
	struct conn *c; // NULL: the host went away, or nobody has asked
	uint8_t type;
	uint32_t deadline_ms;
	pid_t pid;
	bool reaped, late;
	int fd;
	struct loop_source *source, *timer;
	struct buf out;
	int64_t started;
};

struct job {
	const struct agent *a;
	uint8_t type;
	struct guest_hook want;
	int64_t asked_us; // when the host's words were here
};

static const char *name_of(uint8_t type)
{
	return type == GUEST_SLEEP ? "sleep-prep" : type == GUEST_REPAIR ? "repair" : "wake";
}

static int work(const void *arg)
{
	const struct job *job = arg;
	struct guest_hook want = job->want;
	struct guest_steps steps = { .fd = STDOUT_FILENO };
	int64_t start = clock_ms();
	cleanup_buf struct buf b = BUF_INIT;
	struct guest_error wire;
	struct err e = { 0 }, ignored = { 0 };
	int r;

	// The host's clock has gone on while this process was made.
	if (want.time_us && job->asked_us)
		want.time_us += (uint64_t)(clock_us() - job->asked_us);
	r = job->a->hooks.around(job->a->arg, job->type, &want, &steps, &e);

	buf_char(&b, '\0');
	buf_char(&b, r < 0);
	steps.done.elapsed_ms = (uint32_t)(clock_ms() - start);
	guest_error_from(&e, &wire);
	if (r < 0)
		guest_error_put(&b, &wire);
	else
		guest_hook_done_put(&b, &steps.done);
	return fd_write_all(STDOUT_FILENO, b.data, b.len, &ignored) < 0;
}

void agent_hook_free(struct hook *h)
{
	if (!h)
		return;
	loop_remove(h->source);
	loop_remove(h->timer);
	base_closep(&h->fd);
	buf_free(&h->out);
	free(h);
}

static int start(struct agent *a, struct conn *c, const struct job *job, struct err *e);

static void answer_error(struct hook *h, const struct err *e)
{
	agent_say(h->a, "%s", e->msg);
	if (h->c)
		agent_conn_fail(h->c, e);
}

// The last line of the steps: what it was doing.
static void last_step(const struct hook *h, char *out, size_t size)
{
	const char *text = buf_text(&h->out), *nul = memchr(text, '\0', h->out.len);
	size_t len = nul ? (size_t)(nul - text) : h->out.len, from;

	while (len && text[len - 1] == '\n')
		len--;
	for (from = len; from && text[from - 1] != '\n';)
		from--;
	base_cut(out, size, "%.*s", (int)(len - from), text + from);
}

static void finish(struct hook *h);

static int take_answer(struct hook *h, struct guest_hook_done *done, struct err *e)
{
	const char *text = buf_text(&h->out), *nul = memchr(text, '\0', h->out.len);
	size_t len = nul ? h->out.len - (size_t)(nul - text) : 0;
	struct guest_error wire;
	char step[128];

	last_step(h, step, sizeof(step));
	if (len < 2)
		return err_kind(e, ERR_FAILED, "%s: ended in '%s'", name_of(h->type), step);
	if (nul[1] == 0)
		return guest_hook_done_get(nul + 2, len - 2, done, e);
	if (guest_error_get(nul + 2, len - 2, &wire, e) == 0)
		(void)guest_error_to(&wire, e);
	return err_wrap(e, "%s: %s", name_of(h->type), step);
}

static void undo(struct agent *a)
{
	const struct job job = {
		a, GUEST_THAW, { .deadline_ms = UNDO_MS, .flags = GUEST_HOOK_QUIET }, 0
	};
	struct err e = { 0 };

	if (start(a, NULL, &job, &e) < 0)
		agent_say(a, "undo: %s", e.msg);
}

static void send_done(struct conn *c, const struct guest_hook_done *done)
{
	cleanup_buf struct buf b = BUF_INIT;

	guest_hook_done_put(&b, done);
	agent_conn_send(c, GUEST_HOOK_DONE, 0, b.data, b.len);
}

static void say_done(struct agent *a, uint8_t type, uint32_t elapsed_ms)
{
	agent_say_later(a, "%s: done in %u ms", name_of(type), elapsed_ms);
}

static void note_state(struct agent *a, uint8_t type, bool done)
{
	if (type == GUEST_SLEEP)
		a->asleep = done;
	if (type == GUEST_THAW && done)
		a->asleep = false;
}

// Its process has ended and all that it wrote is here.
static void finish(struct hook *h)
{
	cleanup(guest_hook_done_clear) struct guest_hook_done done = { 0 };
	struct agent *a = h->a;
	struct err e = { 0 };
	int r;

	if (!h->reaped || h->source)
		return;
	r = take_answer(h, &done, &e);
	if (h->late)
		r = -ETIMEDOUT; // as the host was told
	a->hook = NULL;
	if (r < 0 && !h->late)
		answer_error(h, &e);
	if (r == 0 && h->c)
		send_done(h->c, &done);
	note_state(a, h->type, r == 0);
	if (h->c) {
		h->c->hook = NULL;
		agent_conn_finish(h->c);
	}
	if (r == 0)
		say_done(a, h->type, done.elapsed_ms);
	else if (h->type == GUEST_SLEEP)
		undo(a);
	agent_hook_free(h);
}

static void on_output(void *arg, uint32_t events)
{
	struct hook *h = arg;
	struct agent *a = h->a;
	char bytes[4096];
	ssize_t n = read(h->fd, bytes, sizeof(bytes));

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0 && h->out.len < OUT_MAX) {
		buf_add(&h->out, bytes, (size_t)n);
		return;
	}
	loop_remove(h->source);
	h->source = NULL;
	finish(h);
	agent_settle(a);
}

// What it has left open must not hold us.
static void kill_hook(struct hook *h)
{
	h->late = true;
	(void)kill(-h->pid, SIGKILL);
	loop_remove(h->source);
	h->source = NULL;
	finish(h);
}

static void on_deadline(void *arg)
{
	struct hook *h = arg;
	struct agent *a = h->a;
	char step[128];
	struct err e = { 0 };

	last_step(h, step, sizeof(step));
	(void)err_kind(&e, ERR_TIMEOUT, "%s: %s: not done after %u ms", name_of(h->type), step,
		       h->deadline_ms);
	answer_error(h, &e);
	if (h->c)
		h->c->hook = NULL;
	h->c = NULL;
	kill_hook(h);
	agent_settle(a);
}

static int start(struct agent *a, struct conn *c, const struct job *job, struct err *e)
{
	static const struct guest_words none = GUEST_WORDS_INIT;
	struct hook *h = base_alloc(1, sizeof(*h));
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC), out = -1;
	struct spawn s = { .argv = &none,
			   .env_base = &none,
			   .cwd = "/",
			   .user = "",
			   .work = work,
			   .work_arg = job };

	*h = (struct hook){ .a = a, .c = c, .type = job->type, .fd = -1, .started = clock_ms() };
	h->deadline_ms = MIN(job->want.deadline_ms, DEADLINE_S * 1000);
	if (null < 0 || agent_spawn_pipe(false, &h->fd, &out, e) < 0) {
		agent_hook_free(h);
		return null < 0 ? err_sys(e, "open /dev/null") : -e->no;
	}
	s.fd[0] = s.fd[2] = null;
	s.fd[1] = out;
	if (agent_spawn_run(&s, &h->pid, e) < 0 ||
	    loop_add_fd(a->loop, h->fd, EPOLLIN, on_output, h, &h->source, e) < 0 ||
	    loop_add_timer(a->loop, h->started + h->deadline_ms, on_deadline, h, &h->timer, e) <
		    0) {
		agent_hook_free(h);
		return -e->no;
	}
	a->hook = h;
	if (c)
		c->hook = h;
	return 0;
}

static void guest_steps_clear(struct guest_steps *s)
{
	guest_hook_done_clear(&s->done);
}

static int answer_at_once(struct conn *c, const char *why)
{
	cleanup(guest_hook_done_clear) struct guest_hook_done done = { 0 };
	cleanup_buf struct buf b = BUF_INIT;
	struct err ignored = { 0 };

	(void)!guest_words_add(&done.steps, why, &ignored);
	guest_hook_done_put(&b, &done);
	agent_conn_send(c, GUEST_HOOK_DONE, 0, b.data, b.len);
	agent_conn_finish(c);
	return 0;
}

static int pay(struct agent *a, struct err *e)
{
	if (!a->owing)
		return 0;
	if (a->hooks.owed(a->arg, e) < 0)
		return err_wrap(e, "what the repair has put off");
	a->owing = false;
	return 0;
}

void agent_hook_pay(struct agent *a)
{
	struct err e = { 0 };

	if (pay(a, &e) < 0)
		agent_say(a, "%s", e.msg);
}

// The host goes on while the guest does the rest. Only where no user's process could see that
// something of the repair is missing.
static void owe(struct conn *c, struct job *job)
{
	struct agent *a = c->a;

	if (!a->hooks.owed || (job->type == GUEST_REPAIR && !a->asleep))
		return;
	job->want.flags |= GUEST_HOOK_OWE;
	a->owing = c->owed = true;
}

static int do_at_once(struct conn *c, const struct job *job, struct err *e)
{
	cleanup(guest_steps_clear) struct guest_steps steps = { .fd = -1 };
	const struct guest_words *said = &steps.done.steps;
	struct agent *a = c->a;
	int64_t start = clock_ms();

	if (a->hooks.around(a->arg, job->type, &job->want, &steps, e) < 0) {
		agent_say(a, "%s: %s", name_of(job->type), e->msg);
		return err_wrap(e, "%s: %s", name_of(job->type),
				said->count ? guest_words_at(said, said->count - 1) : "");
	}
	steps.done.elapsed_ms = (uint32_t)(clock_ms() - start);
	note_state(a, job->type, true);
	send_done(c, &steps.done);
	agent_conn_set_timer(c, AGENT_IDLE_MS); // the host may go on with its drives
	say_done(a, job->type, steps.done.elapsed_ms);
	return 0;
}

int agent_hook_start(struct conn *c, const struct guest_head *head, const uint8_t *p, struct err *e)
{
	struct agent *a = c->a;
	struct job job = { a, head->type, { 0 }, clock_us() };

	if (guest_hook_get(p, head->len, &job.want, e) < 0)
		return -e->no;
	if (!a->hooks.around || !job.want.deadline_ms)
		return err_kind(e, ERR_FAILED, "no such hook, or no time for it");
	if (a->hook)
		return err_kind(e, ERR_UNAVAILABLE, "%s is under way", name_of(a->hook->type));
	if (head->type == GUEST_SLEEP && a->asleep)
		return answer_at_once(c, "asleep already");
	// What never slept has nothing to wake; what is left frozen all the same is freed.
	if (head->type == GUEST_THAW && !a->asleep)
		job.want.flags |= GUEST_HOOK_QUIET;
	if (job.type != GUEST_REPAIR && pay(a, e) < 0)
		return -e->no;
	if (a->hooks.at_once && a->hooks.at_once(a->arg, job.type, &job.want)) {
		owe(c, &job);
		return do_at_once(c, &job, e);
	}
	agent_conn_set_timer(c, 0);
	c->state = CONN_HOOK;
	return start(a, c, &job, e);
}

// A repair or a thaw is good without its host, too. A sleep is not: who has asked for it does not
// capture any more, and nobody would let go what it stops.
void agent_hook_orphan(struct hook *h)
{
	h->c = NULL;
	if (h->type != GUEST_SLEEP || h->late)
		return;
	agent_say(h->a, "sleep-prep: whoever has asked for it is gone");
	kill_hook(h);
}

void agent_hook_child(struct agent *a, pid_t pid)
{
	if (!a->hook || a->hook->pid != pid)
		return;
	a->hook->reaped = true;
	finish(a->hook);
}
