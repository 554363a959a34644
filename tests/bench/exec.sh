#!/bin/bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154 # what bench.bash sets
# What a command in a guest costs: the round trip through the agent, from the connect to the exit status,
# of a program that only ends, and of `/bin/true`, beside a bare CONNECT with one line echoed, on the same
# VMM, in turn, in one run, timed in-process. Where the time goes is told, too: the parts of the round trip
# as the host sees them, and what the start and the end of the same program cost that guest by themselves
# (vfork, exec, wait in a program that does nothing else). And what the tool adds: `mvm-guest exec` beside
# the same tool when it only prints its usage.
#	tests/bench/exec.sh [ROUNDS]
set -euo pipefail
rounds=${1:-9}
# shellcheck source=tests/bench/bench.bash disable=SC1091
source "$(dirname "$0")/bench.bash"
export MVM_BUILD=$build MVM_BIN=$build/bin MVM_VMM=qemu
# shellcheck disable=SC2317 # called at the end
end() { vmm_teardown; }
# The guest that only echoes is the one of the VMM's tests.
export BATS_TEST_DIRNAME=$here/../e2e BATS_TEST_TMPDIR=$root
# shellcheck source=/dev/null
source "$here/../e2e/vmm.bash"
vmm_image 2>/dev/null
vmm_setup
vmm_up --
configure >/dev/null
start >/dev/null
guest cpus >/dev/null

vm=$(new_guest bench 9)
mvm-instance start "$vm" >/dev/null
jail=$MVM_STATE_DIR/jails/qemu/${vm##*/}/root/run
# A program that only ends: what else a command costs is its own affair.
echo 'int main(void) { return 0; }' | musl-gcc -static -O2 -s -x c - -o "$root/nothing"
musl-gcc -static -O2 -s "$here/spawn.c" -o "$root/spawn"
mvm-guest cp "$root/nothing" "$vm:/tmp/nothing" >/dev/null
mvm-guest cp "$root/spawn" "$vm:/tmp/spawn" >/dev/null

timed() { "$build/test/guest-time" "$@"; }
walled() { # COUNT COMMAND...: the wall clock's time of each, in us
	local count=$1 begun
	shift
	for ((k = 0; k < count; k++)); do
		begun=${EPOCHREALTIME/./} # no fork within what is timed
		"$@" >/dev/null
		echo $((${EPOCHREALTIME/./} - begun))
	done
}
for ((n = 0; n < rounds; n++)); do
	timed "$J/run" echo 7 60 >>"$root/echo"
	timed "$jail" exec 60 /tmp/nothing >>"$root/nothing.us"
	timed "$jail" exec 60 /bin/true >>"$root/exec"
	timed "$jail" stages 60 /tmp/nothing >>"$root/stages"
	mvm-guest exec -n "$vm" -- /tmp/spawn 60 /tmp/nothing >>"$root/spawned"
	mvm-guest exec -n "$vm" -- /tmp/spawn 60 /bin/true >>"$root/spawned.true"
	walled 25 mvm-guest exec -n "$vm" -- /tmp/nothing >>"$root/tool"
	walled 25 mvm-guest --help >>"$root/usage"
done
echo=$(median <"$root/echo") exec=$(median <"$root/exec") nothing=$(median <"$root/nothing.us")
stage() { cut -d' ' -f"$1" "$root/stages" | median; }
awk -v n="$nothing" -v o="$exec" -v h="$echo" -v s="$(median <"$root/spawned")" \
	-v t="$(median <"$root/spawned.true")" 'BEGIN {
	printf "exec of a program that only ends: ratio %.2f, %d us beside a bare CONNECT echo of %d us (aim 2)\n", n / h, n, h
	printf "exec of /bin/true, which is a busybox: ratio %.2f, %d us\n", o / h, o
	printf "vfork, exec and end alone, in that guest: of the first %d us, of /bin/true %d us\n", s, t }'
printf 'of the first: connection %d us, until STARTED %d us, until EXIT %d us, close %d us\n' \
	"$(stage 1)" "$(stage 2)" "$(stage 3)" "$(stage 4)"
printf 'mvm-guest exec of the program that only ends: %d us; mvm-guest --help: %d us\n' \
	"$(median <"$root/tool")" "$(median <"$root/usage")"
mvm-instance destroy --yes "$vm" >/dev/null
