#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2016,SC2030,SC2031
# A guest's agent that means harm, and every verb of mvm-guest: none crashes, hangs, fills memory or
# disk, or writes outside its target; each ends in its time, with one clear line and its status.

setup() {
	load helper
	load net
	net_setup
	vm=acme/web/i-0000000a uid=1879506947
	jail=$MVM_STATE_DIR/jails/qemu/i-0000000a/root
	files=$(mktemp -d /tmp/mvm-hostile.XXXXXX)
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
	mkdir -p "$jail/run" "$jail/snap" "$files/out"
	chown "$uid:$uid" "$jail/run" "$jail/snap"
	echo x >"$files/f"
	gently=()
}

teardown() {
	net_teardown
	rm -rf "$files"
}

# The agent is the process that stands for the VMM, too; it plays its acts to each connection.
agent() { # ACT...: see tests/aid/hostile-agent.c
	[[ -z ${agent-} ]] || kill "$agent"
	rm -f "$jail/run/v.sock" "$BATS_TEST_TMPDIR/agent"
	become_within "${gently[@]}" "$AIDS/hostile-agent" "$jail/run" "$uid" "$@" 3>&- >"$BATS_TEST_TMPDIR/agent" 2>&1 &
	agent=$!
	echo $agent >>"$BATS_TEST_TMPDIR/holders"
	eventually test -s "$BATS_TEST_TMPDIR/agent"
	stands_for_vmm "$vm" $agent
}

# Payloads, as the acts take them.
le() { # BYTES NUMBER
	local i v=$2
	for ((i = 0; i < $1; i++)); do
		printf '\\x%02x' $((v & 255))
		v=$((v >> 8))
	done
}
text() { printf '%s%s' "$(le 2 "${#1}")" "$1"; } # of plain characters
begun() { echo "f:17:0:$(le 4 1)"; }		  # STARTED
ended() { echo "f:22:0:$(le 4 "$1")"; }		  # EXIT with a wait status
# What follows a copy: the counts, and no error.
counted() { echo "f:18:2:$(le 4 0)$(le 4 0)$(text '')$(le 8 1)$(le 8 0)$(le 8 0)$(le 8 0)$(le 8 0)"; }

# The verbs of a name, a line each: SECONDS COMMAND. The time is each one's own limit and some more.
verbs() { # exec|ask|copy|hook...
	local kind
	for kind; do
		case $kind in
		exec)
			printf '%s\n' "40 exec $vm -- true" "40 exec -n $vm -- true" "40 exec -t $vm -- true" "40 ssh $vm uname" \
				"40 exec --session s $vm -- true" "40 exec -d --session s $vm -- true" "40 attach $vm s" \
				"40 attach -n $vm s"
			;;
		ask)
			printf '%s\n' "15 health $vm" "15 sessions $vm" "15 sessions --kill s $vm" "15 sessions --rm s $vm" \
				"25 logs --source agent $vm" "25 logs --source entrypoint --tail 5 $vm"
			;;
		follow) echo "25 logs -f --source entrypoint $vm" ;;
		copy)
			printf '%s\n' "15 cp --timeout 2s $files/f $vm:/tmp/f" "15 cp --timeout 2s $vm:/tmp/f $files/out/f" \
				"15 cp --timeout 2s $vm:/tmp/f -"
			;;
		hook) printf '%s\n' "15 hook --timeout 1s $vm sleep-prep" "15 hook --timeout 1s $vm wake" ;;
		listen) echo "15 port-forward $vm 0:80" ;; # asks whether there is anybody
		esac
	done
}
all() { verbs exec ask follow copy hook listen; }

# All the verbs on standard input, at once and with bounded memory; each ends with one of these, and one
# clean line. Hurried (helper.bash) they have a tenth of their time. To that comes what a machine with much
# to do may take.
end_with() { # STATUS...
	local i=0 words got bad=0 at=$BATS_TEST_TMPDIR/verbs
	rm -rf "$at"
	mkdir "$at"
	# where the end is another one, nobody is given up for want of his turn
	[[ " $* " == *" 124 "* ]] && words='' || words='s/--timeout [0-9]s/--timeout 40s/'
	sed "$words" >"$at/all"
	# shellcheck disable=SC2016 # the inner shell's
	within "${gently[@]}" bash -c '
		ulimit -v 200000
		while read -r limit words; do
			[[ -z ${LD_PRELOAD-} ]] || limit=$((limit / 10))
			i=$((i + 1))
			{
				timeout -s KILL "$((limit + 45))" mvm-guest $words </dev/null >/dev/null 2>"$1/err.$i"
				echo $? >"$1/status.$i"
			} &
		done <"$1/all"
		wait' - "$at" 3>&-
	while read -r _ words; do
		i=$((i + 1))
		read -r got <"$at/status.$i"
		[[ " $* " == *" $got "* ]] || {
			echo "$words: $got, not $*: $(head -c 1000 "$at/err.$i")" >&2
			bad=1
		}
	done <"$at/all"
	got=$(wc -l "$at"/err.* | grep -vE '^ *1 |total$' || true) # not one line
	got+=$(LC_ALL=C grep -H '[[:cntrl:]]' "$at"/err.* || true)
	echo "${got:0:2000}" >&2
	((i > 0 && bad == 0)) && [[ -z $got && -z $(ls -A "$files/out") ]]
}

@test "an agent that never answers is given up by every verb" {
	agent ok hang
	all | hurried end_with 124
}

@test "an agent that says hello and no more is given up by every verb" {
	agent ok hello hang
	verbs exec ask copy hook | hurried end_with 124
}

@test "a byte a second does not stretch a limit" {
	hurried agent ok hello request "drip:$(le 4 4)"
	verbs exec ask copy hook | hurried end_with 124 1
	hurried agent "drip:OK 7"
	verbs ask hook listen | hurried end_with 124 1
}

@test "a connection that ends at any point is told as that" {
	agent # at once
	all | end_with 8
	agent ok
	all | end_with 8
	agent ok hello request
	verbs exec ask copy hook | end_with 8
	agent ok hello request "r:$(le 4 4)\\x11\\x00" # in the middle of a frame
	verbs exec ask copy hook | end_with 8
}

@test "lengths that lie and bytes that are no frames are refused" {
	local act
	for act in "h:4294967295:1:0" "h:4294967295:17:0" "h:131073:18:1" "h:16385:18:1" "h:2147483648:6:0" "r:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff" \
		"r:HTTP/1.1 200 OK\\x0d\\x0a\\x0d\\x0a" "f:17:2:" "r:\\x00\\x00\\x00\\x00\\x11\\x01\\x00\\x00" "f:255:0:"; do
		agent ok hello request "$act" hang
		verbs exec ask copy hook | end_with 1
	done
	for act in "f:1:0:MVMG" "f:1:0:XXXX$(le 2 1)$(le 2 1)$(text x)" "h:257:1:0" "f:1:0:MVMG$(le 2 1)$(le 2 1)$(le 2 65535)" "f:17:0:$(le 4 1)" "f:20:1:"; do
		agent ok "$act" hang
		verbs exec ask copy hook listen | end_with 1
	done
	agent ok "f:1:0:MVMG$(le 2 9)$(le 2 10)$(text new)" hang
	all | end_with 5
	agent "r:NO 1\\x0a" hang
	verbs exec ask copy hook listen | end_with 1
	agent "flood:OK" hang
	verbs exec ask copy hook listen | end_with 1
}

@test "frames out of order end the verb, and a status before the start is none" {
	local act
	for act in "$(ended 0)" "f:18:1:early" "f:20:1:" "f:19:0:$(le 4 65536)" "f:38:0:" "f:2:0:" "f:3:0:" "f:16:0:"; do
		agent ok hello request "$act" hang
		verbs exec copy hook | end_with 1
	done
	for act in "f:18:0:x" "f:17:0:$(le 4 2)" "f:19:0:$(le 4 4294967295)" "f:35:0:x" "f:39:0:" "f:1:0:" "f:21:0:$(le 4 9)"; do
		agent ok hello request "$(begun)" "$act" hang
		echo "20 exec $vm -- true" | end_with 125
		verbs copy | end_with 1
	done
}

@test "a command's flood of output is neither kept nor believed" {
	gently=(nice -n 10) # six of them take what there is until their time is over; the tests beside them go first
	agent ok hello request "$(begun)" "flood:$(le 4 1)\\x12\\x00\\x01\\x00x" # a byte a frame, whatever was granted
	verbs copy | hurried end_with 1 124
	printf '%s\n' "20 exec --timeout 1s $vm -- yes" "20 exec --timeout 1s -t $vm -- yes" | hurried end_with 124 125
	agent ok hello request "$(begun)" "flood:$(le 4 0)\\x14\\x00\\x01\\x00" # ends of a stream
	printf '%s\n' "20 exec --timeout 1s $vm -- yes" | hurried end_with 124
	verbs copy | hurried end_with 124
	agent ok hello request "$(begun)" "flood:$(le 4 0)\\x12\\x00\\x01\\x00" # nothing at all
	printf '%s\n' "20 exec --timeout 1s $vm -- yes" | hurried end_with 124
	verbs copy | hurried end_with 124
	agent ok hello request "flood:$(le 4 0)\\x12\\x00\\x01\\x00"
	verbs ask | end_with 1
}

@test "what comes after the exit does not count" {
	agent ok hello request "$(begun)" "f:18:1:said" "$(ended 1792)" "flood:$(le 4 4)\\x12\\x00\\x01\\x00more"
	run -7 --separate-stderr within timeout 60 mvm-guest exec "$vm" -- x </dev/null
	[[ $output == said && -z $stderr ]]
	agent ok hello request "$(begun)" "$(ended 4294967295)" "$(ended 0)"
	run -255 within timeout 60 mvm-guest exec "$vm" -- x </dev/null
	agent ok hello request "$(begun)" "$(ended 9)" hang
	run -137 within timeout 60 mvm-guest exec "$vm" -- x </dev/null
}

@test "a client whose command does not end can be ended by hand" {
	agent ok hello request "$(begun)" hang
	become_within mvm-guest exec "$vm" -- sleep 1000 </dev/null 3>&- >/dev/null 2>&1 &
	echo $! >>"$BATS_TEST_TMPDIR/holders"
	client=$!
	eventually takes_signals "$client"
	# two that come before it has its turn are one
	insist() { kill -TERM "$client" 2>/dev/null || true; sleep 0.1; is_gone "$client"; }
	eventually insist
	status=0
	wait "$client" || status=$?
	[ "$status" = 143 ]
}

@test "the terminal is itself again after an agent that means harm" {
	local act
	for act in hang "f:17:0:$(le 4 2)" "h:4294967295:18:1" "f:18:1:x"; do
		agent ok hello request "$(begun)" "$act"
		hurried nsenter --target "$net" --net --mount --wd="$BATS_TEST_TMPDIR" -- timeout -s KILL 90 script -qec \
			"stty -a >before; timeout --foreground 1 mvm-guest exec -it $vm -- sh; stty -a >after" /dev/null </dev/null
		cmp "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/after"
	done
}

@test "the words of an agent move no terminal, and choose no status that is not in the table" {
	local evil='\x1b]0;x\x07\x1b[2J\x0d\x0abad' # 15 bytes
	agent ok hello request "f:4:0:$(le 4 9999)$(le 4 0)$(le 2 15)$evil"
	verbs exec ask copy hook | end_with 1
	agent ok hello request "f:4:0:$(le 4 8)$(le 4 4294967295)$(le 2 65535)x"
	verbs exec ask copy hook | end_with 1
	agent ok "f:1:0:MVMG$(le 2 9)$(le 2 9)$(le 2 15)$evil" hang
	verbs exec ask copy hook | end_with 5
	agent ok hello request "f:83:0:$(le 4 1)$(le 2 1)$(le 4 15)$evil"
	run -0 --separate-stderr within timeout 60 mvm-guest hook "$vm" wake
	[[ $output != *$'\e'* && $output != *'u001b'* ]]
	agent ok hello request "$(begun)" "f:18:2:$(le 4 7)$(le 4 13)$(le 2 15)$evil$(le 8 0)$(le 8 0)$(le 8 0)$(le 8 0)$(le 8 0)" "$(ended 256)"
	verbs copy | end_with 7
}

@test "health and lists that cannot be are refused" {
	local act
	for act in "f:6:0:$(le 8 1)" "f:6:0:$(le 8 1)$(le 8 1)$(le 8 1)$(le 8 1)$(le 4 1)$(le 4 1)$(le 4 7)$(le 4 0)\\x01" \
		"f:6:0:$(le 8 1)$(le 8 1)$(le 8 1)$(le 8 1)$(le 4 1)$(le 4 1)$(le 4 1)$(le 4 0)\\x02" "h:513:6:0" "f:5:0:"; do
		agent ok hello request "$act" hang
		echo "15 health $vm" | end_with 1
	done
	agent ok hello request "f:6:0:$(le 8 -1)$(le 8 -1)$(le 8 -1)$(le 8 -1)$(le 4 -1)$(le 4 -1)$(le 4 2)$(le 4 -1)\\x01$(le 4 2)$(le 4 -1)$(le 8 -1)$(text $'\x1b[2J')$(text nonsense)$(le 8 -1)"
	run --separate-stderr within timeout 60 mvm-guest health "$vm"
	[[ $status == 0 && $(jq -r '[.worker, .probe, .entrypoint] | join(" ")' <<<"$output") == "unknown healthy ended" ]]
	agent ok hello request "f:35:0:$(text s)$(le 2 65535)" hang
	echo "15 sessions $vm" | end_with 1
	agent ok hello request "flood:$(le 4 35)\\x23\\x00\\x00\\x00$(text s)$(le 2 0)$(le 8 0)$(le 8 0)$(le 4 1)$(le 4 0)$(le 4 0)\\x00\\x00"
	echo "15 sessions $vm" | end_with 1
}

# --- files ------------------------------------------------------------------------------------------

# A tar stream of one entry: NAME TYPE SIZE LINK, the header's fields as they are.
tar_entry() {
	perl -e '
		my ($name, $type, $size, $link) = @ARGV;
		s/\\x([0-9a-f]{2})/chr hex $1/ge for $name, $link;
		$size = $size =~ /^b(\d+)$/ ? "\x80" . pack("x3 Q>", $1) : sprintf "%011o ", $size;
		my $h = pack "a100 a8 a8 a8 a12 a12 A8 a1 a100 a6 a2 a32 a32 a8 a8 a155 x12", $name, "0000644\0", "0000000\0",
			"0000000\0", $size, "00000000000 ", "", $type, $link, "ustar", "00", "", "", "0000000\0", "0000000\0", "";
		my $sum = unpack "%32C*", $h;
		substr($h, 148, 8) = sprintf "%06o\0 ", $sum;
		print $h' "$@"
}
blocks() { head -c $((512 * $1)) /dev/zero; }
content() { printf 'bad%509s' ''; }

# The stream in $files/tar as the answer to "cp INSTANCE:/tmp/f TARGET", which ends with one of these.
answers() { # STATUS...
	chmod 644 "$files/tar"
	chmod 755 "$files"
	agent ok hello request "$(begun)" "stream:$files/tar" "f:20:1:" "$(counted)" "$(ended 0)" hang
	printf '%s\n' "20 cp --timeout 2s $vm:/tmp/f $files/out" "20 cp --timeout 2s $vm:/tmp/f $files/out/f" "20 cp --timeout 2s $vm:/tmp/f/. $files/out" |
		end_with "$@"
	[[ ! -e $files/escaped && ! -e /tmp/mvm-escaped && $(find "$files" -mindepth 1 -maxdepth 1 -printf "%f\n" | sort | xargs) == "f out tar" ]]
}

@test "no path of a copy leads out of its target, and nothing is left of one that tried" {
	local name
	for name in ../escaped f/../../escaped /tmp/mvm-escaped f/../../../../../../tmp/mvm-escaped .. f/..; do
		{ tar_entry "$name" 0 3 '' && content && blocks 2; } >"$files/tar"
		answers 7
	done
	{ tar_entry f 2 0 .. && tar_entry f/escaped 0 3 '' && content && blocks 2; } >"$files/tar"
	agent ok hello request "$(begun)" "stream:$files/tar" "f:20:1:" "$(counted)" "$(ended 0)" hang
	run -7 within timeout 60 mvm-guest cp "$vm:/tmp/f" "$files/out"
	[[ ! -e $files/escaped ]]
	rm -f "$files/out/f"
	{ tar_entry f 5 0 '' && tar_entry f/l 2 0 /tmp && tar_entry f/l/mvm-escaped 0 3 '' && content && blocks 2; } >"$files/tar"
	agent ok hello request "$(begun)" "stream:$files/tar" "f:20:1:" "$(counted)" "$(ended 0)" hang
	run -7 within timeout 60 mvm-guest cp "$vm:/tmp/f" "$files/out"
	[[ ! -e /tmp/mvm-escaped ]]
	rm -rf "$files/out/f"
	{ tar_entry f 1 0 ../f && blocks 2; } >"$files/tar"
	answers 7
	{ tar_entry f 1 0 /etc/passwd && blocks 2; } >"$files/tar"
	answers 7
}

@test "devices, pipes and unknown entries of a copy are denied, a size beyond the limit is quota" {
	local type size
	for type in 3 4 6 S V; do
		{ tar_entry f "$type" 0 '' && blocks 2; } >"$files/tar"
		answers 7
	done
	for size in b4611686018427387904 b68719476737; do
		{ tar_entry f 0 "$size" '' && content; } >"$files/tar"
		answers 6
	done
	{ tar_entry f 0 b9223372036854775808 '' && content; } >"$files/tar"
	answers 1
	{ tar_entry f 0 1000000 '' && content; } >"$files/tar" # shorter than it says
	answers 1
	head -c 3000 /dev/urandom >"$files/tar"
	answers 1
	: >"$files/tar"
	answers 1
}

@test "a name with control characters is a name, and is not told as it is" {
	{ tar_entry 'f/\x0a\x1b[2J/..' 0 3 '' && content && blocks 2; } >"$files/tar"
	answers 7
	{ tar_entry 'f\x0a\x1b[2J' 0 3 '' && content && blocks 2; } >"$files/tar"
	agent ok hello request "$(begun)" "stream:$files/tar" "f:20:1:" "$(counted)" "$(ended 0)" hang
	echo "20 cp $vm:/tmp/f $files/out" | end_with 7
	run -0 --separate-stderr within timeout 60 mvm-guest cp "$vm:/tmp/f/." "$files/out"
	[[ $output != *$'\e'* && -f $files/out/$'f\n\e[2J' ]]
}

@test "a copy out that ends without its counts, or behind a broken stream, is no copy" {
	{ tar_entry f 0 3 '' && content && blocks 2; } >"$files/tar"
	chmod 755 "$files"
	agent ok hello request "$(begun)" "stream:$files/tar" "f:20:1:" "$(ended 0)" hang
	run -1 within timeout 60 mvm-guest cp "$vm:/tmp/f" "$files/out2"
	[[ $output == *"does not say how it ended"* ]]
	agent ok hello request "$(begun)" "stream:$files/tar"
	run -8 within timeout 60 mvm-guest cp "$vm:/tmp/f" "$files/out3"
	[[ ! -e $files/out3 ]]
}

# --- the way down -----------------------------------------------------------------------------------

@test "a guest that will not shut down is ended, whatever it says" {
	local act begun
	for act in hang "hello request f:5:0: hang" "hello request r:nonsense" "hello request f:4:0:x"; do
		# shellcheck disable=SC2086
		agent ok $act
		begun=$SECONDS
		MAINPID=$agent hurried run -0 within timeout 120 mvm-instance drain "$vm"
		((SECONDS - begun < 60))
		is_gone "$agent"
		agent=
	done
}
