// SPDX-License-Identifier: MIT
// Work in flight: who does it, and whether that process still lives. A pid alone may be somebody
// else's by now, so its start time and the host's boot go with it.
#include "state/instance.h"

#include <sys/random.h>

#include "base/num.h"
#include "state/transition.h"

static int own(char boot_id[static 37], uint32_t *pid, uint64_t *start, struct err *e)
{
	struct proc_id self;

	if (clock_boot_id(boot_id, e) < 0 || proc_id_get(getpid(), &self, e) < 0)
		return -e->no;
	*pid = (uint32_t)self.pid;
	*start = self.start;
	return 0;
}

static int op_own(struct instance_op *op, struct err *e)
{
	return own(op->boot_id, &op->pid, &op->pid_start, e);
}

int instance_op_set(struct instance *i, int verb, struct err *e)
{
	struct instance_op op = { .verb = verb, .from = i->status, .stage = OP_ASKED };
	uint8_t id[4];

	if (instance_op_check(i, e) < 0 || op_own(&op, e) < 0)
		return -e->no;
	if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return err_sys(e, "getrandom");
	memcpy(op.id, "o-", 2);
	num_to_hex(id, sizeof(id), op.id + 2);
	clock_utc(op.since);
	i->op = op;
	return 0;
}

int instance_op_take(struct instance *i, enum op_stage stage, struct err *e)
{
	struct instance_op op = i->op;

	if (!instance_has_op(i))
		return err_kind(e, ERR_STATE, "%s: nothing is in flight", i->instance_id);
	if (op_own(&op, e) < 0)
		return -e->no;
	op.stage = (int)stage;
	i->op = op;
	return 0;
}

void instance_op_clear(struct instance *i)
{
	i->op = (struct instance_op){ 0 };
}

static bool alive(const char *boot_id, uint32_t pid, uint64_t start)
{
	const struct proc_id id = { .pid = (pid_t)pid, .start = start };
	struct err ignored = { 0 };
	char now[37];

	return pid && clock_boot_id(now, &ignored) == 0 && str_eq(now, boot_id) &&
	       proc_id_alive(&id);
}

bool instance_op_alive(const struct instance *i)
{
	return instance_has_op(i) && alive(i->op.boot_id, i->op.pid, i->op.pid_start);
}

int instance_op_check(const struct instance *i, struct err *e)
{
	if (!instance_op_alive(i))
		return 0;
	err_kind(e, ERR_UNAVAILABLE, "busy: %s is %s (pid %u)", action_names[i->op.verb],
		 op_stage_names[i->op.stage], i->op.pid);
	err_object(e, "%s/%s/%s", i->tenant_id, i->pool_id, i->instance_id);
	return err_wrap(e, "%s/%s/%s", i->tenant_id, i->pool_id, i->instance_id);
}

int instance_own(struct instance *i, struct err *e)
{
	struct instance_maker m = { 0 };

	if (own(m.boot_id, &m.pid, &m.pid_start, e) < 0)
		return -e->no;
	i->maker = m;
	return 0;
}

bool instance_is_left(const struct instance *i)
{
	const struct instance_maker *m = &i->maker;

	return m->pid && !alive(m->boot_id, m->pid, m->pid_start) && !instance_op_alive(i);
}

bool instance_has_vmm(const struct instance *i)
{
	return i->status == INSTANCE_RUNNING || i->status == INSTANCE_WARM;
}

bool instance_vmm_alive(const struct instance *i)
{
	return alive(i->boot_id, i->vmm_process.pid, i->vmm_process.pid_start);
}
