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

@test "the lists of system calls in the manuals are those of the filters" {
	local top=$BATS_TEST_DIRNAME/../.. pair
	for pair in qemu_filter:mvm-fc-qemu jail_filter:mvm-fc-launch; do
		# Every list is made of strings of lower-case words.
		sed -n '/_calls.*\[\] =/,/;/p' "$top/lib/fc/${pair%:*}.c" "$top/lib/sys/sandbox.c" |
			grep -oE '"[a-z0-9_ ]+"' | tr -d '"' | tr ' ' '\n' | sed '/^$/d' | sort -u >wanted
		[ "$(wc -l <wanted)" -gt 60 ]
		tr -d '\134' <"$top/docs/${pair#*:}.8.scd.in" | tr -s ' ' '\n' | sort -u >told
		run -0 comm -23 wanted told
		printf '%s\n' "$output" >&2
		[ -z "$output" ]
	done
}
