#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2086,SC2154,SC2317,SC2030,SC2031
# The wrapper, with the real tools of the state and a log in place of those that touch the kernel.

setup() {
	load helper
	fresh_state
	fake=$BATS_TEST_TMPDIR/node/bin log=$BATS_TEST_TMPDIR/log
	mkdir -p "$fake" "$BATS_TEST_TMPDIR/node/lib/mvm"
	cp "$BATS_TEST_DIRNAME/../../sh/mvm" "$fake"
	cp "$BATS_TEST_DIRNAME/../../sh/completions" "$BATS_TEST_TMPDIR/node/lib/mvm"
	for tool in mvm-tenant mvm-pool mvm-fmt; do
		ln "$MVM_BIN/$tool" "$fake" 2>/dev/null || cp "$MVM_BIN/$tool" "$fake"
	done
	for tool in mvm-bridge mvm-instance mvm-guest mvm-audit mvm-quicd mvm-certs mvm-quic mvm-coordinator mvm-reconcile mvm-pool-build mvm-hello mvm-dev mvm-node; do
		printf '#!/bin/sh\necho "%s${*:+ $*}" >>"%s"\nexit "${FAKE_STATUS-0}"\n' "$tool" "$log" >"$fake/$tool"
		chmod +x "$fake/$tool"
	done
	: >"$log"
	PATH=$fake:$PATH
}

@test "each noun and verb finds its tool" {
	while read -r words; do
		want=${words#*= }
		: >"$log"
		mvm ${words%% =*}
		printf '%s -> %s, wanted %s\n' "$words" "$(cat "$log")" "$want" >&2
		[ "$(cat "$log")" = "$want" ]
	done <<'END'
net verify --json = mvm-bridge verify --json
instance start a/b/i-00000001 = mvm-instance start a/b/i-00000001
instance sleep x = mvm-instance sleep x
instance exec x -- ls -l = mvm-guest exec x -- ls -l
instance ssh x = mvm-guest ssh x
instance attach x s = mvm-guest attach x s
instance sessions x = mvm-guest sessions x
instance cp x:/a . = mvm-guest cp x:/a .
instance logs -f x = mvm-guest logs -f x
events acme --last 5 = mvm-audit events acme --last 5
audit verify acme = mvm-audit verify acme
agent serve --listen 0.0.0.0:1 = mvm-quicd --listen 0.0.0.0:1
agent certs init --ca x = mvm-certs init --ca x
agent reconcile --desired f = mvm-reconcile reconcile --desired f
agent desired --file f = mvm-reconcile desired --file f
coordinator start --db x = mvm-coordinator --db x
coordinator push --node n = mvm-quic push --node n
coordinator list-instances = mvm-quic list-instances
pool build a/b = mvm-pool-build build a/b
pool gc a/b = mvm-pool-build gc a/b
node disk = mvm-node disk
dev = mvm-dev
status = mvm-dev status
hello world = mvm-hello world
END
}

@test "a person gets a table, --json and -o work anywhere before --" {
	mvm-tenant create acme
	run -0 mvm tenant list
	[[ ${lines[0]} == "TENANT "* ]]
	for line in "tenant list --json" "--json tenant list" "tenant --json list" "-o json tenant list" "--output=json tenant list" "-ojson tenant list"; do
		run -0 mvm $line
		[ "$(out '.[0].tenant_id')" = acme ]
	done
	run -0 mvm tenant info acme -o name
	[ "$output" = acme ]
	MVM_OUTPUT=json run -0 mvm tenant list
	[ "$(out length)" = 1 ]
}

@test "tenant create makes the network too, and its failure is the status" {
	run -0 mvm tenant create acme --net-id 99 --subnet 10.240.99.0/24 --max-vcpus 4 --json
	[ "$(out .net.bridge_name)" = br-tenant-99 ]
	[ "$(cat "$log")" = "mvm-bridge ensure --json acme" ]
	FAKE_STATUS=8 run -8 mvm tenant create zeta
	[ -z "$output" ]
	[ -e "$MVM_STATE_DIR/tenants/zeta" ] # repeating repairs
	run -0 mvm tenant create zeta -o name
	[ "$output" = zeta ]
	: >"$log"
	run -5 mvm tenant create acme --net-id 7
	run -0 mvm tenant create other --dry-run
	run -0 mvm tenant create --help
	[ ! -s "$log" ]
}

@test "tenant update brings the network up to date too, and its failure is the status" {
	mvm-tenant create acme
	run -0 mvm tenant update --deny-log on acme --max-vcpus 3 --json
	[ "$(out '.changed and .net.deny_log')" = true ]
	[ "$(cat "$log")" = "mvm-bridge ensure --json acme" ]
	: >"$log"
	FAKE_STATUS=8 run -8 mvm tenant update acme --deny-log off
	[ -z "$output" ]
	run -0 mvm tenant update acme --deny-log=off --json # repeating repairs
	[ "$(jq .changed <<<"$output")" = false ]
	[ "$(cat "$log")" = $'mvm-bridge ensure --json acme\nmvm-bridge ensure --json acme' ]
	: >"$log"
	run -4 mvm tenant update other --deny-log on
	run -2 mvm tenant update acme --deny-log maybe
	run -0 mvm tenant update acme --max-vcpus 9 --dry-run
	run -0 mvm tenant update --help
	[ ! -s "$log" ]
	run -0 mvm tenant create --deny-log zeta -o name
	[ "$(cat "$log")" = "mvm-bridge ensure --json zeta" ]
}

@test "pool update puts the policy in force too, and its failure is the status" {
	mvm-tenant create acme
	mvm-pool create acme/web --flake /f --profile minimal --cpus 1 --mem 128
	while read -r words; do
		: >"$log"
		run -0 mvm pool update $words --json
		[ "$(out .pool_id)" = web ]
		[ "$(cat "$log")" = "mvm-bridge policy --json acme/web" ]
	done <<'END'
acme/web
--egress none acme/web
--allow 192.0.2.0/24:443/tcp --allow=10.0.0.0/8 acme/web
--ingress-kbit 64 --egress-kbit 64 acme/web
--metadata on --pinned off --critical off acme/web
--start-timeout 5s --drain-timeout 5s acme/web
--lock-timeout 1s acme/web --egress=open
END
	run -0 mvm pool update acme/web --egress none
	[[ ${lines[0]} == "pool_id "*web ]]
	[ "$(mvm-pool info acme/web | jq -r .egress)" = none ]
	FAKE_STATUS=3 run -3 mvm pool update acme/web --egress open
	[ -z "$output" ]
	[ "$(mvm-pool info acme/web | jq -r .egress)" = open ] # repeating repairs
	: >"$log"
	run -4 mvm pool update acme/db --egress none
	run -2 mvm pool update acme/web --allow 127.0.0.1
	run -2 mvm pool update acme/web --egress-kbit 1
	run -0 mvm pool update acme/web --egress none --dry-run
	run -0 mvm pool update acme/web --help
	[ ! -s "$log" ]
	[ "$(mvm-pool info acme/web | jq -r .egress)" = open ]
}

@test "tenant destroy --force ends and removes everything, in order" {
	mvm-tenant create acme
	mvm-pool create acme/web --flake /f --profile minimal --cpus 1 --mem 128
	run -3 mvm tenant destroy acme --yes
	run -2 mvm tenant destroy acme </dev/null
	[ ! -s "$log" ]
	FAKE_STATUS=8 run -8 mvm tenant destroy acme --force
	[ -e "$MVM_STATE_DIR/tenants/acme" ]
	: >"$log"
	run -0 mvm tenant destroy --force acme
	[ "$(cat "$log")" = $'mvm-instance destroy --all --yes --json acme\nmvm-bridge destroy --json acme' ]
	[ ! -e "$MVM_STATE_DIR/tenants/acme" ]
	run -4 mvm tenant destroy --force acme
	run -0 mvm tenant destroy --force --if-exists acme
}

@test "an idle tenant loses its network before its files" {
	mvm-tenant create acme
	run -0 mvm tenant destroy acme --yes
	[ "$(cat "$log")" = "mvm-bridge destroy --json acme" ]
	[ ! -e "$MVM_STATE_DIR/tenants/acme" ]
}

@test "pool destroy --force ends what runs first" {
	mvm-tenant create acme
	mvm-pool create acme/web --flake /f --profile minimal --cpus 1 --mem 128
	run -0 mvm pool destroy acme/web --force
	[ "$(cat "$log")" = "mvm-instance destroy --all --yes --json acme/web" ]
	[ ! -e "$MVM_STATE_DIR/tenants/acme/pools/web" ]
}

@test "help and version, and 2 for what is no command" {
	run -0 mvm help
	[[ $output == "Usage: mvm NOUN VERB"* ]]
	run -0 mvm --help
	run -0 mvm help tenant
	[[ $output == "Usage: mvm-tenant "* ]]
	run -0 mvm help tenant create
	[[ $output == "Usage: mvm-tenant create "* ]]
	run -0 mvm tenant --help
	[[ $output == "Usage: mvm-tenant "* ]]
	run -0 mvm version
	[[ $output == "mvm "[0-9]* ]]
	run --separate-stderr -2 mvm
	[ -z "$output" ]
	refuses 2 mvm nonsense
	refuses 2 mvm ../../bin/sh
	refuses 2 mvm tenant nonsense
	refuses 2 mvm tenant
	MVM_ERRORS=json refuses 2 mvm 'non"sense'
	[ "$(jq -r .code <<<"$stderr")" = usage ]
}

@test "the wrapper becomes the tool: its process and its status" {
	printf '#!/bin/sh\necho $$\nexit 42\n' >"$fake/mvm-hello"
	mvm hello >"$BATS_TEST_TMPDIR/pid" &
	pid=$!
	wait $pid || [ $? = 42 ]
	[ "$(cat "$BATS_TEST_TMPDIR/pid")" = $pid ]
}

@test "completions for five shells, without privileges or state" {
	for shell in bash zsh fish powershell elvish; do
		run -0 env -i PATH=/usr/bin:/bin "$fake/mvm" completions $shell
		[[ $output == *tenant* && $output == *max-vcpus* ]]
	done
	[ ! -e "$MVM_STATE_DIR" ]
	mvm completions bash >"$BATS_TEST_TMPDIR/complete"
	run -0 bash -c 'source "$1"; COMP_WORDS=(mvm tenant cr); COMP_CWORD=2; _mvm; echo "${COMPREPLY[@]}"
		COMP_WORDS=(mvm pool scale --run); COMP_CWORD=3; _mvm; echo "${COMPREPLY[@]}"' - "$BATS_TEST_TMPDIR/complete"
	[ "$output" = $'create\n--running' ]
	run -2 mvm completions tcsh
	run -2 mvm completions
}
