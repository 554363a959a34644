#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2317,SC2030,SC2031

setup() {
	load helper
	fresh_state
}

@test "a tenant is made with a network of its own and found again" {
	run -0 mvm-tenant create acme
	[ "$(out .changed)" = true ]
	[ "$(out '.net | [.tenant_net_id, .ipv4_subnet, .gateway_ip, .bridge_name] | join(" ")')" = "1 10.240.1.0/24 10.240.1.1 br-tenant-1" ]
	run -0 mvm-tenant create acme
	[ "$(jq .changed <<<"$output")" = false ]
	run -0 mvm-tenant list
	[ "$(out 'map(.tenant_id) | join(",")')" = acme ]
	[ "$(out '.[0].schema_version')" = 1 ]
	run -0 mvm-tenant info acme
	[ "$(out '.quotas.max_pools, .quotas.max_instances_per_pool' | tr '\n' ' ')" = "64 1024 " ]
	[ "$(out '.usage.total_instances == 0 and .pools == []')" = true ]
}

@test "the seeds' command line: net id, subnet and quotas as given" {
	run -0 mvm-tenant create acme --net-id 99 --subnet 10.240.99.0/24 --max-vcpus 4 --max-mem 2048 --max-running 4
	[ "$(out '[.net.tenant_net_id, .net.bridge_name, .quotas.max_vcpus, .quotas.max_mem_mib, .quotas.max_running] | join(" ")')" = "99 br-tenant-99 4 2048 4" ]
}

@test "an empty node has an empty list, and listing makes nothing" {
	run -0 mvm-tenant list
	[ "$output" = "[]" ]
	[ ! -e "$MVM_STATE_DIR" ]
}

@test "bad names are refused with 2 wherever they come in" {
	long=$(printf 'a%.0s' {1..41})
	for bad in ../x "$long" a--b -a a- A a_b a/b '' 'a b' $'a\nb' .; do
		for verb in create info; do
			refuses 2 mvm-tenant "$verb" -- "$bad"
		done
		refuses 2 mvm-tenant destroy --yes -- "$bad"
	done
	[ ! -e "$MVM_STATE_DIR" ]
	run -0 mvm-tenant create "${long%a}"
}

@test "bad options are refused with 2" {
	refuses 2 mvm-tenant create
	refuses 2 mvm-tenant create a b
	refuses 2 mvm-tenant create a --net-id 0
	refuses 2 mvm-tenant create a --net-id 4094
	refuses 2 mvm-tenant create a --net-id 4093
	refuses 2 mvm-tenant create a --subnet 10.0.0.0/29
	refuses 2 mvm-tenant create a --subnet 10.0.0.0/15
	refuses 2 mvm-tenant create a --subnet 10.0.0.1/24
	refuses 2 mvm-tenant create a --max-vcpus -1
	refuses 2 mvm-tenant create a --max-vcpus 1x
	refuses 2 mvm-tenant create a --nonsense
	refuses 2 mvm-tenant nonsense
	refuses 2 mvm-tenant
	[ ! -e "$MVM_STATE_DIR" ]
}

@test "the log of denied packets is off until asked for, and update turns it on and off" {
	run -0 mvm-tenant create acme
	[ "$(jq .net.deny_log <<<"$output")" = false ]
	refuses_untouched 5 mvm-tenant create acme --deny-log
	[[ $stderr == *"another deny_log"* ]]
	run -0 mvm-tenant update acme --deny-log on
	[ "$(out '.changed and .net.deny_log')" = true ]
	run -0 mvm-tenant update acme --deny-log on
	[ "$(jq .changed <<<"$output")" = false ]
	run -0 mvm-tenant update acme --max-vcpus 3
	[ "$(out .net.deny_log)" = true ]
	run -0 mvm-tenant create acme --deny-log
	[ "$(jq .changed <<<"$output")" = false ]
	refuses_untouched 2 mvm-tenant update acme --deny-log
	refuses_untouched 2 mvm-tenant update acme --deny-log yes
	refuses_untouched 2 mvm-tenant create zeta --deny-log on
	before=$(digest)
	run -0 mvm-tenant update acme --deny-log off --dry-run
	[ "$(jq .net.deny_log <<<"$output")" = false ]
	[ "$(digest)" = "$before" ]
	sed -i 's/,"deny_log":true//' "$MVM_STATE_DIR/tenants/acme/tenant.json" # as it was written before
	[ "$(mvm-tenant info acme | jq .net.deny_log)" = false ]
}

@test "3: a tenant that has pools is not destroyed" {
	mvm-tenant create acme
	mvm-pool create acme/web --flake /f --profile minimal --cpus 1 --mem 128
	refuses_untouched 3 mvm-tenant destroy --yes acme
	[[ $stderr == *"has 1 pool"* ]]
}

@test "4: what is not there is not found" {
	refuses 4 mvm-tenant info acme
	refuses 4 mvm-tenant update acme --max-vcpus 3
	refuses 4 mvm-tenant destroy --yes acme
	[ ! -e "$MVM_STATE_DIR" ]
	run -0 mvm-tenant destroy --yes --if-exists acme
	[ "$(jq .changed <<<"$output")" = false ]
}

@test "5: another specification, a net id or a subnet in use" {
	mvm-tenant create acme --net-id 9 --subnet 10.9.0.0/24
	refuses_untouched 5 mvm-tenant create acme --net-id 8
	refuses_untouched 5 mvm-tenant create acme --subnet 10.8.0.0/24
	refuses_untouched 5 mvm-tenant create acme --max-vcpus 99
	refuses_untouched 5 mvm-tenant create other --net-id 9
	refuses_untouched 5 mvm-tenant create other --subnet 10.9.0.128/25
	[[ $stderr == *"overlaps 10.9.0.0/24 of tenant acme"* ]]
}

@test "8: a held lock names its holder, and nothing waits longer than asked" {
	mvm-tenant create acme
	hold_lock "$MVM_STATE_DIR/tenants/acme/lock"
	refuses_untouched 8 mvm-tenant update acme --max-vcpus 3 --lock-timeout 50ms
	[[ $stderr == *"pid "* ]]
	release_lock
	run -0 mvm-tenant update acme --max-vcpus 3
	[ "$(out .changed)" = true ]
}

@test "a truncated or strange tenant.json is damaged, named, and left as it is" {
	mvm-tenant create acme
	file=$MVM_STATE_DIR/tenants/acme/tenant.json
	cp "$file" "$BATS_TEST_TMPDIR/good"
	for edit in 's/\(.\{50\}\).*/\1/' 's/.*//' 's/acme/acne/' 's/10.240.1.1/10.240.1.2/' \
		's/"schema_version":1/"schema_version":2/' 's/"pinned":false/"pinned":false,"pinned":true/' \
		's/}$/,"more":1}/' 's/"pinned":false/"pinned":0/'; do
		sed "$edit" "$BATS_TEST_TMPDIR/good" >"$file"
		refuses_untouched 1 mvm-tenant info acme
		[[ $stderr == *"acme/tenant.json: damaged: "* ]]
		refuses_untouched 1 mvm-tenant create acme
		refuses_untouched 1 mvm-tenant update acme --max-vcpus 3
	done
	MVM_ERRORS=json refuses_untouched 1 mvm-tenant info acme
	[ "$(jq -r '.code, .object' <<<"$stderr" | tr '\n' ' ')" = "damaged acme " ]
	rm "$file"
	refuses 1 mvm-tenant info acme
}

@test "a list shows a damaged tenant beside the good ones and ends with 1" {
	mvm-tenant create acme
	mvm-tenant create zeta
	: >"$MVM_STATE_DIR/tenants/acme/tenant.json"
	mkdir "$MVM_STATE_DIR/tenants/empty"
	run --separate-stderr -1 mvm-tenant list
	[ "$(out 'map(.tenant_id + ":" + (.status // "good")) | join(",")')" = "acme:damaged,empty:damaged,zeta:good" ]
	[[ $(out '.[0].error') == *"tenant.json: damaged"* ]]
}

@test "a destroyed tenant is gone and its audit log is kept" {
	mvm-tenant create acme
	echo '{}' >"$MVM_STATE_DIR/tenants/acme/audit.log"
	refuses 2 mvm-tenant destroy acme </dev/null
	[[ $stderr == *"--yes"* ]]
	run -0 mvm-tenant destroy --yes acme
	[ ! -e "$MVM_STATE_DIR/tenants/acme" ]
	[ "$(stat -c %a "$MVM_STATE_DIR"/archive/acme-*/audit.log)" = 600 ]
	run -0 mvm-tenant create acme
}

@test "--force takes idle pools along" {
	mvm-tenant create acme
	mvm-pool create acme/web --flake /f --profile minimal --cpus 1 --mem 128
	mvm-instance create acme/web -n 3
	run -0 mvm-tenant destroy --force acme
	[ ! -e "$MVM_STATE_DIR/tenants/acme" ]
	empty "$MVM_STATE_DIR/ids"
}

@test "--dry-run changes nothing and says so" {
	run -0 mvm-tenant create acme --dry-run
	[ "$(out '.dry_run and .changed')" = true ]
	[ ! -e "$MVM_STATE_DIR" ]
	mvm-tenant create acme
	before=$(digest)
	run -0 mvm-tenant update acme --max-vcpus 7 --dry-run
	[ "$(out .quotas.max_vcpus)" = 7 ]
	run -0 mvm-tenant destroy acme --dry-run
	[ "$(out .dry_run)" = true ]
	[ "$(digest)" = "$before" ]
}

@test "every verb has its help, on stdout and without state" {
	for verb in create update list info destroy; do
		run -0 mvm-tenant "$verb" --help
		[[ $output == "Usage: mvm-tenant $verb "* ]]
	done
	run -0 mvm-tenant --help
	[[ $output == *"create TENANT"* ]]
	[ ! -e "$MVM_STATE_DIR" ]
}

@test "an error as JSON has the whole shape" {
	refuses 4 mvm-tenant --errors json --request-id r-1 info acme
	[ "$(command jq -r 'keys_unsorted | join(",")' <<<"$stderr")" = "code,exit,message,hint,object,request_id,retryable" ]
	[ "$(jq -r '[.code, .exit, .object, .request_id, .retryable] | map(tostring) | join(" ")' <<<"$stderr")" = "missing 4 acme r-1 false" ]
}

@test "output that cannot be written is an error, not a silent success" {
	mvm-tenant create acme
	to_full() { mvm-tenant list >/dev/full; }
	run -1 to_full
	to_full() { mvm-tenant list -o table >/dev/full; }
	run -1 to_full
}

@test "modes are set whatever the umask" {
	(umask 077 && mvm-tenant create acme)
	(umask 000 && mvm-tenant create bold)
	for t in acme bold; do
		[ "$(cd "$MVM_STATE_DIR" && stat -c %a . tenants "tenants/$t" "tenants/$t/secrets" "tenants/$t/tenant.json" | tr '\n' ' ')" = "750 750 750 700 640 " ]
	done
}

@test "a crash at any step of create leaves what a repeat or a sweep clears" {
	for point in node-id draft-mkdir draft-create draft-write draft-sync draft-rename draft-sync-dir; do
		MVM_FAULT=$point:kill run mvm-tenant create acme
		[ "$status" = 137 ]
		run -0 mvm-instance sweep
		run -0 mvm-instance sweep
		[ "$(out '.removed | length')" = 0 ]
		run -0 mvm-tenant create acme
		MVM_FAULT=remove-rename:kill run mvm-tenant destroy --yes acme
		[ "$status" = 137 ]
		MVM_FAULT=remove-tree:kill run mvm-tenant destroy --yes acme
		[ "$status" = 137 ]
		run -0 mvm-instance sweep
		[ "$(out '.removed | join(",")')" = /tenants/.old-acme ]
		empty "$MVM_STATE_DIR/tenants"
	done
}

@test "twenty parallel creates of one tenant make it once" {
	for _ in {1..20}; do
		mvm-tenant create acme >>"$BATS_TEST_TMPDIR/out" &
	done
	wait
	[ "$(jq -s 'map(select(.changed)) | length' "$BATS_TEST_TMPDIR/out")" = 1 ]
	[ "$(jq -s length "$BATS_TEST_TMPDIR/out")" = 20 ]
	for i in {1..20}; do
		mvm-tenant create "t$i" >/dev/null &
	done
	wait
	run -0 mvm-tenant list
	[ "$(out 'length, (map(.net_id) | unique | length), (map(.subnet) | unique | length)' | tr '\n' ' ')" = "21 21 21 " ]
}
