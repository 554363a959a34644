# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2034,SC2154 # for the script that sources it with its own arguments
# What the benchmarks of the tools share: a node of its own in namespaces of its own, which is gone
# afterwards. $build is the build, $root a directory for the script's files; the script may have an end() that
# runs before they are removed.
here=$(cd "$(dirname "$0")" && pwd)
build=$(readlink -f "${MVM_BUILD:-$here/../../build}")
if [[ ${BENCH_INSIDE-} != 1 ]]; then
	BENCH_INSIDE=1 exec unshare --net --mount --pid --fork --kill-child --mount-proc "$0" "$@"
fi
export PATH=$build/bin:$PATH MVM_BACKEND=direct
root=$(mktemp -d /var/tmp/mvm-bench.XXXXXX)
end() { :; }
remove() { # a VMM that ends may write its last file meanwhile
	! mountpoint -q "$root/run/secrets" || umount "$root/run/secrets" || true
	rm -rf "$root"
}
trap 'end; remove || { sleep 1 && remove; }' EXIT
export MVM_STATE_DIR=$root/state MVM_RUN_DIR=$root/run MVM_CONFIG=$root/mvm.conf
mkdir -p "$MVM_STATE_DIR" "$MVM_RUN_DIR"
ip link set lo up

now() { printf '%s' "${EPOCHREALTIME/./}"; } # microseconds
median() { sort -n | awk '{a[NR] = $1} END {print a[int((NR + 1) / 2)]}'; }

new_guest() { # TENANT NET-ID [MIB [VCPUS]]: makes a tenant with one instance, and prints its address
	mvm-tenant create "$1" --net-id "$2" --subnet "10.240.$2.0/24" >/dev/null
	mvm-pool create "$1/p" --flake path:/bench --profile minimal --cpus "${4:-1}" --mem "${3:-128}" >/dev/null
	mvm-pool-build build "$1/p" --from "$build/test/image" >/dev/null
	mvm-instance create "$1/p" -o name
}
