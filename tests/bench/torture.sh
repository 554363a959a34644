#!/bin/bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154 # what bench.bash sets
# No state is lost: a guest that writes numbered, checksummed records to its memory and to /data goes
# through sleeps and wakes while its tools and its VMM are killed with -9 at random, and while two tools
# act on it at once. What the guest has synced and told is there afterwards: in memory and on /data when it
# went on from its memory, on /data when it started cold; and cold it starts only where something was
# killed that takes the memory along, which is said. The choices follow from the seed, the moments of the
# kills from the machine as well.
#	tests/bench/torture.sh [CYCLES] [SEED] [SECONDS]: no cycle is begun after SECONDS
set -euo pipefail
cycles=${1:-200} seed=${2:-$((RANDOM * 32768 + RANDOM))} seconds=${3:-86400}
# shellcheck source=tests/bench/bench.bash disable=SC1091
source "$(dirname "$0")/bench.bash"
export MVM_VMM=qemu
# shellcheck disable=SC2317 # called at the end
end() { [[ -z ${vm-} ]] || mvm-instance destroy --yes "$vm" >/dev/null 2>&1 || true; }
printf 'seed %d, %d cycles\n' "$seed" "$cycles"
RANDOM=$((seed % 32768))

mem=/run/t/mem data=/data/records
declare -A kills cold
told_mem=0 told_disk=0 cycle=0 sleeps=0 wakes=0
log=$root/log

bad() {
	printf 'cycle %d: %s\n' "$cycle" "$*" >&2
	tail -n 20 "$log" >&2
	mvm-instance explain "$vm" >&2 || true
	mvm-guest logs --source console "$vm" 2>/dev/null | tail -n 20 >&2 || true
	exit 1
}
guest() { timeout 60 mvm-guest exec -n "$vm" -- "$@" 2>>"$log"; }
field() { mvm-instance info "$vm" | jq -r "$1"; }
note() { # KIND: counts a kill
	kills[$1]=$((${kills[$1]-0} + 1))
}
pick() { # WORD...: one of them, in $picked (no subshell, which would draw the same numbers again)
	shift $((RANDOM % $#))
	picked=$1
}

# --- the guest

record() { # what it has on /data is the beginning of what it is going to have
	mvm-guest cp "$root/recorder" "$vm:/tmp/recorder" >/dev/null
	guest sh -c 'mkdir -p /run/t && mount -t tmpfs none /run/t'
	mvm-guest exec -d --session rec "$vm" -- /tmp/recorder run $mem $data >/dev/null
	for ((k = 0; k < 100; k++)); do
		! guest test -s $mem || break
		sleep 0.05
	done
}

# Nothing that was told is lost, and memory and disk are of one time.
check_warm() {
	local said m d
	said=$(guest /tmp/recorder check $mem $data) || bad "$said"
	read -r m d <<<"$said"
	((m >= told_mem && d >= told_disk)) || bad "memory $m, disk $d; told were $told_mem and $told_disk"
	told_mem=$m told_disk=$d
}
check_cold() {
	local d
	mvm-guest cp "$root/recorder" "$vm:/tmp/recorder" >/dev/null
	d=$(guest /tmp/recorder count $data)
	((d >= told_disk)) || bad "after a cold start the disk has $d, told were $told_disk"
	told_disk=$d
	record
	check_warm
}

disk() { printf '%s/tenants/bench/pools/p/instances/%s/volumes/data.ext4' "$MVM_STATE_DIR" "${vm##*/}"; }
# Of one that sleeps it is clean as it is; of one that was killed behind its journal.
fsck() { # sleeping|stopped
	cp --sparse=always "$(disk)" "$root/disk"
	[[ $1 == sleeping ]] || e2fsck -E journal_only -fy "$root/disk" >>"$log" 2>&1 || true
	e2fsck -fn "$root/disk" >"$root/fsck" 2>&1 || { cat "$root/fsck" >&2; bad "/data of one that is $1 is not clean"; }
}

# --- who is killed

# By process id, in a PID namespace of our own.
victim() { # KIND
	case $1 in
	vmm) pgrep -x mvm-fc-qemu | tail -n 1 ;;
	qemu) pgrep -x qemu-system-x86 | tail -n 1 ;;
	sup) pgrep -x mvm-sup | head -n 1 ;;
	step) for k in snap fc-launch disk bridge; do pgrep -x "mvm-$k"; done | shuf -n 1 ;;
	esac
}
points_sleep='life-sleep-asked life-sleep-draft snap-mark life-sleep-quiesced life-sleep-base life-sleep-paused
	life-sleep-created snap-take life-sleep-taken snap-sync-memory snap-seal life-sleep-sealed snap-link
	snap-link-rename life-sleep-linked life-sleep-ending life-sleep-stopped compose-copied compose-renamed
	compose-manifest life-finish-exit life-finish-release life-drain'
points_wake='life-start-asked life-prepare-taken life-prepare-capture life-prepare-tap life-prepare-drives
	life-prepare-jail life-load-spend snap-spend life-load-spent life-load-loaded life-load-repaired
	life-commit-drives life-commit-attached life-commit-thawed life-commit'
# What takes the memory along, or may: everything that ends a VM that runs or has been loaded.
costs_memory() { # KIND
	case $1 in
	vmm | qemu | sup | step | point:life-load-spent | point:life-load-loaded | point:life-load-repaired) return 0 ;;
	point:life-commit*) return 0 ;;
	esac
	return 1
}

# Runs the verb, and does KIND to it at a random moment of what it takes. $status is the verb's.
disturbed() { # VERB KIND
	local verb=$1 kind=$2 job other pid fault='' wait_ms
	wait_ms=$((RANDOM * (${took[$verb]} * 5 / 4) / 32768))
	[[ $kind != point:* ]] || fault=${kind#point:}:kill@1
	MVM_FAULT=$fault mvm-instance "$verb" "$vm" >/dev/null 2>>"$log" &
	job=$!
	case $kind in
	none | point:*) ;;
	pair:*)
		sleep "0.$(printf %03d $((wait_ms % 1000)))"
		mvm-instance "${kind#pair:}" "$vm" >/dev/null 2>>"$log" &
		other=$!
		;;
	*)
		sleep "$((wait_ms / 1000)).$(printf %03d $((wait_ms % 1000)))"
		pid=$job
		[[ $kind == tool ]] || pid=$(victim "$kind" || true)
		if [[ -n $pid ]] && kill -9 "$pid" 2>/dev/null; then note "$verb $kind"; else note "$verb missed"; fi
		;;
	esac
	status=0
	wait "$job" 2>/dev/null || status=$?
	[[ -z ${other-} ]] || wait "$other" 2>/dev/null || true
	[[ $kind != pair:* ]] || note "$verb with ${kind#pair:}"
	if [[ $kind == point:* ]]; then
		if ((status)); then note "$verb at a point"; else note "$verb past its point"; fi
	fi
}

# Whatever was killed, the next tool brings the record to what is true.
settle() {
	for ((k = 0; k < 100; k++)); do
		! mvm-instance settle "$vm" >/dev/null 2>>"$log" || break
		sleep 0.1
	done
	((k < 100)) || bad 'it cannot be settled'
	[[ $(field .op) == null ]] || bad "an op is left: $(field .op)"
	is=$(field .status)
}

kind_of() { # POINTS PAIRS...: in $picked; a quarter is left alone
	local points=$1
	shift
	pick none none tool tool vmm qemu sup step point point point pair
	kind=$picked
	if [[ $kind == point ]]; then
		# shellcheck disable=SC2086 # words
		pick $points
		kind=point:$picked
	elif [[ $kind == pair ]]; then
		pick "$@"
		kind=pair:$picked
	fi
}

# --- a cycle

put_to_sleep() {
	kind_of "$points_sleep" wake settle sleep
	disturbed sleep "$kind"
	settle
	case $is in
	sleeping) sleeps=$((sleeps + 1)) && fsck sleeping ;;
	running)
		[[ $kind != none ]] || bad "the sleep ended with $status"
		check_warm
		;;
	stopped)
		costs_memory "$kind" || bad "stopped after $kind"
		fsck stopped
		;;
	*) bad "it is $is" ;;
	esac
}

go_on() {
	local from=$is
	kind_of "$points_wake" wake settle sleep
	disturbed wake "$kind"
	settle
	[[ $is == running || $kind != none ]] || bad "the wake ended with $status, it is $is"
	[[ $is != sleeping && $is != stopped ]] || { fsck "$is" && again "$from"; }
	is_back "$from"
}

# What was killed half-way is done again, with nothing in its way.
again() { # FROM
	[[ $is != stopped || $1 != sleeping ]] || costs_memory "$kind" || bad "stopped after $kind"
	mvm-instance wake "$vm" >/dev/null 2>>"$log" || bad 'it does not wake'
	is=running
}

is_back() { # FROM
	local why
	why=$(field '.cold // ""')
	if [[ -z $why ]]; then
		[[ $1 == sleeping ]] || bad 'a start from the disks that is not said to be one'
		wakes=$((wakes + 1))
		check_warm
		return
	fi
	[[ $1 == stopped ]] || costs_memory "$kind" || bad "cold after $kind: $why"
	why=$(sed -E 's/[0-9]{4}-[0-9-]+T[0-9:]+Z/TIME/g; s,bench/p/i-[0-9a-f]+: ,,g; s/(gen-|i-)[0-9a-f]+/\1N/g' <<<"$why")
	cold[$why]=$((${cold[$why]-0} + 1))
	check_cold
}

measure() { # VERB: what it takes undisturbed, in ms
	local begun
	begun=$(now)
	mvm-instance "$1" "$vm" >/dev/null
	took[$1]=$((($(now) - begun) / 1000))
}

declare -A took
musl-gcc -static -O2 -s "$here/recorder.c" -o "$root/recorder"
mvm-tenant create bench --net-id 9 --subnet 10.240.9.0/24 >/dev/null
mvm-pool create bench/p --flake path:/bench --profile minimal --cpus 1 --mem 128 --data-disk 64 >/dev/null
mvm-pool-build build bench/p --from "$build/test/image" >/dev/null
vm=$(mvm-instance create bench/p -o name)
mvm-instance start "$vm" >/dev/null
record
check_warm
measure sleep
measure wake
check_warm
printf 'undisturbed: sleep %d ms, wake %d ms\n' "${took[sleep]}" "${took[wake]}"
begun=$(now)
for ((cycle = 1; cycle <= cycles; cycle++)); do
	if (($(now) - begun > seconds * 1000000)); then
		cycles=$((cycle - 1))
		break
	fi
	put_to_sleep
	[[ $is == running ]] || go_on
	[[ $(field .status) == running ]] || { mvm-instance wake "$vm" >/dev/null && check_warm; }
done
cycle=$cycles
mvm-instance stop "$vm" >/dev/null
fsck sleeping
mvm-node census --strays >/dev/null || { mvm-node census --strays >&2; bad 'something is left that nobody owns'; }
printf '%d cycles in %d s: %d captures, %d woken from memory, %d records told in memory and %d on /data\n' \
	"$cycles" $((($(now) - begun) / 1000000)) "$sleeps" "$wakes" "$told_mem" "$told_disk"
for k in "${!kills[@]}"; do printf 'killed: %s: %d\n' "$k" "${kills[$k]}"; done | sort
for k in "${!cold[@]}"; do printf 'cold: %s: %d\n' "$k" "${cold[$k]}"; done | sort
