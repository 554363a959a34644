#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2317,SC2030,SC2031

setup() {
	load helper
	fresh_state
	unset CREDENTIALS_DIRECTORY
	mvm-tenant create acme >/dev/null
	dir=$MVM_STATE_DIR/tenants/acme
	canary=CANARY-$RANDOM$RANDOM$RANDOM
}

secret() { # NAME VALUE [OPTION...]: through standard input
	local name=$1 value=$2
	shift 2
	printf %s "$value" | mvm-secrets set acme "$name=-" "$@"
}

epoch() { mvm-tenant info acme | jq .secrets_epoch; }
sealed() { find "$dir/secrets" -type f -printf '%f\n' | sort -n | xargs; }

# What must not be anywhere below.
nowhere() { # TEXT PATH...
	! grep -rqaF -D skip -e "$@"
}

@test "secrets come from files and from standard input, and are listed without their values" {
	printf 'line\n' >"$BATS_TEST_TMPDIR/key"
	set_two() { printf %s "$canary" | mvm-secrets set acme db=- "tls.key=@$BATS_TEST_TMPDIR/key"; }
	run -0 set_two
	[ "$(out '[.secrets_epoch, .secrets, .changed] | map(tostring) | join(" ")')" = "1 2 true" ]
	[ "$(epoch)" = 1 ]
	run -0 mvm-secrets list acme
	[ "$(out 'map(.name + ":" + (.bytes | tostring)) | join(" ")')" = "db:${#canary} tls.key:5" ]
	[ "$(command jq -r '.[0] | keys_unsorted | join(",")' <<<"$output")" = schema_version,tenant_id,name,bytes,changed_at,secrets_epoch ]
	[[ $output != *"$canary"* ]]
	run -0 mvm-secrets list acme -o table
	[[ $output == *tls.key* && $output != *"$canary"* ]]
}

@test "a value is never taken from the command line, and a wrong word is not repeated" {
	for word in "db=$canary" "$canary" "=$canary" "db=" "db=@" "$(printf 'a%.0s' {1..65})=$canary" "a/b=@$canary"; do
		refuses_untouched 2 mvm-secrets set acme "$word"
		[[ $stderr != *"$canary"* ]]
		MVM_ERRORS=json refuses_untouched 2 mvm-secrets set acme "$word"
		[[ $stderr != *"$canary"* ]]
	done
	refuses_untouched 2 mvm-secrets set acme
	refuses_untouched 2 mvm-secrets set acme a=- b=-
	refuses_untouched 2 mvm-secrets set acme a=@/etc/hostname a=@/etc/hostname
	[ "$(sealed)" = "" ]
}

@test "the plain text is in no file, no log, no argument and no environment" {
	secret db "$canary" >"$BATS_TEST_TMPDIR/out" 2>&1
	mvm-secrets rotate acme >>"$BATS_TEST_TMPDIR/out" 2>&1
	mvm-secrets list acme >>"$BATS_TEST_TMPDIR/out" 2>&1
	nowhere "$canary" "$MVM_STATE_DIR" "$BATS_TEST_TMPDIR/out"
	[ ! -e "$MVM_RUN_DIR/secrets" ]
	[ "$(cat "$dir"/secrets/*.sealed | grep -caF db)" = 0 ]
}

@test "while it reads a secret the tool can have no core and keeps it in locked memory" {
	coproc SETTER { mvm-secrets set acme db=- 3>&- || true; }
	pid=$SETTER_PID to=${SETTER[1]}
	printf %s "$canary" >&"$to"
	# by its parent: files that run beside this one start the same program
	has_locked() {
		child=$(pgrep -P "$pid" -x mvm-secrets) &&
			(($(awk '/^VmLck/ { print $2 }' "/proc/$child/status") > 0))
	}
	eventually has_locked
	[ "$(awk '/^Max core file size/ { print $5, $6 }' "/proc/$child/limits")" = "0 0" ]
	run -1 grep -qaF "$canary" "/proc/$child/cmdline" "/proc/$child/environ"
	exec {to}>&-
	wait "$pid"
	[ "$(epoch)" = 1 ]
}

@test "each change is an epoch of its own, equal ones are none, and two former ones are kept" {
	secret a one
	secret a one
	[ "$(epoch)" = 1 ]
	secret a two
	secret b three
	run -0 mvm-secrets rotate acme
	[ "$(out '[.secrets_epoch, .changed] | map(tostring) | join(" ")')" = "4 true" ]
	[ "$(sealed)" = "2.sealed 3.sealed 4.sealed" ]
	run -0 mvm-secrets rm acme b nothing
	[ "$(out .secrets)" = 1 ]
	run -0 mvm-secrets rm acme b
	[ "$(jq .changed <<<"$output")" = false ]
	[ "$(epoch)" = 5 ]
	[ "$(sealed)" = "3.sealed 4.sealed 5.sealed" ]
	[ "$(stat -c '%a %u' "$dir"/secrets/5.sealed "$dir/secrets" | xargs)" = "600 0 700 0" ]
}

@test "a rotation seals the same secrets under another key" {
	secret a one
	cp "$dir/secrets/1.sealed" "$BATS_TEST_TMPDIR/before"
	mvm-secrets rotate acme
	run -1 cmp -s -i 24:24 "$BATS_TEST_TMPDIR/before" "$dir/secrets/2.sealed"
	run -0 mvm-secrets list acme
	[ "$(out 'map(.name) | join(" ")')" = a ]
}

@test "--dry-run changes nothing" {
	secret a one
	before=$(digest)
	run -0 secret a two --dry-run
	[ "$(out '.dry_run and .changed')" = true ]
	run -0 mvm-secrets rotate acme --dry-run
	run -0 mvm-secrets rm acme a --dry-run
	[ "$(out '.changed and .secrets == 0')" = true ]
	[ "$(digest)" = "$before" ]
}

@test "the node's key is made once, 0400, and nobody else's or an open one is refused with 7" {
	secret a one
	key=$MVM_STATE_DIR/secrets.key
	[ "$(stat -c '%a %u %s' "$key")" = "400 0 32" ]
	for damage in "chmod 440 $key" "chmod 600 $key" "chown 1:0 $key" "ln $key $key.2" "mv $key $key.2"; do
		cp -p "$key" "$BATS_TEST_TMPDIR/key"
		eval "$damage"
		refuses_untouched 7 mvm-secrets list acme
		[[ $stderr == *secrets.key* && $stderr != *"Permission denied"* ]]
		refuses_untouched 7 mvm-secrets rotate acme
		rm -f "$key" "$key.2"
		cp -p "$BATS_TEST_TMPDIR/key" "$key"
		run -0 mvm-secrets list acme
	done
}

@test "another key is 7 and says so; a file that was changed is damaged, 1" {
	secret a one
	key=$MVM_STATE_DIR/secrets.key
	cp -p "$key" "$BATS_TEST_TMPDIR/key"
	rm "$key"
	head -c 32 /dev/urandom >"$key"
	chmod 400 "$key"
	refuses_untouched 7 mvm-secrets list acme
	[[ $stderr == *"sealed with another key"* ]]
	refuses_untouched 7 secret a two
	chmod 600 "$key"
	truncate -s 31 "$key"
	chmod 400 "$key"
	refuses_untouched 1 mvm-secrets list acme
	rm "$key"
	cp -p "$BATS_TEST_TMPDIR/key" "$key"
	file=$dir/secrets/1.sealed
	cp "$file" "$BATS_TEST_TMPDIR/good"
	for damage in 'truncate -s -1' 'truncate -s 0' 'truncate -s +1' 'sed -i s/MVMSEAL1/MVMSEAL2/' 'rm'; do
		$damage "$file"
		MVM_ERRORS=json refuses_untouched 1 mvm-secrets list acme
		[ "$(jq -r .code <<<"$stderr")" = damaged ]
		refuses_untouched 1 secret a two
		cp "$BATS_TEST_TMPDIR/good" "$file"
	done
	run -0 mvm-secrets list acme
}

@test "a sealed file opens only where it was made" {
	secret a one
	mvm-tenant create zeta >/dev/null
	printf x | mvm-secrets set zeta a=-
	cp "$dir/secrets/1.sealed" "$MVM_STATE_DIR/tenants/zeta/secrets/1.sealed"
	refuses_untouched 1 mvm-secrets list zeta
	[[ $stderr == *"is not what was sealed here"* ]]
	secret a two
	cp "$dir/secrets/1.sealed" "$dir/secrets/2.sealed"
	refuses_untouched 1 mvm-secrets list acme
	[[ $stderr == *"another epoch"* ]]
}

@test "a sealed file of another node is refused even with its key" {
	secret a one
	cp "$MVM_STATE_DIR/node-id" "$BATS_TEST_TMPDIR/node-id"
	tr 0-9 1-90 <"$BATS_TEST_TMPDIR/node-id" >"$MVM_STATE_DIR/node-id"
	refuses_untouched 1 mvm-secrets list acme
	[[ $stderr == *"is not what was sealed here"* ]]
	cp "$BATS_TEST_TMPDIR/node-id" "$MVM_STATE_DIR/node-id"
	run -0 mvm-secrets list acme
}

@test "each altered part of a sealed file is refused by name" {
	secret a "$canary"
	file=$dir/secrets/1.sealed
	cp "$file" "$BATS_TEST_TMPDIR/good"
	size=$(stat -c %s "$file")
	# byte of the file, what is said: magic, key id, epoch, wrap nonce, wrapped key, its tag, nonce, length, text, tag
	while read -r at says; do
		cp "$BATS_TEST_TMPDIR/good" "$file"
		byte=$(od -An -tu1 -j "$at" -N 1 "$file")
		printf %b "\\x$(printf %02x $((byte ^ 1)))" | dd of="$file" bs=1 seek="$at" conv=notrunc status=none
		echo "byte $at: $says" >&2
		refuses_untouched "$([[ $says == *"another key"* ]] && echo 7 || echo 1)" mvm-secrets list acme
		[[ $stderr == *"1.sealed"*"$says"* && $stderr != *"$canary"* ]]
	done <<-END
		0 not a sealed file
		8 sealed with another key
		16 of another epoch
		24 is not what was sealed here
		36 is not what was sealed here
		68 is not what was sealed here
		84 is not what was sealed here
		96 cut short, or too long
		100 is not what was sealed here
		$((size - 1)) is not what was sealed here
	END
	for cut in 1 $((size - 60)) $((size - 1)); do
		cp "$BATS_TEST_TMPDIR/good" "$file"
		truncate -s "-$cut" "$file"
		refuses_untouched 1 mvm-secrets list acme
		[[ $stderr == *"cut short"* || $stderr == *"not the size of a sealed file"* ]]
	done
	# nor are old generations taken under a new name, or put back
	cp "$BATS_TEST_TMPDIR/good" "$file"
	secret a two
	cp "$BATS_TEST_TMPDIR/good" "$dir/secrets/2.sealed"
	refuses_untouched 1 mvm-secrets list acme
	[[ $stderr == *"of another epoch"* ]]
}

@test "the key may be a credential of systemd's" {
	export CREDENTIALS_DIRECTORY=$BATS_TEST_TMPDIR/cred
	mkdir "$CREDENTIALS_DIRECTORY"
	head -c 32 /dev/urandom >"$CREDENTIALS_DIRECTORY/mvm-key"
	chmod 400 "$CREDENTIALS_DIRECTORY/mvm-key"
	secret a one
	[ ! -e "$MVM_STATE_DIR/secrets.key" ]
	run -0 mvm-secrets list acme
	CREDENTIALS_DIRECTORY='' refuses_untouched 7 mvm-secrets list acme
	[[ $stderr == *"secrets.key is missing"* ]]
	chmod 444 "$CREDENTIALS_DIRECTORY/mvm-key"
	refuses_untouched 7 mvm-secrets list acme
}

@test "what is too much is refused and changes nothing" {
	head -c 65536 /dev/urandom >"$BATS_TEST_TMPDIR/most"
	head -c 65537 /dev/urandom >"$BATS_TEST_TMPDIR/more"
	refuses_untouched 2 mvm-secrets set acme "a=@$BATS_TEST_TMPDIR/more"
	run -0 mvm-secrets set acme "a=@$BATS_TEST_TMPDIR/most"
	mapfile -t words < <(for i in {1..64}; do echo "n$i=@/etc/hostname"; done)
	refuses_untouched 6 mvm-secrets set acme "${words[@]}"
	[[ $stderr == *"more than 64 secrets"* ]]
	mvm-pool create acme/tiny --flake /f --profile minimal --cpus 1 --mem 128 --secrets-disk 1
	mapfile -t words < <(for i in {1..20}; do echo "n$i=@$BATS_TEST_TMPDIR/most"; done)
	refuses_untouched 6 mvm-secrets set acme "${words[@]}"
	[[ $stderr == *"pool acme/tiny"* ]]
	mvm-pool destroy --force acme/tiny
	run -0 mvm-secrets set acme "${words[@]}"
}

@test "a file that is none, is missing, or is no secret's place is refused" {
	refuses_untouched 4 mvm-secrets set acme a=@/nonexistent
	refuses_untouched 1 mvm-secrets set acme "a=@$BATS_TEST_TMPDIR"
	refuses_untouched 4 mvm-secrets list nobody
	refuses_untouched 2 mvm-secrets list a/b
	refuses_untouched 2 mvm-secrets rm acme a/b
	for verb in list rotate; do
		refuses_untouched 2 mvm-secrets "$verb"
	done
}

@test "8: a held lock is waited for and then named" {
	secret a one
	hold_lock "$dir/lock"
	refuses_untouched 8 mvm-secrets rotate acme --lock-timeout 50ms
	release_lock
}

@test "a crash or a full disk at any step leaves the former secrets or the new ones" {
	secret a one
	for point in replace-open replace-write replace-fsync replace-rename replace-dirsync secrets-sealed store-save secrets-saved; do
		for how in kill err=ENOSPC; do
			before=$(epoch)
			MVM_FAULT=$point:$how run mvm-secrets rotate acme
			[ "$status" != 0 ]
			run -0 mvm-secrets list acme
			[ "$(out 'map(.name) | join(" ")')" = a ]
			after=$(epoch)
			((after == before || after == before + 1))
			run -0 mvm-secrets rotate acme
			[ "$(find "$dir/secrets" -name '*.sealed' | wc -l)" -le 3 ]
		done
	done
	empty_of_drafts() { [ -z "$(find "$dir/secrets" -name '.*' -type f)" ]; }
	empty_of_drafts
}

@test "the first secret of a node, killed while its key is made, is simply set again" {
	for point in seal-key replace-rename; do
		MVM_FAULT=$point:kill run secret a one
		[ ! -e "$MVM_STATE_DIR/secrets.key" ]
	done
	secret a one
	run -0 mvm-secrets list acme
}

@test "many at once lose none and make one key" {
	for i in {1..12}; do
		secret "n$i" "$i" >/dev/null &
	done
	wait
	run -0 mvm-secrets list acme
	[ "$(out length)" = 12 ]
	[ "$(epoch)" = 12 ]
}

@test "a destroyed tenant's secrets are gone" {
	secret a one
	mvm-tenant destroy --yes acme
	[ -z "$(find "$MVM_STATE_DIR" -name '*.sealed')" ]
}

@test "configuration: JSON values in versions, kept twenty deep" {
	run -0 mvm-config set acme 'stage="prod"' n=4 'list=[1,{"a":null}]'
	[ "$(out '[.config_version, .changed, .values.stage] | map(tostring) | join(" ")')" = "2 true prod" ]
	run -0 mvm-config set acme n=4
	[ "$(jq -c '[.config_version, .changed]' <<<"$output")" = '[2,false]' ]
	run -0 mvm-config get acme
	[ "$(out '.values | [.stage, .n, (.list | tojson)] | map(tostring) | join(" ")')" = 'prod 4 [1,{"a":null}]' ]
	run -0 mvm-config get acme --key n
	[ "$output" = 4 ]
	run -0 mvm-config set acme n=null gone=null
	run -0 mvm-config get acme --version 2 --key n
	[ "$output" = 4 ]
	refuses 4 mvm-config get acme --key n
	for i in {1..25}; do mvm-config set acme "n=$i" >/dev/null; done
	run -0 mvm-config history acme
	[ "$(out '[length, .[0].config_version, .[19].config_version] | map(tostring) | join(" ")')" = "20 28 9" ]
	refuses 4 mvm-config get acme --version 8
	[ "$(find "$dir/config" -type f | wc -l)" = 20 ]
	[ "$(mvm-tenant info acme | jq .config_version)" = 28 ]
}

@test "configuration from standard input is one object" {
	set_from() { printf %s "$1" | mvm-config set acme; }
	run -0 set_from '{"a":1,"b":{"c":[true]}}'
	[ "$(out '.values.b.c[0]')" = true ]
	for bad in '' '[]' '{"a":1,"a":2}' '{"a b":1}' '{} {}' '{"a":01}' 1; do
		refuses_untouched 2 set_from "$bad"
	done
	run -0 mvm-config get acme
	[ "$(out '.values.a')" = 1 ]
}

@test "configuration that is wrong or too much is refused and changes nothing" {
	mvm-config set acme a=1 >/dev/null
	refuses_untouched 2 mvm-config set acme a
	refuses_untouched 2 mvm-config set acme a=b
	[[ $stderr == *"needs its quotes"* ]]
	refuses_untouched 2 mvm-config set acme 'a b=1' b=2
	refuses_untouched 2 mvm-config set acme b=2 ../x=1
	mapfile -t words < <(for i in {1..256}; do echo "n$i=1"; done)
	refuses_untouched 6 mvm-config set acme "${words[@]}"
	big=$(printf 'x%.0s' {1..40000})
	refuses_untouched 6 mvm-config set acme "b=\"$big\"" "c=\"$big\""
	refuses_untouched 4 mvm-config get nobody
	refuses_untouched 2 mvm-config get acme --version 0
	before=$(digest)
	run -0 mvm-config set acme a=2 --dry-run
	[ "$(out '.dry_run and .changed and .values.a == 2')" = true ]
	[ "$(digest)" = "$before" ]
	printf '{"schema_version":1' >"$dir/config/2.json"
	refuses_untouched 1 mvm-config get acme
	refuses_untouched 1 mvm-config set acme a=3
	rm "$dir/config/2.json"
	refuses_untouched 1 mvm-config get acme
	[[ $stderr == *damaged* ]]
}

@test "a crash while configuration is set leaves the former or the new" {
	mvm-config set acme a=1 >/dev/null
	for point in replace-write replace-rename config-written store-save; do
		for how in kill err=ENOSPC; do
			MVM_FAULT=$point:$how run mvm-config set acme a=2
			[ "$status" != 0 ]
			run -0 mvm-config get acme --key a
			[ "$output" = 1 ]
		done
	done
	run -0 mvm-config set acme a=2
}

@test "each change is noted in the audit log, without a value and without a name" {
	secret db "$canary"
	secret db "$canary"
	mvm-config set acme "stage=\"$canary\"" >/dev/null
	[ "$(jq -rs 'map(select(.action != "TenantCreated") | .action + " " + .detail) | join(", ")' "$dir/audit.log")" = \
		"SecretsRotated epoch 1, 1 secrets, ConfigChanged version 2" ]
	nowhere "$canary" "$dir/audit.log"
}

@test "mvm tenant secrets and mvm tenant config are these tools" {
	run -0 mvm tenant secrets list acme --json
	[ "$output" = "[]" ]
	run -0 mvm tenant config set acme a=1 --json
	run -0 mvm tenant config get acme --key a --json
	[ "$output" = 1 ]
	refuses_untouched 2 mvm tenant secrets set acme "db=$canary"
	[[ $stderr != *"$canary"* ]]
	refuses_untouched 2 mvm tenant secrets set acme
	refuses_untouched 2 mvm tenant secrets rm acme
	refuses_untouched 2 mvm tenant secrets rotate
	refuses_untouched 4 mvm tenant secrets rotate nobody
	refuses_untouched 2 mvm tenant secrets list ../acme
	refuses_untouched 2 mvm tenant config set acme a=b
	refuses_untouched 2 mvm tenant config get acme --version x
	refuses_untouched 4 mvm tenant config get acme --version 99
	refuses_untouched 4 mvm tenant config history nobody
	run -0 mvm help tenant secrets
	[[ $output == "Usage: mvm-secrets"* ]]
	run -0 mvm tenant secrets --help
	[[ $output == "Usage: mvm-secrets"* ]]
	for tool in mvm-secrets mvm-config; do
		to_full() { "$tool" "$@" acme >/dev/full; }
		run -1 to_full "$([[ $tool == mvm-secrets ]] && echo list || echo history)"
	done
}
