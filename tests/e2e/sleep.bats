# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2034,SC2154
# Warm, sleep, wake with real guests: what they had in memory is there again, and whatever goes wrong
# or is killed on the way costs at most that memory, never what is on their disks.

load e2e
load alive

setup_file() {
	e2e_setup_file
	new_pool acme/bed 128 --data-disk 64 --drain-timeout 10s
}

setup() {
	state=${MVM_STATE_DIR:-/var/lib/mvm}
}

teardown() {
	mvm-instance destroy --all --yes acme/bed >/dev/null
	nothing_left
}

explain() { mvm-instance explain "$1" | jq -r "$2"; }
captures() { mvm-snap list "$1" | jq -r "$2"; }

# Its memory is gone, its disk is not, and it is said why.
is_cold() { # ADDRESS CAUSE
	is_status "$1" running
	[[ $(field "$1" .cold) == *$2* ]] || { echo "cold: $(field "$1" .cold)" >&2; return 1; }
	guest "$1" 'test ! -e /run/t/f && sha256sum -c /data/sum'
	[[ $(mvm-audit list acme --action InstanceStarted -n 1 | jq -r '.[0].detail') == "cold: "*"$2"* ]]
}

@test "warm: the guest stands still in memory, and goes on with the right time" {
	vm=$(alive)
	pid=$(vmm_pid "$vm")
	run -0 --separate-stderr mvm-instance warm "$vm"
	[[ $(jq -r '.changed, .status' <<<"$output" | xargs) == "true warm" ]]
	[[ $(mvm-instance warm "$vm" | jq .changed) == false ]]
	refuses 3 mvm-guest exec "$vm" -- true
	sleep 3
	run -0 --separate-stderr mvm-instance wake "$vm"
	[[ $(jq -r '.changed, .status' <<<"$output" | xargs) == "true running" ]]
	[[ $(vmm_pid "$vm") == "$pid" ]]
	whole "$vm"
	on_time "$vm"
	mvm-instance warm "$vm"
	[[ $(mvm-instance start "$vm" | jq -r .status) == running ]]
	n=$(count "$vm")
	sleep 0.5
	counts_on "$vm" "$n"
	mvm-instance warm "$vm"
	mvm-instance stop "$vm"
	[[ $(field "$vm" '.status + " " + .last_exit') == "stopped asked" ]]
	clean_data "$vm"
	[[ $(mvm-audit list acme | jq '[.[] | select(.instance_id == "'"${vm##*/}"'" and .action == "InstanceWarmed")] | length') == 3 ]]
}

@test "a tenant has no more warm guests than its quota" {
	a=$(new_instance acme/bed)
	b=$(new_instance acme/bed)
	up "$a" "$b"
	mvm-tenant update acme --max-warm 1
	mvm-instance warm "$a"
	refuses 6 mvm-instance warm "$b"
	[[ $stderr == *max_warm* ]]
	is_status "$b" running
	guest "$b" true
	mvm-tenant update acme --max-warm 4
}

@test "sleep and wake keep memory, /data, address and TAP; the VMM is another one" {
	vm=$(alive)
	pid=$(vmm_pid "$vm")
	before=$(field "$vm" '[.net.guest_ip, .net.tap_dev, .net.mac] | join(" ")')
	
	n=$(count "$vm")
	run -0 --separate-stderr mvm-instance sleep "$vm"
	[[ $(jq -r '.changed, .status' <<<"$output" | xargs) == "true sleeping" ]]
	gone "$pid"
	no_strays
	[[ $(mvm-instance sleep "$vm" | jq .changed) == false ]]
	clean_data "$vm"
	[[ $(captures "$vm" '.[0] | [.ref, .current, .kind, .form, .spent] | join(" ")') == "gen-1 true full mem false" ]]
	mvm-snap verify "$vm"
	((600 > $(field "$vm" .capture_mib) && $(field "$vm" .capture_mib) > 1))
	sleep 2
	begun=$(date +%s%3N)
	run -0 --separate-stderr mvm-instance wake "$vm"
	woken=$(date +%s%3N)
	mvm-guest exec "$vm" -- true
	echo "# wake $((woken - begun)) ms, to the end of the first command $(($(date +%s%3N) - begun)) ms" >&3
	[[ $(jq -r '.changed, .status, .cold' <<<"$output" | xargs) == "true running null" ]]
	[[ $(vmm_pid "$vm") != "$pid" ]]
	[[ $(field "$vm" '[.net.guest_ip, .net.tap_dev, .net.mac] | join(" ")') == "$before" ]]
	whole "$vm"
	counts_on "$vm" "$n"
	[[ $(field "$vm" .diff_base.ref) == gen-1 ]]
	[[ $(captures "$vm" '.[0].spent') == true ]]
	explain "$vm" '.start.stages[] | "# \(.stage) \(.ms)"' >&3
	# every stage of the wake, in order, and the whole of it
	[[ $(explain "$vm" '.start.stages | map(.stage) | join(" ")') == capture*drives*network*jail*api-up*spent*loaded*repaired*drives-given*attached*thawed ]]
	[[ $(explain "$vm" '.start | (.stages | map(.ms) | . == sort), .total_ms == .stages[-1].ms, .total_ms > 0' | xargs) == "true true true" ]]
	[[ $(mvm-instance stats "$vm" | jq -c '[.start, .sleep]') == "$(mvm-instance explain "$vm" | jq -c '[.start, .sleep]')" ]]
	[[ $(explain "$vm" '.start.load, .sleep.kind, .sleep.quiesced, .next_parent' | xargs) == "true full true gen-1" ]]
	mvm-bridge verify acme
}

@test "deltas: a second sleep holds what changed, is laid over its parent, and wakes" {
	vm=$(alive)
	mvm-instance sleep "$vm"
	full=$(explain "$vm" .sleep.bytes)
	mvm-instance wake "$vm"
	guest "$vm" 'echo second >/run/t/second'
	n=$(count "$vm")
	mvm-instance sleep "$vm"
	[[ $(explain "$vm" '.sleep.kind, .sleep.parent' | xargs) == "delta gen-1" ]]
	delta=$(explain "$vm" .sleep.bytes)
	echo "# full $((full >> 10)) KiB, delta $((delta >> 10)) KiB" >&3
	((delta * 2 < full))
	# composed, and the parent is gone
	[[ $(captures "$vm" 'map([.ref, .form] | join(" ")) | join(",")') == "gen-2 mem" ]]
	mvm-snap verify "$vm"
	mvm-instance wake "$vm"
	whole "$vm"
	[[ $(guest "$vm" 'cat /run/t/second') == second ]]
	counts_on "$vm" "$n"
	for round in 3 4; do
		mvm-instance sleep "$vm"
		mvm-instance start "$vm"
		whole "$vm"
		[[ $(field "$vm" .diff_base.ref) == "gen-$round" ]]
	done
}

@test "a warm guest can be put to sleep" {
	vm=$(alive)
	n=$(count "$vm")
	mvm-instance warm "$vm"
	mvm-instance sleep "$vm"
	is_status "$vm" sleeping
	mvm-instance wake "$vm"
	whole "$vm"
	counts_on "$vm" "$n"
}

@test "secrets and configuration that changed while it slept are there before its processes run" {
	printf one | mvm-secrets set acme db=- >/dev/null
	vm=$(alive)
	mvm-guest exec -d --session seen "$vm" -- sh -c 'while :; do
		echo "$(cat /run/mvm/boot-id) $(cat /run/secrets/db)" >>/run/t/seen; sleep 0.02; done' >/dev/null
	wait_until 5 guest "$vm" 'test -s /run/t/seen'
	mvm-instance sleep "$vm"
	printf two | mvm-secrets set acme db=- >/dev/null
	mvm-config set acme 'stage="late"' >/dev/null
	mvm-instance wake "$vm"
	[[ $(guest "$vm" 'cat /run/secrets/db') == two ]]
	guest "$vm" 'cat /etc/mvm-config/config.json' | jq -e '.values.stage == "late"'
	[[ $(explain "$vm" '.start.drives | map(.drive) | join(" ")') == "secrets config" ]]
	# and what changes after its repair, which has given it the others
	mvm-instance sleep "$vm"
	MVM_FAULT=life-load-repaired:sleep=6000@1 mvm-instance wake "$vm" >/dev/null 3>&- &
	waker=$!
	wait_until 10 grep -q '"spent":true' "$(dir_of "$vm")/snapshots/gen-2/manifest.json"
	sleep 1 # it is repaired, and the host has time to rewrite the drive before the commit
	printf three | mvm-secrets set acme db=- >/dev/null
	wait "$waker"
	wait_until 5 guest "$vm" 'grep -q three /run/t/seen'
	# what each of its lives saw first: none saw the one before
	[[ $(guest "$vm" 'cat /run/t/seen' | awk '!seen[$1]++ { print $2 }' | xargs) == "one two three" ]]
	[[ $(field "$vm" '[.secrets_epoch, .config_version] | join(" ")') == "$(mvm-tenant info acme | jq -r '[.secrets_epoch, .config_version] | join(" ")')" ]]
}

# The same memory twice, which only a hand in the state can do.
@test "after a wake the time is right; from one memory woken twice come two boots with random numbers of their own" {
	vm=$(alive)
	mvm-instance sleep "$vm"
	dir=$(dir_of "$vm")
	cp -a --sparse=always "$dir" "$BATS_TEST_TMPDIR/kept"
	sleep 3
	for try in 1 2; do
		mvm-instance wake "$vm"
		[[ $(field "$vm" .cold) == null ]]
		on_time "$vm"
		guest "$vm" 'cat /run/mvm/boot-id && head -c 32 /dev/urandom | sha256sum' >"$BATS_TEST_TMPDIR/drawn-$try"
		mvm-instance stop --force "$vm"
		((try == 1)) || break
		rm -r "$dir"/{snapshots,volumes,instance.json}
		cp -a --sparse=always "$BATS_TEST_TMPDIR"/kept/{snapshots,volumes,instance.json} "$dir/"
	done
	[[ $(sort "$BATS_TEST_TMPDIR"/drawn-? | uniq | wc -l) == 4 ]]
}

@test "a capture is woken once: killed after a wake it starts cold, says why, and /data is clean" {
	vm=$(alive)
	mvm-instance sleep "$vm"
	mvm-instance wake "$vm"
	guest "$vm" 'echo later >/data/later && sync'
	kill -9 "$(vmm_pid "$vm")"
	wait_until 5 is_status "$vm" stopped
	run -0 --separate-stderr mvm-instance wake "$vm"
	[[ $(jq -r .cold <<<"$output") == killed ]]
	is_cold "$vm" killed
	[[ $(field "$vm" '.cold_starts | [.ended, .failed, .damaged] | join(" ")') == "1 0 0" ]]
	[[ $(guest "$vm" 'cat /data/later') == later ]]
	[[ $(captures "$vm" length) == 0 ]]
	mvm-instance stop "$vm"
	refuses 3 mvm-instance wake "$vm"
	clean_data "$vm"
}

# Each is found before anything is loaded.
@test "a capture that is damaged, cut, changed or of something else is refused by name and never loaded" {
	vm=$(alive)
	mvm-instance stop "$vm"
	declare -A harm=(
		["vmstate"]='printf "\377\001\376" | dd of="$gen/vmstate" bs=1 seek=5000 conv=notrunc status=none'
		["vmstate: has"]='truncate -s -1 "$gen/vmstate"'
		["mem"]='printf x | dd of="$gen/mem" bs=1 seek=70000000 conv=notrunc status=none'
		["mem:"]='truncate -s 100M "$gen/mem"'
		["damaged"]='truncate -s 100 "$gen/manifest.json"'
		["vcpus"]='jq -c ".machine.vcpus = 2" "$gen/manifest.json" >"$BATS_TEST_TMPDIR/m" && cat "$BATS_TEST_TMPDIR/m" >"$gen/manifest.json"'
		["identity"]='debugfs -w -R "rm sum" "$(dir_of "$vm")/volumes/data.ext4" 2>/dev/null; true'
		["spent: does not fit the seal"]='jq -c ".spent = true | .spent_at = .created_at" "$gen/manifest.json" >"$BATS_TEST_TMPDIR/m" && cat "$BATS_TEST_TMPDIR/m" >"$gen/manifest.json"'
		["no capture"]='rm "$(dir_of "$vm")/snapshots/delta"'
	)
	for cause in "${!harm[@]}"; do
		echo "--- $cause" >&2
		up "$vm" >/dev/null
		guest "$vm" 'mkdir -p /run/t && echo x >/run/t/f && head -c 1000 /dev/urandom >/data/f && sha256sum /data/f >/data/sum'
		mvm-instance sleep "$vm" >/dev/null
		gen=$(dir_of "$vm")/snapshots/$(readlink "$(dir_of "$vm")/snapshots/delta")
		eval "${harm[$cause]}"
		mvm-instance wake "$vm"
		is_status "$vm" running
		[[ $(field "$vm" .cold) == *"$cause"* ]] || { field "$vm" .cold >&2; return 1; }
		guest "$vm" 'test ! -e /run/t/f'
		[[ $cause == identity ]] || guest "$vm" 'sha256sum -c /data/sum'
		mvm-instance stop "$vm"
	done
	clean_data "$vm"
}

@test "after QEMU was upgraded a sleeper stays what it is, and wakes when the former QEMU is there again" {
	vm=$(alive)
	n=$(count "$vm")
	mvm-instance sleep "$vm"
	if [[ $(field "$vm" .vmm) == qemu ]]; then
		[[ $(mvm-snap info "$vm" gen-1 | jq -r .machine.emulator) == "$(qemu-system-x86_64 --version | sed -n '1s/^QEMU emulator version //p')" ]]
		mkdir "$BATS_TEST_TMPDIR/bin"
		printf '#!/bin/sh\necho QEMU emulator version 99.1.0\n' >"$BATS_TEST_TMPDIR/bin/qemu-system-x86_64"
		chmod +x "$BATS_TEST_TMPDIR/bin/qemu-system-x86_64"
		PATH=$BATS_TEST_TMPDIR/bin:$PATH refuses 8 mvm-instance wake "$vm"
		[[ $stderr == *"machine: emulator: "*"99.1.0"* ]]
		[[ $(field "$vm" '[.status, .cold, .op] | map(tostring) | join(" ")') == "sleeping null null" ]]
		[[ $(captures "$vm" '.[0].spent') == false ]]
	fi
	mvm-instance wake "$vm"
	[[ $(field "$vm" .cold) == null ]]
	whole "$vm"
	counts_on "$vm" "$n"
}

@test "a VMM that refuses its capture, and a guest that does not answer, end in a cold start" {
	vm=$(alive)
	for point in life-load-spent life-load-loaded life-load-repaired life-commit-drives life-commit-attached; do
		echo "--- $point" >&2
		guest "$vm" 'mkdir -p /run/t && echo x >/run/t/f'
		mvm-instance sleep "$vm"
		MVM_FAULT=$point:err=EIO@1 mvm-instance wake "$vm"
		is_cold "$vm" fault
	done
	[[ $(field "$vm" '.cold_starts | [.failed, .damaged, .ended] | join(" ")') == "5 0 0" ]]
}

@test "somebody who holds the tenant's lock does not cost a guest that was loaded its memory" {
	vm=$(alive)
	mvm-instance sleep "$vm"
	MVM_LOCK_TIMEOUT_MS=200 MVM_FAULT=life-load-repaired:sleep=2000@1 mvm-instance wake "$vm" >/dev/null &
	job=$!
	wait_until 10 grep -q '"spent":true' "$(dir_of "$vm")/snapshots/gen-1/manifest.json"
	flock "$state/tenants/acme/lock" sleep 8 3>&-
	wait "$job"
	[[ $(field "$vm" '[.status, .cold] | map(tostring) | join(" ")') == "running null" ]]
	whole "$vm"
}

# Its guest runs all the while.
@test "a VMM that hangs fails the sleep, and its guest goes on; one that hangs for good can be ended" {
	vm=$(alive)
	pid=$(vmm_pid "$vm")
	n=$(count "$vm")
	kill -STOP "$pid"
	(sleep 26 && kill -CONT "$pid") 3>&- &
	run ! mvm-instance sleep "$vm"
	((status < 126))
	mvm-instance settle "$vm"
	[[ $(field "$vm" '[.status, .op, .pid] | map(tostring) | join(" ")') == "running null $pid" ]]
	whole "$vm"
	counts_on "$vm" "$n"
	mvm-instance sleep "$vm"
	mvm-instance wake "$vm"
	whole "$vm"
	kill -STOP "$(vmm_pid "$vm")"
	mvm-instance stop --force "$vm"
	is_status "$vm" stopped
}

@test "discard and start --cold drop the capture" {
	vm=$(alive)
	mvm-instance sleep "$vm"
	run -0 --separate-stderr mvm-instance discard "$vm"
	[[ $(jq -r '.changed, .status' <<<"$output" | xargs) == "true stopped" ]]
	[[ $(captures "$vm" length) == 0 && $(field "$vm" .capture_mib) == 0 ]]
	refuses 3 mvm-instance wake "$vm"
	up "$vm"
	guest "$vm" 'sha256sum -c /data/sum && test ! -e /run/t/f && mkdir /run/t && echo x >/run/t/f'
	mvm-instance sleep "$vm"
	mvm-instance start --cold "$vm"
	guest "$vm" 'sha256sum -c /data/sum && test ! -e /run/t/f'
	[[ $(field "$vm" .cold) == null ]]
	[[ $(captures "$vm" length) == 0 ]]
}

@test "a guest that does not come to rest goes on; --force captures it as it is, and its wake says so" {
	vm=$(alive)
	n=$(count "$vm")
	restless "$vm"
	run ! --separate-stderr mvm-instance sleep "$vm"
	((status < 126))
	[[ $stderr == *"freeze processes"* ]]
	is_status "$vm" running
	whole "$vm"
	counts_on "$vm" "$n"
	[[ $(captures "$vm" length) == 0 ]]
	restless "$vm"
	run -0 --separate-stderr mvm-instance sleep --force "$vm"
	[[ $stderr == *"captured as it is"* ]]
	[[ $(explain "$vm" '[.sleep.quiesced, .capture_bad] | map(tostring) | join(" ")') == "false null" ]]
	[[ $(explain "$vm" .capture_note) == *"not at rest"* ]]
	run -0 --separate-stderr mvm-instance wake "$vm"
	[[ $stderr == *"not at rest"* && $(jq -r .cold <<<"$output") == null ]]
	whole "$vm"
	counts_on "$vm" "$n"
	[[ $(mvm-audit list acme --action InstanceWoken -n 1 | jq -r '.[0].detail') == "captured while not at rest; "* ]]
	mvm-instance sleep "$vm"
	[[ $(explain "$vm" '[.sleep.quiesced, .capture_note] | map(tostring) | join(" ")') == "true null" ]]
	run -0 --separate-stderr mvm-instance wake "$vm"
	[[ -z $stderr ]]
	whole "$vm"
}

@test "a sleep that fails when its guest is at rest lets it go on; --force is past what policy is bound by" {
	vm=$(alive)
	n=$(count "$vm")
	MVM_FAULT=life-sleep-quiesced:err=EIO refuses 1 mvm-instance sleep "$vm"
	is_status "$vm" running
	[[ $(field "$vm" .op) == null ]]
	whole "$vm"
	counts_on "$vm" "$n"
	[[ $(captures "$vm" length) == 0 ]]
	MVM_WHY=policy refuses 3 mvm-instance sleep "$vm"
	[[ $stderr == *min_running_s* ]]
	MVM_WHY=policy mvm-instance sleep --force "$vm"
	mvm-instance wake "$vm"
	whole "$vm"
}

@test "a sleep that is killed while the guest's own programs run leaves nothing that stands still later" {
	vm=$(alive)
	guest "$vm" 'mkdir -p /etc/mvm/sleep-prep.d && cd /etc/mvm/sleep-prep.d &&
		printf "#!/bin/sh\nsleep 8\n" >10-slow && chmod +x 10-slow'
	mvm-instance sleep "$vm" 3>&- &
	sleeper=$!
	wait_until 20 eval '! guest "$vm" true 2>/dev/null'
	kill -9 "$sleeper"
	begun=$SECONDS
	mvm-instance settle "$vm"
	((SECONDS - begun < 7))
	is_status "$vm" running
	[[ $(field "$vm" .op) == null ]]
	n=$(count "$vm")
	sleep 9
	counts_on "$vm" "$n"
	whole "$vm"
}

@test "the disk quota counts captures, and keeps a sleep from being begun" {
	vm=$(alive)
	mvm-tenant update acme --max-disk 0
	refuses 6 mvm-instance sleep "$vm"
	[[ $stderr == *max_disk_gib* ]]
	is_status "$vm" running
	whole "$vm"
	mvm-tenant update acme --max-disk 100
}

# Whatever the tools are killed at: then the guest runs with its memory, or sleeps with it.
@test "a sleep that is killed anywhere leaves a guest that goes on, or one that sleeps" {
	vm=$(alive)
	for point in life-sleep-asked life-sleep-draft snap-mark life-sleep-quiesced life-sleep-base life-sleep-paused \
		life-sleep-created snap-take life-sleep-taken snap-sync-memory snap-seal life-sleep-sealed snap-link \
		snap-link-rename life-sleep-linked life-sleep-ending life-sleep-stopped \
		compose-copied compose-renamed; do
		echo "--- $point" >&2
		n=$(count "$vm")
		killed_at "$point" mvm-instance sleep "$vm" || [[ $point == compose-* ]]
		mvm-instance settle "$vm"
		was=$(field "$vm" .status)
		echo "# $point: $was" >&3
		[[ $was == running || $was == sleeping ]]
		[[ $(field "$vm" .op) == null ]]
		mvm-instance start "$vm"
		[[ $(field "$vm" .cold) == null ]]
		whole "$vm"
		counts_on "$vm" "$n"
	done
}

@test "a wake that is killed anywhere wakes, or starts cold with a cause, and /data is whole" {
	vm=$(alive)
	for point in life-start-asked life-prepare-taken life-prepare-capture life-prepare-tap life-prepare-drives \
		life-prepare-jail life-load-spend snap-spend life-load-spent life-load-loaded life-load-repaired \
		life-commit-drives life-commit-attached life-commit-thawed life-commit; do
		echo "--- $point" >&2
		guest "$vm" "mkdir -p /run/t && echo x >/run/t/mark && echo $point >>/data/points && sync"
		mvm-instance sleep "$vm"
		MVM_FAULT=$point:kill@1 run mvm-instance wake "$vm"
		mvm-instance settle "$vm"
		is_status "$vm" running || mvm-instance wake "$vm"
		is_status "$vm" running
		cold=$(field "$vm" .cold)
		echo "# $point: cold $cold" >&3
		if [[ $cold == null ]]; then
			guest "$vm" 'test -e /run/t/mark'
		else
			guest "$vm" 'test ! -e /run/t/mark'
			[[ $cold != start-failed ]] # but what failed
		fi
		guest "$vm" 'sha256sum -c /data/sum'
		[[ $(guest "$vm" 'tail -n 1 /data/points') == "$point" ]]
	done
	[[ $(guest "$vm" 'wc -l </data/points') == 15 ]]
	mvm-instance stop "$vm"
	clean_data "$vm"
}

@test "warm and its wake killed anywhere: the guest goes on as it was" {
	vm=$(alive)
	for point in life-warm-asked life-warm-paused; do
		killed_at "$point" mvm-instance warm "$vm"
		mvm-instance settle "$vm"
		is_status "$vm" running
		whole "$vm"
	done
	mvm-instance warm "$vm"
	killed_at life-resume-running mvm-instance wake "$vm"
	mvm-instance settle "$vm"
	is_status "$vm" warm
	mvm-instance wake "$vm"
	whole "$vm"
}

@test "the VMM killed while its guest is captured: stopped with the cause, nothing half is left" {
	vm=$(alive)
	pid=$(vmm_pid "$vm")
	MVM_FAULT=life-sleep-paused:sleep=3000 mvm-instance sleep "$vm" 2>/dev/null &
	job=$!
	sleep 2
	kill -9 "$pid"
	status=0
	wait "$job" || status=$?
	((status != 0 && status < 126))
	wait_until 5 is_status "$vm" stopped
	mvm-snap gc "$vm" >/dev/null
	[[ $(captures "$vm" length) == 0 ]]
	mvm-instance wake "$vm"
	is_cold "$vm" killed
}

@test "the VMM killed while its guest comes to rest: told at once, and the next wake waits for its end" {
	vm=$(alive)
	guest "$vm" sync
	for after in 0.02 0.05 0.1; do
		mvm-instance sleep "$vm" 2>/dev/null &
		job=$!
		sleep "$after"
		kill -9 "$(vmm_pid "$vm")"
		begun=$SECONDS
		wait "$job" || (($? < 126))
		((SECONDS - begun < 10))
		mvm-instance wake "$vm"
		is_status "$vm" running
		[[ $(field "$vm" .op) == null ]]
		guest "$vm" 'sha256sum -c /data/sum'
	done
}

@test "many wake at once, each with its own memory" {
	mapfile -t vms < <(mvm-instance create acme/bed -n 16 | jq -r '.[] | "acme/bed/" + .instance_id')
	up "${vms[@]}" >/dev/null
	for vm in "${vms[@]}"; do
		guest "$vm" 'mkdir /run/t && mount -t tmpfs none /run/t && hostname >/run/t/me'
	done
	mvm-instance sleep "${vms[@]}" >/dev/null
	begun=$(date +%s%3N)
	pids=()
	for vm in "${vms[@]}"; do
		mvm-instance wake "$vm" >/dev/null &
		pids+=($!)
	done
	wait "${pids[@]}"
	echo "# 16 wakes at once: $(($(date +%s%3N) - begun)) ms" >&3
	for vm in "${vms[@]}"; do
		[[ $(guest "$vm" 'cat /run/t/me') == "${vm##*/}" ]]
		[[ $(field "$vm" .cold) == null ]]
	done
}

packed() { [[ $(captures "$1" '.[0].form') == pack ]]; }

@test "a pool that packs: the capture is packed behind the sleep, and a wake before or after it has all" {
	new_pool acme/packed 128 --data-disk 64 --drain-timeout 10s --snapshot-compression zstd
	vm=$(new_instance acme/packed)
	up "$vm" >/dev/null
	guest "$vm" 'mkdir -p /run/t && head -c 3000000 /dev/urandom >/run/t/f && sha256sum /run/t/f >/run/t/sum'
	mvm-instance sleep "$vm"
	wait_until 60 packed "$vm"
	mvm-snap verify "$vm"
	for round in after before before; do
		mvm-instance wake "$vm"
		[[ $(field "$vm" .cold) == null ]]
		guest "$vm" 'sha256sum -c /run/t/sum'
		mvm-instance sleep "$vm"
	done
	mvm-instance destroy --yes "$vm"
	mvm-pool destroy --force acme/packed
}
