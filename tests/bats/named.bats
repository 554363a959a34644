#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2034,SC2154,SC2030,SC2031
# Named snapshots and clones as far as they go without a guest: captures are made by hand. With guests:
# tests/e2e/named.bats.

setup() {
	load helper
	load net
	load snap
	snap_setup
}

teardown() {
	net_teardown
}

snapshot() { within mvm-instance snapshot "$@"; }

named() { # N NAME: with a data disk
	local dir=$snapshots/gen-$1
	mkdir "$dir"
	: >"$dir/lock"
	echo "state $1" >"$dir/vmstate"
	pages "$dir/mem" 3=7
	pages "$dir/data.ext4" 5=9
	manifest "$dir" named mem none '' "$(pages_digest content 3=7)" "$dir/mem"
	ln -s "$2" "$dir/name"
	reseal "$dir" ".name = \"$2\" | .data = {bytes: 2097152, sha256: \"$(pages_digest content 5=9)\"}"
}

owner() { # N PID START [BOOT]: of gen-N
	jq -nc --argjson pid "$2" --argjson start "$3" --arg boot "${4-$(</proc/sys/kernel/random/boot_id)}" \
		'{schema_version: 1, pid: $pid, pid_start: $start, boot_id: $boot}' >"$snapshots/gen-$1/owner.json"
}

maker() { # ADDRESS PID START: of an instance
	edit "$1" --argjson pid "$2" --argjson start "$3" --arg boot "$(</proc/sys/kernel/random/boot_id)" \
		'.maker = {pid: $pid, pid_start: $start, boot_id: $boot}'
}

swept() { within mvm-instance sweep "$@" | jq -r '.removed | join(" ")'; }

@test "3: what does not run is not kept under a name nor cloned, and both states are named" {
	for from in created stopped sleeping; do
		set_status "$vm" "$from"
		refuses_untouched 3 snapshot create "$vm" before
		[[ $stderr == *"snapshot: not from $from to a snapshot"* ]]
		refuses_untouched 3 within mvm-instance clone "$vm"
		[[ $stderr == *"clone: not from $from to a clone"* ]]
	done
}

@test "2: words that are none, and 4: who is not there" {
	for name in ../x A a--b '' -x "$(printf 'a%.0s' {1..41})"; do
		for verb in create restore rm; do
			refuses_untouched 2 snapshot "$verb" "$vm" -- "$name"
		done
		refuses_untouched 2 within mvm-instance clone "$vm" --snapshot="$name"
	done
	refuses_untouched 2 snapshot take "$vm" before
	[[ $stderr == *"create, list, restore or rm"* ]]
	for words in 'create' 'restore' 'rm'; do
		refuses 2 snapshot "$words" "$vm"
	done
	refuses 2 snapshot list "$vm" before
	refuses 2 snapshot list
	for count in 0 65 x; do
		refuses 2 within mvm-instance clone "$vm" -n "$count"
	done
	refuses 4 snapshot list acme/web/i-000000ff
	refuses 4 snapshot create acme/web/i-000000ff before
	refuses_untouched 4 snapshot restore "$vm" before
	[[ $stderr == *"no snapshot before"* ]]
	refuses_untouched 4 within mvm-instance clone "$vm" --snapshot before
}

@test "list shows the named ones alone, gc keeps them, rm removes one" {
	[ "$(snapshot list "$vm")" = '[]' ]
	named 1 before
	gen 2 3=7
	named 3 after
	run -0 --separate-stderr snapshot list "$vm"
	[ "$(jq -r 'map("\(.name) \(.ref) \(.mem_bytes) \(.data_bytes) \(.error)") | join(", ")' <<<"$output")" = \
		"before gen-1 2097152 2097152 null, after gen-3 2097152 2097152 null" ]
	run -0 snapshot list "$vm" -o table
	[[ $output == *before* ]]
	mvm-snap verify "$vm"
	rm "$snapshots/delta"
	mvm-snap gc "$vm" | jq -e 'map("\(.ref) \(.why)") == ["gen-1 named", "gen-2 unused", "gen-3 named"]'
	hold_lock "$snapshots/gen-1/lock"
	refuses 8 snapshot rm "$vm" before
	release_lock
	[ "$(snapshot rm "$vm" after | jq .changed)" = true ]
	[ "$(snapshot rm "$vm" after | jq .changed)" = false ]
	[ "$(snapshot list "$vm" | jq -r '.[].name')" = before ]
	[ "$(mvm-instance info "$vm" | jq '.capture_mib > 0')" = true ]
	[ "$(mvm-audit list acme --action SnapshotDeleted | jq -r '.[-1] | .detail + " " + .outcome')" = "after done" ]
}

@test "what is damaged is listed by its name with the cause, gone back to by nobody, and removed" {
	local manifest=$snapshots/gen-1/manifest.json
	named 3 after
	set_status "$vm" stopped
	for harm in 'printf x >>"$manifest"' 'truncate -s 40 "$manifest"' ': >"$manifest"' 'rm "$manifest"' \
		'rm "$manifest"; mkdir "$manifest"' 'flip "$manifest" -20' 'ln -sfn other "$snapshots/gen-1/name"'; do
		echo "--- $harm" >&2
		named 1 before
		eval "$harm"
		name=$(readlink "$snapshots/gen-1/name")
		run -0 --separate-stderr snapshot list "$vm"
		[ "$(jq -r 'map("\(.name) \(.ref) \(.error != null)") | join(", ")' <<<"$output")" = "$name gen-1 true, after gen-3 false" ]
		refuses_untouched 1 snapshot restore "$vm" "$name"
		[[ $stderr == *gen-1* ]]
		refuses_untouched 1 within mvm-instance clone "$vm" --snapshot "$name"
		mvm-snap gc "$vm" | jq -e 'map("\(.ref) \(.why)") == ["gen-1 damaged", "gen-3 named"]'
		hold_lock "$snapshots/gen-1/lock"
		refuses 8 snapshot rm "$vm" "$name"
		release_lock
		[ "$(snapshot rm "$vm" "$name" | jq .changed)" = true ]
		[ "$(snapshot list "$vm" | jq -r '.[].name')" = after ]
		[ ! -e "$snapshots/gen-1" ]
	done
	# without any name it may be any capture
	named 1 before
	rm "$snapshots/gen-1/name" "$manifest"
	[ "$(snapshot list "$vm" | jq -r '.[0] | "\(.name) \(.ref) \(.error != null)"')" = "null gen-1 true" ]
	[ "$(snapshot rm "$vm" before | jq .changed)" = false ]
	# and what is no name is none, wherever it leads
	for link in ../../gen-3 A "$(printf 'a%.0s' {1..80})"; do
		ln -sfn "$link" "$snapshots/gen-1/name"
		[ "$(snapshot list "$vm" | jq -r '.[0].name')" = null ]
	done
}

@test "a name that is damaged is taken all the same" {
	named 1 before
	: >"$snapshots/gen-1/manifest.json"
	set_status "$vm" running
	refuses 5 snapshot create "$vm" before
}

@test "5: a name that is taken, 6: one more than an instance may have" {
	named 1 before
	refuses_untouched 5 snapshot create "$vm" before
	[[ $stderr == *"there is a snapshot before"* ]]
	for n in {2..16}; do
		named "$n" "n$n"
	done
	refuses_untouched 6 snapshot create "$vm" another
	[[ $stderr == *"at most 16 snapshots"* ]]
}

@test "a copy of the data disk that was changed is found out, and no such file in another capture" {
	named 1 before
	mvm-snap verify "$vm" gen-1
	pages "$snapshots/gen-1/data.ext4" 5=8
	run -3 --separate-stderr mvm-snap verify "$vm" gen-1
	[[ $(jq -r '.[0].error' <<<"$output") == *"data.ext4: its digest does not fit"* ]]
	gen 2 3=7
	reseal "$snapshots/gen-2" '.data = {bytes: 4096, sha256: .vmstate.sha256}'
	[[ $(mvm-snap list "$vm" | jq -r '.[1].error') == *"data: belongs to a named capture"* ]]
	reseal "$snapshots/gen-2" 'del(.data)'
	named 3 after
	reseal "$snapshots/gen-3" '.cloned_from = "i-0000000b"'
	[[ $(mvm-snap list "$vm" | jq -r '.[2].error') == *"cloned_from"* ]]
}

@test "5: a snapshot of another machine is neither restored nor cloned, and nothing is touched" {
	named 1 before
	mkdir -p "$BATS_TEST_TMPDIR/image"
	printf '\177ELF kernel' >"$BATS_TEST_TMPDIR/image/vmlinux"
	printf 'root' >"$BATS_TEST_TMPDIR/image/rootfs.erofs"
	jq -n '{schema_version: 1, system: "x86_64-linux", profile: "minimal", kernel_release: "6.1",
		rootfs: "rootfs.erofs", init: "/init", boot_args: "console=ttyS0"}' >"$BATS_TEST_TMPDIR/image/mvm-image.json"
	within mvm-pool-build build acme/web --from "$BATS_TEST_TMPDIR/image" >/dev/null
	reseal "$snapshots/gen-1" ".machine.revision_hash = \"$(mvm-pool info acme/web | jq -r .revision)\""
	set_status "$vm" stopped
	refuses_untouched 5 snapshot restore "$vm" before
	[[ $stderr == *"machine: "*"the capture has "*", here it is "* ]]
	refuses_untouched 5 within mvm-instance clone "$vm" --snapshot before -n 2
	# its image is gone
	reseal "$snapshots/gen-1" '.machine.revision_hash = "abcdef"'
	refuses_untouched 4 snapshot restore "$vm" before
}

@test "a snapshot that was killed: its VM has ended with it, or goes on, and its draft goes" {
	set_status "$vm" running
	living
	in_flight "$vm" snapshot working "$pid"
	refuses_untouched 8 snapshot create "$vm" before
	[[ $stderr == *"busy: snapshot is working"* ]]
	kill -9 "$pid"
	wait "$pid" || true
	mkdir "$snapshots/.new-gen-1"
	within mvm-instance settle "$vm"
	[ "$(mvm-instance info "$vm" | jq -r '[.status, .last_exit, .op] | map(tostring) | join(" ")')" = "stopped killed null" ]
	mvm-snap gc "$vm" >/dev/null
	[ ! -e "$snapshots/.new-gen-1" ]
}

@test "a snapshot whose clone was killed is told, and goes with gc and sweep; of one that lives it stays" {
	living
	named 1 mine
	named 2 gone
	owner 2 "$pid" 1 # that pid, but another process
	named 3 lives
	owner 3 "$pid" "$(started_at "$pid")"
	named 4 rebooted
	owner 4 "$pid" "$(started_at "$pid")" 00000000-0000-0000-0000-000000000000
	named 5 odd
	echo '{"pid":1}' >"$snapshots/gen-5/owner.json"
	[ "$(snapshot list "$vm" | jq -r 'map("\(.name) \(.left)") | join(", ")')" = \
		"mine false, gone true, lives false, rebooted true, odd false" ]
	[ "$(mvm-snap list "$vm" | jq -c 'map(.left)')" = '[false,true,false,true,false]' ]
	[ "$(swept --dry-run)" = "$vm/gen-2 $vm/gen-4" ]
	[ "$(mvm-snap gc acme/web --dry-run | jq -r 'map("\(.ref) \(.why) \(.removed)") | join(", ")')" = \
		"i-0000000a/gen-2 clone false, i-0000000a/gen-4 clone false" ]
	mvm-snap gc "$vm" --dry-run | jq -e 'map(.why) == ["named", "unused", "named", "unused", "named"]'
	# somebody still goes on from it
	hold_lock "$snapshots/gen-2/lock"
	[ "$(swept)" = "$vm/gen-4" ]
	release_lock
	[ "$(snapshot list "$vm" | jq -r 'map(.name) | join(" ")')" = "mine gone lives odd" ]
	[ "$(mvm-snap gc acme/web | jq -r 'map("\(.ref) \(.why) \(.removed)") | join(", ")')" = "i-0000000a/gen-2 clone true" ]
	[ -z "$(swept)" ]
	kill -9 "$pid"
	wait "$pid" || true
	[ "$(mvm-snap gc "$vm" | jq -r 'map(select(.removed) | .ref) | join(" ")')" = gen-3 ]
	[ "$(snapshot list "$vm" | jq -r 'map(.name) | join(" ")')" = "mine odd" ]
}

@test "a clone that never ran goes with sweep and gc when its maker was killed, and no other" {
	for one in b c d e f; do
		instance acme/web "i-0000000$one"
	done
	living
	start=$(started_at "$pid")
	maker acme/web/i-0000000b "$pid" 1
	maker acme/web/i-0000000c "$pid" 1
	set_status acme/web/i-0000000c sleeping
	maker acme/web/i-0000000d "$pid" "$start"
	maker acme/web/i-0000000e "$pid" 1
	in_flight acme/web/i-0000000e wake starting "$pid" # somebody wakes it
	[ "$(mvm-instance info acme/web/i-0000000b | jq .maker.pid_start)" = 1 ]
	[ "$(swept --dry-run)" = "acme/web/i-0000000b acme/web/i-0000000c" ]
	[ "$(mvm-instance list acme/web | jq length)" = 6 ]
	[ "$(within mvm-snap gc acme/web --dry-run | jq -r 'map("\(.ref) \(.why) \(.removed)") | join(", ")')" = \
		"i-0000000b clone false, i-0000000c clone false" ]
	# somebody begins with it between the look and the removal
	MVM_FAULT=life-left-clone:sleep=1500@1 become_within mvm-instance sweep >"$BATS_TEST_TMPDIR/swept" 3>&- &
	local first=$!
	sleep 0.7
	in_flight acme/web/i-0000000b wake starting "$pid"
	wait "$first"
	[ "$(jq -r '.removed | join(" ")' "$BATS_TEST_TMPDIR/swept")" = acme/web/i-0000000c ]
	edit acme/web/i-0000000b '.op = null'
	[ "$(swept)" = acme/web/i-0000000b ]
	[ -z "$(swept)" ]
	[ "$(mvm-instance list acme/web | jq -r '[.[].instance_id] | sort | join(" ")')" = "i-0000000a i-0000000d i-0000000e i-0000000f" ]
	[[ $(claims) != *i-0000000[bc]* ]]
	kill -9 "$pid"
	wait "$pid" || true
	[ "$(within mvm-snap gc acme/web | jq -r 'map("\(.ref) \(.why) \(.removed)") | join(", ")')" = \
		"i-0000000d clone true, i-0000000e clone true" ]
	[ "$(mvm-instance list acme/web | jq length)" = 2 ]
}

@test "memory that several hold by hard links counts once for the tenant, whoever holds it" {
	used() { mvm-tenant info acme | jq '.usage.total_disk_mib, .pools[0].usage.total_disk_mib' | xargs; }
	local other=acme/web/i-0000000b before
	instance acme/web "${other##*/}"
	before=$(used)
	named 1 kept
	named 2 spare
	dd if=/dev/urandom of="$snapshots/gen-1/mem" bs=64K count=120 conv=fsync status=none # 7.5 MiB
	# of a restore, and of a clone
	mkdir "$snapshots/gen-3" "$pool/instances/${other##*/}/snapshots/gen-1"
	ln "$snapshots/gen-1/mem" "$snapshots/gen-3/mem"
	ln "$snapshots/gen-1/mem" "$pool/instances/${other##*/}/snapshots/gen-1/mem"
	edit "$other" '.capture_mib = 8'
	snapshot rm "$vm" spare >/dev/null
	[ "$(mvm-instance info "$vm" | jq .capture_mib)" = 8 ]
	more() { used | awk -v was="$before" '{ split(was, w); print $1 - w[1], $2 - w[2] }'; }
	[ "$(more)" = "9 9" ] # 8 and 8, less the 7 whole ones that are there once
	# its other holders have it still
	snapshot rm "$vm" kept >/dev/null
	[ "$(mvm-instance info "$vm" | jq .capture_mib) $(more)" = "8 9 9" ]
	rm -r "$snapshots/gen-3"
	edit "$vm" '.capture_mib = 0'
	[ "$(more)" = "8 8" ]
}
