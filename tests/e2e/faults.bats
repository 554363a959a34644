# SPDX-License-Identifier: MIT
# Tools killed in the middle: whatever is left, repeating the verb goes on and nothing is lost.

load e2e

teardown() {
	nothing_left
}

@test "start killed after the op was written: a repeat starts" {
	vm=$(new_instance)
	killed_at life-start-asked mvm-instance start "$vm"
	[[ $(field "$vm" .op.stage) == asked ]]
	up "$vm"
	is_status "$vm" running
	[[ $(field "$vm" .op) == null ]]
	mvm-instance destroy --yes "$vm"
}

@test "stop killed at each of its points: a repeat stops" {
	vm=$(new_instance)
	up "$vm"
	killed_at life-stop-asked mvm-instance stop "$vm"
	mvm-instance stop "$vm"
	is_status "$vm" stopped
	mvm-instance destroy --yes "$vm"
}

# The backend's own finish is killed, where it has its environment from who starts it.
@test "a finish killed before it has released is brought to its end by who asked for that" {
	vm=$(new_instance)
	MVM_FAULT=life-finish-release:kill up "$vm"
	mvm-instance stop "$vm"
	is_status "$vm" stopped
	[[ $(field "$vm" '.unreleased // false') == false ]]
	no_strays
	MVM_FAULT=life-finish-release:kill up "$vm"
	mvm-instance sleep "$vm"
	is_status "$vm" sleeping
	[[ $(field "$vm" '.unreleased // false') == false ]]
	no_strays
	mvm-instance destroy --yes "$vm"
}

@test "destroy killed at each of its points: a repeat ends it" {
	for point in life-destroy-stopped life-destroy-forgotten; do
		vm=$(new_instance)
		up "$vm"
		killed_at "$point" mvm-instance destroy --yes "$vm"
		mvm-instance destroy --yes "$vm"
		run -4 mvm-instance info "$vm"
		no_strays
	done
}

@test "the supervisor killed leaves no VMM, and the instance starts again" {
	vm=$(new_instance)
	up "$vm"
	pid=$(vmm_pid "$vm")
	if [[ ${MVM_RING:-e2e} == e2e ]]; then
		read -r sup _ <"$MVM_RUN_DIR/instances/${vm##*/}/sup.lock"
		kill -9 "$sup"
	else
		kill -9 "$pid"
	fi
	wait_until 3 gone "$pid"
	up "$vm"
	mvm-guest exec "$vm" -- true
	mvm-instance destroy --yes "$vm"
}

@test "two starts at once: one works, the other is told so or finds it running" {
	vm=$(new_instance)
	mvm-instance start "$vm" 3>&- &
	first=$!
	mvm-instance start "$vm" && second=0 || second=$?
	wait "$first" && first=0 || first=$?
	((first == 0 || second == 0))
	((first == 0 || first == 8))
	((second == 0 || second == 8))
	wait_until 5 is_status "$vm" running
	mvm-instance destroy --yes "$vm"
}
