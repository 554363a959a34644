# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2154
# What instances use, measured on real guests: what a guest did shows, and who does not answer, or
# lies, costs nobody more than a moment.

load e2e

setup_file() {
	e2e_setup_file
	new_pool acme/store 128 --data-disk 64
	VM=$(new_instance acme/store)
	up "$VM"
	export VM
}

teardown_file() {
	e2e_teardown_file
}

teardown() {
	no_strays
}

stat_of() { # ADDRESS JQ-EXPRESSION
	mvm-instance stats "$1" | jq -r "$2"
}

agent_is() { # ADDRESS STATE
	[[ $(stat_of "$1" .agent) == "$2" ]]
}

jail_run() {
	echo "${MVM_STATE_DIR:-/var/lib/mvm}/jails/$(field "$1" .vmm)/${1##*/}/root/run"
}

@test "what a guest writes, reads, sends and receives shows at least" {
	mvm-instance stats "$VM" >"$BATS_TEST_TMPDIR/before"
	guest "$VM" 'head -c 8388608 /dev/urandom >/data/f && sync'
	guest "$VM" 'ping -c 5 -s 1400 10.240.7.1'
	[[ $(guest "$VM" 'head -c 1000000 /dev/zero' | wc -c) == 1000000 ]]
	mvm-instance stats "$VM" >"$BATS_TEST_TMPDIR/after"
	cat "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/after"
	jq -es 'def drive($id): .drives[] | select(.drive_id == $id);
		.[0] as $was | .[1] as $is |
		($is | drive("data").write_bytes) - ($was | drive("data").write_bytes) >= 8388608 and
		($is | drive("data").flush_ops) > ($was | drive("data").flush_ops) and
		($was | drive("rootfs").read_bytes) > 100000 and ($is | drive("rootfs").write_bytes) == 0 and
		$is.block_write_bytes >= ($is | drive("data").write_bytes) and
		$is.net_tx_bytes - $was.net_tx_bytes >= 7000 and $is.net_rx_bytes - $was.net_rx_bytes >= 7000 and
		$is.net_tx_packets - $was.net_tx_packets >= 5 and $is.net_rx_drops >= 0 and
		$is.vsock_tx_bytes - $was.vsock_tx_bytes >= 1000000 and $is.vsock_connections > $was.vsock_connections and
		$is.cpu_usec > $was.cpu_usec and $is.uptime_s > $was.uptime_s and $is.cpu_pct > 0 and
		$is.memory_bytes > 30000000 and $is.metrics_lost == 0' "$BATS_TEST_TMPDIR"/{before,after}
}

@test "what the guest says of itself is there, with its age" {
	guest "$VM" 'echo busy >/run/mvm/worker-status'
	wait_until 10 eval '[[ $(stat_of "$VM" .worker) == busy ]]'
	run -0 --separate-stderr mvm-instance stats "$VM"
	jq -e '.agent == "ready" and .worker_age_ms >= 0 and .guest_mem_total_mib > 60 and
		.guest_mem_available_mib > 0 and .guest_load_1m >= 0' <<<"$output"
}

@test "the console is the log's console, its end and as it grows" {
	guest "$VM" 'for i in 1 2 3 4; do echo "MARK-$i" >/dev/console; done'
	wait_until 10 eval 'mvm-guest console "$VM" | grep -q MARK-4'
	mvm-guest console "$VM" >"$BATS_TEST_TMPDIR/console"
	mvm-guest logs --source console "$VM" | cmp - "$BATS_TEST_TMPDIR/console"
	[[ $(mvm-guest console -n 3 "$VM") == "$(tail -n 3 "$BATS_TEST_TMPDIR/console")" ]]
	mvm-guest console -f -n 1 "$VM" >"$BATS_TEST_TMPDIR/grows" &
	guest "$VM" 'echo MARK-7 >/dev/console'
	wait_until 10 grep -q MARK-7 "$BATS_TEST_TMPDIR/grows"
	kill %1
}

@test "what a VMM puts in the place of its figures, and what it writes there, is held off" {
	local run
	run=$(jail_run "$VM")
	# Half a line and then the next, as of a pipe that was full.
	printf '{"utc_timestamp_ms":1,"block_data":{"read_by' >>"$run/metrics"
	run -0 --separate-stderr mvm-instance stats "$VM"
	jq -e '.metrics_lost > 0 and .block_write_bytes > 8388607' <<<"$output"
	# More than is taken at once, and figures that nobody believes.
	yes '{"vsock":{"tx_bytes_count":9007199254740991}}' >>"$run/metrics" 3>&- &
	yes=$!
	pipe_is_full() { [[ $(ps -o comm=,stat= -p "$yes") == yes*S* ]]; }
	wait_until 10 pipe_is_full
	run -0 --separate-stderr timeout 120 mvm-instance stats "$VM"
	[[ $(jq .vsock_tx_bytes <<<"$output") == 9007199254740991 ]]
	kill "$yes"
	wait "$yes" || true
	mv "$run/metrics" "$run/aside"
	for place in 'ln -s /etc/passwd' 'mkdir' 'truncate -s 1T' 'mkfifo'; do
		$place "$run/metrics"
		run -0 --separate-stderr timeout 120 mvm-instance stats "$VM"
		jq -e '.block_read_bytes == null and .agent == "ready" and .cpu_usec > 0' <<<"$output"
		rm -rf "$run/metrics"
	done
	mv "$run/aside" "$run/metrics"
	run -0 --separate-stderr mvm-instance stats "$VM"
	jq -e '.block_read_bytes > 0' <<<"$output"
}

@test "the busy one of two guests is first in top" {
	other=$(new_instance)
	up "$other"
	mvm-guest exec -d --session burn "$other" -- sh -c 'while :; do :; done'
	run -0 --separate-stderr mvm-instance top acme -n 2 -d 2s -o json
	printf '%s\n' "$output"
	jq -es --arg busy "$other" --arg idle "$VM" '.[2].instance_path == $busy and .[3].instance_path == $idle and
		.[2].cpu_pct > 5 and .[2].cpu_pct > 2 * .[3].cpu_pct and .[3].block_write_bytes_s >= 0' <<<"$output"
	mvm-guest exec -d --session write "$VM" -- sh -c 'while :; do head -c 1000000 /dev/urandom >/data/g; sync; done'
	written=$(stat_of "$VM" .block_write_bytes)
	has_written() { (($(stat_of "$VM" .block_write_bytes) > written + 2000000)); }
	wait_until 20 has_written
	run -0 --separate-stderr mvm-instance top acme --sort io -n 2 -d 5s -o json
	printf '%s\n' "$output"
	jq -es --arg idle "$VM" '.[2].instance_path == $idle and .[2].block_write_bytes_s > 1000' <<<"$output"
	mvm-instance destroy --yes "$other"
}

@test "a VMM that is stopped does not answer, answers when it goes on, and is gone when it is killed" {
	pid=$(vmm_pid "$VM")
	agent_is "$VM" ready
	kill -STOP "$pid"
	SECONDS=0
	run -0 --separate-stderr mvm-instance stats "$VM"
	((SECONDS < 40 * ${MVM_TEST_SLOW:-1}))
	jq -e '.agent == "not-answering" and .cpu_usec > 0 and .block_write_bytes > 0 and .guest_load_1m == null' <<<"$output"
	kill -CONT "$pid"
	wait_until 20 agent_is "$VM" ready
	kill -9 "$pid"
	wait_until 5 is_status "$VM" stopped
	run -0 --separate-stderr mvm-instance stats "$VM"
	jq -e '.agent == "unknown" and .pid == null and .cpu_usec == null and .block_write_bytes == null and
		.last_exit == "killed"' <<<"$output"
}

@test "a new run counts from nothing" {
	up "$VM"
	run -0 --separate-stderr mvm-instance stats "$VM"
	printf '%s\n' "$output"
	jq -e '.net_tx_bytes < 7000 and .block_write_bytes < 8388608 and .metrics_lost == 0 and
		.vsock_tx_bytes < 1000000 and .uptime_s < 600' <<<"$output"
	mvm-instance destroy --yes "$VM"
}
