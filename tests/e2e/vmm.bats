#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# mvm-fc-qemu with real guests: what is behind Firecracker's API when QEMU is.
# shellcheck disable=SC2030,SC2031 # each test has its own VMM

load vmm

@test "a guest boots with one CPU, its drive, its command line and a console that is drained" {
	vmm_up --
	configure
	start
	[ "$(guest cpus)" = 1 ]
	[[ $(guest drive vda) == "data 8192 "* ]]
	[[ $(guest cat /proc/cmdline) == "$ARGS tsc_early_khz="*" tsc=reliable" ]]
	until_true 10 grep -q '^vmm-guest: up' "$J/out"
}

@test "a guest boots with two CPUs" {
	vmm_up --
	configure 2
	start
	[ "$(guest cpus)" = 2 ]
}

@test "the root device comes first, whatever the order it was given in" {
	vmm_up --
	configure
	truncate -s 1M "$J/root.img"
	api PUT /drives/root '{"drive_id":"root","path_on_host":"/root.img","is_root_device":true,"is_read_only":true}'
	start
	[[ $(guest drive vda) == "root 2048 "* ]]
	[[ $(guest drive vdb) == "data 8192 "* ]]
	[[ $(guest cat /proc/cmdline) == *" root=/dev/vda ro tsc_early"* ]]
	[ "$(guest put vda x)" != written ]
	[ "$(guest put vdb hello)" = written ]
	[ "$(head -c 5 "$J/disk.img")" = hello ]
}

@test "confined: QEMU has the VM's user, no capability, a filter, an empty root and no stray descriptor" {
	ip tuntap add tap0 mode tap user "$U" vnet_hdr
	confined
	configure
	api PUT /network-interfaces/eth0 '{"iface_id":"eth0","host_dev_name":"tap0","guest_mac":"02:fc:00:07:00:03"}'
	start
	[ "$(guest cat /sys/class/net/eth0/address)" = 02:fc:00:07:00:03 ]
	local q dir
	q=$(qemu_pid)
	grep -P "^Uid:\t$U\t$U\t$U\t$U$" "/proc/$q/status"
	grep -P "^Gid:\t$U\t$U\t$U\t$U$" "/proc/$q/status"
	grep -P '^Cap(Inh|Prm|Eff|Amb):\t0{16}$' "/proc/$q/status" | grep -c . | grep -qx 4
	grep -P '^NoNewPrivs:\t1$' "/proc/$q/status"
	grep -P '^Seccomp:\t2$' "/proc/$q/status"
	[ -z "$(ls -A "/proc/$q/root/")" ]
	dir=$(readlink "/proc/$q/root")
	[ "$dir" = "$MVM_RUN_DIR/empty" ]
	[ "$(stat -c %u:%a "$dir")" = 0:755 ]
	# Nothing but memory, sockets, pipes, the devices' files and events.
	for f in "/proc/$q/fd"/*; do
		case $(readlink "$f" || echo /dev/null) in # one that has been closed meanwhile is none
		/memfd:guest-ram* | socket:* | pipe:* | anon_inode:* | /dev/null | /dev/net/tun) ;;
		"$J"/vmlinux | "$J"/initrd | "$J"/disk.img) ;;
		*) echo "$f: $(readlink "$f")" >&2 && false ;;
		esac
	done
	# So have the two around it.
	for q in "$VMM" "$(starter_pid)"; do
		grep -P "^Uid:\t$U\t$U\t$U\t$U$" "/proc/$q/status"
		grep -P '^CapEff:\t0{16}$' "/proc/$q/status"
	done
}

@test "a TAP that belongs to another user is refused" {
	ip tuntap add tap1 mode tap user 1 vnet_hdr
	confined
	configure
	api PUT /network-interfaces/eth0 '{"iface_id":"eth0","host_dev_name":"tap1"}' 400 ||
		{ api PUT /network-interfaces/eth0 '{"iface_id":"eth0","host_dev_name":"tap1"}' &&
			api PUT /actions '{"action_type":"InstanceStart"}' 400; }
}

@test "whichever of the three is killed, all three end" {
	local victim q s v
	for victim in qemu starter vmm; do
		confined
		configure
		start
		[ "$(guest cpus)" = 1 ]
		v=$VMM s=$(starter_pid) q=$(qemu_pid)
		case $victim in
		qemu) kill -9 "$q" ;;
		starter) kill -9 "$s" ;;
		vmm) kill -9 "$v" ;;
		esac
		for p in "$q" "$s" "$v"; do until_true 5 ended "$p"; done
		wait "$v" || true
		VMM=
	done
}

@test "without a user of its own QEMU dies with the VMM too, and has no capability" {
	vmm_up --
	configure
	start
	local q v=$VMM
	q=$(qemu_pid)
	grep -P '^CapEff:\t0{16}$' "/proc/$q/status"
	grep -P '^NoNewPrivs:\t1$' "/proc/$q/status"
	grep -P '^Seccomp:\t2$' "/proc/$q/status"
	kill -9 "$v"
	until_true 5 ended "$q"
}

@test "it runs where memory may not be writable and executable" {
	confined "$MVM_BUILD/test/mdwx"
	configure
	start
	[ "$(guest cpus)" = 1 ]
	# And there the filter is in force: without the second mapping QEMU cannot translate.
	run "$MVM_BUILD/test/mdwx" qemu-system-x86_64 -M microvm -accel tcg,split-wx=off -nodefaults \
		-no-user-config -display none -S -monitor none
	[ "$status" -ne 0 ]
}

@test "a start that fails says why, leaves nothing and can be tried again" {
	confined
	configure
	cp "$J/vmlinux" "$J/kernel.bad"
	truncate -s 4096 "$J/kernel.bad"
	api PUT /boot-source '{"kernel_image_path":"/kernel.bad"}'
	[[ $(api PUT /actions '{"action_type":"InstanceStart"}' 400) == *kernel* ]]
	run qemu_pid
	[ "$status" -ne 0 ]
	[ ! -e "$J/run/v.sock" ]
	api PUT /boot-source "{\"kernel_image_path\":\"/vmlinux\",\"initrd_path\":\"/initrd\",\"boot_args\":\"$ARGS\"}"
	start
	[ "$(guest cpus)" = 1 ]
}

@test "a reboot, a power-off and a panic of the guest end the VMM with 0" {
	local how
	for how in reboot poweroff panic; do
		vmm_up --
		configure
		start
		[ "$(guest cpus)" = 1 ]
		run guest end "$how"
		exit_of 0
	done
	grep -q 'Kernel panic' "$J/out"
}

@test "Ctrl-Alt-Del reaches the guest" {
	vmm_up --
	configure
	start
	[ "$(guest cpus)" = 1 ]
	api PUT /actions '{"action_type":"SendCtrlAltDel"}'
	exit_of 0
	grep -q '^vmm-guest: ctrl-alt-del' "$J/out"
}

@test "a drive is exchanged under a running guest, its size included" {
	vmm_up --
	configure
	printf one >"$J/disk.img" && truncate -s 4M "$J/disk.img"
	printf two >"$J/two.img" && truncate -s 6M "$J/two.img"
	start
	local before
	before=$(guest drive vda)
	api PATCH /drives/data '{"drive_id":"data","path_on_host":"/two.img"}'
	until_true 5 drive_is vda "data 12288"
	[ "$(guest drive vda)" != "$before" ]
	[ "$(guest put vda three)" = written ]
	[ "$(head -c 5 "$J/two.img")" = three ]
	[ "$(head -c 3 "$J/disk.img")" = one ]
	# Also while it is paused with its drives at rest, and it is the new file that a state names.
	pause
	create Full a
	truncate -s 6M "$J/four.img"
	api PATCH /drives/data '{"drive_id":"data","path_on_host":"/four.img"}'
	resume
	[ "$(guest put vda five)" = written ]
	[ "$(head -c 4 "$J/four.img")" = five ]
	pause
	create Full b
	grep -qa four.img "$J/snap/b.state"
	grep -qa two.img "$J/snap/a.state"
}
