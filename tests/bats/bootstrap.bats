# SPDX-License-Identifier: MIT
# mvm bootstrap in places of its own, without touching packages or the network.

setup() {
	load helper
	fresh_state
	for p in firecracker jailer; do
		# shellcheck disable=SC2016
		printf '#include <stdio.h>\nint main(void) { puts("%s v1.15.1"); return 0; }\n' "$p" |
			gcc -static -O1 -x c -o "$BATS_TEST_TMPDIR/$p" -
	done
}

@test "it makes the places, takes a release from a folder, says which VMM guests get, and may be repeated" {
	for _ in 1 2; do
		run -0 --separate-stderr mvm --json bootstrap --no-packages --from "$BATS_TEST_TMPDIR"
		[[ -d $MVM_STATE_DIR/jails && -d $MVM_RUN_DIR/instances ]]
	done
	[[ $(mvm-vmm list | jq -r '.[].version') == 1.15.1 ]]
	out '.vmm == "qemu" or .vmm == "firecracker"'
}

@test "a release that is asked for and cannot be had is a failure, with its status" {
	run -4 mvm bootstrap --no-packages --from /nonexistent
	[[ $(mvm-vmm list) == '[]' ]]
}

@test "unknown options are 2, and nothing is made" {
	run -2 mvm bootstrap --colour
	[[ ! -e $MVM_STATE_DIR ]]
	run -0 mvm bootstrap --help
	[[ $output == *--production* ]]
}

@test "--production holds the machine to what serving customers needs" {
	MVM_VMM=qemu run -3 mvm bootstrap --no-packages --production
	[[ $output == *fail* ]]
}
