# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2154
# Files in and out of a real guest, its ports, its logs, what goes on around a capture, and its
# process 1 when ten thousand orphans end at once.

load e2e

setup_file() {
	e2e_setup_file
	new_pool acme/files 320
	VM=$(new_instance acme/files)
	export VM
	up "$VM"
}

teardown_file() {
	mvm-instance destroy --yes "$VM"
	e2e_teardown_file
}

in_guest() { mvm-guest exec "$VM" -- sh -ec "$1"; }

digest() { sha256sum | cut -d' ' -f1; }

@test "64 MiB go in and come out with the same digest" {
	local big=$BATS_TEST_TMPDIR/big start
	in_guest 'mount -t tmpfs -o size=100m none /mnt'
	head -c $((64 << 20)) /dev/urandom >"$big"
	start=${EPOCHREALTIME/./}
	run -0 --separate-stderr mvm-guest cp "$big" "$VM:/mnt/big"
	echo "# in: $(((64 * 1000000) / (${EPOCHREALTIME/./} - start))) MiB/s" >&3
	[[ $(jq -c '[.files, .bytes]' <<<"$output") == "[1,$((64 << 20))]" ]]
	[[ $(in_guest 'sha256sum </mnt/big' | cut -d' ' -f1) == "$(digest <"$big")" ]]
	start=${EPOCHREALTIME/./}
	mvm-guest cp "$VM:/mnt/big" "$BATS_TEST_TMPDIR/back" >/dev/null
	echo "# out: $(((64 * 1000000) / (${EPOCHREALTIME/./} - start))) MiB/s" >&3
	cmp "$big" "$BATS_TEST_TMPDIR/back"
	in_guest 'umount /mnt'
}

@test "a tree keeps its modes, times and links, both ways" {
	local from=$BATS_TEST_TMPDIR/from
	mkdir -p "$from/sub/empty"
	echo hello >"$from/a"
	chmod 640 "$from/a"
	touch -d '2001-02-03 04:05:06' "$from/a"
	ln -s ../a "$from/sub/l"
	ln -s /etc/passwd "$from/abs"
	printf 'x%.0s' {1..100000} >"$from/sub/x"
	mvm-guest cp "$from" "$VM:/tmp/tree"
	[[ $(in_guest 'stat -c "%a %Y" /tmp/tree/a; readlink /tmp/tree/sub/l; wc -c </tmp/tree/sub/x') == \
		$'640 981173106\n../a\n100000' ]]
	mvm-guest cp "$VM:/tmp/tree" "$BATS_TEST_TMPDIR/"
	diff -r --no-dereference "$from" "$BATS_TEST_TMPDIR/tree"
	[[ $(stat -c '%a %Y' "$BATS_TEST_TMPDIR/tree/a") == '640 981173106' ]]
	mvm-guest cp - "$VM:/tmp/tree" < <(tar -C "$from/sub" -c x)
	[[ $(in_guest 'wc -c </tmp/tree/x') == 100000 ]]
	mvm-guest cp "$VM:/tmp/tree/." - | tar -t | grep -qx sub/l
	mvm-guest exec "$VM" -- rm -rf /tmp/tree
}

@test "a copy that cannot be made ends with its status and leaves nothing" {
	local file=$BATS_TEST_TMPDIR/f
	echo x >"$file"
	refuses 4 mvm-guest cp "$VM:/no/such" "$BATS_TEST_TMPDIR/out"
	refuses 4 mvm-guest cp "$file" "$VM:/no/such/"
	refuses 4 mvm-guest cp /no/such "$VM:/tmp/"
	refuses 7 mvm-guest cp -u 1000 "$file" "$VM:/root/f"
	in_guest 'mkdir -p /tmp/small; mount -t tmpfs -o size=64k none /tmp/small'
	head -c 1000000 /dev/zero >"$file"
	refuses 6 mvm-guest cp "$file" "$VM:/tmp/small/f"
	refuses 6 mvm-guest cp --max-size 1000 "$file" "$VM:/tmp/f"
	[[ -z $(in_guest 'ls -A /tmp/small; ls -A /tmp | grep -v small || true') ]]
	in_guest 'head -c 100000 /dev/zero >/tmp/big'
	refuses 6 mvm-guest cp --max-size 99999 "$VM:/tmp/big" "$BATS_TEST_TMPDIR/out"
	[[ ! -e $BATS_TEST_TMPDIR/out ]]
	in_guest 'umount /tmp/small; rm /tmp/big'
}

@test "a port of the guest is reached, many at once, and the tool ends with 0 when asked" {
	local port pid
	in_guest 'mkdir -p /tmp/www; echo it works >/tmp/www/index.html; httpd -p 127.0.0.1:8080 -h /tmp/www'
	mvm-guest port-forward "$VM" 0:8080 3>&- >"$BATS_TEST_TMPDIR/ports" 2>"$BATS_TEST_TMPDIR/log" &
	pid=$!
	wait_until 20 test -s "$BATS_TEST_TMPDIR/ports"
	port=$(jq .listen_port "$BATS_TEST_TMPDIR/ports")
	[[ $(jq -r '[.listen_address, .guest_address, .guest_port] | join(" ")' "$BATS_TEST_TMPDIR/ports") == \
		"127.0.0.1 127.0.0.1 8080" ]]
	[[ $(curl -sS --max-time 60 "http://127.0.0.1:$port/") == "it works" ]]
	for i in {1..20}; do
		curl -sS --max-time 120 -o "$BATS_TEST_TMPDIR/got$i" "http://127.0.0.1:$port/" 3>&- &
	done
	wait_until 120 eval '[[ $(cat "$BATS_TEST_TMPDIR"/got* 2>/dev/null | grep -c works) == 20 ]]'
	kill -TERM "$pid"
	wait "$pid"
	run -7 --separate-stderr curl -sS "http://127.0.0.1:$port/"
	in_guest 'killall httpd'
}

@test "logs have times, a beginning and a follower" {
	local pid
	run -0 --separate-stderr mvm-guest logs --source agent -t "$VM"
	[[ ${lines[0]} =~ ^20[0-9-]+T[0-9:.]+Z\  ]]
	[[ $(mvm-guest logs --source agent --tail 1 "$VM" | wc -l) == 1 ]]
	[[ -z $(mvm-guest logs --source agent --since 2999-01-01T00:00:00Z "$VM") ]]
	[[ $(mvm-guest logs --source agent --since 24h "$VM") == "$(mvm-guest logs --source agent "$VM")" ]]
	mvm-guest logs -f "$VM" 3>&- >"$BATS_TEST_TMPDIR/follow" &
	pid=$!
	in_guest 'echo followed line >/dev/console'
	wait_until 20 grep -q 'followed line' "$BATS_TEST_TMPDIR/follow"
	kill "$pid"
	[[ $(mvm-guest logs --tail 1 "$VM" | wc -l) == 1 ]]
}

@test "a worker says busy, and its age counts" {
	[[ $(mvm-guest health "$VM" | jq -r .worker) == unknown ]]
	in_guest 'echo busy >/run/mvm/worker-status'
	[[ $(mvm-guest health "$VM" | jq -r '.worker, .worker_age_ms < 60000' | xargs) == "busy true" ]]
	in_guest 'printf "nonsense" >/run/mvm/worker-status'
	[[ $(mvm-guest health "$VM" | jq -r .worker) == unknown ]]
}

@test "nothing runs between sleep-prep and wake, and repair makes the guest another one" {
	local before after
	in_guest 'mkdir -p /etc/mvm/sleep-prep.d /etc/mvm/wake.d
		printf "#!/bin/sh\necho slept >>/tmp/hooks\n" >/etc/mvm/sleep-prep.d/10-a
		printf "#!/bin/sh\necho woke >>/tmp/hooks\n" >/etc/mvm/wake.d/10-a
		chmod +x /etc/mvm/*.d/*
		(until [ -e /tmp/stop ]; do echo x >>/tmp/count; sleep 0.05; done) >/dev/null 2>&1 &'
	in_guest 'cat /run/mvm/boot-id' >"$BATS_TEST_TMPDIR/boot-id"
	run -0 --separate-stderr mvm-guest hook "$VM" sleep-prep
	[[ $(jq -c .steps <<<"$output") == *'hook 10-a'*'freeze processes'* ]]
	refuses 8 mvm-guest exec "$VM" -- true
	refuses 8 mvm-guest cp "$VM:/tmp/count" "$BATS_TEST_TMPDIR/"
	mvm-guest health "$VM" >/dev/null
	sleep 1
	run -0 --separate-stderr mvm-guest hook "$VM" repair
	[[ $(jq -c .steps <<<"$output") == *clock*'random numbers and boot id: before the thaw'*network* ]]
	run -0 --separate-stderr mvm-guest hook "$VM" repair
	run -0 --separate-stderr mvm-guest hook "$VM" wake
	[[ $(in_guest 'cat /tmp/hooks') == $'slept\nwoke' ]]
	[[ $(in_guest 'cat /run/mvm/boot-id') != "$(<"$BATS_TEST_TMPDIR/boot-id")" ]]
	before=$(in_guest 'wc -l </tmp/count')
	counted() { (($(in_guest 'wc -l </tmp/count') > before)); }
	wait_until 10 counted
	in_guest 'ping -c 1 -W 5 10.240.7.1'
	# Awake again without the hooks, though it slept with them.
	mvm-guest hook "$VM" sleep-prep >/dev/null
	mvm-guest hook "$VM" wake --quiet >/dev/null
	after=$(in_guest 'cat /tmp/hooks | wc -l')
	((after == 3))
	in_guest 'rm -r /etc/mvm/*.d /tmp/hooks; touch /tmp/stop'
}

@test "a hook that fails or hangs is named and the guest goes on" {
	in_guest 'mkdir -p /etc/mvm/sleep-prep.d
		printf "#!/bin/sh\nexit 3\n" >/etc/mvm/sleep-prep.d/20-bad; chmod +x /etc/mvm/*.d/*'
	refuses 1 mvm-guest hook "$VM" sleep-prep
	[[ $stderr == *20-bad*'ended with 3'* ]]
	wait_until 10 mvm-guest exec "$VM" -- true
	in_guest 'printf "#!/bin/sh\nsleep 100\n" >/etc/mvm/sleep-prep.d/20-bad'
	refuses 124 mvm-guest hook --timeout 2s "$VM" sleep-prep
	[[ $stderr == *20-bad* ]]
	wait_until 10 mvm-guest exec "$VM" -- true
	in_guest 'rm -r /etc/mvm/sleep-prep.d'
	refuses 2 mvm-guest hook "$VM" nonsense
}

@test "ten thousand orphans are reaped by the agent as process 1" {
	in_guest 'i=0; while [ $i -lt 100 ]; do
		( j=0; while [ $j -lt 100 ]; do (:) & j=$((j + 1)); done; exit 0 ) & i=$((i + 1)); done; exit 0'
	wait_until 120 eval '[[ $(in_guest "grep -l \"^State:.Z\" /proc/[0-9]*/status 2>/dev/null | wc -l") -lt 3 ]]'
	mvm-guest health "$VM" >/dev/null
}

@test "a pool's probe is what health says" {
	local vm
	healthy() { [[ $(mvm-guest health "$vm" | jq -r .probe) == "$1" ]]; }
	mvm-pool update acme/web --probe-exec test --probe-exec=-e --probe-exec /tmp/well --probe-interval 1s \
		--probe-failures 2
	vm=$(new_instance)
	up "$vm"
	wait_until 20 healthy unhealthy
	run -3 --separate-stderr mvm-guest health "$vm"
	[[ $(jq -r .probe_message <<<"$output") == "ended with 1" ]]
	mvm-guest exec "$vm" -- touch /tmp/well
	wait_until 20 healthy healthy
	mvm-guest health "$vm"
	mvm-instance destroy --yes "$vm"
	mvm-pool update acme/web --probe none
}

@test "the data drive is frozen for a sleep and takes writes after the wake" {
	local vm
	new_pool acme/data 128 --data-disk 64
	vm=$(new_instance acme/data)
	up "$vm"
	mvm-guest exec "$vm" -- sh -c '(while :; do echo x >>/data/count; sync; done) >/dev/null 2>&1 &'
	run -0 --separate-stderr mvm-guest hook "$vm" sleep-prep
	[[ $(jq -c .steps <<<"$output") == *'"freeze processes"'*'"freeze /data"'* ]]
	run -0 --separate-stderr mvm-guest hook "$vm" wake
	mvm-guest exec "$vm" -- sh -c 'echo y >/data/after; sync'
	mvm-instance destroy --yes "$vm"
}
