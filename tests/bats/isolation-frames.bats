# SPDX-License-Identifier: MIT
# What a tenant's rules let through and what they don't: frames that say what is not true, or nothing.
# shellcheck disable=SC2154 # a1 and the others are set by vm, net by net_setup

setup() {
	load helper
	load net
	load isolation
	isolation_setup
}

teardown() { net_teardown; }

@test "a guest sends with its own MAC and address alone" {
	watch_ports
	# a neighbour's MAC, the gateway's, another tenant's, none that exists
	for mac in 02:fc:00:07:00:04 02:fc:00:07:00:01 02:fc:00:08:00:03 52:54:00:12:34:56; do
		dropped spoof_mac udp "${to_a2[@]}" --src-mac $mac
		dropped spoof_mac arp-request --src-mac $mac --dst-ip 10.20.7.4
	done
	# a neighbour's address, the gateway's, another tenant's, one of the world, nobody's
	for ip in 10.20.7.4 10.20.7.1 10.20.8.3 198.51.100.1 0.0.0.0 127.0.0.1; do
		dropped spoof_ip udp "${to_a2[@]}" --src-ip $ip
		dropped spoof_ip tcp-syn --src-ip $ip --dst-mac 02:fc:00:07:00:01 --dst-ip 198.51.100.9
	done
	dropped spoof_mac udp "${to_a2[@]}" --src-mac 02:fc:00:07:00:04 --src-ip 10.20.7.4
	seen_nothing_else
}

@test "a guest speaks for its own address alone in ARP" {
	watch_ports
	for kind in arp-request arp-reply; do
		for ip in 10.20.7.4 10.20.7.1 10.20.7.77 10.20.8.3 0.0.0.0; do
			dropped spoof_arp $kind --src-ip $ip --dst-ip 10.20.7.4
			dropped spoof_arp $kind --src-ip $ip "${to_a2[@]}"
		done
		dropped spoof_arp $kind --arp-mac 02:fc:00:07:00:04 "${to_a2[@]}"
		dropped spoof_arp $kind --arp-mac 52:54:00:12:34:56 --dst-ip 10.20.7.3
	done
	seen_nothing_else
	# nobody has learned a wrong neighbour
	[[ -z $(within ip neigh show to 10.20.7.77) ]]
	run ! ns "$a2" sh -c 'ip neigh show to 10.20.7.1 | grep 02:fc:00:07:00:03'
	# its own it may announce
	watch_ports
	ns "$a1" "$frame" send eth0 arp-reply --dst-ip 10.20.7.3
	ns "$a1" "$frame" send eth0 arp-request --dst-ip 10.20.7.4
	seen
	for file in at-a2 at-bridge; do
		grep -q ' arp reply 10.20.7.3 is 02:fc:00:07:00:03 > 10.20.7.3$' "$BATS_TEST_TMPDIR/$file"
		grep -q ' arp request 10.20.7.3 is 02:fc:00:07:00:03 > 10.20.7.4$' "$BATS_TEST_TMPDIR/$file"
	done
}

@test "IPv6, fragments, VLAN tags and other protocols stay in the port" {
	watch_ports
	dropped ipv6 ipv6-ns --dst-mac 33:33:00:00:00:01
	dropped ipv6 ipv6-ns "${to_a2[@]}"
	dropped fragment fragment "${to_a2[@]}"
	dropped fragment fragment-rest "${to_a2[@]}"
	dropped fragment fragment --dst-mac 02:fc:00:07:00:01 --dst-ip 198.51.100.9
	# a tag of number 0 is none to a bridge
	for vlan in 0 5 4095; do
		dropped other vlan "${to_a2[@]}" --vlan $vlan
		dropped other qinq "${to_a2[@]}" --vlan $vlan
	done
	dropped other other "${to_a2[@]}"
	dropped other other
	# a tag does not hide whose frame it is
	dropped spoof_mac vlan "${to_a2[@]}" --vlan 0 --src-mac 02:fc:00:07:00:04
	seen_nothing_else
	# the same from a port without rules passes: it is they that stop it
	within nft delete table netdev mvm-7
	br_netfilter 0
	watch_ports
	for kind in ipv6-ns fragment vlan other; do
		ns "$a1" "$frame" send eth0 $kind "${to_a2[@]}"
	done
	seen
	grep -q '^in 86dd ' "$BATS_TEST_TMPDIR/at-a2"
	grep -q ' fragment ' "$BATS_TEST_TMPDIR/at-a2"
	grep -q ' vlan 5 ' "$BATS_TEST_TMPDIR/at-a2"
	grep -q '^in 88b5 ' "$BATS_TEST_TMPDIR/at-a2"
}

@test "what is too short to tell its sender stays in the port" {
	br_netfilter 0
	watch_ports
	ns "$a1" "$frame" send eth0 short "${to_a2[@]}" --count 3
	ns "$a1" "$frame" send eth0 short-arp "${to_a2[@]}" --count 3
	seen_nothing_else
}

@test "a frame can't be sent into another guest's port" {
	# b1 asks for what would be let through from a1, and the other way round
	watch_ports
	ns "$b1" "$frame" send eth0 udp "${to_a2[@]}" --src-mac 02:fc:00:07:00:03 --src-ip 10.20.7.3
	before=$(counted netdev/8/spoof_mac)
	ns "$b1" "$frame" send eth0 udp "${to_a2[@]}" --src-mac 02:fc:00:07:00:03 --src-ip 10.20.7.3
	counts_to netdev/8/spoof_mac $((before + 1))
	# neither does a neighbour on the same bridge
	before=$(counted netdev/7/spoof_mac)
	ns "$a2" "$frame" send eth0 udp --dst-mac 02:fc:00:07:00:01 --dst-ip 198.51.100.9 \
		--src-mac 02:fc:00:07:00:03 --src-ip 10.20.7.3
	counts_to netdev/7/spoof_mac $((before + 1))
	seen_nothing_else
}
