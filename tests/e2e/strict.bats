# SPDX-License-Identifier: MIT
# What a VMM and a tool may do, tried from within: tests/aid/inject makes a process that runs do one
# system call, as code of a stranger's in it would. The processes of a VMM are mvm-fc-qemu, its
# starter and QEMU.
# shellcheck disable=SC2154,SC2030,SC2031,SC2094 # stderr is set by run; each test has its own vm

load e2e

setup_file() {
	e2e_setup_file
	new_pool acme/tight 128 --seccomp strict
	BASE=$(new_instance)
	TIGHT=$(new_instance acme/tight)
	export BASE TIGHT
	mvm-instance start "$BASE"
	mvm-instance start "$TIGHT"
}

teardown_file() {
	e2e_teardown_file
}

teardown() {
	no_strays
}

inject() { "$MVM_BUILD/test/inject" "$@"; }

# The processes of a VM by what they are: server, starter, qemu.
vm_pid() { # ADDRESS WHICH
	local server starter
	server=$(vmm_pid "$1")
	starter=$(pgrep -P "$server" -x mvm-starter)
	case $2 in
	server) echo "$server" ;;
	starter) echo "$starter" ;;
	qemu) pgrep -P "$starter" qemu-system ;;
	esac
}

each() { # ADDRESS COMMAND...: with $pid and $what of each of its processes
	local vm=$1 pid what
	shift
	for what in server starter qemu; do
		pid=$(vm_pid "$vm" "$what")
		[[ -n $pid ]]
		"$@" || { echo "$what: $*" >&2; cat "/proc/$pid/status" >&2; return 1; }
	done
}

status_is() { # KEY PATTERN
	local value
	value=$(sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status")
	[[ $value =~ ^$2[[:space:]]*$ ]] || { echo "$1: $value" >&2; return 1; }
}

refused() { # ERRNO CALL [ARGUMENT...]
	local want=$1 got
	shift
	got=$(inject "$pid" "$@")
	[[ $got == "$want" ]] || { echo "$what: $*: $got, wanted $want" >&2; return 1; }
}

@test "every process of a VM has its user, no capability that counts, and a filter on every thread" {
	local vm u set
	for vm in "$BASE" "$TIGHT"; do
		u=$((0x70000000 + 7 * 65536 + $(field "$vm" .net.offset)))
		each "$vm" status_is Uid "$u.$u.$u.$u"
		each "$vm" status_is Gid "$u.$u.$u.$u"
		for set in CapInh CapPrm CapEff CapAmb; do
			each "$vm" status_is "$set" '0{16}'
		done
		each "$vm" status_is NoNewPrivs 1
		each "$vm" threads_filtered
		each "$vm" bounded
	done
}

threads_filtered() {
	local t
	for t in "/proc/$pid"/task/*; do
		grep -q "^Seccomp:[[:space:]]2$" "$t/status" || return 1
	done
}

# QEMU's is what it took to leave root: chroot, setuid, setgid and to read a kernel of the VM's. It
# can get none of them back.
bounded() {
	if [[ $what == qemu ]]; then
		status_is CapBnd 00000000000400c2
	else
		status_is CapBnd '0{16}'
	fi
}

@test "a process of a VM sees its own files and nothing else" {
	local vm file
	for vm in "$BASE" "$TIGHT"; do
		# What everybody may read on this machine, and what is another guest's.
		for file in /etc/passwd /proc/version /usr/bin/env /tmp "$MVM_STATE_DIR"; do
			each "$vm" unreadable "$file"
		done
		each "$vm" tree
	done
}

unreadable() { # FILE
	local got
	# Of a strict one even the question would be the end.
	[[ $vm != "$TIGHT" || $what != starter ]] || return 0
	got=$(inject "$pid" openat 0 "@$1" 0)
	case $what in
	server) [[ $got == EACCES ]] ;;
	starter) [[ $got == EPERM ]] ;;
	qemu) [[ $got == ENOENT ]] ;;
	esac || { echo "$what: $1: $got" >&2; return 1; }
}

tree() {
	case $what in
	server)
		local root
		root=$(jail_fd)
		[[ $(inject "$pid" openat "$root" @vmlinux 0) =~ ^[0-9]+$ ]]
		[[ $(inject "$pid" openat "$root" @run 0x10000) =~ ^[0-9]+$ ]]
		[[ $(inject "$pid" openat "$root" @run/../../.. 0x10000) == EACCES ]]
		;;
	*)
		[[ -z $(ls -A "/proc/$pid/root/") ]]
		[[ -z $(cat "/proc/$pid/mountinfo") ]] # what lies below its root, which is none
		;;
	esac
}

# The descriptor by which mvm-fc-qemu knows its jail: its user cannot get there by name.
jail_fd() {
	local f
	for f in "/proc/$pid/fd"/*; do
		[[ ! $f -ef $MVM_STATE_DIR/jails/qemu/${vm##*/}/root ]] || echo "${f##*/}"
	done
}

@test "a strict guest boots, runs commands and stops as any other" {
	[[ $(mvm-instance stats "$TIGHT" | jq -r .seccomp) == strict ]]
	[[ $(mvm-instance stats "$BASE" | jq -r .seccomp) == baseline ]]
	[[ $(field "$TIGHT" .seccomp) == strict ]]
	[[ $(mvm-guest exec "$TIGHT" -- echo here) == here ]]
	head -c 1000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
	mvm-guest exec "$TIGHT" -- sh -c 'cat >/tmp/x; cat /tmp/x' <"$BATS_TEST_TMPDIR/in" |
		cmp - "$BATS_TEST_TMPDIR/in"
	mvm-instance stop "$TIGHT"
	is_status "$TIGHT" stopped
	[[ $(field "$TIGHT" .last_exit) == asked ]]
	mvm-instance start "$TIGHT"
	is_status "$TIGHT" running
}

@test "a call that baseline lets through ends a strict guest, and its cause is told" {
	local vm server
	# AF_INET; QEMU's own filter has nothing against it
	[[ $(inject "$(vm_pid "$BASE" qemu)" socket 2 1 0) =~ ^[0-9]+$ ]]
	[[ $(mvm-guest exec "$BASE" -- echo on) == on ]]

	vm=$TIGHT
	server=$(vmm_pid "$vm")
	[[ $(inject "$(vm_pid "$vm" qemu)" socket 2 1 0) == "killed SIGSYS" ]]
	wait_until 5 gone "$server"
	wait_until 5 is_status "$vm" stopped
	[[ $(field "$vm" .last_exit) == forbidden-call ]]
	[[ $(mvm-instance stats "$vm" | jq -r .message) == "the VMM ended (killed: a forbidden system call)"* ]]
	no_strays
	mvm-instance start "$vm"
}

@test "so does one of mvm-fc-qemu itself, which plain only fails" {
	local vm server
	[[ $(inject "$(vmm_pid "$BASE")" socket 2 1 0) == EPERM ]]
	[[ $(inject "$(vm_pid "$BASE" starter)" socket 1 1 0) == EPERM ]]
	[[ $(mvm-guest exec "$BASE" -- echo on) == on ]]

	vm=$TIGHT
	server=$(vmm_pid "$vm")
	[[ $(inject "$server" execve 0 0 0) == "killed SIGSYS" ]]
	wait_until 5 gone "$server"
	wait_until 5 is_status "$vm" stopped
	[[ $(field "$vm" .last_exit) == forbidden-call ]]
	mvm-instance start "$vm"
	server=$(vmm_pid "$vm")
	[[ $(inject "$(vm_pid "$vm" starter)" socket 1 1 0) == "killed SIGSYS" ]]
	wait_until 5 gone "$server"
	wait_until 5 is_status "$vm" stopped
	[[ $(field "$vm" .last_exit) == forbidden-call ]]
	mvm-instance start "$vm"
}

@test "where no filter can end a VMM a strict start is refused by name and leaves nothing" {
	local vm
	vm=$(new_instance acme/tight)
	MVM_FAULT=sandbox-kill:err=EACCES refuses 8 mvm-instance start "$vm"
	[[ $stderr == *"seccomp strict: the kernel has no filters of system calls"* ]]
	is_status "$vm" created
	[[ $(field "$vm" .op) == null ]]
	[[ ! -e $MVM_STATE_DIR/jails/qemu/${vm##*/} ]]
	# baseline does not ask for it
	mvm-instance destroy --yes "$vm"
	vm=$(new_instance)
	MVM_FAULT=sandbox-kill:err=EACCES mvm-instance start "$vm"
	mvm-instance destroy --yes "$vm"
}

@test "a guest runs where no memory may be written and executed, as its unit has it" {
	local vm
	vm=$(new_instance)
	"$MVM_BUILD/test/mdwx" mvm-instance start "$vm"
	[[ $(mvm-guest exec "$vm" -- echo here) == here ]]
	each "$vm" no_written_code
	mvm-instance destroy --yes "$vm"
}

no_written_code() { # PROT_READ|PROT_WRITE|PROT_EXEC, MAP_PRIVATE|MAP_ANONYMOUS
	refused EPERM mmap 0 4096 7 0x22 0xffffffffffffffff 0
}

@test "who reads a guest's words can open, make and execute nothing" {
	local pid what=exec
	mvm-guest exec "$BASE" -- sleep 100 </dev/null >/dev/null 2>&1 3>&- &
	wait_until 5 has_filter $!
	pid=$!
	status_is Seccomp 2
	status_is NoNewPrivs 1
	refused EPERM openat 0xffffffffffffff9c @/etc/passwd 0
	refused EPERM execve @/bin/true 0 0
	refused EPERM socket 2 1 0
	kill "$pid"
	wait "$pid" || true
}

# One more than this shell, which may run under one as well (tests/aid/mdwx.c).
has_filter() { # PID
	(($(filters "$1") > $(filters self)))
}
filters() { # PID|self
	sed -n 's/^Seccomp_filters:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null || echo 0
}

@test "who configures a VMM and waits for its guest has given its rights up" {
	local vm started pid qemu what=helper
	vm=$(new_instance)
	mvm-instance start "$vm" >/dev/null 3>&- &
	started=$!
	wait_until 10 helper_bound
	# the newest guest stands still until all is tried, so that the helper still waits for it
	qemu=$(pgrep -n qemu-system)
	kill -STOP "$qemu"
	pid=$(pgrep -n -x mvm-fc-launch)
	# to end the VMM, and to reach its socket
	status_is CapEff 0000000000000022
	status_is CapBnd '0{16}'
	status_is NoNewPrivs 1
	refused EACCES openat 0 @/etc/passwd 0
	refused EACCES openat 0 "@$MVM_STATE_DIR" 0
	refused EPERM execve @/bin/true 0 0
	refused EPERM socket 2 1 0
	kill -CONT "$qemu"
	wait "$started"
	is_status "$vm" running
	mvm-instance destroy --yes "$vm"
}

helper_bound() {
	local helper
	helper=$(pgrep -n -x mvm-fc-launch) && has_filter "$helper"
}

@test "who follows a tenant's log reads that and nothing else" {
	local pid what=follow
	mvm-audit follow acme >"$BATS_TEST_TMPDIR/log" 2>&1 3>&- </dev/null &
	wait_until 5 has_filter $! || { cat "$BATS_TEST_TMPDIR/log" >&2; return 1; }
	pid=$!
	status_is NoNewPrivs 1
	refused EACCES openat 0xffffffffffffff9c @/etc/passwd 0
	refused EPERM execve @/bin/true 0 0
	mvm-instance create acme/web -o name >"$BATS_TEST_TMPDIR/made"
	wait_until 5 grep -q "$(cut -d/ -f3 "$BATS_TEST_TMPDIR/made")" "$BATS_TEST_TMPDIR/log"
	mvm-audit rotate acme
	mvm-instance destroy --yes "$(cat "$BATS_TEST_TMPDIR/made")"
	wait_until 5 grep -q InstanceDestroyed "$BATS_TEST_TMPDIR/log"
	kill "$pid"
	wait "$pid" || true
}
