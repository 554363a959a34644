#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2016,SC2030,SC2031
# mvm-guest before it reaches a guest: what it refuses, and what a VMM that was taken over may have
# put in its way. A sleeping process stands for the VMM.

setup() {
	load helper
	load net
	net_setup
	vm=acme/web/i-0000000a
	jail=$MVM_STATE_DIR/jails/qemu/i-0000000a/root
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
}

teardown() {
	net_teardown
}

ask() { within timeout 60 mvm-guest "$@" </dev/null; }

running() { # its VMM is a process of this test
	sleep 1000 3>&- >/dev/null 2>&1 &
	echo $! >>"$BATS_TEST_TMPDIR/holders"
	stands_for_vmm "$vm" $!
}

make_jail() {
	mkdir -p "$jail/run" "$jail/snap"
	chown 1879506947:1879506947 "$jail/run" "$jail/snap"
}

every_verb() { # STATUS: the answer of each, before a command has started
	local words
	for words in "exec $vm -- true" "health $vm" "logs --source entrypoint $vm" "logs --source agent $vm"; do
		# shellcheck disable=SC2086
		refuses_untouched "$1" ask $words
	done
}

@test "2: bad words" {
	refuses 2 ask exec "$vm"
	refuses 2 ask exec acme/web -- true
	refuses 2 ask exec ../x/i-0000000a -- true
	refuses 2 ask exec --env X "$vm" -- true
	refuses 2 ask exec --timeout 1x "$vm" -- true
	refuses 2 ask exec --timeout 0 "$vm" -- true
	refuses 2 ask exec --cwd "$(printf 'x%.0s' {1..5000})" "$vm" -- true
	refuses 2 ask logs --source nonsense "$vm"
	refuses 2 ask logs --tail 0 "$vm"
	refuses 2 ask health
	refuses 2 ask nonsense
}

@test "3: it does not run; 4: it is not there" {
	every_verb 3
	[[ $stderr == *"mvm instance start $vm"* ]]
	vm=acme/web/i-000000ff
	every_verb 4
}

@test "8: its VMM has gone" {
	set_status "$vm" running
	every_verb 8
}

@test "4: its VMM runs and has no jail" {
	running
	every_verb 4
}

@test "8: nobody has bound the socket, or nobody listens there" {
	running
	make_jail
	every_verb 8
	within perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die' "$jail/run/v.sock"
	chown 1879506947:1879506947 "$jail/run/v.sock"
	every_verb 8
}

@test "7: what stands in the socket's place and is not the VM's is not talked to" {
	running
	make_jail
	: >"$jail/run/v.sock"
	chown 1879506947:1879506947 "$jail/run/v.sock"
	every_verb 7
	rm "$jail/run/v.sock"
	# somebody else's socket: by a link, then in its place
	become_within perl -MIO::Socket::UNIX -e 'my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 5) or die; sleep 1000' \
		"$BATS_TEST_TMPDIR/root.sock" 3>&- &
	echo $! >>"$BATS_TEST_TMPDIR/holders"
	eventually listens "$BATS_TEST_TMPDIR/root.sock"
	ln -s "$BATS_TEST_TMPDIR/root.sock" "$jail/run/v.sock"
	every_verb 7
	rm "$jail/run/v.sock"
	ln "$BATS_TEST_TMPDIR/root.sock" "$jail/run/v.sock"
	every_verb 7
	# the file is the VM's now, who listens is not
	chown 1879506947:1879506947 "$jail/run/v.sock"
	every_verb 7
	[[ $stderr == *"uid 0"* ]]
}

@test "7: a jail whose directory is somebody else's" {
	running
	make_jail
	chown 0:0 "$jail/run"
	every_verb 7
}

@test "the error tells in JSON that it was mvm's and not the command's" {
	refuses 3 ask --errors json exec "$vm" -- false
	[ "$(jq -r '[.code, .object] | join(" ")' <<<"$stderr")" = "state $vm" ]
}

@test "what the host keeps of an instance that never ran is nothing, and that is no failure" {
	run -0 --separate-stderr mvm-guest logs "$vm"
	[[ -z $output && -z $stderr ]]
	refuses 4 mvm-guest logs acme/web/i-000000ff
}

# --- terminals and sessions --------------------------------------------------------------------

session_verbs() { # STATUS: the answer of each, before anything has started
	local words
	for words in "exec -t $vm -- true" "exec -d --session s $vm -- true" "exec --session s $vm -- true" \
		"ssh $vm" "ssh -t $vm" "ssh $vm uname" "attach $vm s" "attach -n $vm s" "sessions $vm" \
		"sessions --kill s $vm" "sessions --rm s $vm"; do
		# shellcheck disable=SC2086
		refuses_untouched "$1" ask $words
	done
}

@test "terminals and sessions, 2: bad words" {
	local name
	refuses 2 ask exec -it "$vm" -- true
	[[ $stderr == *"standard input is no terminal"* ]]
	refuses 2 ask exec -i -n "$vm" -- true
	refuses 2 ask exec -d "$vm" -- true
	refuses 2 ask exec --session s --detach-keys ctrl-pp "$vm" -- true
	for name in '' . -x A a/b 'a b' "$(printf 'x%.0s' {1..40})"; do
		refuses 2 ask exec --session="${name:-/}" "$vm" -- true
		refuses 2 ask attach "$vm" -- "$name"
		refuses 2 ask sessions --kill="${name:-/}" "$vm"
		refuses 2 ask sessions --rm="${name:-/}" "$vm"
	done
	refuses 2 ask attach "$vm"
	refuses 2 ask attach "$vm" s more
	refuses 2 ask attach --detach-keys "" "$vm" s
	refuses 2 ask sessions
	refuses 2 ask sessions --kill s --rm s "$vm"
	refuses 2 ask sessions --signal TERM "$vm"
	refuses 2 ask sessions --signal TERM --rm s "$vm"
	refuses 2 ask sessions --kill s --signal NONE "$vm"
	refuses 2 ask sessions --kill s --signal 0 "$vm"
	refuses 2 ask sessions --kill s --signal 65 "$vm"
	refuses 2 ask ssh
	refuses 2 ask ssh --env X "$vm"
}

@test "terminals and sessions, 3: it does not run; 4: it is not there; 8: its VMM has gone" {
	session_verbs 3
	set_status "$vm" running
	session_verbs 8
	vm=acme/web/i-000000ff
	session_verbs 4
}

# An agent of another kind: what it says after its hello, to whatever it is asked. It runs as the VM's user.
fake_agent() { # PERL-EXPRESSION of the frames
	running
	make_jail
	rm -f "$BATS_TEST_TMPDIR/listens"
	become_within perl -MSocket -MPOSIX -e '
		$SIG{PIPE} = "IGNORE";
		chdir shift or die;
		socket my $s, AF_UNIX, SOCK_STREAM, 0 or die;
		bind $s, pack_sockaddr_un("v.sock") or die;
		chown 1879506947, 1879506947, "v.sock";
		POSIX::setuid(1879506947); # whoever listens is the peer
		listen $s, 5 or die;
		syswrite STDOUT, "yes";
		sub text { pack "v/a*", shift }
		sub frame { my ($type, $stream, $p) = @_; pack("VCCv", length $p, $type, 0, $stream) . $p }
		sub frames {
			my ($n, $b) = (0, @_);
			$b = substr($b, 8 + unpack "V", $b), $n++
				while length $b >= 8 && length $b >= 8 + unpack "V", $b;
			$n
		}
		sub session { frame(35, 0, text(shift) . pack("vQ<Q<VVVCC", 0, 0, 0, 1, 0, 0, 0, 0)) }
		while (accept my $c, $s) {
			my $line = <$c>;
			syswrite $c, "OK 1\n" . frame(1, 0, "MVMG" . pack("vv", 1, 1) . text("other"));
			my $asked = "";
			1 while frames($asked) < 2 && sysread $c, $asked, 65536, length $asked;
			syswrite $c, $_ for eval $ARGV[0];
			close $c;
		}' "$jail/run" "$1" >"$BATS_TEST_TMPDIR/listens" 3>&- &
	echo $! >>"$BATS_TEST_TMPDIR/holders"
	eventually test -s "$BATS_TEST_TMPDIR/listens"
}

@test "an agent that knows neither terminals nor sessions is 8, and called too old" {
	fake_agent 'frame(4, 0, pack("VV", 0, 5) . text("frame of unknown type 32"))'
	session_verbs 8
	[[ $stderr == *"too old"* ]]
}

@test "an agent that lies about its sessions is 1, whatever it says" {
	local lie
	for lie in 'session("../x")' 'map { session("s") } 1 .. 40' 'frame(35, 0, "x" x 40000)' \
		'frame(5, 0, "more than nothing")' 'frame(18, 1, "x")' '"\xff" x 64'; do
		fake_agent "$lie"
		refuses_untouched 1 ask sessions "$vm"
		kill "$(tail -n 1 "$BATS_TEST_TMPDIR/holders")"
		rm "$jail/run/v.sock"
	done
	fake_agent '()'
	refuses_untouched 8 ask sessions "$vm"
}

@test "what is lost after a session was joined is 125, and that it goes on is said" {
	fake_agent 'session("s")'
	run -125 --separate-stderr ask attach "$vm" s
	[[ -z $output && $stderr == *"connection was lost"* ]]
	run -125 --separate-stderr ask attach --errors json "$vm" s
	[[ $(jq -r .hint <<<"$stderr") == *"goes on"* ]]
}

@test "what a guest says of its sessions cannot move the terminal that shows it" {
	fake_agent 'frame(35, 0, text("s") . pack("v(V/a*)2Q<Q<VVVCC", 2, "\e[2J", "\xff\n", ~0, 0, 1, 0x8b, 0, 1, 0)), frame(5, 0, "")'
	run -0 --separate-stderr ask sessions --json "$vm"
	[[ $output != *$'\e'* && $output == *'\u001b[2J'* ]]
	[ "$(out '.[0] | "\(.state) \(.exit_status) \(.wait_status)"')" = "ended 139 139" ]
}
