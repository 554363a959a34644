// SPDX-License-Identifier: MIT
// /etc/mvm/mvm.conf: lines of "key = value", "#" comments. An environment variable MVM_<KEY> wins.
// Keys: vmm (auto|firecracker|qemu), backend (auto|systemd|direct), firecracker_version,
// firecracker_sha256 (of the release's tarball), spare_taps, metad_user (who mvm-metad runs as).
#pragma once
#include "base/err.h"

#define CONF_VALUE 256
// out: the value, or fallback when neither names it. An unreadable file, a line that is no pair, or
// an unknown key is an error: a setting that is silently ignored is worse than none.
int conf_get(const char *key, const char *fallback, char out[CONF_VALUE], struct err *e) MUST_CHECK;

#define CONF_SPARE_TAPS_MAX 64
// How many prepared TAPs each tenant is to have in store: 0 to 64, 4 when nothing says otherwise.
int conf_spare_taps(unsigned *ret, struct err *e) MUST_CHECK;
