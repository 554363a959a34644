# SPDX-License-Identifier: MIT
# mvm-bridge: a tenant's bridge, rules and TAPs, in a network namespace per test.
# shellcheck disable=SC2154 # status and stderr are run's, net is net_setup's

setup() {
	load helper
	load net
	net_setup
	tenant acme 7 10.20.7.0/24
}

teardown() { net_teardown; }

@test "ensure makes bridge, address, rules and forwarding, and says what it did" {
	bridge ensure acme >"$BATS_TEST_TMPDIR/out"
	jq -e '.changed and .ip_forward and .bridge == "br-tenant-7" and .table == "mvm-7"
		and .gateway == "10.20.7.1" and (.changes | length > 3)' "$BATS_TEST_TMPDIR/out"
	within ip -j -d link show br-tenant-7 | jq -e '.[0] |
		.linkinfo.info_kind == "bridge" and .mtu == 1500 and .address == "02:fc:00:07:00:01"
		and (.flags | index("UP")) and (.ifalias | test("^mvm [0-9a-f-]{36} acme$"))'
	within ip -j addr show br-tenant-7 | jq -e '[.[0].addr_info[] | "\(.local)/\(.prefixlen)"] ==
		["10.20.7.1/24"]'
	[ "$(within cat /proc/sys/net/ipv4/ip_forward)" = 1 ]
	[ "$(within cat /proc/sys/net/ipv6/conf/br-tenant-7/disable_ipv6)" = 1 ]
	within nft -j list table inet mvm-7 | jq -e '[.nftables[].chain? // empty | .hook // empty] |
		sort == ["forward", "forward", "input", "postrouting", "prerouting"]'
	within nft list table inet mvm-7 | grep -q 'ip saddr 10.20.7.0/24 oifname != "br-tenant-7" masquerade'
}

@test "the second ensure changes nothing" {
	bridge ensure acme
	links >"$BATS_TEST_TMPDIR/links"
	within nft -j -a list ruleset >"$BATS_TEST_TMPDIR/rules"
	bridge ensure acme | jq -e '(.changed | not) and .changes == []'
	diff "$BATS_TEST_TMPDIR/links" <(links)
	# handles too: nothing was made again
	cmp "$BATS_TEST_TMPDIR/rules" <(within nft -j -a list ruleset)
}

@test "destroy leaves links and rules as they were, and twice is fine" {
	links >"$BATS_TEST_TMPDIR/links"
	rules >"$BATS_TEST_TMPDIR/rules"
	bridge ensure acme
	bridge destroy acme | jq -e .changed
	cmp "$BATS_TEST_TMPDIR/links" <(links)
	cmp "$BATS_TEST_TMPDIR/rules" <(rules)
	bridge destroy acme | jq -e '.changed | not'
}

@test "a dry run prints the plan and does nothing" {
	links >"$BATS_TEST_TMPDIR/links"
	bridge ensure --dry-run acme | jq -e '.dry_run and .changed and
		(.changes | index("make bridge br-tenant-7")) != null'
	cmp "$BATS_TEST_TMPDIR/links" <(links)
	[ -z "$(within nft list ruleset)" ]
	[ "$(within cat /proc/sys/net/ipv4/ip_forward)" = 0 ]
	bridge ensure acme
	bridge destroy --dry-run acme | jq -e '.changes == ["remove br-tenant-7", "remove the tables mvm-7"]'
	within ip link show br-tenant-7
}

@test "ensure sets right what was changed by hand" {
	bridge ensure acme
	within ip link set br-tenant-7 down mtu 1400
	within ip addr flush dev br-tenant-7
	within nft flush chain inet mvm-7 postrouting
	within nft add rule inet mvm-7 leaving accept
	within sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward'
	bridge ensure acme | jq -e '.changed and (.changes | index("replace the tables mvm-7")) != null'
	bridge ensure acme | jq -e '.changed | not'
	within ip -j addr show br-tenant-7 | jq -e '.[0] | .mtu == 1500 and (.flags | index("UP")) and
		.addr_info[0].local == "10.20.7.1"'
	run ! within sh -c 'nft list table inet mvm-7 | grep -qx "[[:space:]]*accept"'
}

@test "guests of a tenant reach each other and the gateway, with br_netfilter on and off" {
	bridge ensure acme
	a=$(guest br-tenant-7 va 10.20.7.3/24 10.20.7.1)
	b=$(guest br-tenant-7 vb 10.20.7.4/24 10.20.7.1)
	switch=/proc/sys/net/bridge/bridge-nf-call-iptables
	for on in 0 1; do
		if within test -e $switch; then within sh -c "echo $on >$switch"; fi
		reaches "$a" 10.20.7.4
		reaches "$b" 10.20.7.3
		reaches "$a" 10.20.7.1
	done
}

@test "guests reach the outside under the host's address, and are not reached from there" {
	bridge ensure acme
	instance acme/web i-0000000a
	a=$(guest br-tenant-7 va 10.20.7.3/24 10.20.7.1)
	nsenter --target "$a" --net ip link set eth0 address 02:fc:00:07:00:03
	bridge port-add acme/web/i-0000000a --port va
	outside=$(net_hold --net)
	within ip link add up0 type veth peer name eth0 netns "$outside"
	within ip addr add 192.0.2.1/24 dev up0
	within ip link set up0 up
	nsenter --target "$outside" --net sh -c 'ip link set eth0 up; ip addr add 192.0.2.2/24 dev eth0'
	# the outside has no route to the tenant: only a masqueraded packet gets its answer
	reaches "$a" 192.0.2.2
	nsenter --target "$outside" --net ip route add 10.20.7.0/24 via 192.0.2.1
	cut_off "$outside" 10.20.7.3
	reaches "$a" 192.0.2.2
}

@test "guests of two tenants do not reach each other" {
	tenant globex 8 10.20.8.0/24
	bridge ensure acme
	bridge ensure globex
	a=$(guest br-tenant-7 va 10.20.7.3/24 10.20.7.1)
	b=$(guest br-tenant-8 vb 10.20.8.3/24 10.20.8.1)
	reaches "$a" 10.20.7.1
	reaches "$b" 10.20.8.1
	cut_off "$a" 10.20.8.3
	cut_off "$b" 10.20.7.3
	# also when the other one's rules are lost
	within nft delete table inet mvm-8
	cut_off "$a" 10.20.8.3
}

@test "a TAP is persistent, single queue, with vnet header, and belongs to the VM's user" {
	instance acme/web i-0000000a
	bridge ensure acme
	bridge tap-add acme/web/i-0000000a >"$BATS_TEST_TMPDIR/out"
	jq -e '.changed and .tap == "tn7i3" and .mac == "02:fc:00:07:00:03" and .uid == 1879506947' \
		"$BATS_TEST_TMPDIR/out"
	within ip -j -d link show tn7i3 | jq -e '.[0] | .linkinfo.info_data.type == "tap" and
		.linkinfo.info_data.persist and .linkinfo.info_data.vnet_hdr and
		(.linkinfo.info_data.multi_queue | not) and .linkinfo.info_data.user == 1879506947 and
		.linkinfo.info_data.group == 1879506947 and .master == null and
		(.flags | index("UP") | not) and .mtu == 1500 and
		(.ifalias | test("^mvm [0-9a-f-]{36} acme/web/i-0000000a$"))'
	[ "$(within cat /proc/sys/net/ipv6/conf/tn7i3/disable_ipv6)" = 1 ]
	bridge tap-add acme/web/i-0000000a | jq -e '.changed | not'
}

@test "a TAP goes on the bridge, stays there, and is removed; gone is fine" {
	instance acme/web i-0000000a
	bridge ensure acme
	refuses 4 bridge tap-attach acme/web/i-0000000a
	links >"$BATS_TEST_TMPDIR/links"
	bridge tap-add acme/web/i-0000000a
	bridge tap-attach acme/web/i-0000000a | jq -e .changed
	bridge tap-attach acme/web/i-0000000a | jq -e '.changed | not'
	within ip -j link show tn7i3 | jq -e '.[0] | .master == "br-tenant-7" and (.flags | index("UP"))'
	refuses 3 bridge destroy acme
	[[ $stderr == *"tn7i3 of acme/web/i-0000000a is still there" ]]
	bridge tap-del acme/web/i-0000000a | jq -e .changed
	bridge tap-del acme/web/i-0000000a | jq -e '.changed | not'
	# it is in store, for the next instance with its offset
	within ip -j -d link show tn7i3 | jq -e '.[0] | .master == null and (.flags | index("UP") | not)
		and (.ifalias | test("^mvm [0-9a-f-]{36} acme$"))'
	bridge verify acme
	bridge stock acme --count 0 | jq -e '.changes == ["remove tn7i3"]'
	diff "$BATS_TEST_TMPDIR/links" <(links)
}

@test "only the VM's user can open the TAP" {
	instance acme/web i-0000000a
	bridge tap-add acme/web/i-0000000a
	# opening and giving up is all it takes: ip does both
	drop_tap() { # UID
		within setpriv --reuid "$1" --regid "$1" --clear-groups \
			ip tuntap del dev tn7i3 mode tap
	}
	# the device file's own mode is the machine's affair
	# shellcheck disable=SC2016 # the inner shell's
	within sh -c 'mknod "$1" c 10 200 && chmod 666 "$1" && mount --bind "$1" /dev/net/tun' - \
		"$BATS_TEST_TMPDIR/tun"
	run ! drop_tap 1879506948
	within ip link show tn7i3
	drop_tap 1879506947
	run ! within ip link show tn7i3
}

@test "objects of another node are refused with 5 and left alone" {
	instance acme/web i-0000000a
	bridge ensure acme
	bridge tap-add acme/web/i-0000000a
	other_node tenant acme 7 10.20.7.0/24
	other_node instance acme/web i-0000000a
	links >"$BATS_TEST_TMPDIR/links"
	within nft -a list ruleset >"$BATS_TEST_TMPDIR/rules"
	for verb in ensure destroy; do
		other_node refuses 5 bridge $verb acme
		[[ $stderr == *"belongs to node "* ]]
	done
	for verb in tap-add tap-attach tap-del; do
		other_node refuses 5 bridge $verb acme/web/i-0000000a
	done
	cmp "$BATS_TEST_TMPDIR/links" <(links)
	cmp "$BATS_TEST_TMPDIR/rules" <(within nft -a list ruleset)
}

@test "a link of that name which mvm did not make is refused with 5" {
	within ip link add br-tenant-7 type bridge
	refuses 5 bridge ensure acme
	[[ $stderr == *"br-tenant-7 was not made by mvm"* ]]
	within ip link delete br-tenant-7
	within nft delete table inet mvm-7
	within ip link add br-tenant-7 type veth peer name other
	refuses 5 bridge ensure acme
	within ip link delete br-tenant-7
	within nft flush ruleset
	within nft add table inet mvm-7
	refuses 5 bridge ensure acme
	run ! within ip link show br-tenant-7
}

@test "what is left of a tenant or instance without a record is found by its owner text" {
	instance acme/web i-0000000a
	bridge ensure acme
	bridge tap-add acme/web/i-0000000a
	rm -r "$MVM_STATE_DIR/tenants/acme"
	bridge tap-del acme/web/i-0000000a | jq -e '.changes == ["remove tn7i3"]'
	refuses 4 bridge tap-del acme/web/i-0000000a
	within ip link delete br-tenant-7
	bridge destroy acme | jq -e '.changes == ["remove the tables mvm-7"]'
	refuses 4 bridge destroy acme
}

@test "destroy also removes the TAPs of instances that have no record" {
	instance acme/web i-0000000a
	bridge ensure acme
	bridge tap-add acme/web/i-0000000a
	rm -r "$MVM_STATE_DIR/tenants/acme/pools/web/instances/i-0000000a"
	bridge destroy acme | jq -e '.changes | index("remove tn7i3") != null'
	[ "$(within ip -j link | jq -r '.[].ifname')" = lo ]
}

@test "killed at any point, the repeated call ends the same" {
	instance acme/web i-0000000a
	ensured() { bridge ensure acme && bridge tap-add acme/web/i-0000000a; }
	ensured
	links >"$BATS_TEST_TMPDIR/links"
	rules >"$BATS_TEST_TMPDIR/rules"
	bridge tap-del acme/web/i-0000000a
	bridge destroy acme
	for point in nft-batch net-table bridge-made bridge-address net-bridge tap-persist; do
		MVM_FAULT=$point:kill run ensured
		[ "$status" = 137 ]
		ensured
		diff "$BATS_TEST_TMPDIR/links" <(links)
		diff "$BATS_TEST_TMPDIR/rules" <(rules)
		bridge tap-del acme/web/i-0000000a
		for end in net-taps net-removed; do
			MVM_FAULT=$end:kill run bridge destroy acme
			[ "$status" = 137 ]
		done
		bridge destroy acme
		[ -z "$(within nft list ruleset)" ]
		[ "$(within ip -j link | jq -r '.[].ifname')" = lo ]
	done
}

@test "ten calls at once make one bridge and one table" {
	for _ in {1..10}; do bridge ensure acme >>"$BATS_TEST_TMPDIR/out" & done
	for job in $(jobs -p | tail -n 10); do wait "$job"; done
	[ "$(jq -s 'length' "$BATS_TEST_TMPDIR/out")" = 10 ]
	[ "$(jq -s 'map(select(.changed)) | length' "$BATS_TEST_TMPDIR/out")" = 1 ]
}

@test "a locked network is 8, so that the caller knows to try again" {
	mkdir -p "$MVM_RUN_DIR"
	refuses 8 flock "$MVM_RUN_DIR/net-7.lock" nsenter --target "$net" --net \
		mvm-bridge --lock-timeout 100ms ensure acme
}

@test "list shows every bridge, TAP and table with a name of ours, whoever made it" {
	[ "$(bridge list)" = "[]" ]
	instance acme/web i-0000000a
	bridge ensure acme
	bridge tap-add acme/web/i-0000000a
	bridge tap-attach acme/web/i-0000000a
	within ip link add br-tenant-9 type bridge
	within ip link add br-else type bridge
	bridge list | jq -e --arg n "$(cat "$MVM_STATE_DIR/node-id")" '
		map({(.name): .}) | add |
		(keys == ["br-tenant-7", "br-tenant-9", "mvm-7", "tn7i3"]) and
		(."br-tenant-7" | .kind == "bridge" and .node_id == $n and .address == "acme" and .up
			and .offset == null and .schema_version == 1) and
		(.tn7i3 | .kind == "tap" and .offset == 3 and .net_id == 7 and .master == "br-tenant-7"
			and .address == "acme/web/i-0000000a" and .up) and
		(."mvm-7" | .kind == "table" and .node_id == $n) and
		(."br-tenant-9" | .node_id == null and .address == null)'
}

@test "bad names are 2, missing tenants and instances 4" {
	refuses 2 bridge ensure 'a/b'
	refuses 2 bridge ensure '../x'
	refuses 2 bridge ensure
	refuses 2 bridge tap-add acme
	refuses 2 bridge tap-add acme/web/1
	refuses 2 bridge tap-add acme/web/i-0000000a/x
	refuses 2 bridge list x
	refuses 2 bridge verify a/b
	refuses 4 bridge verify nobody
	refuses 4 bridge repair nobody
	refuses 4 bridge info nobody
	refuses 2 bridge policy acme
	refuses 4 bridge policy nobody/web
	refuses 2 bridge stock acme --count 65
	refuses 4 bridge ensure nobody
	refuses 4 bridge tap-add acme/web/i-0000000a
	refuses 4 bridge tap-del acme/web/i-0000000a
}

@test "without the right to it, it is denied with 7" {
	chmod 755 "$BATS_TEST_TMPDIR"
	refuses 7 nsenter --target "$net" --net setpriv --bounding-set -all --inh-caps -all \
		mvm-bridge list
}

@test "a full disk behind stdout is an error" {
	to_full() { bridge list >/dev/full; }
	run -1 to_full
}

@test "mvm-bridge links neither TLS nor HTTP" {
	run ! grep -E 'ssl|crypto|gnutls|curl' <<<"$(ldd "$(command -v mvm-bridge)")"
	ldd "$(command -v mvm-bridge)" | grep -q libnftnl
}
