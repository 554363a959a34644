// SPDX-License-Identifier: MIT
#include "life/rates.h"

#include <math.h>

#define UNKNOWN UINT64_MAX

#define FIGURE(member, text)                                                        \
	{                                                                           \
		FIELD_SLOT(struct rate, member, uint64_t),                          \
			.kind = KIND_UINT, .flags = FIELD_NULLABLE | FIELD_UNKNOWN, \
			.max = (1ULL << 53) - 1, .doc = (text)                      \
	}
const struct field rate_fields[] = {
	{ FIELD_SLOT(struct rate, schema_version, uint32_t), .kind = KIND_UINT, .min = 1, .max = 1,
	  .doc = "version of this format" },
	{ FIELD_SLOT(struct rate, at, time_text), .kind = KIND_TEXT, .doc = "when (UTC)" },
	{ FIELD_SLOT(struct rate, instance_path, address_text), .kind = KIND_TEXT,
	  .doc = "tenant/pool/instance" },
	{ FIELD_SLOT(struct rate, status, int), .kind = KIND_ENUM, .names = instance_status_names,
	  .doc = "where it is in its life" },
	{ FIELD_SLOT(struct rate, pid, uint32_t), .kind = KIND_UINT, .max = UINT32_MAX,
	  .flags = FIELD_NULLABLE, .doc = "process of the VMM" },
	{ FIELD_SLOT(struct rate, cpu_pct, double), .kind = KIND_REAL,
	  .flags = FIELD_NULLABLE | FIELD_UNKNOWN, .doc = "in per cent of one processor" },
	FIGURE(memory_bytes, "memory of the VMM and all below it"),
	FIGURE(net_rx_bytes_s, "bytes a second that the guest received"),
	FIGURE(net_tx_bytes_s, "bytes a second that the guest sent"),
	FIGURE(block_read_bytes_s, "bytes a second that the guest read from its drives"),
	FIGURE(block_write_bytes_s, "bytes a second that the guest wrote to its drives"),
	FIELD_END
};

static const struct stats *find(const struct stats_many *m, const char *path, size_t hint)
{
	if (hint < m->count && str_eq(m->slots[hint].stats.instance_path, path))
		return &m->slots[hint].stats;
	for (size_t i = 0; i < m->count; i++)
		if (!m->slots[i].error.no && str_eq(m->slots[i].stats.instance_path, path))
			return &m->slots[i].stats;
	return NULL;
}

static uint64_t a_second(uint64_t before, uint64_t now, int64_t us)
{
	if (before == UNKNOWN || now == UNKNOWN || now < before || us <= 0)
		return UNKNOWN;
	return MIN((uint64_t)((double)(now - before) * 1e6 / (double)us), (1ULL << 53) - 1);
}

static void add_rates(struct rate *r, const struct stats *was, const struct stats *is)
{
	int64_t us = is->sampled_us - was->sampled_us;

	if (!is->pid || was->pid != is->pid || was->vmm_start != is->vmm_start || us <= 0)
		return;
	if (was->cpu_usec != UNKNOWN && is->cpu_usec != UNKNOWN && is->cpu_usec >= was->cpu_usec)
		r->cpu_pct = round((double)(is->cpu_usec - was->cpu_usec) * 1e4 / (double)us) / 100;
	r->net_rx_bytes_s = a_second(was->net_rx_bytes, is->net_rx_bytes, us);
	r->net_tx_bytes_s = a_second(was->net_tx_bytes, is->net_tx_bytes, us);
	r->block_read_bytes_s = a_second(was->block_read_bytes, is->block_read_bytes, us);
	r->block_write_bytes_s = a_second(was->block_write_bytes, is->block_write_bytes, us);
}

size_t rates_make(const struct stats_many *before, const struct stats_many *after, const char *at,
		  struct rate *out)
{
	size_t n = 0;

	for (size_t i = 0; i < after->count; i++) {
		const struct stats *is = &after->slots[i].stats, *was;
		struct rate *r = &out[n];

		if (after->slots[i].error.no)
			continue;
		*r = (struct rate){ .schema_version = 1, .status = is->status, .pid = is->pid };
		codec_unknown(rate_fields, r);
		(void)snprintf(r->at, sizeof(r->at), "%s", at);
		memcpy(r->instance_path, is->instance_path, sizeof(r->instance_path));
		r->memory_bytes = is->memory_bytes;
		was = find(before, is->instance_path, i);
		if (was)
			add_rates(r, was, is);
		n++;
	}
	return n;
}

// -1 for unknown: below every figure.
static double known(uint64_t v)
{
	return v == UNKNOWN ? -1 : (double)v;
}

static double both(uint64_t a, uint64_t b)
{
	if (a == UNKNOWN || b == UNKNOWN)
		return MAX(known(a), known(b));
	return known(a) + known(b);
}

static double weight(const struct rate *r, enum rate_key key)
{
	switch (key) {
	case RATE_CPU:
		return r->cpu_pct >= 0 ? r->cpu_pct : -1; // also of one that is no number
	case RATE_MEM:
		return known(r->memory_bytes);
	case RATE_NET:
		return both(r->net_rx_bytes_s, r->net_tx_bytes_s);
	case RATE_IO:
		return both(r->block_read_bytes_s, r->block_write_bytes_s);
	}
	return -1;
}

static int compare(const void *a, const void *b, void *arg)
{
	const struct rate *one = a, *other = b;
	enum rate_key key = *(const enum rate_key *)arg;
	double v = weight(one, key), w = weight(other, key);

	if (v != w)
		return v > w ? -1 : 1;
	return strcmp(one->instance_path, other->instance_path);
}

void rates_sort(struct rate *rows, size_t n, enum rate_key key)
{
	if (n > 1)
		qsort_r(rows, n, sizeof(*rows), compare, &key);
}
