# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2154
# The drives of a real guest: data that stays, secrets and configuration that are read-only, rotate
# while it runs, and are nowhere else.

load e2e

setup_file() {
	e2e_setup_file
	new_pool acme/store 128 --data-disk 64
}

setup() {
	state=${MVM_STATE_DIR:-/var/lib/mvm} run=${MVM_RUN_DIR:-/run/mvm}
	canary=CANARY-$RANDOM$RANDOM$RANDOM
}

teardown() {
	mvm-instance destroy --all --yes acme/store >/dev/null
	nothing_left
}

secret() { # NAME VALUE [OPTION...]
	local name=$1 value=$2
	shift 2
	printf %s "$value" | mvm-secrets set acme "$name=-" "$@"
}

no_images() {
	[[ -z $(find "$run/secrets" -mindepth 1 2>/dev/null) ]]
}

@test "what a guest writes to /data is there after a stop and a start" {
	vm=$(new_instance acme/store)
	up "$vm"
	guest "$vm" 'grep -q "^/dev/vdb /data ext4 rw,nosuid,nodev,noexec" /proc/mounts'
	guest "$vm" 'head -c 1000000 /dev/urandom >/data/f && sync && sha256sum /data/f >/data/sum'
	guest "$vm" 'cp /bin/busybox /data/sh && ! /data/sh true 2>/dev/null'
	mvm-instance stop "$vm"
	file=$(find "$state/tenants/acme/pools/store/instances/${vm##*/}" -name data.ext4)
	[[ $(stat -c '%u %g %a %h' "$file") == "0 0 600 1" ]]
	e2fsck -fn "$file"
	up "$vm"
	[[ $(stat -c '%u %a' "$file") == "$((0x70000000 + 7 * 65536 + $(field "$vm" .net.offset))) 600" ]]
	guest "$vm" 'sha256sum -c /data/sum'
}

@test "a VMM that is killed takes nothing of what was synced along" {
	vm=$(new_instance acme/store)
	up "$vm"
	guest "$vm" 'echo kept >/data/f && sync'
	kill -9 "$(vmm_pid "$vm")"
	wait_until 5 is_status "$vm" stopped
	no_images
	up "$vm"
	[[ $(guest "$vm" 'cat /data/f') == kept ]]
}

@test "secrets and configuration are read-only copies with their modes, and no drive stays mounted" {
	secret db "$canary"
	mvm-config set acme 'stage="prod"' >/dev/null
	vm=$(new_instance acme/store)
	up "$vm"
	[[ $(guest "$vm" 'cat /run/secrets/db') == "$canary" ]]
	[[ $(guest "$vm" 'stat -L -c "%a %u" /run/secrets /run/secrets/db /etc/mvm-config /etc/mvm-config/config.json' | xargs) == "500 0 400 0 555 0 444 0" ]]
	guest "$vm" '! touch /run/secrets/x 2>/dev/null && ! rm -f /etc/mvm-config/config.json 2>/dev/null'
	[[ $(guest "$vm" 'grep -c " tmpfs ro,nosuid,nodev,noexec" /proc/mounts') == 2 ]]
	guest "$vm" '! grep -E "^/dev/vd[c-z]" /proc/mounts'
	guest "$vm" 'cat /etc/mvm-config/config.json' >"$BATS_TEST_TMPDIR/config"
	[[ $(jq -r '.instance_id + " " + .values.stage' "$BATS_TEST_TMPDIR/config") == "${vm##*/} prod" ]]
	[[ $(field "$vm" '[.secrets_epoch, .config_version] | join(" ")') == "$(mvm-tenant info acme | jq -r '[.secrets_epoch, .config_version] | join(" ")')" ]]
}

@test "while the guest runs its secrets are on the ramfs and nowhere else on the host" {
	secret db "$canary"
	vm=$(new_instance acme/store)
	up "$vm"
	grep -rqaF "$canary" "$run/secrets"
	run -1 grep -rlaF -D skip --exclude-dir=secrets -e "$canary" "$run"
	run -1 grep -rlaF -D skip -e "$canary" "$state"
	for file in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do
		run grep -qaF "$canary" "$file" # 2: it has ended
		((status != 0))
	done
	for source in console vmm agent; do
		mvm-guest logs --source "$source" "$vm" >"$BATS_TEST_TMPDIR/log"
		run -1 grep -qaF "$canary" "$BATS_TEST_TMPDIR/log"
	done
}

@test "a rotation is seen by a guest that runs within two seconds" {
	secret db one
	vm=$(new_instance acme/store)
	before=$(now_us)
	up "$vm"
	begun=$(now_us)
	run -0 --separate-stderr secret db "$canary"
	[[ $(guest "$vm" 'cat /run/secrets/db') == "$canary" ]]
	quickly $((begun - before)) $(($(now_us) - begun))
	[[ $(jq -r '.guests[0].outcome' <<<"$output") == taken ]]
	[[ $(field "$vm" .secrets_epoch) == "$(mvm-tenant info acme | jq .secrets_epoch)" ]]
	mvm-config set acme "seen=\"$canary\"" >/dev/null
	guest "$vm" "grep -q $canary /etc/mvm-config/config.json"
	mvm-secrets rm acme db >/dev/null
	guest "$vm" '! test -e /run/secrets/db'
	run -0 --separate-stderr mvm-disk push acme
	[[ $(jq -r '.[0].outcome' <<<"$output") == current ]]
}

@test "who reads while secrets rotate finds the former set or the new one, never nothing or both" {
	secret a 0 --no-push
	secret b 0 --no-push
	vm=$(new_instance acme/store)
	up "$vm"
	guest "$vm" 'cd /; while ! test -e /run/enough; do
			d=$(readlink /run/secrets); a=$(cat $d/a 2>/dev/null) && b=$(cat $d/b 2>/dev/null) || continue
			cat /run/secrets/a >/dev/null || echo missing; [ "$a" = "$b" ] || echo "mixed $a $b"
		done' >"$BATS_TEST_TMPDIR/reader" 2>&1 3>&- &
	reader=$!
	for i in {1..10}; do
		printf %s "$i" >"$BATS_TEST_TMPDIR/value"
		mvm-secrets set acme "a=@$BATS_TEST_TMPDIR/value" "b=@$BATS_TEST_TMPDIR/value" >/dev/null
	done
	guest "$vm" 'touch /run/enough'
	wait "$reader"
	[[ ! -s $BATS_TEST_TMPDIR/reader ]]
	[[ $(guest "$vm" 'cat /run/secrets/a; grep -c mvm-drives /proc/mounts') == 102 ]]
	mvm-secrets rm acme a b >/dev/null
}

worker_waits() { # the push, or its process for this guest, at the fault point; $worker is its pid
	worker=$(pgrep -n -x mvm-disk --runstates T)
}

@test "a guest keeps what it has when the drive's digest does not fit" {
	secret db one
	vm=$(new_instance acme/store)
	up "$vm"
	image=$(find "$run/secrets" -name secrets.img)
	secret db two --no-push >/dev/null
	MVM_FAULT=push-rewritten:stop mvm-disk push acme >"$BATS_TEST_TMPDIR/report" 2>/dev/null 3>&- &
	pusher=$!
	wait_until 10 worker_waits
	printf junk | dd of="$image" bs=1 seek=12288 conv=notrunc status=none
	kill -CONT "$worker"
	wait "$pusher" && status=0 || status=$?
	((status == 3))
	[[ $(jq -r '.[0] | .outcome + ": " + .error' "$BATS_TEST_TMPDIR/report") == "failed: "*digest* ]]
	[[ $(guest "$vm" 'cat /run/secrets/db') == one ]]
	[[ $(field "$vm" .secrets_epoch) != "$(mvm-tenant info acme | jq .secrets_epoch)" ]]
	mvm-disk push acme
	[[ $(guest "$vm" 'cat /run/secrets/db') == two ]]
}

@test "a push that is killed while it rewrites is repeated, and the guest misses nothing" {
	secret db one
	vm=$(new_instance acme/store)
	up "$vm"
	secret db two --no-push >/dev/null
	for point in image-cleared image-written push-rewritten; do
		MVM_FAULT=$point:kill run --separate-stderr mvm-disk push acme
		echo "$point: $status $output" >&2
		[[ $status == 3 && $output == *"the push itself was ended"* ]]
		[[ $(guest "$vm" 'cat /run/secrets/db') == one ]]
	done
	mvm-disk push acme
	[[ $(guest "$vm" 'cat /run/secrets/db') == two ]]
}

@test "secrets that are set while a guest starts are what it has in the end" {
	secret db one
	vm=$(new_instance acme/store)
	mvm-instance start "$vm" >/dev/null 3>&- &
	starter=$!
	for i in {1..6}; do
		secret db "round $i" >/dev/null
		sleep 0.2
	done
	wait "$starter"
	mvm-disk push acme
	[[ $(guest "$vm" 'cat /run/secrets/db') == "round 6" ]]
	[[ $(field "$vm" .secrets_epoch) == "$(mvm-tenant info acme | jq .secrets_epoch)" ]]
}

@test "after a stop, and after a start that failed, the ramfs is empty" {
	secret db "$canary"
	vm=$(new_instance acme/store)
	up "$vm"
	[[ $(find "$run/secrets" -name '*.img' | wc -l) == 2 ]]
	mvm-instance stop "$vm"
	no_images
	truncate -s 32M "$(find "$state" -path "*${vm##*/}*" -name data.ext4)"
	refuses 3 mvm-instance start "$vm"
	[[ $stderr == *"the data disk has"* ]]
	no_images
	is_status "$vm" stopped
}

@test "a pool without data disk: no /data, and the others are where they belong" {
	secret db "$canary"
	vm=$(new_instance acme/web)
	up "$vm"
	guest "$vm" '! grep " /data " /proc/mounts'
	[[ $(guest "$vm" 'cat /run/secrets/db; cat /etc/mvm-config/config.json' | grep -c "$canary\|${vm##*/}") -ge 1 ]]
	[[ $(guest "$vm" 'cat /run/secrets/db') == "$canary" ]]
	guest "$vm" 'grep -q "\"data_disk_mib\":0" /etc/mvm-config/config.json'
	guest "$vm" '! test -e /dev/vdd'
}

@test "each guest has its own data and its own configuration" {
	a=$(new_instance acme/store)
	b=$(new_instance acme/store)
	up "$a" "$b"
	guest "$a" 'echo a >/data/f'
	guest "$b" '! test -e /data/f && echo b >/data/f'
	[[ $(guest "$a" 'cat /data/f') == a ]]
	guest "$a" "grep -q ${a##*/} /etc/mvm-config/config.json"
	guest "$b" "grep -q ${b##*/} /etc/mvm-config/config.json"
	run -0 --separate-stderr secret db "$canary"
	[[ $(jq -r '.guests | map(.outcome) | join(" ")' <<<"$output") == "taken taken" ]]
}

@test "a guest that was paused while secrets rotated has the new ones before its processes go on" {
	secret db one
	vm=$(new_instance acme/store)
	up "$vm"
	guest "$vm" '(while sleep 0.05; do cat /run/secrets/db >>/tmp/seen; echo >>/tmp/seen; done) >/dev/null 2>&1 &'
	wait_until 10 guest "$vm" 'grep -q one /tmp/seen'
	mvm-guest hook "$vm" sleep-prep
	file=$state/tenants/acme/pools/store/instances/${vm##*/}/instance.json
	jq -c '.status = "warm"' "$file" >"$BATS_TEST_TMPDIR/warm" && cat "$BATS_TEST_TMPDIR/warm" >"$file"
	run -0 --separate-stderr secret db two
	[[ $(jq -r '.guests[0].outcome' <<<"$output") == waiting ]]
	run -0 --separate-stderr mvm-disk resumed "$vm"
	[[ $(jq -r '.outcome + " " + .instance_path' <<<"$output") == "taken $vm" ]]
	[[ $(jq .secrets_epoch <<<"$output") == $(mvm-tenant info acme | jq .secrets_epoch) ]]
	jq -c '.status = "running"' "$file" >"$BATS_TEST_TMPDIR/running" && cat "$BATS_TEST_TMPDIR/running" >"$file"
	mvm-guest hook "$vm" wake
	wait_until 10 guest "$vm" 'grep -q two /tmp/seen'
	# once it had gone on there was nothing of the former ones any more
	[[ $(guest "$vm" 'uniq /tmp/seen | grep . | uniq' | xargs) == "one two" ]]
	run -0 --separate-stderr mvm-disk resumed "$vm"
	[[ $(jq -r .outcome <<<"$output") == current ]]
}
