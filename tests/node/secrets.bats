# SPDX-License-Identifier: MIT
# Secrets where systemd has a part in it: the mount that its unit makes, and a key that is a credential.
# The cases are in an order in which one guest serves several of them.
# node: whole
# shellcheck disable=SC2154

load ../e2e/e2e

setup_file() {
	mkdir -p /etc/credstore
	head -c 32 /dev/urandom >/etc/credstore/mvm-key
	chmod 400 /etc/credstore/mvm-key
	e2e_setup_file
	VM=$(new_instance)
	UNIT=$(systemd-escape --template=mvm-instance@.service "$VM")
	export VM UNIT
}

teardown_file() {
	rm -f /etc/credstore/mvm-key
	e2e_teardown_file
}

MOUNT=run-mvm-secrets.mount
images() { find /run/mvm/secrets -name '*.img' | wc -l; }

secret() { # VALUE: as mvm-secrets(8) says
	printf %s "$1" | systemd-run --quiet --pipe --wait -p LoadCredential=mvm-key mvm-secrets set acme db=- --timeout 60s
}

@test "a start through the unit has its secrets, by a key that is a credential and no file of the node's" {
	secret one
	[[ ! -e /var/lib/mvm/secrets.key ]]
	up "$VM"
	[[ $(mvm-guest exec "$VM" -- cat /run/secrets/db) == one ]]
	[[ $(systemctl is-active "$MOUNT") == active ]]
	[[ $(grep -c ' /run/mvm/secrets ramfs rw,nosuid,nodev,noexec' /proc/mounts) == 1 ]]
	[[ $(stat -c '%a %u' /run/mvm/secrets) == "700 0" ]]
	[[ $(images) == 2 ]]
}

@test "the key is not the VMM's to read" {
	local pid uid
	pid=$(vmm_pid "$VM")
	uid=$(awk '/^Uid/ { print $2 }' "/proc/$pid/status")
	run -1 setpriv --reuid "$uid" --regid "$uid" --clear-groups cat "/proc/$pid/root/run/credentials/$UNIT/mvm-key"
	run -1 setpriv --reuid "$uid" --regid "$uid" --clear-groups cat "/run/credentials/$UNIT/mvm-key"
	run -1 setpriv --reuid "$uid" --regid "$uid" --clear-groups cat /etc/credstore/mvm-key
}

@test "a rotation with the credential reaches the guest" {
	run -0 secret two
	[[ $(mvm-guest exec "$VM" -- cat /run/secrets/db) == two ]]
}

@test "a stop leaves the ramfs empty, and systemd's mount in place" {
	mvm-instance stop "$VM"
	[[ $(images) == 0 ]]
	[[ -z $(find /run/mvm/secrets -mindepth 1) ]]
	[[ $(systemctl is-active "$MOUNT") == active ]]
}

@test "after the mount is gone, as after a boot, the next start has it again" {
	systemctl stop "$MOUNT"
	run -1 grep ' /run/mvm/secrets ' /proc/mounts
	up "$VM"
	[[ $(systemctl is-active "$MOUNT") == active ]]
	[[ $(grep -c ' /run/mvm/secrets ramfs' /proc/mounts) == 1 ]]
	[[ $(mvm-guest exec "$VM" -- cat /run/secrets/db) == two ]]
	mvm-instance stop "$VM"
}

@test "without its key a start is refused, says why, and leaves nothing" {
	mv /etc/credstore/mvm-key "$BATS_FILE_TMPDIR/mvm-key"
	refuses 7 mvm-instance start "$VM"
	[[ $stderr == *"secrets.key is missing"* ]]
	[[ -z $(find /run/mvm/secrets -mindepth 1) ]]
	[[ $(mvm-audit list acme -n 1 | jq -r '.[0].action') == StartFailed ]]
	head -c 32 /dev/urandom >/etc/credstore/mvm-key
	refuses 7 mvm-instance start "$VM"
	[[ $stderr == *"sealed with another key"* ]]
	mv "$BATS_FILE_TMPDIR/mvm-key" /etc/credstore/mvm-key
}
