#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2030,SC2031
# mvm-doctor: a report that is printed whole whatever it finds, and touches nothing.

setup() {
	load helper
	fresh_state
}

doctor() { run --separate-stderr mvm-doctor "$@"; }
level() { jq -er --arg c "$1" '.[] | select(.check == $c).level' <<<"$output"; }

@test "each check has a level and a finding, and what is not well has its fix" {
	mkdir "$MVM_STATE_DIR"
	doctor
	[[ $status == 0 || $status == 3 ]]
	[ -z "$stderr" ]
	jq -e 'length >= 9 and all(.schema_version == 1 and .check != "" and .finding != "" and
		(.level | IN("ok", "info", "warn", "fail")) and
		(.level == "ok" or (.fix | type == "string" and . != "")))' <<<"$output"
	[ "$(jq "(map(.check) | unique | length) == length" <<<"$output")" = true ]
	empty "$MVM_STATE_DIR"
}

@test "3: production is refused where anything is emulated or unlimited" {
	mkdir "$MVM_STATE_DIR"
	MVM_VMM=qemu doctor --production
	[ "$status" = 3 ]
	[ "$(level vmm)" = fail ]
	MVM_VMM=qemu MVM_BACKEND=direct doctor --production
	[ "$(level backend)" = fail ]
	MVM_VMM=qemu MVM_BACKEND=direct doctor
	[ "$(level vmm):$(level backend)" = warn:warn ]
}

@test "3: no state directory is found, and named with what makes one" {
	doctor
	[ "$status" = 3 ]
	[ "$(level state)" = fail ]
	[ "$(jq -r '.[] | select(.check == "state") | .finding + .fix' <<<"$output" | grep -c "$MVM_STATE_DIR.*bootstrap")" = 1 ]
	[ ! -e "$MVM_STATE_DIR" ]
}

@test "a state directory without devices or programs is found" {
	mkdir "$MVM_STATE_DIR"
	for flag in nodev noexec; do
		run --separate-stderr unshare --mount sh -c "mount -t tmpfs -o $flag none '$MVM_STATE_DIR' && exec mvm-doctor"
		[ "$status" = 3 ]
		[ "$(level state)" = fail ]
		[[ $output == *"$flag"* ]]
	done
}

@test "a configuration that cannot be read is a finding, not an end" {
	mkdir "$MVM_STATE_DIR"
	echo 'backend = other' >"$MVM_CONFIG"
	doctor
	[ "$status" = 3 ]
	[ "$(level backend)" = fail ]
	echo nonsense >"$MVM_CONFIG"
	doctor
	[ "$status" = 3 ]
	[ "$(level backend):$(level vmm)" = fail:fail ]
	[ "$(jq length <<<"$output")" -ge 9 ]
}

@test "somebody else's ids where the VMs' are is found" {
	mkdir "$MVM_STATE_DIR"
	cp /etc/passwd "$BATS_TEST_TMPDIR/passwd"
	echo 'intruder:x:1879507971:100::/:/bin/sh' >>"$BATS_TEST_TMPDIR/passwd"
	run --separate-stderr unshare --mount sh -c "mount --bind '$BATS_TEST_TMPDIR/passwd' /etc/passwd && exec mvm-doctor"
	[ "$status" = 3 ]
	[ "$(level ids)" = fail ]
	[[ $output == *intruder* ]]
}

@test "2: bad words; 1: a full disk behind stdout" {
	refuses 2 mvm-doctor x
	refuses 2 mvm-doctor --nonsense
	MVM_STATE_DIR=relative refuses 2 mvm-doctor
	to_full() { mvm-doctor >/dev/full; }
	run -1 to_full
}
