#!/bin/bash
# SPDX-License-Identifier: MIT
# What `mvm instance start` costs over the same VM started by hand: the same VMM, jail, TAP and API
# calls, made with mkdir, ln, ip and curl, until the guest's agent is ready. Both in turn, in one run.
# Prints the medians, their ratio, and where the time of a start goes.
#	tests/bench/start.sh [ROUNDS]
set -euo pipefail
rounds=${1:-9}
here=$(cd "$(dirname "$0")" && pwd)
build=$(readlink -f "${MVM_BUILD:-$here/../../build}")
if [[ ${BENCH_INSIDE-} != 1 ]]; then
	BENCH_INSIDE=1 exec unshare --net --mount --pid --fork --kill-child --mount-proc "$0" "$rounds"
fi
export PATH=$build/bin:$PATH MVM_VMM=qemu
root=$(mktemp -d /var/tmp/mvm-bench.XXXXXX)
trap 'rm -rf "$root"' EXIT
export MVM_STATE_DIR=$root/state MVM_RUN_DIR=$root/run MVM_CONFIG=$root/mvm.conf MVM_BACKEND=direct
mkdir -p "$MVM_STATE_DIR" "$MVM_RUN_DIR"
ip link set lo up

mvm-tenant create bench --net-id 9 --subnet 10.240.9.0/24 >/dev/null
mvm-bridge ensure bench >/dev/null
mvm-pool create bench/p --flake path:/bench --profile minimal --cpus 1 --mem 128 >/dev/null
mvm-pool-build build bench/p --from "$build/test/image" >/dev/null
vm=$(mvm-instance create bench/p -o name)
id=${vm##*/}
now() { printf '%s' "${EPOCHREALTIME/./}"; }
median() { sort -n | awk '{a[NR] = $1} END {print a[int((NR + 1) / 2)]}'; }

by_hand() {
	local jail=$root/hand/root images=$MVM_STATE_DIR/tenants/bench/pools/p/artifacts/current uid=$1 i
	rm -rf "$root/hand"
	mkdir -p "$jail/run"
	chown "$uid:$uid" "$jail/run"
	ln "$images"/{vmlinux,initrd,rootfs.erofs} "$jail"
	ip tuntap add dev tn9i3 mode tap user "$uid" group "$uid" vnet_hdr
	ip link set tn9i3 master br-tenant-9 up
	exec 5< <("$build/test/serve-ready" "$jail/run" "$uid" 10.240.9.3/24 10.240.9.1)
	local ready=$!
	read -r -u 5
	mvm-fc-qemu --root "$jail" --uid "$uid" --gid "$uid" --id "$id" --api-sock /run/api.sock >"$root/console" 2>&1 &
	local vmm=$!
	until [[ -S $jail/run/api.sock ]]; do sleep 0.001; done
	for ((i = 0; i < ${#paths[@]}; i++)); do
		curl -sS --fail --unix-socket "$jail/run/api.sock" -X PUT -H 'Content-Type: application/json' \
			-d "${bodies[i]}" "http://localhost${paths[i]}"
	done
	wait "$ready"
	took=$(($(now) - begun))
	kill -9 "$vmm"
	wait "$vmm" 2>/dev/null || true
	until ip link del tn9i3 2>/dev/null; do sleep 0.01; done
}

mvm-instance start "$vm" >/dev/null # warms the caches and leaves launch.json
launch=$MVM_RUN_DIR/instances/$id/launch.json
mapfile -t paths < <(jq -r '.requests[].path' "$launch")
mapfile -t bodies < <(jq -c '.requests[].body' "$launch")
uid=$(jq .uid "$launch")
mvm-instance stop "$vm" >/dev/null
for ((n = 0; n < rounds; n++)); do
	begun=$(now)
	mvm-instance start "$vm" >/dev/null
	echo $((($(now) - begun) / 1000)) >>"$root/ours"
	jq -r '.stages[] | "\(.stage) \(.ms)"' "$MVM_RUN_DIR/instances/$id/start.json" >>"$root/stages"
	mvm-instance stop "$vm" >/dev/null
	begun=$(now)
	by_hand "$uid"
	echo $((took / 1000)) >>"$root/hand-ms"
done
ours=$(median <"$root/ours") hand=$(median <"$root/hand-ms")
awk -v o="$ours" -v h="$hand" 'BEGIN {printf "start ratio %.3f ours %d ms by-hand %d ms (aim 1.1)\n", o / h, o, h}'
for stage in api-up configure start ready; do
	printf 'stage %s %d ms after the launcher began\n' "$stage" \
		"$(awk -v s="$stage" '$1 == s {print $2}' "$root/stages" | median)"
done
