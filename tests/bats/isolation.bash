# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2034 # a1 and the others are set by vm, net by net_setup
# For the files that show a tenant's rules by packets: guests are namespaces, whose ports have the rules
# of real instances. Whatever must be blocked is shown to pass where it may, and is counted under its name.
# Needs helper.bash and net.bash.

isolation_setup() {
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

ns() { # PID COMMAND...
	nsenter --target "$1" --net -- "${@:2}"
}

# What lies behind the host: a public network, and addresses that no guest should get to.
make_outside() {
	outside=$(net_hold --net)
	within ip -batch - <<-END
		link add up0 type veth peer name eth0 netns $outside
		addr add 192.0.2.1/24 dev up0
		link set up0 up
		route add default via 192.0.2.2
	END
	ns "$outside" ip -batch - < <(
		printf '%s\n' "link set lo up" "link set eth0 up" "addr add 192.0.2.2/24 dev eth0"
		printf 'addr add %s/32 dev lo\n' 198.51.100.9 203.0.113.9 169.254.169.254 10.99.0.1 172.16.9.1 \
			192.168.99.1 100.64.9.1 198.18.0.9
	)
}

vm() { # NAME TENANT/POOL ID: a guest on its port; NAME becomes its pid
	local pid
	instance "$2" "$3"
	pid=$(port_guest "port-$1" "$2/$3")
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
	local family id name text
	IFS=/ read -r family id name <<<"$1"
	text=$(within nft list counter "$family" "mvm-$id" "$name")
	[[ $text =~ packets\ ([0-9]+) ]]
	echo "${BASH_REMATCH[1]}"
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
