# SPDX-License-Identifier: MIT
# The node VM is what the other files of this ring take it for: a user's machine with systemd, cgroup v2,
# KVM, TUN and nftables.
bats_require_minimum_version 1.5.0

@test "systemd is PID 1, and no unit has failed" {
	[ "$(cat /proc/1/comm)" = systemd ]
	run systemctl is-system-running
	systemctl list-units --failed --no-legend --plain
	[ "$output" = running ]
}

@test "cgroup v2 has the controllers that limits need" {
	[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]
	for controller in cpu memory pids io; do
		grep -qw "$controller" /sys/fs/cgroup/cgroup.controllers
	done
	[ -r /proc/pressure/memory ]
}

@test "KVM answers with its API version" {
	grep -qw svm /proc/cpuinfo
	# KVM_GET_API_VERSION is _IO(0xAE, 0).
	run perl -e 'open(my $kvm, "+<", "/dev/kvm") or die "open: $!";
		print ioctl($kvm, 0xAE00, 0) // die "ioctl: $!"'
	echo "$output"
	[ "$output" = 12 ]
}

@test "a TUN device can be made" {
	ip tuntap add dev smoke0 mode tap
	ip link show smoke0
	ip link del smoke0
}

@test "nftables takes a table with NAT and conntrack" {
	nft -f - <<-'NFT'
		table inet smoke {
			chain forward {
				type filter hook forward priority 0; policy accept;
				ct state established accept
			}
			chain out {
				type nat hook postrouting priority srcnat;
				oifname "eth0" masquerade
			}
		}
	NFT
	nft list table inet smoke | grep -q masquerade
	nft delete table inet smoke
}

@test "the clock is the host's, within 5 seconds" {
	# The real-time clock follows the host; a restored node's own clock was set from outside.
	rtc=$(cat /sys/class/rtc/rtc0/since_epoch)
	now=$(date +%s)
	echo "rtc $rtc, clock $now"
	((now - rtc <= 5 && rtc - now <= 5))
}

@test "nothing outside of the node can be reached" {
	run -0 ip route show default
	[[ $output == *"via 10.0.2.2"* ]]
	run ! timeout 5 bash -c ': </dev/tcp/192.0.2.1/80'
}
