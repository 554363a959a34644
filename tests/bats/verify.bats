# SPDX-License-Identifier: MIT
# mvm-bridge verify and repair: every fault is named by its own check, and mended where it can be.
# shellcheck disable=SC2154 # status is run's, net is net_setup's

setup() {
	load helper
	load net
	net_setup
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
	bridge ensure acme >/dev/null
	bridge tap-add acme/web/i-0000000a >/dev/null
	bridge tap-attach acme/web/i-0000000a >/dev/null
	set_status acme/web/i-0000000a running
}

teardown() { net_teardown; }

healthy() {
	bridge verify >"$BATS_TEST_TMPDIR/report" || { cat "$BATS_TEST_TMPDIR/report"; return 1; }
	jq -e 'all(.[]; .ok and .summary == "ok" and .issues == [])' "$BATS_TEST_TMPDIR/report" >/dev/null
}

# The checks that fail now, once each, in one line.
failing() {
	local status=0
	bridge verify >"$BATS_TEST_TMPDIR/report" || status=$?
	[[ $status == 3 ]] || { echo "status $status"; return; }
	jq -r '[.[].issues[].check] | unique | join(" ")' "$BATS_TEST_TMPDIR/report"
}

# faulty CHECKS COMMAND...: after the command exactly these checks fail, and repair mends them.
faulty() {
	local want=$1 found
	shift
	within "$@"
	found=$(failing)
	[[ $found == "$want" ]] || { printf '%s: found "%s", not "%s"\n' "$*" "$found" "$want"; return 1; }
	jq -e 'all(.[].issues[]; .message != "" and .fix != "")' "$BATS_TEST_TMPDIR/report" >/dev/null
	bridge repair >/dev/null
	healthy
}

@test "a healthy node has a clean report, tenant by tenant and for itself" {
	healthy
	jq -e '(length == 2) and (.[1].tenant_id == null) and (.[0] | .tenant_id == "acme" and
		.bridge_name == "br-tenant-7" and .bridge_exists and .bridge_up and .gateway_assigned
		and .nat_masquerade and .forward_outbound and .forward_established and .cross_tenant
		and .anti_spoof and .host_input and .taps == 1 and
		.tap_devices[0].instance == "acme/web/i-0000000a")' "$BATS_TEST_TMPDIR/report"
	bridge verify acme | jq -e 'length == 1'
	bridge verify -o table | grep -E '^acme +br-tenant-7 +10.20.7.0/24 +yes +1 +yes +ok'
}

@test "nothing but what is healthy on a node without tenants" {
	bridge tap-del acme/web/i-0000000a
	set_status acme/web/i-0000000a stopped
	within mvm-instance destroy --yes acme/web/i-0000000a
	within mvm-pool destroy --yes acme/web
	bridge destroy acme
	within mvm-tenant destroy --yes acme
	bridge verify | jq -e 'length == 1 and .[0].ok and .[0].tenant_id == null'
}

@test "the bridge: gone, down, without its address or MAC, with another MTU" {
	faulty "bridge-up" ip link set br-tenant-7 down
	faulty "gateway" ip addr del 10.20.7.1/24 dev br-tenant-7
	faulty "gateway" ip link set br-tenant-7 address 02:00:00:00:00:01
	faulty "mtu" ip link set br-tenant-7 mtu 1400
	faulty "bridge-exists" ip link delete br-tenant-7
}

@test "the TAP: down, off the bridge, with another MTU or limit" {
	faulty "taps" ip link set tn7i3 down
	faulty "mtu" ip link set tn7i3 mtu 1400
	faulty "bandwidth" tc qdisc add dev tn7i3 root tbf rate 8mbit burst 128k latency 200ms
	# off the bridge its rules have nobody to be for
	within ip link set tn7i3 nomaster
	[[ $(failing) == *taps* ]]
	bridge repair >/dev/null
	healthy
}

@test "rules that are missing are named by what they are for" {
	faulty "nat" nft flush chain inet mvm-7 postrouting
	faulty "cross-tenant egress forward ipv6 reserved-ranges" nft flush chain inet mvm-7 from-guests
	faulty "host-input" nft flush chain inet mvm-7 input
	faulty "anti-spoof" nft flush chain netdev mvm-7 tn7i3
	faulty "anti-spoof" nft delete element netdev mvm-7 guests '{ "tn7i3" . 02:fc:00:07:00:03 . 10.20.7.3 }'
	faulty "egress" nft delete element inet mvm-7 egress '{ 10.20.7.3 }'
	faulty "cross-tenant established ipv6" nft flush chain inet mvm-7 to-guests
	faulty "reserved-ranges" nft delete element inet mvm-7 private '{ 192.168.0.0/16 }'
	faulty "rules" nft delete table netdev mvm-7
	faulty "rules" nft delete table inet mvm-7
}

@test "what somebody added is named: an accept, an address, a table entry" {
	faulty "foreign" nft insert rule inet mvm-7 leaving accept
	faulty "foreign" nft insert rule inet mvm-7 to-guests ip saddr 10.20.8.0/24 accept
	faulty "egress" nft add element inet mvm-7 egress '{ 10.20.7.9 : goto open }'
	faulty "anti-spoof" nft add element netdev mvm-7 guests '{ "tn7i3" . 02:fc:00:07:00:03 . 10.20.7.9 }'
	faulty "rules" nft add chain inet mvm-7 other
}

@test "rules of others that name our links or stop our traffic are told, and left alone" {
	within nft -f - <<-'END'
		table ip filter {
			chain FORWARD { type filter hook forward priority 0; policy drop; }
		}
	END
	[ "$(failing)" = foreign ]
	jq -e '.[0].issues[0].message | contains("ip filter, chain FORWARD") and contains("do not get out")' "$BATS_TEST_TMPDIR/report"
	# somebody let our bridge through: it is told, but nothing is stopped any more
	within nft add rule ip filter FORWARD iifname br-tenant-7 accept
	[ "$(failing)" = foreign ]
	jq -e '[.[0].issues[].message] | length == 1 and (.[0] | contains("accepts what names this network"))' "$BATS_TEST_TMPDIR/report"
	bridge repair
	within nft list chain ip filter FORWARD | grep -q br-tenant-7
	within nft delete table ip filter
	healthy
	within nft -f - <<-'END'
		table inet firewalld {
			chain forward { type filter hook forward priority 10; policy accept; accept; }
			chain input { type filter hook input priority 10; policy accept; ct state established accept; }
		}
	END
	healthy
}

@test "a stranger on the bridge, a stray TAP, bridge and table" {
	within ip link add veth0 type veth peer name veth1
	faulty "ports" ip link set veth0 master br-tenant-7 up
	stray() { # LINK-ARGUMENTS: a link that says it is of somebody without a record
		within ip link add "$@"
		within ip link set "$1" alias "mvm $(cat "$MVM_STATE_DIR/node-id") gone"
	}
	stray br-tenant-9 type bridge
	faulty "orphans" true
	run ! within ip link show br-tenant-9
	within ip tuntap add tn7i9 mode tap
	within ip link set tn7i9 alias "mvm $(cat "$MVM_STATE_DIR/node-id") acme/web/i-00000009"
	faulty "orphans" true
	run ! within ip link show tn7i9
	within nft add table inet mvm-9 "{ comment \"mvm $(cat "$MVM_STATE_DIR/node-id") gone\"; }"
	faulty "orphans" true
	run ! within nft list table inet mvm-9
	# of another node, or of nobody: told by the census, not touched
	within ip link add br-tenant-11 type bridge
	healthy
	bridge repair
	within ip link show br-tenant-11
}

@test "a host that does not forward" {
	faulty "ip-forward" sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward'
}

@test "a damaged record is told, and the rules of its guest stay" {
	within nft -s list ruleset >"$BATS_TEST_TMPDIR/rules"
	echo '{' >"$(record acme/web/i-0000000a)"
	[[ $(failing) == *records* ]]
	bridge ensure acme 2>"$BATS_TEST_TMPDIR/warning" | jq -e '.changed | not'
	grep -q "the rules are left as they are" "$BATS_TEST_TMPDIR/warning"
	cmp "$BATS_TEST_TMPDIR/rules" <(within nft -s list ruleset)
}

@test "repair --dry-run tells and changes nothing" {
	within ip link set br-tenant-7 down
	bridge repair --dry-run | jq -e '.[0].dry_run and (.[0].changes | index("set br-tenant-7 up"))'
	[ "$(failing)" = bridge-up ]
}

@test "killed anywhere, one repair makes it clean" {
	set_status acme/web/i-0000000a stopped
	for point in nft-batch net-table bridge-made bridge-address net-bridge; do
		bridge tap-del acme/web/i-0000000a
		bridge destroy acme
		MVM_FAULT=$point:kill run bridge ensure acme
		[ "$status" = 137 ]
		bridge repair
		healthy
		bridge tap-add acme/web/i-0000000a
		bridge tap-attach acme/web/i-0000000a
	done
	for point in net-detached net-ruleless nft-batch; do
		MVM_FAULT=$point:kill run bridge tap-del acme/web/i-0000000a
		[ "$status" = 137 ]
		bridge repair
		healthy
		bridge tap-del acme/web/i-0000000a
		MVM_FAULT=net-attach:kill run bridge tap-attach acme/web/i-0000000a
		bridge tap-add acme/web/i-0000000a
		MVM_FAULT=net-attach:kill run bridge tap-attach acme/web/i-0000000a
		[ "$status" = 137 ]
		bridge repair
		healthy
		bridge tap-attach acme/web/i-0000000a
	done
	for point in net-taps net-removed; do
		bridge tap-del acme/web/i-0000000a
		within mvm-instance destroy --yes acme/web/i-0000000a
		MVM_FAULT=$point:kill run bridge destroy acme
		[ "$status" = 137 ]
		bridge repair
		healthy
		instance acme/web i-0000000a
		bridge tap-add acme/web/i-0000000a
		bridge tap-attach acme/web/i-0000000a
	done
}

@test "info tells guests, policy, store and what was dropped" {
	within mvm-pool create acme/shut --flake . --profile minimal --cpus 1 --mem 128 \
		--egress none --egress-kbit 8000 --ingress-kbit 16000
	instance acme/shut i-0000000b
	bridge tap-add acme/shut/i-0000000b
	bridge tap-attach acme/shut/i-0000000b
	bridge info acme | jq -e '(.up and .net_id == 7 and .table == "mvm-7") and
		(.guests | map({(.instance): .}) | add |
			(."acme/web/i-0000000a" | .egress == "open" and .ip == "10.20.7.3") and
			(."acme/shut/i-0000000b" | .egress == "none" and .egress_kbit == 8000 and
				.ingress_kbit == 16000 and .mac == "02:fc:00:07:00:04")) and
		(.dropped | map("\(.where) \(.name)") | index("netdev spoof_mac") and index("inet cross_tenant"))'
	healthy
}

@test "the policy of a pool changes in running guests, and so do its limits" {
	ways() { within nft -j list map inet mvm-7 egress | jq -c '[.nftables[].map? // empty | .elem[]? | .[1].goto.target]'; }
	[ "$(ways)" = '["open"]' ]
	within mvm-pool update acme/web --allow 192.0.2.0/24:443/tcp --allow 198.51.100.7 --allow 192.0.2.128/25:443/tcp
	bridge policy acme/web | jq -e '.changed'
	[ "$(ways)" = '["pool-web"]' ]
	healthy
	bridge policy acme/web | jq -e '.changed | not'
	within mvm-pool update acme/web --egress none --ingress-kbit 8000 --egress-kbit 4000
	bridge policy acme/web | jq -e '.changed'
	[ "$(ways)" = '[]' ]
	run ! within nft list chain inet mvm-7 pool-web
	within tc qdisc show dev tn7i3 | grep -q 'tbf .* rate 8Mbit'
	within nft list chain netdev mvm-7 tn7i3 | grep -q 'limit rate over'
	healthy
	within mvm-pool update acme/web --egress open --ingress-kbit 0 --egress-kbit 0
	bridge policy acme/web
	[ "$(ways)" = '["open"]' ]
	healthy
	bridge ensure acme | jq -e '.changed | not'
}

@test "the store holds as many TAPs as asked, for the next instances" {
	bridge stock acme --count 3 | jq -e '.changes == ["make TAP tn7i4", "make TAP tn7i5", "make TAP tn7i6"]'
	bridge stock acme --count 3 | jq -e '.changed | not'
	healthy
	instance acme/web i-0000000b
	bridge tap-add acme/web/i-0000000b | jq -e '.changes == ["give TAP tn7i4 to acme/web/i-0000000b"]'
	bridge tap-attach acme/web/i-0000000b
	healthy
	bridge stock acme --count 1 | jq -e '.changes == ["remove tn7i6"]'
	bridge stock acme --count 0 | jq -e '.changes == ["remove tn7i5"]'
	# what is too much goes in the background
	MVM_SPARE_TAPS=0 bridge tap-del acme/web/i-0000000b
	is_removed() { ! within ip link show tn7i4 2>/dev/null; }
	eventually is_removed
	run ! within ip link show tn7i4
}
