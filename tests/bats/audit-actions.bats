#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2154,SC2317,SC2030,SC2031
# Who notes what, and what of it a failure or a crash leaves. What needs a guest: tests/e2e/audit.bats.

setup() {
	load helper
	load net
	net_setup
	unset MVM_WHY CREDENTIALS_DIRECTORY
	log=$MVM_STATE_DIR/tenants/acme/audit.log
}

teardown() { net_teardown; }

pool_web() { mvm-pool create acme/web --flake /f --profile minimal --cpus 1 --mem 64; }

image() { # NUMBER: prints a directory
	local dir=$BATS_TEST_TMPDIR/image$1
	mkdir -p "$dir"
	printf '\177ELF kernel' >"$dir/vmlinux"
	echo "$1" >"$dir/rootfs.ext4"
	jq -n '{schema_version: 1, system: "x86_64-linux", profile: "minimal", kernel_release: "6.1",
		rootfs: "rootfs.ext4", init: "/init", boot_args: "quiet"}' >"$dir/mvm-image.json"
	echo "$dir"
}

build() { mvm-pool-build build acme/web --from "$(image "$1")"; }
secret() { printf %s "$1" | mvm-secrets set acme a=- --no-push; }

# Each of these is one action of the table, in an order in which they can be done.
order=(TenantCreated TenantUpdated PoolCreated PoolUpdated PoolBuilt PoolRolledBack PoolScaled InstanceCreated
	QuotaExceeded SecretsRotated SecretsDelivered ConfigChanged ConfigDelivered NetworkRepaired LogRepaired
	InstanceDestroyed PoolDestroyed TenantDestroyed)
do_TenantCreated() { mvm-tenant create acme --net-id 7 --subnet 10.240.7.0/24 --max-pools 1; }
do_TenantUpdated() { mvm-tenant update acme --deny-log on; }
do_PoolCreated() { pool_web; }
do_PoolUpdated() { mvm-pool update acme/web --egress none; }
do_PoolBuilt() { build 1; }
do_PoolRolledBack() { build 2 && mvm-pool-build rollback acme/web; }
do_PoolScaled() { mvm-pool scale acme/web --running 1; }
do_InstanceCreated() { mvm-instance create acme/web/i-0000000a; }
do_QuotaExceeded() { run -6 mvm-pool create acme/db --flake /f --profile p --cpus 1 --mem 64; }
do_SecretsRotated() { secret one; }
# A guest that cannot be reached; one that can be: tests/e2e/audit.bats.
do_SecretsDelivered() {
	within mvm-disk ensure acme/web/i-0000000a
	set_status acme/web/i-0000000a running
	secret two
	run -3 within mvm-disk push acme --timeout 1s
}
do_ConfigChanged() { mvm-config set acme a=1 --no-push; }
do_ConfigDelivered() {
	# the secrets wait for the guest as well: one of the two is told first
	within mvm-disk secrets acme/web/i-0000000a
	jq -c '.secrets_epoch = 2' "$(record acme/web/i-0000000a)" >"$BATS_TEST_TMPDIR/edited"
	cat "$BATS_TEST_TMPDIR/edited" >"$(record acme/web/i-0000000a)"
	run -3 within mvm-disk push acme --timeout 1s
	set_status acme/web/i-0000000a stopped
}
do_NetworkRepaired() {
	bridge ensure acme
	within ip link set br-tenant-7 down
	bridge repair acme
}
do_LogRepaired() {
	printf '{"half' >>"$log"
	mvm-tenant update acme --deny-log off
}
do_InstanceDestroyed() { mvm-instance destroy-record acme/web/i-0000000a; }
do_PoolDestroyed() { mvm-pool destroy --force acme/web; }
do_TenantDestroyed() { mvm-tenant destroy --yes acme; }

@test "each action of the table that can be done without a guest is done once and found in the log" {
	export MVM_WHY=policy
	for action in "${order[@]}"; do
		echo "$action" >&2
		MVM_REQUEST_ID=req-$action "do_$action" >"$BATS_TEST_TMPDIR/out"
	done
	run -0 --separate-stderr mvm-audit list --archived acme
	for action in "${order[@]}"; do
		echo "$action" >&2
		jq -e --arg a "$action" --argjson uid "$(id -u)" 'map(select(.action == $a and .request_id == "req-" + $a)) |
			length > 0 and all(.who.uid == $uid and .why == "policy" and .tenant_id == "acme")' <<<"$output"
	done
	jq -e 'map(select(.action == "SecretsDelivered" or .action == "ConfigDelivered") | .outcome) |
		length == 2 and all(. == "failed")' <<<"$output"
	jq -e '.[] | select(.action == "QuotaExceeded") | .outcome == "failed"' <<<"$output"
	mvm-audit verify --archived acme
}

@test "the table names no action that nothing does and no test has done" {
	mvm-audit actions >"$BATS_TEST_TMPDIR/table"
	[ "$(jq 'length > 30 and ([.[].action] | unique | length) == length' "$BATS_TEST_TMPDIR/table")" = true ]
	[ "$(jq -r '[.[] | select(.done_by == null).action] | sort | join(" ")' "$BATS_TEST_TMPDIR/table")" = \
		"" ]
	for action in $(jq -r '.[] | select(.done_by).action' "$BATS_TEST_TMPDIR/table"); do
		grep -q "^do_$action()" "$BATS_TEST_FILENAME" "$BATS_TEST_DIRNAME/../e2e/audit.bats"
	done
	for action in $(jq -r '.[].action' "$BATS_TEST_TMPDIR/table"); do
		grep -q "_${action}_" "$BATS_TEST_DIRNAME/../../docs/mvm-audit.8.scd.in"
	done
}

# The last line of an action, as action:outcome.
last() { mvm-audit events acme -n 1 | jq -r '.[0] | .action + ":" + .outcome'; }

fails() { # STATUS FAULT COMMAND...
	local status=$1 fault=$2
	shift 2
	MVM_FAULT=$fault refuses "$status" "$@"
}

@test "what failed is in the log as failed, with the cause" {
	do_TenantCreated
	fails 1 store-save:err=ENOSPC mvm-tenant update acme --deny-log on
	[ "$(last)" = TenantUpdated:failed ]
	[[ $(mvm-audit events acme -n 1 | jq -r '.[0].detail') == *"No space left on device"* ]]
	fails 1 draft-write:err=EIO pool_web
	[ "$(last)" = PoolCreated:failed ]
	pool_web
	fails 1 store-save:err=EIO mvm-pool update acme/web --pinned on
	[ "$(last)" = PoolUpdated:failed ]
	fails 1 store-save:err=EIO mvm-pool scale acme/web --running 1
	[ "$(last)" = PoolScaled:failed ]
	fails 1 instance-claimed:err=EIO mvm-instance create acme/web
	[ "$(last)" = InstanceCreated:failed ]
	fails 1 image-current:err=EIO build 1
	[ "$(last)" = PoolBuilt:failed ]
	build 1
	build 2
	fails 1 image-current:err=EIO mvm-pool-build rollback acme/web
	[ "$(last)" = PoolRolledBack:failed ]
	fails 1 replace-write:err=EIO mvm-config set acme a=1
	[ "$(last)" = ConfigChanged:failed ]
	secret one
	chmod 444 "$MVM_STATE_DIR/secrets.key"
	refuses 7 mvm-secrets rotate acme
	[ "$(last)" = SecretsRotated:failed ]
	mvm-instance create acme/web/i-0000000a
	fails 1 remove-rename:err=EIO mvm-instance destroy-record acme/web/i-0000000a
	[ "$(last)" = InstanceDestroyed:failed ]
	fails 1 pool-remove:err=EIO mvm-pool destroy --force acme/web
	[ "$(last)" = PoolDestroyed:failed ]
	mvm-pool destroy --force acme/web
	fails 1 remove-rename:err=EIO mvm-tenant destroy --yes acme
	[ "$(last)" = TenantDestroyed:failed ]
	fails 1 net-table:err=EIO within mvm-bridge repair acme
	[ "$(last)" = NetworkRepaired:failed ]
	mvm-tenant destroy --yes acme
	[ "$(mvm-audit list --archived acme -n 1 | jq -r '.[0] | .action + ":" + .outcome')" = TenantDestroyed:done ]
	mvm-audit verify --archived acme
}

@test "a failure that cannot be noted is told in one line all the same" {
	do_TenantCreated
	fails 1 store-save:err=ENOSPC,audit-write:err=ENOSPC@2 mvm-tenant update acme --deny-log on
	[[ $stderr == *tenant.json*"No space left on device" ]]
	mvm-audit verify acme
}

# What the log speaks of: without the log itself, and without what lies ready beside a record that does
# not name it yet (another epoch, another version, another revision).
shape() {
	"$AIDS/tree" "$MVM_STATE_DIR/tenants/acme" 'audit.lo*' revisions '.?*' lock '*.sealed' '[0-9]*.json' builds.jsonl
}
count() { mvm-audit list acme --action "$1" | jq '[.[] | select(.outcome == "done")] | length'; }

@test "killed at any point there may be a line without its deed, never a deed without its line" {
	do_TenantCreated
	pool_web
	build 1
	secret one
	declare -A deeds=(
		[TenantUpdated]='mvm-tenant update acme --max-running $((n + 2))'
		[PoolUpdated]='mvm-pool update acme/web --start-timeout $((n + 10))s'
		[PoolScaled]='mvm-pool scale acme/web --running $((n % 5))'
		[InstanceCreated]='mvm-instance create acme/web'
		[PoolBuilt]='build $((n + 10))'
		[SecretsRotated]='mvm-secrets rotate acme'
		[ConfigChanged]='mvm-config set acme n=$n'
	)
	local n=0 killed=0 kept=0
	for action in "${!deeds[@]}"; do
		for point in audit-locked audit-write audit-sync store-save replace-open replace-write replace-fsync replace-rename \
			replace-dirsync draft-create draft-mkdir draft-rename draft-sync draft-sync-dir draft-write \
			claim-link instance-claimed image-rename image-current secrets-sealed secrets-saved config-written; do
			n=$((n + 1))
			local before shape_before status=0
			before=$(count "$action") shape_before=$(shape)
			(MVM_FAULT=$point:kill eval "${deeds[$action]}") >/dev/null 2>&1 || status=$?
			((status != 0)) || continue
			killed=$((killed + 1))
			if [[ $(shape) != "$shape_before" ]]; then
				echo "$action at $point: before $before, now $(count "$action")" >&2
				(($(count "$action") > before))
				kept=$((kept + 1))
			fi
			[[ $(mvm-audit verify acme) == *'"ok":true'* ]]
			mvm-instance sweep >/dev/null
		done
	done
	echo "killed $killed, deeds among them $kept" >&2
	((killed >= 40 && kept >= 5))
}

@test "a tenant is there with its first line, or not at all" {
	for point in draft-create draft-mkdir draft-write audit-locked audit-write audit-sync draft-sync draft-rename; do
		run -137 env MVM_FAULT=$point:kill mvm-tenant create acme --net-id 7 --subnet 10.240.7.0/24
		[ "$(mvm-tenant list | jq length)" = 0 ]
		mvm-instance sweep
	done
	do_TenantCreated
	[ "$(mvm-audit list acme | jq -r '.[0] | .action + ":" + .outcome')" = TenantCreated:done ]
	[ "$(mvm-audit list acme | jq length)" = 1 ]
}

@test "a start that was asked for and never begun is told, in the name of who asked" {
	do_TenantCreated
	instance acme/web i-0000000a
	build 1
	export MVM_BACKEND=direct MVM_VMM=qemu
	MVM_REQUEST_ID=lost MVM_FAULT=life-start-asked:kill run -137 within mvm-instance start acme/web/i-0000000a
	run within mvm-instance stop acme/web/i-0000000a # anything that looks at it
	[ "$(mvm-audit list acme --action StartFailed | jq -r '.[0] | .request_id + " " + .outcome')" = "lost failed" ]
}

@test "each call of a tool ends with a line of the log, as JSON, when that is asked for" {
	export MVM_LOG=json MVM_LOG_LEVEL=info MVM_REQUEST_ID=req-9
	run -0 --separate-stderr do_TenantCreated
	[ "$(jq -r '[.level, .tool, .object, .request_id, .action, .outcome, .status] | join(" ")' <<<"$stderr")" = \
		"info mvm-tenant acme req-9 create done 0" ]
	[ "$(jq '.elapsed_ms >= 0 and (.ts | test("^20.*Z$"))' <<<"$stderr")" = true ]
	run -4 --separate-stderr mvm-tenant info nobody
	[ "$(jq -rR 'fromjson? | .action + " " + .outcome + " " + (.status | tostring)' <<<"$stderr")" = "info missing 4" ]
	MVM_LOG=text run -0 --separate-stderr mvm-tenant list
	[[ $stderr == "mvm-tenant: list: done, status 0, "*" ms" ]]
	unset MVM_LOG_LEVEL
	run -0 --separate-stderr mvm-tenant list
	[ -z "$stderr" ]
}
