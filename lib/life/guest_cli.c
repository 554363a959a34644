// SPDX-License-Identifier: MIT
#include "life/guest_cli.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit/audit.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sig.h"
#include "state/instances.h"
#include "sys/jail.h"
#include "sys/sandbox.h"

static int check_running(const struct instance *i, const struct address *a, struct err *e)
{
	if (i->status == INSTANCE_RUNNING)
		return 0;
	(void)err_kind(e, ERR_STATE, "the instance is %s", instance_status_names[i->status]);
	return err_hint(e, "run 'mvm instance %s %s/%s/%s'",
			i->status == INSTANCE_WARM || i->status == INSTANCE_SLEEPING ? "wake"
										     : "start",
			a->tenant, a->pool, a->instance);
}

int guest_cli_reach(const struct address *a, const struct tenant *t, const struct instance *i,
		    int wait_ms, int *vmm, struct guest_conn **ret, struct err *e)
{
	const struct proc_id id = { (pid_t)i->vmm_process.pid, i->vmm_process.pid_start };
	uint32_t uid = name_uid(t->net.tenant_net_id, i->net.offset);
	cleanup_jail struct jail jail = JAIL_NONE;

	if (check_running(i, a, e) < 0)
		return -e->no;
	*vmm = proc_id_open(&id, e);
	if (*vmm < 0)
		return err_kind(e, ERR_UNAVAILABLE, "its VMM does not run any more");
	if (jail_open(instance_vmm_names[i->vmm], a->instance, uid, &jail, e) < 0)
		return -e->no;
	const struct guest_place at = { jail.run, "v.sock", uid, *vmm };
	return guest_open(&at, clock_ms() + wait_ms, ret, e);
}

static int open_agent(const char *word, struct address *a, int *vmm, struct guest_conn **ret,
		      struct err *e)
{
	struct instance i = { 0 };
	struct tenant t = { 0 };
	address_text name;

	if (instances_resolve(word, a, e) < 0 || tenant_load(a->tenant, &t, e) < 0 ||
	    instance_load(a, &t, &i, e) < 0)
		return -e->no;
	if (guest_cli_reach(a, &t, &i, GUEST_CLI_ASK_MS, vmm, ret, e) == 0)
		return 0;
	address_print(a, name);
	(void)err_object(e, "%s", name);
	return err_wrap(e, "%s", name);
}

int guest_cli_open(const char *word, int *vmm, struct guest_conn **ret, struct err *e)
{
	struct address a;

	return open_agent(word, &a, vmm, ret, e);
}

// What guest_cli_enter began, and who writes down that it came to nothing once this process has
// settled: a child that nobody but this process talks to.
static struct {
	struct address a;
	enum audit_action action;
	bool begun;
	int tell;
	pid_t scribe;
} deed = { .tell = -1 };

int guest_cli_enter(const char *word, enum audit_action action, const char *detail, int *vmm,
		    struct guest_conn **ret, struct err *e)
{
	if (open_agent(word, &deed.a, vmm, ret, e) < 0)
		return -e->no;
	deed.action = action;
	deed.begun = true;
	audit_note(&deed.a, action, NULL, "%s", detail);
	return 0;
}

// Ends without a word when the other one does. Of the caller's descriptors it keeps standard error.
static void wait_for_word(int from)
{
	struct err why = { 0 };
	ssize_t n;

	(void)setsid();
	(void)dup2(from, STDIN_FILENO);
	(void)syscall(SYS_close_range, 3u, ~0u, 0u);
	(void)close(STDOUT_FILENO);
	n = read(STDIN_FILENO, &why, sizeof(why));
	why.msg[sizeof(why.msg) - 1] = '\0';
	if (n == sizeof(why))
		(void)audit_note_broken(&deed.a, deed.action, NULL, &why);
	_exit(0);
}

static int start_scribe(struct err *e)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	deed.scribe = fork();
	if (deed.scribe == 0)
		wait_for_word(ends[0]);
	(void)close(ends[0]);
	deed.tell = ends[1];
	return deed.scribe < 0 ? err_sys(e, "fork") : 0;
}

int guest_cli_settle(struct err *e)
{
	static const struct sandbox_rule rules[] = { SANDBOX_NO_CODE, { 0 } };

	if (SANDBOX_CHECKED)
		return 0;
	if ((deed.begun && start_scribe(e) < 0) ||
	    sandbox_settle(NULL, 0,
			   "recvfrom recvmsg sendto sendmsg shutdown getsockopt setsockopt ioctl "
			   "wait4",
			   rules, e) < 0)
		return err_wrap(e, "give up rights");
	return 0;
}

int guest_cli_note(const char *word, enum audit_action action, const struct err *e)
{
	struct err ignored = { 0 };
	struct address a;

	if (deed.tell >= 0) {
		if (write(deed.tell, e, sizeof(*e)) == sizeof(*e))
			(void)waitpid(deed.scribe, NULL, 0);
	} else if (instances_resolve(word, &a, &ignored) == 0) {
		(void)audit_note_broken(&a, action, NULL, e);
	}
	return -e->no;
}

int guest_cli_failed(const char *word, enum audit_action action, struct err *e)
{
	(void)guest_cli_note(word, action, e);
	(void)err_object(e, "%s", word);
	return err_wrap(e, "%s", word);
}

int guest_cli_status(int wait_status)
{
	return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

int guest_client_open(struct guest_client *k, bool input, bool tty, const char *keys, struct err *e)
{
	*k = (struct guest_client)GUEST_CLIENT_NONE;
	if (guest_keys_parse(keys, &k->keys, e) < 0)
		return err_wrap(e, "--detach-keys");
	if (tty && guest_term_open(&k->term, STDIN_FILENO))
		k->seat = (struct guest_seat){ &k->term, &k->keys };
	// TTOU: a terminal can be restored also from the background.
	k->signals = k->seat.term ? sig_open(e, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2,
					     SIGCONT, SIGWINCH, SIGTTOU, 0)
				  : sig_open(e, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2,
					     SIGCONT, 0);
	if (k->signals < 0)
		return -e->no;
	k->io = (struct guest_io){ .in = input ? STDIN_FILENO : -1,
				   .out = STDOUT_FILENO,
				   .err = STDERR_FILENO,
				   .signals = k->signals,
				   .start_deadline_ms = clock_ms() + GUEST_CLI_START_MS };
	return 0;
}

void guest_client_close(struct guest_client *k)
{
	guest_term_restore(&k->term);
	base_closep(&k->signals);
}

int guest_client_part(const struct guest_client *k, const struct guest_parting *p,
		      const char *instance, const char *name)
{
	if (!p->detached)
		return guest_cli_status(p->status);
	if (p->signal)
		return 128 + p->signal;
	if (k->seat.term)
		log_info("", "detached; 'mvm instance attach %s %s' goes back", instance, name);
	return 0;
}
