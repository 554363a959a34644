#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2154,SC2317,SC2030,SC2031
# What holds for every tool there is: help from one table, without state; misuse; a full disk.

setup() {
	load helper
	fresh_state
	mapfile -t tools < <(find "$MVM_BIN/" -name 'mvm-*' -printf '%f\n' | sort)
	((${#tools[@]} >= 13))
}

verbs() { "$1" --help=complete | awk -F '\t' '$1 == "verb" { print $2 }'; }
options() { "$1" --help=complete | awk -F '\t' -v verb="$2" '$1 == "opt" && $2 == verb { print $3 }'; }

@test "each tool and each of its verbs shows its help with every option it has" {
	for tool in "${tools[@]}"; do
		run -0 --separate-stderr "$tool" --help
		[[ $output == *"Usage: $tool"* || $tool == mvm-fc-qemu ]]
		[ -z "$stderr" ]
		[[ ! $output =~ [a-z]\.\.$'\n' ]]
		for option in $(options "$tool" -); do
			grep -qE -e "(^|[^a-z-])$option( |,|\$)" <<<"$output"
		done
		for verb in $(verbs "$tool"); do
			grep -q "^  $verb\b" <<<"$("$tool" --help)"
			run -0 --separate-stderr "$tool" "$verb" --help
			[[ $output == "Usage: $tool $verb "* && -z $stderr ]]
			for option in $(options "$tool" "$verb"); do
				grep -qE -e "(^|[^a-z-])$option( |,|\$)" <<<"$output"
			done
			run -0 "$tool" "$verb" -h
		done
	done
	[ ! -e "$MVM_STATE_DIR" ] && [ ! -e "$MVM_RUN_DIR" ]
}

@test "each tool says its version" {
	for tool in "${tools[@]}" mvm; do
		run -0 --separate-stderr "$tool" --version
		[[ $output =~ [0-9]+\.[0-9]+\.[0-9]+ && -z $stderr ]]
	done
}

@test "2: each tool refuses an option and a verb that it has not, in one line" {
	for tool in "${tools[@]}"; do
		if [[ $tool == mvm-fc-qemu ]]; then # speaks as upstream does
			run --separate-stderr -153 "$tool" --no-such-option
			[[ $stderr == *no-such-option* ]] # its log is on stdout
			continue
		fi
		refuses 2 "$tool" --no-such-option
		[[ $stderr == "$tool: "*--no-such-option* ]]
		MVM_ERRORS=json refuses 2 "$tool" --no-such-option
		[ "$(jq -r .code <<<"$stderr")" = usage ]
		[ -z "$(verbs "$tool")" ] || refuses 2 "$tool" no-such-verb
		for verb in $(verbs "$tool"); do
			refuses 2 "$tool" "$verb" --no-such-option
		done
	done
	[ ! -e "$MVM_STATE_DIR" ]
}

@test "1: help, version and manual text to a full disk are errors that are told" {
	for tool in "${tools[@]}" mvm; do
		for word in --help --version --help=scd; do
			to_full() { "$tool" "$word" >/dev/full; }
			run -1 to_full
			[ -n "$output" ]
		done
	done
	for word in help version routes; do
		to_full() { mvm "$word" >/dev/full; }
		run -1 to_full
	done
}

@test "help is shown without standard input, output and error being there at the start" {
	for tool in "${tools[@]}"; do
		run -0 sh -c '"$1" --help <&- 2>&-' - "$tool"
		[ -n "$output" ]
		run sh -c '"$1" --help <&- >&- 2>&-' - "$tool"
		[[ $status -lt 126 ]]
	done
}
