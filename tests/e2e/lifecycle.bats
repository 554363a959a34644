# SPDX-License-Identifier: MIT
# An instance's life with a real guest: start, work, stop, and every way in which that goes wrong.

load e2e

teardown() {
	nothing_left
}

@test "an instance starts, runs a command in the guest and stops" {
	vm=$(new_instance)
	is_status "$vm" created
	run -0 --separate-stderr mvm-instance start "$vm"
	[[ $(jq -r '.changed, .status' <<<"$output" | xargs) == "true running" ]]
	run -0 mvm-guest exec "$vm" -- uname -a
	[[ $output == Linux\ i-*x86_64* ]]
	run -0 --separate-stderr mvm-instance stats "$vm"
	[[ $(jq -r '.guest_ip' <<<"$output") == 10.240.7.* ]]
	(($(jq -r '.pid' <<<"$output") > 1))
	mvm-instance stop "$vm"
	is_status "$vm" stopped
	[[ $(field "$vm" .last_exit) == asked ]]
	mvm-instance destroy --yes "$vm"
}

@test "exec passes streams and exit statuses" {
	vm=$(new_instance)
	up "$vm"
	[[ $(echo hello | mvm-guest exec "$vm" -- cat) == hello ]]
	run -7 mvm-guest exec "$vm" -- sh -c 'exit 7'
	run -137 mvm-guest exec "$vm" -- sh -c 'kill -9 $$'
	run -127 mvm-guest exec "$vm" -- /no/such/command
	run -126 mvm-guest exec "$vm" -- /etc
	run --separate-stderr mvm-guest exec "$vm" -- sh -c 'echo out; echo err >&2'
	# shellcheck disable=SC2154 # run sets it
	[[ $output == out && $stderr == err ]]
	mvm-instance destroy --yes "$vm"
}

@test "start on running changes nothing and starts no second VMM; stop on stopped neither" {
	vm=$(new_instance)
	up "$vm"
	pid=$(vmm_pid "$vm")
	run -0 --separate-stderr mvm-instance start "$vm"
	[[ $(jq .changed <<<"$output") == false ]]
	[[ $(vmm_pid "$vm") == "$pid" ]]
	mvm-instance stop "$vm"
	run -0 --separate-stderr mvm-instance stop "$vm"
	[[ $(jq .changed <<<"$output") == false ]]
	mvm-instance destroy --yes "$vm"
}

@test "the VMM killed: stopped with the cause within 2 s, and it starts again" {
	vm=$(new_instance)
	before=$(now_us)
	up "$vm"
	pid=$(vmm_pid "$vm")
	begun=$(now_us)
	kill -9 "$pid"
	wait_until 20 is_status "$vm" stopped
	quickly $((begun - before)) $(($(now_us) - begun))
	[[ $(field "$vm" .last_exit) == killed ]]
	no_strays
	up "$vm"
	mvm-guest exec "$vm" -- true
	mvm-instance destroy --yes "$vm"
}

# A guest's panic hangs now and then where KVM is itself emulated: then once more.
panics() {
	local tries patience=20
	[[ ${MVM_RING:-e2e} != node ]] || patience=4 # times ten there
	for tries in 1 2 3; do
		up "$1"
		timeout --kill-after=5 30 mvm-guest exec "$1" -- sh -c 'echo c >/proc/sysrq-trigger' || true
		wait_until "$patience" is_status "$1" stopped && return
		[[ ${MVM_RING:-e2e} == node ]] || return
		echo "# try $tries: a guest hung in its panic" >&3
		mvm-instance stop --force "$1"
	done
	return 1
}

@test "a guest that reboots and one that panics each end with their cause" {
	vm=$(new_instance)
	up "$vm"
	mvm-guest exec "$vm" -- sh -c 'kill -TERM 1' || true
	wait_until 20 is_status "$vm" stopped
	[[ $(field "$vm" .last_exit) == guest-reboot ]]
	panics "$vm"
	[[ $(field "$vm" .last_exit) == guest-panic ]]
	run -0 --separate-stderr mvm-instance stats "$vm"
	[[ $(jq -r .message <<<"$output") == *panic* ]]
	mvm-instance destroy --yes "$vm"
}

@test "stop --force does not ask the guest" {
	vm=$(new_instance)
	up "$vm"
	mvm-instance stop --force "$vm"
	is_status "$vm" stopped
	[[ $(field "$vm" .last_exit) == asked ]]
	mvm-instance destroy --yes "$vm"
}

@test "a guest that panics at boot fails the start with the console's last lines" {
	mkdir "$BATS_TEST_TMPDIR/bad"
	cp -r "$MVM_IMAGE/." "$BATS_TEST_TMPDIR/bad"
	printf 'not a file system' >"$BATS_TEST_TMPDIR/bad/rootfs.erofs"
	truncate -s 1M "$BATS_TEST_TMPDIR/bad/rootfs.erofs"
	mvm-pool create acme/bad --flake path:/bad --profile minimal --cpus 1 --mem 128
	mvm-pool-build build acme/bad --from "$BATS_TEST_TMPDIR/bad"
	vm=$(new_instance acme/bad)
	refuses 1 mvm-instance start "$vm"
	[[ $stderr == *console:* && $stderr == *panic* ]]
	is_status "$vm" created
	[[ $(field "$vm" .last_exit) == start-failed ]]
	mvm-instance destroy --yes "$vm"
	mvm-pool destroy --force acme/bad
}

@test "an image whose kernel is gone fails the start by name and leaves nothing" {
	mvm-pool create acme/nokernel --flake path:/x --profile minimal --cpus 1 --mem 128
	mvm-pool-build build acme/nokernel --from "$MVM_IMAGE"
	vm=$(new_instance acme/nokernel)
	rm "${MVM_STATE_DIR:-/var/lib/mvm}"/tenants/acme/pools/nokernel/artifacts/revisions/*/vmlinux
	refuses 1 mvm-instance start "$vm"
	[[ $stderr == *vmlinux* && $stderr == *"mvm pool build"* ]]
	is_status "$vm" created
	mvm-instance destroy --yes "$vm"
	mvm-pool destroy --force acme/nokernel
}

@test "start without an image says how to make one" {
	mvm-pool create acme/empty --flake path:/x --profile minimal --cpus 1 --mem 128
	vm=$(new_instance acme/empty)
	refuses 3 mvm-instance start "$vm"
	[[ $stderr == *"mvm pool build acme/empty"* ]]
	is_status "$vm" created
	mvm-instance destroy --yes "$vm"
	mvm-pool destroy --force acme/empty
}

@test "the tenant's quota is checked before a start" {
	mvm-tenant create small --net-id 8 --subnet 10.240.8.0/24 --max-running 1
	mvm-pool create small/p --flake path:/x --profile minimal --cpus 1 --mem 128
	mvm-pool-build build small/p --from "$MVM_IMAGE"
	a=$(new_instance small/p)
	b=$(new_instance small/p)
	up "$a"
	refuses 6 mvm-instance start "$b"
	is_status "$b" created
	mvm tenant destroy small --force
}

@test "logs show the console and the VMM's lines, also when nothing runs any more" {
	vm=$(new_instance)
	up "$vm"
	mvm-guest exec "$vm" -- sh -c 'echo hello console >/dev/console'
	mvm-instance stop "$vm"
	run -0 mvm-guest logs "$vm"
	[[ $output == *"hello console"* && $output == *"mvm-guestd: going down"* ]]
	[[ $output != *"[${vm##*/}:main]"* ]]
	run -0 mvm-guest logs --source vmm "$vm"
	[[ $output == *"[${vm##*/}:main]"* && $output != *"hello console"* ]]
	refuses 3 mvm-guest logs --source agent "$vm"
	mvm-instance destroy --yes "$vm"
}
