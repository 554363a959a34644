// SPDX-License-Identifier: MIT
#include "guest/files.h"

#include "base/fd.h"

struct filter {
	struct tar_reader reader;
	struct tar_entry en;
	struct buf out;
	char bytes[65536];
};

static void filter_freep(struct filter **f)
{
	if (*f)
		buf_free(&(*f)->out);
	free(*f);
}

static int flush(struct filter *f, int fd, struct err *e)
{
	if (f->out.len && fd_write_all(fd, f->out.data, f->out.len, e) < 0)
		return -e->no;
	buf_clear(&f->out);
	return 0;
}

static int pass_entry(struct filter *f, int fd, struct files_count *count, struct err *e)
{
	ssize_t n;

	tar_put_header(&f->out, &f->en);
	while ((n = tar_data(&f->reader, f->bytes, sizeof(f->bytes), e)) > 0) {
		buf_add(&f->out, f->bytes, (size_t)n);
		count->bytes += (uint64_t)n;
		if (flush(f, fd, e) < 0)
			return -e->no;
	}
	if (n < 0)
		return (int)n;
	tar_put_pad(&f->out, f->en.size);
	count->files += f->en.type == TAR_FILE;
	count->directories += f->en.type == TAR_DIRECTORY;
	count->links += f->en.type == TAR_SYMLINK || f->en.type == TAR_HARDLINK;
	return flush(f, fd, e);
}

int files_filter(const struct files_rules *rules, tar_source source, void *arg, int fd,
		 struct files_count *count, struct err *e)
{
	cleanup(filter_freep) struct filter *f = base_alloc(1, sizeof(*f));
	uint64_t left = rules->max_size;
	uint32_t entries = 0;
	int n;

	tar_open(&f->reader, source, arg);
	while ((n = tar_next(&f->reader, &f->en, e)) == 1) {
		if (f->en.size + TAR_BLOCK > left || ++entries > FILES_ENTRIES)
			return err_kind(e, ERR_QUOTA,
					"more than the %llu bytes that are allowed (--max-size)",
					(unsigned long long)rules->max_size);
		left -= f->en.size + TAR_BLOCK;
		if (!rules->set_ids)
			f->en.mode &= f->en.type == TAR_DIRECTORY ? 01777 : 0777;
		if (pass_entry(f, fd, count, e) < 0)
			return -e->no;
	}
	if (n < 0 || tar_drain(&f->reader, e) < 0)
		return -e->no;
	tar_put_end(&f->out);
	return flush(f, fd, e);
}
