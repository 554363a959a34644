# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2154
# A disk that is full, with a real guest: the state root is a small tmpfs of its own.

load e2e
load alive

setup_file() {
	mkdir -p "$BATS_FILE_TMPDIR/state"
	mount -t tmpfs -o size=512m none "$BATS_FILE_TMPDIR/state"
	e2e_setup_file
	new_pool acme/bed 128 --data-disk 64 --drain-timeout 10s
}

teardown_file() {
	e2e_teardown_file
	umount "$BATS_FILE_TMPDIR/state"
}

teardown() {
	rm -f "$MVM_STATE_DIR/filler"
	mvm-instance destroy --all --yes acme/bed >/dev/null
	nothing_left
}

fill() { # MIB: all but that
	local free
	free=$(df --output=avail -BK "$MVM_STATE_DIR" | tail -n 1 | tr -dc 0-9)
	if (($1)); then
		head -c "$(((free - $1 * 1024) * 1024))" /dev/zero >"$MVM_STATE_DIR/filler"
	else
		run -1 dd if=/dev/zero of="$MVM_STATE_DIR/filler" bs=64K status=none
	fi
}

@test "a sleep for which there is no room fails, its guest goes on, and with room it sleeps and wakes" {
	vm=$(alive)
	guest "$vm" sync
	# what the guest writes has its room
	fallocate -l 64M "$MVM_STATE_DIR/tenants/acme/pools/bed/instances/${vm##*/}/volumes/data.ext4"
	for room in 8 2 0; do
		echo "--- $room" >&2
		fill "$room"
		refuses 1 mvm-instance sleep "$vm"
		[[ $stderr == *"No space left"* ]]
		rm "$MVM_STATE_DIR/filler"
		# as it was left, and by the next tool
		mvm-instance settle "$vm"
		[[ $(field "$vm" '[.status, .op] | map(tostring) | join(" ")') == "running null" ]]
		whole "$vm"
		[[ $(mvm-snap list "$vm" | jq length) == 0 ]]
		[[ $(mvm-snap gc "$vm" | jq length) == 0 ]]
		[[ -z $(find "$MVM_STATE_DIR/jails" -path '*/snap/*') ]]
	done
	mvm-instance sleep "$vm"
	# nor does a wake lose what it has no room for
	fill 0
	run mvm-instance wake "$vm"
	rm "$MVM_STATE_DIR/filler"
	[[ $status == 0 ]] || mvm-instance wake "$vm"
	[[ $(field "$vm" '[.status, .cold] | map(tostring) | join(" ")') == "running null" ]]
	whole "$vm"
}

@test "a guest whose disk has no room is told so, and goes on" {
	vm=$(alive)
	guest "$vm" sync
	fill 0
	run -1 timeout 60 mvm-guest exec "$vm" -- dd if=/dev/zero of=/data/big bs=1M count=20 conv=fsync
	rm "$MVM_STATE_DIR/filler"
	guest "$vm" 'sha256sum -c /run/t/sum && sha256sum -c /data/sum'
	kill -9 "$(vmm_pid "$vm")"
	wait_until 5 is_status "$vm" stopped
	mvm-instance wake "$vm"
	guest "$vm" 'sha256sum -c /data/sum && echo more >/data/more && sync'
	mvm-instance stop "$vm"
	e2fsck -fn "$MVM_STATE_DIR/tenants/acme/pools/bed/instances/${vm##*/}/volumes/data.ext4"
}

@test "a sleep that meets a failing disk anywhere leaves a guest that runs, or one that sleeps with its memory" {
	vm=$(alive)
	guest "$vm" sync
	for point in snap-mark life-sleep-base life-sleep-created snap-take snap-sync-vmstate snap-sync-memory snap-seal \
		snap-link snap-link-rename snap-link-sync life-sleep-linked store-save; do
		echo "--- $point" >&2
		MVM_FAULT=$point:err=ENOSPC@1 run mvm-instance sleep "$vm"
		((status == 1 || status == 0))
		was=$(field "$vm" .status)
		echo "# $point: $was" >&3
		[[ $was == running || $was == sleeping ]]
		[[ $was == running || $status == 0 ]]
		mvm-instance wake "$vm"
		[[ $(field "$vm" '[.cold, .op] | map(tostring) | join(" ")') == "null null" ]]
		whole "$vm"
	done
}
