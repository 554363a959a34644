// SPDX-License-Identifier: MIT
// Versions of Firecracker: three numbers of up to three digits.
#pragma once
#include "base/err.h"

// "1.15.1" as 1015001, so that versions compare as numbers; -1 when it is not of that form.
long version_number(const char *version);
// What `PROGRAM --version` says on its first line, "Firecracker v1.15.1"; later builds log more
// after it.
int version_of_program(const char *program, char out[32], struct err *e) MUST_CHECK;
