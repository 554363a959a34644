#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the table against a VMM, in a network namespace of its own (the rows open TAP devices).
#
#	tests/fc-api/run.sh VMM KERNEL INITRD [OPTION-OF-THE-VMM...]
#
# KERNEL is an ELF image; INITRD anything whose /init stays. FC_API names the runner where it is
# not in build/test, FC_API_OPTIONS adds to its own options, FC_API_SLOW multiplies its time-outs.
set -eu

if [ $# -lt 3 ]; then
	echo "usage: $0 VMM KERNEL INITRD [OPTION-OF-THE-VMM...]" >&2
	exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
runner=${FC_API:-${MVM_BUILD:-$here/../../build}/test/fc-api}
vmm=$1 kernel=$2 initrd=$3
shift 3

# Not root yet: then root of a user namespace, which is enough for TAP devices.
if [ "$(id -u)" = 0 ]; then ns=-n; else ns=-rn; fi
# shellcheck disable=SC2086 # options are words
exec unshare $ns "$runner" ${FC_API_OPTIONS-} --kernel "$kernel" --initrd "$initrd" \
	"$here/rows.txt" "$vmm" "$@"
