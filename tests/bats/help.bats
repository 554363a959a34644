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
# "VERB OPTION" of all that there are, and "VERB -" to begin each verb; the tool's own verb is "-".
options() {
	"$1" --help=complete | awk -F '\t' 'BEGIN { print "- -" } $1 == "verb" { print $2, "-" }
		$1 == "opt" { print $2, $3 }' | LC_ALL=C sort -s -k 1,1
}

# Succeeds, with nothing on stderr: bats' run would take longer than the tool.
says() { # COMMAND...: into $output
	output=$("$@" 2>"$BATS_TEST_TMPDIR/stderr") && [[ ! -s $BATS_TEST_TMPDIR/stderr ]]
}

shows_help() { # TOOL VERB: what it prints is in $output
	if [[ $2 == - ]]; then
		says "$1" --help
		[[ $output == *"Usage: $1"* || $1 == mvm-fc-qemu ]]
		[[ ! $output =~ [a-z]\.\.$'\n' ]]
		overview=$output
	else
		[[ $overview =~ $'\n'"  $2"[^a-z-] ]]
		says "$1" "$2" -h
		short=$output
		says "$1" "$2" --help
		[[ $output == "Usage: $1 $2 "* && $output == "$short" ]]
	fi
}

@test "each tool and each of its verbs shows its help with every option it has" {
	for tool in "${tools[@]}"; do
		while read -r verb option; do
			if [[ $option == - ]]; then
				shows_help "$tool" "$verb"
			else
				[[ $output =~ (^|[^a-z-])"$option"([ ,]|$'\n'|$) ]]
			fi
		done < <(options "$tool")
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
