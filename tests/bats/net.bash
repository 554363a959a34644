# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# For tests that make links and tables: each test gets a network and a mount namespace of its own,
# held by a sleeping process, and a state root. Needs root. "guests" are namespaces whose veth's
# other end is put on the bridge in place of a TAP. Needs helper.bash.

net_hold() { # UNSHARE-OPTION...: starts a holder and prints its pid
	local pid
	unshare "$@" sleep 1000 >/dev/null 2>&1 3>&- &
	pid=$!
	echo "$pid" >>"$BATS_TEST_TMPDIR/holders"
	# unshare has done its part when the process is sleep
	eventually is_program "$pid" sleep || return
	echo "$pid"
}

net_setup() {
	fresh_state
	net=$(net_hold --net --mount --propagation private)
	within ip link set lo up
}

net_teardown() {
	local pid
	[[ ! -e $BATS_TEST_TMPDIR/holders ]] || while read -r pid; do
		kill "$pid" 2>/dev/null || true
	done <"$BATS_TEST_TMPDIR/holders"
}

# Runs a command in the test's namespaces.
within() { nsenter --target "$net" --net --mount --wd="$PWD" -- "$@"; }
# For `become_within COMMAND... &`: of `within` in the background $! is a shell more, and what that runs
# outlives it.
become_within() { exec nsenter --target "$net" --net --mount --wd="$PWD" -- "$@"; }
bridge() { within mvm-bridge "$@"; }
node() { within mvm-node "$@"; }

# A second node on the machine: the same namespace, another state root.
other_node() {
	MVM_STATE_DIR=$BATS_TEST_TMPDIR/other MVM_RUN_DIR=$BATS_TEST_TMPDIR/other-run "$@"
}

tenant() { # NAME NET-ID SUBNET
	within mvm-tenant create "$1" --net-id "$2" --subnet "$3" >/dev/null
}

instance() { # TENANT/POOL ID: a record; the pool is made when it is missing
	[[ -d $MVM_STATE_DIR/tenants/${1%/*}/pools/${1#*/} ]] ||
		within mvm-pool create "$1" --flake . --profile minimal --cpus 1 --mem 128 >/dev/null
	within mvm-instance create "$1/$2" >/dev/null
}

# An image of the right shape, which boots nothing: prepare does not look into it.
image_of_nothing() { # TENANT/POOL
	mkdir -p "$BATS_TEST_TMPDIR/image"
	printf '\177ELF kernel' >"$BATS_TEST_TMPDIR/image/vmlinux"
	printf 'root' >"$BATS_TEST_TMPDIR/image/rootfs.erofs"
	jq -n '{schema_version: 1, system: "x86_64-linux", profile: "minimal", kernel_release: "6.1",
		rootfs: "rootfs.erofs", init: "/init", boot_args: "console=ttyS0"}' >"$BATS_TEST_TMPDIR/image/mvm-image.json"
	within mvm-pool-build build "$1" --from "$BATS_TEST_TMPDIR/image" >/dev/null
}

record() { # TENANT/POOL/ID: its file
	local tenant pool id
	IFS=/ read -r tenant pool id <<<"$1"
	echo "$MVM_STATE_DIR/tenants/$tenant/pools/$pool/instances/$id/instance.json"
}

set_status() { # TENANT/POOL/ID STATUS: without a VMM
	local file
	file=$(record "$1")
	jq -c --arg s "$2" '.status = $s' "$file" >"$BATS_TEST_TMPDIR/edited"
	cat "$BATS_TEST_TMPDIR/edited" >"$file"
}

# The process stands for the instance's VMM, which runs.
stands_for_vmm() { # TENANT/POOL/ID PID
	local file stat fields edited
	file=$(record "$1")
	read -r stat <"/proc/$2/stat"
	read -ra fields <<<"${stat##*) }" # what follows the name in parentheses is the 3rd field
	edited=$(jq -c --argjson pid "$2" --argjson start "${fields[19]}" --arg boot "$(</proc/sys/kernel/random/boot_id)" '
		.status = "running" | .vmm = "qemu" | .boot_id = $boot |
		.vmm_process = { pid: $pid, pid_start: $start }' "$file")
	echo "$edited" >"$file"
}

edit() { # TENANT/POOL/ID JQ-ARGUMENT...: changes its record
	local file
	file=$(record "$1")
	shift
	jq -c "$@" "$file" >"$BATS_TEST_TMPDIR/edited"
	cat "$BATS_TEST_TMPDIR/edited" >"$file"
}

living() { # a process of this test; its pid is in $pid
	sleep 1000 3>&- >/dev/null 2>&1 &
	pid=$!
	echo "$pid" >>"$BATS_TEST_TMPDIR/holders"
}

started_at() { awk '{ print $22 }' "/proc/$1/stat"; }

# shellcheck disable=SC2016
in_flight() { # ADDRESS VERB STAGE PID
	edit "$1" --arg verb "$2" --arg stage "$3" --argjson pid "$4" \
		--arg boot "$(</proc/sys/kernel/random/boot_id)" --argjson start "$(started_at "$4")" '
		.op = { id: "o-00000001", verb: $verb, from: .status, stage: $stage,
			since: "2026-01-01T00:00:00Z", boot_id: $boot, pid: $pid, pid_start: $start, spent: false }'
}

# All there is, in a form that compares: without what counts up, runs down or is drawn by lot, and
# without the carrier, which the kernel sets later.
links() {
	within ip -j -d link | jq '
		map(if .linkinfo.info_kind == "tun" then del(.address) else . end |
			del(.ifindex, .tso_max_size, .tso_max_segs, .carrier_changes, .operstate) |
			.flags -= ["NO-CARRIER", "LOWER_UP"] |
			del(.linkinfo.info_data? | .hello_timer?, .gc_timer?, .tcn_timer?,
				.topology_change_timer?))'
}
rules() { within nft -j list ruleset | jq 'del(.nftables[].table?.handle) | .nftables |= map(select(.metainfo | not))'; }

guest() { # BRIDGE NAME ADDRESS/PREFIX GATEWAY: prints the holder's pid
	local pid
	pid=$(net_hold --net)
	within ip link add "$2" type veth peer name eth0 netns "$pid"
	within ip link set "$2" master "$1" up
	nsenter --target "$pid" --net sh -c "
		ip link set lo up && ip link set eth0 up && ip addr add $3 dev eth0 &&
		ip route add default via $4"
	eventually forwards "$2"
	echo "$pid"
}

# The bridge has learned that there is a carrier, which takes the kernel a moment.
forwards() { # PORT
	[[ $(within ip -d link show "$1") == *'bridge_slave state forwarding '* ]]
}

# A guest with the MAC and address of its record, on a port with that instance's rules, which stands in
# for its TAP. Nobody there says anything by himself.
port_guest() { # PORT TENANT/POOL/ID: prints the holder's pid
	local pid mac ip gateway tap
	read -r mac ip gateway tap < <(jq -r '.net | "\(.mac) \(.guest_ip)/\(.cidr) \(.gateway_ip) \(.tap_dev)"' "$(record "$2")")
	pid=$(net_hold --net)
	# shellcheck disable=SC2016 # the inner shell's
	within sh -c 'ip link add "$1" type veth peer name eth0 address "$2" netns "$3" &&
		echo 1 >"/proc/sys/net/ipv6/conf/$1/disable_ipv6"' - "$1" "$mac" "$pid"
	nsenter --target "$pid" --net sh -c 'echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6 && exec ip -batch -' <<-END
		link set lo up
		link set eth0 up
		addr add $ip dev eth0
		route add default via $gateway
	END
	bridge port-add "$2" --port "$1" >/dev/null # which has the TAP's name from now on
	eventually forwards "$tap"
	echo "$pid"
}

reaches() { # PID ADDRESS
	nsenter --target "$1" --net busybox ping -c 1 -W 20 -q "$2" >/dev/null
}

# shellcheck disable=SC2154 # run sets it
# No answer, which is not the same as a ping that failed; here an answer takes no time.
cut_off() { # PID ADDRESS
	run -1 nsenter --target "$1" --net timeout --preserve-status --signal INT 0.3 busybox ping -c 1 -q "$2"
	[[ $output == *"100% packet loss"* ]]
}
