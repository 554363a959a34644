#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2317,SC2030,SC2031

setup() {
	load helper
	fresh_state
	mvm-tenant create acme >/dev/null
	mvm-pool create acme/web --flake /f --profile minimal --cpus 1 --mem 128 >/dev/null
	dir=$MVM_STATE_DIR/tenants/acme/pools/web/instances
}

@test "an instance is made with the first address, and listed three ways" {
	run -0 mvm-instance create acme/web
	[ "$(out '[.status, .guest_ip, .tap_dev, .mac, .net.gateway_ip, .changed] | map(tostring) | join(" ")')" = "created 10.240.1.3 tn1i3 02:fc:00:01:00:03 10.240.1.1 true" ]
	id=$(out .instance_id)
	for args in acme acme/web "--tenant acme" "--tenant acme --pool web" ""; do
		# shellcheck disable=SC2086
		run -0 mvm-instance list $args
		[ "$(out '.[0].instance_id')" = "$id" ]
		[ "$(out '.[0] | [.schema_version, .tenant_id, .pool_id, .instance_path] | join(" ")')" = "1 acme web acme/web/$id" ]
	done
	[ "$(mvm-instance info "$id" | jq -r .instance_path)" = "acme/web/$id" ]
	[ "$(mvm-instance info "acme/web/$id" | jq -r .instance_path)" = "acme/web/$id" ]
	[ "$(cat "$MVM_STATE_DIR/ids/$id")" = "acme/web/$id 3" ]
}

@test "a named instance is made once" {
	run -0 mvm-instance create acme/web/i-0000abcd
	[ "$(out .changed)" = true ]
	run -0 mvm-instance create acme/web/i-0000abcd
	[ "$(jq .changed <<<"$output")" = false ]
	mvm-pool create acme/db --flake /f --profile minimal --cpus 1 --mem 128
	refuses_untouched 5 mvm-instance create acme/db/i-0000abcd
}

@test "-n makes many and prints an array; names come out one a line" {
	run -0 mvm-instance create acme/web -n 3
	[ "$(out 'map(.guest_ip) | join(" ")')" = "10.240.1.3 10.240.1.4 10.240.1.5" ]
	run -0 mvm-instance create acme/web -n 2 -o name
	[ "${#lines[@]}" = 2 ]
	[[ ${lines[0]} == acme/web/i-???????? ]]
}

@test "2: bad addresses and options" {
	for bad in acme acme/web/x acme/web/i-123 acme/web/i-0000ABCD acme/web/i-00000001/x ../web acme/web/../x; do
		refuses_untouched 2 mvm-instance create "$bad"
	done
	refuses_untouched 2 mvm-instance create acme/web -n 0
	refuses_untouched 2 mvm-instance create acme/web -n 1025
	refuses_untouched 2 mvm-instance create acme/web/i-00000001 -n 2
	refuses_untouched 2 mvm-instance list acme/web/i-00000001
	refuses_untouched 2 mvm-instance list --pool web
	refuses_untouched 2 mvm-instance list acme --tenant acme
	refuses_untouched 2 mvm-instance info acme/web
}

@test "3: the record of a running instance is not removed" {
	mvm-instance create acme/web/i-00000001
	sed -i 's/"status":"created"/"status":"warm"/' "$dir/i-00000001/instance.json"
	refuses_untouched 3 mvm-instance destroy-record i-00000001
	sed -i 's/"status":"warm"/"status":"sleeping"/' "$dir/i-00000001/instance.json"
	run -0 mvm-instance destroy-record i-00000001
	[ ! -e "$dir/i-00000001" ] && [ ! -e "$MVM_STATE_DIR/ids/i-00000001" ]
}

@test "4: each missing part is named" {
	refuses_untouched 4 mvm-instance create other/web
	[[ $stderr == *"other: no such tenant"* ]]
	refuses_untouched 4 mvm-instance create acme/db
	[[ $stderr == *"acme/db: no such pool"* ]]
	refuses_untouched 4 mvm-instance info acme/web/i-00000001
	refuses_untouched 4 mvm-instance info i-00000001
	refuses_untouched 4 mvm-instance list other
	refuses_untouched 4 mvm-instance destroy-record i-00000001
}

@test "6: no more than the subnet, and no more than the quota" {
	mvm-tenant create tiny --subnet 10.5.0.0/28
	mvm-pool create tiny/web --flake /f --profile minimal --cpus 1 --mem 128
	mvm-instance create tiny/web -n 12
	refuses_untouched 6 mvm-instance create tiny/web
	[[ $stderr == *"no free address"* ]]
	mvm-tenant update acme --max-instances 2
	refuses_untouched 6 mvm-instance create acme/web -n 3
	run -0 mvm-instance create acme/web -n 2
}

@test "8: the tenant's lock is held by somebody else" {
	hold_lock "$MVM_STATE_DIR/tenants/acme/lock"
	MVM_LOCK_TIMEOUT_MS=50 refuses_untouched 8 mvm-instance create acme/web
	[[ $stderr == *"pid "* ]]
	refuses_untouched 8 mvm-instance --errors json create acme/web --lock-timeout 50ms
	[ "$(jq -r '.code, .retryable' <<<"$stderr" | tr '\n' ' ')" = "unavailable true " ]
	run -0 mvm-instance list acme # readers take no lock
	release_lock
}

@test "a damaged record is shown in the list, keeps its address, and is left as it is" {
	mvm-instance create acme/web/i-00000001
	mvm-instance create acme/web/i-00000002
	truncate -s 20 "$dir/i-00000001/instance.json"
	refuses_untouched 1 mvm-instance info i-00000001
	[[ $stderr == *"i-00000001/instance.json: damaged: "* ]]
	run --separate-stderr -1 mvm-instance list acme
	[ "$(out 'map(.instance_id + ":" + .status) | join(",")')" = "i-00000001:damaged,i-00000002:created" ]
	run -0 mvm-instance create acme/web
	[ "$(out .guest_ip)" = 10.240.1.5 ]
	run -0 mvm-instance destroy-record i-00000001
	run -0 mvm-instance create acme/web
	[ "$(out .guest_ip)" = 10.240.1.3 ]
}

@test "an address that does not follow from the network is damage" {
	mvm-instance create acme/web/i-00000001
	sed -i 's/tn1i3/tn1i4/g' "$dir/i-00000001/instance.json"
	refuses_untouched 1 mvm-instance info i-00000001
	[[ $stderr == *"tap_dev: tn1i4, must be tn1i3"* ]]
}

@test "--dry-run changes nothing" {
	before=$(digest)
	run -0 mvm-instance create acme/web -n 5 --dry-run
	[ "$(out .would_create)" = 5 ]
	[ "$(digest)" = "$before" ]
}

@test "every verb has its help" {
	for verb in create list info destroy-record sweep; do
		run -0 mvm-instance "$verb" --help
		[[ $output == "Usage: mvm-instance $verb "* ]]
	done
}

@test "64 parallel creates in one tenant: 64 addresses, none lost" {
	export MVM_LOCK_TIMEOUT_MS=120000
	for i in {1..64}; do
		mvm-instance create acme/web >"$BATS_TEST_TMPDIR/out.$i" 2>>"$BATS_TEST_TMPDIR/errors" &
	done
	wait
	cat "$BATS_TEST_TMPDIR/errors" >&2
	[ ! -s "$BATS_TEST_TMPDIR/errors" ]
	[ "$(jq -s 'length, (map(.guest_ip) | unique | length), (map(.instance_id) | unique | length)' "$BATS_TEST_TMPDIR"/out.* | tr '\n' ' ')" = "64 64 64 " ]
	run -0 mvm-instance list acme
	[ "$(out 'length, (map(.net.offset) | min), (map(.net.offset) | max)' | tr '\n' ' ')" = "64 3 66 " ]
}

@test "creators killed at random leave nothing that a sweep does not clear" {
	export MVM_LOCK_TIMEOUT_MS=120000
	for i in {1..60}; do
		# by its own parent: a number that others kill may be somebody else's by then
		timeout --foreground -s KILL "0.0$((RANDOM % 60 + 10))" mvm-instance create acme/web >/dev/null 2>&1 &
	done
	wait
	run -0 mvm-instance sweep
	run -0 mvm-instance sweep
	[ "$(out '.removed | length')" = 0 ]
	run -0 mvm-instance list acme
	[ "$(out '(map(.net.offset) | unique | length) == length')" = true ]
	[ "$(out 'map(.instance_id) | sort | join(" ")')" = "$(claims)" ]
	[ -z "$(find "$MVM_STATE_DIR" -name '.new-*' -o -name '.old-*')" ]
	[ "$(mvm-instance create acme/web -n 3 | jq length)" = 3 ]
}

@test "a crash at each step of create gives the address back after a sweep" {
	for point in claim-create claim-link claim-sync instance-claimed draft-mkdir draft-create draft-write draft-sync draft-rename; do
		MVM_FAULT=$point:kill run mvm-instance create acme/web
		[ "$status" = 137 ]
		run -0 mvm-instance sweep
		empty "$dir" "$MVM_STATE_DIR/ids"
	done
	MVM_FAULT=draft-sync-dir:kill run mvm-instance create acme/web
	[ "$status" = 137 ]
	[ "$(mvm-instance list acme | jq length)" = 1 ] # it was there already
}

@test "a full disk at each step is told and leaves no trace" {
	for point in claim-create claim-link instance-claimed draft-mkdir draft-create draft-write draft-sync draft-rename; do
		MVM_FAULT=$point:err=ENOSPC refuses 1 mvm-instance create acme/web
		[[ $stderr == *"No space left"* ]]
		empty "$dir" "$MVM_STATE_DIR/ids"
	done
	run -0 mvm-instance create acme/web
	[ "$(out .guest_ip)" = 10.240.1.3 ]
}

@test "a killed sweeper and a live creator do not hurt each other" {
	export MVM_LOCK_TIMEOUT_MS=120000
	for i in {1..16}; do
		mvm-instance create acme/web >/dev/null &
		mvm-instance sweep >/dev/null &
	done
	wait
	run -0 mvm-instance list acme
	[ "$(out length)" = 16 ]
	[ "$(claims | wc -w)" = 16 ]
}
