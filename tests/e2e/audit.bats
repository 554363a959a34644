# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2016,SC2317
# What is done to a real guest is in its tenant's audit log: who, why, which request. What needs no
# guest: tests/bats/audit-actions.bats.

load e2e

setup_file() {
	e2e_setup_file
	vm=$(new_instance)
	export vm
}

teardown_file() {
	e2e_teardown_file
}

setup() {
	unset MVM_WHY
}

# Each of these is one action of the table, in an order in which they can be done to one instance.
order=(StartFailed SnapshotCreated InstanceStarted InstanceWarmed InstanceWoken GuestExec GuestShell GuestAttached GuestSignalled GuestCopied GuestForwarded SecretsDelivered
	ConfigDelivered InstanceExited SnapshotRestored InstanceStopped InstanceSlept SnapshotDeleted GuestShutDown InstanceDestroyed)
do_StartFailed() { MVM_FAULT=life-prepare-drives:err=EIO run -1 mvm-instance start "$vm"; }
do_SnapshotCreated() { mvm-snap base acme/web; }
do_InstanceStarted() { up "$vm"; }
do_InstanceWarmed() { mvm-instance warm --force "$vm"; }
do_InstanceWoken() { mvm-instance wake "$vm"; }
do_GuestExec() { mvm-guest exec "$vm" -- sh -c 'true CANARY-of-arguments'; }
do_GuestShell() { mvm instance ssh "$vm" 'true CANARY-of-arguments'; }
do_GuestAttached() {
	mvm-guest exec -d --session job "$vm" -- sh -c 'sleep 1000'
	until_noted GuestAttached attach -n "$vm" job
}
# Runs until its line is in the log.
until_noted() { # ACTION WORD-OF-MVM-GUEST...
	mvm-guest "${@:2}" 3>&- &
	wait_until 10 is_noted "$1"
	kill $!
	wait $! || true
}
is_noted() { [[ $(entries "$1" | jq length) == 1 ]]; }
do_GuestSignalled() { mvm-guest sessions --kill job "$vm"; }
do_GuestCopied() { mvm instance cp "$vm:/etc/hostname" "$BATS_TEST_TMPDIR/hostname"; }
do_GuestForwarded() { until_noted GuestForwarded port-forward "$vm" 0:22; }
do_SecretsDelivered() { printf one | mvm tenant secrets set acme a=-; }
do_ConfigDelivered() { mvm tenant config set acme a=1; }
do_InstanceExited() {
	kill -9 "$(vmm_pid "$vm")"
	wait_until 10 is_status "$vm" stopped
}
do_SnapshotRestored() {
	up "$vm"
	MVM_REQUEST_ID=kept mvm-instance snapshot create "$vm" kept
	MVM_REQUEST_ID=kept mvm-instance stop "$vm"
	mvm-instance snapshot restore "$vm" kept
	MVM_REQUEST_ID=kept mvm-instance stop "$vm"
}
do_InstanceStopped() {
	up "$vm"
	mvm-instance stop "$vm"
}
do_InstanceSlept() {
	up "$vm"
	mvm-instance sleep --force "$vm"
}
do_SnapshotDeleted() { mvm-instance discard "$vm"; }
do_GuestShutDown() {
	up "$vm"
	mvm-guest shutdown --reason update "$vm"
	wait_until 30 is_status "$vm" stopped
}
do_InstanceDestroyed() { mvm instance destroy --yes "$vm"; }

entries() { # ACTION: those of its own request
	mvm-audit list acme --action "$1" | jq -c --arg a "$1" 'map(select(.request_id == "req-" + $a))'
}

@test "each action on a guest is done once and found in the log, with who, why and the request" {
	export MVM_WHY=reconcile
	for action in "${order[@]}"; do
		echo "$action" >&2
		MVM_REQUEST_ID=req-$action "do_$action" >"$BATS_TEST_TMPDIR/out"
	done
	unset MVM_WHY
	id=${vm##*/}
	for action in "${order[@]}"; do
		[[ $action != InstanceExited ]] || continue # nobody asked for it
		entries "$action" >"$BATS_TEST_TMPDIR/found"
		echo "$action: $(<"$BATS_TEST_TMPDIR/found")" >&2
		jq -e --arg i "$id" --argjson uid "$(id -u)" 'length == 1 and all(.who.uid == $uid and .why == "reconcile"
			and .instance_id == (if .action == "SnapshotCreated" then null else $i end))' "$BATS_TEST_TMPDIR/found"
	done
	jq -e 'all(.outcome == "failed")' < <(entries StartFailed)
	jq -e 'all(.outcome == "done" and (.detail | test("secrets epoch 0, config version 1$")))' < <(entries InstanceStarted)
	[[ $(entries GuestExec | jq -r '.[0].detail') == sh ]]
	[[ $(entries GuestShell | jq -r '.[0].detail') == "a command line" ]]
	[[ $(entries GuestCopied | jq -r '.[0].detail') == "out of /etc/hostname" ]]
	[[ $(entries SecretsDelivered | jq -r '.[0] | .detail + " " + .outcome') == "epoch 1 done" ]]
	jq -e --arg i "$id" 'map(select(.action == "InstanceExited" and .detail == "killed")) | length == 1 and
		all(.instance_id == $i and .why == "guest" and .request_id == null)' < <(mvm-audit list acme)
	run -1 grep -rF CANARY-of-arguments "${MVM_STATE_DIR:-/var/lib/mvm}/tenants/acme/audit.log"
	mvm-audit verify acme
}

last_of() { mvm-audit list acme --action "$1" -n 1 | jq -r '.[0].outcome'; }

@test "what came to nothing in a guest is told as failed after the line of its beginning" {
	vm=$(new_instance)
	up "$vm"
	run -127 mvm-guest exec "$vm" -- /no/such/command
	[[ $(mvm-audit list acme --action GuestExec -n 2 | jq -r '[.[].outcome] | join(" ")') == "done failed" ]]
	run -4 mvm-guest cp "$vm:/no/such/file" "$BATS_TEST_TMPDIR/x"
	[[ $(last_of GuestCopied) == failed ]]
	run -4 mvm-guest attach -n "$vm" nothing
	[[ $(last_of GuestAttached) == failed ]]
	before=$(mvm-audit list acme | jq length)
	mvm-guest exec "$vm" -- false || true # the command's own failure is none of ours
	refuses 2 mvm-guest cp "$vm:/a" "$vm:/b"
	mvm-guest health "$vm"
	[[ $(mvm-audit list acme | jq length) == $((before + 1)) ]]
	mvm-instance destroy --yes "$vm"
}

@test "who kills a command's client, or the start's steps, does not get past the log" {
	vm=$(new_instance)
	up "$vm"
	MVM_REQUEST_ID='cut' mvm-guest exec "$vm" -- sleep 100 3>&- &
	pid=$!
	wait_until 10 eval '[[ $(mvm-audit list acme --action GuestExec -n 1 | jq -r ".[0].request_id") == cut ]]'
	kill -9 "$pid"
	killed_at life-finish-exit mvm-instance stop "$vm" || true
	mvm-instance stop "$vm" || true
	wait_until 10 is_status "$vm" stopped
	[[ $(mvm-audit list acme --action InstanceStopped -n 1 | jq -r '.[0] | .outcome + " " + .instance_id') == "done ${vm##*/}" ]]
	for point in audit-locked audit-write audit-sync; do
		MVM_FAULT=$point:kill run mvm-instance start "$vm"
		mvm-audit verify acme | jq -e .ok
		mvm-instance stop "$vm" || true
	done
	up "$vm"
	[[ $(mvm-audit list acme -n 1 | jq -r '.[0].action') == InstanceStarted ]]
	mvm-instance destroy --yes "$vm"
}

@test "events follow a guest's life through a rotation" {
	vm=$(new_instance)
	mvm events acme -f --last 0 >"$BATS_TEST_TMPDIR/followed" 2>&1 3>&- &
	follower=$!
	# it begins at an entry that shows when it does
	marks=33
	follows() {
		marks=$((marks + 1))
		mvm-tenant update acme --max-running $marks >/dev/null
		grep -q TenantUpdated "$BATS_TEST_TMPDIR/followed"
	}
	wait_until 10 follows
	up "$vm"
	mvm-audit rotate acme
	mvm-instance stop "$vm"
	mvm-instance destroy --yes "$vm"
	destroyed() { grep -q InstanceDestroyed "$BATS_TEST_TMPDIR/followed"; }
	wait_until 10 destroyed
	kill "$follower"
	[[ $(jq -r .action "$BATS_TEST_TMPDIR/followed" | grep -v TenantUpdated | xargs) == "InstanceStarted InstanceStopped InstanceDestroyed" ]]
	[[ $(mvm events acme --last 2 --json | jq -r '[.[].action] | join(" ")') == "InstanceStopped InstanceDestroyed" ]]
	[[ $(mvm events acme -n 1 --json | jq -r '.[].instance_id') == "${vm##*/}" ]]
	[[ $(mvm events acme --since 5m --json | jq 'length > 3') == true ]]
	mvm-audit verify acme
}
