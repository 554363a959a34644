#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2016,SC2030,SC2031
# The metadata service as guests meet it: documents, tokens, and what a hostile guest may try. The
# guests are network namespaces on the tenant's bridge.
# Needs root.

setup() {
	load helper
	load net
	net_setup
	users
	tenant acme 7 10.240.7.0/24
	pool acme/web
	instance acme/web i-00000003
	instance acme/web i-00000004
	bridge ensure acme >/dev/null
	one=$(vm g3 acme/web/i-00000003)
	two=$(vm g4 acme/web/i-00000004)
	url=http://10.240.7.1:8169
	dir=$MVM_RUN_DIR/metadata/acme
}

teardown() {
	within mvm-metad --stop acme || true
	net_teardown
}

# The machine of the test has the user and the group of an installed one.
users() {
	local kind
	for kind in passwd group; do
		grep -v '^mvm:' "/etc/$kind" >"$BATS_TEST_TMPDIR/$kind"
	done
	echo 'mvm:x:64123:64124:mvm daemons:/var/lib/mvm:/usr/sbin/nologin' >>"$BATS_TEST_TMPDIR/passwd"
	echo 'mvm:x:64124:' >>"$BATS_TEST_TMPDIR/group"
	for kind in passwd group; do
		within mount --bind "$BATS_TEST_TMPDIR/$kind" "/etc/$kind"
	done
}

no_users() { within umount -l /etc/passwd /etc/group; } # somebody may be reading

pool() { within mvm-pool create "$1" --flake . --profile minimal --cpus 1 --mem 128 --metadata >/dev/null; }
# A guest with the MAC and address of its record, on a port with that instance's rules, which stands
# in for its TAP.
vm() { # PORT TENANT/POOL/ID: prints the holder's pid
	local pid mac ip gateway
	read -r mac ip gateway < <(jq -r '.net | "\(.mac) \(.guest_ip)/\(.cidr) \(.gateway_ip)"' "$(record "$2")")
	pid=$(net_hold --net)
	within ip link add "$1" type veth peer name eth0 address "$mac" netns "$pid"
	at "$pid" sh -c 'ip link set lo up && ip link set eth0 up && ip addr add "$1" dev eth0 &&
		ip route add default via "$2"' - "$ip" "$gateway"
	bridge port-add "$2" --port "$1" >/dev/null
	eventually forwards "$1"
	echo "$pid"
}

metadata() { within mvm-metadata "$@"; }
metad() { within mvm-metad "$@"; }
lib() { within "$MVM_BUILD/lib/mvm/backend" "$@"; }
at() { nsenter --target "$1" --net -- "${@:2}"; }
ask() { at "$1" curl -sS --max-time 30 --path-as-is "${@:2}"; }
status() { ask "$1" -o /dev/null -w '%{http_code}' "${@:2}"; }
token() { ask "$1" -X PUT -H "X-metadata-token-ttl-seconds: ${2:-60}" "$url/latest/api/token"; }

# GET with a fresh token of the guest
get() { # GUEST PATH OPTION...
	ask "$1" -f -H "X-metadata-token: $(token "$1")" "${@:3}" "$url$2"
}
get_status() { # GUEST PATH OPTION...
	status "$1" -H "X-metadata-token: $(token "$1")" "${@:3}" "$url$2"
}

# No process, or a dead one that its new parent has not looked at yet
gone() { eventually is_gone "$1"; } # PID

server_pid() { cut -d' ' -f1 "$MVM_RUN_DIR/metadata/acme.lock"; }
serve() {
	metadata publish acme/web/i-00000003 >/dev/null
	metadata publish acme/web/i-00000004 >/dev/null
	metad --detach acme
}

@test "a guest gets a token and with it its own facts, one key a line or as JSON" {
	serve
	run -0 get "$one" /latest/meta-data/
	[ "$output" = "$(printf '%s\n' instance-id hostname tenant pool local-ipv4 prefix gateway mac node-id created-at)" ]
	[ "$(get "$one" /latest/meta-data/instance-id)" = i-00000003 ]
	[ "$(get "$one" /latest/meta-data/local-ipv4)" = 10.240.7.3 ]
	[ "$(get "$one" /latest/meta-data/mac)" = 02:fc:00:07:00:03 ]
	[ "$(get "$one" /latest/meta-data/prefix)" = 24 ]
	[ "$(get "$one" /latest/meta-data/node-id)" = "$(cat "$MVM_STATE_DIR/node-id")" ]
	run -0 get "$one" /latest/meta-data -H 'Accept: text/html, application/json;q=0.9'
	[ "$(out '[.tenant, .pool, .gateway, .prefix] | @tsv')" = $'acme\tweb\t10.240.7.1\t24' ]
	[ "$(get "$one" /latest/)" = $'meta-data/\ntenant-data/\nuser-data/' ]
	[ "$(get "$one" /)" = latest/ ]
	# the other header names, and a token with HTTP/1.0
	t=$(ask "$one" -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600' "$url/latest/api/token")
	[ "$(ask "$one" -0 -H "X-aws-ec2-metadata-token: $t" "$url/latest/meta-data/hostname")" = i-00000003 ]
}

@test "two guests get two answers: who asks is told by the source address" {
	serve
	[ "$(get "$one" /latest/meta-data/instance-id)" = i-00000003 ]
	[ "$(get "$two" /latest/meta-data/instance-id)" = i-00000004 ]
	# nothing a guest says in its request makes it another
	run -0 get "$two" /latest/meta-data/instance-id -H 'Host: 10.240.7.3' -H 'X-Real-IP: 10.240.7.3' -H 'Forwarded: for=10.240.7.3'
	[ "$output" = i-00000004 ]
}

@test "the clouds' address leads to it, and neither leads there from a pool without metadata" {
	serve
	url=http://169.254.169.254
	[ "$(get "$one" /latest/meta-data/instance-id)" = i-00000003 ]
	[ "$(get "$two" /latest/meta-data/local-ipv4)" = 10.240.7.4 ]
	instance acme/shy i-00000005
	shy=$(vm g5 acme/shy/i-00000005)
	for url in http://169.254.169.254 http://10.240.7.1:8169; do
		run at "$shy" curl -sS --max-time 1 "$url/"
		[[ $status == 28 || $status == 7 && $url == *169* ]] # no answer; or the way out ends here
	done
}

@test "401 without a token, with garbage, with a changed, an expired or another guest's one" {
	serve
	path=$url/latest/meta-data/
	[ "$(status "$one" "$path")" = 401 ]
	[ "$(status "$one" -H 'X-metadata-token;' "$path")" = 401 ]
	[ "$(status "$one" -H 'X-metadata-token: x' "$path")" = 401 ]
	t=$(token "$one")
	[ "${#t}" = 56 ]
	[ "$(status "$one" -H "X-metadata-token: $t" "$path")" = 200 ]
	[ "$(status "$one" -H "X-metadata-token: ${t}A" "$path")" = 401 ]
	[ "$(status "$one" -H "X-metadata-token: f${t:1}" "$path")" = 401 ]
	[ "$(status "$two" -H "X-metadata-token: $t" "$path")" = 401 ]
	t=$(token "$one" 1)
	sleep 1.1
	[ "$(status "$one" -H "X-metadata-token: $t" "$path")" = 401 ]
	# a new server has a new key
	t=$(token "$one")
	metad --stop acme
	metad --detach acme
	[ "$(status "$one" -H "X-metadata-token: $t" "$path")" = 401 ]
}

@test "400 for a token without a life, or one of none or too many seconds" {
	serve
	[ "$(status "$one" -X PUT "$url/latest/api/token")" = 400 ]
	for ttl in 0 -1 21601 1e3 '' 60s 99999999999999999999; do
		[ "$(status "$one" -X PUT -H "X-metadata-token-ttl-seconds: $ttl" "$url/latest/api/token")" = 400 ]
	done
	run -0 ask "$one" -i -X PUT -H 'X-metadata-token-ttl-seconds: 21600' "$url/latest/api/token"
	[[ $output == *'X-metadata-token-ttl-seconds: 21600'* && $output == *'Cache-Control: no-store'* ]]
	[[ $output == *'Server: mvm-metad'* && $output == *'Content-Type: text/plain'* ]]
}

@test "403 for what a proxy passes on, token and all" {
	serve
	t=$(token "$one")
	[ "$(status "$one" -H "X-metadata-token: $t" -H 'X-Forwarded-For: 10.240.7.3' "$url/latest/meta-data/")" = 403 ]
	[ "$(status "$one" -X PUT -H 'X-Forwarded-For: x' -H 'X-metadata-token-ttl-seconds: 5' "$url/latest/api/token")" = 403 ]
}

@test "404 for what is not there, with an empty body; 405 with what is allowed; HEAD as GET" {
	serve
	for path in /x /latest/x /latest/meta-data/x /latest/meta-data/mac/ /latest/meta-data/mac/x \
		/latest//meta-data /latest/address /latest/schema_version /latest/user-data/x //latest \
		/latest/meta-data/../user-data /latest/meta-data%00; do
		want=404
		[[ $path != *%00 ]] || want=400
		[ "$(get_status "$one" "$path")" = $want ]
	done
	run -0 ask "$one" -H "X-metadata-token: $(token "$one")" -w '%{size_download}' "$url/latest/x"
	[ "$output" = 0 ]
	for method in POST PUT DELETE OPTIONS PATCH TRACE BREW; do
		run -0 ask "$one" -i -X $method "$url/latest/meta-data/"
		[[ ${lines[0]} == *" 405 "* && $output == *'Allow: GET, HEAD'* ]]
	done
	run -0 ask "$one" -i "$url/latest/api/token"
	[[ ${lines[0]} == *" 405 "* && $output == *'Allow: PUT'* ]]
	run -0 get "$one" /latest/meta-data/instance-id -I
	[[ ${lines[0]} == *" 200 "* && $output == *'Content-Length: 10'* && $output != *i-00000003* ]]
}

@test "escapes in a path are strict, a query is ignored" {
	serve
	[ "$(get "$one" /latest/meta-data/%70ool)" = web ]
	[ "$(get "$one" '/latest/meta-data/pool?x=%zz&y')" = web ]
	for path in /% /%7 /%zz /latest%2fmeta-data /latest/%0a /latest/%7f; do
		[ "$(get_status "$one" $path)" = 400 ]
	done
	[ "$(get_status "$one" "/$(printf 'a%.0s' {1..1100})")" = 400 ]
}

# What one connection gives back for these bytes, and that it ends
raw() { # GUEST SECONDS: bytes on stdin
	at "$1" timeout "$2" bash -c 'trap "" PIPE; exec 3<>/dev/tcp/10.240.7.1/8169 && cat >&3 2>/dev/null; cat <&3' | head -c 4096
}

@test "garbage, huge headers, other versions and bodies end the connection and nothing else" {
	serve
	head -c 65536 /dev/urandom | raw "$one" 40 >/dev/null || true
	printf 'GET / HTTP/2.0\r\nHost: x\r\n\r\n' | raw "$one" 40 | grep -E 'HTTP/1.1 (400|505)'
	printf 'GET /\r\n\r\n' | raw "$one" 40 || true
	printf 'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello' | raw "$one" 40 | grep 'HTTP/1.1 400'
	printf 'GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' | raw "$one" 40 | grep 'HTTP/1.1 400'
	# the answer may come before all is sent
	printf 'GET /latest/meta-data/ HTTP/1.1\r\nHost: x\r\nX-fill: %s\r\n\r\n' "$(head -c 40000 /dev/zero | tr '\0' a)" |
		raw "$one" 40 | grep 'HTTP/1.1 431'
	# of a PUT 1 KiB is read and forgotten
	[ "$(status "$one" -X PUT -H 'X-metadata-token-ttl-seconds: 5' --data-binary "$(head -c 1000 /dev/zero | tr '\0' a)" "$url/latest/api/token")" = 200 ]
	run ask "$one" -X PUT -H 'Expect:' -H 'X-metadata-token-ttl-seconds: 5' --data-binary "$(head -c 5000 /dev/zero | tr '\0' a)" "$url/latest/api/token"
	[[ $status != 0 || $output != ???????????????????????????????????????????????????????? ]]
	[ "$(get "$one" /latest/meta-data/pool)" = web ]
}

@test "a slow guest loses its connection in bounded time, silent or with a byte now and then" {
	serve
	start=$SECONDS
	at "$one" timeout 60 bash -c 'exec 3<>/dev/tcp/10.240.7.1/8169; cat <&3' || true
	((SECONDS - start < 30))
	start=$SECONDS
	at "$one" timeout 60 bash -c '
		exec 3<>/dev/tcp/10.240.7.1/8169
		trap "" PIPE
		printf "GET / HTTP/1.1\r\nX: " >&3
		(while printf a >&3; do sleep 0.5; done) 2>/dev/null &
		cat <&3; kill $!' || true
	((SECONDS - start < 40))
	# one request, then it ends: what follows is not answered
	[ "$(printf 'GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n' | raw "$one" 40 | grep -c '^HTTP/1.1')" = 1 ]
}

@test "300 connections of one guest hold up neither the other guest nor, when they end, the first" {
	serve
	nsenter --target "$one" --net -- bash -c 'for i in {1..300}; do exec {fd}<>/dev/tcp/10.240.7.1/8169; done; touch "$1"; exec sleep 600' - "$BATS_TEST_TMPDIR/flooded" 3>&- &
	flood=$!
	echo "$flood" >>"$BATS_TEST_TMPDIR/holders"
	eventually test -e "$BATS_TEST_TMPDIR/flooded"
	[ "$(get "$two" /latest/meta-data/instance-id)" = i-00000004 ]
	(($(find "/proc/$(server_pid)/fd" -mindepth 1 | wc -l) < 40))
	kill "$flood" && wait "$flood" || true
	run -0 ask "$one" --retry 20 --retry-delay 1 --retry-all-errors -X PUT -H 'X-metadata-token-ttl-seconds: 5' "$url/latest/api/token"
	[ "$(get "$one" /latest/meta-data/instance-id)" = i-00000003 ]
	# a flood of tokens costs no memory
	before=$(awk '/VmRSS/ { print $2 }' "/proc/$(server_pid)/status")
	at "$one" curl -sS -X PUT -H 'X-metadata-token-ttl-seconds: 5' "$url/latest/api/token?[1-500]" >/dev/null
	(($(awk '/VmRSS/ { print $2 }' "/proc/$(server_pid)/status") - before < 16384))
}

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
	three=$(vm h3 acme/web/i-00000003)
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

# An image of the right shape, which boots nothing: prepare does not look into it.
image() {
	mkdir -p "$BATS_TEST_TMPDIR/image"
	printf '\177ELF kernel' >"$BATS_TEST_TMPDIR/image/vmlinux"
	printf 'root' >"$BATS_TEST_TMPDIR/image/rootfs.erofs"
	jq -n '{schema_version: 1, system: "x86_64-linux", profile: "minimal", kernel_release: "6.1",
		rootfs: "rootfs.erofs", init: "/init", boot_args: "console=ttyS0"}' >"$BATS_TEST_TMPDIR/image/mvm-image.json"
	within mvm-pool-build build "$1" --from "$BATS_TEST_TMPDIR/image" >/dev/null
}

no_guests() { # their TAPs get the names
	within ip link del tn7i3
	within ip link del tn7i4
}

step() { MVM_BACKEND=direct MVM_VMM=qemu within mvm-instance "$@"; }

@test "a start publishes and makes sure of the server, an end retracts, and the server stays" {
	no_guests
	image acme/web
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
	image acme/web
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
	image acme/shy
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
