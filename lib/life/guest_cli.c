// SPDX-License-Identifier: MIT
#include "life/guest_cli.h"

#include <signal.h>
#include <sys/wait.h>

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

int guest_cli_open(const char *word, int *vmm, struct guest_conn **ret, struct err *e)
{
	struct address a;
	struct instance i = { 0 };
	struct tenant t = { 0 };
	address_text name;

	if (instances_resolve(word, &a, e) < 0 || tenant_load(a.tenant, &t, e) < 0 ||
	    instance_load(&a, &t, &i, e) < 0)
		return -e->no;
	if (guest_cli_reach(&a, &t, &i, GUEST_CLI_ASK_MS, vmm, ret, e) == 0)
		return 0;
	address_print(&a, name);
	(void)err_object(e, "%s", name);
	return err_wrap(e, "%s", name);
}

int guest_cli_settle(struct err *e)
{
	static const struct sandbox_rule rules[] = { SANDBOX_NO_CODE, { 0 } };

	if (SANDBOX_CHECKED)
		return 0;
	if (sandbox_settle(NULL, 0,
			   "recvfrom recvmsg sendto sendmsg shutdown getsockopt setsockopt ioctl",
			   rules, e) < 0)
		return err_wrap(e, "give up rights");
	return 0;
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
