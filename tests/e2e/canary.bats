# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2016
# A secret's value, looked for wherever it could have got to while a guest lives with it: in any form
# that a program would write it in. It may be on the ramfs, and in memory that goes nowhere.

load e2e

setup_file() {
	e2e_setup_file
	new_pool acme/store 128 --data-disk 64
}

teardown_file() {
	e2e_teardown_file
}

setup() {
	state=${MVM_STATE_DIR:-/var/lib/mvm} run=${MVM_RUN_DIR:-/run/mvm}
	messages=$BATS_TEST_TMPDIR/messages # what every tool prints
	: >"$messages"
	core_pattern=$(</proc/sys/kernel/core_pattern)
}

teardown() {
	echo "$core_pattern" >/proc/sys/kernel/core_pattern
	mvm-instance destroy --all --yes acme/store >/dev/null
	nothing_left
}

random_canary() { printf 'CANARY%s' "$(head -c 18 /dev/urandom | base64 -w0 | tr '+/' 'xy')"; }

# All forms of a value: as it is, in hexadecimal of either case, in UTF-16 of either order, and base64
# at each of the three places where it may begin in a longer text, without the characters at the ends
# that depend on what is beside it.
forms() { # VALUE
	local hex pad groups
	printf '%s\n' "$1"
	hex=$(printf %s "$1" | od -An -v -tx1 | tr -d ' \n')
	printf '%s\n' "$hex" "${hex^^}"
	for pad in '' x xx; do
		groups=$(((${#pad} + ${#1}) / 3))
		printf '%s%s' "$pad" "$1" | base64 -w0 | cut -c "$((${#pad} ? 5 : 1))-$((groups * 4))"
	done
}

# grep takes no NUL in a pattern, so wide forms are patterns of Perl's.
wide() { # VALUE
	local i out=''
	for ((i = 0; i < ${#1}; i++)); do out+="${out:+\\x00}${1:i:1}"; done
	echo "$out"
}

# Names of files below that hold the value in any form; 1 when none does. What goes away meanwhile is
# no matter.
holders() { # VALUE PATH...
	local value=$1
	shift
	{
		forms "$value" | grep -rlaF -D skip -f - -- "$@" 2>/dev/null
		grep -rlaP -D skip -e "$(wide "$value")" -- "$@" 2>/dev/null
	} | sort -u | grep .
}

processes() { # copies of what all processes were started with
	local p to=$BATS_TEST_TMPDIR/processes
	rm -rf "$to" && mkdir "$to"
	for p in /proc/[0-9]*; do
		cat "$p/cmdline" >"$to/${p##*/}.cmdline" 2>/dev/null || true
		cat "$p/environ" >"$to/${p##*/}.environ" 2>/dev/null || true
	done
	echo "$to"
}

logs() { # VM: the console and what VMM and agent wrote
	local source to=$BATS_TEST_TMPDIR/logs
	mkdir -p "$to"
	for source in console vmm agent; do
		mvm-guest logs --source "$source" "$1" >"$to/$source" 2>/dev/null || true
	done
	if [[ ${MVM_RING:-e2e} == node ]]; then journalctl --no-pager >"$to/journal"; fi
	echo "$to"
}

nowhere() { # STAGE VALUE...: but on the ramfs
	local stage=$1 value found
	shift
	for value; do
		found=$(holders "$value" "$state" "$messages" "$(processes)" "$(logs "$vm")") || found=''
		found+=$(find "$run" -mindepth 1 -maxdepth 1 ! -name secrets -print0 | while IFS= read -r -d '' f; do
			holders "$value" "$f"
		done) || true
		[[ -z $found ]] || { echo "$stage: $value is in $found" >&2; return 1; }
	done
}

tool() { # COMMAND...: keeps what it prints
	local status=0
	"$@" >>"$messages" 2>&1 || status=$?
	return "$status"
}

set_secret() { # VALUE: with everything a tool would tell
	printf %s "$1" | MVM_LOG_LEVEL=debug MVM_LOG=json tool mvm-secrets set acme db=-
}

@test "the search finds each form of a value, wherever it stands" {
	value=$(random_canary)
	dir=$BATS_TEST_TMPDIR/forms
	mkdir "$dir"
	printf 'x%sy' "$value" >"$dir/plain"
	printf 'x%sy' "$value" | od -An -v -tx1 | tr -d ' \n' >"$dir/hex"
	printf 'x%sy' "$value" | od -An -v -tx1 | tr -d ' \n' | tr a-f A-F >"$dir/HEX"
	for pad in '' a ab abc abcd; do printf '%s%s%s' "$pad" "$value" tail | base64 -w0 >"$dir/base64-${#pad}"; done
	printf %s "$value" | iconv -t UTF-16LE >"$dir/utf16le"
	printf 'ab%scd' "$value" | iconv -t UTF-16BE >"$dir/utf16be"
	truncate -s 16M "$dir/sparse"
	printf %s "$value" | dd of="$dir/sparse" bs=1 seek=9999999 conv=notrunc status=none
	[[ $(holders "$value" "$dir" | wc -l) == $(find "$dir" -type f | wc -l) ]]
	run ! holders "$(random_canary)" "$dir"
}

@test "a secret is on the ramfs while its guest runs, nowhere else at any time, and nowhere after" {
	one=$(random_canary) two=$(random_canary)
	set_secret "$one"
	vm=$(new_instance acme/store)
	nowhere "before the start" "$one"
	run ! holders "$one" "$run"
	MVM_LOG_LEVEL=debug tool up "$vm"

	# The control: where it may be it is found, by the same search.
	image=$(find "$run/secrets" -name secrets.img)
	[[ $(holders "$one" "$run") == "$image" ]]
	[[ $(stat -f -c %T "$image") == ramfs ]]
	[[ $(stat -c %a "${image%/*}" "$run/secrets" | xargs) == "700 700" ]]
	uid=$((0x70000000 + 7 * 65536 + $(field "$vm" .net.offset)))
	[[ $(stat -c '%a %u %g' "$image") == "440 0 $uid" ]]
	[[ $(mvm-guest exec "$vm" -- cat /run/secrets/db) == "$one" ]]
	[[ $(mvm-guest exec "$vm" -- stat -L -c '%a %u' /run/secrets /run/secrets/db | xargs) == "500 0 400 0" ]]
	nowhere "running" "$one"

	# Used by what runs in the guest, and copied to its data disk in another form only.
	mvm-guest exec "$vm" -- sh -c 'sha256sum /run/secrets/db >/data/used; sync; true'
	tool mvm-guest cp "$vm:/data/used" "$BATS_TEST_TMPDIR/used"
	tool mvm-guest cp "$BATS_TEST_TMPDIR/used" "$vm:/data/again"
	nowhere "after exec and cp" "$one"

	set_secret "$two"
	[[ $(mvm-guest exec "$vm" -- cat /run/secrets/db) == "$two" ]]
	[[ $(holders "$two" "$run") == "$image" ]]
	run ! holders "$one" "$run"
	tool mvm-secrets rotate acme
	nowhere "rotated" "$one" "$two"

	tool mvm-instance stop "$vm"
	run ! holders "$two" "$run"
	[[ -z $(find "$run/secrets" -mindepth 1 2>/dev/null) ]]
	nowhere "stopped" "$one" "$two"
	tool mvm-instance destroy --yes "$vm"
	tool mvm-secrets rm acme db
	for value in "$one" "$two"; do
		run ! holders "$value" "$state" "$run" "$messages" "$(processes)"
	done
}

# Every process of the VMM: what has the VM's uid.
keepers() { # VM
	local uid
	uid=$((0x70000000 + 7 * 65536 + $(field "$1" .net.offset)))
	grep -lP "^Uid:\t$uid\t" /proc/[0-9]*/status 2>/dev/null | cut -d/ -f3
}

cores() { # that came since the test began, wherever something of ours may die
	find / /tmp "$PWD" -maxdepth 1 -name 'core*' -type f -newer "$BATS_TEST_TMPDIR/begun"
	find "$BATS_TEST_TMPDIR" "$state" "$run" -name 'core*' -type f -newer "$BATS_TEST_TMPDIR/begun"
}

@test "no core file has anything of a guest, however its VMM dies" {
	value=$(random_canary)
	set_secret "$value"
	vm=$(new_instance acme/store)
	echo core >/proc/sys/kernel/core_pattern # into the directory where it dies
	touch -d '1 second ago' "$BATS_TEST_TMPDIR/begun" # two files of one tick are equally old
	# The control: here a process that may leave a core does, and the search finds what was in it.
	(cd "$BATS_TEST_TMPDIR" && ulimit -c unlimited && CONTROL=$value bash -c 'kill -SEGV $$') || true
	core=$(cores)
	[[ $core == "$BATS_TEST_TMPDIR"/core* ]]
	[[ $(holders "$value" "$core") == "$core" ]]
	rm "$core"
	ulimit -c unlimited # what the VMM would inherit
	for signal in SEGV ABRT; do
		up "$vm"
		mvm-guest exec "$vm" -- sh -c 'cat /run/secrets/db >/dev/null'
		for pid in $(keepers "$vm"); do
			[[ $(awk '/^Max core file size/ { print $5, $6 }' "/proc/$pid/limits") == "0 0" ]]
		done
		keepers "$vm" | xargs kill "-$signal" || true # one may take another along
		wait_until 20 is_status "$vm" stopped
		[[ $(field "$vm" .last_exit) != asked ]]
		[[ -z $(cores) ]]
		[[ -z $(find "$run/secrets" -mindepth 1 2>/dev/null) ]]
		nowhere "after SIG$signal" "$value"
	done
	mvm-secrets rm acme db
}

# Flags of each writable mapping that has the value in it: "dd" is VM_DONTDUMP. Not of the gigabyte for
# the code that an emulator makes.
holding() { # PID VALUE
	local range flags from to
	awk '/^[0-9a-f]+-[0-9a-f]+ / { range = $1; mode = $2; name = $6 }
		/^Rss:/ { rss = $2 }
		/^VmFlags:/ && mode ~ /^rw/ && rss > 0 && name !~ /tcg-jit/ { print range, $0, name }' "/proc/$1/smaps" |
		while read -r range flags; do
			from=$((0x${range%-*})) to=$((0x${range#*-}))
			! dd if="/proc/$1/mem" bs=1M iflag=skip_bytes,count_bytes skip="$from" count="$((to - from))" status=none 2>/dev/null |
				tr -s '\0' '\n' | grep -qaF -e "$2" || echo "$flags"
		done
}

@test "even a core that is forced out of a VMM is without the guest's memory" {
	value=$(random_canary)
	set_secret "$value"
	vm=$(new_instance acme/store)
	up "$vm"
	# In the guest the value is in memory in this very form: its copy under /run/secrets.
	[[ $(mvm-guest exec "$vm" -- cat /run/secrets/db) == "$value" ]]
	pid=$(keepers "$vm" | while read -r p; do
		case $(readlink "/proc/$p/exe") in */qemu-system-* | */firecracker) echo "$p" ;; esac
	done)
	# Where the kernel lets root look it is found, and each place is marked as nothing for a core file, in
	# whatever way one is made.
	holding "$pid" "$value" >"$BATS_TEST_TMPDIR/flags"
	cat "$BATS_TEST_TMPDIR/flags" >&2
	[[ -s $BATS_TEST_TMPDIR/flags ]]
	run -1 grep -vw dd "$BATS_TEST_TMPDIR/flags"
	mvm-secrets rm acme db
}

@test "a machine that swaps cannot swap the secrets' drive: a ramfs has no swap" {
	[[ $(stat -f -c %T /run) != ramfs ]] # so that what follows says something
	value=$(random_canary)
	set_secret "$value"
	vm=$(new_instance acme/store)
	up "$vm"
	image=$(find "$run/secrets" -name secrets.img)
	[[ $(findmnt -n -o FSTYPE,OPTIONS --target "$image") =~ ^ramfs.*nosuid,nodev,noexec ]]
	mvm-secrets rm acme db
}
