#!/bin/sh
# SPDX-License-Identifier: MIT
# The table against mvm-fc-qemu as the launcher runs it: confined, every path below --root.
exec env FC_API_OPTIONS='--jail 71000' "$(dirname "$0")/run.sh" "${MVM_BIN:?}/mvm-fc-qemu" \
	"${MVM_BUILD:?}/test/image/vmlinux" "$MVM_BUILD/test/image/initrd"
