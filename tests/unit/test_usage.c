// SPDX-License-Identifier: MIT
#include "state/usage.h"

#include <fcntl.h>

#include "base/fd.h"
#include "state/instances.h"
#include "state/pools.h"
#include "state/tenants.h"
#include "state/transition.h"
#include "tap.h"

static struct tenant acme;
static struct pool web;

static void use_pool(void)
{
	const struct tenant_spec spec = { .id = "acme" };
	struct err e = { 0 };
	char path[PATH_LEN];
	bool changed;

	base_cut(path, sizeof(path), "%s/state", tap_dir());
	setenv("MVM_STATE_DIR", path, 1);
	CHECK(tenants_create(&spec, false, 1000, &acme, &changed, &e) == 0);
	pool_init(&web, "acme", "web");
	CHECK(COPY(web.flake_ref, "/flake") == 0 && COPY(web.profile, "minimal") == 0);
	web.instance_resources.vcpus = 2;
	web.instance_resources.mem_mib = 512;
	web.instance_resources.data_disk_mib = 1024;
	CHECK(pools_create(&web, false, 1000, &changed, &e) == 0);
}

static void create(const char *id, enum instance_status status, enum action action)
{
	cleanup_buf struct buf created = BUF_INIT;
	cleanup_store struct store s = STORE_NONE;
	struct address a = { .tenant = "acme", .pool = "web" };
	struct err e = { 0 };
	struct instance i;
	uint32_t made;

	CHECK(COPY(a.instance, id) == 0);
	CHECK(instances_create(&a, 1, false, 1000, &made, &created, &e) == 0);
	CHECK(store_lock(&s, STORE_INSTANCE, &a, 0, &e) == 0 &&
	      instance_load(&a, NULL, &i, &e) == 0);
	instance_set_status(&i, status);
	if (action)
		CHECK(instance_op_set(&i, (int)action, &e) == 0);
	CHECK(instance_save(&s, &i, &e) == 0);
}

TEST(usage_counts_states_and_work_in_flight)
{
	struct usage u;
	struct err e = { 0 };

	use_pool();
	create("i-00000001", INSTANCE_RUNNING, DO_NONE);
	create("i-00000002", INSTANCE_WARM, DO_NONE);
	create("i-00000003", INSTANCE_SLEEPING, DO_NONE);
	create("i-00000004", INSTANCE_STOPPED, DO_START);
	create("i-00000005", INSTANCE_RUNNING, DO_STOP);
	create("i-00000006", INSTANCE_CREATED, DO_NONE);
	CHECK(usage_of_tenant(&acme, &u, &e) == 0);
	CHECK_INT(u.pools, 1);
	CHECK_INT(u.total_instances, 6);
	CHECK_INT(u.instance_counts.running, 3);
	CHECK_INT(u.instance_counts.warm, 1);
	CHECK_INT(u.instance_counts.sleeping, 1);
	CHECK_INT(u.instance_counts.created, 1);
	CHECK_INT(u.instance_counts.stopped, 0);
	CHECK_INT(u.total_vcpus, 8);
	CHECK_INT(u.total_mem_mib, 2048);
	CHECK_INT(u.total_disk_mib, 6144);
}

TEST(a_damaged_record_never_frees_quota)
{
	cleanup_store struct store s = STORE_NONE;
	const struct address a = { .tenant = "acme", .pool = "web", .instance = "i-00000001" };
	struct usage u;
	struct err e = { 0 };

	use_pool();
	create("i-00000001", INSTANCE_STOPPED, DO_NONE);
	CHECK(store_lock(&s, STORE_INSTANCE, &a, 0, &e) == 0);
	CHECK(fd_replace_file(s.dir, INSTANCE_FILE, "{}", 2, 0640, &e) == 0);
	CHECK(usage_of_tenant(&acme, &u, &e) == 0);
	CHECK_INT(u.instance_counts.damaged, 1);
	CHECK_INT(u.instance_counts.stopped, 0);
	CHECK_INT(u.total_vcpus, 2);
	CHECK_INT(u.total_instances, 1);
}

TEST(each_quota_is_checked_to_the_last_unit)
{
	const struct instance i = { .status = INSTANCE_STOPPED };
	struct err e = { 0 };

	use_pool();
	acme.quotas = (struct tenant_quotas){ .max_vcpus = 8,
					      .max_mem_mib = 2048,
					      .max_running = 4,
					      .max_warm = 1,
					      .max_pools = 2,
					      .max_instances_per_pool = 5,
					      .max_disk_gib = 3 };
	struct usage u = { .pools = 1,
			   .total_vcpus = 6,
			   .total_mem_mib = 1536,
			   .total_disk_mib = 2048,
			   .instance_counts = { .running = 3 } };
	CHECK(usage_check_start(&acme, &web, &u, &i, &e) == 0);
	u.instance_counts.running = 4;
	CHECK(usage_check_start(&acme, &web, &u, &i, &e) < 0 && e.kind == ERR_QUOTA);
	CHECK_STR(e.msg, "acme: max_running is 4: 4 in use, 1 more asked for");
	u.instance_counts.running = 2;
	u.instance_counts.damaged = 2;
	CHECK(usage_check_start(&acme, &web, &u, &i, &e) < 0);
	u.instance_counts.damaged = 0;
	u.total_vcpus = 7;
	CHECK(usage_check_start(&acme, &web, &u, &i, &e) < 0 && strstr(e.msg, "max_vcpus"));
	u.total_vcpus = 6;
	u.total_mem_mib = 1537;
	CHECK(usage_check_start(&acme, &web, &u, &i, &e) < 0 && strstr(e.msg, "max_mem_mib"));
	CHECK(usage_check_pool(&acme, &u, &e) == 0);
	u.pools = 2;
	CHECK(usage_check_pool(&acme, &u, &e) < 0 && e.kind == ERR_QUOTA);
	CHECK(usage_check_create(&acme, &web, &u, 4, 1, &e) == 0);
	CHECK(usage_check_create(&acme, &web, &u, 4, 2, &e) < 0 &&
	      strstr(e.msg, "max_instances_per_pool"));
	u.total_disk_mib = 2049;
	CHECK(usage_check_create(&acme, &web, &u, 0, 1, &e) < 0 && strstr(e.msg, "max_disk_gib"));
	CHECK(usage_check_warm(&acme, &u, &i, &e) == 0);
	u.instance_counts.warm = 1;
	CHECK(usage_check_warm(&acme, &u, &i, &e) < 0 && strstr(e.msg, "max_warm"));
}

TEST(what_already_counts_is_not_counted_again)
{
	const struct instance warm = { .status = INSTANCE_WARM },
			      runs = { .status = INSTANCE_RUNNING };
	struct usage u = { .total_vcpus = 2,
			   .total_mem_mib = 512,
			   .instance_counts = { .warm = 1 } };
	struct err e = { 0 };

	use_pool();
	acme.quotas = (struct tenant_quotas){
		.max_vcpus = 2, .max_mem_mib = 512, .max_running = 1, .max_warm = 1
	};
	CHECK(usage_check_start(&acme, &web, &u, &warm, &e) == 0);
	CHECK(usage_check_warm(&acme, &u, &warm, &e) == 0);
	u.instance_counts = (struct usage_counts){ .running = 1 };
	CHECK(usage_check_start(&acme, &web, &u, &runs, &e) == 0);
	CHECK(usage_check_warm(&acme, &u, &runs, &e) == 0);
}

TEST(captures_count_and_a_whole_memory_has_to_fit)
{
	cleanup_store struct store s = STORE_NONE;
	const struct address a = { .tenant = "acme", .pool = "web", .instance = "i-00000001" };
	struct instance i;
	struct usage u;
	struct err e = { 0 };

	use_pool();
	create("i-00000001", INSTANCE_SLEEPING, DO_NONE);
	CHECK(store_lock(&s, STORE_INSTANCE, &a, 0, &e) == 0 &&
	      instance_load(&a, NULL, &i, &e) == 0);
	i.capture_mib = 300;
	CHECK(instance_save(&s, &i, &e) == 0);
	CHECK(usage_of_tenant(&acme, &u, &e) == 0);
	CHECK_INT(u.total_disk_mib, 1324);
	acme.quotas.max_disk_gib = 2;
	CHECK(usage_check_sleep(&acme, &web, &u, &e) == 0);
	u.total_disk_mib = 2048 - 512;
	CHECK(usage_check_sleep(&acme, &web, &u, &e) == 0);
	u.total_disk_mib++;
	CHECK(usage_check_sleep(&acme, &web, &u, &e) < 0 && e.kind == ERR_QUOTA);
	err_clear(&e);
	// with a copy of its disk; and some that are all to fit
	u.total_disk_mib = 2048 - 512 - web.instance_resources.data_disk_mib;
	CHECK(usage_check_snapshot(&acme, &web, &u, &e) == 0);
	u.total_disk_mib++;
	CHECK(usage_check_snapshot(&acme, &web, &u, &e) < 0 && e.kind == ERR_QUOTA);
}

TEST(clones_fit_all_together_or_none_is_made)
{
	struct usage u = { 0 };
	struct err e = { 0 };
	uint64_t each;

	use_pool();
	each = web.instance_resources.data_disk_mib;
	acme.quotas.max_running = 4;
	acme.quotas.max_vcpus = 1 << 20;
	acme.quotas.max_mem_mib = 1 << 20;
	acme.quotas.max_disk_gib = 64;
	u.instance_counts.running = 1;
	CHECK(usage_check_clones(&acme, &web, &u, 3, &e) == 0);
	CHECK(usage_check_clones(&acme, &web, &u, 4, &e) < 0 && e.kind == ERR_QUOTA);
	CHECK(strstr(e.msg, "max_running"));
	err_clear(&e);
	acme.quotas.max_vcpus = 3 * web.instance_resources.vcpus;
	CHECK(usage_check_clones(&acme, &web, &u, 3, &e) == 0);
	u.total_vcpus = 1;
	CHECK(usage_check_clones(&acme, &web, &u, 3, &e) < 0 && strstr(e.msg, "max_vcpus"));
	err_clear(&e);
	u.total_vcpus = 0;
	acme.quotas.max_mem_mib = 3 * web.instance_resources.mem_mib - 1;
	CHECK(usage_check_clones(&acme, &web, &u, 3, &e) < 0 && strstr(e.msg, "max_mem_mib"));
	err_clear(&e);
	acme.quotas.max_mem_mib++;
	u.total_disk_mib = 64 * 1024 - 3 * each;
	CHECK(usage_check_clones(&acme, &web, &u, 3, &e) == 0);
	u.total_disk_mib++;
	CHECK(usage_check_clones(&acme, &web, &u, 3, &e) < 0 && strstr(e.msg, "max_disk_gib"));
}

// A file of 1 MiB in a capture of that instance.
static void capture(const char *id, const char *ref, const char *name, const char *linked)
{
	cleanup_free char *dir = base_printf("%s/tenants/acme/pools/web/instances/%s/snapshots/%s",
					     getenv("MVM_STATE_DIR"), id, ref);
	cleanup_free char *path = base_printf("%s/%s", dir, name);
	cleanup_buf struct buf mib = BUF_INIT;
	cleanup_fd int fd = -1;
	struct err e = { 0 };

	CHECK(fd_mkdirs(dir, 0700, &e) == 0);
	for (size_t i = 0; i < MIB; i++)
		buf_char(&mib, 'x');
	if (linked) {
		cleanup_free char *from = base_printf("%s/tenants/acme/pools/web/instances/%s",
						      getenv("MVM_STATE_DIR"), linked);
		CHECK(link(from, path) == 0);
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && fd_write_all(fd, mib.data, mib.len, &e) == 0 && fsync(fd) == 0);
}

static void note_captures(const char *id, uint64_t want_mib)
{
	cleanup_store struct store s = STORE_NONE;
	struct address a = { .tenant = "acme", .pool = "web" };
	struct instance i = { 0 };
	struct err e = { 0 };
	uint64_t bytes = 0;

	CHECK(COPY(a.instance, id) == 0);
	CHECK(store_lock(&s, STORE_INSTANCE, &a, 0, &e) == 0 &&
	      instance_load(&a, NULL, &i, &e) == 0 && usage_captures(&s, &bytes, &e) == 0);
	CHECK_INT((bytes + MIB - 1) / MIB, want_mib);
	i.capture_mib = want_mib;
	CHECK(instance_save(&s, &i, &e) == 0);
}

TEST(what_captures_share_counts_once_in_an_instance_and_in_a_tenant)
{
	struct usage u = { 0 }, pool = { 0 };
	struct err e = { 0 };

	use_pool();
	web.instance_resources.data_disk_mib = 0;
	create("i-00000001", INSTANCE_SLEEPING, DO_NONE);
	create("i-00000002", INSTANCE_SLEEPING, DO_NONE);
	create("i-00000003", INSTANCE_SLEEPING, DO_NONE);
	capture("i-00000001", "gen-1", "mem", NULL);				 // the named one
	capture("i-00000001", "gen-2", "mem", "i-00000001/snapshots/gen-1/mem"); // restored
	capture("i-00000002", "gen-1", "mem", "i-00000001/snapshots/gen-1/mem"); // cloned
	capture("i-00000002", "gen-1", "data.ext4", NULL);
	capture("i-00000003", "gen-1", "mem", NULL);
	capture("i-00000003", ".new-gen-2", "mem", NULL); // a draft
	note_captures("i-00000001", 1);
	note_captures("i-00000002", 2);
	note_captures("i-00000003", 1);
	CHECK(usage_of_tenant(&acme, &u, &e) == 0 && usage_of_pool(&acme, &web, &pool, &e) == 0);
	CHECK_INT(u.total_disk_mib - 3 * 1024, 4);
	CHECK(usage_share("acme", NULL, &u, &e) == 0 && usage_share("acme", "web", &pool, &e) == 0);
	CHECK_INT(u.total_disk_mib - 3 * 1024, 3);
	CHECK_INT(pool.total_disk_mib, 3);

	// a check refuses only what is really too much
	CHECK(usage_of_tenant(&acme, &u, &e) == 0);
	acme.quotas.max_disk_gib = 4;
	web.instance_resources.mem_mib = 1024 - 3;
	CHECK(usage_check_sleep(&acme, &web, &u, &e) == 0);
	web.instance_resources.mem_mib++;
	CHECK(usage_check_sleep(&acme, &web, &u, &e) < 0 && e.kind == ERR_QUOTA);
	CHECK(strstr(e.msg, "3075 in use"));
}

TEST(what_is_held_by_one_alone_is_never_taken_off)
{
	struct usage u = { 0 };
	struct err e = { 0 };

	use_pool();
	create("i-00000001", INSTANCE_SLEEPING, DO_NONE);
	CHECK(usage_share("acme", NULL, &u, &e) == 0);
	CHECK_INT(u.total_disk_mib, 0);
	capture("i-00000001", "gen-1", "mem", NULL);
	// as into a jail
	capture("i-00000001", ".other", "mem", "i-00000001/snapshots/gen-1/mem");
	note_captures("i-00000001", 1);
	CHECK(usage_of_tenant(&acme, &u, &e) == 0);
	CHECK(usage_share("acme", NULL, &u, &e) == 0);
	CHECK_INT(u.total_disk_mib, 1025);
	// a record that says too little does not go below nothing
	u.total_disk_mib = 0;
	capture("i-00000001", "gen-2", "mem", NULL);
	CHECK(usage_share("acme", "web", &u, &e) == 0);
	CHECK_INT(u.total_disk_mib, 0);
}
