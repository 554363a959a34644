# SPDX-License-Identifier: MIT
# What a tenant's rules let through and what they don't: who reaches whom, shown by packets.
# shellcheck disable=SC2154 # a1 and the others are set by vm, net by net_setup

setup() {
	load helper
	load net
	load isolation
	isolation_setup
}

teardown() { net_teardown; }

@test "a tenant's guests reach each other by ping, TCP and UDP, with br_netfilter on and off" {
	serve "$a2" tcp 10.20.7.4 8080
	serve "$a2" udp 10.20.7.4 8080
	for on in 0 1; do
		br_netfilter $on
		reaches "$a1" 10.20.7.4
		reaches "$a2" 10.20.7.3
		answered "$a1" tcp 10.20.7.4 8080
		answered "$a1" udp 10.20.7.4 8080
		connects refused "$a1" tcp 10.20.7.4 8081
	done
	# as themselves, not as the host
	[[ $(sort -u "$BATS_TEST_TMPDIR/served-tcp-10.20.7.4-8080" | xargs) == "10.20.7.3 ready" ]]
}

@test "guests of another tenant are out of reach from both sides, counted as cross-tenant" {
	serve "$a1" tcp 10.20.7.3 8080
	serve "$b1" tcp 10.20.8.3 8080
	serve "$b1" udp 10.20.8.3 8080
	answered "$a2" tcp 10.20.7.3 8080
	answered "$b2" tcp 10.20.8.3 8080
	answered "$b2" udp 10.20.8.3 8080
	for on in 0 1; do
		br_netfilter $on
		counting inet/7/cross_tenant cut_off "$a1" 10.20.8.3
		counting inet/7/cross_tenant ignored "$a1" tcp 10.20.8.3 8080
		counting inet/7/cross_tenant ignored "$a1" udp 10.20.8.3 8080
		counting inet/8/cross_tenant cut_off "$b1" 10.20.7.3
		counting inet/8/cross_tenant ignored "$b1" tcp 10.20.7.3 8080
	done
	# by each tenant's own rules: the other's are not needed
	within nft delete table inet mvm-8
	counting inet/7/cross_tenant ignored "$a1" tcp 10.20.8.3 8080
}

@test "a list of ways out does not open the way to another tenant" {
	serve "$b1" tcp 10.20.8.3 8080
	answered "$b2" tcp 10.20.8.3 8080
	policy acme/web --allow 10.20.8.0/24
	counting inet/7/cross_tenant ignored "$a1" tcp 10.20.8.3 8080
	counting inet/7/host cut_off "$a1" 10.20.8.1
}

@test "of the host a guest reaches the gateway's ping and nothing else" {
	serve "$net" tcp 0.0.0.0 22
	serve "$net" udp 0.0.0.0 53
	serve "$net" tcp 0.0.0.0 8169
	answered "$outside" tcp 192.0.2.1 22
	answered "$outside" udp 192.0.2.1 53
	reaches "$outside" 192.0.2.1
	reaches "$a1" 10.20.7.1
	for ip in 10.20.7.1 192.0.2.1 10.20.8.1; do
		counting inet/7/host ignored "$a1" tcp $ip 22
		counting inet/7/host ignored "$a1" tcp $ip 8169
		counting inet/7/host ignored "$a1" udp $ip 53
	done
	counting inet/7/host cut_off "$a1" 192.0.2.1
	counting inet/7/host cut_off "$a1" 10.20.8.1
	# nor by calling everybody
	for ip in 10.20.7.255 255.255.255.255 224.0.0.1; do
		counting inet/7/host ns "$a1" "$frame" send eth0 udp --dst-ip $ip --port 53
	done
	[[ $(sort -u "$BATS_TEST_TMPDIR/served-udp-0.0.0.0-53" | xargs) == "192.0.2.2 ready" ]]
}

@test "what the host begins with a guest is answered" {
	serve "$a1" tcp 10.20.7.3 8080
	serve "$a1" udp 10.20.7.3 8080
	answered "$net" tcp 10.20.7.3 8080
	answered "$net" udp 10.20.7.3 8080
	reaches "$net" 10.20.7.3
}

@test "the host's metadata port is for guests of pools that have metadata" {
	serve "$net" tcp 10.20.7.1 8169
	counting inet/7/host ignored "$a1" tcp 10.20.7.1 8169
	counting inet/7/reserved ignored "$a1" tcp 169.254.169.254 80
	policy acme/web --metadata on
	answered "$a1" tcp 10.20.7.1 8169
	answered "$a1" tcp 169.254.169.254 80
	serve "$net" tcp 10.20.8.1 8169
	counting inet/7/host ignored "$a1" tcp 10.20.8.1 8169
	counting inet/8/host ignored "$b1" tcp 10.20.7.1 8169
	policy acme/web --metadata off
	counting inet/7/host ignored "$a1" tcp 10.20.7.1 8169
}

@test "the metadata address of the cloud that the host runs in is not reached" {
	serve "$outside" tcp 169.254.169.254 80
	serve "$outside" udp 169.254.169.254 80
	answered "$net" tcp 169.254.169.254 80
	answered "$net" udp 169.254.169.254 80
	counting inet/7/reserved ignored "$a1" tcp 169.254.169.254 80
	counting inet/7/reserved ignored "$a1" udp 169.254.169.254 80
	counting inet/7/reserved cut_off "$a1" 169.254.169.254
	# nor may it be listed as a way out
	refuses_untouched 2 within mvm-pool update acme/web --allow 169.254.169.254/32
}

@test "private ranges beyond the host are reached where a pool's list names them, else not" {
	for ip in 10.99.0.1 172.16.9.1 192.168.99.1 100.64.9.1 198.18.0.9; do
		serve "$outside" tcp $ip 8080
		answered "$net" tcp $ip 8080
		counting inet/7/private ignored "$a1" tcp $ip 8080
	done
	policy acme/web --allow 10.99.0.1/32
	answered "$a1" tcp 10.99.0.1 8080
	counting inet/7/egress ignored "$a1" tcp 172.16.9.1 8080
}

@test "guests reach the outside under the host's address" {
	serve "$outside" tcp 198.51.100.9 8080
	serve "$outside" udp 198.51.100.9 8080
	answered "$a1" tcp 198.51.100.9 8080
	answered "$a1" udp 198.51.100.9 8080
	reaches "$a1" 198.51.100.9
	answered "$b1" tcp 198.51.100.9 8080
	for proto in tcp udp; do
		[[ $(sort -u "$BATS_TEST_TMPDIR/served-$proto-198.51.100.9-8080" | xargs) == "192.0.2.1 ready" ]]
	done
}

@test "nothing from outside begins with a guest" {
	serve "$a1" tcp 10.20.7.3 8080
	serve "$a1" udp 10.20.7.3 8080
	ns "$outside" ip route add 10.20.7.0/24 via 192.0.2.1
	answered "$a2" tcp 10.20.7.3 8080
	answered "$a2" udp 10.20.7.3 8080
	counting inet/7/inbound ignored "$outside" tcp 10.20.7.3 8080
	counting inet/7/inbound ignored "$outside" udp 10.20.7.3 8080
	counting inet/7/inbound cut_off "$outside" 10.20.7.3
	# also while the guest has something to do with the asker
	serve "$outside" tcp 192.0.2.2 8080
	answered "$a1" tcp 192.0.2.2 8080
	counting inet/7/inbound ignored "$outside" tcp 10.20.7.3 8080
}

@test "what is part of no connection does not leave under the guest's own address" {
	gateway=(--dst-mac 02:fc:00:07:00:01 --dst-ip 198.51.100.9)
	start at-outside "$outside" "$frame" sniff eth0 600 --until 4444
	counting inet/7/invalid ns "$a1" "$frame" send eth0 tcp-odd "${gateway[@]}"
	ns "$a1" "$frame" send eth0 tcp-syn "${gateway[@]}" --port 4443
	ns "$a1" "$frame" send eth0 udp "${gateway[@]}" --port 4444
	eventually grep -q ' > 4444$' "$BATS_TEST_TMPDIR/at-outside"
	grep -q ' 192.0.2.1 > 198.51.100.9 tcp [0-9]* > 4443$' "$BATS_TEST_TMPDIR/at-outside"
	grep -q ' 192.0.2.1 > 198.51.100.9 udp 4444 > 4444$' "$BATS_TEST_TMPDIR/at-outside"
	run ! grep -e ' > 9$' -e 10.20.7.3 "$BATS_TEST_TMPDIR/at-outside"
}

@test "what is not tracked does not leave under the guest's own address either" {
	serve "$outside" udp 198.51.100.9 8080
	ns "$outside" ip route add 10.20.7.0/24 via 192.0.2.1
	answered "$a1" udp 198.51.100.9 8080
	within nft -f - <<-'END'
		table ip foreign {
			chain untrack {
				type filter hook prerouting priority raw; policy accept;
				iifname "br-tenant-7" notrack
			}
		}
	END
	counting inet/7/invalid ignored "$a1" udp 198.51.100.9 8080
	[[ $(sort -u "$BATS_TEST_TMPDIR/served-udp-198.51.100.9-8080" | xargs) == "192.0.2.1 ready" ]]
}
