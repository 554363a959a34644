#!/bin/bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154 # what bench.bash sets
# What `mvm instance wake` costs over the same capture loaded by hand: the same VMM, jail, TAP and API calls,
# made with mkdir, cp, ip and curl, each until the first command in the guest has ended. By hand nothing is
# compared, repaired, given or thawed: the capture was taken of a guest that was not told. Both in turn, in
# one run. Then: wakes of a guest of 256 MiB and of one of 2 GiB that have done the same, what their second
# sleep wrote, and where the time of a wake goes.
#	tests/bench/wake.sh [ROUNDS]
# On a machine with KVM MVM_VMM=firecracker has the same done with Firecracker and its jailer, which lie in
# MVM_FIRECRACKER_DIR.
set -euo pipefail
rounds=${1:-9}
# shellcheck source=tests/bench/bench.bash disable=SC1091
source "$(dirname "$0")/bench.bash"
export MVM_VMM=${MVM_VMM:-qemu} MVM_SPARE_TAPS=0 # by hand each TAP is made anew
[[ $MVM_VMM == qemu ]] || mvm-vmm install --from "${MVM_FIRECRACKER_DIR:?}" >/dev/null

api() { # SOCKET METHOD PATH BODY
	curl -sS --fail --unix-socket "$1" -X "$2" -H 'Content-Type: application/json' -d "$4" "http://localhost$3"
}

launch_of() { # ADDRESS JQ
	jq -r "$2" "$MVM_RUN_DIR/instances/${1##*/}/launch.json"
}

# What is in the jail of a guest that runs, with a capture that was taken with nothing else said to it.
take_by_hand() { # ADDRESS
	local jail from name
	jail=$(launch_of "$1" .jail)
	api "$jail/run/api.sock" PATCH /vm '{"state":"Paused"}'
	api "$jail/run/api.sock" PUT /snapshot/create \
		'{"snapshot_type":"Full","snapshot_path":"/snap/vmstate","mem_file_path":"/snap/mem"}'
	mkdir "$root/kept"
	cp -a --sparse=always "$jail"/{snap/vmstate,snap/mem,rootfs.erofs} "$root/kept"
	launch_of "$1" '.binds[] | "\(.from) \(.name)"' >"$root/binds"
	while read -r from name; do
		cp "$from" "$root/kept/$name"
	done <"$root/binds"
	chmod 444 "$root/kept"/*
	rm "$jail"/snap/*
	api "$jail/run/api.sock" PATCH /vm '{"state":"Resumed"}'
}

run_vmm() { # DIR ID UID
	if [[ $MVM_VMM == firecracker ]]; then
		set -- "$(mvm-vmm choose | jq -r .jailer)" --id "$2" --exec-file "$(mvm-vmm choose | jq -r .program)" \
			--uid "$3" --gid "$3" --chroot-base-dir "$root/hand" -- --api-sock /run/api.sock
	else
		set -- mvm-fc-qemu --root "$1" --uid "$3" --gid "$3" --id "$2" --api-sock /run/api.sock
	fi
	exec "$@" >"$root/console" 2>&1
}

by_hand() { # ID UID
	local jail=$root/hand/$MVM_VMM/$1/root uid=$2 vmm
	rm -rf "$root/hand"
	mkdir -p "$jail/run"
	mkfifo "$jail/run/metrics"
	chown "$uid:$uid" "$jail/run" "$jail/run/metrics"
	exec 6<>"$jail/run/metrics"
	ln "$root/kept"/* "$jail"
	ip tuntap add dev tn9i3 mode tap user "$uid" group "$uid" vnet_hdr
	ip link set tn9i3 master br-tenant-9 up
	run_vmm "$jail" "$1" "$uid" &
	vmm=$!
	until [[ -S $jail/run/api.sock ]]; do sleep 0.001; done
	api "$jail/run/api.sock" PUT /metrics '{"metrics_path":"/run/metrics"}'
	api "$jail/run/api.sock" PUT /snapshot/load '{"snapshot_path":"/vmstate","mem_backend":
		{"backend_path":"/mem","backend_type":"File"},"track_dirty_pages":true,"resume_vm":true}'
	# refused until the guest has seen that its VMM is another one
	until "$build/test/guest-time" "$jail/run" exec 1 /bin/true >/dev/null 2>&1; do :; done
	took=$(($(now) - begun))
	kill -9 "$vmm"
	wait "$vmm" 2>/dev/null || true
	until ip link del tn9i3 2>/dev/null; do sleep 0.01; done
}

wake_timed() { # ADDRESS
	local begun
	begun=$(now)
	mvm-instance wake "$1" >/dev/null
	mvm-guest exec "$1" -- /bin/true
	echo $((($(now) - begun) / 1000))
	[[ $(mvm-instance info "$1" | jq .cold) == null ]]
}

vm=$(new_guest bench 9)
mvm-instance start "$vm" >/dev/null
uid=$(launch_of "$vm" .uid)
mvm-guest exec "$vm" -- /bin/true
take_by_hand "$vm"
mvm-instance sleep "$vm" >/dev/null
for ((n = 0; n < rounds; n++)); do
	wake_timed "$vm" >>"$root/ours"
	mvm-instance explain "$vm" | jq -r '.start.stages[] | "\(.stage) \(.ms)"' >>"$root/stages"
	mvm-instance sleep "$vm" >/dev/null
	begun=$(now)
	by_hand "${vm##*/}" "$uid"
	echo $((took / 1000)) >>"$root/hand-ms"
done
mvm-instance destroy --yes "$vm" >/dev/null
ours=$(median <"$root/ours") hand=$(median <"$root/hand-ms")
awk -v o="$ours" -v h="$hand" 'BEGIN {printf "wake to the first command: ratio %.2f ours %d ms by-hand %d ms (aim 1.3)\n", o / h, o, h}'
awk '!n[$1]++ {print $1}' "$root/stages" | while read -r stage; do
	printf 'stage %s %d ms after the launcher began\n' "$stage" \
		"$(awk -v s="$stage" '$1 == s {print $2}' "$root/stages" | median)"
done

small=$(new_guest small 10 256) large=$(new_guest large 11 2048)
for vm in "$small" "$large"; do
	mvm-instance start "$vm" >/dev/null
	mvm-guest exec "$vm" -- /bin/true
	mvm-instance sleep "$vm" >/dev/null
done
for ((n = 0; n < rounds; n++)); do
	for vm in "$small" "$large"; do
		wake_timed "$vm" >>"$root/${vm%%/*}"
		mvm-instance sleep "$vm" >/dev/null
		mvm-instance explain "$vm" | jq '.sleep.bytes' >>"$root/${vm%%/*}.delta"
	done
done
awk -v l="$(median <"$root/large")" -v s="$(median <"$root/small")" \
	'BEGIN {printf "wake of 2 GiB beside 256 MiB: ratio %.2f, %d ms and %d ms (aim 1.2)\n", l / s, l, s}'
for vm in "$small" "$large"; do
	awk -v b="$(median <"$root/${vm%%/*}.delta")" -v m="$([[ $vm == "$small" ]] && echo 256 || echo 2048)" \
		'BEGIN {printf "delta of an idle guest of %d MiB after a wake: %.1f MiB, %.2f %% of it (aim 5)\n", m, b / 2^20, b / 2^20 / m * 100}'
done
