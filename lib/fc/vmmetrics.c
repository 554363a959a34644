// SPDX-License-Identifier: MIT
#include "fc/vmmetrics.h"

#include <fcntl.h>
#include <time.h>

#include "fc/resolve.h"

static const struct {
	const char *group, *name;
	bool stored;
} rows[] = {
#define VMMETRICS_ROW(id, group, name, stored) { group, name, stored },
	VMMETRICS(VMMETRICS_ROW)
};

int vmmetrics_open(struct vmmetrics *m, int root_fd, const char *path, struct err *e)
{
	int fd;

	if (m->fd >= 0)
		return err_set(e, EEXIST,
			       "Cannot initialize the metrics system due to bad user "
			       "input: it has a file already");
	// For reading as well: a pipe without a reader can be opened then.
	fd = qemu_resolve(root_fd, path, O_RDWR | O_CREAT | O_APPEND, e);
	if (fd < 0)
		return err_wrap(e, "Cannot initialize the metrics system due to bad user input");
	m->fd = fd;
	return 0;
}

void vmmetrics_set_drive(struct vmmetrics *m, const char *id, size_t i, uint64_t v)
{
	struct vmmetrics_drive *d = m->drives;

	while (d < m->drives + m->drive_count && !str_eq(d->id, id))
		d++;
	if (d == m->drives + m->drive_count) {
		if (m->drive_count == VMMETRICS_DRIVES || COPY(d->id, id) < 0)
			return;
		m->drive_count++;
	}
	d->now[i] = v;
}

static void drives_print(const struct vmmetrics *m, struct buf *out)
{
	for (size_t d = 0; d < m->drive_count; d++) {
		buf_fmt(out, ",\"block_%s\":{", m->drives[d].id);
		for (size_t i = 0; i < VMMETRICS_BLOCK; i++)
			buf_fmt(out, "%s\"%s\":%llu", i ? "," : "",
				rows[METRIC_BLOCK_READ_BYTES + i].name,
				(unsigned long long)(m->drives[d].now[i] - m->drives[d].last[i]));
		buf_char(out, '}');
	}
}

static void line_print(const struct vmmetrics *m, struct buf *out)
{
	const char *group = "";
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	buf_fmt(out, "{\"utc_timestamp_ms\":%lld",
		(long long)t.tv_sec * 1000 + t.tv_nsec / 1000000);
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint64_t v = rows[i].stored ? m->now[i] : m->now[i] - m->last[i];

		if (!str_eq(rows[i].group, group))
			buf_fmt(out, "%s,\"%s\":{", i ? "}" : "", rows[i].group);
		else
			buf_char(out, ',');
		group = rows[i].group;
		buf_fmt(out, "\"%s\":%llu", rows[i].name, (unsigned long long)v);
	}
	buf_char(out, '}');
	drives_print(m, out);
	buf_str(out, "}\n");
}

int vmmetrics_write(struct vmmetrics *m, struct err *e)
{
	cleanup_buf struct buf out = BUF_INIT;
	ssize_t n;

	if (m->fd < 0)
		return 0;
	if (m->torn)
		buf_char(&out, '\n');
	line_print(m, &out);
	n = write(m->fd, out.data, out.len);
	if (n > 0)
		m->torn = n != (ssize_t)out.len;
	if (n != (ssize_t)out.len) {
		vmmetrics_inc(m, METRIC_MISSED_METRICS);
		if (n >= 0)
			errno = EIO;
		return err_sys(e, "write metrics");
	}
	memcpy(m->last, m->now, sizeof(m->last));
	for (size_t d = 0; d < m->drive_count; d++)
		memcpy(m->drives[d].last, m->drives[d].now, sizeof(m->drives[d].last));
	return 0;
}

void vmmetrics_close(struct vmmetrics *m)
{
	if (m->fd >= 0)
		(void)close(m->fd);
	m->fd = -1;
}
