// SPDX-License-Identifier: MIT
#include "meta/metad_record.h"

#include <inttypes.h>

#include "base/fd.h"
#include "base/num.h"

#define RECORD_MAX 128

void metad_lock_name(const char *tenant, char out[80])
{
	base_cut(out, 80, "%s.lock", tenant);
}

void metad_log_name(const char *tenant, char out[80])
{
	base_cut(out, 80, "%s.log", tenant);
}

int metad_record_write(int lock, const struct metad_record *r, struct err *e)
{
	char text[RECORD_MAX];
	int len = snprintf(text, sizeof(text), "%d %" PRIu64 " %d %u\n", r->id.pid, r->id.start,
			   r->ready, r->ifindex);

	if (ftruncate(lock, 0) < 0 || pwrite(lock, text, (size_t)len, 0) != len)
		return err_sys(e, "write the lock's record");
	return 0;
}

int metad_record_read(int parent, const char *tenant, struct metad_record *ret, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	uint64_t pid, start, ready, ifindex;
	char name[80];
	const char *s;

	*ret = (struct metad_record){ 0 };
	metad_lock_name(tenant, name);
	if (fd_read_file(parent, name, RECORD_MAX, &text, e) < 0)
		return -e->no;
	s = buf_text(&text);
	if (!str_ends(s, "\n") || !num_next(&s, &pid) || !num_next(&s, &start) ||
	    !num_next(&s, &ready) || !num_next(&s, &ifindex) || !pid || pid > INT32_MAX)
		return 0;
	*ret = (struct metad_record){ .id = { .pid = (pid_t)pid, .start = start },
				      .ready = ready == 1,
				      .ifindex = (unsigned)ifindex };
	return 0;
}
