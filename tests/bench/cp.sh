#!/bin/bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154 # what bench.bash sets
# How fast files go into a guest and out of it: one of MIB mebibytes by `mvm-guest cp`, there and back,
# its digests compared, and as much by `mvm-guest exec … cat`, which is the channel without files. In the
# guest it lies in RAM, so that no drive is measured.
#	tests/bench/cp.sh [MIB]
set -euo pipefail
mib=${1:-1024}
# shellcheck source=tests/bench/bench.bash disable=SC1091
source "$(dirname "$0")/bench.bash"
vm=$(new_guest bench 7 $((mib + 512)))
# shellcheck disable=SC2317 # called at the end
end() { mvm-instance destroy --yes "$vm" >/dev/null; }
mvm-instance start "$vm" >/dev/null
mvm-guest exec "$vm" -- mount -t tmpfs -o size=$((mib + 64))m none /mnt
head -c $((mib << 20)) /dev/urandom >"$root/file"
digest=$(sha256sum <"$root/file")

timed() { # WHAT COMMAND...
	local what=$1 begun spent
	shift
	begun=$(now)
	"$@" >/dev/null
	spent=$(($(now) - begun))
	printf '%-28s %5d MiB in %7d ms  %4d MiB/s\n' "$what" "$mib" $((spent / 1000)) $((mib * 1000000 / spent))
}
# shellcheck disable=SC2317 # called by timed
exec_in() { mvm-guest exec "$vm" -- sh -c 'cat >/dev/null' <"$root/file"; }
# shellcheck disable=SC2317
exec_out() { mvm-guest exec -n "$vm" -- cat /mnt/file; }

timed 'cp, into the guest' mvm-guest cp "$root/file" "$vm:/mnt/file"
[[ $(mvm-guest exec -n "$vm" -- sha256sum /mnt/file) == "${digest%-}/mnt/file" ]]
timed 'cp, out of the guest' mvm-guest cp "$vm:/mnt/file" "$root/back"
[[ $(sha256sum <"$root/back") == "$digest" ]]
timed 'exec, into the guest' exec_in
timed 'exec, out of the guest' exec_out
