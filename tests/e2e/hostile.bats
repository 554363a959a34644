# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2016,SC2034
# A real guest whose root has turned against its host: process 1, the agent, stands still from now on.

load e2e

setup_file() {
	e2e_setup_file
	printf x | mvm-secrets set acme db=- >/dev/null
	vm=$(new_instance)
	export vm
	up "$vm"
}

teardown_file() {
	e2e_teardown_file
}

agent_stands_still() {
	local status=0
	mvm-guest health "$vm" >/dev/null || status=$?
	[[ $status == 124 ]]
}

# SECONDS STATUS COMMAND...: in the background; what went wrong is kept
one() {
	local limit=$1 want=$2 status=0 err
	shift 2
	err=$(timeout -s KILL "$limit" "$@" 2>&1 >/dev/null </dev/null) || status=$?
	[[ $status == "$want" && $(wc -l <<<"$err") == 1 ]] || echo "$*: $status, not $want: $err" >>"$BATS_TEST_TMPDIR/wrong"
}

@test "every verb gives up on a guest whose agent stands still, and a stop still stops it" {
	local words vmm
	mvm-guest exec -d --session still "$vm" -- sh -c 'until [ -e /tmp/now ]; do sleep 0.1; done; sleep 1; mkdir /sys/fs/cgroup/still
		echo 1 >/sys/fs/cgroup/still/cgroup.procs; echo 1 >/sys/fs/cgroup/still/cgroup.freeze'
	mvm-guest exec "$vm" -- touch /tmp/now || true # its answer may come too late
	wait_until 20 agent_stands_still
	echo x >"$BATS_TEST_TMPDIR/file"
	for words in "exec $vm -- true" "exec -t $vm -- true" "ssh $vm true" "attach $vm still" "sessions $vm" "health $vm" \
		"logs --source agent $vm" "logs -f --source entrypoint $vm" "hook $vm wake" "cp $BATS_TEST_TMPDIR/file $vm:/tmp/" \
		"cp $vm:/etc/passwd $BATS_TEST_TMPDIR/back" "port-forward $vm 0:80"; do
		# shellcheck disable=SC2086
		one 90 124 mvm-guest $words 3>&- &
	done
	run -3 --separate-stderr timeout -s KILL 90 mvm-secrets set --timeout 4s acme "db=@$BATS_TEST_TMPDIR/file"
	out '.guests[0].error | contains("tell the guest")'
	wait
	[[ ! -e $BATS_TEST_TMPDIR/wrong && ! -e $BATS_TEST_TMPDIR/back ]] || { cat "$BATS_TEST_TMPDIR/wrong" >&2; return 1; }
	vmm=$(vmm_pid "$vm")
	timeout -s KILL 120 mvm-instance stop "$vm"
	gone "$vmm"
	is_status "$vm" stopped
}
