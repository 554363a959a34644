# SPDX-License-Identifier: MIT
# What a guest that breaks out of its virtual machine would find: the VMM's processes as the kernel
# shows them. Under Firecracker that is one; under mvm-fc-qemu itself, its starter and QEMU.

load ../e2e/e2e

setup_file() {
	e2e_setup_file
	VM=$(new_instance)
	mvm-instance start "$VM"
	VMM=$(field "$VM" .vmm)
	JAIL=/var/lib/mvm/jails/$VMM/${VM##*/}/root
	PIDS=''
	while read -r pid; do
		# KVM puts a thread of the kernel beside each VM; that one has no program.
		! readlink "/proc/$pid/exe" >/dev/null || PIDS+=" $pid"
	done <"/sys/fs/cgroup$(cut -d: -f3 "/proc/$(vmm_pid "$VM")/cgroup")/cgroup.procs"
	export VM VMM JAIL PIDS
}

teardown_file() {
	e2e_teardown_file
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
			/rootfs.* | /vmlinux | /initrd) ;;
			"$JAIL" | "$JAIL"/rootfs.* | "$JAIL"/vmlinux | "$JAIL"/initrd) ;;
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

@test "doctor --production refuses a VMM that is no verified release" {
	run -3 --separate-stderr mvm-doctor --production
	[[ $(out '.[] | select(.check == "vmm") | .level') == fail ]]
}

@test "bootstrap prepares the node again and names the VMM it will use" {
	local from=()
	[[ -z ${MVM_FIRECRACKER_DIR-} ]] || from=(--from "$MVM_FIRECRACKER_DIR")
	run -0 --separate-stderr mvm bootstrap --no-packages "${from[@]}"
	[[ $output == *"$VMM"* ]]
	# What runs is not touched.
	mvm-guest exec "$VM" -- true
}
