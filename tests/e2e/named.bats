# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2034,SC2154
# Named snapshots and clones with real guests: what is kept is memory and /data of one moment, it may be
# gone back to as often as one likes, and whatever is killed on the way leaves the old or the new.

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
	no_strays
}

snapshot() { mvm-instance snapshot "$@"; }
names() { snapshot list "$1" | jq -r '[.[].name] | join(" ")'; }
no_drafts() { # ADDRESS
	mvm-snap gc "$1" >/dev/null
	[[ -z $(find "$(dir_of "$1")/snapshots" -name '.*' -mindepth 1) ]]
}

@test "create: the guest goes on as it was, running or warm, and its next capture is whole" {
	vm=$(alive)
	mvm-instance sleep "$vm"
	mvm-instance wake "$vm"
	pid=$(vmm_pid "$vm")
	run -0 --separate-stderr snapshot create "$vm" before
	jq -r '"# snapshot: \(.bytes / 1048576 | floor) MiB, stood still \(.frozen_ms) ms, \(.total_ms) ms in all"' <<<"$output" >&3
	jq -r '.stages[] | "# \(.stage) \(.ms)"' <<<"$output" >&3
	[[ $(jq -r '[.changed, .name, .quiesced] | map(tostring) | join(" ")' <<<"$output") == "true before true" ]]
	# what clones are loaded from is open in no VMM
	mem=$(dir_of "$vm")/snapshots/$(jq -r .ref <<<"$output")/mem
	[[ $(stat -c '%a %u' "$mem") == "444 0" ]]
	stat -Lc %i /proc/"$pid"/fd/* 2>/dev/null >"$BATS_TEST_TMPDIR/open" || true
	[[ -s $BATS_TEST_TMPDIR/open ]]
	run -1 grep -qx "$(stat -c %i "$mem")" "$BATS_TEST_TMPDIR/open"
	[[ $(vmm_pid "$vm") == "$pid" && $(field "$vm" '[.status, .op, .diff_base] | map(tostring) | join(" ")') == "running null null" ]]
	n=$(count "$vm")
	whole "$vm"
	sleep 0.3
	counts_on "$vm" "$n"
	guest "$vm" 'echo later >/data/later'
	mvm-instance warm "$vm"
	snapshot create "$vm" warm >/dev/null
	is_status "$vm" warm
	[[ $(vmm_pid "$vm") == "$pid" && $(names "$vm") == "before warm" ]]
	refuses 5 snapshot create "$vm" before
	mvm-snap verify "$vm"
	mvm-instance wake "$vm"
	whole "$vm"
	mvm-instance sleep "$vm"
	[[ $(mvm-instance explain "$vm" | jq -r .sleep.kind) == full ]]
	mvm-instance wake "$vm"
	[[ $(field "$vm" .cold) == null && $(names "$vm") == "before warm" ]]
	whole "$vm"
	[[ $(mvm-audit list acme --action SnapshotCreated | jq -r '[.[] | .detail] | join(" ")') == "before warm" ]]
	mvm-bridge verify acme
}

@test "restore: memory and /data are those of then, as often as one likes" {
	vm=$(alive)
	snapshot create "$vm" kept >/dev/null
	n=$(count "$vm")
	guest "$vm" 'rm /data/f; echo later >/data/later; rm /run/t/f; sync'
	refuses 3 snapshot restore "$vm" kept
	[[ $stderr == *"not while it is running"* ]]
	mvm-instance stop "$vm"
	before=$(now_us)
	output=$(snapshot restore "$vm" kept)
	echo "# restore: $((($(now_us) - before) / 1000)) ms" >&3
	[[ $(jq -r '[.changed, .status, .cold] | map(tostring) | join(" ")' <<<"$output") == "true running null" ]]
	whole "$vm"
	guest "$vm" 'test ! -e /data/later'
	sleep 0.3
	now=$(count "$vm")
	((now > 0 && now < n + 200))
	# what it is loaded from now is its own
	[[ $(mvm-snap list "$vm" | jq -r 'map("\(.kind) \(.spent)") | join(", ")') == "named false, full true" ]]
	guest "$vm" 'echo again >/data/later'
	mvm-instance sleep "$vm"
	[[ $(mvm-instance explain "$vm" | jq -r .sleep.kind) == delta ]]
	refuses 3 snapshot restore "$vm" kept
	[[ $stderr == *"its capture would be lost"* ]]
	mvm-instance wake "$vm"
	[[ $(field "$vm" .cold) == null && $(guest "$vm" 'cat /data/later') == again ]]
	mvm-instance sleep "$vm"
	snapshot restore --force "$vm" kept >/dev/null
	whole "$vm"
	guest "$vm" 'test ! -e /data/later'
	mvm-snap verify "$vm"
	mvm-instance stop "$vm"
	clean_data "$vm"
	[[ $(snapshot rm "$vm" kept | jq .changed) == true ]]
	refuses 4 snapshot restore "$vm" kept
	up "$vm"
	guest "$vm" 'sha256sum -c /data/sum'
	[[ $(mvm-audit list acme --action SnapshotRestored | jq length) == 2 ]]
}

@test "a guest that does not come to rest is kept by --force alone, and for itself: no clone is made of it" {
	vm=$(alive)
	restless "$vm"
	run ! --separate-stderr snapshot create "$vm" kept
	((status < 126))
	[[ $stderr == *"freeze processes"* && -z $(names "$vm") ]]
	restless "$vm"
	run -0 --separate-stderr snapshot create --force "$vm" kept
	[[ $stderr == *"captured as it is"* && $(jq .quiesced <<<"$output") == false ]]
	[[ $(snapshot list "$vm" | jq '.[0].quiesced') == false ]]
	[[ $(mvm-audit list acme --action SnapshotCreated -n 1 | jq -r '.[0].detail') == "kept, of a guest that was not at rest" ]]
	whole "$vm"
	refuses 3 mvm-instance clone "$vm" --snapshot kept -n 2
	[[ $stderr == *"not at rest"* ]]
	[[ $(mvm-instance list acme/bed | jq length) == 1 ]]
	mvm-instance stop "$vm"
	run -0 --separate-stderr snapshot restore "$vm" kept
	[[ $stderr == *"not at rest"* ]]
	[[ $(mvm-audit list acme --action SnapshotRestored -n 1 | jq -r '.[0].detail') == "kept of ${vm##*/}, captured while not at rest" ]]
	whole "$vm"
	mvm-snap verify "$vm"
}

@test "create killed at any point: the guest goes on, and nothing of it is left" {
	vm=$(alive)
	mvm-instance sleep "$vm"
	mvm-instance wake "$vm"
	for point in life-named-asked life-named-draft life-named-quiesced life-named-base life-named-paused life-named-created \
		life-named-taken snap-data-copy life-named-copied life-named-goes-on snap-data-sync snap-own snap-own-rename snap-seal life-named-sealed draft-rename; do
		echo "--- $point" >&2
		n=$(count "$vm")
		killed_at "$point" mvm-instance snapshot create "$vm" half
		mvm-instance settle "$vm"
		[[ $(field "$vm" '[.status, .op] | map(tostring) | join(" ")') == "running null" ]]
		whole "$vm"
		sleep 0.2
		counts_on "$vm" "$n"
		[[ -z $(names "$vm") ]]
		no_drafts "$vm"
	done
	MVM_FAULT=life-named-created:err=ENOSPC refuses 1 snapshot create "$vm" half
	whole "$vm"
	snapshot create "$vm" half >/dev/null
	mvm-instance sleep "$vm"
	mvm-instance wake "$vm"
	whole "$vm"
}

@test "restore killed at any point: the old disk or the new one, and the same command goes on" {
	vm=$(alive)
	snapshot create "$vm" kept >/dev/null
	guest "$vm" 'rm /data/f; echo later >/data/later; sync'
	mvm-instance stop "$vm"
	disk=$(dir_of "$vm")/volumes/data.ext4
	cp --sparse=always --preserve=timestamps "$disk" "$BATS_TEST_TMPDIR/old"
	copy=$(dir_of "$vm")/snapshots/gen-1/data.ext4
	for point in life-give-begun snap-share snap-data-copy snap-share-seal life-give-disk life-give-disked draft-rename snap-link \
		life-give-linked life-give-done life-prepare-capture; do
		echo "--- $point" >&2
		killed_at "$point" mvm-instance snapshot restore "$vm" kept
		cmp "$disk" "$BATS_TEST_TMPDIR/old" || cmp "$disk" "$copy"
		mvm-instance settle "$vm"
		[[ $(field "$vm" .op) == null ]]
		if is_status "$vm" sleeping; then
			cmp "$disk" "$copy"
		else
			is_status "$vm" stopped
		fi
		# each time from the old one
		[[ $point == life-prepare-capture ]] || {
			mvm-instance discard "$vm" >/dev/null
			cp --sparse=always --preserve=timestamps "$BATS_TEST_TMPDIR/old" "$disk"
		}
		no_drafts "$vm"
	done
	is_status "$vm" sleeping
	snapshot restore "$vm" kept >/dev/null
	whole "$vm"
	guest "$vm" 'test ! -e /data/later'
	mvm-snap verify "$vm"
}

@test "clone: several guests go on from one moment, each with an id, address and /data of its own" {
	vm=$(alive)
	n=$(count "$vm")
	before=$(now_us)
	output=$(mvm-instance clone "$vm" -n 2)
	echo "# two clones: $((($(now_us) - before) / 1000)) ms" >&3
	[[ $(jq -r 'map("\(.changed) \(.status) \(.cold)") | join(", ")' <<<"$output") == "true running null, true running null" ]]
	mapfile -t clones < <(jq -r '.[].instance_path' <<<"$output")
	whole "$vm"
	counts_on "$vm" "$n"
	[[ -z $(names "$vm") ]]
	for one in "$vm" "${clones[@]}"; do
		whole "$one"
		counts_on "$one" "$n"
		guest "$one" 'cat /sys/class/net/eth0/address; hostname; ip -4 -o addr show dev eth0' | xargs >"$BATS_TEST_TMPDIR/is"
		cat "$BATS_TEST_TMPDIR/is" >&2
		grep -q "^$(field "$one" .net.mac) ${one##*/} .*inet $(field "$one" .net.guest_ip)/24" "$BATS_TEST_TMPDIR/is"
		guest "$one" "echo ${one##*/} >/data/mine; sync; head -c 16 /dev/urandom | sha256sum; cat /run/mvm/boot-id" \
			>>"$BATS_TEST_TMPDIR/all"
		guest "$one" 'cat /etc/mvm-config/config.json' | jq -e --arg i "${one##*/}" '.instance_id == $i'
	done
	[[ $(sort -u "$BATS_TEST_TMPDIR/all" | wc -l) == 6 ]]
	for one in "$vm" "${clones[@]}"; do
		[[ $(guest "$one" 'cat /data/mine') == "${one##*/}" ]]
	done
	guest "${clones[0]}" "ping -c 1 -w 10 $(field "${clones[1]}" .net.guest_ip)"
	guest "$vm" "ping -c 1 -w 10 $(field "${clones[0]}" .net.guest_ip)"
	mvm-bridge verify acme
	# a clone is put to rest and goes on like any other
	one=${clones[1]}
	mvm-instance sleep "$one"
	[[ $(mvm-instance explain "$one" | jq -r .sleep.kind) == delta ]]
	mvm-instance wake "$one"
	[[ $(field "$one" .cold) == null ]]
	whole "$one"
	grep -q "$(field "$one" .net.mac)" < <(guest "$one" 'cat /sys/class/net/eth0/address')
	mvm-instance stop "$one"
	clean_data "$one"
}

@test "clone of a snapshot: also of one that is stopped; what does not fit makes nothing" {
	vm=$(alive)
	snapshot create "$vm" kept >/dev/null
	guest "$vm" 'echo later >/data/later; sync'
	mvm-instance stop "$vm"
	refuses 3 mvm-instance clone "$vm"
	mvm-tenant update acme --max-running 2
	refuses 6 mvm-instance clone "$vm" --snapshot kept -n 3
	[[ $stderr == *max_running* ]]
	[[ $(mvm-instance list acme/bed | jq length) == 1 ]]
	mvm-tenant update acme --max-running 32
	one=$(mvm-instance clone "$vm" --snapshot kept -o name)
	whole "$one"
	guest "$one" 'test ! -e /data/later'
	[[ $(mvm-audit list acme --action SnapshotRestored -n 1 | jq -r '.[0] | .instance_id + " " + .detail') == "${one##*/} kept of ${vm##*/}" ]]
	mvm-instance destroy --yes "$one"
	for fault in snap-share:err=EIO life-give-linked:err=EIO life-prepare-drives:err=EIO snap-share:kill \
		life-give-disked:kill life-give-linked:kill life-give-done:kill; do
		echo "--- $fault" >&2
		MVM_FAULT=$fault run --separate-stderr mvm-instance clone "$vm" --snapshot kept -n 2
		echo "$stderr" >&2
		[[ $status == 1 && $(jq length <<<"$output") == 0 && $(grep -c 'i-.*: ' <<<"$stderr") -ge 2 ]]
		[[ $(mvm-instance list acme/bed | jq length) == 1 ]]
	done
	mvm-snap verify "$vm"
	[[ $(names "$vm") == kept ]]
}

@test "clone killed at any point: sweep and gc take what never ran, and what runs stays" {
	vm=$(alive)
	for point in life-named-created life-named-goes-on draft-rename life-named-committed life-clone-opened instance-claimed \
		life-clone-made; do
		echo "--- $point" >&2
		n=$(count "$vm")
		killed_at "$point" mvm-instance clone "$vm" -n 2
		[[ $status == 137 ]]
		mvm-instance settle "$vm"
		mvm-instance sweep >"$BATS_TEST_TMPDIR/swept"
		cat "$BATS_TEST_TMPDIR/swept" >&2
		[[ -z $(names "$vm") && $(mvm-instance list acme/bed | jq length) == 1 ]]
		no_drafts "$vm"
		whole "$vm"
		counts_on "$vm" "$n"
		[[ -z $(mvm-instance sweep | jq -r '.removed[]') ]]
	done
	# all of them were made, and are kept
	killed_at life-clone-end mvm-instance clone "$vm" -n 1
	one=$(mvm-instance list acme/bed | jq -r --arg i "${vm##*/}" '.[] | select(.instance_id != $i) | .instance_id')
	[[ $one == i-* && $(names "$vm") == clone-* ]]
	is_status "acme/bed/$one" running
	[[ $(field "acme/bed/$one" .maker) == null ]]
	[[ $(mvm-instance sweep | jq -r '.removed[]') == "$vm/gen-"* ]]
	[[ -z $(names "$vm") ]]
	whole "acme/bed/$one"
	mvm-instance sleep "acme/bed/$one"
	[[ -z $(mvm-instance sweep | jq -r '.removed[]') ]]
	mvm-instance wake "acme/bed/$one"
	[[ $(field "acme/bed/$one" .cold) == null ]]
	whole "acme/bed/$one"
	mvm-instance destroy --yes "acme/bed/$one"
	# its processes die with it, or one after the other
	MVM_FAULT=life-give-linked:sleep=2000@1 mvm-instance clone "$vm" -n 1 >/dev/null 2>&1 3>&- &
	job=$!
	wait_until 30 made_one
	kill -9 "$job"
	wait "$job" || true
	wait_until 60 alone "$vm"
	[[ -z $(names "$vm") ]]
	whole "$vm"
}

made_one() { (($(mvm-instance list acme/bed | jq length) == 2)); }
# What the process that goes on alone has brought up is like any other's.
alone() { # ADDRESS: of what it was cloned from
	mvm-instance sweep >&2
	[[ -z $(names "$1") ]] && mvm-instance list acme/bed | jq -e 'all(.[]; .status == "running" and .maker == null)' >/dev/null
}
