#!/bin/bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154 # what bench.bash sets
# What a guest that runs wild costs its neighbour: the 99th percentile of `/bin/true` in a guest of one
# tenant while the only guest of another does nothing, and while it burns its CPU and forks without end; in
# turn, in one run. On the direct backend, so limits are there only where the machine has control groups of
# version 2 with controllers; which of both it was is told.
#	tests/bench/neighbour.sh [ROUNDS [EXECS]]
set -euo pipefail
rounds=${1:-5} execs=${2:-200}
# shellcheck source=tests/bench/bench.bash disable=SC1091
source "$(dirname "$0")/bench.bash"
export MVM_VMM=qemu

p99() { "$build/test/guest-time" "$jail" exec "$execs" /bin/true | cut -d' ' -f2; }

quiet=$(new_guest quiet 8)
wild=$(new_guest wild 9)
mvm-instance start "$quiet" >/dev/null
mvm-instance start "$wild" >/dev/null
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
