// SPDX-License-Identifier: MIT
// The VMMs of this machine: installs Firecracker releases side by side and tells which VMM a guest
// gets here, and why.
#include "base/tool.h"
#include "fc/kvm.h"
#include "fc/release.h"
#include "life/conf.h"
#include "life/vmm.h"
#include <dirent.h>
#include <sys/stat.h>

static const char *arg_version = "", *arg_from;

static const struct opt install_opts[] = {
	{ 0, OPT_TEXT, "version", "X.Y.Z", "release to install (default " RELEASE_DEFAULT ")",
	  &arg_version, 0, 0, NULL, NULL },
	{ 0, OPT_TEXT, "from", "PATH",
	  "take it from a release's tarball or a folder with firecracker and jailer", &arg_from, 0,
	  0, NULL, NULL },
	OPT_END
};

struct choice {
	uint32_t schema_version;
	char vmm[12];
	char version[32];
	char *program;
	char *jailer;
	bool kvm;
	char *why;
};

static const struct field choice_fields[] = {
	{ FIELD_SLOT(struct choice, schema_version, uint32_t), .kind = KIND_UINT, .min = 1,
	  .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct choice, vmm, char[12]), .kind = KIND_TEXT,
	  .doc = "firecracker or qemu" },
	{ FIELD_SLOT(struct choice, version, char[32]), .kind = KIND_TEXT, .doc = "its version" },
	{ FIELD_SLOT(struct choice, program, char *), .kind = KIND_STRING, .doc = "the program" },
	{ FIELD_SLOT(struct choice, jailer, char *), .kind = KIND_STRING, .flags = FIELD_NULLABLE,
	  .doc = "its jailer" },
	{ FIELD_SLOT(struct choice, kvm, bool), .kind = KIND_BOOL, .doc = "KVM is usable" },
	{ FIELD_SLOT(struct choice, why, char *), .kind = KIND_STRING, .doc = "the reason" },
	FIELD_END
};

struct installed {
	bool changed;
	struct release release;
};

static const struct field installed_fields[] = {
	{ FIELD_SLOT(struct installed, changed, bool), .kind = KIND_BOOL,
	  .doc = "something was installed" },
	{ FIELD_SLOT(struct installed, release, struct release), .kind = KIND_RECORD,
	  .sub = release_fields, .doc = "what is there now" },
	FIELD_END
};

static int run_install(const struct call *call, struct buf *out, struct err *e)
{
	char pinned[CONF_VALUE];
	struct installed done = { 0 };
	struct stat st;
	bool folder = arg_from && stat(arg_from, &st) == 0 && S_ISDIR(st.st_mode);
	struct release_ask ask = { .from = arg_from, .pinned = pinned };

	(void)call;
	if (conf_get("firecracker_sha256", "", pinned, e) < 0)
		return -e->no;
	// A folder's binaries tell their version; a release's files carry it in their names.
	ask.version = *arg_version || folder ? arg_version : RELEASE_DEFAULT;
	if (*ask.version && !vmm_in_range(ask.version)) {
		(void)err_usage(e, "firecracker %s is outside the range 1.12 to 1.16", ask.version);
		return -e->no;
	}
	if (release_install(&ask, &done.release, &done.changed, e) < 0)
		return -e->no;
	if (!vmm_in_range(done.release.version))
		return err_usage(e, "firecracker %s is outside the range 1.12 to 1.16",
				 done.release.version);
	codec_print(installed_fields, &done, out);
	return 0;
}

static int run_list(const struct call *call, struct buf *out, struct err *e)
{
	struct codec_list all = { 0 };
	path_text base;
	struct dirent *d;
	DIR *dir;
	int r = 0;

	(void)call;
	path_join(base, path_state(), "firecracker");
	dir = opendir(base);
	if (!dir && errno != ENOENT)
		return err_sys(e, "open %s", base);
	while (r == 0 && dir && (d = readdir(dir)))
		if (d->d_name[0] != '.')
			r = release_load(d->d_name, codec_list_add(&all, sizeof(struct release)),
					 e);
	if (dir)
		(void)closedir(dir);
	if (r == 0)
		codec_print_list(release_fields, sizeof(struct release), &all, out);
	codec_free_list(release_fields, sizeof(struct release), &all);
	return r;
}

static int run_choose(const struct call *call, struct buf *out, struct err *e)
{
	struct vmm_choice c;
	char why[200];

	(void)call;
	if (vmm_choose(&c, e) < 0)
		return -e->no;
	struct choice doc = { .schema_version = 1,
			      .program = c.program,
			      .why = c.why,
			      .jailer = c.jailer[0] ? c.jailer : NULL,
			      .kvm = kvm_usable(why) };

	(void)snprintf(doc.vmm, sizeof(doc.vmm), "%s", instance_vmm_names[c.kind]);
	memcpy(doc.version, c.version, sizeof(doc.version));
	codec_print(choice_fields, &doc, out);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct verb verbs[] = {
		{ .name = "install",
		  .args = "",
		  .summary = "install a Firecracker release, verified",
		  .opts = install_opts,
		  .run = run_install },
		{ .name = "list",
		  .args = "",
		  .summary = "list the installed releases",
		  .run = run_list },
		{ .name = "choose",
		  .args = "",
		  .summary = "tell which VMM runs guests here, and why",
		  .run = run_choose },
	};
	static const struct tool tool = {
		.name = "mvm-vmm",
		.summary = "installs and chooses VMMs",
		.verbs = verbs,
		.verb_count = COUNT(verbs),
		.details = "Environment: MVM_VMM (auto, firecracker, qemu), MVM_FIRECRACKER_URL "
			   "(where releases are fetched)."
	};

	return tool_main(&tool, argc, argv);
}
