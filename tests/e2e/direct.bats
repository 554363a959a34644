# SPDX-License-Identifier: MIT
# What can be tried only on the direct backend: its steps see the fault points in the environment,
# and its supervisor is a process of ours.

load e2e

teardown() {
	nothing_left
}

@test "a step killed at each of its points: a repeat of start goes on" {
	vm=$(new_instance)
	for point in life-prepare-taken life-prepare-tap life-prepare-drives life-prepare-jail life-commit; do
		killed_at "$point" mvm-instance start "$vm"
		mvm-instance start "$vm"
		is_status "$vm" running
		mvm-instance stop "$vm"
	done
	mvm-instance destroy --yes "$vm"
}

preparer_waits() { # at its fault point; $preparer is its pid
	preparer=$(pgrep -n -x mvm-instance --runstates T)
}

@test "something else at the API socket's place fails the start and is cleared by the next" {
	vm=$(new_instance)
	MVM_FAULT=life-prepare-jail:stop mvm-instance start "$vm" 3>&- &
	starter=$!
	socket=$MVM_STATE_DIR/jails/qemu/${vm##*/}/root/run/api.sock
	wait_until 10 preparer_waits
	test -d "${socket%/*}"
	touch "$socket"
	kill -CONT "$preparer"
	wait "$starter" && status=0 || status=$?
	((status == 1))
	wait_until 5 is_status "$vm" created
	[[ $(field "$vm" .last_exit) == start-failed ]]
	mvm-instance start "$vm"
	mvm-instance destroy --yes "$vm"
}

