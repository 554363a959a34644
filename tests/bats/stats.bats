#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2030,SC2031,SC2094 # what a terminal shows is read while it is written
# What instances use, without a guest: processes of this test stand for their VMMs. What cannot be
# measured is null, and who does not answer costs the time that he is given.

setup() {
	load helper
	load net
	net_setup
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
	instance acme/web i-0000000b
	a=acme/web/i-0000000a b=acme/web/i-0000000b
}

teardown() {
	net_teardown
}

stats() { within timeout 90 mvm-instance stats "$@"; }
top() { within timeout 90 mvm-instance top "$@"; }

runs() { # ADDRESS COMMAND...: that process is its VMM
	"${@:2}" 3>&- >/dev/null 2>&1 &
	vmm=$!
	echo $vmm >>"$BATS_TEST_TMPDIR/holders"
	stands_for_vmm "$1" $vmm
}

@test "2: bad words of stats and top; 4: what is not there" {
	local words
	for words in "stats acme/web/x" "stats acme/web/$a" "stats ../x" "stats acme $a" "stats $a acme/web" \
		"stats acme --tenant acme" "stats $a --pool web" "stats --pool web" "stats --tenant a/b" "stats --tenant=" \
		"top -n 0" "top -n -1" "top -n x" "top -d 10ms" "top -d 2h" "top -d" "top --sort name" "top --once -n 2" \
		"top -o yaml" "top $a" "top acme acme" "top --tenant acme"; do
		# shellcheck disable=SC2086
		refuses_untouched 2 within timeout 20 mvm-instance $words
	done
	for words in "stats acme/web/i-00000001" "stats i-00000001" "stats $a acme/web/i-00000001" "stats nobody" \
		"stats acme/none" "stats --tenant nobody" "top nobody --once" "top acme/none --once"; do
		# shellcheck disable=SC2086
		refuses_untouched 4 within timeout 20 mvm-instance $words
	done
}

@test "stats of one is an object, of several and of a tenant, pool or everything an array" {
	local words
	run -0 --separate-stderr stats i-0000000a
	[ "$(out .instance_path)" = "$a" ]
	for words in "$a $b" acme acme/web "--tenant acme" "--tenant acme --pool web" ""; do
		# shellcheck disable=SC2086
		run -0 --separate-stderr stats $words
		[ "$(out 'map(.instance_path) | join(" ")')" = "$a $b" ]
	done
	within mvm-pool create acme/empty --flake . --profile minimal --cpus 1 --mem 128 >/dev/null
	[ "$(stats acme/empty)" = "[]" ]
	run -0 --separate-stderr stats acme -o table
	[[ ${lines[0]} == INSTANCE*STATUS*AGENT*CPU* && ${lines[1]} == "$a"*Created* && ${#lines[@]} == 3 ]]
	[ "$(stats acme -o name)" = "$a"$'\n'"$b" ]
}

@test "what does not run has no figure, and none is made up" {
	run -0 --separate-stderr stats "$a"
	jq -e '.status == "created" and .agent == "unknown" and .worker == "unknown" and .drives == [] and
		([.pid, .source, .uptime_s, .cpu_usec, .cpu_pct, .memory_bytes, .memory_peak_bytes, .oom_kills, .pids,
		.net_rx_bytes, .net_tx_drops, .block_read_bytes, .vsock_rx_bytes, .metrics_lost, .worker_age_ms,
		.guest_load_1m, .guest_mem_total_mib] | all(. == null))' <<<"$output"
}

@test "a VMM whose guest and API do not answer has the figures of its processes, and is not waited for long" {
	runs "$a" sleep 1000
	SECONDS=0
	run -0 --separate-stderr stats "$a"
	((SECONDS < 40))
	printf '%s\n' "$output"
	jq -e --argjson pid "$vmm" '.pid == $pid and .agent == "not-answering" and .agent_message != null and
		.uptime_s >= 0 and .cpu_usec >= 0 and .cpu_pct >= 0 and .memory_bytes > 100000 and .pids > 0 and
		([.net_rx_bytes, .block_read_bytes, .metrics_lost, .guest_load_1m] | all(. == null))' <<<"$output"
	# Here a group either counts all of it or is not asked.
	jq -e 'if .source == "cgroup" then .limits == "cgroup" else .source == "process" and
		.memory_peak_bytes == null and .cpu_throttled_usec == null and .oom_kills == null end' <<<"$output"
	kill -9 "$vmm"
	eventually is_gone "$vmm"
	run -0 --separate-stderr stats "$a"
	[ "$(out .pid)" = null ]
}

@test "stats tell how long the last start and sleep took, and count cold starts by their cause" {
	local dir=$MVM_STATE_DIR/tenants/acme/pools/web/instances/i-0000000a words
	run -0 --separate-stderr stats "$a"
	[ "$(out '[.start, .sleep, (.cold_starts | add)] | tostring')" = '[null,null,0]' ]
	echo '{"schema_version":1,"op_id":"o-00000001","at":"2026-01-01T00:00:00Z","load":true,"cold":null,"total_ms":70,"stages":[{"stage":"loaded","ms":50},{"stage":"thawed","ms":70}],"error":null}' >"$dir/start.json"
	echo '{"schema_version":1,"op_id":"o-00000002","at":"2026-01-01T00:01:00Z","ref":"gen-2","kind":"delta","why_full":null,"parent":"gen-1","quiesced":true,"bytes":4096,"frozen_ms":20,"total_ms":30,"stages":[{"stage":"begun","ms":1}]}' >"$dir/sleep.json"
	edit "$a" '.cold_starts = {damaged: 1, other: 2, refused: 3, gone: 4, ended: 5, failed: 6}'
	for words in "$a" "$a $b"; do
		# shellcheck disable=SC2086
		run -0 --separate-stderr stats $words
		[ "$(jq -c 'if type == "array" then .[0] else . end | [.start.load, .start.total_ms, (.start.stages | map(.stage, .ms)), .sleep.ref, .sleep.frozen_ms, .sleep.stages[0].stage]' <<<"$output")" = '[true,70,["loaded",50,"thawed",70],"gen-2",20,"begun"]' ]
		[ "$(jq -c 'if type == "array" then .[0] else . end | .cold_starts | [.damaged, .other, .refused, .gone, .ended, .failed]' <<<"$output")" = '[1,2,3,4,5,6]' ]
	done
	[ "$(jq -c '.[1] | [.start, .sleep]' <<<"$output")" = '[null,null]' ]
	for words in start sleep; do
		echo '{"schema_version":1}' >"$dir/$words.json"
		refuses 1 stats "$a"
		[[ $stderr == *$words.json*at* ]]
		rm "$dir/$words.json"
	done
	# A record of before has no counts.
	edit "$a" 'del(.cold_starts)'
	[ "$(stats "$a" | jq '.cold_starts | add')" = 0 ]
}

@test "a damaged record is left out with 1, the others are told; one that was named is an error" {
	echo '{' >"$(record "$a")"
	run -1 --separate-stderr stats acme
	[ "$(out 'map(.instance_path) | join(" ")')" = "$b" ]
	refuses 1 stats "$a"
	run -0 top acme --once
	[[ $output != *"$a"* && $output == *"$b"* ]]
}

@test "top: a burner comes first by processor time, a hog by memory" {
	mkfifo "$BATS_TEST_TMPDIR/never"
	runs "$a" sh -c 'while :; do :; done'
	# shellcheck disable=SC2016 # that bash's
	runs "$b" bash -c 'x=$(head -c 40000000 /dev/zero | tr "\0" x); : >"$0.idle"; read -rt 1000 <>"$0"' "$BATS_TEST_TMPDIR/never"
	eventually test -e "$BATS_TEST_TMPDIR/never.idle"
	# what the burner gets is a matter of who else wants the processors, and on a machine that is full a round
	# may find it waiting; the other one takes nothing
	looked() {
		run -0 --separate-stderr top acme/web -n 2 -d 1s -o json
		[ "${#lines[@]}" = 4 ] && jq -es --arg a "$a" '(.[2:] | all(.cpu_pct != null)) and
			.[2].instance_path == $a and .[2].cpu_pct > 1 and .[3].cpu_pct * 5 < .[2].cpu_pct and
			(map(.net_rx_bytes_s == null) | all) and .[0].schema_version == 1' <<<"$output"
	}
	eventually looked
	run -0 --separate-stderr top --sort mem --once
	[[ ${lines[0]} == *"2 instances"* && ${lines[1]} == INSTANCE*STATUS*"CPU %"* && ${lines[2]} == "$b"* && ${lines[3]} == "$a"* ]]
}

@test "top goes on when an instance is removed and another one made" {
	become_within mvm-instance top -n 1000 -d 200ms -o json >"$BATS_TEST_TMPDIR/out" 3>&- &
	pid=$!
	echo "$pid" >>"$BATS_TEST_TMPDIR/holders"
	eventually grep -q "$a" "$BATS_TEST_TMPDIR/out"
	within mvm-instance destroy-record "$a"
	instance acme/web i-0000000c
	shown_often() { (($(grep -c i-0000000c "$BATS_TEST_TMPDIR/out") >= 3)); }
	eventually shown_often
	kill "$pid"
	wait "$pid" || (($? == 143))
	jq -es --arg a "$a" --arg c acme/web/i-0000000c 'map(.instance_path) | index($a) < index($c) and rindex($a) < rindex($c)' \
		"$BATS_TEST_TMPDIR/out"
}

@test "top: MVM_OUTPUT=json is lines too; a full disk is an error, a reader that goes away is none" {
	MVM_OUTPUT=json run -0 --separate-stderr top --once
	jq -es 'length == 2' <<<"$output"
	to_full() { top --once >/dev/full; }
	run -1 to_full
	to_head() { set -o pipefail && top -d 100ms -n 50 | head -n 1; }
	run -0 to_head
}

# What a script(1) of this test has shown begins with the other screen.
is_drawn() { eventually grep -qsF $'\033[?1049h' "$BATS_TEST_TMPDIR/tty"; }

# shellcheck disable=SC2016 # expanded by the shell in the terminal
@test "top on a terminal draws within its window and restores it, by q, by a signal and at its end" {
	local how
	# script(1) gives it a terminal; what was on that is in the file
	for how in 'printf q' 'kill -TERM $pid' 'kill -HUP $pid' 'kill -INT $pid' true; do
		rounds='' && [[ $how != true ]] || rounds='-n 2'
		rm -f "$BATS_TEST_TMPDIR/tty"
		cat >"$BATS_TEST_TMPDIR/run" <<-END
			stty rows 3 cols 30
			before=\$(stty -g)
			sh -c 'echo \$\$ >"$BATS_TEST_TMPDIR/pid"; exec mvm-instance top $rounds -d 200ms'
			echo "status \$?"
			[ "\$before" = "\$(stty -g)" ] && echo restored
		END
		(
			is_drawn >&2
			pid=$(<"$BATS_TEST_TMPDIR/pid")
			eval "$how"
			eventually grep -qs status "$BATS_TEST_TMPDIR/tty" >&2
			sleep 0.5
		) | within timeout 120 script -qec "sh $BATS_TEST_TMPDIR/run" /dev/null >"$BATS_TEST_TMPDIR/tty"
		cat -v "$BATS_TEST_TMPDIR/tty"
		grep -q restored "$BATS_TEST_TMPDIR/tty"
		grep -qF $'\033[?1049h' "$BATS_TEST_TMPDIR/tty"
		[[ $(tr -d '\r' <"$BATS_TEST_TMPDIR/tty") == *$'\033[?1049l'*status* ]]
		# A window of 3 lines holds no instance, and no line is longer than 30.
		run ! grep -aF i-0000000a "$BATS_TEST_TMPDIR/tty"
		case $how in
		*TERM*) grep -q 'status 143' "$BATS_TEST_TMPDIR/tty" ;;
		*HUP*) grep -q 'status 129' "$BATS_TEST_TMPDIR/tty" ;;
		*) grep -q 'status 0' "$BATS_TEST_TMPDIR/tty" ;;
		esac
	done
}

@test "top draws anew when its window grows, without another sample" {
	cat >"$BATS_TEST_TMPDIR/run" <<-'END'
		stty rows 3 cols 30
		(until [ -e "$0.grow" ]; do sleep 0.1; done; stty rows 20 cols 100 </dev/tty) &
		mvm-instance top -d 1h
		echo "status $?"
	END
	(
		is_drawn >&2
		: >"$BATS_TEST_TMPDIR/run.grow"
		eventually grep -qsF 'instances  CPU' "$BATS_TEST_TMPDIR/tty" >&2
		printf q
		eventually grep -qs status "$BATS_TEST_TMPDIR/tty" >&2
		sleep 0.5
	) |
		within timeout 120 script -qec "sh $BATS_TEST_TMPDIR/run" /dev/null >"$BATS_TEST_TMPDIR/tty"
	cat -v "$BATS_TEST_TMPDIR/tty"
	grep -q 'status 0' "$BATS_TEST_TMPDIR/tty"
	grep -qaF "$a  created" "$BATS_TEST_TMPDIR/tty"
	# The first table had no room for it.
	[[ $(grep -cF 'instances  CPU' "$BATS_TEST_TMPDIR/tty") == 1 ]]
}
