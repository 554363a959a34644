#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# mvm-fc-qemu's snapshots, with real guests: what is in the files, and what they may be loaded into.

load vmm

# A guest that holds something, paused.
held() { # [VCPUS [MIB]]
	vmm_up --
	configure "$@"
	start
	guest fill 20 3
	SUM=$(guest sum)
	pause
}

again() {
	kill -9 "$VMM"
	wait "$VMM" || true
	vmm_up --
}

@test "what was captured runs on: memory, drives, CPUs; under a user of its own too" {
	held 2
	create Full a
	again
	load a true
	[ "$(guest sum)" = "$SUM" ]
	[ "$(guest cpus)" = 2 ]
	[[ $(guest drive vda) == "data 8192 "* ]]
	pause
	create Diff b
	compose "$J/snap/a.mem" "$J/snap/b.mem" "$J/snap/c.mem"
	mv "$J/snap/b.state" "$J/snap/c.state"
	kill -9 "$VMM"
	wait "$VMM" || true
	chown -R "$U:$U" "$J/snap"
	confined
	load c false
	[[ $(api GET / '' 200) == *'"state":"Paused"'* ]]
	resume
	[ "$(guest sum)" = "$SUM" ]
	grep -P '^CapEff:\t0{16}$' "/proc/$(qemu_pid)/status"
}

@test "a parent and its Diff are what a Full holds, through five generations" {
	held
	create Diff 0
	truncate -s 128M "$J/snap/none"
	create Full f0
	compose "$J/snap/none" "$J/snap/0.mem" "$J/snap/x"
	cmp "$J/snap/x" "$J/snap/f0.mem"
	local work
	for i in 1 2 3 4; do
		resume
		for work in "fill 20 $i" "zero 9000" "put vda $i" "sum"; do guest "$work"; done
		pause
		create Diff "$i"
		create Full "f$i"
		compose "$J/snap/f$((i - 1)).mem" "$J/snap/$i.mem" "$J/snap/x"
		cmp "$J/snap/x" "$J/snap/f$i.mem"
	done
	# And through a load, whose file is the parent.
	again
	load f4 true
	guest fill 10 77
	pause
	create Diff 5
	create Full f5
	compose "$J/snap/f4.mem" "$J/snap/5.mem" "$J/snap/x"
	cmp "$J/snap/x" "$J/snap/f5.mem"
}

@test "a Full empties what the next Diff holds, and so does a Diff" {
	held
	create Diff a
	create Diff b
	[ "$(occupied "$J/snap/b.mem")" -lt 64 ]
	create Full c
	create Diff d
	[ "$(occupied "$J/snap/d.mem")" -lt 64 ]
	[ "$(stat -c %s "$J/snap/d.mem")" = $((128 << 20)) ]
}

@test "the Diff of an idle guest of 256 MiB is small" {
	held 1 256
	create Full a
	resume
	sleep 1
	pause
	create Diff b
	[ "$(occupied "$J/snap/b.mem")" -lt 26214 ]
	again
	load a true
	[ "$(guest sum)" = "$SUM" ]
	pause
	create Diff c
	[ "$(occupied "$J/snap/c.mem")" -lt 26214 ]
}

@test "zeros that the guest wrote over something are data in a Diff" {
	held
	create Full a
	resume
	guest zero 10000
	pause
	create Diff b
	[ "$(occupied "$J/snap/b.mem")" -ge 10000 ]
	create Full c
	compose "$J/snap/a.mem" "$J/snap/b.mem" "$J/snap/x"
	cmp "$J/snap/x" "$J/snap/c.mem"
}

@test "a Diff into its own parent makes a Full of it" {
	held
	create Full a
	resume
	guest fill 20 9
	pause
	api PUT /snapshot/create '{"snapshot_type":"Diff","snapshot_path":"/snap/b.state","mem_file_path":"/snap/a.mem"}'
	create Full c
	cmp "$J/snap/a.mem" "$J/snap/c.mem"
}

@test "a create that fails leaves the guest paused and usable, and the next Diff whole" {
	mount -t tmpfs -o size=8m small "$J/snap"
	held
	create Diff a 400
	[[ $(api GET / '' 200) == *'"state":"Paused"'* ]]
	umount "$J/snap"
	create Diff a
	create Full b
	truncate -s 128M "$J/snap/none"
	compose "$J/snap/none" "$J/snap/a.mem" "$J/snap/x"
	cmp "$J/snap/x" "$J/snap/b.mem"
	resume
	[ "$(guest sum)" = "$SUM" ]
	# The same after a success: the parent stays what it was.
	guest fill 20 5
	pause
	mount -t tmpfs -o size=8m small "$J/run/"
	api PUT /snapshot/create '{"snapshot_type":"Diff","snapshot_path":"/run/c.state","mem_file_path":"/run/c.mem"}' 400 ||
		true # the API's own socket lies below the mount now
	umount "$J/run"
	create Diff d
	create Full e
	compose "$J/snap/b.mem" "$J/snap/d.mem" "$J/snap/x"
	cmp "$J/snap/x" "$J/snap/e.mem"
}

@test "a parent that somebody wrote to makes the next Diff hold everything" {
	held
	create Full a
	again
	load a true
	guest sum
	printf x | dd of="$J/snap/a.mem" bs=1 seek=100000 conv=notrunc status=none
	pause
	create Diff b
	create Full c
	truncate -s 128M "$J/snap/none"
	compose "$J/snap/none" "$J/snap/b.mem" "$J/snap/x"
	cmp "$J/snap/x" "$J/snap/c.mem"
}

# Each: what is done to a copy of the state, and what the refusal has to name.
@test "a state that does not fit is refused by name, and the VMM ends" {
	held
	create Full a
	cp "$J/snap/a.state" "$J/good"
	local size name
	size=$(stat -c %s "$J/good")
	for name in cut long magic version turned accelerator cpu qemu tsc; do
		cp "$J/good" "$J/snap/a.state"
		local f=$J/snap/a.state want=
		case $name in
		cut) want='cut' && truncate -s $((size - 1)) "$f" ;;
		long) want='more' && printf x >>"$f" ;;
		magic) want='not a state' && printf X | dd of="$f" bs=1 conv=notrunc status=none ;;
		version) want=version && printf '\x09' | dd of="$f" bs=1 seek=8 conv=notrunc status=none ;;
		turned) want=checksum && printf '\xee' | dd of="$f" bs=1 seek=$((size - 500)) conv=notrunc status=none ;;
		accelerator) want=accelerator && restate "$f" '"accel":"tcg"' '"accel":"kvm"' ;;
		cpu) want='CPU model' && restate "$f" '"cpu":"qemu64"' '"cpu":"qemu32"' ;;
		qemu) want='QEMU 1.' && restate "$f" '"qemu":"7' '"qemu":"1' ;;
		tsc) want='TSC' && restate "$f" '"tsc_khz":2' '"tsc_khz":3' ;;
		esac
		again
		[[ $(load a true 400) == *"$want"* ]]
		exit_of 1
		vmm_up --
	done
}

# Replaces text of the description by other text of the same length and makes the checksum fit, so
# that it is the comparison that refuses.
restate() { # FILE FROM TO
	perl -0777 -i -pe '
		BEGIN { ($from, $to) = splice @ARGV, 0, 2 }
		s/\Q$from\E/$to/ or die "not found";
		my $c = ~0 & 0xffffffff;
		for my $b (unpack "C*", substr($_, 0, 24) . substr($_, 32)) {
			$c ^= $b;
			$c = $c & 1 ? $c >> 1 ^ 0xedb88320 : $c >> 1 for 1 .. 8;
		}
		substr($_, 24, 4) = pack "V", ~$c & 0xffffffff;
	' "$2" "$3" "$1"
}

@test "a memory file of another size is refused" {
	held
	create Full a
	again
	truncate -s 64M "$J/snap/a.mem"
	[[ $(load a true 400) == *'67108864 bytes'* ]]
}

@test "a load takes other TAPs, and refuses an interface that the state has not" {
	ip tuntap add dev tapa mode tap vnet_hdr
	ip tuntap add dev tapb mode tap vnet_hdr
	vmm_up --
	configure
	api PUT /network-interfaces/eth0 '{"iface_id":"eth0","host_dev_name":"tapa","guest_mac":"02:fc:00:07:00:09"}'
	start
	guest cpus
	pause
	create Full a
	again
	load a true 204 ',"network_overrides":[{"iface_id":"eth0","host_dev_name":"tapb"}]'
	[ "$(guest cat /sys/class/net/eth0/address)" = 02:fc:00:07:00:09 ]
	ip link set tapb up
	until_true 5 eval 'ip -o link show tapb | grep -q LOWER_UP'
	again
	[[ $(load a true 400 ',"network_overrides":[{"iface_id":"eth9","host_dev_name":"tapb"}]') == *eth9* ]]
}
