#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2317,SC2030,SC2031
# What holds for the whole state at once: names that lead elsewhere, files that were damaged, many
# at the same time, and kills anywhere.

setup() {
	load helper
	load net
	net_setup
	export MVM_LOCK_TIMEOUT_MS=120000 MVM_BACKEND=direct
}

teardown() {
	net_teardown
}

strays() { within mvm-node census --strays "$@"; }

@test "2: a name that leads elsewhere or is too long is refused by every noun, and makes nothing" {
	long=$(printf 'a%.0s' {1..41})
	for bad in ../x .. / "$long" a/../../x 'a b' "a%2e" $'a\tb' "ä"; do
		refuses 2 within mvm tenant create "$bad"
		refuses 2 within mvm tenant destroy --yes "$bad"
		refuses 2 within mvm pool create "acme/$bad/x" --flake /f --profile minimal --cpus 1 --mem 128
		refuses 2 within mvm pool create "$bad/web" --flake /f --profile minimal --cpus 1 --mem 128
		refuses 2 within mvm pool build "acme/$bad" --from /
		refuses 2 within mvm instance create "$bad/web"
		refuses 2 within mvm instance create "acme/web/$bad"
		refuses 2 within mvm instance start "acme/web/$bad"
		refuses 2 within mvm net ensure "$bad"
		refuses 2 within mvm-guest exec "acme/web/$bad" -- true
	done
	[ ! -e "$MVM_STATE_DIR" ] && [ ! -e "$BATS_TEST_TMPDIR/x" ]
}

# What is done to a good document on its way to being damaged.
damage() { # KIND FILE
	local size
	size=$(stat -c %s "$2")
	case $1 in
	empty) : >"$2" ;;
	half) truncate -s $((size / 2)) "$2" ;;
	short) truncate -s $((size - 3)) "$2" ;;
	twice) sed -i 's/"schema_version":1/"schema_version":1,"schema_version":1/' "$2" ;;
	deep-twice) perl -pi -e 's/("\w+":\{)("\w+":[^,}]+)/$1$2,$2/' "$2" ;;
	unknown) sed -i 's/}$/,"surprise":1}/' "$2" ;;
	newer) sed -i 's/"schema_version":1/"schema_version":2/' "$2" ;;
	nul) printf '\0' >>"$2" ;;
	more) echo '{}' >>"$2" ;;
	latin) sed -i 's/"schema_version":1/"schema_version":1,"note":"\xe4"/' "$2" ;;
	large) perl -e 'print " " x 1100000' >>"$2" ;;
	link) mv "$2" "$2.real" && ln -s "$(basename "$2").real" "$2" ;;
	gone) rm "$2" ;;
	esac
}

@test "1: whatever was done to a document, every verb that needs it refuses and changes nothing" {
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
	cp -a "$MVM_STATE_DIR" "$BATS_TEST_TMPDIR/good"
	while read -r file verbs; do
		for kind in empty half short twice deep-twice unknown newer nul more latin large link gone; do
			damage $kind "$MVM_STATE_DIR/tenants/acme/$file"
			while read -rd ';' verb; do
				before=$(digest)
				# shellcheck disable=SC2086
				run --separate-stderr within $verb
				printf '%s of %s: %s -> %s %s\n' $kind "$file" "$verb" "$status" "$stderr" >&2
				[[ $status == 1 && ${#stderr_lines[@]} == 1 && $(digest) == "$before" ]]
			done <<<"$verbs"
			rm -rf "$MVM_STATE_DIR"
			cp -a "$BATS_TEST_TMPDIR/good" "$MVM_STATE_DIR"
		done
	done <<-'END'
		tenant.json mvm-tenant info acme;mvm-tenant create acme;mvm-tenant update acme --max-vcpus 3;mvm-instance create acme/web;mvm-instance info i-0000000a;mvm-instance start i-0000000a;mvm-bridge ensure acme;
		pools/web/pool.json mvm-pool info acme/web;mvm-pool scale acme/web --running 3;mvm-instance create acme/web;mvm-instance start i-0000000a;
		pools/web/instances/i-0000000a/instance.json mvm-instance info i-0000000a;mvm-instance start i-0000000a;mvm-instance stop i-0000000a;
	END
}

@test "creators and removers of everything at once: no address twice, no record lost" {
	tenant acme 7 10.20.0.0/20
	for pool in web db; do
		mvm-pool create acme/$pool --flake /f --profile minimal --cpus 1 --mem 128 >/dev/null
	done
	mvm-instance create acme/web -n 24 >/dev/null
	mapfile -t old < <(mvm-instance list acme/web -o name)
	for i in {1..24}; do
		mvm-instance create acme/web >"$BATS_TEST_TMPDIR/new.$i" 2>>"$BATS_TEST_TMPDIR/errors" &
		mvm-instance create acme/db >"$BATS_TEST_TMPDIR/new.db.$i" 2>>"$BATS_TEST_TMPDIR/errors" &
		mvm-instance destroy-record "${old[i - 1]}" >/dev/null 2>>"$BATS_TEST_TMPDIR/errors" &
	done
	wait
	cat "$BATS_TEST_TMPDIR/errors" >&2
	[ ! -s "$BATS_TEST_TMPDIR/errors" ]
	run -0 mvm-instance list acme
	[ "$(out length)" = 48 ]
	[ "$(out 'map(.guest_ip) | unique | length')" = 48 ]
	[ "$(out 'map(.instance_id) | sort | join(" ")')" = "$(jq -rs 'map(.instance_id) | sort | join(" ")' "$BATS_TEST_TMPDIR"/new.*)" ]
	[ "$(out 'map(.instance_id) | sort | join(" ")')" = "$(claims)" ]
	[ "$(strays)" = "[]" ]
}

@test "everything killed at random: the census names what is left, one sweep clears it, and all can be made again" {
	tenant acme 7 10.20.0.0/20
	for i in {1..40}; do
		killed_soon mvm-tenant create "t$((i % 5))" &
		killed_soon mvm-pool create "acme/p$((i % 4))" --flake /f --profile minimal --cpus 1 --mem 128 &
		killed_soon mvm-instance create "acme/p$((i % 4))" -n 3 &
		killed_soon mvm-pool destroy "acme/p$((i % 4))" --yes &
	done
	wait
	find "$MVM_STATE_DIR" -name '.new-*' -o -name '.old-*' >&2
	strays --sweep >/dev/null || true
	[ "$(strays)" = "[]" ]
	[ -z "$(find "$MVM_STATE_DIR" -name '.new-*' -o -name '.old-*')" ]
	run -0 mvm-instance list
	[ "$(out 'map(.instance_id) | sort | join(" ")')" = "$(claims)" ]
	[ "$(out '(map(.guest_ip) | unique | length) == length')" = true ]
	for i in {0..4}; do
		run -0 mvm-tenant create "t$i"
		run -0 mvm-pool create "acme/p$((i % 4))" --flake /f --profile minimal --cpus 1 --mem 128
		run -0 mvm-instance create "acme/p$((i % 4))" -n 2
	done
}

# By its own parent: a number that others kill may be somebody else's by then.
killed_soon() { # COMMAND...
	timeout --foreground -s KILL "0.0$((RANDOM % 80 + 10))" "$@" >/dev/null 2>&1 3>&-
}
