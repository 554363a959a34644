#!/bin/bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154 # what bench.bash sets
# What a tenant's network costs, and whether that depends on how many others there are: TENANTS
# tenants with TAPS guests each, in a namespace of its own. Prints the median of `mvm-bridge ensure`
# and of a guest's TAP over the first and the last twenty tenants, their ratios, the times of a policy
# change and of what a TAP from the store saves; and whether links and rules are afterwards what they
# were, byte by byte.
#	tests/bench/net.sh [TENANTS [TAPS]]
set -euo pipefail
tenants=${1:-200} taps=${2:-5}
# shellcheck source=tests/bench/bench.bash disable=SC1091
source "$(dirname "$0")/bench.bash"
export MVM_SPARE_TAPS=64

timed() { # FILE COMMAND...
	local file=$1 begun
	shift
	begun=$(now)
	"$@" >/dev/null
	echo $(($(now) - begun)) >>"$root/$file"
}
state() { # of the kernel
	ip -j -d link | jq -S 'map(del(.ifindex?))'
	nft -j -s list ruleset | jq -S .
}
instance() { # TENANT-NUMBER NUMBER
	printf 't%d/p/i-%04x%04x' "$1" "$1" "$2"
}
compare() { # WHAT FILE
	local first last
	first=$(head -n 20 "$root/$2" | median) last=$(tail -n 20 "$root/$2" | median)
	printf '%-44s first %5d us  last %5d us  ratio %s\n' "$1" "$first" "$last" \
		"$(awk -v a="$last" -v b="$first" 'BEGIN {printf "%.2f", a / b}')"
}

echo "$tenants tenants with $taps guests each"
for ((t = 1; t <= tenants; t++)); do
	mvm-tenant create "t$t" --net-id "$t" --subnet "10.$((t >> 8)).$((t & 255)).0/24" >/dev/null
	mvm-pool create "t$t/p" --flake . --profile minimal --cpus 1 --mem 16 >/dev/null
	for ((i = 1; i <= taps; i++)); do mvm-instance create "$(instance "$t" "$i")" >/dev/null; done
done
state >"$root/before"
for ((t = 1; t <= tenants; t++)); do
	timed first mvm-bridge ensure "t$t"
	for ((i = 1; i <= taps; i++)); do
		vm=$(instance "$t" "$i")
		timed add mvm-bridge tap-add "$vm"
		timed attach mvm-bridge tap-attach "$vm"
	done
	timed again mvm-bridge ensure "t$t"
done
compare "ensure, from nothing" first
compare "ensure of a tenant with its guests, unchanged" again
compare "tap-add" add
compare "tap-attach with its rules" attach
for ((n = 0; n < 20; n++)); do
	mvm-pool update "t1/p" --egress none >/dev/null
	timed policy mvm-bridge policy t1/p
	mvm-pool update "t1/p" --allow "192.0.2.$n:443/tcp" >/dev/null
	timed policy mvm-bridge policy t1/p
	timed nothing mvm-bridge --version
done
printf '%-44s %d us, of which %d us are a tool that does nothing (%d guests)\n' "a change of a pool's policy" \
	"$(median <"$root/policy")" "$(median <"$root/nothing")" "$taps"
for ((n = 0; n < 20; n++)); do
	vm=$(instance 1 1)
	timed del mvm-bridge tap-del "$vm"
	timed store mvm-bridge tap-add "$vm"
	mvm-bridge tap-attach "$vm" >/dev/null
	ip tuntap add dev bare mode tap
	timed bare ip link delete bare
done
printf '%-44s %d us, beside %d us of removing a bare one\n' "tap-del into the store" \
	"$(median <"$root/del")" "$(median <"$root/bare")"
printf '%-44s %d us\n' "tap-add out of the store" "$(median <"$root/store")"
timed verify mvm-bridge verify
printf '%-44s %d ms\n' "verify of all of them" $(($(cat "$root/verify") / 1000))
for ((t = 1; t <= tenants; t++)); do
	for ((i = 1; i <= taps; i++)); do mvm-bridge tap-del "$(instance "$t" "$i")" >/dev/null; done
	timed destroy mvm-bridge destroy "t$t"
done
compare "destroy" destroy
state >"$root/after"
cmp "$root/before" "$root/after" && echo "links and rules are what they were before"
