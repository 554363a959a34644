// SPDX-License-Identifier: MIT
// The guest's agent: process 1 of our images, an ordinary service elsewhere. In an initramfs made
// by guest-image it is the init that finds the root drive first. It takes no option, so it does
// without tool_main, which is for people.
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/sig.h"
#include "guest/agent.h"
#include "guest/channel.h"
#include "guest/drive.h"
#include "guest/machine.h"
#include "guest/stage1.h"
#include "guest/worker.h"

#define GRACE_MS      5000 // when nobody says otherwise
#define GRACE_MAX_MS  600000
#define AFTER_KILL_MS 2000

struct guestd {
	struct loop *loop;
	struct agent *agent;
	struct channel *channel;
	int signals;
	enum { UP, ENDING, KILLING } state;
	char why[GUEST_TEXT];
	struct loop_source *timer;
};

static void leave(struct guestd *g)
{
	machine_down(g->why);
	loop_stop(g->loop); // a reset that did not happen: end, which panics the guest
}

static void on_timer(void *arg)
{
	struct guestd *g = arg;
	struct err e = { 0 };

	loop_remove(g->timer);
	g->timer = NULL;
	if (g->state == KILLING) {
		leave(g);
		return;
	}
	g->state = KILLING;
	if (getpid() == 1)
		(void)kill(-1, SIGKILL);
	if (loop_add_timer(g->loop, clock_ms() + AFTER_KILL_MS, on_timer, g, &g->timer, &e) < 0)
		leave(g);
}

static void reap(struct guestd *g);

// TERM to everybody, KILL after the grace time; goes on as soon as nobody is left. What runs as a
// service leaves the others to that system's init.
static void go_down(struct guestd *g, const char *why, int64_t grace_ms)
{
	struct err e = { 0 };

	if (g->state != UP)
		return;
	g->state = ENDING;
	(void)!COPY(g->why, why);
	log_clean(g->why);
	if (getpid() != 1) {
		leave(g);
		return;
	}
	(void)kill(-1, SIGTERM);
	(void)kill(-1, SIGCONT); // a stopped process would sleep through it
	if (loop_add_timer(g->loop, clock_ms() + MIN(grace_ms, GRACE_MAX_MS), on_timer, g,
			   &g->timer, &e) < 0)
		leave(g);
	reap(g); // nobody at all may be there
}

static void reap(struct guestd *g)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		agent_child(g->agent, pid, status);
	// As process 1 we inherit every orphan: no child means that nobody is left.
	if (g->state != UP && pid < 0 && errno == ECHILD)
		leave(g);
}

static void on_signal(void *arg, uint32_t events)
{
	struct guestd *g = arg;
	int sig;

	(void)events;
	while ((sig = sig_read(g->signals)) != 0) {
		if (sig == SIGCHLD)
			reap(g);
		else // what reboot, poweroff and halt send, and Ctrl-Alt-Del
			go_down(g, sig == SIGINT ? "ctrl-alt-del" : "asked from inside", GRACE_MS);
	}
}

static int on_welcome(void *arg, const struct guest_welcome *w, struct guest_info *ret,
		      struct err *e)
{
	struct guestd *g = arg;

	machine_clock(w->time_us);
	machine_seed(w->seed);
	if (machine_network(&w->net, e) < 0 || machine_drives(w->user, &ret->drives, e) < 0 ||
	    machine_boot_id(e) < 0)
		return -e->no;
	machine_worker(w->user);
	agent_say(g->agent, "set up as %s", w->net.hostname[0] ? w->net.hostname : "a guest");
	return 0;
}

static void on_down(void *arg, const struct guest_down *d)
{
	struct guestd *g = arg;
	char why[GUEST_TEXT];

	if (base_fmt(why, sizeof(why), "asked by the host%s%s", d->reason[0] ? ": " : "",
		     d->reason) < 0)
		(void)!COPY(why, "asked by the host");
	go_down(g, why, d->grace_ms);
}

static void on_dial_ended(void *arg, bool taken)
{
	struct guestd *g = arg;

	channel_dial_ended(g->channel, taken);
}

static int on_around(void *arg, uint8_t type, const struct guest_hook *h, struct guest_steps *steps,
		     struct err *e)
{
	(void)arg;
	return machine_around(type, h, steps, e);
}

static bool on_at_once(void *arg, uint8_t type, const struct guest_hook *h)
{
	(void)arg;
	return machine_at_once(type, h);
}

static int on_owed(void *arg, struct err *e)
{
	(void)arg;
	return machine_owed(e);
}

static int on_changed(void *arg, enum guest_drive which, const char *user,
		      const uint8_t digest[GUEST_DIGEST], struct err *e)
{
	(void)arg;
	return machine_drive_changed(which, user, digest, e);
}

// What a command does in its last moments (its streams close one by one, then it is gone) wakes us
// each time, and would each time be interrupted by us. A batch process waits for its turn: on one
// CPU a short command runs from its start to its end, and all of that is seen at once. It helps
// also where another program burns the CPU: whenever we are woken there we wait for our turn, and
// so it is less often (a command took 12 ms instead of 16, 21 instead of 24 in the 99th
// percentile). By system call, since musl's own refuses; commands are ordinary processes.
static void be_patient(void)
{
	const struct sched_param none = { 0 };

	if (syscall(SYS_sched_setscheduler, 0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none) < 0)
		log_debug("", "batch: %s", strerror(errno));
}

static int run(struct guestd *g, struct err *e)
{
	static const struct agent_hooks hooks = {
		.welcome = on_welcome,
		.down = on_down,
		.dial_ended = on_dial_ended,
		.around = on_around,
		.at_once = on_at_once,
		.owed = on_owed,
		.worker_file = WORKER_FILE,
		.changed = on_changed,
	};

	g->signals = sig_open(e, SIGCHLD, SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGPWR, 0);
	if (g->signals < 0)
		return -e->no;
	(void)signal(SIGPIPE, SIG_IGN);
	if (loop_new(&g->loop, e) < 0 ||
	    loop_add_fd(g->loop, g->signals, EPOLLIN, on_signal, g, NULL, e) < 0 ||
	    agent_new(g->loop, &hooks, g, &g->agent, e) < 0 ||
	    channel_new(g->loop, g->agent, &g->channel, e) < 0)
		return -e->no;
	reap(g); // children of the initramfs, if any
	be_patient();
	return loop_run(g->loop, e);
}

int main(int argc, char **argv)
{
	struct guestd g = { .signals = -1 };
	struct err e = { 0 };

	// What a program in the guest says of itself; process 1 is called with the kernel's words.
	if (getpid() != 1 && argc > 1) {
		if (argc == 3 && str_eq(argv[1], "status") &&
		    worker_say(WORKER_FILE, argv[2], &e) == 0)
			return 0;
		(void)fprintf(stderr, "mvm-guestd: %s\n",
			      e.no ? e.msg : "usage: mvm-guestd [status ready|idle|busy]");
		return e.no ? err_exit(&e) : 2;
	}

	if (stage1_wanted()) {
		stage1_run();
		return 1;
	}
	fd_sanitize();
	sig_save_mask();
	log_open("mvm-guestd");
	machine_boot();
	if (run(&g, &e) < 0)
		log_error("", "%s", e.msg);
	return 1;
}
