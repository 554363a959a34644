#!/bin/bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154 # what bench.bash sets
# What `mvm instance start` costs over the same VM started by hand: the same VMM, jail, TAP and API
# calls, made with mkdir, ln, ip and curl, until the guest's agent is ready. Both in turn, in one run.
# Prints the medians, their ratio, and where the time of a start goes.
#	tests/bench/start.sh [ROUNDS]
set -euo pipefail
rounds=${1:-9}
# shellcheck source=tests/bench/bench.bash disable=SC1091
source "$(dirname "$0")/bench.bash"
export MVM_VMM=qemu MVM_SPARE_TAPS=0 # by hand each TAP is made anew

vm=$(new_guest bench 9)
mvm-bridge ensure bench >/dev/null
id=${vm##*/}

by_hand() {
	local jail=$root/hand/root images=$MVM_STATE_DIR/tenants/bench/pools/p/artifacts/current uid=$1 i
	rm -rf "$root/hand"
	mkdir -p "$jail/run"
	mkfifo "$jail/run/metrics"
	chown "$uid:$uid" "$jail/run" "$jail/run/metrics"
	exec 6<>"$jail/run/metrics"
	ln "$images"/{vmlinux,initrd,rootfs.erofs} "$root/drives"/* "$jail"
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
mkdir "$root/drives" # of the guest's own, which go with it
jq -r '.binds[].from' "$launch" | xargs -d '\n' cp -t "$root/drives"
chmod 444 "$root/drives"/*
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
