#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2034,SC2154,SC2030,SC2031
# Warm, sleep, wake, discard and their steps as far as they go without a guest: records and captures
# are set as a VMM would have left them. With guests: tests/e2e/sleep.bats.

setup() {
	load helper
	load net
	load snap
	snap_setup
	rundir=$MVM_RUN_DIR/instances/i-0000000a
	mkdir -p "$rundir"
}

teardown() {
	net_teardown
}

step() { within mvm-instance "$@"; }
field() { mvm-instance info "$1" | jq -r "$2"; }
linked() { readlink "$snapshots/delta"; }

sleeping() { # with gen-1 to wake from
	gen 1 3=7
	set_status "$vm" sleeping
}

image() {
	image_of_nothing acme/web
	edit "$vm" --arg r "$(mvm-pool info acme/web | jq -r .revision)" '.revision_hash = $r | .vmm = "qemu" | .vmm_version = "0.1.0"'
}

dead() { # VERB STAGE: a verb that was killed there
	local id
	living
	id=$pid
	in_flight "$vm" "$1" "$2" "$id"
	kill -9 "$id"
	wait "$id" || true
}

@test "3: each verb refuses the states that it does not fit, names both, and changes nothing" {
	while read -r from verb; do
		set_status "$vm" "$from"
		refuses_untouched 3 step "$verb" "$vm"
		[[ $stderr == *"$verb: not from $from to "* ]]
	done <<-'END'
		created warm
		created sleep
		created wake
		created discard
		stopped warm
		stopped sleep
		sleeping warm
	END
	edit "$vm" '.status = "stopped" | .last_exit = "asked"'
	refuses_untouched 3 step wake "$vm"
	[[ $stderr == *"wake: not from stopped to running"* ]]
	for verb in warm sleep wake discard explain; do
		refuses 4 step "$verb" acme/web/i-000000ff
		refuses 2 step "$verb"
		refuses 2 step "$verb" ../x
	done
}

@test "what is so already is no change" {
	while read -r is verb; do
		set_status "$vm" "$is"
		[ "$verb $(step "$verb" "$vm" | jq .changed)" = "$verb false" ]
	done <<-'END'
		sleeping sleep
		stopped stop
		stopped discard
	END
}

@test "finish of a wake that failed: it sleeps on, unless its capture was spent, is damaged or gone" {
	sleeping
	for harm in true 'export MVM_FAULT=life-capture-look:err=EIO' 'reseal "$snapshots/gen-1" ".spent = true | .spent_at = .created_at"' \
		'truncate -s 40 "$snapshots/gen-1/manifest.json"' 'rm "$snapshots/delta"'; do
		echo "--- $harm" >&2
		rm -rf "${snapshots:?}"/*
		sleeping
		eval "$harm"
		living
		in_flight "$vm" wake starting "$pid"
		EXIT_CODE=exited EXIT_STATUS=1 step finish "$vm"
		unset MVM_FAULT
		[ "$(field "$vm" '[.last_exit, .op] | map(tostring) | join(" ")')" = "start-failed null" ]
		if [[ $harm == true || $harm == export* ]]; then # it cannot be read just now
			[ "$(field "$vm" .status)" = sleeping ]
			[ "$(linked)" = gen-1 ]
		else
			[ "$(field "$vm" .status)" = stopped ]
		fi
	done
}

@test "a wake that was stopped before it loaded its capture sleeps on, one behind that is stopped" {
	sleeping
	living
	in_flight "$vm" stop ending "$pid"
	EXIT_CODE=killed EXIT_STATUS=TERM step finish "$vm"
	[ "$(field "$vm" '[.status, .last_exit, .op] | map(tostring) | join(" ")')" = "sleeping asked null" ]
	[ "$(linked)" = gen-1 ]
	reseal "$snapshots/gen-1" '.spent = true | .spent_at = .created_at'
	in_flight "$vm" stop ending "$pid"
	EXIT_CODE=killed EXIT_STATUS=TERM step finish "$vm"
	[ "$(field "$vm" .status)" = stopped ]
}

@test "a sleep that was killed when all but the stop was done is one; before that the VM has ended" {
	gen 1 3=7
	set_status "$vm" running
	dead sleep ending
	step settle "$vm"
	[ "$(field "$vm" '[.status, .last_exit, .op] | map(tostring) | join(" ")')" = "sleeping asked null" ]
	[ "$(linked)" = gen-1 ]
	# and this one's VMM has ended with it: what was captured is older than the disks
	set_status "$vm" running
	dead sleep working
	step settle "$vm"
	[ "$(field "$vm" '[.status, .last_exit, .op] | map(tostring) | join(" ")')" = "stopped killed null" ]
	set_status "$vm" sleeping
	dead wake asked
	step settle "$vm"
	[ "$(field "$vm" '[.status, .op] | map(tostring) | join(" ")')" = "sleeping null" ]
}

@test "8: work in flight of a living process is named by every verb" {
	living
	for verb in warm sleep wake discard settle; do
		set_status "$vm" running
		in_flight "$vm" sleep working "$pid"
		refuses_untouched 8 step "$verb" "$vm"
		[[ $stderr == *"busy: sleep is working (pid $pid)"* ]]
	done
}

@test "two tools settle one after the other, and nobody acts on what another has begun meanwhile" {
	set_status "$vm" running
	dead sleep working
	MVM_FAULT=life-settle:sleep=2000 become_within mvm-instance settle "$vm" 3>&- &
	local first=$!
	eventually test -e "$rundir/settle.lock"
	refuses 8 step settle "$vm" --lock-timeout 50ms
	[[ $stderr == *settle.lock* ]]
	wait "$first"
	[ "$(field "$vm" '[.status, .last_exit, .op] | map(tostring) | join(" ")')" = "stopped killed null" ]

	# what looked like a dead start was one that came to its end in between
	rm "$instance/exit.json"
	set_status "$vm" sleeping
	dead wake starting
	MVM_FAULT=life-look:sleep=1500@1 become_within mvm-instance settle "$vm" 3>&- &
	first=$!
	sleep 0.7
	edit "$vm" '.op = null'
	wait "$first"
	[ "$(field "$vm" .status)" = sleeping ]
	[ ! -e "$instance/exit.json" ]

	# and the steps of a start that began in between live no longer than its op
	gen 1 3=7
	MVM_FAULT=life-asking:sleep=1500 become_within mvm-instance wake "$vm" 2>"$BATS_TEST_TMPDIR/late" 3>&- &
	first=$!
	sleep 0.7
	dead wake starting
	local ended=0
	wait "$first" || ended=$?
	cat "$BATS_TEST_TMPDIR/late" >&2
	[ "$ended" = 8 ]
	grep -q "busy: wake is starting" "$BATS_TEST_TMPDIR/late"
	[ "$(field "$vm" '[.op.id, .op.stage] | join(" ")')" = "o-00000001 starting" ]
}

@test "a capture that is not of this machine is not loaded: from the disks, with the field as the cause" {
	image
	sleeping
	step prepare "$vm"
	[ "$(jq -r .mode "$rundir/launch.json")" = boot ]
	[[ $(field "$vm" .cold) == *"machine: "*"the capture has "*", here it is "* ]]
	[ ! -L "$snapshots/delta" ] && [ ! -e "$snapshots/gen-1" ]
	[ "$(field "$vm" '[.diff_base, .capture_mib] | map(tostring) | join(" ")')" = "null 0" ]
	# the TAP of a boot is on its bridge
	within ip -j link show tn7i3 | jq -e '.[0].master == "br-tenant-7"'
	EXIT_CODE=exited EXIT_STATUS=1 step finish "$vm"
	[ "$(field "$vm" .status)" = stopped ]
}

@test "a capture that is locked, or a disk that is full, is no reason to lose it" {
	image
	sleeping
	flock "$snapshots/gen-1/lock" sleep 1000 3>&- &
	echo $! >>"$BATS_TEST_TMPDIR/holders"
	MVM_FAULT=life-prepare-capture:err=ENOSPC refuses 1 step prepare "$vm"
	EXIT_CODE=exited EXIT_STATUS=1 step finish "$vm"
	[ "$(field "$vm" '[.status, .cold] | map(tostring) | join(" ")')" = "sleeping null" ]
	[ "$(linked)" = gen-1 ]
}

# A process of that pid which began at another time is somebody else's.
@test "a wake ends who packs its capture, and nobody else" {
	image
	sleeping
	living
	jq -nc --argjson pid "$pid" --arg boot "$(cat /proc/sys/kernel/random/boot_id)" \
		'{schema_version: 1, pid: $pid, pid_start: 1, boot_id: $boot}' >"$snapshots/gen-1/packer.json"
	step prepare "$vm"
	kill -0 "$pid"
	EXIT_CODE=exited EXIT_STATUS=1 step finish "$vm"
	for harm in '' '{"pid":1}' '{"schema_version":1,"pid":0,"pid_start":1,"boot_id":"x"}'; do
		rm -rf "${snapshots:?}"/*
		sleeping
		edit "$vm" '.op = null | .cold = null'
		printf '%s\n' "$harm" >"$snapshots/gen-1/packer.json"
		step prepare "$vm"
		[[ $(field "$vm" .cold) == *"machine: "* ]]
		EXIT_CODE=exited EXIT_STATUS=1 step finish "$vm"
	done
	rm -rf "${snapshots:?}"/*
	gen 1 3=7 300=2
	edit "$vm" '.op = null | .cold = null | .status = "sleeping"'
	MVM_FAULT=pack-write:sleep=3000@1 mvm-snap pack "$vm" --compression lz4 >/dev/null 2>"$BATS_TEST_TMPDIR/packer" 3>&- &
	local packer=$! ended=0
	eventually test -e "$snapshots/gen-1/packer.json"
	step prepare "$vm"
	wait "$packer" || ended=$?
	cat "$BATS_TEST_TMPDIR/packer" >&2
	[ "$ended" = 8 ]
	[[ $(field "$vm" .cold) == *"machine: "* ]]
}

@test "a packer that comes when a wake has begun leaves it the memory" {
	local packer ended=0
	sleeping
	living
	for stage in asked starting; do
		in_flight "$vm" wake $stage "$pid"
		refuses_untouched 8 mvm-snap pack "$vm" --compression lz4
		[[ $stderr == *"gen-1: "*"busy: wake is $stage (pid $pid)"* ]]
	done
	# it was there first, but had not said so yet
	edit "$vm" '.op = null'
	MVM_FAULT=replace-open:stop@1 mvm-snap pack "$vm" --compression lz4 2>"$BATS_TEST_TMPDIR/packer" 3>&- &
	packer=$!
	eventually is_stopped "$packer"
	[ ! -e "$snapshots/gen-1/packer.json" ]
	in_flight "$vm" wake asked "$pid"
	kill -CONT "$packer"
	wait "$packer" || ended=$?
	[ "$ended" = 8 ]
	grep -q 'busy: wake is asked' "$BATS_TEST_TMPDIR/packer"
	[ "$(find "$snapshots/gen-1" -type f -printf '%f\n' | sort | xargs)" = "lock manifest.json mem vmstate" ]
	# of a process that has ended: nobody knows how far it got
	edit "$vm" '.op.pid_start = 1'
	refuses_untouched 8 mvm-snap pack "$vm" --compression lz4
	edit "$vm" '.op = null'
	for was in created running warm stopped; do
		set_status "$vm" $was
		refuses_untouched 3 mvm-snap pack "$vm" --compression lz4
		[[ $stderr == *"that is $was"* ]]
	done
	set_status "$vm" sleeping
	mvm-snap pack "$vm" --compression lz4 | jq -e .changed
}

# The tools with another backend: where nothing runs, and a start is what stands in standard input.
other_backend() {
	tree=$BATS_TEST_TMPDIR/tree
	mkdir -p "$tree/lib/mvm"
	cp -r "$MVM_BIN" "$tree/bin"
	{
		cat <<-END
			#!/bin/sh -e
			echo "\$2" >>$BATS_TEST_TMPDIR/asked
			[ "\$2" != status ] || echo inactive
			[ "\$2" = start ] || exit 0
		END
		cat
	} >"$tree/lib/mvm/backend"
	chmod +x "$tree/lib/mvm/backend"
}

# As a stop by hand, when the start has gone past its memory.
@test "what somebody stopped is not started from its disks, whatever it was to go on from" {
	other_backend <<-END
		sed -i -e 's/"verb":"[a-z]*"/"verb":"stop"/' -e 's/"stage":"asked"/"stage":"ending"/' $instance/instance.json
		EXIT_CODE=killed EXIT_STATUS=TERM $MVM_BIN/mvm-instance finish $vm
		exit 1
	END
	image
	step prepare "$vm"
	edit "$vm" '.op = null'
	sleeping
	reseal "$snapshots/gen-1" '.spent = true | .spent_at = .created_at'
	refuses 1 within "$tree/bin/mvm-instance" wake "$vm"
	[[ $stderr == *"stop was asked for"* ]]
	jq -c '.mode = "load" | .capture = "base-abcdef"' "$rundir/launch.json" >"$BATS_TEST_TMPDIR/edited"
	cat "$BATS_TEST_TMPDIR/edited" >"$rundir/launch.json"
	refuses 1 within "$tree/bin/mvm-instance" start "$vm"
	[ "$(field "$vm" '[.status, .last_exit, .cold, .op] | map(tostring) | join(" ")')" = "stopped asked null null" ]
	[ "$(grep -c start "$BATS_TEST_TMPDIR/asked")" = 2 ]
}

# The backend ends a start after 180 s, and what has not come to its end by then begins anew.
@test "a backend that fails before any step tells why itself, and the capture stays" {
	other_backend <<-END
		echo "backend: nobody is at home" >&2
		exit 7
	END
	sleeping
	refuses 1 within "$tree/bin/mvm-instance" wake "$vm"
	[[ $stderr == *"nobody is at home"* ]]
	[ "$(field "$vm" '[.status, .op] | map(tostring) | join(" ")')" = "sleeping null" ]
	mvm-snap verify "$vm" gen-1
}

@test "a capture is made whole before the backend is asked, and where that is late the way out is named" {
	local packer ended=0
	other_backend <<-END
		mvm-snap info $vm >>$BATS_TEST_TMPDIR/seen
		EXIT_CODE=exited EXIT_STATUS=1 $MVM_BIN/mvm-instance finish $vm
		exit 1
	END
	sleeping
	mvm-snap pack "$vm" --compression zstd
	refuses 1 within "$tree/bin/mvm-instance" wake "$vm"
	gen 2 3=7
	delta 3 gen-2 5=5
	refuses 1 within "$tree/bin/mvm-instance" wake "$vm"
	[ "$(jq -r '[.memory.form, .composed_from] | map(tostring) | join(" ")' "$BATS_TEST_TMPDIR/seen" | xargs)" = "mem null mem gen-2" ]
	# who packs it leaves off before that, too
	gen 7 3=7 300=2
	MVM_FAULT=pack-write:sleep=1500@1 mvm-snap pack "$vm" --compression zstd 2>/dev/null 3>&- &
	packer=$!
	eventually test -e "$snapshots/gen-7/packer.json"
	refuses 1 within "$tree/bin/mvm-instance" wake "$vm"
	wait "$packer" || ended=$?
	[ "$ended $(tail -n 1 "$BATS_TEST_TMPDIR/seen" | jq -r .memory.form)" = "8 mem" ]
	# one that is damaged is told by who has to decide
	gen 4 3=7
	mvm-snap pack "$vm" --compression zstd
	flip "$snapshots/gen-4/mem.pack" -70
	refuses 1 within "$tree/bin/mvm-instance" wake "$vm"
	[ "$(grep -c start "$BATS_TEST_TMPDIR/asked")" = 4 ]
	# a start by hand
	living
	gen 5 3=7
	mvm-snap pack "$vm" --compression zstd
	in_flight "$vm" wake starting "$pid"
	SERVICE_RESULT=timeout EXIT_CODE=killed EXIT_STATUS=TERM step finish "$vm"
	[ "$(jq -r .error.hint "$instance/exit.json")" = "its capture was not whole yet: 'mvm-snap unpack $vm'" ]
	gen 6 3=7
	delta 8 gen-6 5=5
	in_flight "$vm" wake starting "$pid"
	SERVICE_RESULT=timeout EXIT_CODE=killed EXIT_STATUS=TERM step finish "$vm"
	[ "$(jq -r .error.hint "$instance/exit.json")" = "its capture was not whole yet: 'mvm-snap compose $vm'" ]
}

@test "discard drops the capture, killed anywhere it is not woken from" {
	sleeping
	edit "$vm" '.capture_mib = 1'
	run -0 --separate-stderr step discard "$vm"
	[ "$(jq -r '[.changed, .status, .capture_mib] | map(tostring) | join(" ")' <<<"$output")" = "true stopped 0" ]
	[ ! -L "$snapshots/delta" ] && [ ! -e "$snapshots/gen-1" ]
	[ "$(mvm-audit list acme --action SnapshotDeleted | jq length)" = 1 ]
	for point in store-save replace-rename life-discarded life-capture-drop snap-gc; do
		rm -rf "${snapshots:?}"/*
		sleeping
		edit "$vm" '.op = null | .last_exit = "asked"'
		run -137 env MVM_FAULT=$point:kill nsenter --target "$net" --net --mount mvm-instance discard "$vm"
		[ "$(field "$vm" .status)" = sleeping ] || refuses 3 step wake "$vm"
		[ "$(field "$vm" .status)" != sleeping ] || [ "$(linked)" = gen-1 ]
	done
}

@test "explain tells what a wake would load, or why it would not, as JSON and as a table" {
	run -0 --separate-stderr step explain "$vm"
	[ "$(jq -c '[.status, .start, .sleep, .last_exit, .capture, .next_parent]' <<<"$output")" = '["created",null,null,null,null,null]' ]
	sleeping
	[ "$(step explain "$vm" | jq -r .capture)" = gen-1 ]
	# of an image that its pool has not; what fits: tests/bats/snap-harm.bats
	[[ $(step explain "$vm" | jq -r .capture_bad) == *"no image"* ]]
	reseal "$snapshots/gen-1" '.spent = true | .spent_at = .created_at'
	# what a wake that failed has left
	set_status "$vm" stopped
	[ "$(step explain "$vm" | jq -r .capture)" = gen-1 ]
	[[ $(step explain "$vm" | jq -r .capture_bad) == *spent* ]]
	reseal "$snapshots/gen-1" '.spent = false | .spent_at = null'
	[[ $(step explain "$vm" | jq -r .capture_bad) == *"gone on without it"* ]]
	rm "$snapshots/delta"
	[ "$(step explain "$vm" | jq -c '[.capture, .capture_bad]')" = '[null,null]' ]
	set_status "$vm" sleeping
	[[ $(step explain "$vm" | jq -r .capture_bad) == *"no capture"* ]]
	run -0 step explain "$vm" -o table
	[[ ${output,,} == *sleeping* ]]
	echo '{"schema_version":1}' >"$instance/start.json"
	refuses 1 step explain "$vm"
	[[ $stderr == *start.json*at* ]]
}

@test "mvm-snap load is of no use without a VMM, and refuses what is not for it" {
	refuses 2 mvm-snap load "$vm"
	refuses 2 mvm-snap load "$vm" --vmm-fd 1
	refuses 2 mvm-snap load "$vm" --vmm-fd 77
	[[ $stderr == *"--vmm-fd"* ]]
	exec 9</dev/null
	refuses 2 mvm-snap load "$vm" --vmm-fd 9
	[[ $stderr == *"--vmm-fd"* ]]
	run -0 mvm-snap load --help
	[[ $output == *--vmm-fd* ]]
	[[ $(mvm-snap --help) != *"load what"* ]]
}
