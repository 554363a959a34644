#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2016,SC2030,SC2031
# Files, ports, logs and hooks of mvm-guest: what is refused before a guest is reached, and with the
# agent itself as a process of this test behind the socket of a VMM.

setup() {
	load helper
	load net
	net_setup
	vm=acme/web/i-0000000a
	uid=1879506947
	jail=$MVM_STATE_DIR/jails/qemu/i-0000000a/root
	files=$(mktemp -d /tmp/mvm-files.XXXXXX) # below the test's own directory the VM's user gets nowhere
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
}

teardown() {
	net_teardown
	# unshare takes no SIGTERM while its process 1 lives, and would outlive the test with it
	[[ -z ${outer-} ]] || kill -KILL "$outer"
	rm -rf "$files"
}

ask() { within timeout 60 mvm-guest "$@" </dev/null; }

# The agent runs as the VM's user, as a VMM would, and ends with the test.
agent() {
	local agent
	mkdir -p "$jail/run" "$jail/snap"
	chown "$uid:$uid" "$jail/run" "$jail/snap" "$files"
	become_within "$MVM_BUILD/test/guest-peer" "$jail/run" "$uid" "$files/worker" "$@" 3>&- >/dev/null 2>&1 &
	echo $! >>"$BATS_TEST_TMPDIR/holders"
	agent=$!
	eventually listens "$jail/run/v.sock"
	stands_for_vmm "$vm" $agent
}

@test "2: bad words of cp, port-forward, logs and hook" {
	local words
	for words in "cp a b" "cp $vm:/a $vm:/b" "cp $vm: x" "cp a" "cp - -" "cp /x:y /z" "cp .. $vm:/tmp" \
		"cp --max-size 0 a $vm:/b" "cp --timeout 0 a $vm:/b" "cp /dev/null $vm:/b" \
		"port-forward $vm" "port-forward $vm 80" "port-forward $vm 1:2:3" "port-forward $vm 70000:80" \
		"port-forward $vm 80:0" "port-forward $vm 1.2.3:80:80" "port-forward $vm 1:2:3:4:5" \
		"logs --since yesterday $vm" "logs --since 2026-13-01T00:00:00Z $vm" "logs --since 2026-01-01 $vm" \
		"logs --since 2026-01-01T00:00:00 $vm" "logs --since 10m --source console $vm" "logs --tail 0 $vm" \
		"logs -t $vm" "console -t $vm" "console --source vmm $vm" "console --tail 0 $vm" "console --since 10m $vm" \
		"console" "console $vm $vm" "hook $vm nonsense" "hook $vm"; do
		# shellcheck disable=SC2086
		refuses_untouched 2 ask $words
	done
}

@test "3: it does not run; 4: it is not there, or the file is not" {
	local words
	echo x >"$files/f"
	for words in "cp $files/f $vm:/tmp/f" "cp $vm:/tmp/f $files/" "port-forward $vm 0:80" "hook $vm wake"; do
		# shellcheck disable=SC2086
		refuses_untouched 3 ask $words
		[[ $stderr == *"mvm instance start $vm"* ]]
		# shellcheck disable=SC2086
		refuses_untouched 4 ask ${words//0a/ff}
	done
	refuses 4 ask cp "$files/none" "$vm:/tmp/"
	refuses 4 ask cp "$vm:/tmp/f" "$files/none/"
	[[ $(ls "$files") == f ]]
}

@test "a file, a tree and a tar stream go through the agent" {
	agent
	mkdir -p "$files/in/sub" "$files/guest"
	chown "$uid" "$files/guest"
	chmod 755 "$files/in"
	head -c 1000000 /dev/urandom >"$files/in/sub/big"
	ln -s sub/big "$files/in/l"
	run -0 --separate-stderr ask cp "$files/in" "$vm:$files/guest"
	[[ $(jq -c '[.files, .directories, .links, .bytes, .skipped]' <<<"$output") == '[1,2,1,1000000,0]' ]]
	diff -r --no-dereference "$files/in" "$files/guest/in"
	run -0 --separate-stderr ask cp "$vm:$files/guest/in/." "$files/out"
	diff -r --no-dereference "$files/in" "$files/out"
	run -0 --separate-stderr within mvm-guest cp - "$vm:$files/guest" < <(tar -C "$files/in" -c sub)
	[[ $(jq .files <<<"$output") == 1 ]]
	cmp "$files/in/sub/big" "$files/guest/sub/big"
	ask cp "$vm:$files/guest/sub" - | tar -t >"$BATS_TEST_TMPDIR/list"
	[[ $(sort "$BATS_TEST_TMPDIR/list") == $'sub/\nsub/big' ]]
}

@test "each failure of a copy has its status and leaves nothing" {
	agent
	echo x >"$files/f"
	refuses_untouched 4 ask cp "$vm:$files/none" "$files/out"
	refuses_untouched 7 ask cp "$files/f" "$vm:/etc/f"
	refuses_untouched 6 ask cp --max-size 100 "$files/f" "$vm:$files/out"
	refuses_untouched 6 ask cp --max-size 100 "$vm:$files/f" "$files/out"
	refuses_untouched 5 ask cp "$MVM_STATE_DIR" "$vm:$files/f"
	refuses 4 ask cp -u nobody-of-that-name "$files/f" "$vm:$files/out"
	refuses 2 within mvm-guest cp "$vm:/dev/null" "$files/out"
	[[ $(ls -A "$files") == f ]]
}

@test "tricks in a tar stream are denied" {
	agent
	mkdir "$files/target" "$files/w"
	chown "$uid" "$files/target"
	echo bad >"$files/escaped"
	tar -P -C "$files/w" -cf "$files/up.tar" ../escaped
	tar -P -cf "$files/abs.tar" "$files/escaped"
	ln -s .. "$files/w/out"
	tar -C "$files/w" -cf "$files/link.tar" out
	rm "$files/w/out" "$files/escaped"
	mkdir "$files/w/out"
	echo bad >"$files/w/out/escaped"
	tar -C "$files/w" -rf "$files/link.tar" out/escaped
	for tar in up abs link; do
		run -7 --separate-stderr within mvm-guest cp - "$vm:$files/target" <"$files/$tar.tar"
		[[ ! -e $files/escaped ]]
	done
	run -1 --separate-stderr within mvm-guest cp - "$vm:$files/target" <"$files/w/out/escaped"
}

@test "a silent agent is given up, and so is one that does not know its own protocol" {
	agent silent
	echo x >"$files/f"
	refuses_untouched 124 ask cp --timeout 300ms "$files/f" "$vm:$files/g"
	refuses_untouched 124 ask cp --timeout 300ms "$vm:$files/f" "$files/g"
	refuses_untouched 124 ask hook --timeout 100ms "$vm" sleep-prep
}

@test "a port of the guest is reached on this side" {
	agent
	become_within perl -MIO::Socket::INET -e '
		my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 7001, Listen => 5, ReuseAddr => 1) or die;
		$| = 1; print "listens\n";
		while (my $c = $s->accept) { my @all = <$c>; print $c "got ", scalar(@all), "\n"; close $c }' >"$BATS_TEST_TMPDIR/served" 3>&- &
	echo $! >>"$BATS_TEST_TMPDIR/holders"
	eventually test -s "$BATS_TEST_TMPDIR/served"
	become_within mvm-guest port-forward "$vm" 0:7001 127.0.0.2:7002:127.0.0.1:7001 >"$files/ports" 2>/dev/null 3>&- &
	pid=$!
	eventually lines_in "$files/ports" 2
	port=$(jq -s '.[0].listen_port' "$files/ports")
	[[ $(jq -s '.[1] | [.listen_address, .listen_port, .guest_port] | join(" ")' "$files/ports") == '"127.0.0.2 7002 7001"' ]]
	for at in "127.0.0.1:$port" 127.0.0.2:7002; do
		run -0 within perl -MIO::Socket::INET -e '
			my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0]) or die "$!";
			print $s "a\nb\n"; shutdown $s, 1; print <$s>' "$at"
		[[ $output == "got 2" ]]
	done
	refuses 5 ask port-forward "$vm" 127.0.0.2:7002:80
	kill -TERM "$pid"
	wait "$pid"
}

@test "hooks, health and logs by hand" {
	agent
	run -0 --separate-stderr ask hook "$vm" sleep-prep
	[[ $(jq -c .steps <<<"$output") == '["stand-in 80"]' ]]
	refuses_untouched 8 ask exec "$vm" -- true
	run -0 ask hook "$vm" repair
	run -0 ask hook "$vm" wake
	run -0 ask exec "$vm" -- true
	run -0 --separate-stderr ask health "$vm"
	[[ $(jq -r '[.probe, .worker] | join(" ")' <<<"$output") == "none unknown" ]]
	echo idle >"$files/worker"
	[[ $(ask health "$vm" | jq -r .worker) == idle ]]
	run -0 --separate-stderr ask logs --source agent -t --tail 1 "$vm"
	[[ $output =~ ^20[0-9-]+T[0-9:.]+Z\ wake:\ done ]]
	run -0 --separate-stderr ask logs --source agent --since 2999-01-01T00:00:00+01:00 "$vm"
	[[ -z $output ]]
}

@test "a pool's probe is stored, changed and checked" {
	local p=acme/db
	run -0 --separate-stderr mvm-pool create $p --flake /f --profile minimal --cpus 1 --mem 128 \
		--probe-exec pg_isready --probe-exec=-q --probe-interval 5s
	[[ $(command jq -c .probe <<<"$output") == \
		'{"kind":"exec","command":["pg_isready","-q"],"interval_s":5,"timeout_s":5,"failures":3}' ]]
	run -0 --separate-stderr mvm-pool update $p --probe-http 8080/health --probe-failures 2
	[[ $(command jq -c '[.probe, .changed]' <<<"$output") == \
		'[{"kind":"http","port":8080,"path":"/health","interval_s":5,"timeout_s":5,"failures":2},true]' ]]
	run -0 --separate-stderr mvm-pool update $p --probe-http 8080/health
	[[ $(jq .changed <<<"$output") == false ]]
	run -0 --separate-stderr mvm-pool update $p --probe none
	[[ $(jq -r .probe.kind <<<"$output") == none ]]
	refuses_untouched 2 mvm-pool update $p --probe-http 0
	refuses_untouched 2 mvm-pool update $p --probe-http 80x
	refuses_untouched 2 mvm-pool update $p --probe-http '80/a b'
	refuses_untouched 2 mvm-pool update $p --probe-exec ''
	refuses_untouched 2 mvm-pool update $p --probe-exec x --probe none
	refuses_untouched 2 mvm-pool update $p --probe-interval 10ms
	refuses_untouched 2 mvm-pool update $p --probe-failures 0
	# a record of before
	sed -i 's/"probe":{[^}]*},//' "$MVM_STATE_DIR/tenants/acme/pools/db/pool.json"
	[[ $(mvm-pool info $p | jq -r .probe.kind) == none ]]
}

guestd() { # WORDS...: mvm-guestd as process 1 of a namespace of its own; $inner is its pid out here
	unshare --mount --pid --fork --uts --ipc --kill-child "$@" 3>&- >/dev/null 2>"$BATS_TEST_TMPDIR/guestd.log" &
	echo $! >>"$BATS_TEST_TMPDIR/holders"
	outer=$!
	eventually is_guestd
}

is_guestd() {
	inner=$(cat "/proc/$outer/task/$outer/children")
	inner=${inner% }
	[[ -n $inner && $(readlink "/proc/$inner/exe") == */mvm-guestd ]]
}

@test "as process 1 the agent reaps ten thousand orphans" {
	guestd "$MVM_BUILD/lib/mvm/mvm-guestd"
	nsenter -t "$inner" -m -p perl -e '
		for (1 .. 100) { if (!fork) { for (1 .. 100) { if (!fork) { exit 0 } } exit 0 } }
		1 while wait > 0'
	childless() { [[ $(wc -w <"/proc/$inner/task/$inner/children") == 0 ]]; }
	eventually childless
	kill -0 "$inner"
}

@test "as a plain process the agent mounts nothing and leaves when it is told" {
	local before pid
	# in a namespace where nobody else mounts anything meanwhile
	before=$(within cat /proc/self/mountinfo)
	become_within "$MVM_BUILD/lib/mvm/mvm-guestd" 3>&- >/dev/null 2>&1 &
	pid=$!
	echo "$pid" >>"$BATS_TEST_TMPDIR/holders"
	eventually is_program "$pid" mvm-guestd
	eventually takes_signals "$pid"
	[[ $(within cat /proc/self/mountinfo) == "$before" && $(hostname) == "$(cat /proc/sys/kernel/hostname)" ]]
	kill -TERM $pid
	wait $pid
	run -2 --separate-stderr "$MVM_BUILD/lib/mvm/mvm-guestd" nonsense
	run -2 --separate-stderr "$MVM_BUILD/lib/mvm/mvm-guestd" status nonsense
}
