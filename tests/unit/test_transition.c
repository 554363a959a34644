// SPDX-License-Identifier: MIT
#include "state/transition.h"

#include "tap.h"

// The table once more, written down from design.md section 4 by hand: c r R w s t d for the states,
// '-' refused. Rows: ready start stop warm sleep wake discard snapshot clone exit destroy.
static const char *const want[] = {
	"rr-----", "RRRRRR-", "--tt-t-", "--ww---", "--sss--", "--RRR--",
	"----tt-", "--Rw---", "--Rw---", "--tt-t-", "ddddddd",
};

TEST(every_state_and_verb_leads_where_the_design_says)
{
	static const char letters[] = "crRwstd";

	for (int a = DO_READY; a < ACTIONS; a++)
		for (int from = 0; from < INSTANCE_STATUSES; from++) {
			enum instance_status to = INSTANCE_STATUSES;
			struct err e = { 0 };
			int r = transition_check((enum action)a, (enum instance_status)from, &to,
						 &e);
			char expected = want[a - DO_READY][from];

			CHECK((r < 0) == (expected == '-'));
			if (r == 0)
				CHECK_INT(letters[to], expected);
			else
				CHECK_INT(e.kind, ERR_STATE);
		}
}

TEST(a_refusal_names_both_states_and_says_what_helps)
{
	enum instance_status to;
	struct err e = { 0 };

	CHECK(transition_check(DO_WARM, INSTANCE_STOPPED, &to, &e) < 0);
	CHECK_STR(e.msg, "warm: not from stopped to warm");
	CHECK_STR(e.hint, "start it first");
	CHECK(transition_check(DO_STOP, INSTANCE_SLEEPING, &to, &e) < 0);
	CHECK(strstr(e.hint, "discard") != NULL);
}

TEST(wake_boots_a_crashed_instance_but_not_a_stopped_one)
{
	struct instance i = { .tenant_id = "a",
			      .pool_id = "b",
			      .instance_id = "i-00000001",
			      .status = INSTANCE_STOPPED };
	enum instance_status to;
	const char *cold;
	struct err e = { 0 };

	CHECK(transition_check_instance(DO_WAKE, &i, &to, &cold, &e) < 0); // it never ended
	CHECK_INT(e.kind, ERR_STATE);
	CHECK_STR(e.object, "a/b/i-00000001");
	CHECK(COPY(i.last_exit, "asked") == 0);
	CHECK(transition_check_instance(DO_WAKE, &i, &to, &cold, &e) < 0);
	CHECK(COPY(i.last_exit, "crashed") == 0);
	CHECK(transition_check_instance(DO_WAKE, &i, &to, &cold, &e) == 0);
	CHECK_STR(cold, "crashed");
	CHECK_INT(to, INSTANCE_RUNNING);
}

TEST(work_in_flight_counts_as_the_state_that_uses_more)
{
	static const struct {
		int status, verb, want;
	} cases[] = {
		{ INSTANCE_STOPPED, DO_START, INSTANCE_RUNNING },
		{ INSTANCE_SLEEPING, DO_WAKE, INSTANCE_RUNNING },
		{ INSTANCE_STOPPED, DO_WAKE, INSTANCE_RUNNING },
		{ INSTANCE_RUNNING, DO_STOP, INSTANCE_RUNNING },
		{ INSTANCE_RUNNING, DO_WARM, INSTANCE_RUNNING },
		{ INSTANCE_WARM, DO_SLEEP, INSTANCE_WARM },
		{ INSTANCE_WARM, DO_START, INSTANCE_RUNNING },
		{ INSTANCE_CREATED, DO_DESTROY, INSTANCE_CREATED },
	};

	for (size_t c = 0; c < COUNT(cases); c++) {
		struct instance i = {
			.status = cases[c].status,
			.op = { .id = "o-00000001", .verb = cases[c].verb, .from = cases[c].status }
		};

		CHECK_INT(transition_usage(&i), cases[c].want);
		i.op.id[0] = '\0';
		CHECK_INT(transition_usage(&i), cases[c].status);
	}
}

TEST(the_diagram_has_each_arrow_once)
{
	cleanup_buf struct buf dot = BUF_INIT, table = BUF_INIT;

	transition_dot(&dot);
	transition_markdown(&table);
	CHECK(str_starts(buf_text(&dot), "digraph lifecycle {"));
	CHECK(strstr(buf_text(&dot), "running -> sleeping [label=\"sleep\"]") != NULL);
	CHECK(strstr(buf_text(&dot), "running -> running") == NULL);
	CHECK(strstr(buf_text(&table),
		     "| warm | refused | refused | warm | stays | refused | refused | refused |") !=
	      NULL);
}
