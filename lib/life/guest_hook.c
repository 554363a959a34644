// SPDX-License-Identifier: MIT
// What goes on around a capture, one step at a time and by hand.
#include "base/clock.h"
#include "life/guest_cli.h"
#include "life/guest_verbs.h"
#include "state/instances.h"

static uint64_t arg_timeout_ms = 30000;
static bool arg_quiet;

const struct opt guest_hook_opts[] = { { .kind = OPT_MS,
					 .name = "timeout",
					 .arg = "TIME",
					 .help = "the guest has so long (30s unless given)",
					 .slot = &arg_timeout_ms,
					 .min = 10,
					 .max = 600000 },
				       { .kind = OPT_FLAG,
					 .name = "quiet",
					 .help = "without the guest's own programs",
					 .slot = &arg_quiet },
				       OPT_END };

typedef int (*ask_fn)(struct guest_conn *c, const struct guest_hook *h, struct guest_hook_done *ret,
		      struct err *e);
static const struct {
	const char *name;
	ask_fn ask;
} hooks[] = { { "sleep-prep", guest_prepare_sleep },
	      { "repair", guest_repair },
	      { "wake", guest_thaw } };

static int fill_net(const char *word, struct guest_net *net, struct err *e)
{
	struct instance i = { 0 };
	struct address a;

	if (instances_resolve(word, &a, e) < 0 || instance_load(&a, NULL, &i, e) < 0 ||
	    ip_parse(i.net.guest_ip, &net->address, e) < 0 ||
	    ip_parse(i.net.gateway_ip, &net->gateway, e) < 0)
		return -e->no;
	net->prefix = (uint8_t)i.net.cidr;
	return COPY(net->hostname, a.instance) < 0 ? err_set(e, ENAMETOOLONG, "hostname") : 0;
}

static void print_done(const char *name, const struct guest_hook_done *d, struct buf *out)
{
	buf_fmt(out, "{\"schema_version\":1,\"hook\":\"%s\",\"elapsed_ms\":%u,\"steps\":[", name,
		d->elapsed_ms);
	for (uint32_t i = 0; i < d->steps.count; i++) {
		buf_str(out, i ? "," : "");
		buf_json(out, guest_words_at(&d->steps, i));
	}
	buf_str(out, "]}");
}

int guest_hook_run(const struct call *call, struct buf *out, struct err *e)
{
	cleanup(guest_hook_done_clear) struct guest_hook_done done = { 0 };
	struct guest_hook h = { .deadline_ms = (uint32_t)arg_timeout_ms,
				.flags = arg_quiet ? GUEST_HOOK_QUIET : 0 };
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;
	size_t i = 0;

	while (i < COUNT(hooks) && !str_eq(hooks[i].name, call->argv[1]))
		i++;
	if (i == COUNT(hooks))
		return err_usage(e, "'%s' is not sleep-prep, repair or wake", call->argv[1]);
	if (fill_net(call->argv[0], &h.net, e) < 0 ||
	    guest_cli_open(call->argv[0], &vmm, &c, e) < 0)
		return -e->no;
	if (hooks[i].ask(c, &h, &done, e) < 0)
		return err_wrap(e, "%s", call->argv[0]);
	print_done(hooks[i].name, &done, out);
	return 0;
}
