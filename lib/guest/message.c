// SPDX-License-Identifier: MIT
// The payloads: each message's fields in their order, once to write and once to read. The round
// trip of both is what tests/unit/test_proto.c and tests/fuzz/fuzz_proto.c assert.
#include "guest/proto.h"

#include "guest/wire.h"

void guest_welcome_clear(struct guest_welcome *w)
{
	guest_words_clear(&w->argv);
	guest_words_clear(&w->env);
	guest_words_clear(&w->probes);
}

void guest_exec_clear(struct guest_exec *x)
{
	guest_words_clear(&x->argv);
	guest_words_clear(&x->env);
}

void guest_hello_put(struct buf *b, const struct guest_hello *in)
{
	buf_add(b, "MVMG", 4);
	wire_put_int(b, in->version_min, 2);
	wire_put_int(b, in->version_max, 2);
	wire_put_text(b, in->agent);
}

int guest_hello_get(const void *p, size_t len, struct guest_hello *out, struct err *e)
{
	struct wire w = { p, len, false };
	char magic[4] = "";

	*out = (struct guest_hello){ 0 };
	wire_bytes(&w, magic, sizeof(magic));
	w.bad |= memcmp(magic, "MVMG", sizeof(magic)) != 0;
	out->version_min = (uint16_t)wire_int(&w, 2);
	out->version_max = (uint16_t)wire_int(&w, 2);
	wire_text(&w, out->agent, sizeof(out->agent));
	return wire_done(&w, "hello", e);
}

void wire_put_net(struct buf *b, const struct guest_net *in)
{
	wire_put_text(b, in->hostname);
	wire_put_int(b, in->address, 4);
	wire_put_int(b, in->gateway, 4);
	for (size_t i = 0; i < GUEST_DNS; i++)
		wire_put_int(b, in->dns[i], 4);
	wire_put_int(b, in->prefix, 1);
	buf_add(b, in->gateway_mac, sizeof(in->gateway_mac));
	wire_put_int(b, in->mtu, 2);
}

// What goes into the guest's files and kernel later is checked here, once.
void wire_net(struct wire *w, struct guest_net *out)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.";

	wire_text(w, out->hostname, sizeof(out->hostname));
	w->bad |= out->hostname[strspn(out->hostname, letters)] != '\0';
	out->address = (uint32_t)wire_int(w, 4);
	out->gateway = (uint32_t)wire_int(w, 4);
	for (size_t i = 0; i < GUEST_DNS; i++)
		out->dns[i] = (uint32_t)wire_int(w, 4);
	out->prefix = (uint8_t)wire_int(w, 1);
	wire_bytes(w, out->gateway_mac, sizeof(out->gateway_mac));
	out->mtu = (uint16_t)wire_int(w, 2);
	w->bad |= out->prefix > 32;
}

void guest_welcome_put(struct buf *b, const struct guest_welcome *in)
{
	wire_put_net(b, &in->net);
	wire_put_int(b, in->time_us, 8);
	buf_add(b, in->seed, sizeof(in->seed));
	wire_put_words(b, &in->argv);
	wire_put_words(b, &in->env);
	wire_put_text(b, in->cwd);
	wire_put_text(b, in->user);
	wire_put_words(b, &in->probes);
}

int guest_welcome_get(const void *p, size_t len, struct guest_welcome *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_welcome){ 0 };
	wire_net(&w, &out->net);
	out->time_us = wire_int(&w, 8);
	wire_bytes(&w, out->seed, sizeof(out->seed));
	wire_words(&w, &out->argv);
	wire_words(&w, &out->env);
	wire_text(&w, out->cwd, sizeof(out->cwd));
	wire_text(&w, out->user, sizeof(out->user));
	wire_words(&w, &out->probes);
	if (wire_done(&w, "welcome", e) < 0) {
		guest_welcome_clear(out);
		return -e->no;
	}
	return 0;
}

void guest_info_put(struct buf *b, const struct guest_info *in)
{
	wire_put_text(b, in->kernel);
	wire_put_text(b, in->boot_id);
	wire_put_int(b, in->uptime_ms, 8);
	wire_put_int(b, in->entrypoint_pid, 4);
	wire_put_int(b, in->drives, 4);
}

int guest_info_get(const void *p, size_t len, struct guest_info *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_info){ 0 };
	wire_text(&w, out->kernel, sizeof(out->kernel));
	wire_text(&w, out->boot_id, sizeof(out->boot_id));
	out->uptime_ms = wire_int(&w, 8);
	out->entrypoint_pid = (uint32_t)wire_int(&w, 4);
	out->drives = (uint32_t)wire_int(&w, 4);
	return wire_done(&w, "ready", e);
}

void guest_health_put(struct buf *b, const struct guest_health *in)
{
	wire_put_int(b, in->uptime_ms, 8);
	wire_put_int(b, in->time_us, 8);
	wire_put_int(b, in->mem_total_kib, 8);
	wire_put_int(b, in->mem_available_kib, 8);
	wire_put_int(b, in->load_milli, 4);
	wire_put_int(b, in->execs, 4);
	wire_put_int(b, in->entry_state, 4);
	wire_put_int(b, in->entry_status, 4);
	wire_put_int(b, in->ready, 1);
	if (!in->more)
		return;
	wire_put_int(b, in->probe_state, 4);
	wire_put_int(b, in->probe_failures, 4);
	wire_put_int(b, in->probe_age_ms, 8);
	wire_put_text(b, in->probe_why);
	wire_put_text(b, in->worker);
	wire_put_int(b, in->worker_age_ms, 8);
}

static void more_health_get(struct wire *w, struct guest_health *out)
{
	out->probe_state = (uint32_t)wire_int(w, 4);
	out->probe_failures = (uint32_t)wire_int(w, 4);
	out->probe_age_ms = wire_int(w, 8);
	wire_text(w, out->probe_why, sizeof(out->probe_why));
	wire_text(w, out->worker, sizeof(out->worker));
	out->worker_age_ms = wire_int(w, 8);
	w->bad |= out->probe_state > GUEST_UNHEALTHY;
}

int guest_health_get(const void *p, size_t len, struct guest_health *out, struct err *e)
{
	struct wire w = { p, len, false };
	uint64_t ready;

	*out = (struct guest_health){ 0 };
	out->uptime_ms = wire_int(&w, 8);
	out->time_us = wire_int(&w, 8);
	out->mem_total_kib = wire_int(&w, 8);
	out->mem_available_kib = wire_int(&w, 8);
	out->load_milli = (uint32_t)wire_int(&w, 4);
	out->execs = (uint32_t)wire_int(&w, 4);
	out->entry_state = (uint32_t)wire_int(&w, 4);
	out->entry_status = (uint32_t)wire_int(&w, 4);
	ready = wire_int(&w, 1);
	out->ready = ready == 1;
	w.bad |= out->entry_state > GUEST_ENTRY_ENDED || ready > 1;
	out->more = w.left > 0;
	if (out->more)
		more_health_get(&w, out);
	return wire_done(&w, "health", e);
}

void guest_exec_put(struct buf *b, const struct guest_exec *in)
{
	wire_put_int(b, in->flags, 4);
	wire_put_words(b, &in->argv);
	wire_put_words(b, &in->env);
	wire_put_text(b, in->cwd);
	wire_put_text(b, in->user);
}

int guest_exec_get(const void *p, size_t len, struct guest_exec *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_exec){ 0 };
	out->flags = (uint32_t)wire_int(&w, 4);
	wire_words(&w, &out->argv);
	wire_words(&w, &out->env);
	wire_text(&w, out->cwd, sizeof(out->cwd));
	wire_text(&w, out->user, sizeof(out->user));
	w.bad |= out->argv.count == 0;
	if (wire_done(&w, "exec", e) < 0) {
		guest_exec_clear(out);
		return -e->no;
	}
	return 0;
}

void guest_down_put(struct buf *b, const struct guest_down *in)
{
	wire_put_text(b, in->reason);
	wire_put_int(b, in->grace_ms, 4);
}

int guest_down_get(const void *p, size_t len, struct guest_down *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_down){ 0 };
	wire_text(&w, out->reason, sizeof(out->reason));
	out->grace_ms = (uint32_t)wire_int(&w, 4);
	return wire_done(&w, "shutdown", e);
}

void guest_logs_put(struct buf *b, const struct guest_logs *in)
{
	wire_put_int(b, in->source, 1);
	wire_put_int(b, in->follow, 1);
	wire_put_int(b, in->tail, 4);
	if (!in->times && !in->lines && !in->since_us)
		return;
	wire_put_int(b, in->times, 1);
	wire_put_int(b, in->lines, 4);
	wire_put_int(b, in->since_us, 8);
}

int guest_logs_get(const void *p, size_t len, struct guest_logs *out, struct err *e)
{
	struct wire w = { p, len, false };
	uint64_t follow, times = 0;

	*out = (struct guest_logs){ 0 };
	out->source = (uint8_t)wire_int(&w, 1);
	follow = wire_int(&w, 1);
	out->follow = follow == 1;
	out->tail = (uint32_t)wire_int(&w, 4);
	if (w.left) {
		times = wire_int(&w, 1);
		out->times = times == 1;
		out->lines = (uint32_t)wire_int(&w, 4);
		out->since_us = wire_int(&w, 8);
		w.bad |= times > 1 || (!times && !out->lines && !out->since_us);
	}
	w.bad |= out->source > GUEST_LOG_ENTRYPOINT || follow > 1;
	return wire_done(&w, "logs", e);
}

void guest_error_put(struct buf *b, const struct guest_error *in)
{
	wire_put_int(b, in->kind, 4);
	wire_put_int(b, in->no, 4);
	wire_put_text(b, in->msg);
}

int guest_error_get(const void *p, size_t len, struct guest_error *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_error){ 0 };
	out->kind = (uint32_t)wire_int(&w, 4);
	out->no = (uint32_t)wire_int(&w, 4);
	wire_text(&w, out->msg, sizeof(out->msg));
	return wire_done(&w, "error", e);
}

void guest_u32_put(struct buf *b, uint32_t v)
{
	wire_put_int(b, v, 4);
}

void guest_u64_put(struct buf *b, uint64_t v)
{
	wire_put_int(b, v, 8);
}

int guest_u64_get(const void *p, size_t len, uint64_t *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = wire_int(&w, 8);
	return wire_done(&w, "number", e);
}

int guest_u32_get(const void *p, size_t len, uint32_t *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = (uint32_t)wire_int(&w, 4);
	return wire_done(&w, "number", e);
}
