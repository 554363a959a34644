# SPDX-License-Identifier: MIT
# verify --deep: a tenant's network tried with packets, in a network namespace per test. Rules are
# opened and broken by hand, and exactly the flows that depend on them are told.
# shellcheck disable=SC2154 # status, output and stderr are run's, net is net_setup's

setup() {
	load helper
	load net
	net_setup
	tenant acme 7 10.20.7.0/24
	tenant globex 8 10.20.8.0/24
	bridge ensure acme >/dev/null
	bridge ensure globex >/dev/null
}

teardown() { net_teardown; }

nft() { within nft "$@"; }

# All of the network, without what counts, and without the carrier, which the kernel sets later.
everything() {
	links | jq 'map(del(.operstate) | .flags -= ["NO-CARRIER", "LOWER_UP"])'
	within ip -j addr show | jq 'map(.addr_info)'
	within ip -j route show table all | jq 'map(del(.flags))'
	within ip -j neigh show | jq .
	within nft -s list ruleset
}

verify_deep() { # TENANT: the report in $output, and in time
	run --separate-stderr within timeout 60 mvm-bridge verify --deep "$1"
	printf 'status %s\n%s\n' "$status" "$stderr" >&2
	jq -r '.[].flows[]? | select(.ok | not) | "\(.flow) \(.from) -> \(.to): \(.seen), \(.detail)"' \
		<<<"$output" >&2
}

# Which flows are not as they should be, in the order of the report.
told() { jq -r '[.[].flows[] | select(.ok | not) | .flow] | join(" ")' <<<"$output"; }

# With these rules in place exactly these flows are told.
tells() { # FLOWS NFT-COMMAND...
	local want=$1 rule
	shift
	for rule; do
		nft "$rule"
	done
	verify_deep acme
	[[ $status == 3 && $(told) == "$want" ]]
}

@test "in a healthy network every flow ends as expected, and nothing stays behind" {
	everything >"$BATS_TEST_TMPDIR/before"
	switch=/proc/sys/net/bridge/bridge-nf-call-iptables
	for on in 0 1; do
		if within test -e $switch; then within sh -c "echo $on >$switch"; fi
		verify_deep acme
		[ "$status" = 0 ]
		out '.[0] | .ok and .issues == [] and (.flows | length) >= 43 and all(.flows[]; .ok)'
		out '[.[0].flows[] | select(.expected != .seen)] == []'
		out '[.[0].flows[] | select(.flow == "egress-tcp" or .flow == "egress-udp") |
			.detail == "seen from 203.0.113.249"] == [true, true]'
		diff "$BATS_TEST_TMPDIR/before" <(everything)
	done
}

@test "the only tenant of a node is tried without a second one" {
	bridge destroy globex >/dev/null
	verify_deep acme
	[ "$status" = 0 ]
	out '[.[0].flows[].flow | select(test("^(other|from-other)-"))] == []'
	out '.[0].flows | length >= 33'
}

@test "the host's services open to guests are told" {
	tells "gateway-udp gateway-tcp host-icmp host-udp host-tcp other-gateway-icmp other-gateway-udp other-gateway-tcp" \
		'flush chain inet mvm-7 to-host'
}

@test "a gateway that does not answer is told, and what it leaves without proof" {
	tells "gateway-icmp gateway-udp gateway-tcp host-icmp host-udp host-tcp other-gateway-icmp other-gateway-udp other-gateway-tcp" \
		'insert rule inet mvm-7 to-host drop'
	out '.[0].flows[] | select(.flow == "host-tcp") | .seen == "blocked" and
		.detail == "proves nothing: gateway-icmp does not pass either"'
}

@test "private ranges and metadata addresses that are open are told" {
	tells "private-udp private-tcp" 'insert rule inet mvm-7 open ip daddr 10.0.0.0/8 accept'
	tells "private-udp private-tcp metadata-udp metadata-tcp" \
		'insert rule inet mvm-7 from-guests ip daddr 169.254.0.0/16 accept'
}

@test "no way out, and a way out under the guest's own address, are told" {
	nft flush chain inet mvm-7 postrouting
	verify_deep acme
	[[ $status == 3 && $(told) == "egress-udp egress-tcp" ]]
	out '[.[0].flows[] | select(.flow == "egress-udp") | .seen, .detail] ==
		["pass", "seen from 10.20.7.254, not from the host'\''s 203.0.113.249"]'
	tells "egress-udp egress-tcp private-udp private-tcp metadata-udp metadata-tcp inward-icmp inward-udp inward-tcp" \
		'insert rule inet mvm-7 from-guests ip daddr 203.0.113.0/24 drop'
}

@test "a tenant that is open to the outside is told" {
	tells "inward-icmp inward-udp inward-tcp" \
		'insert rule inet mvm-7 to-guests ip saddr 203.0.113.0/24 accept'
}

@test "a way between two tenants is told, in each direction, also when no answer comes back" {
	# one side alone does not open it
	nft 'insert rule inet mvm-7 from-guests oifname br-tenant-8 accept'
	verify_deep acme
	[ "$(told)" = "" ]
	tells "other-guest-udp" 'insert rule inet mvm-8 to-guests accept'
	tells "other-guest-icmp other-guest-udp other-guest-tcp from-other-icmp from-other-udp from-other-tcp" \
		'insert rule inet mvm-8 from-guests oifname br-tenant-7 accept' \
		'insert rule inet mvm-7 to-guests iifname br-tenant-8 accept'
	bridge ensure acme >/dev/null
	tells "from-other-udp" 'insert rule inet mvm-7 to-guests iifname br-tenant-8 accept'
}

@test "a false MAC, address or ARP answer that gets through is told" {
	tells "spoof-mac" \
		'insert rule netdev mvm-7 from-port ether saddr 02:fc:ff:ff:ff:fe accept'
	tells "spoof-mac spoof-mac-neighbour" \
		'insert rule netdev mvm-7 from-port ether saddr 02:fc:00:07:00:fd accept'
	bridge ensure acme >/dev/null
	tells "spoof-ip-neighbour" \
		'insert rule netdev mvm-7 from-port ip saddr 10.20.7.253 accept'
	tells "spoof-ip-neighbour spoof-ip-outside" \
		'insert rule netdev mvm-7 from-port ip saddr 203.0.113.0/24 accept'
	bridge ensure acme >/dev/null
	tells "spoof-arp-gateway" 'insert rule netdev mvm-7 from-port arp saddr ip 10.20.7.1 accept'
	tells "spoof-arp-gateway spoof-arp-neighbour" \
		'insert rule netdev mvm-7 from-port arp saddr ip 10.20.7.253 accept'
}

@test "IPv6, fragments, tags and other frames that get through are told" {
	tells "ipv6" 'insert rule netdev mvm-7 from-port @ll,96,16 0x86dd accept'
	tells "ipv6 ipv4-fragment" \
		'insert rule netdev mvm-7 from-port ip frag-off & 0x3fff != 0 accept'
	bridge ensure acme >/dev/null
	tells "vlan vlan-zero" 'insert rule netdev mvm-7 from-port @ll,96,16 0x8100 accept'
	tells "vlan vlan-zero vlan-stack" \
		'insert rule netdev mvm-7 from-port @ll,96,16 0x88a8 accept'
	bridge ensure acme >/dev/null
	tells "ether-other" 'insert rule netdev mvm-7 from-port @ll,96,16 0x88b5 accept'
	tells "ether-other ether-llc" \
		'insert rule netdev mvm-7 from-port @ll,96,16 < 0x0600 accept'
}

@test "neighbours that are cut off are told by what they cannot do" {
	tells "east-west-tcp" \
		'insert rule netdev mvm-7 from-port ip daddr 10.20.7.253 ip protocol tcp drop'
	tells "east-west-icmp east-west-tcp" \
		'insert rule netdev mvm-7 from-port ip daddr 10.20.7.253 ip protocol icmp drop'
}

@test "a host that does not forward is told by every flow that needs it" {
	within sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward'
	verify_deep acme
	[ "$status" = 3 ]
	out '[.[0].flows[] | select(.flow | test("^(egress|private|metadata|inward|other-guest|from-other)-")) |
		(.ok | not) and .detail == "IPv4 forwarding is off on this host"] | length > 8 and all'
	out 'all(.[0].flows[] | select(.flow | test("^(east-west|gateway|host|spoof)")); .ok)'
}

@test "another firewall that stands in the way is told" {
	nft add table inet other
	nft add chain inet other forward '{ type filter hook forward priority 0; policy accept; }'
	nft add rule inet other forward meta l4proto udp drop
	verify_deep acme
	[ "$status" = 3 ]
	out '[.[0].flows[] | select(.flow == "egress-udp" or .flow == "egress-tcp") | .ok] == [false, true]'
}

@test "killed at work it leaves only rules that repair removes" {
	everything >"$BATS_TEST_TMPDIR/before"
	MVM_FAULT=net-deep:kill run within mvm-bridge verify --deep acme
	[ "$status" = 137 ]
	# the kernel takes a moment to remove the links
	no_ports() { ! within ip -br link | grep -q '^tn'; }
	eventually no_ports
	bridge repair acme >/dev/null
	bridge repair globex >/dev/null
	diff "$BATS_TEST_TMPDIR/before" <(everything)
	verify_deep acme
	[ "$status" = 0 ]
}

@test "killed at work and tried again at once, it works and cleans up" {
	everything >"$BATS_TEST_TMPDIR/before"
	MVM_FAULT=net-deep:kill run within mvm-bridge verify --deep acme
	[ "$status" = 137 ]
	bridge repair acme >/dev/null
	bridge repair globex >/dev/null
	verify_deep acme
	[ "$status" = 0 ]
	diff "$BATS_TEST_TMPDIR/before" <(everything)
}

@test "what fails half-way is cleaned up and told in a line" {
	everything >"$BATS_TEST_TMPDIR/before"
	MVM_FAULT=net-deep:err=EIO refuses_untouched 1 within mvm-bridge verify --deep acme
	[[ $stderr == *"try the network: Input/output error" ]]
	diff "$BATS_TEST_TMPDIR/before" <(everything)
}

@test "two at once: the second waits, or is told to try again" {
	# not by `within`: that would be a shell more, and $! that shell
	MVM_FAULT=net-deep:stop nsenter --target "$net" --net --mount -- mvm-bridge verify --deep acme \
		>"$BATS_TEST_TMPDIR/first" 3>&- &
	first=$!
	echo "$first" >>"$BATS_TEST_TMPDIR/holders"
	eventually is_stopped "$first"
	refuses 8 within mvm-bridge verify --deep acme --lock-timeout 100ms
	(sleep 0.5 && kill -CONT "$first") 3>&- &
	verify_deep acme
	[ "$status" = 0 ]
	wait $first
	jq -e '.[0].ok' "$BATS_TEST_TMPDIR/first"
}

@test "a subnet without two free addresses is refused, and nothing is touched" {
	tenant tiny 9 10.20.9.0/28
	bridge ensure tiny >/dev/null
	for i in 1 2 3 4 5 6 7 8 9 a; do
		instance tiny/web "i-0000000$i"
	done
	verify_deep tiny
	[ "$status" = 0 ]
	instance tiny/web i-0000000b
	everything >"$BATS_TEST_TMPDIR/before"
	refuses_untouched 6 within mvm-bridge verify --deep tiny
	[[ $stderr == *"10.20.9.0/28 of tenant tiny has no two free addresses to try the network from"* ]]
	diff "$BATS_TEST_TMPDIR/before" <(everything)
}

@test "a host with routes to all test networks is told so" {
	# what the kernel adds to a link by itself comes when it likes
	within sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'
	within ip link add up0 type bridge
	within ip link set up0 up
	for to in 203.0.113.0/24 198.51.100.0/24 192.0.2.0/24; do
		within ip route add "$to" dev up0
	done
	everything >"$BATS_TEST_TMPDIR/before"
	refuses_untouched 8 within mvm-bridge verify --deep acme
	[[ $stderr == *"this host has routes to all test networks"* ]]
	diff "$BATS_TEST_TMPDIR/before" <(everything)
	within ip route del 198.51.100.0/24
	verify_deep acme
	[ "$status" = 0 ]
	out '[.[0].flows[] | select(.flow == "egress-tcp") | .to | startswith("198.51.100.250:")] == [true]'
}

@test "a link of somebody else under the name of a port is left alone" {
	within ip link add tn7d2 type bridge
	everything >"$BATS_TEST_TMPDIR/before"
	hurried refuses_untouched 5 within mvm-bridge verify --deep acme # the 2 s that a killed run's link may last
	diff "$BATS_TEST_TMPDIR/before" <(everything)
}
