#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2317,SC2030,SC2031
# One case for each documented exit status that the tools of the state can end with, and the table
# that documents them.

setup() {
	load helper
	fresh_state
	mvm-tenant create acme >/dev/null
}

@test "0: done" {
	run -0 mvm-tenant info acme
}

@test "1 failed: the system said no" {
	MVM_FAULT=replace-fsync:err=EIO refuses_untouched 1 mvm-tenant update acme --max-vcpus 9
	[[ $stderr == *"Input/output error"* ]]
}

@test "1 damaged: a state file that does not decode" {
	echo junk >"$MVM_STATE_DIR/tenants/acme/tenant.json"
	refuses_untouched 1 mvm-tenant --errors json info acme
	[ "$(jq -r .code <<<"$stderr")" = damaged ]
}

@test "2 usage" {
	refuses_untouched 2 mvm-tenant --errors json info
	[ "$(jq -r .code <<<"$stderr")" = usage ]
	MVM_STATE_DIR=relative refuses 2 mvm-tenant list
}

@test "3 state" {
	mvm-pool create acme/web --flake /f --profile minimal --cpus 1 --mem 128
	refuses_untouched 3 mvm-tenant --errors json destroy --yes acme
	[ "$(jq -r .code <<<"$stderr")" = state ]
}

@test "4 missing" {
	refuses_untouched 4 mvm-tenant --errors json info nobody
	[ "$(jq -r .code <<<"$stderr")" = missing ]
}

@test "5 conflict" {
	refuses_untouched 5 mvm-tenant --errors json create acme --net-id 77
	[ "$(jq -r .code <<<"$stderr")" = conflict ]
}

@test "6 quota" {
	mvm-tenant update acme --max-pools 0
	refuses_untouched 6 mvm-pool --errors json create acme/web --flake /f --profile minimal --cpus 1 --mem 128
	[ "$(jq -r .code <<<"$stderr")" = quota ]
}

@test "7 denied" {
	MVM_FAULT=replace-open:err=EACCES refuses_untouched 7 mvm-tenant --errors json update acme --max-vcpus 9
	[ "$(jq -r .code <<<"$stderr")" = denied ]
}

@test "8 unavailable, which says that a retry may help" {
	exec 7>>"$MVM_STATE_DIR/lock"
	flock 7
	refuses_untouched 8 mvm-tenant --errors json create other --lock-timeout 30ms
	[ "$(jq -r '.code, .retryable' <<<"$stderr" | tr '\n' ' ')" = "unavailable true " ]
}

@test "the table of statuses is printed by every tool from one place" {
	run -0 mvm-tenant --help=exits
	for word in failed damaged usage state missing conflict quota denied unavailable timeout exec-lost exec-denied exec-missing; do
		[[ $output == *"_${word}_"* ]]
	done
	[ "$output" = "$(mvm-fmt --help=exits)" ]
}
