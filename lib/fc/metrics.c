// SPDX-License-Identifier: MIT
#include "fc/metrics.h"

#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/num.h"
#include "fc/config.h"
#include "sys/jail.h"

#define FIGURE_MAX ((1ULL << 53) - 1)
#define LINE_START "{\"utc_timestamp_ms\""

#define FIGURE(type, member, text)                                                           \
	{                                                                                    \
		FIELD_SLOT(type, member, uint64_t), .kind = KIND_UINT,                       \
						    .flags = FIELD_NULLABLE | FIELD_UNKNOWN, \
						    .max = FIGURE_MAX, .doc = (text)         \
	}

const struct field metrics_drive_fields[] = {
	{ FIELD_SLOT(struct metrics_drive, drive_id, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 1, .doc = "name of the drive: rootfs, data, ..." },
	FIGURE(struct metrics_drive, read_bytes, "bytes that the guest read"),
	FIGURE(struct metrics_drive, write_bytes, "bytes that the guest wrote"),
	FIGURE(struct metrics_drive, read_ops, "its reads"),
	FIGURE(struct metrics_drive, write_ops, "its writes"),
	FIGURE(struct metrics_drive, flush_ops, "its flushes"),
	FIELD_END
};

#define COUNT_OF(member, text)                                                                 \
	{                                                                                      \
		FIELD_SLOT(struct metrics, member, uint64_t), .kind = KIND_UINT,               \
							      .max = FIGURE_MAX, .doc = (text) \
	}
const struct field metrics_fields[] = {
	COUNT_OF(lines, "lines that were read"),
	COUNT_OF(damaged, "lines that were none"),
	COUNT_OF(missed, "lines that the VMM could not write"),
	FIGURE(struct metrics, vsock_rx_bytes, "bytes that the guest received over vsock"),
	FIGURE(struct metrics, vsock_tx_bytes, "bytes that the guest sent over vsock"),
	FIGURE(struct metrics, vsock_connections, "connections over vsock"),
	{ FIELD_SLOT(struct metrics, drives, struct codec_list), .kind = KIND_LIST,
	  .max = METRICS_DRIVES, .sub = metrics_drive_fields,
	  .item_size = sizeof(struct metrics_drive), .doc = "each drive" },
	FIELD_END
};

void metrics_init(struct metrics *m)
{
	*m = (struct metrics){ 0 };
	codec_unknown(metrics_fields, m);
}

void metrics_clear(struct metrics *m)
{
	codec_free(metrics_fields, m);
}

bool metrics_want(struct metrics *m, const char *drive_id)
{
	struct metrics_drive *d = m->drives.items;
	struct err ignored = { 0 };

	for (size_t i = 0; i < m->drives.len; i++)
		if (str_eq(d[i].drive_id, drive_id))
			return true;
	if (m->drives.len == METRICS_DRIVES || strlen(drive_id) >= sizeof(d->drive_id) ||
	    fc_id_check(drive_id, &ignored) < 0)
		return false;
	d = codec_list_add(&m->drives, sizeof(*d));
	codec_unknown(metrics_drive_fields, d);
	return COPY(d->drive_id, drive_id) == 0;
}

// Nobody's word for it that a counter only grows by what is possible: it stops where it is exact.
static void add(uint64_t *sum, const struct codec_node *group, const char *key)
{
	const struct codec_node *n = codec_get(group, key);
	struct err ignored = { 0 };
	uint64_t v;

	if (!n || codec_type(n) != CODEC_NUMBER ||
	    num_u64(codec_number_text(n), 0, FIGURE_MAX, &v, &ignored) < 0)
		return;
	if (*sum == UINT64_MAX)
		*sum = 0;
	*sum = MIN(*sum + v, FIGURE_MAX);
}

static const struct codec_node *group_of(const struct codec_node *doc, const char *name)
{
	const struct codec_node *n = codec_get(doc, name);

	return n && codec_type(n) == CODEC_OBJECT ? n : NULL;
}

static void add_drive(struct metrics_drive *d, const struct codec_node *doc)
{
	const struct codec_node *group;
	char name[72];

	base_cut(name, sizeof(name), "block_%s", d->drive_id);
	group = group_of(doc, name);
	if (!group)
		return;
	add(&d->read_bytes, group, "read_bytes");
	add(&d->write_bytes, group, "write_bytes");
	add(&d->read_ops, group, "read_count");
	add(&d->write_ops, group, "write_count");
	add(&d->flush_ops, group, "flush_count");
}

static bool take_document(struct metrics *m, const char *text, size_t len)
{
	cleanup_tree struct codec_node *doc = NULL;
	const struct codec_node *group;
	struct metrics_drive *d = m->drives.items;
	struct err ignored = { 0 };

	if (codec_tree(text, len, &doc, &ignored) < 0 || codec_type(doc) != CODEC_OBJECT)
		return false;
	for (size_t i = 0; i < m->drives.len; i++)
		add_drive(&d[i], doc);
	group = group_of(doc, "vsock");
	if (group) {
		add(&m->vsock_rx_bytes, group, "rx_bytes_count");
		add(&m->vsock_tx_bytes, group, "tx_bytes_count");
		add(&m->vsock_connections, group, "conns_added");
	}
	group = group_of(doc, "logger");
	if (group)
		add(&m->missed, group, "missed_metrics_count");
	return true;
}

// A line that did not fit into a full pipe has no end, and the next one stands right behind it.
static void take_line(struct metrics *m, const char *text, size_t len)
{
	const char *last = NULL;

	if (len == 0)
		return;
	m->lines = MIN(m->lines + 1, FIGURE_MAX);
	if (take_document(m, text, len))
		return;
	m->damaged = MIN(m->damaged + 1, FIGURE_MAX);
	for (const char *p = text + 1; p < text + len; p = last + 1) {
		p = memmem(p, (size_t)(text + len - p), LINE_START, strlen(LINE_START));
		if (!p)
			break;
		last = p;
	}
	if (last)
		(void)take_document(m, last, (size_t)(text + len - last));
}

void metrics_feed(struct metrics *m, struct metrics_text *t, const char *data, size_t len)
{
	while (len > 0) {
		const char *end = memchr(data, '\n', len);
		size_t n = end ? (size_t)(end - data) : len;

		if (!t->skip && t->line.len + n > METRICS_LINE_MAX) {
			t->skip = true;
			m->damaged = MIN(m->damaged + 1, FIGURE_MAX);
		}
		if (!t->skip)
			buf_add(&t->line, data, n);
		if (end) {
			if (!t->skip)
				take_line(m, buf_text(&t->line), t->line.len);
			t->skip = false;
			buf_clear(&t->line);
			n++;
		}
		data += n;
		len -= n;
	}
}

void metrics_end(struct metrics *m, struct metrics_text *t)
{
	if (t->line.len > 0 && !t->skip)
		m->damaged = MIN(m->damaged + 1, FIGURE_MAX);
	buf_free(&t->line);
	*t = (struct metrics_text)METRICS_TEXT_INIT;
}

int metrics_ask(int dir_fd, const char *socket, uint32_t uid, int64_t deadline_ms, struct err *e)
{
	static const char body[] = "{\"action_type\":\"FlushMetrics\"}", done[] = "HTTP/1.1 204";
	char request[256], answer[sizeof(done)] = "";
	cleanup_fd int sock = jail_connect(dir_fd, socket, uid, e);

	if (sock < 0)
		return -e->no;
	if (base_fmt(request, sizeof(request),
		     "PUT /actions HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
		     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
		     strlen(body), body) < 0)
		return err_set(e, ENAMETOOLONG, "request");
	// It fits into an empty socket: who does not read it is not waited for here.
	if (send(sock, request, strlen(request), MSG_DONTWAIT | MSG_NOSIGNAL) !=
	    (ssize_t)strlen(request))
		return err_sys(e, "send to %s", socket);
	if (fd_read_exact(sock, answer, strlen(done), deadline_ms, e) < 0)
		return err_wrap(e, "FlushMetrics");
	return str_eq(answer, done) ? 0 : err_kind(e, ERR_FAILED, "the VMM refused FlushMetrics");
}

int metrics_drain(struct metrics *m, int fd, int64_t deadline_ms, struct err *e)
{
	cleanup_free char *chunk = base_alloc(1, 64 * KIB);
	struct metrics_text t = METRICS_TEXT_INIT;
	size_t taken = 0;
	ssize_t n = 1;

	while (taken < METRICS_TAKE_MAX && clock_left(deadline_ms) > 0) {
		n = read(fd, chunk, 64 * KIB);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		taken += (size_t)n;
		metrics_feed(m, &t, chunk, (size_t)n);
	}
	int no = n < 0 && errno != EAGAIN ? errno : 0;
	metrics_end(m, &t);
	errno = no;
	return no ? err_sys(e, "read metrics") : 0;
}
