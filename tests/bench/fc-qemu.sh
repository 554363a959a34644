#!/bin/bash
# SPDX-License-Identifier: MIT
# What mvm-fc-qemu costs over QEMU driven by hand with the same arguments, both in turn in one run:
# the boot of a guest to user space, and the load of a snapshot until the guest runs. Prints
# "name ratio ours_ms bare_ms limit" of the medians and ends with 1 when a limit is passed.
#	tests/bench/fc-qemu.sh [ROUNDS]
# Environment: MVM_BIN or MVM_BUILD, and MVM_VMM_GUEST as in tests/e2e/vmm.bash.
# shellcheck disable=SC2034,SC2054,SC2317 # QEMU's options have commas; functions are called by name
set -euo pipefail
rounds=${1:-7}
export MVM_BUILD=${MVM_BUILD:-build}
MVM_BIN=${MVM_BIN:-$MVM_BUILD/bin}
BATS_TEST_DIRNAME=$(dirname "$0")/../e2e
BATS_TEST_TMPDIR=$(mktemp -d /dev/shm/mvm-bench.XXXXXX)
trap 'vmm_teardown; rm -rf "$BATS_TEST_TMPDIR"' EXIT
# shellcheck source=tests/e2e/vmm.bash disable=SC1091
. "$BATS_TEST_DIRNAME/vmm.bash"
vmm_image
vmm_setup

now() { printf '%s' "${EPOCHREALTIME/./}"; } # microseconds

cat >"$J/config.json" <<JSON
{"boot-source":{"kernel_image_path":"/vmlinux","initrd_path":"/initrd","boot_args":"$ARGS"},
 "machine-config":{"vcpu_count":1,"mem_size_mib":128},"drives":[],
 "vsock":{"guest_cid":3,"uds_path":"/run/v.sock"}}
JSON

common=(-accel tcg,thread=multi,split-wx=on,tb-size=128 -cpu qemu64 -m 128M -smp 1 -nodefaults -no-user-config
	-display none -no-reboot -device i8042 -device virtio-serial-device,max_ports=2
	-sandbox on,obsolete=deny,spawn=deny,resourcecontrol=deny,elevateprivileges=deny)
port=(-chardev "socket,id=mux,path=$J/mux,server=on,wait=off"
	-device virtserialport,chardev=mux,nr=1,name=mvm.0)

# Reads a program's output up to the line; leaves the time in $took and ends the program.
until_up() { # START COMMAND...
	local start=$1 line pid
	shift
	exec 5< <(exec "$@" 2>&1 </dev/null)
	pid=$!
	while read -r line <&5; do [[ $line != *'vmm-guest: up'* ]] || break; done
	took=$(($(now) - start))
	kill -9 "$pid"
	exec 5<&-
	wait "$pid" 2>/dev/null || true
}

boot_ours() {
	rm -f "$J/run/v.sock"
	until_up "$(now)" "$MVM_BIN/mvm-fc-qemu" --root "$J" --no-api --accel tcg \
		--config-file /config.json
}

boot_bare() {
	rm -f "$J/mux"
	until_up "$(now)" qemu-system-x86_64 -M microvm,memory-backend=m0 "${common[@]}" "${port[@]}" \
		-object memory-backend-memfd,id=m0,size=128M,share=on -serial stdio \
		-kernel "$J/vmlinux" -initrd "$J/initrd" -append "$ARGS tsc_early_khz=$khz tsc=reliable"
}

# By hand: the memory file is copied to where QEMU may write it, the state comes from a file.
load_bare() {
	local start
	rm -f "$J/mux" "$J/qmp"
	start=$(now)
	cp --sparse=always "$J/snap/a.mem" "$J/ram"
	qemu-system-x86_64 -M microvm,memory-backend=m0 "${common[@]/spawn=deny/spawn=allow}" \
		"${port[@]}" -object "memory-backend-file,id=m0,size=128M,share=on,mem-path=$J/ram" \
		-serial null -incoming defer -S -qmp "unix:$J/qmp,server=on,wait=off" 2>"$J/bare" &
	local pid=$!
	perl -MIO::Socket::UNIX -e '
		my ($path, $state) = @ARGV;
		my $s;
		select(undef, undef, undef, .002) until $s = IO::Socket::UNIX->new($path);
		sub call { print $s "$_[0]\n"; my $l; do { $l = <$s> // die "QEMU has ended\n" } until $l =~ /"(return|error)"/;
			   $l =~ /"error"/ and die $l; $l }
		$s->autoflush; <$s>;
		call(q({"execute":"qmp_capabilities"}));
		call(q({"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"x-ignore-shared","state":true}]}}));
		call(qq({"execute":"migrate-incoming","arguments":{"uri":"exec:cat $state"}}));
		select(undef, undef, undef, .001) while call(q({"execute":"query-status"})) =~ /inmigrate/;
		call(q({"execute":"cont"}));' "$J/qmp" "$J/stream"
	took=$(($(now) - start))
	kill -9 "$pid"
	wait "$pid" 2>/dev/null || true
}

load_ours() {
	local start
	rm -f "$J/run/v.sock" "$J/run/api.sock"
	start=$(now)
	"$MVM_BIN/mvm-fc-qemu" --root "$J" --api-sock /run/api.sock --accel tcg >>"$J/out" 2>&1 &
	VMM=$!
	until [[ -S $J/run/api.sock ]]; do sleep 0.002; done
	load a true >/dev/null
	took=$(($(now) - start))
	vmm_teardown
}

median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }

compare() { # NAME LIMIT
	local ours=() bare=() i o b
	for ((i = 0; i < rounds; i++)); do
		"$1_bare"; bare+=("$took")
		"$1_ours"; ours+=("$took")
	done
	o=$(median "${ours[@]}") b=$(median "${bare[@]}")
	awk -v n="$1" -v o="$o" -v b="$b" -v l="$2" 'BEGIN {
		printf "%s %.2f %.0f %.0f %.2f\n", n, o / b, o / 1000, b / 1000, l
		exit o / b > l }' || status=1
}

status=0
# The snapshot, and the rate that is on the guest's command line.
vmm_up -- --config-file /config.json
khz=$(guest cat /proc/cmdline | sed 's/.*tsc_early_khz=\([0-9]*\).*/\1/')
{ pause; create Full a; } >/dev/null
vmm_teardown
at=$(perl -e 'open my $f, "<", $ARGV[0] or die; sysread $f, my $h, 32; print 33 + unpack "V", substr $h, 12' "$J/snap/a.state")
tail -c "+$at" "$J/snap/a.state" >"$J/stream"
compare boot 1.10
compare load 1.30
exit "$status"
