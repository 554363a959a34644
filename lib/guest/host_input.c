// SPDX-License-Identifier: MIT
// What goes from here to a command: bytes, the keys that leave a session, the terminal's size.
#include "guest/host_run.h"

#include <signal.h>

void host_run_size(struct host_run *r)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct guest_size size;

	if (!r->seat.term)
		return;
	guest_term_size(r->seat.term, &size);
	guest_size_put(&b, &size);
	guest_frame_put(&r->conn->out, GUEST_TERMINAL, 0, b.data, b.len);
}

static void send_input(struct host_run *r, const char *p, size_t len)
{
	if (!len)
		return;
	guest_frame_put(&r->conn->out, GUEST_DATA, GUEST_STDIN, p, len);
	r->room[GUEST_STDIN] -= (uint32_t)len;
}

// Keys that may become the ones that detach are held back until it is clear. True: they were typed.
static bool scan_keys(struct host_run *r, const char *in, size_t len)
{
	const struct guest_keys *k = r->seat.keys;
	char out[GUEST_DATA_MAX];
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (in[i] != k->key[r->keys]) { // what was held back was no more than that
			memcpy(out + n, k->key, r->keys);
			n += r->keys;
			r->keys = 0;
		}
		if (in[i] == k->key[r->keys])
			r->keys++;
		else
			out[n++] = in[i];
		if (r->keys == k->count)
			break;
	}
	send_input(r, out, n);
	return r->keys == k->count;
}

static bool wants_keys(const struct host_run *r)
{
	return r->session && r->seat.term && r->seat.term->raw && r->seat.keys &&
	       r->seat.keys->count;
}

static void end_input(struct host_run *r)
{
	r->fd[GUEST_STDIN] = -1;
	if (r->seat.term && r->seat.term->raw)
		r->left = SIGHUP; // the terminal has gone, which is no end of input
	else
		guest_frame_put(&r->conn->out, GUEST_EOF, GUEST_STDIN, NULL, 0);
}

void host_run_input(struct host_run *r)
{
	char bytes[GUEST_DATA_MAX - GUEST_KEYS_MAX];
	size_t room = r->room[GUEST_STDIN] - r->keys;
	ssize_t n = read(r->fd[GUEST_STDIN], bytes, MIN(sizeof(bytes), room));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		end_input(r);
	else if (wants_keys(r))
		r->detached = scan_keys(r, bytes, (size_t)n);
	else
		send_input(r, bytes, (size_t)n);
}
