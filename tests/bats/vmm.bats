# SPDX-License-Identifier: MIT
# mvm-vmm: releases are installed whole and verified, or not at all. The "release" here is made of
# two small static programs that answer --version; a server on loopback stands in for upstream.

setup_file() {
	cd "$BATS_FILE_TMPDIR" || return
	for p in firecracker jailer; do
		# shellcheck disable=SC2016
		printf '#include <stdio.h>\nint main(void) { puts("%s v1.15.1"); return 0; }\n' "$p" >"$p.c"
		gcc -static -O1 -o "$p" "$p.c"
	done
	gcc -O1 -o dynamic firecracker.c
	d=release-v1.15.1-x86_64
	mkdir "$d" folder
	cp firecracker jailer folder
	cp firecracker "$d/firecracker-v1.15.1-x86_64"
	cp jailer "$d/jailer-v1.15.1-x86_64"
	(cd "$d" && sha256sum ./*-v1.15.1-x86_64 | sed 's, \./, ,' >SHA256SUMS)
	tar -czf good.tgz "$d"
	echo >>"$d/jailer-v1.15.1-x86_64"
	tar -czf inner.tgz "$d"
}

setup() {
	load helper
	export MVM_STATE_DIR=$BATS_TEST_TMPDIR/state MVM_RUN_DIR=$BATS_TEST_TMPDIR/run
	export MVM_CONFIG=$BATS_TEST_TMPDIR/mvm.conf
	fc=$MVM_STATE_DIR/firecracker
	good=$BATS_FILE_TMPDIR/good.tgz
}

# serve FILE: as upstream's release 1.15.1, on a port of its own
serve() {
	local d=$BATS_TEST_TMPDIR/www/v1.15.1
	mkdir -p "$d"
	cp "$1" "$d/firecracker-v1.15.1-x86_64.tgz"
	printf '%s  firecracker-v1.15.1-x86_64.tgz\n' "$(sha256sum <"$good" | cut -d' ' -f1)" \
		>"$d/firecracker-v1.15.1-x86_64.tgz.sha256.txt"
	echo "$BATS_TEST_TMPDIR" >"$BATS_TEST_TMPDIR/www/whose"
	eventually is_served
	export MVM_FIRECRACKER_URL=http://127.0.0.1:$port
}

# By this test's own server: a port may be taken, then it ends and another port is tried.
is_served() {
	if [[ -z ${server-} ]] || ! kill -0 "$server" 2>/dev/null; then
		port=$((20000 + RANDOM % 12000)) # below those that the kernel gives to callers
		busybox httpd -f -p "127.0.0.1:$port" -h "$BATS_TEST_TMPDIR/www" 3>&- &
		server=$!
	fi
	[[ $(curl -s --max-time 10 --noproxy '*' "http://127.0.0.1:$port/whose") == "$BATS_TEST_TMPDIR" ]]
}

teardown() {
	[[ -z ${server-} ]] || kill "$server"
}

nothing_installed() {
	[[ -z $(find "$fc" -mindepth 1 ! -name .lock 2>/dev/null) ]]
}

@test "a release is fetched, verified and installed, and a second time changes nothing" {
	serve "$good"
	run -0 --separate-stderr mvm-vmm install
	[[ $(jq -r '.changed, .release.version, .release.verified' <<<"$output" | xargs) == "true 1.15.1 release" ]]
	[[ -x $fc/1.15.1/firecracker && -x $fc/1.15.1/jailer ]]
	run -0 --separate-stderr mvm-vmm install
	[[ $(jq .changed <<<"$output") == false ]]
	[[ $(mvm-vmm list | jq -r '.[].version') == 1.15.1 ]]
}

@test "progress is reported on the descriptor that was given" {
	serve "$good"
	MVM_PROGRESS_FD=5 mvm-vmm install 5>"$BATS_TEST_TMPDIR/progress" >/dev/null
	tail -1 "$BATS_TEST_TMPDIR/progress" | jq -e '.stage == "download" and .done > 0'
}

@test "a download that is cut off leaves nothing" {
	head -c 20000 "$good" >"$BATS_TEST_TMPDIR/cut.tgz"
	serve "$BATS_TEST_TMPDIR/cut.tgz"
	refuses 1 mvm-vmm install
	# shellcheck disable=SC2154 # refuses sets it
	[[ $stderr == *"altered or cut off"* ]]
	nothing_installed
}

@test "a download that is altered leaves nothing" {
	cp "$good" "$BATS_TEST_TMPDIR/altered.tgz"
	printf x | dd of="$BATS_TEST_TMPDIR/altered.tgz" bs=1 seek=3000 conv=notrunc status=none
	serve "$BATS_TEST_TMPDIR/altered.tgz"
	refuses 1 mvm-vmm install
	nothing_installed
}

@test "a release that is not there is 4, and a server that does not answer 8" {
	serve "$good"
	refuses 4 mvm-vmm install --version 1.14.0
	MVM_FIRECRACKER_URL=http://127.0.0.1:1 refuses 8 mvm-vmm install
	nothing_installed
}

@test "a tarball whose inner digests do not fit is refused" {
	refuses 1 mvm-vmm install --from "$BATS_FILE_TMPDIR/inner.tgz"
	[[ $stderr == *SHA256SUMS* ]]
	nothing_installed
}

@test "a pinned digest decides" {
	echo "firecracker_sha256 = $(printf '0%.0s' {1..64})" >"$MVM_CONFIG"
	refuses 7 mvm-vmm install --from "$good"
	nothing_installed
	echo "firecracker_sha256 = $(sha256sum <"$good" | cut -d' ' -f1)" >"$MVM_CONFIG"
	[[ $(mvm-vmm install --from "$good" | jq -r .release.verified) == pinned ]]
}

@test "a folder's programs are taken, but not called verified" {
	[[ $(mvm-vmm install --from "$BATS_FILE_TMPDIR/folder" | jq -r .release.verified) == none ]]
}

@test "programs that are not static, or of another version, are refused" {
	cp -r "$BATS_FILE_TMPDIR/folder" "$BATS_TEST_TMPDIR/f"
	refuses 1 mvm-vmm install --version 1.14.0 --from "$BATS_TEST_TMPDIR/f"
	cp "$BATS_FILE_TMPDIR/dynamic" "$BATS_TEST_TMPDIR/f/firecracker"
	refuses 1 mvm-vmm install --from "$BATS_TEST_TMPDIR/f"
	[[ $stderr == *static* ]]
	nothing_installed
}

@test "killed before the release is in place: nothing is taken for installed, a repeat installs" {
	MVM_FAULT=release-rename:kill run mvm-vmm install --from "$good"
	[[ $status == 137 && ! -e $fc/1.15.1 ]]
	[[ $(mvm-vmm list) == '[]' ]]
	mvm-vmm install --from "$good"
	[[ ! -e $fc/.new-release ]]
}

@test "the same version with other bytes is a conflict" {
	mvm-vmm install --from "$good"
	cp -r "$BATS_FILE_TMPDIR/folder" "$BATS_TEST_TMPDIR/f"
	echo >>"$BATS_TEST_TMPDIR/f/jailer"
	refuses 5 mvm-vmm install --from "$BATS_TEST_TMPDIR/f"
}

@test "versions outside the range and words that are none are refused" {
	refuses 2 mvm-vmm install --version 1.11.0
	refuses 2 mvm-vmm install --version ../../x
	refuses 2 mvm-vmm install --version 1.15
}

@test "choose follows the setting and says why" {
	[[ $(MVM_VMM=qemu mvm-vmm choose | jq -r .vmm) == qemu ]]
	MVM_VMM=xen refuses 2 mvm-vmm choose
	echo 'colour = blue' >"$MVM_CONFIG"
	refuses 2 mvm-vmm choose
	[[ $stderr == *"line 1"*colour* ]]
}

@test "doctor names the VMM and ends with 3 where production is asked of a machine without KVM" {
	mkdir -p "$MVM_STATE_DIR"
	run --separate-stderr mvm-doctor
	[[ $(jq -r '.[] | select(.check == "vmm").finding' <<<"$output") == *qemu* || $status == 0 ]]
	[[ $(jq '[.[] | select(.level == "fail" and .fix == null)] | length' <<<"$output") == 0 ]]
	MVM_VMM=qemu run --separate-stderr mvm-doctor --production
	[[ $status == 3 && $(jq length <<<"$output") -ge 8 ]]
}
