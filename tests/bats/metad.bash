# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154,SC2034,SC2016
# For the files of the metadata service: a tenant with two guests, which are network namespaces on its
# bridge. Needs root, helper.bash and net.bash.

metad_setup() {
	net_setup
	users
	tenant acme 7 10.240.7.0/24
	pool acme/web
	instance acme/web i-00000003
	instance acme/web i-00000004
	bridge ensure acme >/dev/null
	one=$(port_guest g3 acme/web/i-00000003)
	two=$(port_guest g4 acme/web/i-00000004)
	url=http://10.240.7.1:8169
	dir=$MVM_RUN_DIR/metadata/acme
}

metad_teardown() {
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
	within sh -c 'mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group' - "$BATS_TEST_TMPDIR"
}

no_users() { within umount -l /etc/passwd /etc/group; } # somebody may be reading

pool() { within mvm-pool create "$1" --flake . --profile minimal --cpus 1 --mem 128 --metadata >/dev/null; }
metadata() { within mvm-metadata "$@"; }
metad() { within mvm-metad "$@"; }
lib() { within "$MVM_BUILD/lib/mvm/backend" "$@"; }
at() { nsenter --target "$1" --net -- "${@:2}"; }
ask() { at "$1" curl -sS --max-time 30 --path-as-is "${@:2}"; }
status() { ask "$1" -o /dev/null -w '%{http_code}' "${@:2}"; }
token() { ask "$1" -X PUT -H "X-metadata-token-ttl-seconds: ${2:-60}" "$url/latest/api/token"; }

# A token that the guest has of this server
known_token() { # GUEST
	local known
	known=$BATS_TEST_TMPDIR/token.$1.$(server_pid)
	[[ -s $known ]] || token "$1" >"$known"
	echo "$(<"$known")"
}

# GET with a token
get() { # GUEST PATH OPTION...
	ask "$1" -f -H "X-metadata-token: $(known_token "$1")" "${@:3}" "$url$2"
}
get_status() { # GUEST PATH OPTION...
	status "$1" -H "X-metadata-token: $(known_token "$1")" "${@:3}" "$url$2"
}

# No process, or a dead one that its new parent has not looked at yet
gone() { eventually is_gone "$1"; } # PID

server_pid() {
	local pid
	read -r pid _ <"$MVM_RUN_DIR/metadata/acme.lock" || [[ -n $pid ]]
	echo "$pid"
}
serve() {
	metadata publish acme/web/i-00000003 >/dev/null
	metadata publish acme/web/i-00000004 >/dev/null
	metad --detach acme
}
