// SPDX-License-Identifier: MIT
// Asking before something is destroyed for good.
#pragma once
#include "base/buf.h"
#include "base/err.h"

// sure: the caller said --yes or --force. Else a terminal is asked (on standard error), naming what
// dies (lines of victims, may be NULL); without a terminal, kind usage. A no is ERR_FAILED.
int confirm_destroy(bool sure, const char *what, const struct buf *victims,
		    struct err *e) MUST_CHECK;
