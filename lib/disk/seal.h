// SPDX-License-Identifier: MIT
// Bytes at rest: AES-256-GCM under a data key of its own, which is wrapped by the node's key (the
// same cipher). Node id, tenant and epoch are authenticated with both, so that a sealed text opens
// only at its place. libcrypto's ciphers are included only here.
//
// Layout, little-endian: "MVMSEAL1" | key id 8 | u64 epoch | nonce 12, wrapped data key 32, tag 16
// | nonce 12 | u32 length | ciphertext | tag 16.
#pragma once
#include "base/buf.h"
#include "disk/safe.h"

#define SEAL_KEY  32u
#define SEAL_ID	  8u
#define SEAL_HEAD 100u
#define SEAL_TAG  16u
#define SEAL_MAX  (16 * MIB) // a sealed text

struct seal_key { // wipe it: seal_forget
	uint8_t key[SEAL_KEY];
	uint8_t id[SEAL_ID]; // tells it from others, tells nothing of it
};
#define cleanup_key cleanup(seal_forget)
void seal_forget(struct seal_key *k);
void seal_key_id(struct seal_key *k);
// The node's key: $CREDENTIALS_DIRECTORY/mvm-key when that is there, else secrets.key in the state
// directory, 0400 and ours, which is made (under the node's lock) when it is missing and make is
// set. Kind denied when it is missing otherwise, or belongs to somebody else, or has another mode.
int seal_key_load(struct seal_key *k, bool make, int wait_ms, struct err *e) MUST_CHECK;

struct seal_place {
	const char *node_id;
	const char *tenant;
	uint64_t epoch;
};
int seal_close(const struct seal_key *k, const struct seal_place *at, const struct safe *plain,
	       struct buf *out, struct err *e) MUST_CHECK;
// Kind denied when it was sealed with another key, damaged when it is not what was sealed.
int seal_open(const struct seal_key *k, const struct seal_place *at, const void *sealed, size_t len,
	      struct safe *plain, struct err *e) MUST_CHECK;
