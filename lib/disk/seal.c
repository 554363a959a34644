// SPDX-License-Identifier: MIT
// OpenSSL has a type of the name that is an enumerator here.
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/evp.h>
#undef ERR_STATE
#include "disk/seal.h"

#include <endian.h>
#include <sys/random.h>

#define NONCE 12u
// Where the parts of the head begin.
enum {
	AT_ID = 8,
	AT_EPOCH = 16,
	AT_WRAP_NONCE = 24,
	AT_WRAP = 36,
	AT_WRAP_TAG = 68,
	AT_NONCE = 84
};
enum { AT_LENGTH = 96 };
#define BOUND AT_WRAP_NONCE // of the head, what both ciphers authenticate

static const char magic[8] = { 'M', 'V', 'M', 'S', 'E', 'A', 'L', '1' };

static void ctx_freep(EVP_CIPHER_CTX **c)
{
	EVP_CIPHER_CTX_free(*c); // wipes what it held
}

struct gcm {
	const uint8_t *key, *nonce;
	const uint8_t *head; // BOUND bytes
	const struct seal_place *at;
	uint8_t *tag;
};

static bool bind_place(EVP_CIPHER_CTX *c, const struct gcm *g, bool seal)
{
	const struct seal_place *at = g->at;
	int n;

	// With their NULs: the texts cannot run into each other.
	return EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, g->key, g->nonce, seal) == 1 &&
	       EVP_CipherUpdate(c, NULL, &n, g->head, BOUND) == 1 &&
	       EVP_CipherUpdate(c, NULL, &n, (const uint8_t *)at->node_id,
				(int)strlen(at->node_id) + 1) == 1 &&
	       EVP_CipherUpdate(c, NULL, &n, (const uint8_t *)at->tenant,
				(int)strlen(at->tenant) + 1) == 1;
}

// True when it was done; of an opening: and what came out is what was sealed.
static bool gcm(const struct gcm *g, bool seal, const uint8_t *in, size_t len, uint8_t *out)
{
	cleanup(ctx_freep) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	uint8_t none[16];
	int n;

	if (!c || !bind_place(c, g, seal))
		return false;
	if (len && EVP_CipherUpdate(c, out, &n, in, (int)len) != 1)
		return false;
	if (!seal && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, SEAL_TAG, g->tag) != 1)
		return false;
	if (EVP_CipherFinal_ex(c, none, &n) != 1)
		return false;
	return !seal || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, SEAL_TAG, g->tag) == 1;
}

static int draw(void *out, size_t len, struct err *e)
{
	return getrandom(out, len, 0) == (ssize_t)len ? 0 : err_sys(e, "random numbers");
}

static void put_head(const struct seal_key *k, const struct seal_place *at, size_t len,
		     uint8_t head[SEAL_HEAD])
{
	uint64_t epoch = htole64(at->epoch);
	uint32_t length = htole32((uint32_t)len);

	memcpy(head, magic, sizeof(magic));
	memcpy(head + AT_ID, k->id, SEAL_ID);
	memcpy(head + AT_EPOCH, &epoch, sizeof(epoch));
	memcpy(head + AT_LENGTH, &length, sizeof(length));
}

static int close_with(const struct seal_key *k, const struct seal_place *at,
		      const struct safe *plain, uint8_t *head, uint8_t *body, struct safe *data_key,
		      struct err *e)
{
	const struct gcm wrap = { k->key, head + AT_WRAP_NONCE, head, at, head + AT_WRAP_TAG };
	const struct gcm seal = { data_key->data, head + AT_NONCE, head, at, body + plain->len };

	if (draw(data_key->data, SEAL_KEY, e) < 0 || draw(head + AT_WRAP_NONCE, NONCE, e) < 0 ||
	    draw(head + AT_NONCE, NONCE, e) < 0)
		return -e->no;
	if (!gcm(&wrap, true, data_key->data, SEAL_KEY, head + AT_WRAP) ||
	    !gcm(&seal, true, plain->data, plain->len, body))
		return err_set(e, EIO, "libcrypto: AES-256-GCM");
	return 0;
}

int seal_close(const struct seal_key *k, const struct seal_place *at, const struct safe *plain,
	       struct buf *out, struct err *e)
{
	cleanup_safe struct safe data_key = SAFE_NONE;
	cleanup_free uint8_t *text = NULL;

	if (plain->len > SEAL_MAX - SEAL_HEAD - SEAL_TAG)
		return err_kind(e, ERR_QUOTA, "%zu bytes are too many to seal", plain->len);
	text = base_alloc(SEAL_HEAD + plain->len + SEAL_TAG, 1);
	put_head(k, at, plain->len, text);
	if (safe_more(&data_key, SEAL_KEY, e) < 0 ||
	    close_with(k, at, plain, text, text + SEAL_HEAD, &data_key, e) < 0)
		return -e->no;
	buf_add(out, text, SEAL_HEAD + plain->len + SEAL_TAG);
	return 0;
}

static int damaged(struct err *e, const char *why)
{
	return err_kind(e, ERR_DAMAGED, "%s", why);
}

// *ret_len: of the ciphertext.
static int check_head(const struct seal_key *k, const struct seal_place *at, const uint8_t *head,
		      size_t len, size_t *ret_len, struct err *e)
{
	uint64_t epoch;
	uint32_t length;

	if (len < SEAL_HEAD + SEAL_TAG || len > SEAL_MAX)
		return damaged(e, "not the size of a sealed file");
	if (memcmp(head, magic, sizeof(magic)) != 0)
		return damaged(e, "not a sealed file of a version known here");
	memcpy(&epoch, head + AT_EPOCH, sizeof(epoch));
	memcpy(&length, head + AT_LENGTH, sizeof(length));
	if (le64toh(epoch) != at->epoch)
		return damaged(e, "of another epoch");
	if (le32toh(length) != len - SEAL_HEAD - SEAL_TAG)
		return damaged(e, "cut short, or too long");
	if (memcmp(head + AT_ID, k->id, SEAL_ID) != 0) {
		(void)err_kind(e, ERR_DENIED, "sealed with another key than this node has");
		return err_hint(e, "put the key back with which it was sealed");
	}
	*ret_len = le32toh(length);
	return 0;
}

static int open_with(const struct seal_key *k, const struct seal_place *at, const uint8_t *sealed,
		     size_t len, uint8_t *data_key, uint8_t *plain, struct err *e)
{
	uint8_t wrap_tag[SEAL_TAG], tag[SEAL_TAG];
	const uint8_t *body = sealed + SEAL_HEAD;
	const struct gcm wrap = { k->key, sealed + AT_WRAP_NONCE, sealed, at, wrap_tag };
	const struct gcm seal = { data_key, sealed + AT_NONCE, sealed, at, tag };

	memcpy(wrap_tag, sealed + AT_WRAP_TAG, SEAL_TAG);
	memcpy(tag, body + len, SEAL_TAG);
	if (!gcm(&wrap, false, sealed + AT_WRAP, SEAL_KEY, data_key) ||
	    !gcm(&seal, false, body, len, plain))
		return damaged(e, "is not what was sealed here");
	return 0;
}

int seal_open(const struct seal_key *k, const struct seal_place *at, const void *sealed, size_t len,
	      struct safe *plain, struct err *e)
{
	cleanup_safe struct safe data_key = SAFE_NONE, to = SAFE_NONE;

	if (check_head(k, at, sealed, len, &len, e) < 0 || safe_more(&data_key, SEAL_KEY, e) < 0 ||
	    safe_more(&to, len, e) < 0 || // room for none is none
	    open_with(k, at, sealed, len, data_key.data, to.data, e) < 0)
		return -e->no;
	to.len = len;
	safe_free(plain);
	*plain = to;
	to = (struct safe)SAFE_NONE;
	return 0;
}
