// SPDX-License-Identifier: MIT
// What mux.c (port and session) and mux_conn.c (connections) share. Internal to the mux.
#pragma once
#include "base/mux.h"
#include "base/mux_wire.h"

// Local descriptors are not read while this much waits for the port. The rest of the buffer is for
// answers to the peer, which are bounded as long as it keeps to the protocol.
#define MUX_TX_BUSY 65536u
// A peer that makes us answer and does not read is not read either.
#define MUX_TX_FULL	 524288u
#define MUX_BUCKETS	 512u
#define MUX_RX		 (16 * (MUX_HEAD + MUX_PAYLOAD))
#define MUX_HELLO_MS	 20 // until the first repeat; doubles up to MUX_HELLO_MAX_MS
#define MUX_HELLO_MAX_MS 200
#define MUX_NOTICE_MS	 1000
#define MUX_REST_MS	 10

struct mux_conn {
	struct mux *m;
	struct mux_conn *next; // in its bucket
	uint32_t id;
	int fd;
	struct loop_source *src; // NULL while nothing is wanted of fd
	struct buf out;		 // from the peer, not yet taken by fd
	uint32_t credit;	 // bytes that we may send
	uint32_t window;	 // bytes that the peer may send
	uint32_t owed;		 // bytes that fd has taken, not yet given back as credit
	bool opening;		 // we have dialled and wait for the answer
	bool peer_ended;	 // the peer's EOF has come
	bool local_ended;	 // our EOF was sent
	bool orphan;		 // the peer has dropped it; fd only gets the rest of out
	mux_dialled_fn done;
	void *arg;
};

struct mux {
	struct loop *loop;
	int port;
	bool port_is_socket, port_gone;
	enum mux_role role;
	const struct mux_ops *ops;
	void *arg;
	struct loop_source *src, *hello_timer, *rest_timer;
	bool up, busy;
	int hello_ms; // until the next one
	uint32_t session;
	uint8_t nonce[MUX_NONCE];
	struct buf tx;
	uint32_t next_id;
	size_t count;
	uint64_t from_peer, to_peer;
	struct mux_conn *conns[MUX_BUCKETS];
	size_t rx_len;
	uint8_t rx[MUX_RX];
};

// Queues one frame of the session; mux_flush sends.
void mux_queue(struct mux *m, enum mux_type type, uint32_t conn, const void *data, size_t len);
void mux_flush(struct mux *m);

struct mux_conn *mux_conn_find(struct mux *m, uint32_t id);
struct mux_conn *mux_conn_new(struct mux *m, uint32_t id, int fd);
void mux_conn_arm(struct mux_conn *c);
void mux_conn_end(struct mux_conn *c); // a dial under way is told "refused"
void mux_conn_end_all(struct mux *m);
// A frame of the session that belongs to a connection; -1: the peer broke the protocol.
int mux_conn_frame(struct mux *m, const struct mux_frame *f);
