# SPDX-License-Identifier: MIT
# What real guests of two tenants reach and what not, with root in the guest trying. The same rules
# are taken apart with more cases in tests/bats/isolation.bats; here they meet a VMM's TAPs.
# Whatever must be blocked is shown to pass where it may, and is counted under its name.

load e2e

setup_file() {
	e2e_setup_file
	export FRAME=$BATS_TEST_DIRNAME/../aid/frame
	[[ -z ${MVM_BUILD-} ]] || FRAME=$MVM_BUILD/test/frame
	export SLOW=$((${MVM_TEST_SLOW:-1} > 1 ? 4 : 1))
	mvm-tenant create globex --net-id 8 --subnet 10.240.8.0/24
	new_pool globex/web 128
	make_outside
	A1=$(new_instance) A2=$(new_instance) B1=$(new_instance globex/web) B2=$(new_instance globex/web)
	export A1 A2 B1 B2
	for vm in "$A1" "$A2" "$B1" "$B2"; do
		up "$vm"
		mvm-guest exec "$vm" -- sh -c 'cat >/tmp/frame && chmod 755 /tmp/frame' <"$FRAME"
	done
}

teardown_file() {
	local pid
	mvm tenant destroy globex --force
	e2e_teardown_file
	while read -r pid; do kill "$pid" 2>/dev/null || true; done <"$BATS_FILE_TMPDIR/started"
}

# The guests are there for all cases; what a case starts in them goes with its client, and is gone before the
# next one wants the same port.
teardown() {
	local pid
	no_strays
	[[ -e $BATS_TEST_TMPDIR/started ]] || return 0
	while read -r pid; do kill "$pid" 2>/dev/null || true; done <"$BATS_TEST_TMPDIR/started"
	while read -r pid; do wait_until 10 gone "$pid"; done <"$BATS_TEST_TMPDIR/started"
}

# A network beyond the host, in a namespace of its own; OUTSIDE is its pid.
make_outside() {
	local ip
	unshare --net sleep 3600 >/dev/null 2>&1 3>&- &
	export OUTSIDE=$!
	echo "$OUTSIDE" >"$BATS_FILE_TMPDIR/started"
	wait_until 10 is_apart "$OUTSIDE"
	ip link add up0 type veth peer name eth0 netns "$OUTSIDE"
	ip addr add 192.0.2.1/24 dev up0
	ip link set up0 up
	beyond sh -c 'ip link set lo up && ip link set eth0 up && ip addr add 192.0.2.2/24 dev eth0'
	for ip in 198.51.100.9 169.254.169.254 10.99.0.1; do
		beyond ip addr add "$ip/32" dev lo
		ip route add "$ip/32" via 192.0.2.2
	done
}

is_apart() { # PID: in a network namespace that is not ours
	[[ $(readlink "/proc/$1/ns/net") != "$(readlink /proc/self/ns/net)" ]]
}

beyond() { nsenter --target "$OUTSIDE" --net -- "$@"; }
host() { "$@"; }
in_guest() { mvm-guest exec -n "$@"; } # ADDRESS -- COMMAND...
a1() { in_guest "$A1" -- "$@"; }
a2() { in_guest "$A2" -- "$@"; }
b1() { in_guest "$B1" -- "$@"; }
b2() { in_guest "$B2" -- "$@"; }
ip_of() { field "$1" .net.guest_ip; }

# The aid where it is run: a guest has its own copy.
frame_at() { # WHERE ARG...
	case $1 in
	host | beyond) "$1" "$FRAME" "${@:2}" ;;
	*) "$1" /tmp/frame "${@:2}" ;;
	esac
}

start() { # FILE WHERE ARG...: the aid runs on, with its output in a file
	local where vm
	case $2 in # the program itself: a function in the background is a shell more, which a kill stops at
	host) where=("$FRAME") ;;
	beyond) where=(nsenter --target "$OUTSIDE" --net -- "$FRAME") ;;
	*) vm=${2^^} && where=(mvm-guest exec -n "${!vm}" -- /tmp/frame) ;;
	esac
	rm -f "$BATS_TEST_TMPDIR/$1"
	"${where[@]}" "${@:3}" >"$BATS_TEST_TMPDIR/$1" 2>&1 3>&- </dev/null &
	echo $! >>"$BATS_TEST_TMPDIR/started"
	wait_until 10 test -s "$BATS_TEST_TMPDIR/$1"
}

serve() { # WHERE PROTO ADDRESS PORT: answers there; who asked is in served-PROTO-ADDRESS-PORT
	start "served-$2-$3-$4" "$1" listen "$2" "$3" "$4" 600
	grep -qx ready "$BATS_TEST_TMPDIR/served-$2-$3-$4"
}

connects() { # WORD WHERE PROTO ADDRESS PORT: what becomes of it
	local word timeout=20
	[[ $1 != timeout ]] || timeout=1
	word=$(frame_at "$2" connect --timeout "$((timeout * SLOW))s" "${@:3}") || true
	[[ $word == "$1" ]] || { echo "${*:2}: $word" >&2; return 1; }
}
answered() { connects reached "$@"; } # WHERE PROTO ADDRESS PORT
ignored() { connects timeout "$@"; }  # neither an answer nor a refusal

pings() { # WHERE ADDRESS
	"$1" busybox ping -c 1 -W 20 "$2"
}

unheard() { # WHERE [OPTION...] ADDRESS: a ping is sent and not answered
	run ! "$1" busybox ping -c 1 -W "$SLOW" "${@:2}"
	# shellcheck disable=SC2154 # run sets it
	[[ $output == *"100% packet loss"* ]]
}

counted() { # FAMILY/NET-ID/NAME: packets so far
	local family id name all
	IFS=/ read -r family id name <<<"$1"
	all=$(nft -j list counters table "$family" "mvm-$id") || return
	jq -e --arg n "$name" '.nftables[].counter? | select(.name == $n) | .packets' <<<"$all"
}

counting() { # FAMILY/NET-ID/NAME COMMAND...: it is true, and what happened was counted there
	local before
	before=$(counted "$1")
	"${@:2}"
	# what waits for its neighbour's answer is sent after that
	wait_until 5 counts_past "$1" $((before + 1)) || { echo "$1 is still $before: ${*:2}" >&2; return 1; }
}

counts_past() { (($(counted "$1") >= $2)); }

dropped() { # NAME KIND OPTION...: frames of A1's are counted under NAME
	local before
	before=$(counted "netdev/7/$1")
	a1 /tmp/frame send eth0 "$2" --count 3 "${@:3}"
	wait_until 5 counts_past "netdev/7/$1" $((before + 3))
}

policy() { # OPTION...
	mvm-pool update acme/web "$@" >/dev/null
	mvm-bridge policy acme/web >/dev/null
}

@test "a tenant's guests reach each other by ping, TCP and UDP" {
	ip=$(ip_of "$A2")
	serve a2 tcp "$ip" 8080
	serve a2 udp "$ip" 8080
	pings a1 "$ip"
	pings a2 "$(ip_of "$A1")"
	answered a1 tcp "$ip" 8080
	answered a1 udp "$ip" 8080
	connects refused a1 tcp "$ip" 8081
	grep -qx "$(ip_of "$A1")" "$BATS_TEST_TMPDIR/served-tcp-$ip-8080"
}

@test "another tenant's guests are out of reach, counted as cross-tenant" {
	ip=$(ip_of "$B1")
	serve b1 tcp "$ip" 8080
	serve b1 udp "$ip" 8080
	answered b2 tcp "$ip" 8080
	answered b2 udp "$ip" 8080
	counting inet/7/cross_tenant unheard a1 "$ip"
	counting inet/7/cross_tenant ignored a1 tcp "$ip" 8080
	counting inet/7/cross_tenant ignored a1 udp "$ip" 8080
	counting inet/8/cross_tenant unheard b1 "$(ip_of "$A1")"
	pings b2 "$ip"
}

@test "of the host a guest reaches the gateway's ping and nothing else" {
	serve host tcp 0.0.0.0 2222
	serve host udp 0.0.0.0 5353
	answered beyond tcp 192.0.2.1 2222
	answered beyond udp 192.0.2.1 5353
	pings a1 10.240.7.1
	for ip in 10.240.7.1 192.0.2.1 10.240.8.1; do
		counting inet/7/host ignored a1 tcp $ip 2222
		counting inet/7/host ignored a1 udp $ip 5353
	done
	counting inet/7/host unheard a1 10.240.8.1
}

@test "the outside is reached under the host's address, and begins nothing" {
	serve beyond tcp 198.51.100.9 8080
	serve beyond udp 198.51.100.9 8080
	answered a1 tcp 198.51.100.9 8080
	answered a1 udp 198.51.100.9 8080
	pings a1 198.51.100.9
	[[ $(sort -u "$BATS_TEST_TMPDIR/served-tcp-198.51.100.9-8080" | xargs) == "192.0.2.1 ready" ]]
	ip=$(ip_of "$A1")
	serve a1 tcp "$ip" 8080
	answered a2 tcp "$ip" 8080
	beyond ip route replace 10.240.7.0/24 via 192.0.2.1
	counting inet/7/inbound ignored beyond tcp "$ip" 8080
	counting inet/7/inbound unheard beyond "$ip"
}

@test "neither the cloud's metadata address nor private networks beyond the host are reached" {
	serve beyond tcp 169.254.169.254 80
	serve beyond tcp 10.99.0.1 80
	answered host tcp 169.254.169.254 80
	answered host tcp 10.99.0.1 80
	counting inet/7/reserved ignored a1 tcp 169.254.169.254 80
	counting inet/7/private ignored a1 tcp 10.99.0.1 80
}

@test "a policy that is changed holds at once for guests that run, and their open connections" {
	serve beyond tcp 198.51.100.9 8080
	serve a2 tcp "$(ip_of "$A2")" 8080
	answered a1 tcp 198.51.100.9 8080
	start flow a1 connect --count 100000 --interval 50ms --timeout 5s tcp 198.51.100.9 8080
	flow=$!
	before=$(counted inet/7/egress)
	policy --egress none
	status=0
	wait "$flow" || status=$?
	[[ $status == 124 && $(tail -n 1 "$BATS_TEST_TMPDIR/flow") == timeout ]]
	grep -qx reached "$BATS_TEST_TMPDIR/flow"
	(($(counted inet/7/egress) > before))
	counting inet/7/egress unheard a2 198.51.100.9
	answered a1 tcp "$(ip_of "$A2")" 8080
	policy --allow 198.51.100.9/32:8080/tcp
	answered a1 tcp 198.51.100.9 8080
	counting inet/7/egress unheard a1 198.51.100.9
	policy --egress open
	pings a1 198.51.100.9
}

@test "root in a guest sends no frame that is not its own: each is dropped and counted" {
	own=$(field "$A1" .net.mac) other=$(field "$A2" .net.mac) ip=$(ip_of "$A2")
	to_a2=(--dst-mac "$other" --dst-ip "$ip")
	start at-a2 a2 sniff eth0 600 --until 4444
	dropped spoof_mac udp "${to_a2[@]}" --src-mac "$other"
	dropped spoof_mac udp "${to_a2[@]}" --src-mac 52:54:00:12:34:56
	dropped spoof_ip udp "${to_a2[@]}" --src-ip "$ip"
	dropped spoof_ip tcp-syn "${to_a2[@]}" --src-ip 10.240.7.1
	dropped spoof_arp arp-reply "${to_a2[@]}" --src-ip 10.240.7.1
	dropped spoof_arp arp-request --src-ip "$ip"
	dropped spoof_arp arp-reply "${to_a2[@]}" --arp-mac 52:54:00:12:34:56
	dropped ipv6 ipv6-ns --dst-mac 33:33:00:00:00:01
	dropped fragment fragment "${to_a2[@]}"
	dropped other vlan "${to_a2[@]}" --vlan 0
	dropped other other "${to_a2[@]}"
	a1 /tmp/frame send eth0 udp "${to_a2[@]}" --port 4444
	wait_until 5 grep -q ' > 4444$' "$BATS_TEST_TMPDIR/at-a2"
	cat "$BATS_TEST_TMPDIR/at-a2" >&2
	grep -q "^in 0800 $own > $other $(ip_of "$A1") > $ip udp 4444 > 4444\$" "$BATS_TEST_TMPDIR/at-a2"
	# what A2 itself sends, and whether its neighbours are still there, as these ask now and then, is no matter
	gateway=02:fc:00:07:00:01
	run ! grep -v -e '^ready$' -e ' > 4444$' -e '^out ' \
		-e "^in 0806 $own > .* arp [a-z]* $(ip_of "$A1") is $own > " \
		-e "^in 0806 $gateway > .* arp [a-z]* 10.240.7.1 is $gateway > " "$BATS_TEST_TMPDIR/at-a2"
}

@test "a guest that takes another MAC or address is cut off until it has its own again" {
	own=$(field "$A1" .net.mac)
	renamed() { # MAC: sets it and keeps the way out
		a1 sh -c "ip link set eth0 down && ip link set eth0 address $1 && ip link set eth0 up &&
			ip route replace default via 10.240.7.1"
	}
	pings a1 10.240.7.1
	renamed 02:fc:00:07:00:99
	counting netdev/7/spoof_mac unheard a1 10.240.7.1
	counting netdev/7/spoof_mac unheard a1 "$(ip_of "$A2")"
	renamed "$own"
	pings a1 10.240.7.1
	# a second address: packets under it, and questions that would announce it
	a1 ip addr add 10.240.7.99/24 dev eth0
	counting netdev/7/spoof_ip unheard a1 -I 10.240.7.99 10.240.7.1
	a1 ip neigh flush dev eth0
	counting netdev/7/spoof_arp unheard a1 -I 10.240.7.99 10.240.7.1
	a1 ip addr del 10.240.7.99/24 dev eth0
	pings a1 10.240.7.1
}
