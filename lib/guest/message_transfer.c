// SPDX-License-Identifier: MIT
#include "guest/transfer.h"
#include "guest/wire.h"

void guest_files_put(struct buf *b, const struct guest_files *in)
{
	wire_put_int(b, in->flags, 4);
	wire_put_int(b, in->max_size, 8);
	wire_put_text(b, in->path);
	wire_put_text(b, in->name);
	wire_put_text(b, in->user);
}

int guest_files_get(const void *p, size_t len, struct guest_files *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_files){ 0 };
	out->flags = (uint32_t)wire_int(&w, 4);
	out->max_size = wire_int(&w, 8);
	wire_text(&w, out->path, sizeof(out->path));
	wire_text(&w, out->name, sizeof(out->name));
	wire_text(&w, out->user, sizeof(out->user));
	w.bad |= out->flags > (GUEST_FILES_ARCHIVE | GUEST_FILES_STREAM) || !out->path[0] ||
		 strchr(out->name, '/') || str_eq(out->name, ".") || str_eq(out->name, "..");
	return wire_done(&w, "files", e);
}

void guest_files_done_put(struct buf *b, const struct guest_files_done *in)
{
	guest_error_put(b, &in->error);
	wire_put_int(b, in->count.files, 8);
	wire_put_int(b, in->count.directories, 8);
	wire_put_int(b, in->count.links, 8);
	wire_put_int(b, in->count.bytes, 8);
	wire_put_int(b, in->count.skipped, 8);
}

int guest_files_done_get(const void *p, size_t len, struct guest_files_done *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_files_done){ 0 };
	out->error.kind = (uint32_t)wire_int(&w, 4);
	out->error.no = (uint32_t)wire_int(&w, 4);
	wire_text(&w, out->error.msg, sizeof(out->error.msg));
	out->count.files = wire_int(&w, 8);
	out->count.directories = wire_int(&w, 8);
	out->count.links = wire_int(&w, 8);
	out->count.bytes = wire_int(&w, 8);
	out->count.skipped = wire_int(&w, 8);
	return wire_done(&w, "result of files", e);
}

void guest_forward_put(struct buf *b, const struct guest_forward *in)
{
	wire_put_int(b, in->address, 4);
	wire_put_int(b, in->port, 2);
}

int guest_forward_get(const void *p, size_t len, struct guest_forward *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_forward){ 0 };
	out->address = (uint32_t)wire_int(&w, 4);
	out->port = (uint16_t)wire_int(&w, 2);
	w.bad |= out->port == 0;
	return wire_done(&w, "forward", e);
}
