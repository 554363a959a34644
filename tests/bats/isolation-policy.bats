# SPDX-License-Identifier: MIT
# What a tenant's rules let through and what they don't: ways out, limits, and rules of others.
# shellcheck disable=SC2154 # a1 and the others are set by vm, net by net_setup

setup() {
	load helper
	load net
	load isolation
	isolation_setup
}

teardown() { net_teardown; }

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
