#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2016,SC2030,SC2031
# The metadata service as guests meet it: documents, tokens, and what a hostile guest may try.
# Needs root.

setup() {
	load helper
	load net
	load metad
	metad_setup
}

teardown() { metad_teardown; }

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
	shy=$(port_guest g5 acme/shy/i-00000005)
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
	hurried serve # the server's 5 s and 10 s
	start=$SECONDS
	at "$one" timeout 60 bash -c 'exec 3<>/dev/tcp/10.240.7.1/8169; cat <&3' || true
	((SECONDS - start < 30))
	start=$SECONDS
	at "$one" timeout 60 bash -c '
		exec 3<>/dev/tcp/10.240.7.1/8169
		trap "" PIPE
		printf "GET / HTTP/1.1\r\nX: " >&3
		(while printf a >&3; do sleep 0.05; done) 2>/dev/null &
		cat <&3; kill $!' || true
	((SECONDS - start < 40))
	metad --stop acme
	metad --detach acme
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
