// SPDX-License-Identifier: MIT
// The first minute of a guest that boots from an initramfs: drivers, root drive, its real root.
// Uses nothing but the C library; whatever fails is said on stderr (the console).
#pragma once
#include <stdbool.h>

// Process 1 of an initramfs made by guest-image: /modules/order is there.
bool stage1_wanted(void);
// Does not return unless it failed; then process 1 must end, which panics the kernel.
void stage1_run(void);
