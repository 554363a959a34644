# SPDX-License-Identifier: MIT
# Sleep and wake under systemd, by whichever VMM the node has: with Firecracker installed, by that.
# shellcheck disable=SC2016,SC2154

load ../e2e/e2e

setup_file() {
	e2e_setup_file
	new_pool acme/bed 128 --data-disk 64
}

teardown() {
	mvm-instance destroy --all --yes acme/bed >/dev/null
	no_strays
}

explain() { mvm-instance explain "$1" | jq -r "$2"; }

fill() { # ADDRESS: memory and files with checksums that are made inside
	guest "$1" 'mkdir -p /run/t && mount -t tmpfs none /run/t && head -c 3000000 /dev/urandom >/run/t/f &&
		sha256sum /run/t/f >/run/t/sum && head -c 500000 /dev/urandom >/data/f && sha256sum /data/f >/data/sum'
}

sleep_and_wake() { # ADDRESS KIND: of the capture
	mvm-instance sleep "$1"
	[[ $(explain "$1" .sleep.kind) == "$2" ]]
	systemctl is-failed "mvm-instance@$(systemd-escape "$1")" | grep -x inactive
	mvm-instance wake "$1"
	[[ $(mvm-instance info "$1" | jq -r '[.status, .cold] | join(" ")') == "running " ]] || {
		mvm-instance info "$1" >&2
		return 1
	}
	explain "$1" '"# \(.sleep.kind) of \(.sleep.bytes / 1024 | floor) KiB; wake: " + ([.start.stages[] | "\(.stage) \(.ms)"] | join(", "))' >&3
	guest "$1" 'sha256sum -c /run/t/sum && sha256sum -c /data/sum'
}

@test "cold boot, sleep, wake, sleep, wake: memory and files have the checksums that they had" {
	vm=$(new_instance acme/bed)
	up "$vm"
	echo "# vmm: $(field "$vm" .vmm)" >&3
	fill "$vm"
	sleep_and_wake "$vm" full
	sleep_and_wake "$vm" delta
	mvm-instance stop "$vm"
	e2fsck -fn "/var/lib/mvm/tenants/acme/pools/bed/instances/${vm##*/}/volumes/data.ext4"
}

@test "template, sleep, wake, sleep, wake: the same" {
	mvm-pool update acme/bed --start-from template
	vm=$(new_instance acme/bed)
	up "$vm"
	[[ $(field "$vm" '.cold, .diff_base.ref' | xargs) == "null base-"* ]]
	fill "$vm"
	sleep_and_wake "$vm" delta
	sleep_and_wake "$vm" delta
	mvm-pool update acme/bed --start-from boot
	mvm-snap verify acme/bed
}

@test "killed after a wake: a cold start that says why, and /data has all that was written" {
	vm=$(new_instance acme/bed)
	up "$vm"
	fill "$vm"
	sleep_and_wake "$vm" full
	guest "$vm" 'echo later >/data/later && sync'
	kill -9 "$(vmm_pid "$vm")"
	wait_until 10 is_status "$vm" stopped
	e2fsck -fn "/var/lib/mvm/tenants/acme/pools/bed/instances/${vm##*/}/volumes/data.ext4" || (($? == 1))
	[[ $(mvm-instance wake "$vm" | jq -r .cold) == killed ]]
	guest "$vm" 'test ! -e /run/t/f && sha256sum -c /data/sum && grep -x later /data/later'
}

@test "a named capture is gone back to, and a clone of it is another guest" {
	vm=$(new_instance acme/bed)
	up "$vm"
	fill "$vm"
	mvm-instance snapshot create "$vm" good
	guest "$vm" 'sha256sum -c /run/t/sum && echo later >/data/later && sync'
	mvm-instance stop "$vm"
	mvm-instance snapshot restore "$vm" good
	guest "$vm" 'sha256sum -c /run/t/sum && sha256sum -c /data/sum && test ! -e /data/later'
	mvm-instance stop "$vm"
	clone=$(mvm-instance clone "$vm" --snapshot good -o name)
	guest "$clone" 'sha256sum -c /run/t/sum && sha256sum -c /data/sum'
	[[ $(guest "$clone" 'hostname; cat /sys/class/net/eth0/address' | xargs) == "${clone##*/} $(field "$clone" .net.mac)" ]]
}
