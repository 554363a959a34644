# SPDX-License-Identifier: MIT
# What a guest that breaks out of its virtual machine would find: the VMM's processes as the kernel
# shows them. Under Firecracker that is one; under mvm-fc-qemu itself, its starter and QEMU.
# shellcheck disable=SC2030,SC2031 # each test has its own pid

load ../e2e/e2e

setup_file() {
	e2e_setup_file
	VM=$(new_instance)
	up "$VM"
	VMM=$(field "$VM" .vmm)
	JAIL=/var/lib/mvm/jails/$VMM/${VM##*/}/root
	PIDS=''
	while read -r pid; do
		# KVM puts a thread of the kernel beside each VM; that one has no program.
		! readlink "/proc/$pid/exe" >/dev/null || PIDS+=" $pid"
	done <"/sys/fs/cgroup$(cut -d: -f3 "/proc/$(vmm_pid "$VM")/cgroup")/cgroup.procs"
	INJECT=$BATS_TEST_DIRNAME/../aid/inject
	export VM VMM JAIL PIDS INJECT
}

# Two guests side by side are too much for an emulated KVM.
alone() {
	mvm-instance stop "$VM"
}

each() { # COMMAND...: with each process of the VMM in $pid
	local pid
	[[ -n $PIDS ]]
	for pid in $PIDS; do
		"$@" || { echo "pid $pid ($(cat "/proc/$pid/comm")): $*" >&2; return 1; }
	done
}

status_is() { # KEY PATTERN
	grep -qP "^$1:\s+$2\s*$" "/proc/$pid/status"
}

@test "every process has the VM's uid and gid and no other group" {
	local u
	u=$((0x70000000 + 7 * 65536 + $(field "$VM" .net.offset)))
	each status_is Uid "$u\t$u\t$u\t$u"
	each status_is Gid "$u\t$u\t$u\t$u"
	each status_is Groups "($u)?" # QEMU lists its one group
}

@test "no process has a capability or can get one" {
	local set
	for set in CapInh CapPrm CapEff CapAmb; do
		each status_is "$set" '0{16}'
	done
	each status_is NoNewPrivs 1
}

# Of Firecracker it is the unit's list, which jailer needs and no_new_privs makes useless; of QEMU what
# it takes to leave root; of our own processes nothing.
@test "what a process could ever get by an exec is bounded" {
	bounded() {
		case $(readlink "/proc/$pid/exe") in
		*/firecracker) status_is CapBnd 00000000082401eb ;;
		*/qemu-system-*) status_is CapBnd 00000000000400c2 ;;
		*) status_is CapBnd '0{16}' ;;
		esac
	}
	each bounded
}

# What is in the jail, as a process of the VM sees it, is told whole.
@test "the tree and the mounts of each process are its guest's" {
	local pid
	for pid in $PIDS; do
		echo "# $(cat "/proc/$pid/comm"): $(grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' \
			"/proc/$pid/status" | tr -s '\t\n' ' ')" >&3
	done
	echo "# jail: $(cd "$JAIL" && find . -printf '%P:%u:%m ' | sort | xargs)" >&3
	[[ -z $(cd "$JAIL" && find . -mindepth 1 ! -name 'vmlinux' ! -name initrd ! -name 'rootfs.*' \
		! -path './run*' ! -path './snap*' ! -path './dev*' ! -name firecracker ! -name secrets.img \
		! -name config.img) ]]
	sees_its_own() {
		case $(readlink "/proc/$pid/exe") in
		*/firecracker) [[ /proc/$pid/root/ -ef $JAIL && $(wc -l <"/proc/$pid/mountinfo") -le 4 ]] ;;
		*/qemu-system-*) [[ -z $(cat "/proc/$pid/mountinfo") ]] ;;
		*) [[ $(cat "/proc/$pid/comm") != mvm-starter || -z $(cat "/proc/$pid/mountinfo") ]] ;;
		esac
	}
	each sees_its_own
	# mvm-fc-qemu has the node's root, and landlock for its jail.
	cannot_read() {
		[[ $(cat "/proc/$pid/comm") != mvm-fc-qemu ]] ||
			[[ $("$INJECT" "$pid" openat 0 @/etc/passwd 0) == EACCES ]]
	}
	each cannot_read
}

@test "every thread has a seccomp filter" {
	threads_filtered() {
		local t
		for t in "/proc/$pid"/task/*; do
			grep -qP '^Seccomp:\t2$' "$t/status" || return 1
		done
	}
	each threads_filtered
}

@test "a guest's memory never reaches a core file" {
	no_core() {
		grep -qP '^Max core file size\s+0\s+0\s' "/proc/$pid/limits"
	}
	each no_core
}

@test "the guest is kept by a process whose root is its jail, or empty" {
	guest_keeper() {
		case $(readlink "/proc/$pid/exe") in
		*/firecracker) [[ /proc/$pid/root/ -ef $JAIL ]] ;;
		*/qemu-system-*) [[ -z $(ls -A "/proc/$pid/root/") ]] ;;
		esac
	}
	each guest_keeper
}

@test "no process has a descriptor beyond its guest's" {
	few_descriptors() {
		local f to
		for f in "/proc/$pid/fd"/*; do
			to=$(readlink "$f") || continue
			case $to in
			socket:* | pipe:* | anon_inode:* | /dev/null | /dev/kvm | /dev/net/tun | /memfd:*) ;;
			/rootfs.* | /vmlinux | /initrd | /secrets.img | /config.img) ;;
			"$JAIL" | "$JAIL"/rootfs.* | "$JAIL"/vmlinux | "$JAIL"/initrd) ;;
			"$JAIL"/secrets.img | "$JAIL"/config.img) ;;
			/run/metrics | "$JAIL"/run/metrics) ;;
			*) echo "$f: $to" >&2 && return 1 ;;
			esac
		done
	}
	each few_descriptors
}

@test "what all VMs share is the VMM's to read only" {
	local name
	for name in vmlinux initrd rootfs.erofs; do
		[[ $(stat -c %u:%g:%a "$JAIL/$name") == 0:0:444 ]]
	done
	[[ $(stat -c %a /var/lib/mvm/tenants/acme/pools/web/artifacts/revisions) == 700 ]]
	[[ $(stat -c %a "$JAIL/run") == 700 ]]
}

@test "a strict guest runs under the unit, and a forbidden call ends it with its cause" {
	local vm qemu
	alone
	new_pool acme/tight 128 --seccomp strict
	vm=$(new_instance acme/tight)
	up "$vm"
	mvm-guest exec "$vm" -- true
	[[ $(mvm-instance stats "$vm" | jq -r .seccomp) == strict ]]
	mvm-instance stop "$vm"
	[[ $(field "$vm" .last_exit) == asked ]]
	up "$vm"
	pid=$(vmm_pid "$vm")
	if [[ $VMM == qemu ]]; then
		qemu=$(pgrep -U "$(awk '/^Uid/ { print $2 }' "/proc/$pid/status")" qemu-system)
		[[ $("$INJECT" "$qemu" keyctl 0 0 0) == "killed SIGSYS" ]]
	else
		[[ $("$INJECT" "$pid" keyctl 0 0 0) == "killed SIGSYS" ]]
	fi
	wait_until 5 is_status "$vm" stopped
	[[ $(field "$vm" .last_exit) == forbidden-call ]]
	mvm-instance destroy --yes "$vm"
	mvm-pool destroy --force acme/tight
}

@test "the direct backend holds a VMM in a subtree of its own, with the pool's limits" {
	local vm g overhead=96 pid found groups='' limits
	alone
	export MVM_BACKEND=direct
	vm=$(new_instance)
	up "$vm"
	g=/sys/fs/cgroup/mvm/$(cat /var/lib/mvm/node-id)/acme/web/${vm##*/}
	[[ $VMM == firecracker ]] || overhead=384
	found=$(cd "$g" && cat memory.max memory.swap.max cpu.max pids.max)
	for pid in $(pgrep -U "$(awk '/^Uid/ { print $2 }' "/proc/$(vmm_pid "$vm")/status")"); do
		groups+=$(cat "/proc/$pid/cgroup")$'\n'
	done
	limits=$(mvm-instance stats "$vm" | jq -r .limits)
	mvm-instance destroy --yes "$vm" # first, for what comes after a failure to find nothing
	[[ ! -e $g ]]
	# beside the guest's memory that of its drives on the ramfs: secrets 16 MiB, configuration 1
	[[ $found == "$(((128 + 16 + 1 + overhead) << 20))"$'\n0\n120000 100000\n65' ]]
	[[ $(sort -u <<<"$groups" | xargs) == "0::${g#/sys/fs/cgroup}" ]]
	[[ $limits == cgroup ]]
}

@test "doctor --production refuses a VMM that is no verified release" {
	run -3 --separate-stderr mvm-doctor --production
	[[ $(out '.[] | select(.check == "vmm") | .level') == fail ]]
}

@test "bootstrap prepares the node again and names the VMM it will use" {
	local from=()
	up "$VM"
	[[ -z ${MVM_FIRECRACKER_DIR-} ]] || from=(--from "$MVM_FIRECRACKER_DIR")
	run -0 --separate-stderr mvm bootstrap --no-packages "${from[@]}"
	[[ $output == *"$VMM"* ]]
	# What runs is not touched.
	mvm-guest exec "$VM" -- true
}
