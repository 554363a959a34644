// SPDX-License-Identifier: MIT
// SHA-256 by libcrypto (included only here), as 64 lower-case hex digits.
#pragma once
#include "base/err.h"

typedef char digest_text[65];

int digest_fd(int fd, digest_text out, struct err *e) MUST_CHECK; // from its offset to its end
int digest_file(int dirfd, const char *name, digest_text out, struct err *e) MUST_CHECK;
int digest_data(const void *data, size_t len, digest_text out, struct err *e) MUST_CHECK;
