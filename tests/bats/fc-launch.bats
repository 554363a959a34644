#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2030,SC2031
# mvm-fc-launch: what it refuses before there is a VMM, and that it *becomes* the program which
# launch.json names.

setup() {
	load helper
	load net
	net_setup
	vm=acme/web/i-0000000a uid=1879506947
	rundir=$MVM_RUN_DIR/instances/i-0000000a
	jail=$MVM_STATE_DIR/jails/qemu/i-0000000a/root
	mkdir -p "$rundir"
}

teardown() {
	net_teardown
}

launch() { within mvm-fc-launch "$@"; }

make_jail() {
	mkdir -p "$jail/run" "$jail/snap"
	chown "$uid:$uid" "$jail/run" "$jail/snap"
}

describe() { # [JQ-EXPRESSION]: a launch.json of a program that shows what it got, changed by it
	jq -nc --arg jail "$jail" --argjson uid "$uid" --arg vm "$vm" '{address: $vm, vmm: "qemu", mode: "boot",
		jail: $jail, uid: $uid, argv: ["/bin/sh", "-c", "echo became $$ ${NOTIFY_SOCKET-none}"], requests: [],
		hostname: "i-0000000a", guest_ip: "10.20.7.3", gateway_ip: "10.20.7.1", prefix: 24,
		ready_timeout_ms: 1}' | jq -c "${1:-.}" >"$rundir/launch.json"
}

@test "2: an address that is none" {
	for bad in acme acme/web ../x/i-0000000a acme/web/i-1 $vm/x ''; do
		refuses 2 launch "$bad"
	done
	refuses 2 launch
	refuses 2 launch "$vm" "$vm"
}

@test "4: nothing was prepared" {
	refuses 4 launch "$vm"
	[[ $stderr == *launch.json* ]]
	rmdir "$rundir"
	refuses 4 launch "$vm"
}

@test "1: a damaged launch.json is named, with what is wrong with it, and left as it is" {
	make_jail
	while IFS=: read -r says change; do
		describe
		jq -c "$change" "$rundir/launch.json" >"$BATS_TEST_TMPDIR/edited"
		cp "$BATS_TEST_TMPDIR/edited" "$rundir/launch.json"
		refuses 1 launch "$vm"
		[[ $stderr == *"$says"* ]]
		cmp "$BATS_TEST_TMPDIR/edited" "$rundir/launch.json"
	done <<-'END'
		more:.more = 1
		address:del(.address)
		address:.address = "acme"
		jail:.jail = "relative"
		uid:.uid = 0
		uid:.uid = 1000
		mode:.mode = "jump"
		prefix:.prefix = 8
		guest_ip:.guest_ip = "10.20.7.300"
		ready_timeout_ms:.ready_timeout_ms = 600001
		requests:.requests = [{"method": "PUT"}]
		names no program:.argv = []
		names no program:.argv = ["sh"]
	END
	describe
	truncate -s -20 "$rundir/launch.json"
	refuses 1 launch "$vm"
	[[ $stderr == *"launch.json: not JSON"* ]]
	describe
	sed -i 's/"mode"/"uid":1879506947,"mode"/' "$rundir/launch.json"
	refuses 1 launch "$vm"
	[[ $stderr == *"uid: given twice"* ]]
}

@test "1: a launch.json of another instance starts nothing" {
	make_jail
	describe '.address = "acme/web/i-0000000b"'
	refuses 1 launch "$vm"
	[[ $stderr == *"acme/web/i-0000000b"* ]]
	describe '.address = "globex/web/i-0000000a"'
	refuses 1 launch "$vm"
	[ ! -e "$rundir/start.json" ]
}

@test "a launch.json that is a link, a FIFO or too long is not read" {
	make_jail
	describe
	mv "$rundir/launch.json" "$BATS_TEST_TMPDIR/elsewhere"
	ln -s "$BATS_TEST_TMPDIR/elsewhere" "$rundir/launch.json"
	refuses 1 launch "$vm"
	rm "$rundir/launch.json"
	mkfifo "$rundir/launch.json"
	refuses 1 launch "$vm"
	rm "$rundir/launch.json"
	truncate -s 2M "$rundir/launch.json"
	refuses 1 launch "$vm"
}

@test "a jail that is not there, or whose run directory is not the VM's, starts nothing" {
	describe
	refuses 4 launch "$vm"
	make_jail
	chown 0:0 "$jail/run"
	refuses 7 launch "$vm"
	[[ $stderr == *"belongs to uid 0"* ]]
	rmdir "$jail/run"
	mkdir "$BATS_TEST_TMPDIR/outside"
	ln -s "$BATS_TEST_TMPDIR/outside" "$jail/run"
	run --separate-stderr launch "$vm"
	[[ $status != 0 && $status -lt 126 && $stderr == *run* ]]
	empty "$BATS_TEST_TMPDIR/outside"
}

@test "it becomes the program, which gets no way to the manager and finds the VM's socket bound" {
	make_jail
	describe
	NOTIFY_SOCKET=/nowhere nsenter --target "$net" --net --mount \
		mvm-fc-launch "$vm" >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
	pid=$!
	wait "$pid"
	grep -qx 'became [0-9]* none' "$BATS_TEST_TMPDIR/out"
	mapfile -t sockets < <(find "$jail/run" -type s -name 'v.sock_*' -printf '%U:%G:%m\n')
	[ "${sockets[*]}" = "$uid:$uid:600" ]
	# the helper it left behind has nobody to talk to, and says so
	eventually test -s "$rundir/start.json"
	jq -e '.error.code != ""' "$rundir/start.json"
}

@test "a program that cannot be executed is an error and no VMM" {
	make_jail
	describe '.argv = ["/no/such/program"]'
	run --separate-stderr launch "$vm"
	[[ $status != 0 && $status -lt 126 && $stderr == *"/no/such/program"* ]]
}
