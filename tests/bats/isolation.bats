# SPDX-License-Identifier: MIT
# What a tenant's rules let through and what they don't, shown by packets: guests are namespaces,
# whose ports have the rules of real instances. Whatever must be blocked is shown to pass where it
# may, and is counted under its name.
# shellcheck disable=SC2154 # a1 and the others are set by vm, net by net_setup

setup() {
	load helper
	load net
	frame=${MVM_BUILD:-$BATS_TEST_DIRNAME/../../build}/test/frame
	net_setup
	tenant acme 7 10.20.7.0/24
	tenant globex 8 10.20.8.0/24
	bridge ensure acme >/dev/null
	bridge ensure globex >/dev/null
	make_outside
	vm a1 acme/web i-000000a1
	vm a2 acme/web i-000000a2
	vm b1 globex/web i-000000b1
	vm b2 globex/web i-000000b2
}

teardown() { net_teardown; }

ns() { # PID COMMAND...
	nsenter --target "$1" --net -- "${@:2}"
}

# What lies behind the host: a public network, and addresses that no guest should get to.
make_outside() {
	outside=$(net_hold --net)
	within ip link add up0 type veth peer name eth0 netns "$outside"
	within ip addr add 192.0.2.1/24 dev up0
	within ip link set up0 up
	within ip route add default via 192.0.2.2
	# shellcheck disable=SC2016 # the inner shell's
	ns "$outside" sh -c 'ip link set lo up && ip link set eth0 up &&
		ip addr add 192.0.2.2/24 dev eth0 && for ip; do ip addr add "$ip/32" dev lo || exit; done' \
		- 198.51.100.9 203.0.113.9 169.254.169.254 10.99.0.1 172.16.9.1 192.168.99.1 100.64.9.1 \
		198.18.0.9
}

# A guest with the MAC and address of its record, on a port with that instance's rules, which stands
# in for its TAP.
vm() { # NAME TENANT/POOL ID: NAME becomes its pid
	local pid mac ip gateway
	instance "$2" "$3"
	read -r mac ip gateway < <(jq -r '.net | "\(.mac) \(.guest_ip)/\(.cidr) \(.gateway_ip)"' \
		"$(record "$2/$3")")
	pid=$(net_hold --net)
	within ip link add "port-$1" type veth peer name eth0 address "$mac" netns "$pid"
	# nobody is to say anything by itself: frames are counted
	within sh -c "echo 1 >/proc/sys/net/ipv6/conf/port-$1/disable_ipv6"
	# shellcheck disable=SC2016 # the inner shell's
	ns "$pid" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6 && ip link set lo up &&
		ip link set eth0 up && ip addr add "$1" dev eth0 && ip route add default via "$2"' \
		- "$ip" "$gateway"
	bridge port-add "$2/$3" --port "port-$1" >/dev/null
	eventually forwards "port-$1"
	printf -v "$1" %s "$pid"
}

policy() { # TENANT/POOL OPTION...
	within mvm-pool update "$@" >/dev/null
	bridge policy "$1" >/dev/null
}

# Runs on, with its output in a file, until the test's end.
start() { # FILE PID COMMAND...
	# an earlier one's output would pass for this one's word that it is ready
	rm -f "$BATS_TEST_TMPDIR/$1"
	nsenter --target "$2" --net -- "${@:3}" >"$BATS_TEST_TMPDIR/$1" 2>&1 3>&- &
	echo $! >>"$BATS_TEST_TMPDIR/holders"
	eventually test -s "$BATS_TEST_TMPDIR/$1"
}

serve() { # PID PROTO ADDRESS PORT: answers there; who asked is in served-PROTO-ADDRESS-PORT
	start "served-$2-$3-$4" "$1" "$frame" listen "$2" "$3" "$4" 600
}

connects() { # WORD PID PROTO ADDRESS PORT: what becomes of it
	local word
	word=$(ns "$2" "$frame" connect --timeout "$([[ $1 == timeout ]] && echo 300ms || echo 20s)" \
		"${@:3}") || true
	[[ $word == "$1" ]] || { echo "${*:2}: $word" >&2; return 1; }
}
answered() { connects reached "$@"; } # PID PROTO ADDRESS PORT
# Neither an answer nor a refusal
ignored() { connects timeout "$@"; }

counted() { # FAMILY/NET-ID/NAME: packets so far
	local family id name all
	IFS=/ read -r family id name <<<"$1"
	all=$(within nft -j list counters table "$family" "mvm-$id") || return
	jq -e --arg n "$name" '.nftables[].counter? | select(.name == $n) | .packets' <<<"$all"
}

counting() { # FAMILY/NET-ID/NAME COMMAND...: it is true, and what happened was counted there
	local before
	before=$(counted "$1")
	"${@:2}"
	eventually counts_past "$1" "$before" || { echo "$1 is still $before: ${*:2}" >&2; return 1; }
}

# At once or a moment later: what waits for its neighbour's answer is sent after that.
counts_past() { (($(counted "$1") > $2)); } # FAMILY/NET-ID/NAME PACKETS
is_counted() { (($(counted "$1") == $2)); }

counts_to() { # FAMILY/NET-ID/NAME PACKETS
	eventually is_counted "$@" || { echo "$1 is $(counted "$1") and not $2" >&2; return 1; }
}

# Frames of a1, with what they are given for instead of what is true; each is dropped under NAME.
dropped() { # NAME KIND OPTION...
	local before
	before=$(counted "netdev/7/$1")
	ns "$a1" "$frame" send eth0 "$2" --count 3 "${@:3}"
	counts_to "netdev/7/$1" $((before + 3))
}

# Sniffs where a frame to a2 or the gateway would pass, until the datagram that `seen` sends.
watch_ports() {
	start at-a2 "$a2" "$frame" sniff eth0 600 --until 4444
	start at-bridge "$net" "$frame" sniff br-tenant-7 600 --until 4444
}

seen() { # the datagram is sent and has come; the two files are complete
	local file
	ns "$a1" "$frame" send eth0 udp --dst-mac 02:fc:00:07:00:04 --dst-ip 10.20.7.4 --port 4444
	for file in at-a2 at-bridge; do
		eventually grep -q ' > 4444$' "$BATS_TEST_TMPDIR/$file"
		grep -q '^in 0800 02:fc:00:07:00:03 .* 10.20.7.3 > 10.20.7.4 udp 4444 > 4444$' \
			"$BATS_TEST_TMPDIR/$file"
	done
}

seen_nothing_else() {
	seen
	cat "$BATS_TEST_TMPDIR"/at-{a2,bridge} >&2
	# what the watched link itself sends, and the bridge's IGMP, is of no interest
	run ! grep -hv -e '^ready$' -e '^out ' -e ' proto 2$' -e ' > 4444$' \
		"$BATS_TEST_TMPDIR"/at-{a2,bridge}
}

br_netfilter() { # 0|1, where there is such a thing
	local switch=/proc/sys/net/bridge/bridge-nf-call-iptables
	! within test -e $switch || within sh -c "echo $1 >$switch"
}

to_a2=(--dst-mac 02:fc:00:07:00:04 --dst-ip 10.20.7.4)

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

@test "without a way out guests of a pool still reach each other" {
	serve "$outside" tcp 198.51.100.9 8080
	serve "$a2" tcp 10.20.7.4 8080
	answered "$a1" tcp 198.51.100.9 8080
	policy acme/web --egress none
	counting inet/7/egress ignored "$a1" tcp 198.51.100.9 8080
	counting inet/7/egress ignored "$a1" udp 198.51.100.9 53
	counting inet/7/egress cut_off "$a2" 198.51.100.9
	answered "$a1" tcp 10.20.7.4 8080
	reaches "$a1" 10.20.7.1
	# other tenants, and other pools of this one, have what they had
	answered "$b1" tcp 198.51.100.9 8080
	vm a3 acme/other i-000000a3
	answered "$a3" tcp 198.51.100.9 8080
	policy acme/web --egress open
	answered "$a1" tcp 198.51.100.9 8080
}

@test "with a list of ways out these pass and no others" {
	for proto in tcp udp; do
		for port in 8080 8081; do
			serve "$outside" $proto 198.51.100.9 $port
			serve "$outside" $proto 203.0.113.9 $port
		done
	done
	answered "$a1" tcp 203.0.113.9 8081
	policy acme/web --allow 198.51.100.0/24:8080/tcp --allow 203.0.113.9/32:8081
	answered "$a1" tcp 198.51.100.9 8080
	counting inet/7/egress ignored "$a1" udp 198.51.100.9 8080
	counting inet/7/egress ignored "$a1" tcp 198.51.100.9 8081
	answered "$a1" tcp 203.0.113.9 8081
	answered "$a1" udp 203.0.113.9 8081
	counting inet/7/egress ignored "$a1" tcp 203.0.113.9 8080
	counting inet/7/egress cut_off "$a1" 203.0.113.9
	policy acme/web --allow 203.0.113.0/24
	reaches "$a1" 203.0.113.9
	answered "$a1" udp 203.0.113.9 8080
	counting inet/7/egress ignored "$a1" tcp 198.51.100.9 8080
}

@test "a changed policy holds at once, also for connections that are open" {
	serve "$outside" tcp 198.51.100.9 8080
	serve "$outside" udp 198.51.100.9 8080
	serve "$a2" tcp 10.20.7.4 8080
	start tcp "$a1" "$frame" connect --count 100000 --interval 20ms --timeout 5s tcp 198.51.100.9 8080
	tcp=$!
	start udp "$a1" "$frame" connect --count 100000 --interval 20ms --timeout 5s udp 198.51.100.9 8080
	udp=$!
	start east "$a1" "$frame" connect --count 100000 --interval 20ms --timeout 20s tcp 10.20.7.4 8080
	for flow in tcp udp; do eventually lines_in "$BATS_TEST_TMPDIR/$flow" 4; done
	before=$(counted inet/7/egress)
	policy acme/web --egress none
	for pid in "$tcp" "$udp"; do
		status=0
		wait "$pid" || status=$?
		[[ $status == 124 ]]
	done
	for flow in tcp udp; do
		[[ $(grep -c reached "$BATS_TEST_TMPDIR/$flow") -gt 3 ]]
		[[ $(tail -n 1 "$BATS_TEST_TMPDIR/$flow") == timeout ]]
	done
	(($(counted inet/7/egress) > before))
	# what needs no way out goes on
	eventually lines_in "$BATS_TEST_TMPDIR/east" $(($(wc -l <"$BATS_TEST_TMPDIR/east") + 2))
	[[ $(sort -u "$BATS_TEST_TMPDIR/east") == reached ]]
	policy acme/web --egress open
	answered "$a1" tcp 198.51.100.9 8080
}

@test "what is no way out is no way in, also for a connection that was open" {
	serve "$outside" udp 198.51.100.9 4321
	start at-a1 "$a1" "$frame" sniff eth0 600 --until 4444
	ns "$a1" "$frame" connect --from 4321 udp 198.51.100.9 4321
	mac=$(within ip -j link show up0 | jq -r '.[0].address')
	push() { # what the answerer sends by itself on the connection that is open
		ns "$outside" "$frame" send eth0 udp --src-ip 198.51.100.9 --dst-ip 192.0.2.1 \
			--dst-mac "$mac" --port 4321 --count "$1"
	}
	has_come() { # NUMBER: datagrams so far
		(($(grep -c '^in .* 198.51.100.9 > 10.20.7.3 udp 4321 > 4321$' "$BATS_TEST_TMPDIR/at-a1") >= $1))
	}
	kept_out() { # five that are dropped, before anything else changes
		local before
		before=$(counted inet/7/inbound)
		push 5
		counts_to inet/7/inbound $((before + 5))
	}
	push 2
	eventually has_come 3
	policy acme/web --egress none
	kept_out
	policy acme/web --allow 203.0.113.9/32 --allow 198.51.100.9/32:4322/udp
	kept_out
	policy acme/web --allow 198.51.100.9/32:4321/udp
	push 3
	eventually has_come 6
	ns "$a2" "$frame" send eth0 udp --dst-mac 02:fc:00:07:00:03 --dst-ip 10.20.7.3 --port 4444
	eventually grep -q ' > 4444$' "$BATS_TEST_TMPDIR/at-a1"
	cat "$BATS_TEST_TMPDIR/at-a1" >&2
	# one answer, two that were pushed in time, three that may come again
	[[ $(grep -c '^in .* 198.51.100.9 > 10.20.7.3 udp 4321 > 4321$' "$BATS_TEST_TMPDIR/at-a1") == 6 ]]
}

@test "a hundred changes of policy disturb nothing that all of them allow, and are quick" {
	serve "$outside" udp 198.51.100.9 8080
	start flow "$a1" "$frame" connect --count 100000 --interval 2ms --timeout 30s udp 198.51.100.9 8080
	parts() { within nft -j list ruleset | jq '[.nftables[] | keys[0]] | group_by(.) | map([.[0], length])'; }
	policy acme/web --egress open
	before=$(parts)
	total=0
	for i in {1..50}; do
		for change in "--allow 198.51.100.0/24 --allow 203.0.113.$i/32:443/tcp" '--egress open'; do
			# shellcheck disable=SC2086 # words
			within mvm-pool update acme/web $change >/dev/null
			begin=${EPOCHREALTIME/./}
			bridge policy acme/web >/dev/null
			total=$((total + ${EPOCHREALTIME/./} - begin))
		done
	done
	[[ $(parts) == "$before" ]]
	[[ $(sort -u "$BATS_TEST_TMPDIR/flow") == reached ]]
	[[ $(wc -l <"$BATS_TEST_TMPDIR/flow") -gt 100 ]]
	begin=${EPOCHREALTIME/./}
	for _ in {1..100}; do within mvm-bridge --version >/dev/null; done
	start=$((${EPOCHREALTIME/./} - begin))
	echo "# a change of policy: $((total / 100)) us with the tool's start, $(((total - start) / 100)) us without" >&3
}

# Of 80 Mbit that are offered so many kilobits per second arrive over 2 s: in one of some such spans, for
# who sends or counts may not get his turn in another.
arrives() { # MORE-THAN LESS-THAN TO-PID ADDRESS FROM-PID
	local bytes ms blast kbit
	start blast "$5" "$frame" blast udp "$4" 5001 600 --kbit 80000
	blast=$!
	sleep 1.5 # what was saved up is spent
	for _ in {1..8}; do
		ns "$3" "$frame" listen udp "$4" 5001 2 --sink >"$BATS_TEST_TMPDIR/sink"
		read -r bytes _ _ ms _ < <(tail -n 1 "$BATS_TEST_TMPDIR/sink")
		kbit=$((bytes * 8 / (ms + !ms)))
		echo "$kbit kbit/s, wanted $1 to $2" >&2
		((kbit <= $1 || kbit >= $2)) || break
	done
	kill "$blast"
	eventually is_gone "$blast"
	((kbit > $1 && kbit < $2))
}

near() { # WANTED TO-PID ADDRESS FROM-PID: within 30 %
	arrives $(($1 * 7 / 10)) $(($1 * 13 / 10)) "${@:2}"
}

@test "limits of bandwidth hold in both directions, and change while the guest runs" {
	arrives 40000 200000 "$a2" 10.20.7.4 "$a1"
	policy acme/web --egress-kbit 8000 --ingress-kbit 16000
	before=$(counted netdev/7/over_rate)
	near 8000 "$a2" 10.20.7.4 "$a1"
	(($(counted netdev/7/over_rate) > before))
	near 16000 "$a1" 10.20.7.3 "$net"
	policy acme/web --egress-kbit 0 --ingress-kbit 4000
	near 4000 "$a2" 10.20.7.4 "$a1"
}

@test "a port that mvm did not make has no way out" {
	serve "$outside" tcp 198.51.100.9 8080
	answered "$a1" tcp 198.51.100.9 8080
	stray=$(guest br-tenant-7 stray 10.20.7.99/24 10.20.7.1)
	reaches "$stray" 10.20.7.1
	counting inet/7/egress ignored "$stray" tcp 198.51.100.9 8080
	counting inet/7/cross_tenant cut_off "$stray" 10.20.8.3
}

@test "a port that is taken off has no rules left, and none but its own go" {
	serve "$outside" tcp 198.51.100.9 8080
	answered "$a1" tcp 198.51.100.9 8080
	rules >"$BATS_TEST_TMPDIR/rules"
	vm a3 acme/web i-000000a3
	answered "$a3" tcp 198.51.100.9 8080
	run ! cmp -s "$BATS_TEST_TMPDIR/rules" <(rules)
	bridge tap-del acme/web/i-000000a3 >/dev/null
	same() { jq 'del(.nftables[].counter?, .nftables[][].handle?)' "$1"; }
	rules >"$BATS_TEST_TMPDIR/after"
	diff <(same "$BATS_TEST_TMPDIR/rules") <(same "$BATS_TEST_TMPDIR/after")
	answered "$a1" tcp 198.51.100.9 8080
}

closed_stays_closed() {
	counting inet/7/cross_tenant ignored "$a1" tcp 10.20.8.3 8080
	counting inet/7/host ignored "$a1" tcp 10.20.7.1 22
	counting inet/7/reserved ignored "$a1" tcp 169.254.169.254 80
	counting inet/7/private ignored "$a1" tcp 10.99.0.1 8080
	counting inet/7/inbound ignored "$outside" tcp 10.20.7.3 8080
	dropped spoof_ip udp "${to_a2[@]}" --src-ip 10.20.7.9
}

@test "rules of others open nothing: Docker's policy, firewalld's, accept for everything" {
	serve "$a1" tcp 10.20.7.3 8080
	serve "$b1" tcp 10.20.8.3 8080
	serve "$net" tcp 0.0.0.0 22
	serve "$outside" tcp 169.254.169.254 80
	serve "$outside" tcp 10.99.0.1 8080
	serve "$outside" tcp 198.51.100.9 8080
	ns "$outside" ip route add 10.20.7.0/24 via 192.0.2.1
	closed_stays_closed
	within nft -f - <<-'END'
		table ip filter {
			chain INPUT {
				type filter hook input priority filter; policy accept;
			}
			chain FORWARD {
				type filter hook forward priority filter; policy drop;
				ct state established,related accept
			}
		}
	END
	closed_stays_closed
	br_netfilter 0 # with it on, that policy holds within a bridge too
	answered "$a2" tcp 10.20.7.3 8080
	within nft -f - <<-'END'
		delete table ip filter
		table inet firewalld {
			chain filter_INPUT {
				type filter hook input priority filter + 10; policy accept;
				accept
			}
			chain filter_FORWARD {
				type filter hook forward priority filter + 10; policy accept;
				ct state { established, related } accept
				accept
			}
			chain nat_POSTROUTING {
				type nat hook postrouting priority srcnat + 10; policy accept;
			}
		}
		table inet early {
			chain input {
				type filter hook input priority -300; policy accept;
				accept
			}
			chain forward {
				type filter hook forward priority -300; policy accept;
				accept
			}
		}
		table netdev early {
			chain a1 {
				type filter hook ingress device "tn7i3" priority -500; policy accept;
				accept
			}
		}
	END
	closed_stays_closed
	answered "$a2" tcp 10.20.7.3 8080
	answered "$a1" tcp 198.51.100.9 8080
}
