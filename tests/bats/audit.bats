#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2154,SC2317,SC2030,SC2031

setup() {
	load helper
	load net
	fresh_state
	unset MVM_WHY
	# in the helper's place: here the logs count as well
	digest() { "$AIDS/tree" "$MVM_STATE_DIR"; }
	log=$MVM_STATE_DIR/tenants/acme/audit.log
}

teardown() {
	net_teardown
}

tenant_acme() { mvm-tenant create acme "$@" >/dev/null; }
pool_web() { mvm-pool create acme/web --flake /f --profile minimal --cpus 1 --mem 64 >/dev/null; }
actions() { mvm-audit list acme | jq -r '[.[].action] | join(" ")'; }
event() { printf '{"tenant_id":"acme","action":"ConfigChanged","detail":"%s"}' "$1"; }
append() { mvm-audit append < <(event "$1"); }

verified() { # the chain is whole
	run -0 mvm-audit verify acme
	[ "$(out '.ok and .torn_bytes == 0 and .bad == 0')" = true ]
}

@test "each thing that is done to records has its entry, with who, why and the request" {
	export MVM_REQUEST_ID=req-1 MVM_WHY=reconcile SUDO_UID=1
	tenant_acme --max-running 4
	mvm-tenant update acme --max-running 5
	pool_web
	mvm-pool update acme/web --pinned on
	mvm-pool scale acme/web --running 2
	mvm-instance create acme/web/i-0000000a
	mvm-instance destroy-record acme/web/i-0000000a
	mvm-pool destroy --yes acme/web
	run -0 mvm-audit list acme
	[ "$(out '[.[].action] | join(" ")')" = "TenantCreated TenantUpdated PoolCreated PoolUpdated PoolScaled InstanceCreated InstanceCreated InstanceCreated InstanceDestroyed InstanceDestroyed InstanceDestroyed PoolDestroyed" ]
	[ "$(out 'all(.request_id == "req-1" and .why == "reconcile" and .schema_version == 1 and .tenant_id == "acme")')" = true ]
	if ((EUID == 0)); then
		[ "$(out 'all(.who.uid == 1 and .who.user == "daemon")')" = true ]
	fi
	[ "$(out '[.[].seq] == [range(1; 13)]')" = true ]
	[ "$(out '.[1].detail')" = "quotas.max_running: 4 -> 5" ]
	[ "$(out '.[3].detail')" = "pinned: false -> true" ]
	[[ $(out '.[4].detail') == "running 0 -> 2, "*"to create: 2" ]]
	[ "$(out '.[7] | .pool_id + "/" + .instance_id')" = web/i-0000000a ]
	[[ $(out '.[7].detail') == "ip 10.240.1.5, mac 02:fc:"* ]]
	[ "$(out '.[0] | .pool_id == null and .instance_id == null')" = true ]
	verified
	[ "$(stat -c %a "$log")" = 600 ]
}

@test "what changed nothing, a dry run and a refusal have no entry" {
	tenant_acme
	pool_web
	before=$(actions)
	mvm-tenant create acme
	mvm-tenant update acme --max-running 8
	mvm-tenant update acme --max-running 9 --dry-run
	pool_web
	mvm-pool update acme/web --pinned off
	mvm-pool update acme/web --pinned on --dry-run
	mvm-pool scale acme/web --running 0
	mvm-pool scale acme/web --running 9 --dry-run
	mvm-instance create acme/web --dry-run
	mvm-pool destroy acme/web --dry-run
	mvm-tenant destroy --force --dry-run acme
	refuses 2 mvm-pool update acme/web --start-timeout 1d
	refuses 5 mvm-tenant create acme --net-id 9
	refuses 3 mvm-tenant destroy --yes acme
	mvm-tenant update acme --max-pools 1
	MVM_REQUEST_ID=x refuses 6 mvm-pool create acme/db --flake /f --profile p --cpus 1 --mem 64 --dry-run
	[ "$(actions)" = "$before TenantUpdated" ]
}

@test "a quota that was hit has its entry" {
	tenant_acme --max-pools 1 --max-instances 2
	pool_web
	refuses 6 mvm-pool create acme/db --flake /f --profile p --cpus 1 --mem 64
	refuses 6 mvm-pool scale acme/web --running 3
	refuses 6 mvm-instance create acme/web -n 3
	run -0 mvm-audit list acme --action QuotaExceeded
	[ "$(out '[.[].pool_id] | join(" ")')" = "db web web" ]
	[[ $(out '.[0].detail') == "acme: max_pools is 1: 1 in use, 1 more asked for" ]]
	# why without a meaning is told, and what was done is done
	MVM_WHY=mood run -0 --separate-stderr mvm-tenant update acme --max-pools 2
	[[ $stderr == *"MVM_WHY: 'mood' is none of"* ]]
	[ "$(mvm-audit events acme -n 1 | jq -r '.[0].why')" = manual ]
}

@test "starts and ends have their entries, in the name of who asked" {
	net_setup
	export MVM_BACKEND=direct MVM_VMM=qemu
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
	vm=acme/web/i-0000000a
	file=$(record $vm)
	mkdir -p "$MVM_RUN_DIR/instances/i-0000000a"
	printf '{"schema_version":1,"op_id":"o-00000001","who":{"user":"eve","uid":77,"unit":null},"why":"policy","request_id":"r"}' >"${file%/*}/asked.json"
	in_flight "$vm" start starting $$
	MAINPID=$$ within mvm-instance commit $vm
	in_flight "$vm" stop ending $$
	within mvm-instance finish $vm
	set_status $vm running
	EXIT_CODE=killed EXIT_STATUS=KILL SERVICE_RESULT=signal within mvm-instance finish $vm
	in_flight "$vm" start starting $$
	within mvm-instance finish $vm
	run -0 mvm-audit list acme
	[ "$(out '[.[2:][] | .action + ":" + .why + ":" + (.who.user // "")] | join(" ")')" = "InstanceCreated:manual:$(id -un) InstanceStarted:policy:eve InstanceStopped:policy:eve InstanceExited:guest:$(id -un) StartFailed:policy:eve" ]
	[[ $(out '.[3].detail') == *"ip 10.20.7.3, mac 02:fc:00:07:00:03"* ]]
	[ "$(out '.[5] | .detail, (.request_id | tostring)' | xargs)" = "killed null" ]
	[[ $(out '.[6].detail') == "the VMM ended before the guest was ready" ]]
	# done before: nothing ended, nothing is noted
	within mvm-instance finish $vm
	[ "$(mvm-audit list acme | jq length)" = 7 ]
}

@test "what repair did to a network is noted, and a sound one is not" {
	net_setup
	tenant acme 7 10.20.7.0/24
	bridge ensure acme
	bridge repair acme
	within ip link set br-tenant-7 down
	bridge repair acme --dry-run
	bridge repair acme
	[ "$(actions)" = "TenantCreated NetworkRepaired" ]
	[ "$(mvm-audit list acme | jq -r '.[1].detail')" != null ]
}

@test "a build and a rollback are noted with their revisions" {
	tenant_acme
	pool_web
	for n in 1 2; do
		mkdir "$BATS_TEST_TMPDIR/image$n"
		printf '\177ELF kernel' >"$BATS_TEST_TMPDIR/image$n/vmlinux"
		echo "$n" >"$BATS_TEST_TMPDIR/image$n/rootfs.ext4"
		jq -n '{schema_version: 1, system: "x86_64-linux", profile: "minimal", kernel_release: "6.1", rootfs: "rootfs.ext4", init: "/init", boot_args: "quiet"}' >"$BATS_TEST_TMPDIR/image$n/mvm-image.json"
		mvm-pool-build build acme/web --from "$BATS_TEST_TMPDIR/image$n" --dry-run
		mvm-pool-build build acme/web --from "$BATS_TEST_TMPDIR/image$n"
		mvm-pool-build build acme/web --from "$BATS_TEST_TMPDIR/image$n"
	done
	mvm-pool-build rollback acme/web
	[ "$(actions)" = "TenantCreated PoolCreated PoolBuilt PoolBuilt PoolRolledBack" ]
	now=$(mvm-pool info acme/web | jq -r .revision)
	[[ $(mvm-audit events acme -n 1 | jq -r '.[0].detail') == "revision $now, before "* ]]
}

@test "sixteen writers that are killed at random lose nothing that was acknowledged" {
	tenant_acme
	export MVM_LOCK_TIMEOUT_MS=300000
	template=$(event NAME)
	writer() {
		local i
		for i in {1..60}; do
			mvm-audit append <<<"${template/NAME/w$1-$i}" >/dev/null 2>&1 &&
				echo "w$1-$i"
		done >"$BATS_TEST_TMPDIR/acked.$1"
	}
	# Each fifth call of half of the writers is shot by the shell that started it.
	victim() {
		local i pid
		for i in {1..60}; do
			mvm-audit append <<<"${template/NAME/w$1-$i}" >/dev/null 2>&1 3>&- &
			pid=$!
			if ((i % 5 == 0)); then
				sleep "0.00$((RANDOM % 10))"
				kill -9 "$pid" 2>/dev/null || true
			fi
			if wait "$pid" 2>/dev/null; then echo "w$1-$i"; fi
		done >"$BATS_TEST_TMPDIR/acked.$1"
	}
	pids=()
	for w in {1..8}; do
		writer "$w" 3>&- & pids+=($!)
		victim "v$w" 3>&- & pids+=($!)
	done
	for _ in 1 2; do # and the files change under their hands
		sleep 0.3
		mvm-audit rotate acme
	done
	wait "${pids[@]}"
	[ "$(cat "$BATS_TEST_TMPDIR"/acked.* | wc -l)" -ge 840 ]
	verified
	mvm-audit list acme --action ConfigChanged | jq -r '.[].detail' | sort >"$BATS_TEST_TMPDIR/there"
	[ -z "$(uniq -d "$BATS_TEST_TMPDIR/there")" ]
	[ -z "$(cat "$BATS_TEST_TMPDIR"/acked.* | sort | comm -23 - "$BATS_TEST_TMPDIR/there")" ]
}

@test "killed at any point it leaves a chain that verifies and goes on" {
	tenant_acme
	n=0
	for point in audit-locked audit-write audit-sync; do
		n=$((n + 1))
		run -137 env MVM_FAULT=$point:kill mvm-audit append < <(event "killed $n")
		run -0 mvm-audit verify acme
		append "after $n"
		verified
	done
	for point in audit-rename audit-pack audit-packed audit-unlink audit-shift; do
		append "before $point"
		run -137 env MVM_FAULT=$point:kill mvm-audit rotate acme
		verified
		append "after $point"
		verified
		[ "$(mvm-audit list acme -n 2 | jq -r '[.[].detail] | join(", ")')" = "before $point, after $point" ]
		[ ! -e "$log.1" ]
	done
}

@test "an unfinished line is not lost in silence" {
	tenant_acme
	printf '{"schema_version":1,"seq":2,"half' >>"$log"
	run -0 mvm-audit verify acme
	[ "$(out .torn_bytes)" = 33 ]
	run -0 --separate-stderr mvm-audit list acme
	[[ $stderr == *"an unfinished last line" ]]
	append next
	verified
	[ "$(actions)" = "TenantCreated LogRepaired ConfigChanged" ]
	[[ $(mvm-audit list acme | jq -r '.[1].detail') == 'an unfinished line of 33 bytes (SHA-256 '*'): {"schema_version":1,"seq":2,"half' ]]
}

@test "a full disk does not undo what was done, and keeps a tenant with its log" {
	[ "$EUID" = 0 ]
	net_setup
	mkdir -p "$MVM_STATE_DIR"
	within mount -t tmpfs -o size=128k none "$MVM_STATE_DIR"
	within mvm-tenant create acme >/dev/null
	within head -c 50000 /dev/zero >"$BATS_TEST_TMPDIR/zeros"
	within cp "$BATS_TEST_TMPDIR/zeros" "$MVM_STATE_DIR/fill"
	while within mvm-audit append <"$(event_file)" >/dev/null 2>&1; do :; done
	within mvm-audit verify acme | jq -e '.ok and .torn_bytes == 0'
	run -1 --separate-stderr within mvm-audit append <"$(event_file)"
	[[ ${#stderr_lines[@]} == 1 && $stderr == *"No space left on device"* ]]
	run -1 within mvm-tenant destroy --yes acme
	within test -e "$log"
	within rm "$MVM_STATE_DIR/fill"
	within mvm-audit append <"$(event_file)"
	within mvm-audit verify acme | jq -e '.ok and .torn_bytes == 0'
	within mvm-tenant destroy --yes acme
	within mvm-audit verify --archived acme | jq -e '.ok'
}

event_file() { # a file: a process substitution does not reach into the namespace
	event full >"$BATS_TEST_TMPDIR/event"
	echo "$BATS_TEST_TMPDIR/event"
}

@test "an action whose entry cannot be written is done, and says so" {
	tenant_acme
	MVM_FAULT=audit-write:err=ENOSPC run -0 --separate-stderr mvm-tenant update acme --max-running 3
	[ "$(out .changed)" = true ]
	[[ $stderr == *"acme: TenantUpdated is not in the audit log: "*"No space left on device" ]]
	[ "$(mvm-tenant info acme | jq .quotas.max_running)" = 3 ]
	verified
	for point in audit-locked audit-write audit-sync tenant-archive draft-rename; do
		MVM_FAULT=$point:err=ENOSPC refuses 1 mvm-tenant destroy --yes acme
		[ "$(mvm-tenant info acme | jq -r .tenant_id)" = acme ]
		mvm-audit verify acme | jq -e .ok
	done
}

@test "garbage in the log is named by file and line, by list and by verify" {
	tenant_acme
	append one
	{
		echo '{"seq":3}'
		printf '\377\000\001\n'
		echo '[]'
		echo
	} >>"$log"
	append two
	run -1 --separate-stderr mvm-audit list acme
	[ "$(out 'map(select(.status == "damaged") | .line) | join(" ")')" = "3 4 5 6" ]
	[ "$(out 'map(select(.action)) | length')" = 3 ]
	[ "$(out '.[2].file')" = "$log" ]
	[[ ${#stderr_lines[@]} == 4 && $stderr == *"audit.log: line 3: damaged: "* ]]
	run -1 --separate-stderr mvm-audit events acme -o table
	run -3 --separate-stderr mvm-audit verify acme
	[ "$(out '.first_bad | .file + ":" + (.line | tostring)')" = "$log:3" ]
	[ "$(out '(.ok | not) and .bad == 4')" = true ]
	# what does not touch the damage does not tell it
	run -0 mvm-audit list acme -n 1
}

@test "a changed, a taken out and a moved line break the chain" {
	tenant_acme
	for n in 1 2 3 4; do append "$n"; done
	cp "$log" "$BATS_TEST_TMPDIR/good"
	for edit in 's/"detail":"2"/"detail":"9"/' '3d' '3{h;d};4G' '2p' '1d'; do
		sed "$edit" "$BATS_TEST_TMPDIR/good" >"$log"
		run -3 mvm-audit verify acme
		[ "$(out '.ok | not')" = true ]
		[ "$(out .first_bad.file)" = "$log" ]
		[ "$(out '.first_bad.line > 0')" = true ]
	done
	cp "$BATS_TEST_TMPDIR/good" "$log"
	verified
	[ "$(out .head)" = "$(tail -n 1 "$log" | tr -d '\n' | sha256sum | cut -d ' ' -f 1)" ]
}

@test "packed files are read with the rest, and a spoilt one is told" {
	tenant_acme
	for n in 1 2 3 4 5; do
		append "$n"
		mvm-audit rotate acme
	done
	append 6
	[ "$(find "${log%/*}" -name 'audit.log*' -printf '%f\n' | sort | xargs)" = "audit.log audit.log.1.gz audit.log.2.gz audit.log.3.gz" ]
	verified
	[ "$(out '[.entries, .first_seq, .last_seq] | map(tostring) | join(" ")')" = "4 4 7" ]
	[ "$(mvm-audit list acme | jq -r '[.[].detail] | join(" ")')" = "3 4 5 6" ]
	[ "$(zcat "$log.1.gz" | jq -r .detail)" = 5 ]
	run -0 mvm-audit rotate acme --dry-run
	[ "$(out '.changed and .dry_run')" = true ]
	[ -s "$log" ]
	truncate -s 40 "$log.2.gz"
	run -3 mvm-audit verify acme
	[[ $(out '.first_bad.file') == *audit.log.2.gz ]]
	refuses 1 mvm-audit list acme
	[[ $stderr == *audit.log.2.gz* ]]
	run -0 mvm-audit list acme -n 2
	rm "$log.3.gz" "$log.2.gz"
	run -3 mvm-audit verify acme
	[ "$(out .first_bad.reason)" = "older entries are missing" ]
}

followed() { # LINES: waits for that many
	eventually lines_in "$BATS_TEST_TMPDIR/followed" "$1"
}

@test "follow prints what comes, through rotations, until the tenant is gone" {
	tenant_acme
	append old
	mvm-audit follow acme --last 1 >"$BATS_TEST_TMPDIR/followed" 3>&- &
	pid=$!
	followed 1
	append a
	followed 2
	kill -STOP "$pid" # two rotations while it does not look
	append b
	mvm-audit rotate acme
	append c
	mvm-audit rotate acme
	append d
	kill -CONT "$pid"
	followed 5
	mvm-audit rotate acme
	append e
	printf '{"torn' >>"$log"
	append f
	followed 8
	mvm-tenant destroy --yes acme
	wait "$pid"
	[ "$(jq -r .seq "$BATS_TEST_TMPDIR/followed" | xargs)" = "2 3 4 5 6 7 8 9 10" ]
	[ "$(jq -r '.detail // .action' "$BATS_TEST_TMPDIR/followed" | grep -v '^an unf' | xargs)" = "old a b c d e f TenantDestroyed" ]
}

@test "events are the newest, as a table for people and as JSON for programs" {
	tenant_acme
	for n in {1..25}; do append "$n"; done
	[ "$(mvm-audit events acme | jq 'length')" = 20 ]
	run -0 mvm events acme --last 5 --json
	[ "$(out '[.[].detail] | join(" ")')" = "21 22 23 24 25" ]
	[ "$(mvm events acme -n 2 --json | jq length)" = 2 ]
	run -0 mvm events acme
	[[ ${lines[0]} == TIME*ACTION*POOL*INSTANCE*DETAIL* && ${#lines[@]} == 21 ]]
	[ "$(mvm events acme --since 1h --json | jq length)" = 26 ]
	[ "$(mvm events acme --since 2999-01-01T00:00:00Z --json)" = "[]" ]
	since=$(mvm-audit list acme | jq -r '.[23].timestamp')
	[ "$(mvm-audit list acme --since "$since" | jq length)" = 3 ]
	mvm events acme -f -n 3 >"$BATS_TEST_TMPDIR/followed" 3>&- &
	pid=$!
	followed 3
	kill "$pid"
	[ "$(jq -r .detail "$BATS_TEST_TMPDIR/followed" | xargs)" = "23 24 25" ]
}

@test "the log of a destroyed tenant stays, and a tenant of the same name begins anew" {
	tenant_acme
	append first
	mvm-audit rotate acme
	mvm-tenant destroy --yes acme
	refuses 4 mvm-audit list acme
	[[ $stderr == *"--archived"* ]]
	tenant_acme
	[ "$(actions)" = TenantCreated ]
	run -0 mvm-tenant destroy --yes acme
	run -0 mvm-audit list --archived acme
	[ "$(out '[.[].action] | join(" ")')" = "TenantCreated ConfigChanged TenantDestroyed TenantCreated TenantDestroyed" ]
	[ "$(mvm-audit list --archived acme -n 3 | jq -r '[.[].seq] | join(" ")')" = "3 1 2" ]
	run -0 mvm-audit verify --archived acme
	[ "$(out '.ok and .entries == 5 and (.files | length) == 3')" = true ]
	[ "$(stat -c %a "$MVM_STATE_DIR"/archive "$MVM_STATE_DIR"/archive/acme-* "$MVM_STATE_DIR"/archive/acme-*/audit* | sort -u | xargs)" = "600 700" ]
	file=$(find "$MVM_STATE_DIR/archive" -name audit.log | sort | tail -n 1)
	sed -i '1s/manual/policy/' "$file"
	run -3 mvm-audit verify --archived acme
	[ "$(out '.first_bad | .file + " " + (.line | tostring)')" = "$file 2" ]
	refuses 4 mvm-audit list --archived other
	refuses 4 mvm-audit verify --archived other
}

@test "a destroy that was killed is done again without a second archive" {
	tenant_acme
	run -137 env MVM_FAULT=remove-rename:kill mvm-tenant destroy --yes acme
	[ "$(mvm-tenant list | jq length)" = 1 ]
	mvm-tenant destroy --yes acme
	[ "$(find "$MVM_STATE_DIR/archive" -mindepth 1 -maxdepth 1 | wc -l)" = 1 ]
	[ "$(mvm-audit list --archived acme | jq -r '[.[].action] | join(" ")')" = "TenantCreated TenantDestroyed" ]
	tenant_acme
	run -137 env MVM_FAULT=draft-rename:kill mvm-tenant destroy --yes acme
	run -0 mvm-instance sweep
	[[ $(out '.removed[0]') == /archive/.new-acme-* ]]
	mvm-tenant destroy --yes acme
	[ "$(find "$MVM_STATE_DIR/archive" -mindepth 1 -maxdepth 1 | wc -l)" = 2 ]
}

@test "statuses: 2 for what is no event or option, 4 for no tenant, 8 while it is locked" {
	tenant_acme
	for bad in '' '{' '[]' '{"tenant_id":"acme"}' '{"tenant_id":"acme","action":"Danced"}' \
		'{"tenant_id":"acme","action":"PoolBuilt","why":"x"}' '{"tenant_id":"../x","action":"PoolBuilt"}' \
		'{"tenant_id":"acme","action":"PoolBuilt","instance_id":"i-00000001"}' \
		"{\"tenant_id\":\"acme\",\"action\":\"PoolBuilt\",\"detail\":\"$(printf 'x%.0s' {1..1025})\"}"; do
		refuses_untouched 2 mvm-audit append <<<"$bad"
	done
	refuses_untouched 2 mvm-audit list acme --since yesterday
	refuses_untouched 2 mvm-audit list acme --action Danced
	refuses_untouched 2 mvm-audit list acme/web
	refuses_untouched 2 mvm-audit events acme --follow --archived
	refuses_untouched 4 mvm-audit append <<<'{"tenant_id":"other","action":"PoolBuilt"}'
	for verb in list events follow verify rotate; do
		refuses_untouched 4 mvm-audit "$verb" other
	done
	run -0 mvm-audit append --dry-run < <(event x)
	[ "$(out '.dry_run and .changed')" = true ]
	[ "$(actions)" = TenantCreated ]
	hold_lock "$MVM_STATE_DIR/tenants/acme/audit.lock"
	MVM_LOCK_TIMEOUT_MS=20 refuses 8 mvm-audit append < <(event x)
	[[ $stderr == *"audit.lock: locked by pid $HOLDER_PID"* ]]
	refuses 8 mvm-audit list acme --lock-timeout 20ms
	release_lock
	append x
	verified
}

@test "the manual's examples run" {
	tenant_acme
	mvm-tenant destroy --yes acme
	tenant_acme
	awk '/^# / { on = $2 == "EXAMPLES"; next }
		!on { next }
		/^\t/ || joined { line = $0; sub(/^\t/, "", line); joined = sub(/\+\+$/, "", line); print line; next }
		{ joined = 0 }' "$BATS_TEST_DIRNAME/../../docs/mvm-audit.8.scd.in" >"$BATS_TEST_TMPDIR/script"
	(($(wc -l <"$BATS_TEST_TMPDIR/script") >= 6))
	run -0 sh -eu "$BATS_TEST_TMPDIR/script"
	[ "$(actions)" = "TenantCreated ConfigChanged" ]
}
