# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2034
# Loaded by every file here: tools on PATH, a state of its own for each test, what "refused" means.
bats_require_minimum_version 1.5.0

# In CI a skipped test is a failed one: a run that skips everything has shown nothing.
if [[ -n ${MVM_TEST_STRICT-} ]]; then
	skip() {
		printf 'skipped in strict mode: %s\n' "$*" >&2
		return 1
	}
fi

MVM_BIN=${MVM_BIN:-$BATS_TEST_DIRNAME/../../build/bin}
PATH=$MVM_BIN:$PATH
AIDS=${MVM_BUILD:-$BATS_TEST_DIRNAME/../../build}/test # programs of tests/aid

# jq 1.6 takes 25 ms of processor time to start, gojq 3, and the tests ask some thousand times. They differ
# in the order of an object's keys, which gojq sorts: where that counts a test says `command jq`.
if command -v gojq >/dev/null; then
	jq() { gojq "$@"; }
fi

# bats notes where it is before each command, in functions too, which takes it 0.4 ms. A failure in a function
# is told by the line of the test that called it.
set +T

# A node of its own: nothing of the machine's state is read or written.
fresh_state() {
	export MVM_STATE_DIR=$BATS_TEST_TMPDIR/state MVM_RUN_DIR=$BATS_TEST_TMPDIR/run
	# on a machine with much to do a queue for a lock takes its time
	export MVM_CONFIG=$BATS_TEST_TMPDIR/mvm.conf MVM_LOCK_TIMEOUT_MS=60000
	unset MVM_OUTPUT MVM_ERRORS MVM_FAULT MVM_REQUEST_ID NO_COLOR CLICOLOR_FORCE
}

# Polls until it is true. Only a failure spends the bound: a machine that has much to do may leave
# a process alone for seconds.
eventually() { # COMMAND...
	local end=$((SECONDS + 60))
	until "$@"; do
		((SECONDS < end)) || { echo "still not: $*" >&2; return 1; }
		sleep 0.01
	done
}

lines_in() { # FILE NUMBER: at least
	[[ -e $1 ]] && (($(wc -l <"$1") >= $2))
}

is_stopped() { # PID
	grep -q '^State:.T' "/proc/$1/status" 2>/dev/null
}

# Its signals wait for it in a descriptor: from then on SIGTERM is a word to it, no end.
takes_signals() { # PID
	local blocked
	blocked=$(awk '/^SigBlk/ { print $2 }' "/proc/$1/status" 2>/dev/null) && ((0x0$blocked & 0x4000))
}

is_program() { # PID NAME
	local name
	{ read -r name <"/proc/$1/comm"; } 2>/dev/null && [[ $name == "$2" ]]
}

# No process, or a dead one that its parent has not looked at yet; by one look, since it may go between two.
is_gone() { # PID
	! grep -q '^State:.[^ZX]' "/proc/$1/status" 2>/dev/null
}

# Somebody listens there: a socket is in its place before that.
listens() { # SOCKET
	# shellcheck disable=SC2016 # perl's own variable
	perl -MIO::Socket::UNIX -e 'exit !IO::Socket::UNIX->new(Peer => $ARGV[0])' "$1" 2>/dev/null
}

# A crash is never an expected failure: statuses from 126 up are not taken for "it refused". A
# refusal prints nothing but one line on stderr.
refuses() { # STATUS COMMAND...
	local want=$1 flags=$- said=$BATS_TEST_TMPDIR/refusal
	shift
	# as bats' run, whose own processes cost more than most tools
	set +eET
	output=$("$@" 2>"$said") && status=0 || status=$?
	set "-$flags"
	read -rd '' stderr <"$said" || true
	mapfile -t stderr_lines <"$said"
	printf '%s -> %s\nstdout: %s\nstderr: %s\n' "$*" "$status" "$output" "$stderr" >&2
	((want < 126)) && [[ $status == "$want" && -z $output && ${#stderr_lines[@]} == 1 ]]
}

# Everything below the state root, names and contents, in one digest; but for the audit logs, where a
# quota that was hit is noted. For $(digest) alone, whose shell it ends: that is a process less, two thousand times.
digest() {
	exec "$AIDS/tree" "$MVM_STATE_DIR" 'audit.lo*'
}

# Refused, and not a byte of the state changed.
refuses_untouched() { # STATUS COMMAND...
	local before
	before=$(digest)
	refuses "$@" && [[ $(digest) == "$before" ]]
}

# jq over what the last run printed
out() { # FILTER
	jq -er "$1" <<<"$output"
}

# No entry in any of the directories.
empty() { # DIR...
	! find "$@" -mindepth 1 | grep -q .
}

# The ids that are claimed on the node, in one line.
claims() {
	find "$MVM_STATE_DIR/ids" -type f -printf '%f\n' | sort | xargs
}

# Holds a lock in a process that lives, so that its pid can be named; release_lock gives it back.
hold_lock() { # FILE
	coproc HOLDER { exec flock "$1" sh -c 'echo held && exec cat' 3>&-; }
	read -r -u "${HOLDER[0]}"
}

release_lock() {
	local pid=$HOLDER_PID to=${HOLDER[1]}
	exec {to}>&-
	wait "$pid"
}

# A tool, or a function that calls some, whose time passes ten times as fast: for limits that have to be
# waited for. See tests/aid/hurry.c.
hurried() { # COMMAND...
	LD_PRELOAD=$AIDS/hurry ASAN_OPTIONS=${ASAN_OPTIONS-}:verify_asan_link_order=0 "$@"
}
