#!/bin/bash
# SPDX-License-Identifier: MIT
# What a guest that runs wild costs its neighbour: the 99th percentile of `/bin/true` in a guest of one
# tenant while the only guest of another does nothing, and while it burns its CPU and forks without end; in
# turn, in one run. On the direct backend, so limits are there only where the machine has control groups of
# version 2 with controllers; which of both it was is told.
#	tests/bench/neighbour.sh [ROUNDS [EXECS]]
set -euo pipefail
rounds=${1:-5} execs=${2:-200}
here=$(cd "$(dirname "$0")" && pwd)
build=$(readlink -f "${MVM_BUILD:-$here/../../build}")
if [[ ${BENCH_INSIDE-} != 1 ]]; then
	BENCH_INSIDE=1 exec unshare --net --mount --pid --fork --kill-child --mount-proc "$0" "$rounds" "$execs"
fi
export PATH=$build/bin:$PATH MVM_VMM=qemu MVM_BACKEND=direct
root=$(mktemp -d /var/tmp/mvm-bench.XXXXXX)
trap 'rm -rf "$root" || { sleep 1 && rm -rf "$root"; }' EXIT
export MVM_STATE_DIR=$root/state MVM_RUN_DIR=$root/run MVM_CONFIG=$root/mvm.conf
mkdir -p "$MVM_STATE_DIR" "$MVM_RUN_DIR"
ip link set lo up

guest() { # TENANT NET-ID: makes and starts its guest and prints the address
	mvm-tenant create "$1" --net-id "$2" --subnet "10.240.$2.0/24" >/dev/null
	mvm-pool create "$1/p" --flake path:/bench --profile minimal --cpus 1 --mem 128 >/dev/null
	mvm-pool-build build "$1/p" --from "$build/test/image" >/dev/null
	local vm
	vm=$(mvm-instance create "$1/p" -o name)
	mvm-instance start "$vm" >/dev/null
	echo "$vm"
}
median() { sort -n | awk '{a[NR] = $1} END {print a[int((NR + 1) / 2)]}'; }
p99() { "$build/test/guest-time" "$jail" exec "$execs" /bin/true | cut -d' ' -f2; }

quiet=$(guest quiet 8)
wild=$(guest wild 9)
jail=$MVM_STATE_DIR/jails/qemu/${quiet##*/}/root/run
p99 >/dev/null # the first ones load the program
for ((n = 0; n < rounds; n++)); do
	p99 >>"$root/quiet"
	# shellcheck disable=SC2016 # it is the guest's shell's
	mvm-guest exec "$wild" --session "burn$n" -d -- sh -c \
		'(while :; do :; done) & b() { b | b & b; }; while :; do b; sleep 1; done' >/dev/null
	sleep 1
	p99 >>"$root/wild"
	# The guest that forks does not obey any more: a new one for the next round.
	mvm-instance stop --force "$wild" >/dev/null
	mvm-instance start "$wild" >/dev/null
done
awk -v q="$(median <"$root/quiet")" -v w="$(median <"$root/wild")" \
	-v l="$(mvm-instance stats "$quiet" | jq -r .limits)" 'BEGIN {
	printf "exec p99 beside a wild neighbour ratio %.2f wild %d us quiet %d us (aim 2; limits: %s)\n", w / q, w, q, l }'
mvm-instance stop --force "$quiet" "$wild" >/dev/null
