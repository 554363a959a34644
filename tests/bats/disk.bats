#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2086,SC2154,SC2317,SC2030,SC2031
# The drives natively: made, looked into, rewritten and removed, without a guest. Each test has a
# mount namespace of its own.

setup() {
	load helper
	load net
	net_setup
	unset CREDENTIALS_DIRECTORY
	vm=acme/web/i-0000002a
	tenant acme 7 10.240.7.0/24
	within mvm-pool create acme/web --flake /f --profile minimal --cpus 1 --mem 128 \
		--data-disk 64 --secrets-disk 2 >/dev/null
	instance acme/web i-0000002a
	volumes=$MVM_STATE_DIR/tenants/acme/pools/web/instances/i-0000002a/volumes
	place=$MVM_RUN_DIR/secrets
	images=$place/i-0000002a
	canary=CANARY-$RANDOM$RANDOM$RANDOM
}

teardown() { net_teardown; }

disk() { within mvm-disk "$@"; }

secret() { # NAME VALUE
	printf %s "$2" | mvm-secrets set acme "$1=-" --no-push >/dev/null
}

peek() { # IMAGE FILE: what the kernel reads there
	within sh -c 'mkdir -p "$1/m" && mount -t erofs -o loop,ro "$2" "$1/m" && cat "$1/m/$3"; umount "$1/m"' \
		- "$BATS_TEST_TMPDIR" "$1" "$2"
}

number() { # DRIVE: what the drive holds
	disk list $vm | jq -er --arg d "$1" '.[] | select(.drive == $d).number'
}

@test "the data disk is made once: ext4, sparse, labelled, 0600, of the pool's size" {
	run -0 disk data $vm
	[ "$(out '[.drive, .present, .changed, .bytes] | map(tostring) | join(" ")')" = "data true true 67108864" ]
	file=$volumes/data.ext4
	[ "$(stat -c '%a %u %g %s' "$file")" = "600 0 0 67108864" ]
	(($(stat -c '%b' "$file") * 512 < 2000000))
	[ "$(dumpe2fs -h "$file" 2>/dev/null | sed -n 's/^Filesystem volume name: *//p')" = mvm-data ]
	e2fsck -fn "$file"
	debugfs -w -R "write /etc/hostname kept" "$file"
	before=$(stat -c '%i %Y' "$file")
	run -0 disk data $vm
	[ "$(jq .changed <<<"$output")" = false ]
	run -0 disk ensure $vm
	[ "$(stat -c '%i %Y' "$file")" = "$before" ]
	[ "$(debugfs -R 'cat kept' "$file" 2>/dev/null)" = "$(cat /etc/hostname)" ]
	[ "$(find "$volumes" -mindepth 1 | wc -l)" = 1 ]
}

@test "a data disk keeps its size: another one is 3, and nothing is changed" {
	disk data $vm
	truncate -s 32M "$volumes/data.ext4"
	before=$(stat -c '%s %Y %i' "$volumes/data.ext4")
	refuses_untouched 3 disk data $vm
	[[ $stderr == *"33554432 bytes"*67108864* ]]
	refuses_untouched 3 disk ensure $vm
	[ "$(stat -c '%s %Y %i' "$volumes/data.ext4")" = "$before" ]
	[ ! -e "$images" ]
}

@test "a pool without data disk has none, and the labels of the others are the same" {
	within mvm-pool create acme/bare --flake /f --profile minimal --cpus 1 --mem 128
	instance acme/bare i-0000002b
	run -0 disk ensure acme/bare/i-0000002b
	[ "$(out 'map(.drive + ":" + (.present | tostring)) | join(" ")')" = "data:false secrets:true config:true" ]
	[ ! -e "$MVM_STATE_DIR/tenants/acme/pools/bare/instances/i-0000002b/volumes/data.ext4" ]
	for drive in secrets config; do
		label=$(within dd if="$place/i-0000002b/$drive.img" bs=1 skip=1088 count=16 status=none | tr -d '\0')
		[ "$label" = "mvm-$drive" ]
	done
	refuses_untouched 3 disk data acme/bare/i-0000002b --seed /etc/hostname
}

@test "a seed is what the data disk begins with" {
	seed=$BATS_TEST_TMPDIR/seed
	mkdir "$BATS_TEST_TMPDIR/tree"
	echo "$canary" >"$BATS_TEST_TMPDIR/tree/begin"
	mke2fs -q -t ext4 -L other -d "$BATS_TEST_TMPDIR/tree" "$seed" 16M
	cp "$seed" "$BATS_TEST_TMPDIR/kept"
	run -0 disk data $vm --seed "$seed"
	[ "$(debugfs -R 'cat begin' "$volumes/data.ext4" 2>/dev/null)" = "$canary" ]
	[ "$(dumpe2fs -h "$volumes/data.ext4" 2>/dev/null | sed -n 's/^Filesystem volume name: *//p')" = mvm-data ]
	[ "$(stat -c '%a %s' "$volumes/data.ext4")" = "600 67108864" ]
	cmp "$seed" "$BATS_TEST_TMPDIR/kept"
	refuses_untouched 5 disk data $vm --seed "$seed"
}

@test "a seed that is none is refused and leaves nothing" {
	truncate -s 1M "$BATS_TEST_TMPDIR/zeros"
	mke2fs -q -t ext4 "$BATS_TEST_TMPDIR/large" 65M
	ln -s large "$BATS_TEST_TMPDIR/link"
	mkfifo "$BATS_TEST_TMPDIR/fifo"
	refuses_untouched 2 disk data $vm --seed "$BATS_TEST_TMPDIR/zeros"
	refuses_untouched 2 disk data $vm --seed "$BATS_TEST_TMPDIR/large"
	refuses_untouched 1 disk data $vm --seed "$BATS_TEST_TMPDIR/link"
	refuses_untouched 2 disk data $vm --seed "$BATS_TEST_TMPDIR/fifo"
	refuses_untouched 4 disk data $vm --seed /nonexistent
	[ ! -e "$volumes/data.ext4" ]
}

@test "a full disk or a crash while the data disk is made leaves none" {
	for point in data-made data-rename; do
		MVM_FAULT=$point:err=ENOSPC refuses 1 disk data $vm
		[ -z "$(find "$volumes" -type f)" ]
		MVM_FAULT=$point:kill run disk data $vm
		[ ! -e "$volumes/data.ext4" ]
	done
	run -0 disk data $vm
	[ "$(find "$volumes" -type f)" = "$volumes/data.ext4" ]
	e2fsck -fn "$volumes/data.ext4"
}

@test "where the disk is really full, that is said and nothing is left of it" {
	within mkdir -p "$volumes"
	within mount -t tmpfs -o size=64k small "$volumes"
	refuses 1 disk data $vm
	[[ $stderr == *"No space left"* ]]
	[ -z "$(within find "$volumes" -type f)" ]
}

# A file system of its own over the place of the data disk, on a loop device.
other_fs() { # MKFS...: of 160 MiB
	truncate -s 160M "$BATS_TEST_TMPDIR/other"
	"$@" "$BATS_TEST_TMPDIR/other" >/dev/null
	within mkdir -p "$volumes"
	within mount -o loop "$BATS_TEST_TMPDIR/other" "$volumes"
}

seed_on() { # DIRECTORY: an ext4 image with a file, made there
	mkdir -p "$BATS_TEST_TMPDIR/tree"
	head -c 8000000 /dev/urandom >"$BATS_TEST_TMPDIR/tree/begin"
	mke2fs -q -t ext4 -d "$BATS_TEST_TMPDIR/tree" "$BATS_TEST_TMPDIR/image" 32M
	within cp --sparse=always "$BATS_TEST_TMPDIR/image" "$1/seed"
}

@test "a seed on a file system that can is cloned, not copied; the disk is the disk's own all the same" {
	# A machine without btrfs's tools has the same on its own file system, which may clone or not.
	if command -v mkfs.btrfs; then other_fs mkfs.btrfs; else within mkdir -p "$volumes"; fi
	seed_on "$volumes"
	run -0 disk data $vm --seed "$volumes/seed"
	if command -v mkfs.btrfs; then
		within sync
		within filefrag -v "$volumes/data.ext4" | grep -q shared
	fi
	[ "$(within debugfs -R 'cat begin' "$volumes/data.ext4" 2>/dev/null | cksum)" = "$(cksum <"$BATS_TEST_TMPDIR/tree/begin")" ]
	within cmp "$volumes/seed" "$BATS_TEST_TMPDIR/image"
}

@test "a seed on another file system is copied by what is data in it" {
	other_fs mke2fs -q -t ext4
	seed_on "$BATS_TEST_TMPDIR"
	run -0 disk data $vm --seed "$BATS_TEST_TMPDIR/seed"
	[ "$(within debugfs -R 'cat begin' "$volumes/data.ext4" 2>/dev/null | cksum)" = "$(cksum <"$BATS_TEST_TMPDIR/tree/begin")" ]
	(($(within stat -c '%b' "$volumes/data.ext4") * 512 < 20000000)) # of 64 MiB
	within e2fsck -fn "$volumes/data.ext4"
}

@test "a disk that is full before the seed is copied says so and keeps nothing of it" {
	within mkdir -p "$volumes"
	within mount -t tmpfs -o size=4m small "$volumes"
	seed_on "$BATS_TEST_TMPDIR"
	refuses 1 disk data $vm --seed "$BATS_TEST_TMPDIR/seed"
	[[ $stderr == *"No space left"* ]]
	[ -z "$(within find "$volumes" -type f)" ]
	within umount "$volumes"
	run -0 disk data $vm --seed "$BATS_TEST_TMPDIR/seed"
}

@test "a kept volume survives its instance" {
	disk data $vm
	within mvm-instance destroy --yes --keep-volumes $vm
	[ -f "$MVM_STATE_DIR/tenants/acme/pools/web/volumes-kept/i-0000002a/data.ext4" ]
}

@test "secrets lie on a ramfs of ours, mounted once, root's, readable by the VM's user" {
	secret db "$canary"
	run -0 disk secrets $vm
	[ "$(out '[.drive, .bytes, .number, .changed] | map(tostring) | join(" ")')" = "secrets 2097152 1 true" ]
	disk secrets $vm
	[ "$(within grep -c " $place ramfs rw,nosuid,nodev,noexec" /proc/mounts)" = 1 ]
	[ "$(within stat -c '%a %u' "$place" "$images" | xargs)" = "700 0 700 0" ]
	[ "$(within stat -c '%a %u %g' "$images/secrets.img")" = "440 0 $((0x70000000 + 7 * 65536 + 3))" ]
	[ ! -e "$images" ] # beneath the mount there is nothing
}

@test "the kernel reads the secrets and the configuration that were set, with their modes" {
	secret db "$canary"
	secret empty ''
	mvm-config set acme 'stage="prod"' --no-push
	disk ensure $vm
	[ "$(peek "$images/secrets.img" db)" = "$canary" ]
	modes() {
		within sh -c 'mount -t erofs -o loop,ro "$1" "$2" && stat -c "%n %a %u %s" "$2" "$2"/*; umount "$2"' - "$1" "$BATS_TEST_TMPDIR/m"
	}
	[ "$(modes "$images/secrets.img" | sed "s|$BATS_TEST_TMPDIR/||" | cut -d' ' -f1-3 | xargs)" = "m 500 0 m/db 400 0 m/empty 400 0" ]
	[ "$(modes "$images/config.img" | tail -n 1 | cut -d' ' -f2,3)" = "444 0" ]
	peek "$images/config.img" config.json >"$BATS_TEST_TMPDIR/config.json"
	[ "$(jq -r '[.schema_version, .config_version, .tenant_id, .pool_id, .instance_id, .guest_ip, .resources.secrets_mib, .policy.egress, .values.stage] | map(tostring) | join(" ")' \
		"$BATS_TEST_TMPDIR/config.json")" = "1 2 acme web i-0000002a 10.240.7.3 2 open prod" ]
	within fsck.erofs "$images/secrets.img"
	within fsck.erofs "$images/config.img"
}

@test "sixty-four secrets with the longest names are all there" {
	mapfile -t names < <(for i in {10..73}; do printf 'n%s%s\n' "$i" "$(printf 'x%.0s' {1..61})"; done)
	mvm-secrets set acme "${names[@]/%/=@/etc/hostname}" --no-push
	disk secrets $vm
	got=$(within sh -c 'mkdir -p "$2" && mount -t erofs -o loop,ro "$1" "$2" && (cd "$2" && cat * | cksum; ls | cksum); umount "$2"' - "$images/secrets.img" "$BATS_TEST_TMPDIR/m")
	[ "$got" = "$(for _ in "${names[@]}"; do cat /etc/hostname; done | cksum; printf '%s\n' "${names[@]}" | cksum)" ]
}

@test "the plain text of a secret is on the ramfs and nowhere else" {
	secret db "$canary"
	disk ensure $vm >"$BATS_TEST_TMPDIR/out" 2>&1
	disk list $vm >>"$BATS_TEST_TMPDIR/out" 2>&1
	within grep -qaF "$canary" "$images/secrets.img"
	# this namespace does not see the ramfs: what it finds would lie on a disk
	run -1 grep -rqaF -D skip -e "$canary" "$MVM_STATE_DIR" "$MVM_RUN_DIR" "$BATS_TEST_TMPDIR/out"
}

@test "the record says which secrets and which configuration the next guest finds" {
	secret db one
	mvm-config set acme a=1 --no-push
	disk ensure $vm
	run -0 within mvm-instance info $vm
	[ "$(out '[.secrets_epoch, .config_version] | map(tostring) | join(" ")')" = "1 2" ]
}

@test "a start's drives are new files; those of a guest that runs are rewritten where they are" {
	secret db one
	disk ensure $vm
	first=$(within stat -c %i "$images/secrets.img")
	disk ensure $vm
	second=$(within stat -c %i "$images/secrets.img")
	[ "$first" != "$second" ]
	set_status $vm running
	printf %s "$canary" | mvm-secrets set acme db=- --no-push
	run -0 disk secrets $vm
	[ "$(out '[.changed, .number] | map(tostring) | join(" ")')" = "true 2" ]
	run -0 disk secrets $vm
	[ "$(jq .changed <<<"$output")" = false ]
	[ "$(within stat -c %i "$images/secrets.img")" = "$second" ]
	[ "$(peek "$images/secrets.img" db)" = "$canary" ]
	mvm-secrets rm acme db --no-push
	disk secrets $vm
	within sh -c '! grep -qaF "$1" "$2"' - "$canary" "$images/secrets.img"
}

@test "a rewrite that was killed is no state that anybody takes, and the next one repairs it" {
	secret db one
	disk ensure $vm
	set_status $vm running
	for point in image-cleared image-written; do
		mvm-secrets rotate acme --no-push
		MVM_FAULT=$point:kill run disk secrets $vm
		[ "$status" = 137 ]
		refuses 1 disk list $vm
		[[ $stderr == *"digest does not fit"* ]]
		run -0 disk secrets $vm
		[ "$(number secrets)" = "$(mvm-tenant info acme | jq .secrets_epoch)" ]
	done
}

@test "a start killed while it makes the drives is simply repeated" {
	secret db one
	for point in place-mount image-cleared image-written drive-rename; do
		MVM_FAULT=$point:kill run disk ensure $vm
		[ "$status" = 137 ]
		run -0 disk ensure $vm
		[ "$(within find "$images" -type f -printf '%f\n' | sort | xargs)" = "config.img secrets.img" ]
		[ "$(within grep -c " $place ramfs" /proc/mounts)" = 1 ]
		disk remove $vm
		[ -z "$(within grep " $place ramfs" /proc/mounts)" ]
	done
}

@test "remove wipes both images and gives the data disk back to root; twice is fine" {
	secret db "$canary"
	disk ensure $vm
	chown 1879506947:1879506947 "$volumes/data.ext4"
	# a descriptor that somebody kept: what it reads is no secret any more
	coproc KEEPER { within sh -c 'exec 3<"$1"; echo open; read -r _; cat <&3' - "$images/secrets.img"; }
	to=${KEEPER[1]} from=${KEEPER[0]}
	read -r -u "$from"
	run -0 disk remove $vm
	[ "$(out 'map(.present | tostring) | join(" ")')" = "true false false" ]
	[ -z "$(within find "$images" -mindepth 1 2>/dev/null)" ]
	echo >&"$to"
	run ! grep -qaF "$canary" <&"$from"
	[ "$(stat -c '%u %g %a' "$volumes/data.ext4")" = "0 0 600" ]
	run -0 disk remove $vm
}

@test "3: what a guest has in use is not removed" {
	disk ensure $vm
	set_status $vm running
	refuses_untouched 3 disk remove $vm
	[ -n "$(within find "$images" -type f)" ]
}

@test "6: secrets that do not fit into the pool's drive are told, and none is made" {
	head -c 65536 /dev/urandom >"$BATS_TEST_TMPDIR/most"
	mapfile -t words < <(for i in {1..20}; do echo "n$i=@$BATS_TEST_TMPDIR/most"; done)
	mvm-secrets set acme "${words[@]}" --no-push
	within mvm-pool create acme/tiny --flake /f --profile minimal --cpus 1 --mem 128 --secrets-disk 1
	instance acme/tiny i-0000002c
	refuses 6 disk secrets acme/tiny/i-0000002c
	[[ $stderr == *"do not fit into a drive of 1 MiB"* ]]
	[ -z "$(within find "$place" -name '*.img' 2>/dev/null)" ]
}

@test "7: a key that was exchanged keeps the drive from being made" {
	secret db one
	chmod 600 "$MVM_STATE_DIR/secrets.key"
	refuses 7 disk secrets $vm
	chmod 400 "$MVM_STATE_DIR/secrets.key"
	disk secrets $vm
}

@test "a place that others may read is refused with 7" {
	disk secrets $vm
	within chmod 755 "$place"
	refuses 7 disk secrets $vm
}

@test "2 and 4: words that are none and instances that are not there" {
	for verb in data secrets config ensure list remove; do
		refuses_untouched 2 disk "$verb" acme/web
		refuses_untouched 2 disk "$verb" acme/web/../x
		refuses_untouched 2 disk "$verb"
		refuses_untouched 4 disk "$verb" acme/web/i-0000002f
	done
	refuses_untouched 2 disk push acme/web
	refuses_untouched 4 disk push nobody
	[ ! -e "$place" ]
}

@test "8: a held instance is waited for and then named" {
	hold_lock "${volumes%/volumes}/lock"
	refuses_untouched 8 disk data $vm --lock-timeout 50ms
	release_lock
}

@test "--dry-run makes nothing" {
	before=$(digest)
	run -0 disk ensure $vm --dry-run
	[ "$(out 'map(.dry_run and .changed) | all')" = true ]
	[ "$(digest)" = "$before" ]
	[ ! -e "$place" ]
}

@test "a push without guests is an empty report; one that cannot be reached is 3 and stays as it was" {
	run -0 disk push acme
	[ "$output" = "[]" ]
	secret db one
	disk ensure $vm
	set_status $vm running
	run --separate-stderr -0 disk push acme
	[ "$(out '.[0].outcome')" = current ]
	secret db two
	run --separate-stderr -3 disk push acme --timeout 1s
	[ "$(out '.[0] | [.outcome, .secrets_epoch] | map(tostring) | join(" ")')" = "failed 1" ]
	[ "$(number secrets)" = 2 ]
	set_status $vm warm
	run --separate-stderr -0 disk push acme
	[ "$(out '.[0].outcome')" = waiting ]
}

@test "what was stored is stored also when a guest could not be told" {
	secret db one
	disk ensure $vm
	set_status $vm running
	set_two() { printf two | within mvm-secrets set acme db=- --timeout 1s; }
	run --separate-stderr -3 set_two
	[ "$(out '[.secrets_epoch, .changed, .guests[0].outcome] | map(tostring) | join(" ")')" = "2 true failed" ]
	[ "$(mvm-tenant info acme | jq .secrets_epoch)" = 2 ]
}

@test "starts at once mount one place and each have their drives" {
	for i in {1..8}; do instance acme/web "i-0000010$i"; done
	for i in {1..8}; do disk ensure "acme/web/i-0000010$i" >/dev/null & done
	wait
	[ "$(within grep -c " $place ramfs" /proc/mounts)" = 1 ]
	[ "$(within find "$place" -name '*.img' | wc -l)" = 16 ]
}
