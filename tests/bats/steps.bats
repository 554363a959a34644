#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2154,SC2030,SC2031
# The steps of a run and the verbs around them on the direct backend, as far as they go without a
# guest: records are set as a VMM would have left them.

setup() {
	load helper
	load net
	net_setup
	export MVM_BACKEND=direct MVM_VMM=qemu
	vm=acme/web/i-0000000a other=acme/web/i-0000000b
	rundir=$MVM_RUN_DIR/instances/i-0000000a
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
	instance acme/web i-0000000b
	mkdir -p "$rundir"
}

teardown() {
	net_teardown
}

step() { within mvm-instance "$@"; }
field() { mvm-instance info "$1" | jq -r "$2"; }

@test "commit records what runs and that nothing is in flight any more" {
	living
	in_flight "$vm" start starting "$pid"
	MAINPID=$pid step commit "$vm"
	[ "$(field "$vm" '[.status, .op, .vmm_process.pid, .vmm_process.pid_start] | map(tostring) | join(" ")')" = "running null $pid $(started_at "$pid")" ]
	# and only once
	MAINPID=$pid refuses_untouched 3 step commit "$vm"
	MAINPID=$pid refuses_untouched 3 step commit "$other"
}

# How a VMM ended: SERVICE_RESULT, EXIT_CODE, EXIT_STATUS, then the cause and what the console said.
@test "finish tells the cause of an end" {
	while read -r result code status cause says; do
		set_status "$vm" running
		printf '%s\n' "[ 0.1] booting" "$says" "[ 9.9] done" >"$rundir/console.1"
		SERVICE_RESULT=$result EXIT_CODE=$code EXIT_STATUS=$status step finish "$vm"
		printf '%s %s %s -> %s, wanted %s\n' "$result" "$code" "$status" "$(field "$vm" .last_exit)" "$cause" >&2
		[ "$(field "$vm" '.status + " " + .last_exit')" = "stopped $cause" ]
		jq -e --arg cause "$cause" --arg code "$code" --arg status "$status" --arg result "$result" '
			.cause == $cause and .exit_code == $code and .exit_status == $status and
			.service_result == $result and (.cause != "oom" or
			(.message | startswith("the VMM was killed: over its memory limit")))' \
			"$(dirname "$(record "$vm")")/exit.json"
	done <<-'END'
		success exited 0 guest-reboot mvm-guestd: going down: reboot
		success exited 0 guest-panic Kernel panic - not syncing: sysrq
		success exited 0 guest-reset nothing of note
		signal killed KILL killed Kernel panic in a quotation
		signal killed TERM killed
		signal killed SYS forbidden-call
		core-dump dumped SYS forbidden-call
		exit-code exited 148 forbidden-call
		core-dump dumped SEGV crashed
		exit-code exited 1 crashed
		oom-kill killed KILL oom
		timeout killed TERM timeout
	END
	set_status "$vm" running
	env -u SERVICE_RESULT -u EXIT_CODE -u EXIT_STATUS nsenter --target "$net" --net --mount mvm-instance finish "$vm"
	[ "$(field "$vm" .last_exit)" = killed ]
}

@test "finish follows the stage of what was in flight" {
	living
	set_status "$vm" running
	in_flight "$vm" stop ending "$pid"
	EXIT_CODE=killed EXIT_STATUS=KILL step finish "$vm"
	[ "$(field "$vm" '[.status, .last_exit, .op] | map(tostring) | join(" ")')" = "stopped asked null" ]
	for stage in asked starting; do
		set_status "$vm" created
		in_flight "$vm" start $stage "$pid"
		EXIT_CODE=exited EXIT_STATUS=0 step finish "$vm"
		[ "$(field "$vm" '[.status, .last_exit, .op] | map(tostring) | join(" ")')" = "created start-failed null" ]
	done
	# it ended by itself before the stop that was asked for had begun
	set_status "$vm" running
	in_flight "$vm" stop asked "$pid"
	EXIT_CODE=killed EXIT_STATUS=KILL step finish "$vm"
	[ "$(field "$vm" '[.status, .last_exit, .op] | map(tostring) | join(" ")')" = "stopped killed null" ]
	# nothing ran, nothing was asked for: nothing to write
	before=$(digest)
	step finish "$vm"
	[ "$(digest)" = "$before" ]
}

@test "drain without a VMM has nothing to do" {
	set_status "$vm" running
	before=$(digest)
	step drain "$vm"
	[ "$(digest)" = "$before" ]
}

@test "prepare by hand checks what start checks, and leaves its error for finish" {
	set_status "$vm" running
	refuses 3 step prepare "$vm"
	set_status "$vm" created
	refuses 3 step prepare "$vm"
	[[ $stderr == *"has no image"*"mvm pool build acme/web"* ]]
	[ "$(jq -r .error.code "$rundir/start.json")" = state ]
	refuses 4 step prepare acme/web/i-000000ff
	[ ! -e "$MVM_RUN_DIR/instances/i-000000ff" ]
	refuses 2 step prepare acme/web
	for verb in prepare commit drain finish; do
		refuses 2 step $verb ../x/i-0000000a
	done
}

@test "8: work in flight of a living process is named and left alone; of a dead one it is cleared" {
	living
	for verb in start stop "destroy --yes"; do
		set_status "$vm" stopped
		in_flight "$vm" start asked "$pid"
		# shellcheck disable=SC2086
		refuses_untouched 8 step $verb $vm
		[[ $stderr == *"busy: start is asked (pid $pid)"* ]]
	done
	# the same number, another process
	edit "$vm" '.op.pid_start = 1'
	run -0 step stop "$vm"
	[ "$(field "$vm" .op)" = null ]
}

@test "a start that fails says why, and leaves the record as it was and nothing on the machine" {
	refuses 3 step start "$vm"
	[[ $stderr == *"pool acme/web has no image"* ]]
	[ "$(field "$vm" '[.status, .last_exit, .op] | map(tostring) | join(" ")')" = "created start-failed null" ]
	[ "$(within mvm-node census --strays)" = "[]" ]
	refuses 4 step start acme/web/i-000000ff
	[ ! -e "$MVM_RUN_DIR/instances/i-000000ff" ]
}

@test "a record that says running after the VMM has gone is set right by the next verb" {
	set_status "$vm" running
	run -0 step stop "$vm"
	[ "$(field "$vm" '.status + " " + .last_exit')" = "stopped killed" ]
	run -0 step stop "$vm"
	[ "$(out '.changed == false')" = true ]
}

@test "one of several that fails decides the status, and the others are done" {
	living
	in_flight "$vm" start asked "$pid"
	run --separate-stderr -8 step destroy --yes "$vm" "$other"
	[ "$(out 'map(.instance_path) | join(" ")')" = "$other" ]
	[[ $stderr == *"$vm: "*busy* ]]
	[ "$(mvm-instance list acme/web -o name)" = "$vm" ]
}

@test "destroy asks when nobody said yes, and of everything only by name" {
	refuses_untouched 2 step destroy "$vm" </dev/null
	[[ $stderr == *"--yes"* ]]
	refuses_untouched 2 step destroy --all --yes acme web
	refuses_untouched 2 step destroy --all --yes "$vm"
	run -0 step destroy --all --yes acme
	[ "$(mvm-instance list acme)" = "[]" ]
	empty "$MVM_STATE_DIR/ids"
	run -0 step destroy --yes "$vm" # gone is what was asked for
}

# What a run has left, to be found by others than mvm.
left() {
	within ip -o link show tn7i3 up >/dev/null && [[ -e $MVM_STATE_DIR/jails/qemu/i-0000000a ]]
}

prepared() { # TAP, drives and jail are there, and no VMM
	edit "$vm" '.op = null'
	step prepare "$vm"
	left
}

@test "a finish that was killed, or that cannot release all, is known: each verb goes on with that, and says so" {
	image_of_nothing acme/web
	for verb in settle stop start "destroy --yes"; do
		prepared
		run -137 env EXIT_CODE=exited EXIT_STATUS=1 MVM_FAULT=life-finish-release:kill nsenter --target "$net" --net --mount mvm-instance finish "$vm"
		[ "$(field "$vm" '[.last_exit, .op, .unreleased] | map(tostring) | join(" ")')" = "start-failed null true" ]
		left
		edit "$vm" '.status = "stopped"'
		# somebody has the bridge
		hold_lock "$MVM_RUN_DIR/net-7.lock"
		# shellcheck disable=SC2086
		MVM_LOCK_TIMEOUT_MS=100 refuses 8 step $verb $vm
		[[ $stderr == *"it is stopped, but what its run held may be there yet: "*net-7.lock* ]]
		[ "$(field "$vm" .unreleased)" = true ]
		release_lock
		if [[ $verb == start ]]; then # which comes to nothing by this image, but has to be let begin
			# shellcheck disable=SC2086
			MVM_FAULT=life-start-asked:err=EIO refuses 1 step $verb $vm
			[ "$(field "$vm" '[.op.stage, .unreleased] | map(tostring) | join(" ")')" = "asked null" ]
		else
			# shellcheck disable=SC2086
			step $verb $vm
		fi
		[[ $verb == destroy* ]] || [ "$(field "$vm" .unreleased)" = null ]
		run ! left
		[ "$(within mvm-node census --strays)" = "[]" ]
	done
}

@test "what a run has left is not taken away from the next one" {
	image_of_nothing acme/web
	prepared
	EXIT_CODE=exited EXIT_STATUS=1 MVM_FAULT=life-finish-release:err=EIO refuses 1 step finish "$vm"
	[[ $stderr == *"it is created, but what its run held may be there yet: "* ]]
	[ "$(field "$vm" .unreleased)" = true ]
	step prepare "$vm" # by hand
	[ "$(field "$vm" '[.op.stage, .unreleased] | map(tostring) | join(" ")')" = "starting null" ]
	# somebody who saw the end of the former one, and comes late
	living
	edit "$vm" '.op = null | .status = "stopped" | .unreleased = true'
	EXIT_CODE=exited MVM_FAULT=life-finish-seen:stop@1 become_within mvm-instance finish "$vm" 3>&- &
	local late=$!
	eventually is_stopped "$late"
	in_flight "$vm" start starting "$pid"
	kill -CONT "$late"
	wait "$late"
	left
	[ "$(field "$vm" '[.op.id, .op.stage] | join(" ")')" = "o-00000001 starting" ]
}
