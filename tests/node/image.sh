#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the image of the node VM, an emulated Debian 12 in which the "node" ring of tests runs as on a
# user's machine, unless it is in the cache, and prints its directory:
#
#	rootfs.ext4	12 GiB sparse: systemd, nftables, QEMU, bats, the run-time libraries of mvm
#	vmlinuz initrd	Debian's cloud kernel; an initrd of virtio modules and switch_root
#
# It needs root, and no network but the host's own package sources. A directory has its final name only
# when it is whole; what a killed build left is swept by the next one.
#
# Environment:
#	XDG_CACHE_HOME	the cache is $XDG_CACHE_HOME/mvm (default ~/.cache/mvm)
set -eu
umask 022

# The tools of a host of microVMs, of its tests, and of the images that are built on it.
tools='systemd-sysv udev dbus iproute2 nftables kmod e2fsprogs erofs-utils ca-certificates openssl
	busybox-static curl procps cpio zstd lz4 jq bats perl xz-utils iputils-ping util-linux-extra
	qemu-system-x86 nix-bin linux-image-cloud-amd64'
libraries='libcjson1 libcurl4 libmicrohttpd12 libmnl0 libnftnl11 libseccomp2 liblz4-1 libzstd1 libsmartcols1
	libyaml-0-2 libhttp-parser2.9 libssl3 libsystemd0 libev4 libngtcp2-9
	libngtcp2-crypto-gnutls2 libgnutls30 libsqlite3-0 libpq5'
size=12G

say() { printf 'node image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The sources this host trusts for Debian itself, as apt knows them: whatever mirror they name, in
# whatever syntax they are written.
sources() {
	# shellcheck disable=SC2016 # the names in $( ) are apt's
	apt-get indextargets --format \
		'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
		awk -v suite="$suite" '$3 == suite || index($3, suite "-") == 1' | sort -u
}

# How this host reaches them: proxies, time-outs, clock checks. Values only, none of apt's tables.
apt_options() {
	apt-config dump --format '%F "%v";%n' Acquire |
		grep -Ev '^Acquire::(IndexTargets|CompressionTypes|Changelogs|cdrom)|^Acquire ""| "";$' |
		grep -v '::$' || true
}

kernel_candidate() {
	LC_ALL=C apt-cache policy linux-image-cloud-amd64 | sed -n 's/^  Candidate: *//p'
}

# A slim initrd halves the time to the first command: only what it takes to reach the root drive and
# the command channel.
make_initrd() { # ROOT KERNEL OUT
	dir=$(mktemp -d "$work/initrd.XXXXXX")
	mkdir -p "$dir/bin" "$dir/dev" "$dir/proc" "$dir/sys" "$dir/new" "$dir/m"
	cp "$1/bin/busybox" "$dir/bin/busybox"
	for module in virtio_pci virtio_blk virtio_net virtio_console; do
		modprobe -S "$2" -d "$1" --show-depends "$module"
	done | sed -n 's/^insmod //p' | awk '!seen[$1]++ { print $1 }' >"$dir/list"
	while read -r path; do
		cp "$path" "$dir/m/"
		echo "${path##*/}" >>"$dir/m/order"
	done <"$dir/list"
	rm "$dir/list"
	cat >"$dir/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
while read -r m; do $b insmod /m/$m; done </m/order
until $b mount -t ext4 /dev/vda /new; do $b usleep 20000; done
$b mount -o move /dev /new/dev
exec $b switch_root /new /sbin/init
INIT
	chmod 755 "$dir/init"
	(cd "$dir" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | lz4 -l -9 >"$3"
	rm -rf "$dir"
}

# What makes the system a quiet test machine: no timers that fire in the middle of a test, one fixed
# identity, the command agent. The agent itself comes with the payload drive, so a new one costs no image.
configure() { # ROOT
	for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
		fstrim.timer man-db.timer systemd-tmpfiles-clean.timer e2scrub_reap.service \
		systemd-pstore.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
		systemd-networkd-wait-online.service systemd-timesyncd.service systemd-binfmt.service \
		getty@tty1.service serial-getty@ttyS0.service modprobe@drm.service \
		modprobe@efi_pstore.service dev-hugepages.mount sys-kernel-debug.mount \
		sys-kernel-tracing.mount sys-fs-fuse-connections.mount console-getty.service; do
		ln -sf /dev/null "$1/etc/systemd/system/$unit"
	done
	echo 0123456789abcdef0123456789abcdef >"$1/etc/machine-id"
	echo node >"$1/etc/hostname"
	printf '127.0.0.1 localhost node\n::1 localhost\n' >"$1/etc/hosts"
	rm -rf "$1/etc/resolv.conf" "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1"/etc/apt/sources.list*
	printf 'nameserver 10.0.2.3\n' >"$1/etc/resolv.conf"
	printf '[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n' \
		>"$1/etc/systemd/network/10-uplink.network"
	mkdir -p "$1/etc/systemd/system/multi-user.target.wants"
	ln -sf /lib/systemd/system/systemd-networkd.service \
		"$1/etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
	# A user's commands run outside of any unit's limits; so do those that come over the channel.
	cat >"$1/etc/systemd/system/node-agent.service" <<'UNIT'
[Unit]
Description=Command channel of the node VM
After=basic.target
[Service]
ExecStartPre=/bin/mkdir -p /run/node
ExecStartPre=/bin/mount -o ro /dev/vdb /run/node
ExecStart=/run/node/node-agent
Environment=HOME=/root LANG=C.UTF-8
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WorkingDirectory=/root
Delegate=yes
KillMode=process
OOMPolicy=continue
TasksMax=infinity
OOMScoreAdjust=-500
UNIT
	ln -sf ../node-agent.service \
		"$1/etc/systemd/system/multi-user.target.wants/node-agent.service"
}

bootstrap() { # ROOT
	apt_options >"$work/apt.conf"
	sources >"$work/sources.list"
	[ -s "$work/sources.list" ] || die "apt knows no source of Debian $suite; run apt-get update"
	packages=$(printf '%s' "$tools $libraries" | tr -s ' \t\n' ',')
	# A mount namespace of its own: whatever ends mmdebstrap takes its mounts along.
	INITRD=No DEBIAN_FRONTEND=noninteractive unshare --mount --propagation private -- \
		mmdebstrap --mode=root --variant=apt --architectures=amd64 --include="$packages" \
		--aptopt="$work/apt.conf" --aptopt='APT::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/info/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io \
		--skip=cleanup/apt/lists \
		"$suite" "$1" - <"$work/sources.list" >"$work/log" 2>&1 || {
		tail -n 20 "$work/log" >&2
		die "mmdebstrap failed"
	}
}

build() { # DIR
	bootstrap "$work/root"
	kernel=$(basename "$work/root"/lib/modules/*)
	configure "$work/root"
	cp "$work/root/boot/vmlinuz-$kernel" "$1/vmlinuz"
	make_initrd "$work/root" "$kernel" "$1/initrd"
	rm -rf "$work/root"/var/lib/apt/lists/* "$work/root"/var/cache/apt/*.bin
	mke2fs -q -t ext4 -L node -O ^has_journal -E assume_storage_prezeroed=1 -m 0 \
		-d "$work/root" "$1/rootfs.ext4" "$size" >/dev/null
}

[ "$(id -u)" = 0 ] || die 'must run as root'
[ "$(uname -m)" = x86_64 ] || die 'the node VM is x86-64 only so far'
suite=bookworm
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mvm
mkdir -p "$cache"

[ -n "$(kernel_candidate)" ] || apt-get update >&2
qemu=$(qemu-system-x86_64 --version | sed -n 1p)
key=$( (
	cat "$0" # the package list is in it
	kernel_candidate
	echo "$qemu"
) | sha256sum | cut -c1-16)
image=$cache/node-$key

if [ ! -d "$image" ]; then
	exec 9>"$cache/node.lock"
	flock -n 9 || { say 'waiting for another build'; flock 9; }
	rm -rf --one-file-system "$cache"/.node-build.*
	if [ ! -d "$image" ]; then
		say "building $image (a minute or so)"
		work=$(mktemp -d "$cache/.node-build.XXXXXX")
		trap 'rm -rf --one-file-system "$work"' EXIT
		trap 'exit 129' HUP
		trap 'exit 130' INT
		trap 'exit 143' TERM
		mkdir "$work/image"
		build "$work/image"
		sync -f "$work/image"
		mv -T "$work/image" "$image"
		# Two images stay, this one and the one before it: two branches may want one each.
		find "$cache" -maxdepth 1 -name 'node-*' -type d -printf '%T@ %p\n' | sort -rn |
			tail -n +3 | cut -d' ' -f2- | xargs -r rm -rf
	fi
	touch "$image"
fi
echo "$image"
