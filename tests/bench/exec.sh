#!/bin/bash
# SPDX-License-Identifier: MIT
# What a command in a guest costs: the round trip through the agent, from the connect to the exit status,
# of a program that only ends, and of `/bin/true`, beside a bare CONNECT with one line echoed, on the same
# VMM, in turn, in one run, timed in-process. Where the time goes is told, too: the parts of the round trip
# as the host sees them, and what the start and the end of the same program cost that guest by themselves
# (vfork, exec, wait in a program that does nothing else). And what the tool adds: `mvm-guest exec` beside
# the same tool when it only prints its usage.
#	tests/bench/exec.sh [ROUNDS]
set -euo pipefail
rounds=${1:-9}
here=$(cd "$(dirname "$0")" && pwd)
build=$(readlink -f "${MVM_BUILD:-$here/../../build}")
if [[ ${BENCH_INSIDE-} != 1 ]]; then
	BENCH_INSIDE=1 exec unshare --net --mount --pid --fork --kill-child --mount-proc "$0" "$rounds"
fi
export MVM_BUILD=$build MVM_BIN=$build/bin PATH=$build/bin:$PATH MVM_VMM=qemu
root=$(mktemp -d /var/tmp/mvm-bench.XXXXXX)
trap 'vmm_teardown; rm -rf "$root" || { sleep 1 && rm -rf "$root"; }' EXIT
# The guest that only echoes is the one of the VMM's tests.
export BATS_TEST_DIRNAME=$here/../e2e BATS_TEST_TMPDIR=$root
# shellcheck source=/dev/null
source "$here/../e2e/vmm.bash"
vmm_image 2>/dev/null
vmm_setup
export MVM_STATE_DIR=$root/state MVM_RUN_DIR=$root/run MVM_CONFIG=$root/mvm.conf MVM_BACKEND=direct
mkdir -p "$MVM_STATE_DIR" "$MVM_RUN_DIR"
vmm_up --
configure >/dev/null
start >/dev/null
guest cpus >/dev/null

mvm-tenant create bench --net-id 9 --subnet 10.240.9.0/24 >/dev/null
mvm-pool create bench/p --flake path:/bench --profile minimal --cpus 1 --mem 128 >/dev/null
mvm-pool-build build bench/p --from "$build/test/image" >/dev/null
vm=$(mvm-instance create bench/p -o name)
mvm-instance start "$vm" >/dev/null
jail=$MVM_STATE_DIR/jails/qemu/${vm##*/}/root/run
# A program that only ends: what else a command costs is its own affair.
echo 'int main(void) { return 0; }' | musl-gcc -static -O2 -s -x c - -o "$root/nothing"
musl-gcc -static -O2 -s "$here/spawn.c" -o "$root/spawn"
mvm-guest cp "$root/nothing" "$vm:/tmp/nothing" >/dev/null
mvm-guest cp "$root/spawn" "$vm:/tmp/spawn" >/dev/null

median() { sort -n | awk '{a[NR] = $1} END {print a[int((NR + 1) / 2)]}'; }
timed() { "$build/test/guest-time" "$@"; }
walled() { # COUNT COMMAND...: the wall clock's time of each, in us
	local count=$1 begun
	shift
	for ((k = 0; k < count; k++)); do
		begun=${EPOCHREALTIME/./}
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
