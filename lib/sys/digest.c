// SPDX-License-Identifier: MIT
// OpenSSL has a type of the name that is an enumerator here.
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/evp.h>
#undef ERR_STATE
#include "base/num.h"
#include "sys/digest.h"
#include <fcntl.h>

static void ctx_freep(EVP_MD_CTX **c)
{
	EVP_MD_CTX_free(*c);
}

static int finish(EVP_MD_CTX *c, digest_text out, struct err *e)
{
	uint8_t raw[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	if (EVP_DigestFinal_ex(c, raw, &len) != 1 || len != 32)
		return err_set(e, EIO, "libcrypto: SHA-256");
	num_to_hex(raw, len, out);
	return 0;
}

int digest_fd(int fd, digest_text out, struct err *e)
{
	cleanup(ctx_freep) EVP_MD_CTX *c = EVP_MD_CTX_new();
	cleanup_free char *block = base_alloc(1, MIB);
	ssize_t n;

	if (!c || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1)
		return err_set(e, EIO, "libcrypto: SHA-256");
	while ((n = read(fd, block, MIB)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read");
		if (EVP_DigestUpdate(c, block, (size_t)n) != 1)
			return err_set(e, EIO, "libcrypto: SHA-256");
	}
	return finish(c, out, e);
}

int digest_file(int dirfd, const char *name, digest_text out, struct err *e)
{
	cleanup_fd int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "open %s", name);
	return digest_fd(fd, out, e) < 0 ? err_wrap(e, "%s", name) : 0;
}

int digest_data(const void *data, size_t len, digest_text out, struct err *e)
{
	cleanup(ctx_freep) EVP_MD_CTX *c = EVP_MD_CTX_new();

	if (!c || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1 ||
	    EVP_DigestUpdate(c, data, len) != 1)
		return err_set(e, EIO, "libcrypto: SHA-256");
	return finish(c, out, e);
}
