# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# For tests that drive mvm-fc-qemu itself: a jail directory J, its API by curl, its vsock by
# vsock-peer, and the guest of tests/e2e/vmm-guest.c. One VMM at a time; its log and its guest's
# console are $J/out.

U=1879507971 # of the formula: net id 7, offset 3

# The guest's image takes a compiler and the kernel's package, so it is made once. A run without
# these gives MVM_VMM_GUEST, a directory with vmlinux and initrd.
vmm_image() {
	export MVM_VMM_GUEST=${MVM_VMM_GUEST:-$MVM_BUILD/test/vmm-guest}
	local src=$BATS_TEST_DIRNAME/vmm-guest.c top=$BATS_TEST_DIRNAME/../..
	[[ -f $MVM_VMM_GUEST/vmlinux && ! $src -nt $MVM_VMM_GUEST/vmlinux ]] && return
	mkdir -p "$MVM_VMM_GUEST"
	musl-gcc -static -D_GNU_SOURCE -I"$top/lib" -idirafter /usr/include \
		-idirafter "/usr/include/$(gcc -print-multiarch)" -O2 -s -o "$MVM_VMM_GUEST/init" \
		"$src" "$top"/lib/base/*.c
	"$top/sh/guest-image" --guestd "$MVM_VMM_GUEST/init" --out "$MVM_VMM_GUEST"
	touch "$MVM_VMM_GUEST/vmlinux"
}

vmm_setup() {
	J=$BATS_TEST_TMPDIR/jail
	mkdir -p "$J/run" "$J/snap"
	chmod 755 "$BATS_TEST_TMPDIR" "$J"
	ln "$MVM_VMM_GUEST"/{vmlinux,initrd} "$J/" 2>/dev/null || cp "$MVM_VMM_GUEST"/{vmlinux,initrd} "$J/"
	truncate -s 4M "$J/disk.img"
	export MVM_RUN_DIR=$BATS_TEST_TMPDIR/mvm
	ARGS='console=ttyS0 reboot=t panic=-1 quiet 8250.nr_uarts=1'
	ip link set lo up
}

vmm_teardown() {
	[[ -z ${VMM-} ]] || kill -9 "$VMM" 2>/dev/null || true
	[[ -z ${VMM-} ]] || wait "$VMM" 2>/dev/null || true
}

# Starts the VMM: vmm_up [PREFIX...] -- [OPTION...]. VMM is its pid.
vmm_up() {
	local prefix=()
	while [[ $1 != -- ]]; do prefix+=("$1"); shift; done
	shift
	rm -f "$J/run/api.sock" "$J/run/v.sock"
	"${prefix[@]}" "$MVM_BIN/mvm-fc-qemu" --root "$J" --api-sock /run/api.sock --accel tcg \
		"$@" >>"$J/out" 2>&1 3>&- </dev/null &
	VMM=$!
	until_true 10 answers
}

answers() { curl -s --max-time 20 -o "$J/answer" --unix-socket "$J/run/api.sock" http://localhost/; }

confined() {
	chown "$U:$U" "$J/run" "$J/snap" "$J/disk.img"
	chmod 700 "$J/run" "$J/snap"
	vmm_up "$@" -- --uid "$U" --gid "$U"
}

until_true() { # SECONDS COMMAND...
	local end=$((SECONDS + $1 * 4)) # a machine with much to do may leave a process alone for seconds
	shift
	until "$@"; do
		((SECONDS < end)) || { echo "still not: $*" >&2; cat "$J/out" >&2; return 1; }
		sleep 0.02
	done
}

# api METHOD PATH BODY [STATUS]: the answer's body; its status has to be STATUS (204).
api() {
	local answer
	answer=$(curl -sS --max-time 60 --unix-socket "$J/run/api.sock" -X "$1" -d "$3" -w '\n%{http_code}' \
		"http://localhost$2")
	printf '%s\n' "${answer%$'\n'*}"
	[[ ${answer##*$'\n'} == "${4:-204}" ]] || { echo "$1 $2 $3: $answer" >&2; return 1; }
}

configure() { # [VCPUS [MIB]]
	api PUT /machine-config "{\"vcpu_count\":${1:-1},\"mem_size_mib\":${2:-128},\"track_dirty_pages\":true}"
	api PUT /boot-source "{\"kernel_image_path\":\"/vmlinux\",\"initrd_path\":\"/initrd\",\"boot_args\":\"$ARGS\"}"
	api PUT /drives/data '{"drive_id":"data","path_on_host":"/disk.img","is_root_device":false,"is_read_only":false}'
	api PUT /vsock '{"guest_cid":3,"uds_path":"/run/v.sock"}'
}

start() { api PUT /actions '{"action_type":"InstanceStart"}'; }
pause() { api PATCH /vm '{"state":"Paused"}'; }
resume() { api PATCH /vm '{"state":"Resumed"}'; }

create() { # Full|Diff NAME [STATUS]
	api PUT /snapshot/create "{\"snapshot_type\":\"$1\",\"snapshot_path\":\"/snap/$2.state\",\"mem_file_path\":\"/snap/$2.mem\"}" "${3:-204}"
}

load() { # NAME RESUME [STATUS [MORE]]
	api PUT /snapshot/load "{\"snapshot_path\":\"/snap/$1.state\",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"/snap/$1.mem\"},\"track_dirty_pages\":true,\"resume_vm\":$2${4-}}" "${3:-204}"
}

peer() { "$MVM_BUILD/test/vsock-peer" "$J/run/v.sock" "$@"; }
guest() { peer say 8 "$*"; }

one_cpu() { [[ $(guest cpus) == 1 ]]; }
drive_is() { [[ $(guest drive "$1") == "$2 "* ]]; }

# The three processes. QEMU's parent is the starter when there is one.
starter_pid() { pgrep -P "$VMM" -x mvm-starter; }
qemu_pid() { pgrep -P "$VMM,$(starter_pid || echo "$VMM")" qemu-system; }
ended() { ! grep -q '^State:.[^ZX]' "/proc/$1/status" 2>/dev/null; }

exit_of() { # STATUS: how the VMM has to end
	local status=0
	until_true 20 ended "$VMM"
	wait "$VMM" || status=$?
	VMM=
	[[ $status == "$1" ]] || { echo "ended with $status" >&2; cat "$J/out" >&2; return 1; }
}

# What lies over PARENT when DIFF is put on it.
compose() { # PARENT DIFF OUT
	cp --sparse=always "$1" "$3"
	perl -e '
		use Fcntl;
		sysopen my $d, $ARGV[0], O_RDONLY or die; sysopen my $o, $ARGV[1], O_RDWR or die;
		my $at = 0;
		for (;;) {
			my $from = sysseek $d, $at, 3 or last; # SEEK_DATA
			$at = sysseek $d, $from, 4;            # SEEK_HOLE
			sysseek $d, $from, 0; sysseek $o, $from, 0;
			for (my $left = $at - $from; $left > 0;) {
				my $n = sysread $d, my $data, $left < 1 << 20 ? $left : 1 << 20 or die;
				syswrite($o, $data) == $n or die;
				$left -= $n;
			}
		}' "$2" "$3"
}

occupied() { # FILE: KiB on disk
	du -k "$1" | cut -f1
}

# Also sourced by tests/bench, where there is no bats.
${BATS_VERSION:+bats_require_minimum_version 1.5.0}

setup_file() {
	vmm_image
}

setup() {
	vmm_setup
}

teardown() {
	vmm_teardown
}
