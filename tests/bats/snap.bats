#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2034,SC2154,SC2317,SC2030,SC2031
# mvm-snap: captures composed, packed, verified and removed, without a VMM. They are made here by a
# second hand, from the manual's words alone.

setup() {
	load helper
	load snap
	fresh_state
	vm=acme/web/i-0000002a
	mvm-tenant create acme --net-id 7 --subnet 10.240.7.0/24 >/dev/null
	mvm-pool create acme/web --flake /f --profile minimal --cpus 1 --mem 128 >/dev/null
	mvm-instance create acme/web >/dev/null
	pool=$MVM_STATE_DIR/tenants/acme/pools/web
	local made
	made=$(find "$pool/instances" -mindepth 1 -maxdepth 1 -printf "%f\n")
	vm=acme/web/$made
	instance=$pool/instances/$made
	snapshots=$instance/snapshots
	mkdir -p "$snapshots"
	as '.status = "sleeping"'
}

as() { # JQ-ARGUMENT...: changes the record
	jq -c "$@" "$instance/instance.json" >"$BATS_TEST_TMPDIR/edited"
	cat "$BATS_TEST_TMPDIR/edited" >"$instance/instance.json"
}

two() { # gen-1, and gen-2 over it: page 3 becomes zero, 4 another, 300 new, 5 stays
	gen 1 3=7 4=7 5=7
	delta 2 gen-1 3=0 4=9 300=1
	pages "$BATS_TEST_TMPDIR/want" 4=9 5=7 300=1
}

snap() { mvm-snap "$@"; }

refs() { # of what there is, in one line
	snap list "$vm" | jq -r 'map(.ref) | join(" ")'
}

# FILE.AT for each place from the first on, STEP apart: the file with one byte changed.
flip_each() { # FILE STEP
	perl -e '
		local $/; open F, "<", $ARGV[0] or die; my $all = <F>;
		for (my $at = 0; $at < length $all; $at += $ARGV[1]) {
			my $one = $all;
			substr($one, $at, 1) = chr(ord(substr $one, $at, 1) ^ 1);
			open O, ">", "$ARGV[0].$at" and print O $one and close O or die }' "$1" "$2"
}

@test "an instance without snapshots has an empty list, and nothing to work on: 4" {
	run -0 snap list "$vm"
	[ "$output" = "[]" ]
	run -0 snap verify "$vm"
	[ "$output" = "[]" ]
	run -0 snap gc "$vm"
	[ "$output" = "[]" ]
	for verb in info compose pack unpack; do
		refuses_untouched 4 snap $verb "$vm" --compression lz4 2>/dev/null ||
			refuses_untouched 4 snap $verb "$vm"
		refuses_untouched 4 snap $verb "$vm" gen-7
	done
}

@test "2: bad addresses, references and options" {
	for verb in list info verify compose pack unpack gc; do
		refuses_untouched 2 snap $verb
		refuses_untouched 2 snap $verb acme
		refuses_untouched 2 snap $verb acme/web/../x
		refuses_untouched 4 snap $verb acme/none/i-0000002b
	done
	for verb in compose pack unpack; do
		refuses_untouched 2 snap $verb acme/web
	done
	for ref in gen-0 gen-01 ../gen-1 gen-1/ base-xyz none delta; do
		for verb in info verify compose pack unpack; do
			refuses_untouched 2 snap $verb "$vm" $ref
		done
	done
	refuses_untouched 2 snap pack "$vm" --compression gzip
	refuses_untouched 2 snap info acme/web
	refuses_untouched 2 snap base "$vm"
	refuses_untouched 2 snap load "$vm"
}

@test "compose lays a delta over its parent, zeros too, and the parent goes" {
	two
	run -0 snap verify "$vm"
	[ "$(out 'map(.ok) | all')" = true ]
	run -0 snap compose "$vm"
	[ "$(out '[.ref, .changed, .form, .composed_from, .parent_removed] | map(tostring) | join(" ")')" = "gen-2 true mem gen-1 true" ]
	[ "$(out .delta_bytes)" = 12288 ]
	cmp "$snapshots/gen-2/mem" "$BATS_TEST_TMPDIR/want"
	(($(stat -c %b "$snapshots/gen-2/mem") * 512 <= 12288))
	[ "$(find "$snapshots" -mindepth 1 -printf '%P\n' | sort | xargs)" = "delta gen-2 gen-2/lock gen-2/manifest.json gen-2/mem gen-2/vmstate" ]
	# the digest it was given is the one that the manual's words give
	[ "$(jq -r .memory.sha256 "$snapshots/gen-2/manifest.json")" = "$(pages_digest content 4=9 5=7 300=1)" ]
	run -0 snap compose "$vm"
	[ "$(out .changed)" = false ]
	run -0 snap verify "$vm"
	[ "$(out '.[0].ok')" = true ]
}

@test "a base needs an image: 3, a pool that is there: 4, a pool's address: 2" {
	refuses_untouched 2 snap base acme
	refuses_untouched 2 snap base acme/../web
	refuses_untouched 4 snap base acme/none
	refuses_untouched 4 snap base none/web
	refuses_untouched 3 snap base acme/web
	[[ $stderr == *"acme/web"* ]]
}

@test "compose over a base leaves the base" {
	base 0123456789abcdef0123456789abcdef 1=1 2=2
	local sha
	sha=$(jq -r .memory.sha256 "$pool/snapshots/base-0123456789abcdef0123456789abcdef/manifest.json")
	mkdir -p "$snapshots/gen-1"
	: >"$snapshots/gen-1/lock"
	echo state >"$snapshots/gen-1/vmstate"
	pages "$snapshots/gen-1/delta" 2=0 3=3
	manifest "$snapshots/gen-1" delta delta base-0123456789abcdef0123456789abcdef "$sha" \
		"$(pages_digest data 2=0 3=3)" "$snapshots/gen-1/delta"
	ln -s gen-1 "$snapshots/delta"
	run -0 snap gc acme/web
	[ "$(out '.[0] | [.why, .removed] | map(tostring) | join(" ")')" = "diff-base false" ]
	run -0 snap compose "$vm"
	pages "$BATS_TEST_TMPDIR/want" 1=1 3=3
	cmp "$snapshots/gen-1/mem" "$BATS_TEST_TMPDIR/want"
	run -0 snap verify acme/web
	[ "$(out '.[0].ok')" = true ]
	run -0 snap gc acme/web
	[ "$(out '.[0] | [.why, .removed] | map(tostring) | join(" ")')" = "unused true" ]
	empty "$pool/snapshots"
}

@test "compose killed, or without room, at any point: the next one ends the same" {
	two
	mv "$snapshots" "$BATS_TEST_TMPDIR/two"
	for fault in compose-create:kill pages-clone:kill compose-copied:kill compose-write:kill compose-sync:kill \
		compose-rename:kill compose-renamed:kill compose-manifest:kill replace-fsync:kill replace-rename:kill \
		replace-dirsync:kill snap-settle:kill snap-gc:kill remove-rename:kill compose-write:err=ENOSPC \
		replace-write:err=ENOSPC; do
		rm -rf "$snapshots"
		cp -al "$BATS_TEST_TMPDIR/two" "$snapshots" # nothing of it is written in place
		MVM_FAULT=$fault run snap compose "$vm"
		[ "$status" != 0 ]
		run -0 snap compose "$vm"
		cmp "$snapshots/gen-2/mem" "$BATS_TEST_TMPDIR/want"
		[ "$(refs)" = gen-2 ]
		run -0 snap verify "$vm"
	done
}

@test "where the disk is really full, compose and pack say so, and all is as it was" {
	export vm pool instance snapshots mem_mib snap_keys snap_text
	export -f pages pages_digest seal manifest gen delta
	unshare -m bash -euo pipefail -c '
		full() { # VERB...: refused for want of room, and nothing has changed
			before=$(find "$snapshots" -type f -exec sha256sum {} + | sort)
			status=0
			mvm-snap "$@" 2>"$BATS_TEST_TMPDIR/said" || status=$?
			cat "$BATS_TEST_TMPDIR/said" >&2
			[ "$status" = 1 ]
			grep -q "No space left" "$BATS_TEST_TMPDIR/said"
			[ "$(find "$snapshots" -type f -exec sha256sum {} + | sort)" = "$before" ]
		}
		mount -t tmpfs -o size=1200k none "$snapshots"
		gen 1 $(seq -f %g=7 0 199)
		delta 2 gen-1 3=9
		full compose "$vm"
		mvm-snap verify "$vm" >/dev/null
		mount -o remount,size=8m "$snapshots"
		mvm-snap compose "$vm" >/dev/null
		mount -o remount,size="$(df --output=used "$snapshots" | tail -1 | xargs)"k "$snapshots" # no block is left
		full pack "$vm" --compression lz4
		mount -o remount,size=8m "$snapshots"
		mvm-snap pack "$vm" --compression lz4 >/dev/null
		mount -o remount,size=100k "$snapshots"
		full unpack "$vm"
		mount -o remount,size=8m "$snapshots"
		mvm-snap unpack "$vm" >/dev/null
		mvm-snap verify "$vm" | jq -e "map(.ok) | all"
	'
}

@test "5: another memory under the parent's name is not taken for it" {
	two
	rm -rf "$snapshots/gen-1"
	gen 1 3=7 4=7 5=8
	ln -sfn gen-2 "$snapshots/delta"
	refuses 5 snap compose "$vm"
	[[ $stderr == *"parent: sha256"* ]]
	run -3 snap verify "$vm" gen-2
	[[ $(out '.[0].error') == *"parent: sha256"* ]]
	[ "$(find "$snapshots/gen-2" -type f -printf '%f\n' | sort | xargs)" = "delta lock manifest.json vmstate" ]
}

@test "a parent that is gone, and files that are flipped, cut or gone: 1, by name, and all stays" {
	two
	for file in delta vmstate manifest.json; do
		cp --sparse=never "$snapshots/gen-2/$file" "$BATS_TEST_TMPDIR/kept"
		cp -a "$snapshots" "$BATS_TEST_TMPDIR/copy"
		for harm in 'flip "$f" 40' 'flip "$f" 0' 'truncate -s -1 "$f"' 'truncate -s 0 "$f"' 'rm "$f"' 'rm "$f"; mkfifo "$f"' 'rm "$f"; ln -s /etc/passwd "$f"'; do
			f=$snapshots/gen-2/$file
			[ "$file" != vmstate ] || harm=${harm/40/3}
			[ "$file" != delta ] || harm=${harm/0/12288}
			eval "$harm"
			run -3 snap verify "$vm" gen-2
			[[ $(out '.[0].error') == *"$file"* ]] || {
				echo "$harm of $file: $output" >&2
				return 1
			}
			[ "$file" = vmstate ] || refuses_untouched 1 snap compose "$vm"
			rm -rf "$snapshots"
			cp -a "$BATS_TEST_TMPDIR/copy" "$snapshots"
		done
		rm -rf "$BATS_TEST_TMPDIR/copy"
	done
	rm -rf "$snapshots/gen-1"
	refuses_untouched 1 snap compose "$vm"
	[[ $stderr == *"parent: ref"*"gen-1"* ]]
}

@test "every field of a manifest that is changed by hand is refused" {
	gen 1 1=1
	cp "$snapshots/gen-1/manifest.json" "$BATS_TEST_TMPDIR/kept"
	# a line for each field: its name, the manifest with another value there, the manifest without it
	command jq -r '. as $all | paths(type != "object" and type != "array") as $p |
		(getpath($p) | if . == null then "x" elif type == "boolean" then not
			elif type == "number" then . + 1 else . + "1" end) as $other |
		[$p[-1], ($all | setpath($p; $other) | tojson), ($all | delpaths([$p]) | tojson)] | join("\t")' \
		"$BATS_TEST_TMPDIR/kept" >"$BATS_TEST_TMPDIR/changed"
	(($(wc -l <"$BATS_TEST_TMPDIR/changed") > 45))
	while IFS=$'\t' read -r field other less; do
		echo "$other" >"$snapshots/gen-1/manifest.json"
		run -3 snap verify "$vm" gen-1
		[[ $output == *"\"error\":\""*"manifest.json: damaged: "* ]]
		refuses_untouched 1 snap pack "$vm" --compression lz4
		[[ $stderr == *"$field"* || $stderr == *seal* ]]
		echo "$less" >"$snapshots/gen-1/manifest.json"
		run -3 snap verify "$vm" gen-1
	done <"$BATS_TEST_TMPDIR/changed"
	command jq -c '. + {colour: "blue"}' "$BATS_TEST_TMPDIR/kept" >"$snapshots/gen-1/manifest.json"
	refuses_untouched 1 snap info "$vm"
	[[ $stderr == *"unknown key 'colour'"* ]]
}

@test "pack and unpack give the memory again; damage of the pack is found wherever it is" {
	gen 1 1=1 2=0 400=4
	cp --sparse=always "$snapshots/gen-1/mem" "$BATS_TEST_TMPDIR/want"
	run -0 snap pack "$vm" # the pool has none
	[ "$(out .changed)" = false ]
	for how in lz4 zstd; do
		run -0 snap pack "$vm" --compression $how
		[ "$(out '[.changed, .form, .compression] | map(tostring) | join(" ")')" = "true pack $how" ]
		[ ! -e "$snapshots/gen-1/mem" ]
		size=$(stat -c %s "$snapshots/gen-1/mem.pack")
		((size < 2000))
		run -0 snap verify "$vm"
		cp "$snapshots/gen-1/mem.pack" "$BATS_TEST_TMPDIR/pack"
		flip_each "$BATS_TEST_TMPDIR/pack" 7
		for ((at = 0; at < size; at += 7)); do
			cp "$BATS_TEST_TMPDIR/pack.$at" "$snapshots/gen-1/mem.pack"
			run -3 snap verify "$vm"
			refuses_untouched 1 snap unpack "$vm"
			[[ $stderr == *mem.pack* ]]
		done
		cp "$BATS_TEST_TMPDIR/pack" "$snapshots/gen-1/mem.pack"
		run -0 snap unpack "$vm"
		cmp "$snapshots/gen-1/mem" "$BATS_TEST_TMPDIR/want"
		(($(stat -c %b "$snapshots/gen-1/mem") * 512 <= 8192))
		run -0 snap verify "$vm"
	done
	mvm-pool info acme/web | jq -e '.snapshot_compression == "none"'
	two=$(jq .machine.vcpus "$snapshots/gen-1/manifest.json")
	[ "$two" = 1 ]
}

@test "what was packed stays readable when its pool has another compression, or none" {
	gen 1 1=1 2=0 400=4
	cp --sparse=always "$snapshots/gen-1/mem" "$BATS_TEST_TMPDIR/want"
	while read -r packed now; do
		mvm-pool update acme/web --snapshot-compression "$packed"
		run -0 snap pack "$vm"
		[ "$(out '[.changed, .compression] | map(tostring) | join(" ")')" = "true $packed" ]
		mvm-pool update acme/web --snapshot-compression "$now"
		run -0 snap info "$vm"
		[ "$(out '[.memory.form, .compression] | join(" ")')" = "pack $packed" ]
		run -0 snap verify "$vm"
		# It is packed already: what it is stays, whatever the pool says by now.
		if [ "$now" = none ]; then
			run -0 snap pack "$vm"
			[ "$(out .changed)" = false ]
		else
			refuses_untouched 5 snap pack "$vm"
			[[ $stderr == *"$packed"* ]]
		fi
		run -0 snap unpack "$vm"
		cmp "$snapshots/gen-1/mem" "$BATS_TEST_TMPDIR/want"
		run -0 snap verify "$vm"
	done <<-'END'
		lz4 zstd
		zstd lz4
		lz4 none
		zstd none
	END
}

@test "pack refuses a delta and what a guest runs on: 3; another compression: 5" {
	two
	refuses_untouched 3 snap pack "$vm" --compression lz4
	snap compose "$vm"
	cp "$instance/instance.json" "$BATS_TEST_TMPDIR/kept"
	jq -c --arg sha "$(jq -r .memory.sha256 "$snapshots/gen-2/manifest.json")" \
		'.diff_base = {ref: "gen-2", sha256: $sha}' "$BATS_TEST_TMPDIR/kept" >"$instance/instance.json"
	refuses_untouched 3 snap pack "$vm" --compression lz4
	cp "$BATS_TEST_TMPDIR/kept" "$instance/instance.json"
	run -0 snap pack "$vm" --compression lz4
	refuses_untouched 5 snap pack "$vm" --compression zstd
}

@test "a wake that sends SIGTERM finds the memory as it was: 8" {
	gen 1 1=1 300=2
	MVM_FAULT=pack-write:stop@1 mvm-snap pack "$vm" --compression zstd 2>"$BATS_TEST_TMPDIR/said" 3>&- &
	pid=$!
	eventually is_stopped "$pid"
	[ -e "$snapshots/gen-1/mem.pack.new" ]
	refuses 8 snap verify "$vm" --lock-timeout 50ms
	[[ $stderr == *"pid"* ]]
	kill "$pid"
	kill -CONT "$pid"
	status=0
	wait "$pid" || status=$?
	[ "$status" = 8 ]
	grep -q 'given up' "$BATS_TEST_TMPDIR/said"
	[ "$(find "$snapshots/gen-1" -type f -printf '%f\n' | sort | xargs)" = "lock manifest.json mem vmstate" ]
	run -0 snap verify "$vm"
}

@test "gc removes what nobody refers to and keeps what is named, current, run on or in doubt" {
	gen 1 1=1
	gen 2 2=2
	gen 3 3=3
	gen 4 4=4
	reseal "$snapshots/gen-2" '.kind = "named" | .name = "kept"'
	mkdir "$snapshots/.new-gen-9" "$snapshots/.old-gen-0"
	run -0 snap gc "$vm" --dry-run
	[ "$(out 'map(.removed) | any | not')" = true ]
	[ "$(refs)" = "gen-1 gen-2 gen-3 gen-4" ]
	jq -c '.diff_base = {ref: "gen-3", sha256: "'"$(printf 'a%.0s' {1..64})"'"}' "$instance/instance.json" >"$BATS_TEST_TMPDIR/i"
	cp "$BATS_TEST_TMPDIR/i" "$instance/instance.json"
	run -0 snap gc "$vm"
	[ "$(out 'map(select(.why != "left-over") | .why) | join(" ")')" = "unused named diff-base current" ]
	[ "$(refs)" = "gen-2 gen-3 gen-4" ]
	[ -z "$(find "$snapshots" -mindepth 1 -maxdepth 1 -name '.*')" ]
	jq -c 'del(.diff_base)' "$instance/instance.json" >"$BATS_TEST_TMPDIR/i" || true
	jq -c '.diff_base = null' "$instance/instance.json" >"$BATS_TEST_TMPDIR/i"
	cp "$BATS_TEST_TMPDIR/i" "$instance/instance.json"
	flip "$snapshots/gen-4/manifest.json" 30
	run -0 snap gc "$vm"
	[ "$(out 'map(.why) | join(" ")')" = "named doubt damaged" ]
	[ "$(refs)" = "gen-2 gen-3 gen-4" ]
}

@test "a link that leads nowhere known is damage, and an instance in doubt keeps its pool's bases" {
	base 0123456789abcdef0123456789abcdef 1=1
	gen 1 1=1
	ln -sfn ../../../x "$snapshots/delta"
	refuses_untouched 1 snap info "$vm"
	refuses_untouched 1 snap gc "$vm"
	run -0 snap gc acme/web
	[ "$(out '.[0] | [.why, .removed] | map(tostring) | join(" ")')" = "doubt false" ]
	ln -sfn gen-1 "$snapshots/delta"
	flip "$instance/instance.json" 5
	run -0 snap gc acme/web
	[ "$(out '.[0].why')" = doubt ]
	refuses_untouched 1 snap gc "$vm"
}

@test "a full disk behind stdout is an error" {
	gen 1 1=1
	to_full() { mvm-snap "$1" "$vm" >/dev/full; }
	for verb in list info verify gc compose; do
		run -1 to_full $verb
	done
}

@test "8: a locked instance, pool or generation is named with its holder" {
	two
	hold_lock "$snapshots/gen-2/lock"
	refuses 8 snap compose "$vm" --lock-timeout 50ms
	[[ $stderr == *"locked by pid"* ]]
	release_lock
	hold_lock "$instance/lock"
	refuses 8 snap gc "$vm" --lock-timeout 50ms
	release_lock
	run -0 snap compose "$vm"
}
