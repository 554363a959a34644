#!/bin/bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016 # the guest's shell's
# The memory of a VMM beside its guest's: proportional shares (smaps) of mvm-fc-qemu, its starter and QEMU
# together, less the guest's own memory file, after the boot, after the guest has touched what memory it can
# get, and after it has run what programs it has. Emulation keeps translated code, which a guest can make
# grow; its bound (tb-size) is told beside.
#	tests/bench/memory.sh [MIB [VCPUS]]
set -euo pipefail
mib=${1:-128} vcpus=${2:-1}
# shellcheck source=tests/bench/bench.bash disable=SC1091
source "$(dirname "$0")/bench.bash"
export MVM_VMM=qemu
vm=$(new_guest bench 9 "$mib" "$vcpus")
mvm-instance start "$vm" >/dev/null
server=$(mvm-instance info "$vm" | jq .vmm_process.pid)
starter=$(pgrep -P "$server" -x mvm-starter)
qemu=$(pgrep -P "$starter" qemu-system)

tell() { # WHEN
	awk -v when="$1" '
		/^[0-9a-f]+-[0-9a-f]+ / { guest = /memfd:guest-ram/; code = /memfd:tcg/ || /jit/ }
		/^Rss:/ { if (guest && $2 > most) most = $2 }
		/^Pss:/ { if (!guest) rest += $2; if (code) tcg += $2 }
		END { printf "%-28s guest %4d MiB, VMM beside it %4d MiB (translated code %d)\n",
			when, most / 1024, rest / 1024, tcg / 1024 }' \
		"/proc/$server/smaps" "/proc/$starter/smaps" "/proc/$qemu/smaps"
}
run() { mvm-guest exec "$vm" -- sh -c "$1" >/dev/null 2>&1 || true; }

tell "after the boot"
run 'n=$(awk "/^MemAvailable/ {print int(\$2 * 9 / 10)}" /proc/meminfo); head -c "${n}k" /dev/zero | tail -c "${n}k"'
tell "all of its memory touched"
for ((n = 0; n < 3; n++)); do
	run 'for a in $(busybox --list); do timeout 2 busybox $a --help; done; for a in awk sed sort md5sum sha1sum \
		sha256sum sha512sum gzip bzip2 xz lzop bc dc; do head -c 100000 /dev/urandom | timeout 5 busybox $a; done'
done
tell "all of its programs run"
tr '\0' '\n' <"/proc/$qemu/cmdline" | grep -A1 -x -e -accel | tail -n 1
mvm-instance stop --force "$vm" >/dev/null
