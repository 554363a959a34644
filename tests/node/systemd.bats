# SPDX-License-Identifier: MIT
# An instance as a unit of systemd: what an operator does with systemctl leaves the records that
# mvm's own verbs leave, limits are really set, and nothing stays behind. The cases are in an order
# in which one guest serves several of them: a boot takes seconds here.
# node: whole
# shellcheck disable=SC2154 # stderr is set by run

load ../e2e/e2e

setup_file() {
	e2e_setup_file
	VM=$(new_instance)
	UNIT=$(systemd-escape --template=mvm-instance@.service "$VM")
	LEAF=mvm-$(systemd-escape "$VM").slice
	export VM UNIT LEAF
}

teardown_file() {
	rm -rf "$OVERRIDE"
	systemctl daemon-reload
	e2e_teardown_file
}

teardown() {
	no_strays
}

OVERRIDE=/run/systemd/system/mvm-instance@.service.d

unit() { # PROPERTY
	systemctl show --value -p "$1" "$UNIT"
}

group() { # of the unit
	echo "/sys/fs/cgroup$(unit ControlGroup)"
}

exit_record() { # JQ-EXPRESSION
	jq -r "$1" "/var/lib/mvm/tenants/acme/pools/web/instances/${VM##*/}/exit.json"
}

@test "the units hold what systemd expects of units" {
	run -0 systemd-analyze verify --man=no mvm-instance@x.service mvm.slice
	[[ -z $output ]]
}

@test "the unit's exposure is at most 3.5 by systemd's own measure" {
	systemd-analyze security --no-pager --threshold=35 mvm-instance@x.service | tail -n 1
}

@test "so is that of a tenant's metadata server" {
	systemd-analyze security --no-pager --threshold=35 mvm-metad@x.service | tail -n 1
}

@test "systemctl start by hand is a start like any other" {
	systemctl start "$UNIT" || systemctl start "$UNIT" # see up in e2e.bash
	is_status "$VM" running
	[[ $(field "$VM" .op) == null ]]
	[[ $(vmm_pid "$VM") == "$(unit MainPID)" ]]
	mvm-guest exec "$VM" -- true
}

@test "the VMM is in the unit's cgroup, below the slices of its tenant and pool" {
	local path=/mvm.slice/mvm-acme.slice/mvm-acme-web.slice/$LEAF/$UNIT
	[[ $(unit ControlGroup) == "$path" ]]
	for pid in $(pgrep -U "$(awk '/^Uid/ { print $2 }' "/proc/$(vmm_pid "$VM")/status")"); do
		[[ $(cat "/proc/$pid/cgroup") == "0::$path" ]]
	done
	run -0 --separate-stderr mvm-instance stats "$VM"
	[[ $(out .limits) == cgroup ]]
	(($(out .memory_bytes) > 0 && $(out .cpu_ms) > 0))
}

@test "the pool's limits are set in the unit's cgroup" {
	local overhead=96 g
	g=$(group)
	[[ $(field "$VM" .vmm) == firecracker ]] || overhead=384
	# beside the guest's memory that of its drives on the ramfs: secrets 16 MiB, configuration 1
	[[ $(cat "$g/memory.max") == $(((128 + 16 + 1 + overhead) << 20)) ]]
	[[ $(cat "$g/memory.swap.max") == 0 ]]
	[[ $(cat "$g/cpu.max") == "120000 100000" ]]
	[[ $(cat "$g/pids.max") == 65 ]]
}

@test "no process of ours stays beside the VMM" {
	local names
	# A thread of the kernel that KVM puts there has no program.
	names=$(while read -r pid; do readlink "/proc/$pid/exe" || true; done <"$(group)/cgroup.procs" |
		sed 's,.*/,,' | sort | xargs)
	if [[ $(field "$VM" .vmm) == firecracker ]]; then
		[[ $names == firecracker ]]
	else
		[[ $names == "mvm-fc-qemu mvm-fc-qemu qemu-system-x86_64" ]]
	fi
	run ! pgrep -f 'mvm-fc-launch|mvm-instance|mvm-sup'
}

@test "systemctl stop by hand is a stop that was asked for" {
	systemctl stop "$UNIT"
	is_status "$VM" stopped
	[[ $(exit_record .cause) == asked ]]
	[[ $(unit ActiveState) == inactive && $(unit Result) == success ]]
	# its TAP is in store, on no bridge
	[[ $(ip -j link show "$(field "$VM" .net.tap_dev)" | jq -r ".[0].master") == null ]]
}

@test "systemctl kill is told as a kill, and the unit starts again" {
	systemctl start "$UNIT"
	systemctl kill --signal=KILL --kill-whom=main "$UNIT"
	wait_until 2 is_status "$VM" stopped
	has_failed() { [[ $(unit ActiveState) == failed ]]; }
	wait_until 2 has_failed
	[[ $(exit_record '.cause, .exit_code, .exit_status, .service_result' | xargs) == "killed killed KILL signal" ]]
	no_strays
	mvm-instance start "$VM"
	is_status "$VM" running
}

@test "the supervisor restarts nothing behind our back" {
	[[ $(unit Restart) == no && $(unit NRestarts) == 0 && $(unit StartLimitIntervalUSec) == 0 ]]
	# Not enabled anywhere: after a boot of the node reconcile decides what runs.
	[[ $(systemctl is-enabled "$UNIT") == static ]]
}

@test "destroy leaves no unit, no properties, no slice and no cgroup" {
	local g
	g=$(dirname "$(group)")
	[[ -d $g ]]
	[[ -d /run/systemd/system.control/$UNIT.d ]]
	mvm-instance destroy --yes "$VM"
	[[ -z $(systemctl list-units --all --no-legend 'mvm-instance@*') ]]
	[[ ! -e /run/systemd/system.control/$UNIT.d ]]
	[[ $(systemctl show --value -p ActiveState "$LEAF") == inactive ]]
	[[ ! -e $g ]]
	[[ ! -e /run/mvm/instances/${VM##*/} ]]
}

@test "a start that takes longer than its unit allows is ended and says so" {
	vm=$(new_instance)
	mkdir -p "$OVERRIDE"
	printf '[Service]\nTimeoutStartSec=5\nEnvironment=MVM_FAULT=life-prepare-jail:sleep=100000\n' \
		>"$OVERRIDE/50-test.conf"
	systemctl daemon-reload
	refuses 124 mvm-instance start "$vm"
	[[ $stderr == *"took longer than its unit allows"* ]]
	rm -rf "$OVERRIDE"
	systemctl daemon-reload
	is_status "$vm" created
	[[ $(field "$vm" .last_exit) == start-failed ]]
	no_strays
	mvm-instance destroy --yes "$vm"
}

# Emulated code is written and run, and the unit forbids memory for both at once. The guest itself is not
# waited for: emulation within this emulation takes minutes.
@test "by emulation the VMM comes up under the unit's whole hardening" {
	local unit u jail
	vm=$(new_instance)
	unit=$(systemd-escape --template=mvm-instance@.service "$vm")
	u=$((0x70000000 + 7 * 65536 + $(field "$vm" .net.offset)))
	jail=/var/lib/mvm/jails/qemu/${vm##*/}/root
	mkdir -p "$OVERRIDE"
	printf '[Service]\nEnvironment=MVM_VMM=qemu MVM_QEMU_ACCEL=tcg\n' >"$OVERRIDE/50-test.conf"
	systemctl daemon-reload
	[[ $(systemctl show --value -p MemoryDenyWriteExecute "$unit") == yes ]]
	systemctl start --no-block "$unit"
	# The answer to InstanceStart, which needs QEMU's monitor: then the starter is root no more.
	wait_until 30 api_says "$jail" Running
	[[ $(pgrep -U "$u" -x mvm-starter -c) == 1 ]]
	pgrep -U "$u" -f 'qemu-system-x86_64 .*-accel tcg,thread=multi,split-wx=on'
	rm -rf "$OVERRIDE"
	systemctl daemon-reload
	systemctl stop "$unit"
	is_status "$vm" created
	no_strays
	mvm-instance destroy --yes "$vm"
}

api_says() { # JAIL STATE
	[[ $(curl -sS --max-time 10 --unix-socket "$1/run/api.sock" http://localhost/ | jq -r .state) == "$2" ]]
}

@test "a guest that is not ready in its pool's time is ended and says so" {
	mvm-pool create acme/hasty --flake path:/x --profile minimal --cpus 1 --mem 128 --start-timeout 1s
	mvm-pool-build build acme/hasty --from "$MVM_IMAGE"
	vm=$(new_instance acme/hasty)
	refuses 124 mvm-instance start "$vm"
	[[ $stderr == *"did not say that it is ready"* ]]
	is_status "$vm" created
	no_strays
	mvm-instance destroy --yes "$vm"
	mvm-pool destroy --force acme/hasty
}

@test "a unit of an instance that is not there does not start and leaves nothing" {
	local unit
	unit=$(systemd-escape --template=mvm-instance@.service acme/web/i-00000000)
	run ! systemctl start "$unit"
	[[ $(systemctl show --value -p ActiveState "$unit") == failed ]]
	[[ ! -e /run/mvm/instances/i-00000000 ]]
	systemctl reset-failed "$unit"
}
