#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2317,SC2030,SC2031

setup() {
	load helper
	fresh_state
}

fmt() { # JSON ARG...
	local json=$1
	shift
	mvm-fmt "$@" <<<"$json"
}

instances='[{"schema_version":1,"instance_id":"i-00000001","tenant_id":"acme","pool_id":"web","instance_path":"acme/web/i-00000001","status":"running","net":{},"guest_ip":"10.0.0.3","tap_dev":"tn1i3","pid":77,"mac":"02:fc:00:01:00:03"}]'

@test "instances as a table: usual columns, states capitalised" {
	run -0 fmt "$instances"
	[ "${lines[0]}" = "INSTANCE             STATUS   GUEST IP  TAP    PID" ]
	[ "${lines[1]}" = "acme/web/i-00000001  Running  10.0.0.3  tn1i3   77" ]
	run -0 fmt "$instances" -o wide
	[[ ${lines[0]} == *MAC* && ${lines[1]} == *02:fc:00:01:00:03* ]]
}

@test "columns can be chosen, and the heading left out" {
	run -0 fmt "$instances" --columns instance_id,status --no-headers
	[ "$output" = "i-00000001  Running" ]
}

@test "records of no known kind show their own keys" {
	run -0 fmt '[{"a_b":1,"on":true,"list":["x","y"],"none":null,"deep":{"x":1}},{"a_b":22,"more":"m"}]'
	[ "${lines[0]}" = "A B  ON   LIST  NONE  MORE" ]
	[ "${lines[1]}" = "1    yes  x,y   -     -" ]
	[ "${lines[2]}" = "22   -    -     -     m" ]
	run -0 fmt '[{"deep":{"x":1}}]' -o wide
	[ "${lines[0]}" = "DEEP.X" ]
}

@test "one object is a line for each key, its lists tables below" {
	run -0 fmt '{"schema_version":1,"name":"n","net":{"ip":"10.0.0.1"},"pools":[{"p":1}]}'
	[ "${lines[0]}" = "name    n" ]
	[ "${lines[1]}" = "net.ip  10.0.0.1" ]
	[ "${lines[2]}" = "pools:" ]
	[ "${lines[4]}" = 1 ]
}

@test "an empty list says so, names and JSON Lines of it are empty" {
	run -0 fmt '[]'
	[ "$output" = none ]
	run -0 fmt '[]' -o name
	[ -z "$output" ]
	run -0 fmt '[]' -o jsonl
	[ -z "$output" ]
	run -0 fmt '[]' -o yaml
	[ "$output" = "[]" ]
}

@test "names are addresses, one a line" {
	run -0 fmt "$instances" -o name
	[ "$output" = acme/web/i-00000001 ]
	run -0 fmt '[{"tenant_id":"t"},{"tenant_id":"t","pool_id":"p"},{"name":"x"},"plain"]' -o name
	[ "$output" = $'t\nt/p\nx\nplain' ]
	refuses 2 fmt '[{"x":1}]' -o name
	refuses 2 fmt 7 -o name
}

@test "JSON comes out as it went in, JSON Lines one record a line" {
	run -0 fmt '[{"a":1e3,"b":9007199254740991},{"c":"é\u0001"}]' -o jsonl
	[ "${lines[0]}" = '{"a":1e3,"b":9007199254740991}' ]
	[ "${#lines[@]}" = 2 ]
	run -0 fmt "$instances" -o json
	[ "$output" = "$instances" ]
}

@test "YAML quotes every text and plain keys only where that is safe" {
	run -0 fmt '{"a":"no","no":1,"x y":"1.5","t":"2026-01-01","n":null,"b":true,"f":1.50,"l":["a",{"k":""}],"e":{},"9":1,"u":"é\"\\"}' -o yaml
	[ "${lines[0]}" = 'a: "no"' ]
	[ "${lines[1]}" = '"no": 1' ]
	[ "${lines[2]}" = '"x y": "1.5"' ]
	[ "${lines[3]}" = 't: "2026-01-01"' ]
	[ "${lines[4]}" = '"n": null' ]
	[ "${lines[5]}" = 'b: true' ]
	[ "${lines[6]}" = 'f: 1.50' ]
	[ "${lines[8]}" = '- "a"' ]
	[ "${lines[9]}" = '- k: ""' ]
	[ "${lines[10]}" = 'e: {}' ]
	[ "${lines[11]}" = '"9": 1' ]
	[ "${lines[12]}" = 'u: "é\"\\"' ]
}

@test "anything but one strict JSON document on stdin is refused with 2" {
	for bad in '' '{' '{} {}' '[1,]' '{"a":1,"a":2}' '01' "{'a':1}" 'nul' $'"a\tb"' '"\ud800"' '[1] x' 'NaN'; do
		refuses 2 fmt "$bad"
		refuses 2 fmt "$bad" -o json
	done
	printf '"\xff"' >"$BATS_TEST_TMPDIR/bad"
	refuses 2 mvm-fmt <"$BATS_TEST_TMPDIR/bad"
	refuses 2 fmt '{}' -o nonsense
	MVM_OUTPUT=nonsense refuses 2 fmt '{}'
}

@test "control characters in a record never reach the terminal" {
	for format in table wide name; do
		run -0 fmt '[{"name":"a\u001b[31mb\u0007\nc"}]' -o $format
		[[ $output != *$'\e'* && $output != *$'\a'* ]]
	done
}

@test "colour only on a terminal, and never against NO_COLOR" {
	run -0 fmt "$instances"
	[[ $output != *$'\e'* ]]
	run -0 fmt "$instances" --color always
	[[ $output == *$'\e'*Running* ]]
	on_terminal() { script -qec "mvm-fmt -o table <'$BATS_TEST_TMPDIR/doc'" /dev/null; }
	echo "$instances" >"$BATS_TEST_TMPDIR/doc"
	export TERM=xterm
	run -0 on_terminal
	[[ $output == *$'\e'*Running* ]]
	NO_COLOR=1 run -0 on_terminal
	[[ $output != *$'\e[3'* ]]
	CLICOLOR_FORCE=1 run -0 fmt "$instances"
	[[ $output == *$'\e'*Running* ]]
}

@test "MVM_OUTPUT chooses the format, -o is stronger" {
	MVM_OUTPUT=name run -0 fmt "$instances"
	[ "$output" = acme/web/i-00000001 ]
	MVM_OUTPUT=name run -0 fmt "$instances" -o json
	[ "$output" = "$instances" ]
}

@test "a thousand records are shown, and a full disk is an error" {
	jq -n '[range(1000) | {tenant_id: "t\(.)", pool_id: "p", instance_id: "i-0"}]' >"$BATS_TEST_TMPDIR/many"
	run -0 mvm-fmt <"$BATS_TEST_TMPDIR/many"
	[ "${#lines[@]}" = 1001 ]
	to_full() { mvm-fmt <"$BATS_TEST_TMPDIR/many" >/dev/full; }
	run -1 to_full
}

@test "it has its help" {
	run -0 mvm-fmt --help
	[[ $output == "Usage: mvm-fmt "* ]]
}

@test "progress lines are drawn on stderr, one for each stage where it is no terminal" {
	said='{"object":"x","stage":"download","done":5,"total":10}
{"object":"x","stage":"download","done":10,"total":10}
{"object":"x","stage":"unpack","done":1,"total":2}'
	run -0 --separate-stderr mvm-fmt --progress <<<"$said"
	[[ -z $output && $stderr == $'download: 5 of 10\nunpack: 1 of 2' ]]
	run -0 script -qec "printf '%s\\n' '$said' | mvm-fmt --progress" /dev/null
	[[ $output == *"100 %"* && $output == *" 50 %"* ]]
	refuses 2 mvm-fmt --progress <<<'{"stage":7}'
}
