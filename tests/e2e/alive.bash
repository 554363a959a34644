# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2154
# Guests of the pool acme/bed with something to lose, for the files that put guests to rest and have
# them go on. $state: the root of the state.

dir_of() { # ADDRESS
	find "$state/tenants/acme/pools" -type d -path "*/instances/${1##*/}"
}

# A guest with something in its memory: a counter that goes on, a file in a tmpfs; and one on /data.
alive() { # prints its address
	local vm
	vm=$(new_instance acme/bed)
	up "$vm" >/dev/null
	guest "$vm" 'mkdir -p /run/t && mount -t tmpfs none /run/t && head -c 3000000 /dev/urandom >/run/t/f &&
		sha256sum /run/t/f >/run/t/sum && head -c 500000 /dev/urandom >/data/f && sha256sum /data/f >/data/sum'
	mvm-guest exec -d --session count "$vm" -- sh -c 'while :; do n=$((n + 1)); echo $n >/run/t/n.new; mv /run/t/n.new /run/t/n; sleep 0.05; done' >/dev/null
	wait_until 5 guest "$vm" 'test -s /run/t/n' >&2
	echo "$vm"
}

# What no freezer stops: a process that waits for a file system which somebody has frozen, until the
# attempt to put the guest to rest is undone.
restless() { # ADDRESS
	guest "$1" 'rm -f /data/blocked; sync; busybox fsfreeze --freeze /data'
	mvm-guest exec -d --session "blocked-$RANDOM" "$1" -- sh -c 'echo >/data/blocked' >/dev/null
	wait_until 5 guest "$1" 'grep -l "^State:.D" /proc/[0-9]*/status 2>/dev/null | grep -q .'
}

count() { guest "$1" 'cat /run/t/n'; }
whole() { guest "$1" 'sha256sum -c /run/t/sum && sha256sum -c /data/sum'; }
counts_on() { # ADDRESS FROM: neither from the beginning, nor standing still
	local now
	now=$(count "$1")
	((now > $2)) || { echo "counts $now, had $2" >&2; return 1; }
}

clean_data() { # ADDRESS: of one that does not run
	e2fsck -fn "$(dir_of "$1")/volumes/data.ext4"
}
