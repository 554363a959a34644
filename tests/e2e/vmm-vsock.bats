#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# mvm-fc-qemu's vsock: Firecracker's protocol on the host's side, a guest on the other.

load vmm

setup() {
	vmm_setup
	vmm_up --
	configure
	start
}

@test "a port is answered with OK, one that nobody serves by closing" {
	guest cpus
	[ "$(peer try 7)" = taken ]
	[ "$(peer try 99)" = refused ]
}

@test "a CONNECT before the guest is there is closed, and nothing hangs" {
	kill -9 "$VMM"
	wait "$VMM" || true
	vmm_up --
	ARGS+=' vmm-guest=late'
	configure
	start
	[ "$(peer try 7)" = refused ]
	[ "$(guest cpus)" = 1 ]
}

@test "a request that is none is closed" {
	guest cpus
	for text in $'HELLO 7\n' $'CONNECT\n' $'CONNECT x\n' $'CONNECT 4294967296\n' \
		'CONNECT 00000000000000000000000000000007'; do
		[ -z "$(peer raw "$text")" ]
	done
	# An unfinished one after two seconds.
	local since=$SECONDS
	[ -z "$(peer raw 'CONNECT 7')" ]
	((SECONDS - since >= 1 && SECONDS - since <= 30)) # before the peer itself gives up
}

@test "two hundred connections at once carry their own bytes" {
	guest cpus
	[ "$(peer echo 7 200 200000)" = 200 ]
	[ "$(guest cpus)" = 1 ]
}

@test "the guest dials a listener of the host, and is refused where there is none" {
	guest cpus
	"$MVM_BUILD/test/vsock-peer" "$J/run/v.sock_1234" take >"$J/taken" 3>&- &
	until_true 5 test -S "$J/run/v.sock_1234"
	[ "$(guest dial 1234 hello host)" = dialled ]
	until_true 5 grep -qsx 'hello host' "$J/taken"
	[ "$(guest dial 4321 anybody)" = dialled ]
	until_true 5 grep -q '^vmm-guest: refused' "$J/out"
}

@test "a listener outside of the root is out of the guest's reach" {
	guest cpus
	ln -s "$BATS_TEST_TMPDIR/outside" "$J/run/v.sock_77"
	"$MVM_BUILD/test/vsock-peer" "$BATS_TEST_TMPDIR/outside" take >/dev/null 3>&- &
	until_true 5 test -S "$BATS_TEST_TMPDIR/outside"
	[ "$(guest dial 77 hello)" = dialled ]
	until_true 5 grep -q '^vmm-guest: refused' "$J/out"
	kill %% || true
}

@test "1,023 connections are taken and no more" {
	guest cpus
	[ "$(peer open 8 1030)" = 1023 ]
	until_true 10 one_cpu # all closed again: there is room
}

@test "after a load every connection is closed and new ones are taken" {
	guest cpus
	peer watch 7 >"$J/watch" 3>&- &
	until_true 5 grep -q taken "$J/watch"
	pause
	create Full a
	kill -9 "$VMM"
	wait "$VMM" || true
	until_true 5 grep -q ended "$J/watch"
	vmm_up --
	load a true
	[ "$(guest cpus)" = 1 ]
	[ "$(peer echo 7 20 100000)" = 20 ]
}

@test "a socket path that is taken fails the start" {
	kill -9 "$VMM"
	wait "$VMM" || true
	: >"$J/run/v2.sock"
	vmm_up --
	configure
	api PUT /vsock '{"guest_cid":3,"uds_path":"/run/v2.sock"}' 400 ||
		api PUT /actions '{"action_type":"InstanceStart"}' 400
}
