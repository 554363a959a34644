// SPDX-License-Identifier: MIT
#include "fc/server_parts.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "fc/resolve.h"

#define CMDLINE_MAX  2047 // the kernel's limit less the NUL
#define UDS_PATH_MAX 107  // as where the path itself is bound

static int check_opens(const struct server *s, const char *path, struct err *e)
{
	int fd = qemu_resolve(s->root_fd, path, O_RDONLY, e);

	if (fd < 0)
		return fd;
	(void)close(fd);
	return 0;
}

static int check_boot(const struct server *s, const struct fc_boot_source *b, struct err *e)
{
	const char *args = b->boot_args ? b->boot_args : "";

	if (check_opens(s, b->kernel_image_path, e) < 0)
		return err_wrap(e, "The kernel file cannot be opened");
	if (b->initrd_path && check_opens(s, b->initrd_path, e) < 0)
		return err_wrap(e, "The initrd file cannot be opened due to invalid path or "
				   "invalid permissions");
	if (strlen(args) > CMDLINE_MAX)
		return err_usage(e, "The kernel command line is invalid: it is too long");
	return 0;
}

int server_put_boot_source(struct server_call *c, struct err *e)
{
	struct fc_boot_source b = { 0 };

	if (server_parse(c, fc_boot_source_fields, &b, e) < 0)
		return -e->no;
	c->s->booting = true;
	if (check_boot(c->s, &b, e) < 0) {
		codec_free(fc_boot_source_fields, &b);
		return err_wrap(e, "Boot source error");
	}
	codec_free(fc_boot_source_fields, &c->s->config.boot);
	c->s->config.boot = b;
	return 0;
}

// Takes m over when it is good; the template that says "none" is no template.
static int set_machine(struct server *s, struct fc_machine_config *m, struct err *e)
{
	bool template = m->cpu_template && !str_eq(m->cpu_template, "None");

	free(m->cpu_template);
	m->cpu_template = NULL;
	s->booting = true;
	if (fc_machine_config_check(m, e) < 0)
		return err_wrap(e, "Machine config error");
	if (template)
		return server_refuse(e, "CPU templates");
	if (m->huge_pages != FC_HUGE_NONE)
		return server_refuse(e, "huge pages");
	s->config.machine = *m;
	return 0;
}

int server_put_machine(struct server_call *c, struct err *e)
{
	struct fc_machine_config m = { 0 };

	if (server_parse(c, fc_machine_config_fields, &m, e) < 0)
		return -e->no;
	c->deprecated = m.cpu_template;
	return set_machine(c->s, &m, e);
}

int server_patch_machine(struct server_call *c, struct err *e)
{
	struct fc_machine_config m = c->s->config.machine; // owns no memory: see set_machine

	if (fc_machine_config_patch(&m, c->body, c->len, &c->deprecated, e) < 0)
		return -e->no;
	return set_machine(c->s, &m, e);
}

int server_get_machine(struct server_call *c, struct err *e)
{
	(void)e;
	codec_print(fc_machine_config_fields, &c->s->config.machine, c->out);
	return 0;
}

// Nothing may lie where the socket is going to be. It is bound when the guest starts.
static int check_vsock(const struct server *s, const struct fc_vsock *v, struct err *e)
{
	cleanup_fd int dir = -1;
	const char *name = NULL;
	struct stat sb;

	if (strlen(v->uds_path) > UDS_PATH_MAX)
		return err_set(e, ENAMETOOLONG, "Cannot bind %.64s...: the path is too long",
			       v->uds_path);
	dir = qemu_resolve_dir(s->root_fd, v->uds_path, &name, e);
	if (dir < 0)
		return dir;
	if (fstatat(dir, name, &sb, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(e, EADDRINUSE, "Cannot bind %s: it is there already", v->uds_path);
	return 0;
}

int server_put_vsock(struct server_call *c, struct err *e)
{
	struct server *s = c->s;
	struct fc_vsock v = { 0 };

	if (server_parse(c, fc_vsock_fields, &v, e) < 0)
		return -e->no;
	c->deprecated = v.vsock_id;
	s->booting = true;
	if (check_vsock(s, &v, e) < 0) {
		codec_free(fc_vsock_fields, &v);
		return err_wrap(e, "Vsock config error: Cannot create backend for vsock device");
	}
	free(v.vsock_id);
	v.vsock_id = NULL;
	codec_free(fc_vsock_fields, &s->config.vsock);
	s->config.vsock = v;
	s->config.has_vsock = true;
	return 0;
}

int server_put_entropy(struct server_call *c, struct err *e)
{
	struct fc_entropy entropy = { 0 };

	if (server_parse(c, fc_entropy_fields, &entropy, e) < 0)
		return -e->no;
	c->s->booting = true;
	if (entropy.rate_limiter) {
		codec_free(fc_entropy_fields, &entropy);
		return server_refuse(e, "rate limiters");
	}
	c->s->config.has_entropy = true;
	return 0;
}

int server_put_serial(struct server_call *c, struct err *e)
{
	struct fc_serial serial = { 0 };

	if (server_parse(c, fc_serial_fields, &serial, e) < 0)
		return -e->no;
	free(c->s->serial_path);
	c->s->serial_path = serial.serial_out_path;
	return 0;
}

// Switches that are not given stay as they are.
static void keep_switches(const struct server_call *c, struct fc_logger *l)
{
	struct codec_node *doc = NULL;
	struct err e;

	if (codec_tree(c->body, c->len, &doc, &e) < 0)
		return;
	if (!codec_get(doc, "show_level"))
		l->show_level = c->s->log.show_level;
	if (!codec_get(doc, "show_log_origin"))
		l->show_log_origin = c->s->log.show_origin;
	codec_tree_free(doc);
}

int server_put_logger(struct server_call *c, struct err *e)
{
	struct fc_logger l = { 0 };
	int r;

	if (server_parse(c, fc_logger_fields, &l, e) < 0)
		return -e->no;
	keep_switches(c, &l);
	r = vmlog_configure(&c->s->log, c->s->root_fd, &l, e);
	codec_free(fc_logger_fields, &l);
	return r < 0 ? err_wrap(e, "Logger error") : 0;
}

int server_put_metrics(struct server_call *c, struct err *e)
{
	struct fc_metrics m = { 0 };
	int r;

	if (server_parse(c, fc_metrics_fields, &m, e) < 0)
		return -e->no;
	r = vmmetrics_open(&c->s->metrics, c->s->root_fd, m.metrics_path, e);
	codec_free(fc_metrics_fields, &m);
	return r < 0 ? err_wrap(e, "Metrics error") : 0;
}

// A switch or an engine that was not given is shown as what it is, not as null.
static void drives_print(const struct codec_list *drives, struct buf *out)
{
	const struct fc_drive *d = drives->items;
	struct field tab[12];
	size_t n = 0;

	do {
		tab[n] = fc_drive_fields[n];
		if (tab[n].kind == KIND_BOOL || tab[n].kind == KIND_ENUM)
			tab[n].flags = 0;
	} while (tab[n++].key && n < COUNT(tab));
	for (size_t i = 0; i < drives->len; i++) {
		buf_char(out, i ? ',' : '[');
		codec_print(tab, &d[i], out);
	}
	buf_str(out, drives->len ? "]" : "[]");
}

void server_config_print(const struct server *s, struct buf *out)
{
	const struct qemu_config *q = &s->config;
	struct fc_boot_source boot = q->boot;
	static char none[] = "";

	if (!boot.kernel_image_path)
		boot.kernel_image_path = none;
	buf_str(out, "{\"balloon\":null,\"drives\":");
	drives_print(&q->drives, out);
	buf_str(out, ",\"boot-source\":");
	codec_print(fc_boot_source_fields, &boot, out);
	buf_str(out, ",\"cpu-config\":null,\"logger\":null,\"machine-config\":");
	codec_print(fc_machine_config_fields, &q->machine, out);
	buf_str(out, ",\"metrics\":null,\"mmds-config\":null,\"network-interfaces\":");
	codec_print_list(fc_net_fields, sizeof(struct fc_net), &q->nets, out);
	buf_str(out, ",\"vsock\":");
	if (q->has_vsock)
		codec_print(fc_vsock_fields, &q->vsock, out);
	else
		buf_str(out, "null");
	buf_str(out, q->has_entropy ? ",\"entropy\":{\"rate_limiter\":null}" : ",\"entropy\":null");
	buf_str(out, ",\"pmem\":[],\"memory-hotplug\":null}");
}
