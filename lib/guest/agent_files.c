// SPDX-License-Identifier: MIT
// Files in and out: a process of its own per request, whose standard streams the host has as it has
// a command's. A tar stream that means harm meets no more than that process, which runs with the
// rights of the user that was asked for.
#include "guest/agent_core.h"

#include <unistd.h>

#include "base/fd.h"
#include "guest/transfer.h"

struct job {
	uint8_t type;
	struct guest_files want;
};

static int put(const struct guest_files *w, struct files_count *count, struct err *e)
{
	const struct files_rules rules = { .archive = w->flags & GUEST_FILES_ARCHIVE,
					   .set_ids = w->flags & GUEST_FILES_ARCHIVE,
					   .max_size = w->max_size };
	cleanup_target struct files_target target = FILES_TARGET_NONE;
	int in = STDIN_FILENO;

	if (files_aim(w->path, w->name, w->flags & GUEST_FILES_STREAM, &target, e) < 0)
		return -e->no;
	return files_unpack(&target, &rules, files_read_fd, &in, count, e);
}

static int work(const void *arg)
{
	const struct job *job = arg;
	struct guest_files_done done = { 0 };
	cleanup_buf struct buf b = BUF_INIT;
	struct err e = { 0 }, ignored = { 0 };
	int r;

	r = job->type == GUEST_PUT
		    ? put(&job->want, &done.count, &e)
		    : files_pack(job->want.path, job->want.name, STDOUT_FILENO, &done.count, &e);
	if (r < 0)
		guest_error_from(&e, &done.error);
	guest_files_done_put(&b, &done);
	if (fd_write_all(STDERR_FILENO, b.data, b.len, &ignored) < 0)
		return 1;
	return r < 0;
}

int agent_files_start(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	struct job job = { .type = h->type };

	if (guest_files_get(p, h->len, &job.want, e) < 0)
		return -e->no;
	return agent_exec_work(c, job.want.user, work, &job, e);
}
