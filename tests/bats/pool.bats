#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2317,SC2030,SC2031

setup() {
	load helper
	fresh_state
	mvm-tenant create acme >/dev/null
}

create() { mvm-pool create "$@" --flake /f --profile minimal --cpus 2 --mem 256; }

@test "a pool is made as asked for and found again" {
	run -0 create acme/web --data-disk 100 --seccomp strict --snapshot-compression zstd
	[ "$(out .changed)" = true ]
	run -0 create acme/web --data-disk 100 --seccomp strict --snapshot-compression zstd
	[ "$(jq .changed <<<"$output")" = false ]
	run -0 mvm-pool list acme
	[ "$(out '.[0] | [.pool_path, .profile, .instance_resources.vcpus, .instance_resources.mem_mib, .instance_resources.data_disk_mib, .seccomp_policy, .snapshot_compression] | join(" ")')" = "acme/web minimal 2 256 100 strict zstd" ]
	run -0 mvm-pool info acme/web
	[ "$(out '.usage.instance_counts.created')" = 0 ]
	[ "$(jq .revision <<<"$output")" = null ]
}

@test "a relative flake is stored as an absolute one and not opened" {
	cd "$BATS_TEST_TMPDIR" || return
	run -0 mvm-pool create acme/web --flake . --profile minimal --cpus 1 --mem 128
	[ "$(out .flake_ref)" = "$(pwd)" ]
	run -0 mvm-pool create acme/db --flake ./nowhere/../else --profile minimal --cpus 1 --mem 128
	[ "$(out .flake_ref)" = "$(pwd)/else" ]
	run -0 mvm-pool create acme/remote --flake github:o/r --profile minimal --cpus 1 --mem 128
	[ "$(out .flake_ref)" = github:o/r ]
}

@test "scale stores the counts and makes the missing records, and never removes one" {
	create acme/web
	run -0 mvm-pool scale acme/web --running 2 --warm 1 --sleeping 1
	[ "$(out '.changed, (.created | length)' | tr '\n' ' ')" = "true 4 " ]
	run -0 mvm-instance list --tenant acme --pool web --json
	[[ $(out '.[0].instance_id') == i-???????? ]]
	run -0 mvm-pool scale acme/web --warm 0
	[ "$(out '.desired_counts | [.running, .warm, .sleeping] | join(" ")')" = "2 0 1" ]
	[ "$(out '.created | length')" = 0 ]
	run -0 mvm-pool scale acme/web --running 2
	[ "$(jq .changed <<<"$output")" = false ]
	[ "$(mvm-instance list acme/web | jq length)" = 4 ]
	refuses 2 mvm-pool scale acme/web
}

@test "a build's revision shows" {
	create acme/web
	ln -s revisions/abc123 "$MVM_STATE_DIR/tenants/acme/pools/web/artifacts/current"
	[ "$(mvm-pool info acme/web | jq -r .revision)" = abc123 ]
	ln -sfn ../../../../x "$MVM_STATE_DIR/tenants/acme/pools/web/artifacts/current"
	refuses 1 mvm-pool info acme/web
	[[ $stderr == *damaged* ]]
}

@test "egress rules are stored, and wrong ones refused" {
	run -0 create acme/web --allow 192.0.2.0/24:443/tcp --allow 198.51.100.7
	[ "$(out '.egress, (.egress_allow | map(.cidr + ":" + (.port | tostring) + .proto) | join(","))' | tr '\n' ' ')" = "allow 192.0.2.0/24:443tcp,198.51.100.7:0 " ]
	refuses 2 create acme/db --allow 192.0.2.1/24
	refuses 2 create acme/db --allow 192.0.2.0/24:0
	refuses 2 create acme/db --allow 192.0.2.0/24:80/icmp
	refuses 2 create acme/db --allow 192.0.2.0/24:80/
	refuses 2 create acme/db --egress none --allow 192.0.2.0/24
	refuses 2 create acme/db --allow 0.0.0.0/0
	[[ $stderr == *"egress_allow: 0.0.0.0/0 is everything (use --egress open)" ]]
	for bad in 169.254.169.254 128.0.0.0/1 127.0.0.1 0.0.0.0/8 224.0.0.251 255.255.255.255; do
		refuses_untouched 2 create acme/db --allow "$bad"
		[[ $stderr == *"egress_allow: $bad overlaps "* ]]
		refuses_untouched 2 mvm-pool update acme/web --allow "$bad"
		[[ $stderr == *"egress_allow: $bad overlaps "* ]]
	done
}

@test "a stored way out to what is not outside is damage, and nothing is made of it" {
	create acme/web --allow 192.0.2.0/24
	sed -i 's|192.0.2.0/24|169.254.0.0/16|' "$MVM_STATE_DIR/tenants/acme/pools/web/pool.json"
	refuses_untouched 1 mvm-pool info acme/web
	[[ $stderr == *"pool.json: damaged: egress_allow: 169.254.0.0/16 overlaps "* ]]
	refuses_untouched 1 mvm-pool update acme/web --egress open
}

@test "limits are stored, 0 is none, and a pool of before there were any has none" {
	run -0 create acme/web --ingress-kbit 64 --egress-kbit 100000000
	[ "$(command jq -c .bandwidth <<<"$output")" = '{"ingress_kbit":64,"egress_kbit":100000000}' ]
	refuses_untouched 5 create acme/web
	run -0 create acme/db
	[ "$(command jq -c .bandwidth <<<"$output")" = '{"ingress_kbit":0,"egress_kbit":0}' ]
	for option in --ingress-kbit --egress-kbit; do
		for bad in 63 1 100000001 -1 8mbit ''; do
			refuses_untouched 2 create acme/x $option "$bad"
			refuses_untouched 2 mvm-pool update acme/web $option "$bad"
		done
	done
	sed -i 's/"bandwidth":{[^}]*},//' "$MVM_STATE_DIR/tenants/acme/pools/db/pool.json"
	run -0 create acme/db
	[ "$(jq .changed <<<"$output")" = false ]
}

@test "update changes what is given and nothing else" {
	create acme/web --allow 192.0.2.0/24:443/tcp --ingress-kbit 100 --metadata --pinned
	mvm-pool scale acme/web --warm 1
	before=$(mvm-pool info acme/web | jq 'del(.bandwidth.egress_kbit)')
	run -0 mvm-pool update acme/web --egress-kbit 8000
	[ "$(out '.changed, .bandwidth.egress_kbit' | xargs)" = "true 8000" ]
	[ "$(mvm-pool info acme/web | jq 'del(.bandwidth.egress_kbit)')" = "$before" ]
	for same in "" "--egress-kbit 8000" "--metadata on" "--pinned on --critical off" \
		"--allow 192.0.2.0/24:443/tcp" "--egress allow" "--start-timeout 60s --drain-timeout 10s"; do
		# shellcheck disable=SC2086
		run -0 mvm-pool update acme/web $same
		[ "$(jq .changed <<<"$output")" = false ]
	done
	run -0 mvm-pool update acme/web --metadata off --pinned off --critical on --start-timeout 5s --drain-timeout 0 --ingress-kbit 0
	[ "$(jq -c '[.metadata_enabled, .pinned, .critical, .runtime.start_timeout_s, .runtime.drain_timeout_s, .bandwidth.ingress_kbit]' <<<"$output")" = "[false,false,true,5,0,0]" ]
	[ "$(mvm-pool info acme/web | jq -c '[.critical, .runtime.start_timeout_s]')" = "[true,5]" ]
}

@test "a pool starts by a boot, or from a template; nothing else" {
	create acme/web
	[ "$(mvm-pool info acme/web | jq -r .start_from)" = boot ]
	run -0 mvm-pool update acme/web --start-from template
	[ "$(jq -r '.start_from, .changed' <<<"$output" | xargs)" = "template true" ]
	run -0 mvm-pool update acme/web --start-from template
	[ "$(jq .changed <<<"$output")" = false ]
	run -0 mvm-pool update acme/web --pinned on
	[ "$(mvm-pool info acme/web | jq -r .start_from)" = template ]
	refuses_untouched 2 mvm-pool update acme/web --start-from snapshot
	create acme/other --start-from template
	[ "$(mvm-pool info acme/other | jq -r .start_from)" = template ]
}

@test "update changes what sleep makes of a memory, and nothing else" {
	create acme/web --start-from template
	before=$(mvm-pool info acme/web | jq 'del(.snapshot_compression)')
	for how in zstd lz4 none; do
		run -0 mvm-pool update acme/web --snapshot-compression $how --dry-run
		[ "$(out '[.changed, .dry_run, .snapshot_compression] | map(tostring) | join(" ")')" = "true true $how" ]
		[ "$(mvm-pool info acme/web | jq -r .snapshot_compression)" != $how ]
		for changed in true false; do
			run -0 mvm-pool update acme/web --snapshot-compression $how
			[ "$(jq -r '[.changed, .snapshot_compression] | map(tostring) | join(" ")' <<<"$output")" = "$changed $how" ]
		done
		run -0 mvm-pool update acme/web --pinned off
		[ "$(mvm-pool info acme/web | jq -r .snapshot_compression)" = $how ]
		[ "$(mvm-pool info acme/web | jq 'del(.snapshot_compression)')" = "$before" ]
	done
	[ "$(mvm-audit list acme --action PoolUpdated | jq length)" = 3 ]
	for bad in gzip '' NONE lz4,zstd; do
		refuses_untouched 2 mvm-pool update acme/web --snapshot-compression "$bad"
		[[ $stderr == *--snapshot-compression* ]]
	done
	refuses_untouched 2 mvm-pool update acme/web --snapshot-compression
}

@test "update replaces the list of ways out, and another egress drops it" {
	create acme/web
	run -0 mvm-pool update acme/web --allow 192.0.2.0/24 --allow 10.0.0.0/8:53
	[ "$(jq -c '[.egress, (.egress_allow | map(.cidr))]' <<<"$output")" = '["allow",["192.0.2.0/24","10.0.0.0/8"]]' ]
	run -0 mvm-pool update acme/web --allow 198.51.100.7:443
	[ "$(command jq -c '.egress_allow' <<<"$output")" = '[{"cidr":"198.51.100.7","port":443,"proto":""}]' ]
	refuses_untouched 2 mvm-pool update acme/web --egress none --allow 192.0.2.0/24
	for egress in none open; do
		mvm-pool update acme/web --allow 192.0.2.0/24
		run -0 mvm-pool update acme/web --egress $egress
		[ "$(jq -c '[.egress, .egress_allow]' <<<"$output")" = "[\"$egress\",null]" ]
	done
}

@test "an update that is refused, planned or kept out changes nothing" {
	create acme/web
	refuses_untouched 2 mvm-pool update
	refuses_untouched 2 mvm-pool update acme
	for bad in "--metadata" "--metadata yes" "--pinned 1" "--egress some" "--cpus 2" "--start-timeout 0" "--allow x" "--allow 192.0.2.1/24"; do
		# shellcheck disable=SC2086
		refuses_untouched 2 mvm-pool update acme/web $bad
	done
	refuses_untouched 4 mvm-pool update acme/db --egress none
	[[ $stderr == *"acme/db: no such pool"* ]]
	refuses_untouched 4 mvm-pool update other/web --egress none
	[[ $stderr == *"other: no such tenant"* ]]
	before=$(digest)
	run -0 mvm-pool update acme/web --egress none --dry-run
	[ "$(out '.dry_run and .changed and .egress == "none"')" = true ]
	[ "$(digest)" = "$before" ]
	hold_lock "$MVM_STATE_DIR/tenants/acme/pools/web/lock"
	refuses_untouched 8 mvm-pool update acme/web --egress none --lock-timeout 50ms
	release_lock
	for point in store-save:kill replace-fsync:err=EIO replace-rename:kill; do
		MVM_FAULT=$point run mvm-pool update acme/web --egress none
		[ "$status" != 0 ]
		run -0 mvm-pool info acme/web
		[ "$(out .egress)" = open ]
	done
	run -0 mvm-pool update acme/web --egress none
	[ "$(out .changed)" = true ]
}

@test "2: bad names, addresses and options" {
	for bad in acme acme/ /web acme/web/x ../x acme/../x acme/A acme/a--b; do
		refuses_untouched 2 create "$bad"
		refuses_untouched 2 mvm-pool info "$bad"
	done
	refuses_untouched 2 mvm-pool create acme/web
	refuses_untouched 2 mvm-pool create acme/web --flake /f --profile minimal --cpus 0 --mem 128
	refuses_untouched 2 mvm-pool create acme/web --flake /f --profile minimal --cpus 33 --mem 128
	refuses_untouched 2 mvm-pool create acme/web --flake /f --profile minimal --cpus 1 --mem 0
	refuses_untouched 2 mvm-pool create acme/web --flake '' --profile minimal --cpus 1 --mem 128
	refuses_untouched 2 mvm-pool create acme/web --flake /f#x --profile minimal --cpus 1 --mem 128
	refuses_untouched 2 mvm-pool create acme/web --flake /f --profile ../x --cpus 1 --mem 128
	refuses_untouched 2 create acme/web --seccomp none
	refuses_untouched 2 mvm-pool list acme/web
}

@test "3: a pool of which something runs stays; without it, records and all go" {
	create acme/web
	mvm-instance create acme/web/i-00000001
	file=$MVM_STATE_DIR/tenants/acme/pools/web/instances/i-00000001/instance.json
	sed -i 's/"status":"created"/"status":"running"/' "$file"
	refuses_untouched 3 mvm-pool destroy --yes acme/web
	refuses_untouched 3 mvm-pool destroy --force acme/web
	sed -i 's/"status":"running"/"status":"stopped"/' "$file"
	refuses_untouched 2 mvm-pool destroy acme/web </dev/null
	run -0 mvm-pool destroy --yes acme/web
	[ "$(out '.removed | join(",")')" = acme/web/i-00000001 ]
	[ ! -e "$MVM_STATE_DIR/tenants/acme/pools/web" ]
	[ ! -e "$MVM_STATE_DIR/ids/i-00000001" ]
}

@test "4: no such tenant, no such pool" {
	refuses_untouched 4 create other/web
	[[ $stderr == *"other: no such tenant"* ]]
	refuses_untouched 4 mvm-pool info acme/web
	[[ $stderr == *"acme/web: no such pool"* ]]
	refuses_untouched 4 mvm-pool list other
	refuses_untouched 4 mvm-pool scale acme/web --running 1
	refuses_untouched 4 mvm-pool destroy --yes acme/web
	run -0 mvm-pool destroy --yes --if-exists acme/web
}

@test "5: another specification of the same pool" {
	create acme/web
	refuses_untouched 5 mvm-pool create acme/web --flake /f --profile minimal --cpus 1 --mem 256
}

@test "6: quotas of pools, instances and disk" {
	mvm-tenant update acme --max-pools 1 --max-instances 3 --max-disk 1
	create acme/web --data-disk 500
	refuses_untouched 6 create acme/db
	refuses_untouched 6 mvm-pool scale acme/web --running 4
	[[ $stderr == *max_instances_per_pool* ]]
	refuses_untouched 6 mvm-pool scale acme/web --running 3
	[[ $stderr == *max_disk_gib* ]]
	run -0 mvm-pool scale acme/web --running 2
}

@test "a damaged pool.json is named and left as it is, and shows in the list" {
	create acme/web
	create acme/zeta
	file=$MVM_STATE_DIR/tenants/acme/pools/web/pool.json
	truncate -s 100 "$file"
	refuses_untouched 1 mvm-pool info acme/web
	[[ $stderr == *"web/pool.json: damaged: "* ]]
	refuses_untouched 1 mvm-pool scale acme/web --running 1
	refuses_untouched 1 mvm-pool update acme/web --egress none
	run --separate-stderr -1 mvm-pool list acme
	[ "$(out 'map(.pool_id + ":" + (.status // "good")) | join(",")')" = "web:damaged,zeta:good" ]
}

@test "--dry-run prints the plan and changes nothing" {
	create acme/web
	before=$(digest)
	run -0 create acme/db --dry-run
	[ "$(out '.dry_run and .changed')" = true ]
	run -0 mvm-pool scale acme/web --running 3 --dry-run
	[ "$(out '.missing, (.created | length)' | tr '\n' ' ')" = "3 0 " ]
	run -0 mvm-pool destroy acme/web --dry-run
	[ "$(digest)" = "$before" ]
}

@test "every verb has its help" {
	for verb in create update list info scale destroy; do
		run -0 mvm-pool "$verb" --help
		[[ $output == "Usage: mvm-pool $verb "* ]]
	done
}

@test "a crash at any step of create and destroy is cleared by a repeat and a sweep" {
	for point in draft-mkdir draft-create draft-sync draft-rename draft-sync-dir; do
		MVM_FAULT=$point:kill run create acme/web
		[ "$status" = 137 ]
		run -0 create acme/web
		mvm-instance create acme/web -n 2
		for kill in remove-rename remove-tree claim-release pool-remove; do
			MVM_FAULT=$kill:kill run mvm-pool destroy --yes acme/web
			[ "$status" = 137 ]
		done
		run mvm-pool destroy --yes --if-exists acme/web
		run -0 mvm-instance sweep
		empty "$MVM_STATE_DIR/ids" "$MVM_STATE_DIR/tenants/acme/pools"
	done
}
