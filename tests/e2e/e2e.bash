# SPDX-License-Identifier: MIT
# What the files of tests/e2e share. They run twice: on this machine (ring e2e: direct backend, a
# state root per file, namespaces made by tests/tap-run) and in the node VM (ring node: systemd and
# the default places). MVM_RING tells which. A file with a setup, or with more than the tenant acme, says
# so in functions of its own.

bats_require_minimum_version 1.5.0
load ../bats/helper

e2e_setup_file() {
	if [[ ${MVM_RING:-e2e} == e2e ]]; then
		export MVM_STATE_DIR=$BATS_FILE_TMPDIR/state MVM_RUN_DIR=$BATS_FILE_TMPDIR/run
		export MVM_CONFIG=$BATS_FILE_TMPDIR/mvm.conf MVM_BACKEND=direct
		export MVM_IMAGE=$MVM_BUILD/test/image MVM_LOCK_TIMEOUT_MS=60000
		mkdir -p "$MVM_STATE_DIR" "$MVM_RUN_DIR"
		ip link set lo up
		PATH=$MVM_BIN:$PATH
	else
		export MVM_IMAGE=${MVM_IMAGE:-/usr/share/mvm/image}
	fi
	mvm-tenant create acme --net-id 7 --subnet 10.240.7.0/24 --max-running 32 --max-vcpus 64
	new_pool acme/web 128
}

e2e_teardown_file() {
	mvm tenant destroy acme --force
	no_strays
}

setup_file() {
	e2e_setup_file
}

teardown_file() {
	e2e_teardown_file
}

# Whatever a test did, nothing without an owner may be left; what is left is printed. The record may say that
# a guest has ended a moment before the last of its supervisor is gone.
no_strays() {
	wait_until 5 none_stray || { mvm-node census --strays >&2; return 1; }
}
none_stray() { mvm-node census --strays >/dev/null; }

teardown() {
	no_strays
}

# For files whose cases make their own instances: one that failed half-way must not decide what the
# next one sees.
nothing_left() {
	mvm-instance destroy --all --yes acme/web >/dev/null
	no_strays
}

# Starts. Where QEMU runs on a KVM that is itself emulated, one after the other, for two starts side by
# side bring that node down every other time, and once more: one start in some seventy does not come up.
up() { # ADDRESS...
	local vm
	if [[ ${MVM_RING:-e2e} != node || $(mvm-vmm choose | jq -r .vmm) != qemu ]]; then
		mvm-instance start "$@"
		return
	fi
	for vm; do
		mvm-instance start "$vm" && continue
		echo '# a guest did not come up on the emulated KVM: once more' >&3
		mvm-instance start "$vm" || return
	done
}

# A guest may hang on that KVM, and whoever waits for it as well: the case is to fail, not the ring.
if [[ ${MVM_RING:-e2e} == node ]]; then
	mvm-guest() { timeout --foreground --kill-after=5 90 mvm-guest "$@"; }
fi

guest() { # ADDRESS SCRIPT: in its shell
	mvm-guest exec "$1" -- sh -c "$2"
}

new_pool() { # TENANT/POOL MIB [OPTION...]: with the tests' image
	mvm-pool create "$1" --flake "path:$MVM_IMAGE" --profile minimal --cpus 1 --mem "$2" \
		--start-timeout 170s "${@:3}"
	mvm-pool-build build "$1" --from "$MVM_IMAGE"
}

new_instance() { # prints the address of a fresh one
	mvm-instance create "${1:-acme/web}" -o name
}

field() { # ADDRESS JQ-EXPRESSION
	mvm-instance info "$1" | jq -r "$2"
}

vmm_pid() {
	field "$1" .vmm_process.pid
}

# wait_until SECONDS COMMAND...: polls, since what is waited for has no descriptor here. An emulated
# machine has more time, as MVM_TEST_SLOW tells; any other has three times as much, since it may have so
# much to do that it leaves a process alone for seconds.
wait_until() {
	local end=$((SECONDS + $1 * ${MVM_TEST_SLOW:-3}))
	shift
	until "$@"; do
		((SECONDS < end)) || { echo "still not: $*" >&2; return 1; }
		sleep 0.1
	done
}

is_status() { # ADDRESS STATUS
	[[ $(field "$1" .status) == "$2" ]]
}

gone() { is_gone "$@"; } # PID

# A step that may take two seconds, however fast the machine, and on a slower one as long as the start of a
# guest beside it: quickly BOOT-MICROSECONDS TOOK
quickly() {
	echo "took $2 us, a start $1 us" >&2
	(($2 < 2000000 * ${MVM_TEST_SLOW:-1} || $2 < $1))
}
now_us() { echo "${EPOCHREALTIME/./}"; }

# killed_at POINT COMMAND...: the tool is killed there (the backend's children inherit the fault)
killed_at() {
	local point=$1
	shift
	MVM_FAULT=$point:kill run "$@"
	# shellcheck disable=SC2154 # set by run
	[[ $status != 0 ]]
}

# Milliseconds by which the guest's clock is behind; half of a command's way there and back is the slack.
drift() { # ADDRESS
	local before after
	before=$(date +%s%N)
	guest "$1" adjtimex >"$BATS_TEST_TMPDIR/time"
	after=$(date +%s%N)
	awk -v b="$before" -v a="$after" '/tv_sec:/ { s = $2 } /tv_usec:/ { u = $2 }
		END { printf "%d %d\n", (b + a) / 2e6 - s * 1000 - u / 1000, (a - b) / 2e6 }' "$BATS_TEST_TMPDIR/time"
}

on_time() { # ADDRESS: within 50 ms
	local behind slack
	read -r behind slack < <(drift "$1")
	echo "# drift $behind ms, give or take $slack" >&3
	((behind < 50 + slack && behind > -50 - slack))
}
