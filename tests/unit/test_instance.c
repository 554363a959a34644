// SPDX-License-Identifier: MIT
#include "state/instances.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "state/alloc.h"
#include "state/pools.h"
#include "state/result.h"
#include "state/tenants.h"
#include "state/transition.h"
#include "tap.h"

static struct tenant acme;
static const struct address web = { .tenant = "acme", .pool = "web" };
static const struct address one = { .tenant = "acme", .pool = "web", .instance = "i-00000001" };

static void use_pool(void)
{
	const struct tenant_spec spec = { .id = "acme", .net_id = 300 };
	struct err e = { 0 };
	char path[PATH_LEN];
	struct pool p;
	bool changed;

	base_cut(path, sizeof(path), "%s/state", tap_dir());
	setenv("MVM_STATE_DIR", path, 1);
	CHECK(tenants_create(&spec, false, 1000, &acme, &changed, &e) == 0);
	pool_init(&p, "acme", "web");
	CHECK(COPY(p.flake_ref, "/flake") == 0 && COPY(p.profile, "minimal") == 0);
	CHECK(pools_create(&p, false, 1000, &changed, &e) == 0);
}

static void create(const struct address *a)
{
	cleanup_buf struct buf created = BUF_INIT;
	struct err e = { 0 };
	uint32_t made = 0;

	CHECK(instances_create(a, 1, false, 1000, &made, &created, &e) == 0);
	CHECK_INT(made, 1);
}

TEST(a_new_instance_has_the_first_address_and_what_follows_from_it)
{
	struct instance i;
	struct err e = { 0 };
	path_text path;
	struct stat st;

	use_pool();
	create(&one);
	CHECK(instance_load(&one, &acme, &i, &e) == 0);
	CHECK_INT(i.status, INSTANCE_CREATED);
	CHECK_STR(i.net.tap_dev, "tn300i3");
	CHECK_STR(i.net.mac, "02:fc:01:2c:00:03");
	CHECK_STR(i.net.guest_ip, "10.241.44.3");
	CHECK_STR(i.net.gateway_ip, "10.241.44.1");
	CHECK_INT(i.net.cidr, 24);
	path_instance(&one, path);
	path_join(path, path, "volumes");
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0700);
}

TEST(a_record_survives_the_round_trip_with_everything_set)
{
	cleanup_buf struct buf text = BUF_INIT, again = BUF_INIT;
	struct instance i, back = { 0 };
	struct err e = { 0 };

	use_pool();
	instance_init(&i, &one, &acme, 5);
	CHECK(instance_op_set(&i, DO_START, &e) == 0);
	i.vmm = INSTANCE_VMM_QEMU;
	i.vmm_process = (struct instance_process){ 77, 123456789012 };
	i.diff_base = (struct instance_base){ "gen-3", "ab" };
	i.idle_metrics = (struct instance_idle){ "2026-01-02T03:04:05Z", 7, 1.5, 99 };
	CHECK(COPY(i.last_exit, "oom") == 0 &&
	      COPY(i.last_started_at, "2026-01-02T03:04:05Z") == 0);
	codec_print(instance_fields, &i, &text);
	CHECK(codec_parse(instance_fields, text.data, text.len, &back, &e) == 0);
	codec_print(instance_fields, &back, &again);
	CHECK_STR(buf_text(&again), buf_text(&text));
	CHECK(instance_check(&back, &one, &acme, &e) == 0);
}

TEST(derived_values_that_do_not_fit_are_damage)
{
	cleanup_store struct store s = STORE_NONE;
	static const struct {
		const char *says;
		size_t at;
		const char *text;
	} cases[] = {
		{ "tap_dev", offsetof(struct instance, net.tap_dev), "tn300i4" },
		{ "mac", offsetof(struct instance, net.mac), "02:fc:01:2c:00:04" },
		{ "guest_ip", offsetof(struct instance, net.guest_ip), "10.241.44.4" },
		{ "gateway_ip", offsetof(struct instance, net.gateway_ip), "10.241.44.2" },
		{ "instance_id", offsetof(struct instance, pool_id), "web2" },
	};
	struct instance good;
	struct err e = { 0 };

	use_pool();
	create(&one);
	CHECK(instance_load(&one, &acme, &good, &e) == 0);
	CHECK(store_lock(&s, STORE_INSTANCE, &one, 0, &e) == 0);
	for (size_t c = 0; c < COUNT(cases); c++) {
		struct instance i = good;

		memcpy((char *)&i + cases[c].at, cases[c].text, strlen(cases[c].text) + 1);
		CHECK(instance_save(&s, &i, &e) == 0);
		CHECK(instance_load(&one, &acme, &i, &e) < 0);
		CHECK_INT(e.kind, ERR_DAMAGED);
		CHECK(strstr(e.msg, cases[c].says) != NULL);
	}
}

TEST(an_op_is_alive_while_its_process_is)
{
	struct instance i;
	struct err e = { 0 };
	int status;

	use_pool();
	instance_init(&i, &one, &acme, 3);
	CHECK(!instance_op_alive(&i) && instance_op_check(&i, &e) == 0);
	CHECK(instance_op_set(&i, DO_SLEEP, &e) == 0);
	CHECK(instance_op_alive(&i));
	CHECK(instance_op_check(&i, &e) < 0);
	CHECK_INT(e.kind, ERR_UNAVAILABLE);
	CHECK(strstr(e.msg, "busy: sleep is asked (pid ") != NULL);
	CHECK(instance_op_set(&i, DO_STOP, &e) < 0); // a second verb
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	CHECK(waitpid(child, &status, 0) == child);
	struct instance dead = i;
	dead.op.pid = (uint32_t)child;
	CHECK(!instance_op_alive(&dead));
	dead = i;
	dead.op.pid_start++; // the pid is another's by now
	CHECK(!instance_op_alive(&dead));
	dead = i;
	dead.op.boot_id[0] = dead.op.boot_id[0] == 'x' ? 'y' : 'x'; // the host was booted since
	CHECK(!instance_op_alive(&dead));
	CHECK(instance_op_take(&dead, OP_STARTING, &e) == 0 && instance_op_alive(&dead));
	CHECK_INT(dead.op.stage, OP_STARTING);
	instance_op_clear(&dead);
	CHECK(instance_op_take(&dead, OP_STARTING, &e) < 0 && e.kind == ERR_STATE);
}

TEST(removing_gives_the_id_and_the_address_back)
{
	struct instance i;
	struct err e = { 0 };
	struct address a;

	use_pool();
	create(&one);
	CHECK(instances_resolve("i-00000001", &a, &e) == 0);
	CHECK_STR(a.pool, "web");
	CHECK(instances_remove(&one, false, 1000, &e) == 0);
	CHECK(!store_exists(STORE_INSTANCE, &one));
	CHECK(instances_resolve("i-00000001", &a, &e) < 0 && e.kind == ERR_MISSING);
	CHECK(instances_remove(&one, false, 1000, &e) < 0 && e.kind == ERR_MISSING);
	create(&one);
	CHECK(instance_load(&one, &acme, &i, &e) == 0);
	CHECK_INT(i.net.offset, OFFSET_FIRST);
}

TEST(a_removal_that_died_half_way_is_finished_by_the_next)
{
	struct err e = { 0 };
	struct address a;

	use_pool();
	create(&one);
	setenv("MVM_FAULT", "claim-release:err=EIO", 1);
	CHECK(instances_remove(&one, false, 1000, &e) < 0);
	unsetenv("MVM_FAULT");
	CHECK(!store_exists(STORE_INSTANCE, &one));
	CHECK(instances_remove(&one, false, 1000, &e) == 0);
	CHECK(alloc_find("i-00000001", &a, NULL, &e) < 0 && e.kind == ERR_MISSING);
}

TEST(volumes_can_be_kept)
{
	struct err e = { 0 };
	path_text path;

	use_pool();
	create(&one);
	CHECK(instances_remove(&one, true, 1000, &e) == 0);
	path_pool("acme", "web", path);
	path_join(path, path, "volumes-kept/i-00000001");
	CHECK(access(path, F_OK) == 0);
}

TEST(a_running_or_busy_instance_is_not_removed_but_a_damaged_one_is)
{
	cleanup_store struct store s = STORE_NONE;
	struct err e = { 0 };
	struct instance i;

	use_pool();
	create(&one);
	CHECK(store_lock(&s, STORE_INSTANCE, &one, 0, &e) == 0 &&
	      instance_load(&one, NULL, &i, &e) == 0);
	instance_set_status(&i, INSTANCE_WARM);
	CHECK(instance_save(&s, &i, &e) == 0);
	store_close(&s);
	CHECK(instances_remove(&one, false, 1000, &e) < 0 && e.kind == ERR_STATE);
	CHECK(store_lock(&s, STORE_INSTANCE, &one, 0, &e) == 0);
	instance_set_status(&i, INSTANCE_STOPPED);
	CHECK(instance_op_set(&i, DO_START, &e) == 0 && instance_save(&s, &i, &e) == 0);
	store_close(&s);
	CHECK(instances_remove(&one, false, 1000, &e) < 0 && e.kind == ERR_UNAVAILABLE);
	CHECK(store_lock(&s, STORE_INSTANCE, &one, 0, &e) == 0);
	CHECK(fd_replace_file(s.dir, INSTANCE_FILE, "{", 1, 0640, &e) == 0);
	store_close(&s);
	CHECK(instances_remove(&one, false, 1000, &e) == 0);
}

TEST(a_template_has_offset_zero_and_stays_out_of_lists)
{
	cleanup_buf struct buf all = BUF_INIT, usual = BUF_INIT;
	struct address a = web;
	struct instance i;
	struct err e = { 0 };
	unsigned damaged;

	use_pool();
	CHECK(instances_create_template(&a, 1000, &i, &e) == 0);
	CHECK_INT(i.net.offset, 0);
	CHECK_INT(i.role, INSTANCE_ROLE_TEMPLATE);
	CHECK(instance_load(&a, &acme, &i, &e) == 0);
	CHECK(instances_list(&web, false, &usual, &damaged, &e) == 0);
	CHECK_STR(buf_text(&usual), "[]");
	CHECK(instances_list(&web, true, &all, &damaged, &e) == 0);
	CHECK(all.len > 2 && damaged == 0);
}

TEST(results_cross_processes_as_they_were)
{
	cleanup_start struct start_record r = { .schema_version = 1, .at = "2026-01-02T03:04:05Z" },
					  back = { 0 };
	cleanup_buf struct buf text = BUF_INIT;
	struct err e = { 0 }, again = { 0 };

	err_kind(&e, ERR_TIMEOUT, "guest: not ready");
	err_object(&e, "a/b/i-00000001");
	err_hint(&e, "look at the console");
	result_from_err(&e, "req", &r.error);
	start_stage_add(&r.stages, "jail", 12);
	codec_print(start_fields, &r, &text);
	CHECK(codec_parse(start_fields, text.data, text.len, &back, &again) == 0);
	CHECK(result_to_err(&back.error, &again) < 0);
	CHECK_INT(again.kind, ERR_TIMEOUT);
	CHECK_STR(again.msg, e.msg);
	CHECK_STR(again.hint, e.hint);
	CHECK_STR(again.object, e.object);
	CHECK_INT(err_exit(&again), 124);
	CHECK_INT(back.stages.len, 1);
}
