// SPDX-License-Identifier: MIT
#include "guest/probe.h"

#include "base/num.h"

static const char *const kinds[] = { "none", "exec", "http" };

void guest_probe_clear(struct guest_probe *p)
{
	guest_words_clear(&p->command);
}

static int add_number(struct guest_words *out, uint32_t v, struct err *e)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%u", v);
	return guest_words_add(out, text, e);
}

int guest_probe_put(struct guest_words *out, const struct guest_probe *in, struct err *e)
{
	if (in->kind == GUEST_PROBE_NONE)
		return 0;
	if (guest_words_add(out, kinds[in->kind], e) < 0 ||
	    add_number(out, in->interval_s, e) < 0 || add_number(out, in->timeout_s, e) < 0 ||
	    add_number(out, in->failures, e) < 0)
		return err_wrap(e, "probe");
	if (in->kind == GUEST_PROBE_HTTP &&
	    (add_number(out, in->port, e) < 0 || guest_words_add(out, in->path, e) < 0))
		return err_wrap(e, "probe");
	for (uint32_t i = 0; in->kind == GUEST_PROBE_EXEC && i < in->command.count; i++)
		if (guest_words_add(out, guest_words_at(&in->command, i), e) < 0)
			return err_wrap(e, "probe");
	return 0;
}

static int number(const struct guest_words *in, uint32_t at, uint64_t max, uint32_t *out,
		  struct err *e)
{
	const char *word = guest_words_at(in, at);
	uint64_t v;

	if (!word || num_u64(word, 1, max, &v, e) < 0)
		return err_kind(e, ERR_FAILED, "word %u is no number in range", at);
	*out = (uint32_t)v;
	return 0;
}

static int read_rest(const struct guest_words *in, struct guest_probe *out, struct err *e)
{
	uint32_t port = 0;

	for (uint32_t i = 4; out->kind == GUEST_PROBE_EXEC && i < in->count; i++)
		if (guest_words_add(&out->command, guest_words_at(in, i), e) < 0)
			return -e->no;
	if (out->kind == GUEST_PROBE_EXEC)
		return out->command.count ? 0 : err_kind(e, ERR_FAILED, "no command");
	if (number(in, 4, 65535, &port, e) < 0)
		return -e->no;
	out->port = (uint16_t)port;
	if (in->count != 6 || COPY(out->path, guest_words_at(in, 5)) < 0 || out->path[0] != '/' ||
	    strpbrk(out->path, " \r\n\t"))
		return err_kind(e, ERR_FAILED, "no path");
	return 0;
}

int guest_probe_get(const struct guest_words *in, struct guest_probe *out, struct err *e)
{
	const char *word = guest_words_at(in, 0);

	*out = (struct guest_probe){ 0 };
	if (!word || str_eq(word, kinds[GUEST_PROBE_NONE]))
		return 0;
	if (str_eq(word, kinds[GUEST_PROBE_EXEC]))
		out->kind = GUEST_PROBE_EXEC;
	else if (str_eq(word, kinds[GUEST_PROBE_HTTP]))
		out->kind = GUEST_PROBE_HTTP;
	else
		return err_kind(e, ERR_FAILED, "probe: no kind '%.16s'", word);
	if (number(in, 1, 86400, &out->interval_s, e) < 0 ||
	    number(in, 2, 3600, &out->timeout_s, e) < 0 ||
	    number(in, 3, 1000, &out->failures, e) < 0 || read_rest(in, out, e) < 0) {
		guest_probe_clear(out);
		return err_wrap(e, "probe");
	}
	return 0;
}
