// SPDX-License-Identifier: MIT
#include "life/push.h"

#include <inttypes.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "audit/audit.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "guest/host.h"
#include "life/launch.h"
#include "state/instances.h"
#include "state/rows.h"
#include "sys/jail.h"

#define PARALLEL 8 // guests at once
#define ASK_MS	 5000
#define AGAIN_MS 50

static const char *const outcome_names[] = { "current", "taken", "waiting", "failed", NULL };

const struct field push_row_fields[] = {
	{ FIELD_SLOT(struct push_row, schema_version, uint32_t), .kind = KIND_UINT, .min = 1,
	  .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct push_row, instance_path, address_text), .kind = KIND_TEXT,
	  .doc = "which guest" },
	{ FIELD_SLOT(struct push_row, outcome, int), .kind = KIND_ENUM, .names = outcome_names,
	  .doc = "what came of it" },
	{ FIELD_SLOT(struct push_row, secrets_epoch, uint64_t), .kind = KIND_UINT,
	  .doc = "the secrets it has" },
	{ FIELD_SLOT(struct push_row, config_version, uint64_t), .kind = KIND_UINT,
	  .doc = "the configuration it has" },
	{ FIELD_SLOT(struct push_row, error, char[400]), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .doc = "why it failed" },
	FIELD_END
};

struct one { // a guest
	struct address a;
	address_text address;
	struct tenant t;
	struct instance i;
	struct trailer want[DRIVES];
	bool due[DRIVES]; // to be told, or noted
	bool has[DRIVES]; // took it with its repair
	int64_t deadline;
	int wait_ms;
	bool resumed; // its agent answers, whatever the record says
	bool loaded;  // and has what its capture had, but for
	struct start_record start;
};

const struct push_drive push_drives[] = { { DRIVE_SECRETS, GUEST_DRIVE_SECRETS },
					  { DRIVE_CONFIG, GUEST_DRIVE_CONFIG } };

static uint64_t *slot(struct instance *i, enum drive_kind k)
{
	return k == DRIVE_SECRETS ? &i->secrets_epoch : &i->config_version;
}

// Paused or being started counts; anything else gets its drives at its next start.
static bool counts(const struct instance *i)
{
	return i->role == INSTANCE_ROLE_NONE &&
	       (instance_has_vmm(i) || (instance_has_op(i) && i->op.stage == OP_STARTING));
}

// The drives, under the instance's lock. 0: there is nothing to tell, or nobody.
static int rewrite(struct one *o, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	int tell = 0;

	if (store_lock(&s, STORE_INSTANCE, &o->a, o->wait_ms, e) < 0 ||
	    instance_load_from(&s, &o->a, &o->t, &o->i, e) < 0)
		return -e->no;
	for (size_t n = 0; counts(&o->i) && n < PUSH_DRIVES; n++) {
		enum drive_kind k = push_drives[n].kind;
		bool rewritten = false;

		if (drive_refresh(&s, &o->a, k, &o->want[k], &rewritten, e) < 0) {
			if (e->kind != ERR_MISSING || instance_has_vmm(&o->i))
				return err_wrap(e, "drive %s", drive_names[k]);
			err_clear(e); // a start that has not come that far yet
			continue;
		}
		o->has[k] =
			!rewritten && start_has_drive(&o->start, drive_names[k], o->want[k].number);
		o->due[k] = rewritten || *slot(&o->i, k) != o->want[k].number ||
			    (o->loaded && !o->has[k]);
		tell += o->due[k];
	}
	return tell;
}

static void note(const struct one *o, enum drive_kind k, const struct err *failed)
{
	enum audit_action action =
		k == DRIVE_SECRETS ? AUDIT_SECRETS_DELIVERED : AUDIT_CONFIG_DELIVERED;

	if (failed)
		(void)audit_note_broken(&o->a, action, NULL, failed);
	else
		audit_note(&o->a, action, NULL, "%s %" PRIu64,
			   k == DRIVE_SECRETS ? "epoch" : "version", o->want[k].number);
}

static int connect_guest(const struct one *o, struct guest_conn **c, struct err *e)
{
	cleanup_jail struct jail jail = JAIL_NONE;
	uint32_t uid = name_uid(o->t.net.tenant_net_id, o->i.net.offset);

	if (jail_open(instance_vmm_names[o->i.vmm], o->a.instance, uid, &jail, e) < 0)
		return -e->no;
	const struct guest_place at = {
		.dirfd = jail.run, .name = "v.sock", .uid = uid, .gone_fd = -1
	};

	return guest_open(&at, MIN(o->deadline, clock_ms() + ASK_MS), c, e);
}

static int ask(const struct one *o, const struct push_drive *d, struct err *e)
{
	cleanup_guest struct guest_conn *c = NULL;

	if (connect_guest(o, &c, e) < 0)
		return -e->no;
	return guest_ask_drive(c, d->which, o->want[d->kind].digest,
			       MIN(o->deadline, clock_ms() + ASK_MS), e);
}

// What the guest took is written down, unless it is another run by now. It has it already, so that
// the line comes after its deed.
static int record(const struct one *o, enum drive_kind k, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct instance i = { 0 };

	if (store_lock(&s, STORE_INSTANCE, &o->a, o->wait_ms, e) < 0 ||
	    instance_load_from(&s, &o->a, &o->t, &i, e) < 0)
		return -e->no;
	if ((i.status != INSTANCE_RUNNING && !o->resumed) ||
	    i.vmm_process.pid != o->i.vmm_process.pid ||
	    i.vmm_process.pid_start != o->i.vmm_process.pid_start)
		return err_kind(e, ERR_STATE, "it ended meanwhile");
	note(o, k, NULL);
	if (*slot(&i, k) == o->want[k].number)
		return 0;
	*slot(&i, k) = o->want[k].number;
	return instance_save(&s, &i, e);
}

// One that is being started is waited for: it may have read its drives before they were rewritten.
static int await_running(struct one *o, struct err *e)
{
	for (;;) {
		if (instance_load(&o->a, &o->t, &o->i, e) < 0)
			return -e->no;
		if (instance_has_vmm(&o->i))
			return 0;
		if (!counts(&o->i))
			return err_kind(e, ERR_STATE, "its start failed");
		if (clock_left(o->deadline) == 0)
			return err_kind(e, ERR_TIMEOUT, "it is still being started");
		clock_sleep_ms(AGAIN_MS);
	}
}

// A busy agent, or one whose drive was rewritten again meanwhile, is asked again.
static int ask_until(const struct one *o, const struct push_drive *d, struct err *e)
{
	while (ask(o, d, e) < 0) {
		if (clock_left(o->deadline) < AGAIN_MS ||
		    (e->kind != ERR_UNAVAILABLE && e->kind != ERR_TIMEOUT))
			return -e->no;
		err_clear(e);
		clock_sleep_ms(AGAIN_MS);
	}
	return 0;
}

static int tell_guest(const struct one *o, enum push_outcome *ret, struct err *e)
{
	*ret = PUSH_TAKEN;
	for (size_t n = 0; n < PUSH_DRIVES; n++) {
		enum drive_kind k = push_drives[n].kind;

		if (!o->due[k] ||
		    ((o->has[k] || ask_until(o, &push_drives[n], e) == 0) && record(o, k, e) == 0))
			continue;
		(void)err_wrap(e, "tell the guest of its %s", drive_names[k]);
		note(o, k, e);
		return -e->no;
	}
	return 0;
}

static int push_one(struct one *o, enum push_outcome *ret, struct err *e)
{
	int tell;

	if (tenant_load(o->a.tenant, &o->t, e) < 0)
		return -e->no;
	tell = rewrite(o, e);
	*ret = PUSH_CURRENT;
	if (tell <= 0)
		return tell;
	if (fault_point("push-rewritten"))
		return err_sys(e, "fault");
	if (!o->resumed && await_running(o, e) < 0)
		return -e->no;
	*ret = PUSH_WAITING;
	return o->i.status == INSTANCE_RUNNING || o->resumed ? tell_guest(o, ret, e) : 0;
}

// Until it has come to its end the row says what a killed one would leave.
static void run_one(const struct push_call *c, struct push_row *row)
{
	struct one o = { .deadline = clock_ms() + c->guest_ms, .wait_ms = c->wait_ms };
	enum push_outcome outcome = PUSH_FAILED;
	struct err e = { 0 };

	if (address_parse(row->instance_path, ADDRESS_INSTANCE, ADDRESS_INSTANCE, &o.a, &e) < 0 ||
	    push_one(&o, &outcome, &e) < 0) {
		base_cut(row->error, sizeof(row->error), "%s", e.msg);
		return;
	}
	row->error[0] = '\0';
	row->outcome = (int)outcome;
}

// The rows lie in memory that the children share.
struct rows {
	struct push_row *items;
	size_t len, size;
};

static void rows_free(struct rows *r)
{
	if (r->items)
		(void)munmap(r->items, r->size);
}

static int collect(void *arg, const struct address *a, const struct instance *i,
		   const struct err *why, struct err *e)
{
	struct codec_list *found = arg;
	address_text address;

	(void)e;
	address_print(a, address);
	if (!i)
		log_warn(address, "left out: %s", why->msg);
	else if (counts(i))
		codec_texts_add(found, address);
	return 0;
}

static int share(struct rows *r, struct codec_list *found, struct err *e)
{
	char **items = found->items;

	r->len = found->len;
	r->size = MAX(found->len, 1) * sizeof(*r->items);
	r->items = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r->items == MAP_FAILED) {
		r->items = NULL;
		return err_sys(e, "memory");
	}
	for (size_t n = 0; n < found->len; n++) {
		r->items[n] = (struct push_row){ .schema_version = 1,
						 .outcome = PUSH_FAILED,
						 .error = "the push itself was ended" };
		(void)!COPY(r->items[n].instance_path, items[n]);
	}
	for (size_t n = 0; n < found->len; n++)
		free(items[n]);
	free(items);
	*found = (struct codec_list){ 0 };
	return 0;
}

// Each in a process of its own; what it found is in its row.
static int run_all(const struct push_call *c, struct rows *r, struct err *e)
{
	size_t next = 0, active = 0;

	while (next < r->len || active > 0) {
		if (r->items && next < r->len && active < PARALLEL) {
			pid_t pid = fork();

			if (pid < 0)
				return err_sys(e, "fork");
			if (pid == 0) {
				run_one(c, &r->items[next]);
				_exit(0);
			}
			next++;
			active++;
			continue;
		}
		if (wait(NULL) < 0 && errno != EINTR)
			return err_sys(e, "wait");
		active--;
	}
	return 0;
}

static void take_numbers(struct push_row *row)
{
	struct err ignored = { 0 };
	struct instance i = { 0 };
	struct address a;

	if (address_parse(row->instance_path, ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, &ignored) <
		    0 ||
	    instance_load(&a, NULL, &i, &ignored) < 0)
		return;
	row->secrets_epoch = i.secrets_epoch;
	row->config_version = i.config_version;
}

int push_resumed(const struct address *a, const struct push_call *c, struct push_row *ret,
		 struct err *e)
{
	struct one o = { .a = *a,
			 .deadline = clock_ms() + c->guest_ms,
			 .wait_ms = c->wait_ms,
			 .resumed = true,
			 .loaded = c->loaded };
	enum push_outcome outcome = PUSH_FAILED;
	struct err ignored = { 0 };
	int r;

	*ret = (struct push_row){ .schema_version = 1 };
	address_print(a, ret->instance_path);
	if (c->loaded)
		(void)!launch_load_start(a->instance, &o.start, &ignored);
	r = push_one(&o, &outcome, e);
	start_free(&o.start);
	if (r < 0)
		return err_object(e, "%s", ret->instance_path);
	ret->outcome = (int)outcome;
	take_numbers(ret);
	return 0;
}

static int print_rows(const struct push_call *c, const struct rows *r, struct buf *out)
{
	int failed = 0;

	buf_char(out, '[');
	for (size_t n = 0; r->items && n < r->len; n++) {
		struct push_row *row = &r->items[n];

		take_numbers(row);
		rows_next(out);
		codec_print(push_row_fields, row, out);
		failed += row->outcome == PUSH_FAILED;
		if (row->outcome == PUSH_FAILED && !c->quiet)
			log_warn(row->instance_path, "%s", row->error);
	}
	buf_char(out, ']');
	return failed;
}

int push_tenant(const char *tenant, const struct push_call *c, struct buf *out, struct err *e)
{
	cleanup(rows_free) struct rows r = { NULL, 0, 0 };
	struct codec_list found = { 0 };
	struct address a = { 0 };
	struct tenant t = { 0 };

	if (name_check(tenant, e) < 0 || COPY(a.tenant, tenant) < 0)
		return err_wrap(e, "tenant");
	if (tenant_load(tenant, &t, e) < 0 || instances_each(&a, collect, &found, e) < 0 ||
	    share(&r, &found, e) < 0 || run_all(c, &r, e) < 0)
		return -e->no;
	return print_rows(c, &r, out);
}

int push_report(const char *tenant, const struct push_call *c, struct buf *out, struct err *e)
{
	int failed;

	rows_reopen(out);
	buf_str(out, ",\"guests\":");
	failed = push_tenant(tenant, c, out, e);
	buf_char(out, '}');
	if (failed < 0)
		return err_wrap(e, "stored, but not given to the guests");
	return failed ? err_kinds[ERR_STATE].exit : 0;
}
