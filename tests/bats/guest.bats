#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2016,SC2030,SC2031
# mvm-guest before it reaches a guest: what it refuses, and what a VMM that was taken over may have
# put in its way. A sleeping process stands for the VMM.

setup() {
	load helper
	load net
	net_setup
	vm=acme/web/i-0000000a
	jail=$MVM_STATE_DIR/jails/qemu/i-0000000a/root
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
}

teardown() {
	net_teardown
}

ask() { within timeout 20 mvm-guest "$@" </dev/null; }

running() { # its VMM is a process of this test
	local file start boot
	sleep 1000 3>&- >/dev/null 2>&1 &
	echo $! >>"$BATS_TEST_TMPDIR/holders"
	start=$(awk '{ print $22 }' /proc/$!/stat) boot=$(</proc/sys/kernel/random/boot_id)
	file=$(record "$vm")
	jq -c --argjson pid $! --argjson start "$start" --arg boot "$boot" '.status = "running" | .vmm = "qemu" |
		.boot_id = $boot | .vmm_process = { pid: $pid, pid_start: $start }' "$file" >"$BATS_TEST_TMPDIR/edited"
	cat "$BATS_TEST_TMPDIR/edited" >"$file"
}

make_jail() {
	mkdir -p "$jail/run" "$jail/snap"
	chown 1879506947:1879506947 "$jail/run" "$jail/snap"
}

every_verb() { # STATUS: the answer of each, before a command has started
	local words
	for words in "exec $vm -- true" "health $vm" "logs --source entrypoint $vm" "logs --source agent $vm"; do
		# shellcheck disable=SC2086
		refuses_untouched "$1" ask $words
	done
}

@test "2: bad words" {
	refuses 2 ask exec "$vm"
	refuses 2 ask exec acme/web -- true
	refuses 2 ask exec ../x/i-0000000a -- true
	refuses 2 ask exec --env X "$vm" -- true
	refuses 2 ask exec --timeout 1x "$vm" -- true
	refuses 2 ask exec --timeout 0 "$vm" -- true
	refuses 2 ask exec --cwd "$(printf 'x%.0s' {1..5000})" "$vm" -- true
	refuses 2 ask logs --source nonsense "$vm"
	refuses 2 ask logs --tail 0 "$vm"
	refuses 2 ask health
	refuses 2 ask nonsense
}

@test "3: it does not run; 4: it is not there" {
	every_verb 3
	[[ $stderr == *"mvm instance start $vm"* ]]
	vm=acme/web/i-000000ff
	every_verb 4
}

@test "8: its VMM has gone" {
	set_status "$vm" running
	every_verb 8
}

@test "4: its VMM runs and has no jail" {
	running
	every_verb 4
}

@test "8: nobody has bound the socket, or nobody listens there" {
	running
	make_jail
	every_verb 8
	within perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die' "$jail/run/v.sock"
	chown 1879506947:1879506947 "$jail/run/v.sock"
	every_verb 8
}

@test "7: what stands in the socket's place and is not the VM's is not talked to" {
	running
	make_jail
	: >"$jail/run/v.sock"
	chown 1879506947:1879506947 "$jail/run/v.sock"
	every_verb 7
	rm "$jail/run/v.sock"
	# somebody else's socket: by a link, then in its place
	within perl -MIO::Socket::UNIX -e 'my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 5) or die; sleep 1000' \
		"$BATS_TEST_TMPDIR/root.sock" 3>&- &
	echo $! >>"$BATS_TEST_TMPDIR/holders"
	for _ in {1..200}; do
		[[ -S $BATS_TEST_TMPDIR/root.sock ]] && break
		sleep 0.02
	done
	ln -s "$BATS_TEST_TMPDIR/root.sock" "$jail/run/v.sock"
	every_verb 7
	rm "$jail/run/v.sock"
	ln "$BATS_TEST_TMPDIR/root.sock" "$jail/run/v.sock"
	every_verb 7
	# the file is the VM's now, who listens is not
	chown 1879506947:1879506947 "$jail/run/v.sock"
	every_verb 7
	[[ $stderr == *"uid 0"* ]]
}

@test "7: a jail whose directory is somebody else's" {
	running
	make_jail
	chown 0:0 "$jail/run"
	every_verb 7
}

@test "the error tells in JSON that it was mvm's and not the command's" {
	refuses 3 ask --errors json exec "$vm" -- false
	[ "$(jq -r '[.code, .object] | join(" ")' <<<"$stderr")" = "state $vm" ]
}

@test "what the host keeps of an instance that never ran is nothing, and that is no failure" {
	run -0 --separate-stderr mvm-guest logs "$vm"
	[[ -z $output && -z $stderr ]]
	refuses 4 mvm-guest logs acme/web/i-000000ff
}
