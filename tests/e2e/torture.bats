# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154
# What tests/bench/torture.sh does in hundreds of cycles, in a few.

load e2e

setup_file() { :; } # it makes a node of its own
teardown_file() { :; }
teardown() { :; }

@test "sleeps and wakes with random kills: nothing that was told is lost, memory and disk are of one time" {
	run -0 "$BATS_TEST_DIRNAME/../bench/torture.sh" 12 20261122
	echo "# ${output//$'\n'/$'\n# '}" >&3
	[[ $output == *"12 cycles in "*" woken from memory, "* ]]
}
