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
	no_strays
}

group() { # ADDRESS
	echo "/sys/fs/cgroup$(cut -d: -f3 "/proc/$(vmm_pid "$1")/cgroup")"
}

# The limit is lifted when it has killed: on an emulated KVM QEMU takes seconds to be gone, and whoever
# records its end is in the same group.
over_its_limit() { # ADDRESS
	local g
	g=$(group "$1")
	echo 48M >"$g/memory.max"
	has_killed() { [[ ! -e $g/memory.events ]] || grep -q '^oom_kill [1-9]' "$g/memory.events"; }
	wait_until 60 has_killed
	{ echo max >"$g/memory.max"; } 2>/dev/null || true
	wait_until 60 is_status "$1" stopped
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
