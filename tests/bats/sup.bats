#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2030,SC2031
# mvm-sup and the script in front of it, as far as they go without a guest.

setup() {
	load helper
	load net
	net_setup
	export MVM_BACKEND=direct MVM_VMM=qemu
	vm=acme/web/i-0000000a
	rundir=$MVM_RUN_DIR/instances/i-0000000a
	backend=$MVM_BIN/../lib/mvm/backend
}

teardown() {
	net_teardown
}

sup() { within mvm-sup "$@"; }

one_instance() {
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
}

@test "where nothing ever ran everything is inactive, and nothing is made by asking" {
	[ "$(sup status "$vm")" = inactive ]
	[ -z "$(sup list)" ]
	run -0 sup stop "$vm"
	run -0 sup stop --force "$vm"
	[ ! -e "$MVM_STATE_DIR" ] && [ ! -e "$MVM_RUN_DIR" ]
}

@test "4: an instance that is not there is not started, and nothing is made for it" {
	refuses 4 sup start "$vm"
	[ ! -e "$MVM_STATE_DIR" ] && [ ! -e "$MVM_RUN_DIR" ]
}

@test "2: addresses and numbers that are none" {
	for bad in acme acme/web ../x/i-0000000a acme/web/i-1 acme/web/../i-0000000a $vm/x ''; do
		for verb in start stop status forget; do
			refuses 2 sup $verb "$bad"
		done
	done
	for limits in "0 100 10" "128 0 10" "128 100 0" "-1 100 10" "128 1e3 10" "128 100 1048577" "16777217 100 10"; do
		# shellcheck disable=SC2086
		refuses 2 sup limits $vm $limits
	done
	refuses 2 sup limits "$vm" 128 100
	refuses 2 sup list acme
	refuses 2 sup
	refuses 2 sup nonsense
	[ ! -e "$MVM_STATE_DIR" ]
}

@test "a held lock is a life, whatever is written in it; without it nothing lives" {
	mkdir -p "$rundir"
	exec 7>>"$rundir/sup.lock"
	[ "$(sup status "$vm")" = inactive ]
	flock 7
	[ "$(sup status "$vm")" = activating ]
	printf 'nonsense\n' >&7
	[ "$(sup status "$vm")" = activating ]
	printf '1 1 0 0 %s active\n' "$(</proc/sys/kernel/random/boot_id)" >"$rundir/sup.lock"
	[ "$(sup status "$vm")" = active ]
	exec 7>&-
	[ "$(sup status "$vm")" = inactive ]
	# of another boot
	printf '1 1 1 1 00000000-0000-0000-0000-000000000000 active\n' >"$rundir/sup.lock"
	[ "$(sup status "$vm")" = inactive ]
}

@test "8: a second one does not start beside the first" {
	one_instance
	mkdir -p "$rundir"
	exec 7>>"$rundir/sup.lock"
	flock 7
	refuses 8 sup start "$vm"
	exec 7>&-
}

@test "a start that fails ends with 1, tells the console, and leaves no process and nothing listed as living" {
	one_instance
	refuses 1 sup start "$vm"
	grep -q 'has no image' "$rundir/console.1"
	[ "$(sup status "$vm")" = inactive ]
	[ "$(sup list)" = "$vm inactive" ]
	[ ! -e "$rundir/notify" ]
	[ "$(within mvm-node census --strays)" = "[]" ]
	run -0 sup forget "$vm"
	[ ! -e "$rundir" ]
	run -0 sup forget "$vm"
	[ -z "$(sup list)" ]
}

@test "what lies in the run directory and is no instance of ours is not listed" {
	one_instance
	mkdir -p "$rundir" "$MVM_RUN_DIR/instances/i-000000ff" "$MVM_RUN_DIR/instances/other"
	: >"$MVM_RUN_DIR/instances/i-00000001"
	[ "$(sup list)" = "$vm inactive" ]
}

@test "a full disk behind stdout is an error" {
	one_instance
	mkdir -p "$rundir"
	for words in list "status $vm" --help "start --help"; do
		# shellcheck disable=SC2086
		to_full() { sup $words >/dev/full; }
		run -1 to_full
		[[ $output == *"No space left on device"* ]]
	done
}

@test "the script in front of it takes its verbs and nothing else" {
	one_instance
	mkdir -p "$rundir"
	[ "$(within "$backend" direct status "$vm")" = inactive ]
	[ "$(within "$backend" direct list)" = "$vm inactive" ]
	run -0 within "$backend" direct stop "$vm"
	run -0 within "$backend" direct stop "$vm" --force
	run -0 within "$backend" direct forget "$vm"
	for words in '' direct "other list" "direct nonsense" "direct start" "direct start $vm x" "direct list $vm" \
		"direct limits $vm 1 1" "direct status" "systemd start" "systemd nonsense $vm"; do
		# shellcheck disable=SC2086
		refuses 2 within "$backend" $words
	done
	refuses 2 within "$backend" direct status ../x
}
