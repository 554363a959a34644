// SPDX-License-Identifier: MIT
// Many byte streams over one virtio-serial port: what stands in for virtio-vsock where the VMM is
// QEMU. One symmetric engine: mvm-fc-qemu is the host end, mvm-guestd the guest end.
//
// Wire: frames of a 20-byte little-endian header and at most MUX_PAYLOAD bytes,
//	u32 magic | u32 session | u8 type | u8 0 | u16 len | u32 conn | u32 crc
// where crc is the CRC-32 of the header, its crc being 0, and the payload. Types:
// HELLO (payload: 8-byte nonce; host to guest), HELLO_ACK (the nonce back), OPEN (payload: u32
// port), OPEN_OK, DATA, CREDIT (payload: u32 bytes), EOF (one direction ended), RESET. The host
// picks the session number from the nonce. Connections made by the host have even numbers, by the
// guest odd ones.
//
// A port keeps stale bytes: after a restore the guest may be in the middle of an old frame, and old
// bytes of the guest may come first. So the host starts with MUX_PAYLOAD + header zero bytes and
// HELLO, repeated (after 20 ms, then ever later, at last every 200 ms) until HELLO_ACK with its
// nonce; it discards all before that. The
// guest delivers only whole frames of the present session with a right checksum; after a bad one it
// scans for the next HELLO. A new HELLO ends the old session: every connection of it is closed.
// A guest without a session says so once a second (HELLO_ACK with session and nonce 0), so that a
// restarted agent gets a new one; a zero byte between frames is filler.
//
// Limits: MUX_CONNS connections, MUX_WINDOW bytes in flight per connection and direction (credit),
// so that one peer that does not read stops only its own stream.
//
// Each connection is a stream descriptor on the local side (a socket or one end of a socketpair)
// which the engine owns, reads, writes and closes.
#pragma once
#include "base/loop.h"

#define MUX_PAYLOAD 4096u
#define MUX_CONNS   1023u
#define MUX_WINDOW  65536u

enum mux_role { MUX_HOST, MUX_GUEST };

struct mux_ops {
	// The peer dials our port: returns a connected descriptor (then the engine's) or -errno,
	// which the peer sees as RESET.
	int (*dialled)(void *arg, uint32_t port);
	void (*up)(void *arg); // a session was agreed on; may be NULL
	void (*down)(
		void *arg); // the session ended (new HELLO, or the port went away); may be NULL
};

struct mux;
// port_fd: non-blocking, owned by the caller; a guest's port without a host (POLLHUP, read 0,
// EAGAIN) is polled again after 10 ms, not spun on.
int mux_new(struct loop *l, int port_fd, enum mux_role role, const struct mux_ops *ops, void *arg,
	    struct mux **ret, struct err *e) MUST_CHECK;
void mux_free(struct mux *m); // closes every connection
// Called once when the peer has taken or refused the dial, before any byte flows.
typedef void (*mux_dialled_fn)(void *arg, bool taken);
// Takes fd over also when it fails. -EAGAIN: no session yet; -ENOSPC: too many connections.
int mux_dial(struct mux *m, uint32_t port, int fd, mux_dialled_fn done, void *arg,
	     struct err *e) MUST_CHECK;
bool mux_is_up(const struct mux *m);
size_t mux_count(const struct mux *m); // connections, dials under way included
// Bytes of data so far, of all connections.
void mux_bytes(const struct mux *m, uint64_t *ret_from_peer, uint64_t *ret_to_peer);
// Closes every connection of the session and starts a new one (host: after a load).
void mux_restart(struct mux *m);
uint32_t mux_crc32(uint32_t crc, const void *data, size_t len);
