#!/bin/bash
# SPDX-License-Identifier: MIT
# How fast files go into a guest and out of it: one of MIB mebibytes by `mvm-guest cp`, there and back,
# its digests compared, and as much by `mvm-guest exec … cat`, which is the channel without files. In the
# guest it lies in RAM, so that no drive is measured.
#	tests/bench/cp.sh [MIB]
set -euo pipefail
mib=${1:-1024}
here=$(cd "$(dirname "$0")" && pwd)
build=$(readlink -f "${MVM_BUILD:-$here/../../build}")
if [[ ${BENCH_INSIDE-} != 1 ]]; then
	BENCH_INSIDE=1 exec unshare --net --mount --pid --fork --kill-child --mount-proc "$0" "$mib"
fi
export PATH=$build/bin:$PATH
root=$(mktemp -d /var/tmp/mvm-bench.XXXXXX)
vm=
# shellcheck disable=SC2317 # called by the trap
end() {
	[[ -z $vm ]] || mvm-instance destroy --yes "$vm" >/dev/null
	rm -rf "$root"
}
trap end EXIT
export MVM_STATE_DIR=$root/state MVM_RUN_DIR=$root/run MVM_CONFIG=$root/mvm.conf MVM_BACKEND=direct
mkdir -p "$MVM_STATE_DIR" "$MVM_RUN_DIR"
ip link set lo up
mvm-tenant create bench --net-id 7 --subnet 10.240.7.0/24 >/dev/null
mvm-pool create bench/cp --flake "path:$build/test/image" --profile minimal --cpus 1 \
	--mem $((mib + 512)) >/dev/null
mvm-pool-build build bench/cp --from "$build/test/image" >/dev/null
vm=$(mvm-instance create bench/cp -o name)
mvm-instance start "$vm" >/dev/null
mvm-guest exec "$vm" -- mount -t tmpfs -o size=$((mib + 64))m none /mnt
head -c $((mib << 20)) /dev/urandom >"$root/file"
digest=$(sha256sum <"$root/file")

now() { printf '%s' "${EPOCHREALTIME/./}"; }
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
