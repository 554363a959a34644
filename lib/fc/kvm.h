// SPDX-License-Identifier: MIT
// KVM is usable when /dev/kvm opens and, on x86, the CPU shows a virtualisation flag: stock kernels
// hang or die on a KVM that has none.
#pragma once
#include "base/base.h"

// why: which of the two is missing, "" when usable
bool kvm_usable(char why[200]);
