# SPDX-License-Identifier: MIT
# A VMM that is over its memory limit is killed by the kernel, and that is what is told of it.
# node: whole
# shellcheck disable=SC2154 # output is set by run

load ../e2e/e2e

setup_file() {
	e2e_setup_file
	VM=$(new_instance)
	export VM
}

teardown_file() {
	e2e_teardown_file
}

teardown() {
	[[ ${BATS_TEST_COMPLETED-} ]] || what_is_there
	no_strays
}

# For whoever reads of a case that failed.
what_is_there() {
	mvm-instance list | cut -c1-400
	ps --ppid 2 -p 2 --deselect -o pid,ppid,stat,wchan:24,etimes,args --sort=-etimes | tail -n 30 | cut -c1-200
	journalctl --no-pager -n 60 -o short-monotonic | cut -c1-200
}

group() { # ADDRESS
	echo "/sys/fs/cgroup$(cut -d: -f3 "/proc/$(vmm_pid "$1")/cgroup")"
}

# QEMU's memory is shared: until QEMU is gone, which takes seconds on an emulated KVM, the group is full, and
# the kernel goes on with whatever else is in it.
over_its_limit() { # ADDRESS
	echo 48M >"$(group "$1")/memory.max"
	wait_until 20 is_status "$1" stopped
}

told_as_oom() { # ADDRESS: by info, stats and the record of the end
	[[ $(field "$1" .last_exit) == oom ]]
	run -0 --separate-stderr mvm-instance stats "$1"
	printf '%s\n' "$output"
	jq -e '.last_exit == "oom" and .pid == null and
		(.message | startswith("the VMM was killed: over its memory limit"))' <<<"$output"
	jq -e '.cause == "oom"' "${MVM_STATE_DIR:-/var/lib/mvm}/tenants/acme/pools/web/instances/${1##*/}/exit.json"
}

@test "stats tell the group's memory, its limit, and processor time" {
	up "$VM"
	run -0 --separate-stderr mvm-instance stats "$VM"
	printf '%s\n' "$output"
	jq -e --argjson max "$(cat "$(group "$VM")/memory.max")" '.source == "cgroup" and .limits == "cgroup" and
		.memory_limit_bytes == $max and .memory_bytes > 0 and .memory_bytes <= $max and .memory_peak_bytes >= .memory_bytes and
		.oom_kills == 0 and .cpu_throttled_usec >= 0 and .cpu_usec > 0 and .pids > 1' <<<"$output"
}

@test "a VMM over its memory limit is told as that, and starts again with its limit" {
	max=$(cat "$(group "$VM")/memory.max")
	# What the guest has touched is more than that, and there is no swap.
	over_its_limit "$VM"
	told_as_oom "$VM"
	no_strays
	up "$VM"
	[[ $(cat "$(group "$VM")/memory.max") == "$max" ]]
	mvm-instance stop "$VM"
	[[ $(field "$VM" .last_exit) == asked ]]
}

@test "without systemd it is told the same" {
	mvm-instance destroy --yes "$VM"
	export MVM_BACKEND=direct
	vm=$(new_instance)
	up "$vm"
	[[ $(group "$vm") == /sys/fs/cgroup/mvm/*/acme/web/"${vm##*/}" ]]
	over_its_limit "$vm"
	told_as_oom "$vm"
	mvm-instance destroy --yes "$vm"
}
