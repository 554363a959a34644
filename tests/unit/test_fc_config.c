// SPDX-License-Identifier: MIT
#include "fc/config.h"

#include "tap.h"

union any {
	struct fc_boot_source boot;
	struct fc_machine_config machine;
	struct fc_drive drive;
	struct fc_net net;
	struct fc_vsock vsock;
	struct fc_entropy entropy;
	struct fc_logger logger;
	struct fc_metrics metrics;
	struct fc_serial serial;
	struct fc_action action;
	struct fc_vm vm;
	struct fc_snapshot_create create;
	struct fc_snapshot_load load;
};

static const struct {
	const struct field *tab;
	const char *in, *says; // says NULL: taken
} rows[] = {
	{ fc_boot_source_fields, "{\"kernel_image_path\":\"/k\"}", NULL },
	{ fc_boot_source_fields, "{\"kernel_image_path\":\"/k\",\"initrd_path\":null}", NULL },
	{ fc_boot_source_fields, "{\"initrd_path\":\"/i\"}", "kernel_image_path: missing" },
	{ fc_boot_source_fields, "{\"kernel_image_path\":null}", "null is not allowed" },
	{ fc_boot_source_fields, "{\"kernel_image_path\":\"/k\",\"x\":1}", "unknown key 'x'" },
	{ fc_machine_config_fields, "{\"vcpu_count\":2,\"mem_size_mib\":128}", NULL },
	{ fc_machine_config_fields, "{\"vcpu_count\":0,\"mem_size_mib\":0}", NULL },
	{ fc_machine_config_fields, "{\"vcpu_count\":256,\"mem_size_mib\":128}", "vcpu_count" },
	{ fc_machine_config_fields, "{\"vcpu_count\":2.0,\"mem_size_mib\":128}", "vcpu_count" },
	{ fc_machine_config_fields, "{\"vcpu_count\":2}", "mem_size_mib: missing" },
	{ fc_machine_config_fields, "{\"vcpu_count\":2,\"mem_size_mib\":1,\"smt\":null}", "smt" },
	{ fc_machine_config_fields, "{\"vcpu_count\":2,\"mem_size_mib\":1,\"huge_pages\":\"1G\"}",
	  "huge_pages" },
	{ fc_machine_config_fields,
	  "{\"vcpu_count\":2,\"mem_size_mib\":1,\"cpu_template\":\"Z80\"}", "cpu_template" },
	{ fc_drive_fields,
	  "{\"drive_id\":\"a_1\",\"is_root_device\":false,\"path_on_host\":\"/d\","
	  "\"io_engine\":null,\"is_read_only\":null,\"rate_limiter\":null}",
	  NULL },
	{ fc_drive_fields, "{\"drive_id\":\"a-1\",\"is_root_device\":false}", "drive_id" },
	{ fc_drive_fields, "{\"drive_id\":\"\",\"is_root_device\":false}", "drive_id" },
	{ fc_drive_fields, "{\"drive_id\":\"a\"}", "is_root_device: missing" },
	{ fc_drive_fields, "{\"drive_id\":\"a\",\"is_root_device\":1}", "is_root_device" },
	{ fc_drive_fields, "{\"drive_id\":\"a\",\"is_root_device\":true,\"cache_type\":\"x\"}",
	  "cache_type" },
	{ fc_net_fields,
	  "{\"iface_id\":\"e\",\"host_dev_name\":\"t\","
	  "\"guest_mac\":\"02:FC:00:00:00:0a\"}",
	  NULL },
	{ fc_net_fields,
	  "{\"iface_id\":\"e\",\"host_dev_name\":\"t\","
	  "\"guest_mac\":\"02:fc:00:00:00\"}",
	  "guest_mac" },
	{ fc_net_fields,
	  "{\"iface_id\":\"e\",\"host_dev_name\":\"t\","
	  "\"guest_mac\":\"02:fc:00:00:00:0a:\"}",
	  "guest_mac" },
	{ fc_net_fields,
	  "{\"iface_id\":\"e\",\"host_dev_name\":\"t\","
	  "\"guest_mac\":\"02-fc-00-00-00-0a\"}",
	  "guest_mac" },
	{ fc_vsock_fields, "{\"guest_cid\":3,\"uds_path\":\"/v\"}", NULL },
	{ fc_vsock_fields, "{\"guest_cid\":4294967296,\"uds_path\":\"/v\"}", "guest_cid" },
	{ fc_entropy_fields, "{}", NULL },
	{ fc_logger_fields, "{\"level\":\"WARNING\",\"show_level\":null}", NULL },
	{ fc_logger_fields, "{\"level\":\"Loud\"}", "level" },
	{ fc_metrics_fields, "{}", "metrics_path: missing" },
	{ fc_serial_fields, "{\"serial_out_path\":\"/s\"}", NULL },
	{ fc_action_fields, "{\"action_type\":\"InstanceStart\"}", NULL },
	{ fc_action_fields, "{\"action_type\":\"instancestart\"}", "action_type" },
	{ fc_vm_fields, "{\"state\":\"Stopped\"}", "state" },
	{ fc_snapshot_create_fields, "{\"snapshot_path\":\"/s\",\"mem_file_path\":\"/m\"}", NULL },
	{ fc_snapshot_create_fields, "{\"snapshot_path\":\"/s\"}", "mem_file_path: missing" },
	{ fc_snapshot_load_fields,
	  "{\"snapshot_path\":\"/s\",\"mem_backend\":"
	  "{\"backend_type\":\"File\",\"backend_path\":\"/m\"},"
	  "\"network_overrides\":[{\"iface_id\":\"e\","
	  "\"host_dev_name\":\"t\"}],\"clock_realtime\":true}",
	  NULL },
	{ fc_snapshot_load_fields,
	  "{\"snapshot_path\":\"/s\",\"mem_backend\":"
	  "{\"backend_path\":\"/m\"}}",
	  "backend_type: missing" },
	{ fc_snapshot_load_fields, "{\"snapshot_path\":\"/s\",\"vsock_override\":{}}",
	  "unknown key 'vsock_override'" },
};

TEST(bodies_are_taken_and_refused_as_upstreams_deserializer_does)
{
	for (size_t i = 0; i < COUNT(rows); i++) {
		union any rec;
		struct err e = { 0 };

		memset(&rec, 0, sizeof(rec));
		int r = codec_parse(rows[i].tab, rows[i].in, strlen(rows[i].in), &rec, &e);

		if (rows[i].says && (r == 0 || !strstr(e.msg, rows[i].says)))
			tap_fail(__FILE__, __LINE__, "%s: %s", rows[i].in, r ? e.msg : "taken");
		if (!rows[i].says && r < 0)
			tap_fail(__FILE__, __LINE__, "%s: %s", rows[i].in, e.msg);
		if (r == 0)
			codec_free(rows[i].tab, &rec);
	}
}

TEST(a_load_that_asks_for_nothing_special_is_one_that_old_versions_know)
{
	struct fc_snapshot_load l = { 0 };
	cleanup_buf struct buf out = BUF_INIT;
	char state[] = "/s", mem[] = "/m";

	l.snapshot_path = state;
	l.mem_backend.backend_path = mem;
	codec_print(fc_snapshot_load_fields, &l, &out);
	CHECK_STR(buf_text(&out), "{\"snapshot_path\":\"/s\",\"mem_backend\":"
				  "{\"backend_path\":\"/m\",\"backend_type\":\"File\"},"
				  "\"resume_vm\":false}");
}

static int patch(struct fc_machine_config *m, const char *text, bool *deprecated, struct err *e)
{
	return fc_machine_config_patch(m, text, strlen(text), deprecated, e);
}

TEST(a_patch_changes_what_it_names_and_nothing_else)
{
	struct fc_machine_config m = {
		.vcpu_count = 2, .mem_size_mib = 256, .smt = true, .track_dirty_pages = true
	};
	bool deprecated = true;
	struct err e;

	CHECK(patch(&m, "{\"vcpu_count\":4,\"mem_size_mib\":null}", &deprecated, &e) == 0);
	CHECK(m.vcpu_count == 4 && m.mem_size_mib == 256 && m.smt && m.track_dirty_pages);
	CHECK(!deprecated);
	CHECK(patch(&m, "{\"smt\":false}", &deprecated, &e) == 0 && !m.smt);
	CHECK(patch(&m, "{\"cpu_template\":\"None\"}", &deprecated, &e) == 0 && deprecated);
	CHECK_STR(m.cpu_template, "None");
	free(m.cpu_template);
	m.cpu_template = NULL;
	CHECK(patch(&m, "{}", &deprecated, &e) < 0);
	CHECK(patch(&m, "{\"vcpu_count\":null}", &deprecated, &e) < 0);
	CHECK(patch(&m, "{\"vcpus\":1}", &deprecated, &e) < 0);
	CHECK(m.vcpu_count == 4);
}

TEST(cpus_and_memory_have_limits)
{
	struct fc_machine_config m = { .vcpu_count = 1, .mem_size_mib = 1 };
	struct err e;

	CHECK(fc_machine_config_check(&m, &e) == 0);
	m.smt = true;
	CHECK(fc_machine_config_check(&m, &e) == 0);
	m.vcpu_count = 3;
	CHECK(fc_machine_config_check(&m, &e) < 0);
	m.smt = false;
	CHECK(fc_machine_config_check(&m, &e) == 0);
	m.vcpu_count = 33;
	CHECK(fc_machine_config_check(&m, &e) < 0);
	m.vcpu_count = 32;
	m.mem_size_mib = 0;
	CHECK(fc_machine_config_check(&m, &e) < 0);
}
