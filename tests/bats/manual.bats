#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What a manual shows as an example works, line by line.

setup() {
	load helper
	fresh_state
	cd "$BATS_TEST_TMPDIR" || return
}

# The code of EXAMPLES: indented lines, and those that a "++" joins to them.
examples() { # MANUAL
	awk '/^# / { on = $2 == "EXAMPLES"; next }
		!on { next }
		/^\t/ || joined { line = $0; sub(/^\t/, "", line); joined = sub(/\+\+$/, "", line); print line; next }
		{ joined = 0 }' "$BATS_TEST_DIRNAME/../../docs/$1.8.scd.in"
}

@test "the examples of the state's manuals run" {
	for manual in mvm-tenant mvm-pool mvm-instance mvm-fmt; do
		rm -rf "$MVM_STATE_DIR"
		examples $manual >script
		[ -s script ]
		cat script >&2
		run -0 sh -eu script
	done
}
