#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2016,SC2030,SC2031
# The metadata service as the host has it: keys, documents, the server's rights and its life.
# Needs root.

setup() {
	load helper
	load net
	load metad
	metad_setup
}

teardown() { metad_teardown; }

@test "keys of the instance and of the tenant are served, and change while the server runs" {
	serve
	metadata set acme region=eu 'motto=a b=c' >/dev/null
	metadata set acme/web/i-00000003 <<<'{"role":"primary","note":"l\u00e4ng\nzwei"}' >/dev/null
	[ "$(get "$one" /latest/tenant-data/)" = $'motto\nregion' ]
	[ "$(get "$one" /latest/tenant-data/motto)" = 'a b=c' ]
	[ "$(get "$two" /latest/tenant-data/region)" = eu ]
	[ "$(get "$one" /latest/user-data/note)" = $'läng\nzwei' ]
	[ "$(get "$two" /latest/user-data/)" = '' ]
	[ "$(get_status "$two" /latest/user-data/role)" = 404 ]
	run -0 get "$one" /latest/user-data -H 'Accept: application/json'
	[ "$output" = '{"note":"läng\nzwei","role":"primary"}' ]
	run -0 metadata set acme region=us
	[ "$(out '[.changed, .published] | @tsv')" = $'true\t2' ]
	[ "$(get "$two" /latest/tenant-data/region)" = us ]
	run -0 metadata rm acme region none
	[ "$(out .changed)" = true ]
	[ "$(get_status "$one" /latest/tenant-data/region)" = 404 ]
	run -0 metadata rm acme region
	[[ $(out '[.changed, .published] | @tsv') == $'false\t0' ]]
	run -0 metadata get acme
	[ "$(out '.values.motto')" = 'a b=c' ]
	run -0 metadata get acme --key motto
	[ "$output" = '"a b=c"' ]
	refuses 4 metadata get acme --key region
}

@test "publish is idempotent, retract takes the document away, also without a record" {
	serve
	run -0 metadata publish acme/web/i-00000003
	[ "$(out '[.changed, .published, .address] | @tsv')" = $'false\t0\tacme/web/i-00000003' ]
	[ "$(stat -c '%a %u %g' "$dir" "$dir/10.240.7.3.json")" = $'750 0 64124\n640 0 64124' ]
	run -0 metadata retract acme/web/i-00000003 --dry-run
	[ "$(out .changed)" = true ]
	[ "$(get_status "$one" /latest/meta-data/)" = 200 ]
	run -0 metadata retract acme/web/i-00000003
	[ "$(out .changed)" = true ]
	[ "$(get_status "$one" /latest/meta-data/)" = 404 ]
	run -0 metadata retract acme/web/i-00000003
	[ "$(out .changed)" = false ]
	# what is not published does not become so by its keys
	run -0 metadata set acme/web/i-00000003 a=b
	[ "$(out .published)" = 0 ]
	[ ! -e "$dir/10.240.7.3.json" ]
	within mvm-instance destroy --yes acme/web/i-00000004 >/dev/null ||
		rm -rf "${MVM_STATE_DIR:?}/tenants/acme/pools/web/instances/i-00000004"
	touch "$dir/10.240.7.4.json"
	run -0 metadata retract acme/web/i-00000004
	# a document that names another is not its own
	metadata publish acme/web/i-00000003 >/dev/null
	cp "$dir/10.240.7.3.json" "$dir/10.240.7.9.json"
	sed -i s/i-00000003/i-00000009/g "$dir/10.240.7.9.json"
	metadata retract acme/web/i-00000009 >/dev/null
	[ ! -e "$dir/10.240.7.9.json" ] && [ -e "$dir/10.240.7.3.json" ]
}

@test "a document that is no document is 500 to the guest and one line in the log" {
	serve
	start=$SECONDS
	for text in '' '{' '{"meta-data":1}' '[]'; do
		printf %s "$text" >"$dir/10.240.7.3.json"
		[[ $(get_status "$one" /latest/meta-data/pool) == [45]0[04] ]]
	done
	rm "$dir/10.240.7.3.json"
	ln -s /etc/passwd "$dir/10.240.7.3.json"
	[ "$(get_status "$one" /latest/meta-data/)" = 500 ]
	rm "$dir/10.240.7.3.json"
	head -c 300000 /dev/zero >"$dir/10.240.7.3.json"
	[ "$(get_status "$one" /latest/meta-data/)" = 500 ]
	(($(wc -l <"$MVM_RUN_DIR/metadata/acme.log") <= 3 + (SECONDS - start) / 10)) # it complains again after 10 s
	[ "$(get "$two" /latest/meta-data/pool)" = web ]
}

@test "2: bad keys, values and objects are refused and nothing is changed" {
	metadata publish acme/web/i-00000003 >/dev/null
	metadata set acme a=1 >/dev/null
	for word in '=x' 'A=x' '-a=x' '.a=x' 'a/b=x' 'a b=x' "$(printf 'a%.0s' {1..64})=x" novalue; do
		refuses_untouched 2 metadata set acme b=2 -- "$word"
	done
	refuses_untouched 2 metadata set acme "a=$(head -c 17000 /dev/zero | tr '\0' x)"
	refuses_untouched 2 metadata set acme a=$'\xff'
	for text in '' '[]' '{"a":1}' '{"a":null}' '{"a":"x","a":"y"}' '{"a":{"b":"c"}}' '{"A":"x"}' '{' '{} {}'; do
		refuses_untouched 2 metadata set acme <<<"$text"
	done
	refuses_untouched 2 metadata set acme/web a=b
	refuses_untouched 2 metadata rm acme A
	refuses_untouched 2 metadata publish acme/web
	refuses_untouched 2 metadata publish ../x/y
	refuses_untouched 2 metad 'a/b'
	refuses_untouched 2 metad --detach --stop acme
}

@test "6: more than 256 keys or 64 KiB in all are refused and nothing is changed" {
	metadata publish acme/web/i-00000003 >/dev/null
	refuses_untouched 6 metadata set acme < <(jq -n '[range(257) | {("k\(.)"): ""}] | add')
	refuses_untouched 6 metadata set acme < <(jq -n '[range(5) | {("k\(.)"): ("x" * 16000)}] | add')
	jq -n '[range(256) | {("k\(.)"): ""}] | add' | metadata set acme >/dev/null
	metadata set acme/web/i-00000003 < <(jq -n '[range(4) | {("k\(.)"): ("\"" * 8000)}] | add') >/dev/null
	metad --detach acme
	run -0 get "$one" /latest/user-data -H 'Accept: application/json'
	[ "$(out '.k3 | length')" = 8000 ]
}

@test "3, 4: who may not be published or does not exist; a dry run changes nothing" {
	metadata publish acme/web/i-00000003 >/dev/null
	instance acme/shy i-00000005
	refuses_untouched 3 metadata publish acme/shy/i-00000005
	[ ! -e "$dir/10.240.7.5.json" ]
	for address in acme/web/i-0000000f acme/none/i-00000003 none/web/i-00000003; do
		refuses_untouched 4 metadata publish $address
	done
	refuses_untouched 4 metadata get none
	refuses_untouched 4 metadata set none a=b
	refuses_untouched 4 metad none
	refuses_untouched 3 metad --detach bare 3>&- || { tenant bare 8 10.240.8.0/24; refuses_untouched 3 metad --detach bare; }
	before=$(digest)
	run -0 metadata set acme a=b --dry-run
	[ "$(out '[.changed, .dry_run] | @tsv')" = $'true\ttrue' ]
	[ "$(digest)" = "$before" ]
	run -0 metadata publish acme/web/i-00000004 --dry-run
	[ "$(out .changed)" = true ]
	[ ! -e "$dir/10.240.7.4.json" ]
}

@test "8: a locked object, and a second server; the first one's death frees the lock" {
	serve
	hold_lock "$MVM_STATE_DIR/tenants/acme/lock"
	MVM_LOCK_TIMEOUT_MS=100 refuses_untouched 8 metadata set acme a=b
	[[ $stderr == *"pid "* ]]
	release_lock
	refuses 8 metad acme
	[[ $stderr == *"runs already"*"pid $(server_pid)"* ]]
	pid=$(server_pid)
	metad --detach acme
	[ "$(server_pid)" = "$pid" ]
	kill -KILL "$pid"
	gone "$pid"
	metad --detach acme
	[ "$(server_pid)" != "$pid" ]
	[ "$(get "$one" /latest/meta-data/pool)" = web ]
}

@test "1: damaged keys are told, never overwritten, and not published" {
	metadata publish acme/web/i-00000003 >/dev/null
	cp "$dir/10.240.7.3.json" "$BATS_TEST_TMPDIR/before"
	for text in '{' '{"schema_version":1,"values":{"A":"x"}}' '{"schema_version":2,"values":{}}' '{"schema_version":1,"values":[]}'; do
		printf %s "$text" >"$MVM_STATE_DIR/tenants/acme/metadata.json"
		refuses_untouched 1 metadata set acme a=b
		[[ $stderr == *metadata.json*damaged* ]]
		refuses_untouched 1 metadata get acme
		refuses_untouched 1 metadata publish acme/web/i-00000003
		MVM_ERRORS=json refuses_untouched 1 metadata rm acme a
		[ "$(jq -r .code <<<"$stderr")" = damaged ]
	done
	cmp "$dir/10.240.7.3.json" "$BATS_TEST_TMPDIR/before"
}

@test "1: a write that fails leaves the old keys and the old document" {
	serve
	metadata set acme a=old >/dev/null
	for point in store-save replace-fsync replace-rename; do
		MVM_FAULT=$point:err=ENOSPC refuses_untouched 1 metadata set acme a=new
		[ "$(get "$one" /latest/tenant-data/a)" = old ]
	done
	MVM_FAULT=meta-publish:err=ENOSPC refuses 1 metadata set acme a=new
	[[ $stderr == *"stored, but not published"* ]]
	[ "$(get "$one" /latest/tenant-data/a)" = old ]
	run -0 metadata set acme a=new # repeated it is whole again
	[ "$(out '[.changed, .published] | @tsv')" = $'false\t2' ]
	[ "$(get "$one" /latest/tenant-data/a)" = new ]
}

@test "the server has given up every right before the first guest asks" {
	serve
	status=/proc/$(server_pid)/status
	field() { awk -v key="$1:" '$1 == key { $1 = ""; print substr($0, 2) }' "$status"; }
	[ "$(field Uid)" = '64123 64123 64123 64123' ]
	[ "$(field Gid)" = '64124 64124 64124 64124' ]
	[ "$(field Groups)" = '' ]
	for set in CapInh CapPrm CapEff CapBnd CapAmb; do
		[ "$(field $set)" = 0000000000000000 ]
	done
	[ "$(field NoNewPrivs)" = 1 ] && [ "$(field Seccomp)" = 2 ] && [ "$(field Threads)" = 1 ]
	[ "$(stat -c %U "/proc/$(server_pid)/fd")" = root ] # not dumpable
	[ "$(awk '/^Max processes/ { print $3 }' "/proc/$(server_pid)/limits")" = 0 ]
	[ "$(awk '/^Max core/ { print $5 }' "/proc/$(server_pid)/limits")" = 0 ]
	# what it holds: null, its log, sockets, documents, and nothing of its caller's
	run -0 find "/proc/$(server_pid)/fd" -lname '*bats*' ! -lname '*/run/metadata/*' ! -lname '*/run/metadata'
	[ -z "$output" ]
	within ss -Hltn | grep -q '10.240.7.1%br-tenant-7:8169'
}

@test "as root it has no capability either; --user takes a number; others are refused in clear words" {
	refuses 1 metad --user nosuchuser acme
	[[ $stderr == *"no user 'nosuchuser'"* ]]
	refuses 1 metad --user nobody --detach acme
	[[ $stderr == *"may read the documents"* ]]
	metadata publish acme/web/i-00000003 >/dev/null
	MVM_METAD_USER=root metad --detach acme
	grep -q $'^CapEff:\t0000000000000000' "/proc/$(server_pid)/status"
	[ "$(get "$one" /latest/meta-data/pool)" = web ]
	metad --stop acme
	metad --user 64123 --detach acme
	grep -q $'^Uid:\t64123' "/proc/$(server_pid)/status"
	[ "$(get "$one" /latest/meta-data/pool)" = web ]
}

@test "without the user and the group on the machine it says so, and --user root does without" {
	no_users
	metadata publish acme/web/i-00000003 >/dev/null
	[ "$(stat -c '%a %u %g' "$dir/10.240.7.3.json")" = '640 0 0' ]
	refuses 1 metad --detach acme
	[[ $stderr == *"no user 'mvm'"* ]]
	metad --user root --detach acme
	[ "$(get "$one" /latest/meta-data/pool)" = web ]
}

@test "in the foreground it tells systemd that it is ready, and SIGTERM ends it with 0" {
	metadata publish acme/web/i-00000003 >/dev/null
	open=$(mktemp -d /tmp/mvm-metad-XXXXXX) # that the server's user may enter
	chmod 755 "$open"
	notify=$open/notified
	coproc LISTEN { exec perl -MIO::Socket::UNIX -MSocket -e '
		$s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die; chmod 0777, $ARGV[0];
		$| = 1; print "bound\n"; $s->recv($b, 4096); print "$b\n"' "$notify" 3>&-; }
	read -r -u "${LISTEN[0]}" bound && [ "$bound" = bound ]
	# a sanitizer's search for leaks at the end is a process of its own, which this one may not have
	export ASAN_OPTIONS=detect_leaks=0
	NOTIFY_SOCKET=$notify become_within "$MVM_BIN/mvm-metad" acme 2>"$BATS_TEST_TMPDIR/log" 3>&- &
	server=$!
	read -r -t 60 -u "${LISTEN[0]}" told && [ "$told" = READY=1 ]
	[ "$(get "$one" /latest/meta-data/pool)" = web ]
	kill "$server"
	wait "$server"
	cat "$BATS_TEST_TMPDIR/log" >&2
	[ "$(wc -l <"$BATS_TEST_TMPDIR/log")" = 1 ]
	run -7 at "$one" curl -sS "$url/" # nobody listens
	# what it cannot tell is a failure, not a start that hangs; detached it tells nobody
	rm -r "$open"
	refuses 1 env NOTIFY_SOCKET="$notify" nsenter --target "$net" --net --mount -- "$MVM_BIN/mvm-metad" acme
	NOTIFY_SOCKET=$notify metad --detach acme
}

@test "when the bridge is made anew the server ends, and the next start serves on the new one" {
	serve
	pid=$(server_pid)
	within ip link del br-tenant-7
	gone "$pid"
	grep -q 'br-tenant-7 is gone' "$MVM_RUN_DIR/metadata/acme.log"
	bridge ensure acme >/dev/null
	lib direct metad-start acme
	# and without waiting for the end of the old one
	pid=$(server_pid)
	within ip link del br-tenant-7
	bridge ensure acme >/dev/null
	lib direct metad-start acme
	[ "$(server_pid)" != "$pid" ]
	within ip link del tn7i3
	three=$(port_guest h3 acme/web/i-00000003)
	[ "$(get "$three" /latest/meta-data/pool)" = web ]
}

@test "the backend starts one server, however many ask for it at once, and ends it" {
	serve
	metad --stop acme
	for i in 1 2 3 4 5; do
		lib direct metad-start acme 3>&- &
		pids[i]=$!
	done
	for i in 1 2 3 4 5; do wait "${pids[i]}"; done
	[ "$(get "$one" /latest/meta-data/pool)" = web ]
	pid=$(server_pid)
	[ "$(ps -o sid= -p "$pid" | tr -d ' ')" = "$pid" ]
	lib direct metad-stop acme
	gone "$pid"
	lib direct metad-stop acme
	lib direct metad-stop nosuchtenant
	refuses 2 lib direct metad-start
	refuses 2 lib direct metad-start acme more
}

@test "forget ends the server and leaves nothing of the tenant's" {
	serve
	pid=$(server_pid)
	MVM_BACKEND=direct within mvm-metadata forget acme --dry-run >/dev/null
	[ -e "/proc/$pid" ] && [ -e "$dir" ]
	run -0 metadata forget acme
	[ "$(out .changed)" = true ]
	gone "$pid"
	empty "$MVM_RUN_DIR/metadata"
	run -0 metadata forget acme
	[ "$(out .changed)" = false ]
	# also when the tenant's record is gone
	metadata publish acme/web/i-00000003 >/dev/null
	metad --detach acme
	mv "$MVM_STATE_DIR/tenants/acme" "$BATS_TEST_TMPDIR/gone"
	metadata forget acme >/dev/null
	empty "$MVM_RUN_DIR/metadata"
}

no_guests() { # their TAPs get the names
	within ip link del tn7i3
	within ip link del tn7i4
}

step() { MVM_BACKEND=direct MVM_VMM=qemu within mvm-instance "$@"; }

@test "a start publishes and makes sure of the server, an end retracts, and the server stays" {
	no_guests
	image_of_nothing acme/web
	export NOTIFY_SOCKET=$BATS_TEST_TMPDIR/not-for-the-server
	step prepare acme/web/i-00000003
	[ "$(jq -r '."meta-data".revision' "$dir/10.240.7.3.json")" = "$(mvm-pool info acme/web | jq -r .revision)" ]
	[ ! -e "$dir/10.240.7.4.json" ]
	pid=$(server_pid)
	step prepare acme/web/i-00000004
	[ "$(server_pid)" = "$pid" ]
	step finish acme/web/i-00000003
	[ ! -e "$dir/10.240.7.3.json" ] && [ -e "$dir/10.240.7.4.json" ]
	step finish acme/web/i-00000004
	empty "$dir"
	[ -e "/proc/$pid" ]
}

@test "without document or server the start fails by name, and the end leaves nothing" {
	no_guests
	image_of_nothing acme/web
	vm=acme/web/i-00000003
	MVM_FAULT=meta-publish:err=ENOSPC refuses 1 step prepare $vm
	[[ $stderr == *"metadata: "*"No space left"* ]]
	step finish $vm
	empty "$dir"
	no_users
	refuses 1 step prepare $vm
	[[ $stderr == *"metadata: backend direct metad-start: "*"no user 'mvm'"* ]]
	step finish $vm
	empty "$dir"
	[ "$(mvm-instance info $vm | jq -r '.status + " " + .last_exit')" = 'created start-failed' ]
	# a pool without metadata needs neither, and makes nothing
	instance acme/shy i-00000005
	image_of_nothing acme/shy
	rm -r "$MVM_RUN_DIR/metadata"
	step prepare acme/shy/i-00000005
	step finish acme/shy/i-00000005
	[ ! -e "$MVM_RUN_DIR/metadata" ]
}

@test "the census knows the server of a tenant, and calls that of none a stray" {
	serve
	row() { node census | jq -c --arg name "pid $(server_pid) (mvm-metad)" '.[] | select(.name == $name) | [.owned, .foreign, .address]'; }
	[ "$(row)" = '[true,false,"acme"]' ]
	mv "$MVM_STATE_DIR/tenants/acme" "$BATS_TEST_TMPDIR/gone"
	[ "$(row)" = '[false,false,null]' ]
	mv "$BATS_TEST_TMPDIR/gone" "$MVM_STATE_DIR/tenants/acme"
}
