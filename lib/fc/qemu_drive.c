// SPDX-License-Identifier: MIT
// PATCH of a drive: another file behind a device that the guest goes on using. The device sits on a
// "raw" node, whose child is exchanged.
#include "base/fd.h"
#include "fc/qemu_parts.h"

#define CALL_MS 10000

static const char *flag(bool on)
{
	return on ? "true" : "false";
}

static int add_file(struct qemu *q, const struct fc_drive *d, int fd, const char *node,
		    unsigned set, struct err *e)
{
	cleanup_buf struct buf args = BUF_INIT;

	buf_fmt(&args, "{\"fdset-id\":%u}", set);
	if (qmp_call(q->qmp, "add-fd", args.data, fd, CALL_MS, NULL, e) < 0)
		return -e->no;
	buf_clear(&args);
	buf_fmt(&args,
		"{\"driver\":\"file\",\"node-name\":\"%s\",\"filename\":\"/dev/fdset/%u\","
		"\"read-only\":%s,\"auto-read-only\":false,\"cache\":{\"no-flush\":%s},"
		"\"aio\":\"threads\",\"locking\":\"off\"}",
		node, set, flag(d->is_read_only), flag(d->cache_type == FC_CACHE_UNSAFE));
	return qmp_call(q->qmp, "blockdev-add", args.data, -1, CALL_MS, NULL, e);
}

static void drop_file(struct qemu *q, const char *node, unsigned set)
{
	cleanup_buf struct buf args = BUF_INIT;
	struct err e = { 0 };

	buf_fmt(&args, "{\"node-name\":\"%s\"}", node);
	(void)!qmp_call(q->qmp, "blockdev-del", args.data, -1, CALL_MS, NULL, &e);
	buf_clear(&args);
	buf_fmt(&args, "{\"fdset-id\":%u}", set);
	(void)!qmp_call(q->qmp, "remove-fd", args.data, -1, CALL_MS, NULL, &e);
}

static int exchange(struct qemu *q, const struct fc_drive *d, size_t i, const char *file,
		    struct err *e)
{
	cleanup_buf struct buf args = BUF_INIT;
	char node[16];

	buf_fmt(&args,
		"{\"options\":[{\"driver\":\"raw\",\"node-name\":\"%s\",\"file\":\"%s\","
		"\"read-only\":%s,\"cache\":{\"no-flush\":%s}}]}",
		qemu_drive_node(i, 'd', node), file, flag(d->is_read_only),
		flag(d->cache_type == FC_CACHE_UNSAFE));
	return qmp_call(q->qmp, "blockdev-reopen", args.data, -1, CALL_MS, NULL, e);
}

static int size_of(int fd, uint64_t *ret, struct err *e)
{
	off_t end = lseek(fd, 0, SEEK_END); // of block devices too

	if (end < 0)
		return err_sys(e, "size");
	*ret = (uint64_t)end;
	return 0;
}

// QEMU reads the size of the new file, but tells the guest only when it has resized it itself.
static int tell_size(struct qemu *q, size_t i, uint64_t size, struct err *e)
{
	cleanup_buf struct buf args = BUF_INIT;
	char node[16];

	buf_fmt(&args, "{\"node-name\":\"%s\",\"size\":%llu}", qemu_drive_node(i, 'd', node),
		(unsigned long long)size);
	return qmp_call(q->qmp, "block_resize", args.data, -1, CALL_MS, NULL, e);
}

// Where that cannot be done the size has to stay: it needs write permission, it rounds, and QEMU
// dies of it while its drives are at rest after a snapshot.
static int check_size(const struct qemu *q, const struct fc_drive *d, uint64_t was, uint64_t is,
		      struct err *e)
{
	if (is != was && q->state_stream >= 0)
		return err_kind(e, ERR_STATE,
				"between a snapshot and the resume a drive keeps its size");
	if (is != was && (d->is_read_only || is % 512))
		return err_usage(e,
				 "a drive that is read-only, or not whole sectors, keeps its size "
				 "with QEMU: %llu bytes instead of %llu",
				 (unsigned long long)is, (unsigned long long)was);
	return 0;
}

int qemu_set_drive(struct qemu *q, const char *drive_id, const char *path, struct err *e)
{
	const struct fc_drive *order[QEMU_DRIVES];
	size_t n = qemu_drive_order(&q->doc.drives, order), i = 0;
	uint64_t size = 0;
	cleanup_fd int fd = -1;
	char node[16], old[16];
	unsigned set;

	if (!q->running)
		return err_kind(e, ERR_STATE, "no guest is running");
	while (i < n && !str_eq(order[i]->drive_id, drive_id))
		i++;
	if (i == n)
		return err_kind(e, ERR_MISSING, "no drive %s", drive_id);
	fd = qemu_open_drive(q->env.root_fd, order[i], path, e);
	if (fd < 0)
		return -e->no;
	if (size_of(fd, &size, e) < 0 || check_size(q, order[i], q->drive_sizes[i], size, e) < 0)
		return err_wrap(e, "drive %s", drive_id);
	// Files that came by an exchange are g1, g2...; those of the start f0, f1...
	set = QEMU_DRIVES + ++q->exchanges;
	(void)qemu_drive_node(q->exchanges, 'g', node);
	if (add_file(q, order[i], fd, node, set, e) < 0 || exchange(q, order[i], i, node, e) < 0) {
		drop_file(q, node, set);
		return err_wrap(e, "drive %s", drive_id);
	}
	if (q->drive_sets[i])
		(void)qemu_drive_node(q->drive_sets[i] - QEMU_DRIVES, 'g', old);
	else
		(void)qemu_drive_node(i, 'f', old);
	drop_file(q, old, q->drive_sets[i] ? q->drive_sets[i] : (unsigned)i + 1);
	q->drive_sets[i] = set;
	if (size != q->drive_sizes[i] && tell_size(q, i, size, e) < 0)
		return err_wrap(e, "drive %s", drive_id);
	q->drive_sizes[i] = size;

	struct fc_drive *d = q->doc.drives.items;

	d += order[i] - d;
	free(d->path_on_host);
	d->path_on_host = base_strdup(path);
	return 0;
}
