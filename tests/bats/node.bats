# SPDX-License-Identifier: MIT
# mvm-node: identity, counts and the census of everything of ours on the machine.
# shellcheck disable=SC2030,SC2031,SC2154 # each test is a subshell, and meant to be; net is net_setup's

setup() {
	load helper
	load net
	net_setup
	out=$BATS_TEST_TMPDIR/out
}

teardown() {
	[[ ! -e $BATS_TEST_TMPDIR/group ]] || find "$(<"$BATS_TEST_TMPDIR/group")" -depth -type d -delete
	net_teardown
}

census() { # EXPECTED-STATUS OPTION...: leaves the document in $out
	local want=$1 got=0
	shift
	node census "$@" >"$out" || got=$?
	cat "$out" >&2
	[[ $got == "$want" ]]
}

# What the census says about one row.
verdict() { # KIND-AND-PATTERN
	jq -r --arg k "${1%% *}" --arg n "${1#* }" '.[] | select(.kind == $k and (.name | test($n))) |
		if .foreign then "foreign" elif .owned then "owned" else "stray" end' "$out"
}

group_dir() { # makes a group of this node and prints the node's directory; 1 where none can be made
	local root node_id
	root=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
	node_id=$(<"$MVM_STATE_DIR/node-id")
	[[ -n $root ]] && mkdir -p "$root/mvm/$node_id/$1" 2>/dev/null || return 1
	echo "$root/mvm/$node_id" >"$BATS_TEST_TMPDIR/group"
}

vm_process() { # UID: in the test's network namespace
	become_within setpriv --reuid "$1" --regid "$1" --clear-groups sleep 1000 \
		3>&- >/dev/null 2>&1 &
	echo $! >>"$BATS_TEST_TMPDIR/holders"
	eventually is_program $! sleep
}

# shellcheck disable=SC2016 # perl's own variable
unix_socket() { within perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die' "$1"; }

@test "info tells the machine, the VMM and an identity that stays" {
	node info >"$out"
	jq -e --arg h "$(uname -n)" --arg a "$(uname -m)" --arg k "$(uname -r)" '
		.schema_version == 1 and (.node_id | test("^[0-9a-f-]{36}$")) and .hostname == $h and
		.arch == $a and .kernel == $k and .total_vcpus >= 1 and .total_mem_mib > 100 and
		(.kvm_usable | type == "boolean") and (.jailer_available | type == "boolean") and
		(.cgroup | IN("none", "v1", "hybrid", "v2")) and .attestation_provider == "none" and
		has("vmm") and has("vmm_version") and has("lima_status") and has("firecracker_version")' "$out"
	node info | jq -e --slurpfile was "$out" '.node_id == $was[0].node_id'
	[ "$(jq -r .node_id "$out")" = "$(<"$MVM_STATE_DIR/node-id")" ]
}

@test "info works without root, and says null for what it may not know" {
	node info >/dev/null
	chmod 700 "$MVM_STATE_DIR"
	setpriv --reuid 65534 --regid 65534 --clear-groups mvm-node info |
		jq -e '.node_id == null and .total_vcpus >= 1'
}

@test "a damaged identity is an error, never another one" {
	node info >/dev/null
	echo nonsense >"$MVM_STATE_DIR/node-id"
	refuses 1 node info
	refuses 1 node census
	[ "$(<"$MVM_STATE_DIR/node-id")" = nonsense ]
}

@test "stats count tenants, pools and instances by state" {
	node stats | jq -e '.tenant_count == 0 and .total_instances == 0'
	tenant acme 7 10.20.7.0/24
	tenant globex 8 10.20.8.0/24
	instance acme/web i-0000000a
	instance acme/web i-0000000b
	instance globex/db i-0000000c
	set_status acme/web/i-0000000a running
	set_status acme/web/i-0000000b warm
	node stats >"$out"
	jq -e '.tenant_count == 2 and .pool_count == 2 and .total_instances == 3 and
		.running_instances == 1 and .warm_instances == 1 and .damaged_instances == 0 and
		.total_vcpus_used == 2 and .total_mem_used_mib == 256' "$out"
	echo nonsense >"$MVM_STATE_DIR/tenants/globex/tenant.json"
	node stats | jq -e '.tenant_count == 2 and .damaged_tenants == 1 and .running_instances == 1'
}

@test "a machine without anything of ours has an empty census" {
	census 0
	jq -e 'map(select(.foreign | not)) == []' "$out"
}

@test "what a running instance has is its own, and a stray once it is stopped" {
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
	bridge ensure acme
	bridge tap-add acme/web/i-0000000a
	mkdir -p "$MVM_STATE_DIR/jails/qemu/i-0000000a/root" "$MVM_RUN_DIR/instances/i-0000000a"
	unix_socket "$MVM_RUN_DIR/instances/i-0000000a/notify"
	vm_process 1879506947
	pid=$!
	set_status acme/web/i-0000000a running
	jq '.vmm = "qemu"' "$(record acme/web/i-0000000a)" >"$BATS_TEST_TMPDIR/edited"
	cat "$BATS_TEST_TMPDIR/edited" >"$(record acme/web/i-0000000a)"
	census 0
	for row in "bridge br-tenant-7" "table mvm-7" "tap tn7i3" "jail i-0000000a" \
		"run-dir i-0000000a" "socket notify" "process ^pid.$pid.\(sleep\)" "claim i-0000000a"; do
		[ "$(verdict "$row")" = owned ]
	done
	jq -e 'map(select(.kind == "tap" or .kind == "process")) |
		all(.foreign or .address == "acme/web/i-0000000a")' "$out"
	set_status acme/web/i-0000000a stopped
	census 3
	for row in "tap tn7i3" "jail i-0000000a" "socket notify" "process ^pid.$pid.\(sleep\)"; do
		[ "$(verdict "$row")" = stray ]
	done
	for row in "bridge br-tenant-7" "table mvm-7" "run-dir i-0000000a" "claim i-0000000a"; do
		[ "$(verdict "$row")" = owned ]
	done
}

@test "a stray of each kind is named, and nothing else" {
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
	bridge ensure acme
	bridge tap-add acme/web/i-0000000a # of an instance that does not run
	within ip link add br-tenant-9 type bridge
	within nft add table inet mvm-9
	mkdir -p "$MVM_STATE_DIR/jails/firecracker/i-000000f1/root" "$MVM_RUN_DIR/instances/i-000000f2"
	within mount -t tmpfs none "$MVM_STATE_DIR/jails/firecracker/i-000000f1/root"
	unix_socket "$MVM_RUN_DIR/instances/i-000000f2/notify"
	vm_process 1879509999
	pid=$!
	mkdir "$MVM_STATE_DIR/tenants/.new-half"
	echo "acme/web/i-000000f3 9" >"$MVM_STATE_DIR/ids/i-000000f3"
	group=
	if group_dir acme/web/i-000000f4; then group=cgroup; fi
	census 3 --strays
	jq -r '.[].kind' "$out" | sort | tr '\n' ' ' >"$BATS_TEST_TMPDIR/kinds"
	[ "$(<"$BATS_TEST_TMPDIR/kinds")" = "bridge ${group:+cgroup }claim draft jail mount process run-dir socket table tap " ]
	for row in "bridge br-tenant-9" "table mvm-9" "tap tn7i3" "jail i-000000f1" "mount i-000000f1" \
		"socket i-000000f2/notify" "run-dir i-000000f2" "process ^pid.$pid." "draft .new-half" \
		"claim i-000000f3" ${group:+"cgroup i-000000f4"}; do
		[ "$(verdict "$row")" = stray ]
	done
	jq -e 'all(.schema_version == 1 and .reason != "" and (.owned | not) and (.foreign | not))' "$out"
}

@test "units and their runtime properties are counted where systemd runs" {
	unset MVM_STATE_DIR MVM_RUN_DIR
	# the default places, empty and for this test's mount namespace alone
	within mount -t tmpfs none /var/lib
	within mount -t tmpfs none /run
	control=/run/systemd/system.control
	good='mvm-instance@acme-web-i\x2d0000000a.service' bad='mvm-instance@acme-web-i\x2d000000f1.service'
	within mkdir -p /run/systemd/system "$control/$good.d" "$control/$bad.d" "$control/other.service.d"
	mkdir "$BATS_TEST_TMPDIR/bin"
	cat >"$BATS_TEST_TMPDIR/bin/systemctl" <<-'END'
		#!/bin/sh
		[ "$1 $2 $3" = 'list-units --all --output=json' ] || exit 1
		cat "$(dirname "$0")/units"
	END
	chmod +x "$BATS_TEST_TMPDIR/bin/systemctl"
	PATH=$BATS_TEST_TMPDIR/bin:$PATH
	jq -n --arg good "$good" --arg bad "$bad" '[{unit: $good, load: "loaded", active: "failed", sub: "x"},
		{unit: $bad, load: "loaded", active: "active", sub: "running"}]' >"$BATS_TEST_TMPDIR/bin/units"
	tenant acme 7 10.20.7.0/24
	MVM_STATE_DIR=/var/lib/mvm
	within mvm-pool create acme/web --flake . --profile minimal --cpus 1 --mem 128
	within mvm-instance create acme/web/i-0000000a
	census 3
	[ "$(verdict "unit 0000000a")" = owned ]
	[ "$(verdict "property 0000000a")" = owned ]
	[ "$(verdict "unit 000000f1")" = stray ]
	[ "$(verdict "property 000000f1")" = stray ]
	run ! grep -q other.service "$out"
	# the same unit, now active although the record says that nothing runs
	sed -i 's/"failed"/"active"/' "$BATS_TEST_TMPDIR/bin/units"
	census 3
	[ "$(verdict "unit 0000000a")" = stray ]
}

@test "another node's objects are foreign and nobody's stray" {
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
	bridge ensure acme
	bridge tap-add acme/web/i-0000000a
	other_node node info >/dev/null
	other_node census 0
	[ "$(verdict "bridge br-tenant-7")" = foreign ]
	[ "$(verdict "table mvm-7")" = foreign ]
	[ "$(verdict "tap tn7i3")" = foreign ]
	# a VM's process in another network namespace is another node's
	setpriv --reuid 1879506947 --regid 1879506947 --clear-groups unshare --user --net sleep 1000 \
		3>&- >/dev/null 2>&1 &
	echo $! >>"$BATS_TEST_TMPDIR/holders"
	pid=$!
	eventually is_program "$pid" sleep
	bridge tap-del acme/web/i-0000000a
	census 0
	[ "$(verdict "process ^pid.$pid.")" = foreign ]
}

@test "what belongs to a damaged record is never a stray" {
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
	bridge ensure acme
	bridge tap-add acme/web/i-0000000a
	vm_process 1879506947
	pid=$!
	echo nonsense >"$(record acme/web/i-0000000a)"
	census 0
	[ "$(verdict "tap tn7i3")" = owned ]
	[ "$(verdict "process ^pid.$pid.")" = owned ]
	echo nonsense >"$MVM_STATE_DIR/tenants/acme/tenant.json"
	census 0
	[ "$(verdict "bridge br-tenant-7")" = owned ]
}

@test "the sweep removes drafts and claims, and nothing else" {
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
	mkdir "$MVM_STATE_DIR/tenants/.new-half" "$MVM_STATE_DIR/tenants/acme/pools/.old-gone"
	echo "acme/web/i-000000f3 9" >"$MVM_STATE_DIR/ids/i-000000f3"
	mkdir -p "$MVM_STATE_DIR/jails/qemu/i-000000f1/root"
	census 3 --sweep --dry-run --strays
	jq -e 'length == 4' "$out"
	census 3 --sweep --strays
	jq -e 'map(.kind) == ["jail"]' "$out"
	[ ! -e "$MVM_STATE_DIR/tenants/.new-half" ]
	[ ! -e "$MVM_STATE_DIR/ids/i-000000f3" ]
	[ -e "$MVM_STATE_DIR/ids/i-0000000a" ]
	[ -e "$(record acme/web/i-0000000a)" ]
}

@test "wrong usage is 2, a missing right 7, a full disk behind stdout 1" {
	refuses 2 node census --dry-run
	refuses 2 node census acme
	refuses 2 node info x
	refuses 2 node sweep
	refuses 7 nsenter --target "$net" --net setpriv --bounding-set -all --inh-caps -all mvm-node census
	to_full() { node stats >/dev/full; }
	run -1 to_full
}
