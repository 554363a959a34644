// SPDX-License-Identifier: MIT
#include "state/transition.h"

#include "state/result.h"

const char *const action_names[] = { "",      "ready",	 "start",   "stop",	"warm",
				     "sleep", "wake",	 "discard", "snapshot", "clone",
				     "exit",  "destroy", NULL };

#define C  INSTANCE_CREATED
#define Y  INSTANCE_READY
#define R  INSTANCE_RUNNING
#define W  INSTANCE_WARM
#define S  INSTANCE_SLEEPING
#define T  INSTANCE_STOPPED
#define D  INSTANCE_DESTROYED
#define NO INSTANCE_STATUSES // refused

// A row for each verb, a column for each state it finds. A state that stays means: nothing to do.
// start on created needs artifacts, and passes by ready.
static const uint8_t table[ACTIONS][INSTANCE_STATUSES] = {
	//		   created ready running warm sleeping stopped destroyed
	[DO_NONE] = { NO, NO, NO, NO, NO, NO, NO },   [DO_READY] = { Y, Y, NO, NO, NO, NO, NO },
	[DO_START] = { R, R, R, R, R, R, NO },	      [DO_STOP] = { NO, NO, T, T, NO, T, NO },
	[DO_WARM] = { NO, NO, W, W, NO, NO, NO },     [DO_SLEEP] = { NO, NO, S, S, S, NO, NO },
	[DO_WAKE] = { NO, NO, R, R, R, NO, NO },      [DO_DISCARD] = { NO, NO, NO, NO, T, T, NO },
	[DO_SNAPSHOT] = { NO, NO, R, W, NO, NO, NO }, [DO_CLONE] = { NO, NO, R, W, NO, NO, NO },
	[DO_EXIT] = { NO, NO, T, T, NO, T, NO },      [DO_DESTROY] = { D, D, D, D, D, D, D },
};

// What is said to somebody who asks for the impossible.
static const struct {
	uint8_t action, from;
	const char *hint;
} hints[] = {
	{ DO_STOP, S, "it does not run; `mvm instance discard` drops its capture" },
	{ DO_WAKE, T, "it was stopped: `mvm instance start` boots it" },
	{ DO_WAKE, C, "it never ran: `mvm instance start` boots it" },
	{ DO_WAKE, Y, "it never ran: `mvm instance start` boots it" },
	{ DO_WARM, S, "wake it first" },
	{ DO_WARM, T, "start it first" },
	{ DO_SLEEP, T, "start it first" },
	{ DO_SLEEP, C, "start it first" },
	{ DO_SLEEP, Y, "start it first" },
	{ DO_SNAPSHOT, S, "wake it first" },
	{ DO_SNAPSHOT, T, "start it first" },
	{ DO_SNAPSHOT, C, "start it first" },
	{ DO_SNAPSHOT, Y, "start it first" },
	{ DO_CLONE, S, "wake it first, or give --snapshot" },
	{ DO_CLONE, T, "start it first, or give --snapshot" },
	{ DO_CLONE, C, "start it first" },
	{ DO_CLONE, Y, "start it first" },
	{ DO_WARM, C, "start it first" },
	{ DO_WARM, Y, "start it first" },
};

int transition_check(enum action action, enum instance_status from, enum instance_status *to,
		     struct err *e)
{
	static const char *const aims[ACTIONS] = {
		"",	   "ready",   "running",    "stopped", "warm",	  "sleeping",
		"running", "stopped", "a snapshot", "a clone", "stopped", "destroyed",
	};
	enum instance_status next = table[action][from];

	if (next != NO) {
		*to = next;
		return 0;
	}
	err_kind(e, ERR_STATE, "%s: not from %s to %s", action_names[action],
		 instance_status_names[from], aims[action]);
	for (size_t i = 0; i < COUNT(hints); i++)
		if (hints[i].action == action && hints[i].from == from)
			err_hint(e, "%s", hints[i].hint);
	return -e->no;
}

int transition_check_instance(enum action action, const struct instance *i,
			      enum instance_status *to, const char **ret_cold, struct err *e)
{
	*ret_cold = "";
	if (action == DO_WAKE && i->status == INSTANCE_STOPPED && i->last_exit[0] &&
	    !str_eq(i->last_exit, exit_cause_names[EXIT_ASKED])) {
		*ret_cold = i->last_exit;
		*to = INSTANCE_RUNNING;
		return 0;
	}
	if (transition_check(action, (enum instance_status)i->status, to, e) == 0)
		return 0;
	err_object(e, "%s/%s/%s", i->tenant_id, i->pool_id, i->instance_id);
	return err_wrap(e, "%s/%s/%s", i->tenant_id, i->pool_id, i->instance_id);
}

enum instance_status transition_usage(const struct instance *i)
{
	static const uint8_t weight[INSTANCE_STATUSES] = { [R] = 2, [W] = 1 };
	enum instance_status is = (enum instance_status)i->status;

	if (!instance_has_op(i))
		return is;
	enum instance_status to = table[i->op.verb][i->op.from];
	if (to == NO) // a wake that became a cold start
		to = i->op.verb == DO_WAKE ? R : is;
	return weight[to] > weight[is] ? to : is;
}

void transition_dot(struct buf *out)
{
	buf_str(out, "digraph lifecycle {\n\trankdir=LR;\n\tnode [shape=box, style=rounded];\n");
	for (int from = 0; from < INSTANCE_STATUSES; from++)
		for (int a = DO_READY; a < ACTIONS; a++) {
			int to = table[a][from];

			if (to == NO || to == from)
				continue;
			buf_fmt(out, "\t%s -> %s [label=\"%s\"%s];\n", instance_status_names[from],
				instance_status_names[to], action_names[a],
				a == DO_DESTROY ? ", style=dotted"
				: a == DO_EXIT	? ", style=dashed"
						: "");
		}
	buf_str(out, "}\n");
}

void transition_markdown(struct buf *out)
{
	buf_str(out, "| verb |");
	for (int from = 0; from < INSTANCE_STATUSES; from++)
		buf_fmt(out, " %s |", instance_status_names[from]);
	buf_str(out, "\n|---|");
	for (int from = 0; from < INSTANCE_STATUSES; from++)
		buf_str(out, "---|");
	for (int a = DO_READY; a < ACTIONS; a++) {
		buf_fmt(out, "\n| %s |", action_names[a]);
		for (int from = 0; from < INSTANCE_STATUSES; from++) {
			int to = table[a][from];

			buf_fmt(out, " %s |",
				to == NO     ? "refused"
				: to == from ? "stays"
					     : instance_status_names[to]);
		}
	}
	buf_char(out, '\n');
}
