#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2317,SC2030,SC2031
# mvm-pool-build: an image becomes a revision whole or not at all. The images here have the right
# shape and boot nothing.

setup() {
	load helper
	fresh_state
	mvm-tenant create acme >/dev/null
	mvm-pool create acme/web --flake /f --profile minimal --cpus 1 --mem 128 >/dev/null
	artifacts=$MVM_STATE_DIR/tenants/acme/pools/web/artifacts
	image one
}

image() { # NAME: a directory of that name below the test's, whose root file system differs
	src=$BATS_TEST_TMPDIR/$1
	mkdir "$src"
	printf '\177ELF kernel' >"$src/vmlinux"
	printf 'first files' >"$src/initrd"
	printf 'root of %s' "$1" >"$src/rootfs.erofs"
	jq -n '{schema_version: 1, system: "x86_64-linux", profile: "minimal", kernel_release: "6.1",
		rootfs: "rootfs.erofs", init: "/init", boot_args: "console=ttyS0"}' >"$src/mvm-image.json"
}

build() { mvm-pool-build build acme/web --from "$BATS_TEST_TMPDIR/$1" "${@:2}"; }
current() { mvm-pool info acme/web | jq -r .revision; }

@test "an image becomes the pool's revision; the second time nothing changes" {
	run -0 build one
	[ "$(out .changed)" = true ]
	hash=$(out .revision_hash)
	[ "$(current)" = "$hash" ]
	run -0 build one
	[ "$(jq -r '[.changed, .revision_hash, .previous_hash] | map(tostring) | join(" ")' <<<"$output")" = "false $hash $hash" ]
	[ "$(mvm-pool-build history acme/web | jq length)" = 1 ]
	# the place and the times of the files do not count, their content does
	cp -r "$BATS_TEST_TMPDIR/one" "$BATS_TEST_TMPDIR/copy"
	[ "$(build copy | jq -r .revision_hash)" = "$hash" ]
}

@test "a revision holds the image's files, read-only in directories that only root enters" {
	build one
	dir=$(readlink -f "$artifacts/current")
	for file in vmlinux initrd rootfs.erofs; do
		cmp "$src/$file" "$dir/$file"
	done
	jq -e '."boot-source" | .kernel_image_path == "vmlinux" and .initrd_path == "initrd" and
		.boot_args == "console=ttyS0"' "$dir/fc-base.json"
	[ "$(jq '.files | length' "$dir/manifest.json")" = 4 ]
	[ "$(stat -c %a:%u "$artifacts" "$artifacts/revisions" "$dir" | sort -u)" = 700:0 ]
	[ "$(stat -c %a:%u "$dir"/* | sort -u)" = 444:0 ]
	(cd "$dir" && jq -r '.files[] | .sha256 + "  " + .name' manifest.json | sha256sum --check --quiet)
}

@test "another image becomes current, and a rollback brings the first back" {
	build one
	first=$(current)
	image two
	run -0 build two
	[ "$(out '.changed')" = true ]
	[ "$(current)" != "$first" ]
	second=$(current)
	run -0 mvm-pool-build rollback acme/web
	[ "$(current)" = "$first" ]
	run -0 mvm-pool-build rollback acme/web "$second"
	[ "$(current)" = "$second" ]
	run -0 mvm-pool-build history acme/web
	[ "$(out 'map(.action) | join(" ")')" = "build build rollback rollback" ]
	refuses_untouched 4 mvm-pool-build rollback acme/web "${second//[0-9a-f]/0}"
	refuses_untouched 2 mvm-pool-build rollback acme/web ../../../x
}

@test "3: nothing to go back to" {
	refuses_untouched 3 mvm-pool-build rollback acme/web
	build one
	refuses_untouched 3 mvm-pool-build rollback acme/web
}

@test "what is no image is refused by name, and nothing changes" {
	build one
	cp -r "$src" "$BATS_TEST_TMPDIR/good"
	refuses_untouched 4 build nowhere
	while read -r status file spoil; do
		rm -rf "$src"
		cp -r "$BATS_TEST_TMPDIR/good" "$src"
		(cd "$src" && eval "$spoil")
		refuses_untouched "$status" timeout 60 mvm-pool-build build acme/web --from "$src"
		[[ $stderr == *"$file"* ]]
	done <<-'END'
		4 vmlinux rm vmlinux
		4 rootfs.erofs rm rootfs.erofs
		4 mvm-image.json rm mvm-image.json
		2 vmlinux echo bzImage >vmlinux
		2 vmlinux printf MZ >vmlinux
		2 rootfs.erofs : >rootfs.erofs
		2 rootfs.erofs rm rootfs.erofs && mkdir rootfs.erofs
		2 rootfs.erofs rm rootfs.erofs && mkfifo rootfs.erofs
		2 vmlinux rm vmlinux && mkfifo vmlinux
		2 initrd : >initrd
		2 mvm-image.json sed -i s/x86_64/riscv64/ mvm-image.json
		2 mvm-image.json sed -i s/rootfs.erofs/..rootfs/ mvm-image.json
		2 mvm-image.json sed -i 's/"profile"/"rootfs":"rootfs.ext4","profile"/' mvm-image.json
		2 mvm-image.json truncate -s 20 mvm-image.json
		2 mvm-image.json sed -i 's/"system"/"more":1,"system"/' mvm-image.json
	END
}

@test "2: a link in the image is not followed" {
	for file in vmlinux rootfs.erofs initrd mvm-image.json; do
		cp -r "$src" "$BATS_TEST_TMPDIR/linked"
		ln -sf "$src/vmlinux" "$BATS_TEST_TMPDIR/linked/$file"
		run --separate-stderr build linked
		[[ $status != 0 && $status -lt 126 && $stderr == *"$file"* ]]
		rm -r "$BATS_TEST_TMPDIR/linked"
	done
	[ "$(current)" = null ]
}

@test "2: bad words; 4: no such pool" {
	refuses_untouched 2 mvm-pool-build build acme/web
	refuses_untouched 2 mvm-pool-build build acme --from "$src"
	refuses_untouched 2 mvm-pool-build build ../web --from "$src"
	refuses_untouched 2 mvm-pool-build build acme/web/i-00000001 --from "$src"
	refuses_untouched 2 mvm-pool-build nonsense
	refuses_untouched 4 mvm-pool-build build acme/db --from "$src"
	refuses_untouched 4 mvm-pool-build build other/web --from "$src"
	refuses_untouched 4 mvm-pool-build history acme/db
	refuses_untouched 4 mvm-pool-build rollback acme/db
}

@test "8: another build holds the pool" {
	exec 7>>"$MVM_STATE_DIR/tenants/acme/pools/web/lock"
	flock 7
	refuses_untouched 8 build one --lock-timeout 50ms
	exec 7>&-
	build one
}

@test "--dry-run tells the revision and changes nothing" {
	before=$(digest)
	run -0 build one --dry-run
	[ "$(out '.dry_run and .changed')" = true ]
	hash=$(out .revision_hash)
	[ "$(digest)" = "$before" ]
	[ "$(build one | jq -r .revision_hash)" = "$hash" ]
}

@test "killed at any step: what was current stays current, and a sweep or a repeat clears the rest" {
	build one
	first=$(current)
	for point in replace-open replace-write replace-fsync replace-rename replace-dirsync image-rename image-current; do
		image "$point"
		MVM_FAULT=$point:kill run build "$point"
		[ "$status" = 137 ]
		[ "$(current)" = "$first" ]
		[ -n "$(find "$artifacts" -name '.new-*')" ]
		run -0 mvm-instance sweep
		[ -z "$(find "$artifacts" -name '.new-*')" ]
		[ "$(current)" = "$first" ]
		MVM_FAULT=$point:kill run build "$point"
		run -0 build "$point"
		[ "$(current)" = "$(out .revision_hash)" ]
		[ -z "$(find "$artifacts" -name '.new-*')" ]
		run -0 mvm-pool-build rollback acme/web "$first"
	done
}

@test "a full disk at any step is told and leaves what was there" {
	build one
	first=$(current)
	image two
	for point in replace-open replace-write replace-fsync replace-rename image-rename image-current; do
		MVM_FAULT=$point:err=ENOSPC refuses 1 build two
		[[ $stderr == *"No space left"* ]]
		[ "$(current)" = "$first" ]
		[ -z "$(find "$artifacts/revisions" -name '.new-*')" ]
	done
}

@test "a revision that was damaged is made whole by the build of the same image" {
	build one
	dir=$(readlink -f "$artifacts/current")
	for spoil in "rm $dir/vmlinux" "truncate -s 3 $dir/rootfs.erofs" "rm $dir/manifest.json" \
		"cp $dir/vmlinux $dir/fc-base.json" "rm -r $dir"; do
		$spoil
		run -0 build one
		(cd "$dir" && jq -r '.files[] | .sha256 + "  " + .name' manifest.json | sha256sum --check --quiet)
		[ -z "$(find "$artifacts" -name '.new-*')" ]
	done
	[ "$(current)" = "${dir##*/}" ]
}

@test "a current that leads elsewhere is damage and stays as it is" {
	build one
	for to in ../../../../x /etc revisions/../../x .; do
		ln -sfn "$to" "$artifacts/current"
		refuses_untouched 1 build one
		[[ $stderr == *damaged* ]]
		refuses_untouched 1 mvm-pool-build rollback acme/web
	done
}

@test "a damaged history is told, and half a last line is not" {
	build one
	printf '{"schema_ver' >>"$MVM_STATE_DIR/tenants/acme/pools/web/builds.jsonl"
	run -0 mvm-pool-build history acme/web
	[ "$(out length)" = 1 ]
	image two
	build two
	[ "$(mvm-pool-build history acme/web | jq length)" = 2 ]
	printf 'nonsense\n' >>"$MVM_STATE_DIR/tenants/acme/pools/web/builds.jsonl"
	refuses_untouched 1 mvm-pool-build history acme/web
	refuses_untouched 1 mvm-pool-build rollback acme/web
}

@test "a full disk behind stdout is an error" {
	to_full() { build one >/dev/full; }
	run -1 to_full
	to_full() { mvm-pool-build history acme/web >/dev/full; }
	run -1 to_full
}
