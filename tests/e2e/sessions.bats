# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2016,SC2034
# Terminals, shells and named sessions of a real guest, and many commands.

load e2e

setup_file() {
	e2e_setup_file
	vm=$(new_instance)
	export vm
	up "$vm"
}

setup() {
	screen=$BATS_TEST_TMPDIR/screen tty=$BATS_TEST_TMPDIR/tty
}

# Runs a command line at a terminal of 33 by 101. Keys are typed by keys, what is shown lies in $screen.
at_terminal() { # COMMAND-LINE
	: >"$screen"
	rm -f "$tty"
	coproc SEAT {
		exec script -qefc "stty rows 33 cols 101; tty >$tty; exec $1" /dev/null >"$screen" 2>&1 3>&-
	}
	seat=$SEAT_PID to=${SEAT[1]}
}
keys() { printf '%b' "$1" >&"$to"; }
is_shown() { tr -d '\r' <"$screen" | grep -q -- "$1"; }
shown() { wait_until 20 is_shown "$1" || { cat "$screen" >&2; return 1; }; }
seat_ends() { # STATUS
	local status=0
	wait "$seat" || status=$?
	[[ $status == "$1" ]] || { echo "ended with $status" >&2; cat "$screen" >&2; return 1; }
}

sessions() { mvm-guest sessions "$vm" | jq -r "$1"; }
sessions_are() { [[ $(sessions "$1") == "$2" ]]; }

jail_run() {
	echo "${MVM_STATE_DIR:-/var/lib/mvm}/jails/$(field "$vm" .vmm)/${vm##*/}/root/run"
}

@test "exec -it has a terminal of this one's size, follows it, and Ctrl-C ends the command alone" {
	at_terminal "mvm-guest exec -it $vm -- sh"
	shown '#'
	keys 'tty\r'
	shown '^/dev/pts/[0-9]'
	keys 'stty size\r'
	shown '^33 101$'
	stty -F "$(<"$tty")" rows 50 cols 132
	wait_until 10 eval 'keys "stty size\r"; sleep 0.3; is_shown "^50 132$"'
	keys 'echo begun; sleep 100\r'
	shown '^begun$'
	keys '\003'
	keys 'echo still here $?\r'
	shown '^still here 130$'
	keys 'exit 5\r'
	seat_ends 5
}

@test "the statuses of commands at a terminal are their own" {
	run -137 mvm-guest exec -t "$vm" -- sh -c 'kill -9 $$'
	run -137 mvm-guest exec "$vm" -- sh -c 'kill -9 $$'
	run -3 mvm-guest exec -t "$vm" -- sh -c 'exit 3'
	run -127 mvm-guest exec -t "$vm" -- /no/such/command
	[[ $(echo typed | mvm-guest exec -t "$vm" -- sh -c 'stty -echo; cat' | tr -d '\r') == *typed ]]
}

@test "ssh runs a line in the user's shell, or opens one" {
	[[ $(mvm instance ssh "$vm" 'uname -a') == Linux\ i-* ]]
	run -4 mvm-guest ssh "$vm" 'echo $HOME; exit 4' </dev/null
	[[ $output == /root || $output == / ]]
	[[ $(mvm-guest ssh "$vm" echo "a  b" '|' tr b c) == "a c" ]]
	[[ $(mvm-guest ssh -t "$vm" tty </dev/null) == /dev/pts/* ]]
	[[ $(mvm-guest ssh -u app "$vm" 'id -u; test -O .; echo $SHELL' | xargs) == "1000 /bin/sh" ]]
	at_terminal "mvm-guest ssh $vm"
	shown '#'
	keys 'echo shell $SHELL\r'
	shown '^shell /bin/sh$'
	keys 'exit 6\r'
	seat_ends 6
	run -7 mvm-guest ssh "$vm" <<<'exit 7'
}

# In-process where the test's own programs are; the node VM has none and less time.
many() { # row|burst COUNT: prints how many had the right status
	local i status good=0
	if [[ -x ${MVM_BUILD-}/test/guest-time ]]; then
		"$MVM_BUILD/test/guest-time" "$(jail_run)" "$1" "$2"
		return
	fi
	for ((i = 0; i < $2; i++)); do
		status=0
		mvm-guest exec -n "$vm" -- sh -c "exit $((i % 256))" || status=$?
		good=$((good + (status == i % 256)))
	done
	echo "$good"
}

@test "a thousand commands in a row and fifty at once have their own statuses" {
	count=$([[ -x ${MVM_BUILD-}/test/guest-time ]] && echo 1000 || echo 50)
	[[ $(many row "$count") == "$count" ]]
	[[ $(many burst 50) == 50 ]]
}

@test "a command outlives its client, is listed, attached to again, and gives its true status" {
	mkfifo "$BATS_TEST_TMPDIR/keys"
	exec {to}<>"$BATS_TEST_TMPDIR/keys" # an input that does not end
	mvm-guest exec --session job "$vm" -- sh -c 'echo begun; read x; echo "got $x" >&2; kill -9 $$' \
		<&"$to" >"$BATS_TEST_TMPDIR/first" 3>&- &
	pid=$!
	wait_until 20 grep -q begun "$BATS_TEST_TMPDIR/first"
	run -0 --separate-stderr mvm-guest sessions "$vm"
	out '.[] | [.schema_version, .name, .argv[0], .state, .attached, .kept_bytes, .tty] == [1, "job", "sh", "running", 1, 6, false]'
	[[ $(out '.[0].started_at') == 20[0-9][0-9]-*Z ]]
	mvm-guest exec "$vm" -- kill -0 "$(out '.[0].pid')"
	kill -9 "$pid"
	wait_until 20 sessions_are '.[0].attached' 0
	sessions_are '.[0].state' running
	refuses 5 mvm-guest exec --session job "$vm" -- true
	refuses 3 mvm-guest sessions --rm job "$vm"
	run -137 --separate-stderr mvm-guest attach "$vm" job <<<more
	[[ $output == begun && $stderr == "got more" ]]
	sessions_are '.[0] | "\(.state) \(.exit_status) \(.wait_status)"' 'ended 137 9'
	run -137 mvm-guest attach -n "$vm" job
	refuses 3 mvm-guest sessions --kill job "$vm"
	run -0 mvm-guest sessions --rm job "$vm"
	sessions_are length 0
	refuses 4 mvm-guest attach "$vm" job
	refuses 4 mvm-guest sessions --rm job "$vm"
}

@test "a session at a terminal is left by its keys and found again" {
	at_terminal "mvm-guest exec --session shell -it $vm -- sh"
	shown '#'
	keys 'echo first $((40 + 2))\r'
	shown '^first 42$'
	keys '\020\021'
	seat_ends 0
	shown 'mvm instance attach'
	sessions_are '.[0] | "\(.name) \(.state) \(.tty)"' 'shell running true'
	at_terminal "mvm-guest attach --detach-keys none $vm shell"
	shown '^first 42$'
	keys '\020\021\rexit 8\r'
	seat_ends 8
	mvm-guest sessions --rm shell "$vm"
}

@test "sessions last until the guest stops" {
	mvm-guest exec -d --session quiet "$vm" -- sh -c 'seq 1 300000; exec sleep 1000'
	wait_until 20 sessions_are '.[0].kept_bytes' 1048576
	mvm-guest exec "$vm" -- true
	sessions_are '.[0].state' running
	mvm-guest sessions --kill quiet --signal USR1 "$vm"
	wait_until 20 sessions_are '.[0].exit_status' 138
	mvm-instance stop "$vm"
	refuses 3 mvm-guest sessions "$vm"
	up "$vm"
	sessions_are length 0
}
