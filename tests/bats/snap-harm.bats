#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2034,SC2154,SC2317,SC2030,SC2031
# Each file of a capture cut, grown and with a bit flipped, in many places; and who sees it: mvm-snap
# verify, info, compose, unpack, and the check of a wake. What that does not like is not loaded.
#
#			verify	info	compose	unpack	wake
#	manifest.json	 x	 x	 x	 x	 x
#	the link	 x	 x	 x	 x	 x
#	vmstate		 x				 x
#	mem		 x				 x	by its size, and by its digest when inode or time is another
#	delta		 x		 x		 x
#	parent's files	 x		 x		 x
#	mem.pack	 x			 x	 x

setup() {
	load helper
	load net
	load snap
	net_setup
	# in the helper's place: a change of any kind, without reading all that memory each time
	digest() {
		find "$MVM_STATE_DIR" ! -name 'audit.lo*' \( -type d -printf '%p %m\n' -o -printf '%p %i %s %m %l %C@\n' \)
	}
	export MVM_BACKEND=direct MVM_VMM=qemu MVM_QEMU_ACCEL=tcg
	vm=acme/web/i-0000000a mem_mib=16
	tenant acme 7 10.20.7.0/24
	within mvm-pool create acme/web --flake . --profile minimal --cpus 1 --mem $mem_mib --data-disk 16 >/dev/null
	instance acme/web i-0000000a
	pool=$MVM_STATE_DIR/tenants/acme/pools/web
	instance=$pool/instances/i-0000000a
	snapshots=$instance/snapshots
	kept=$BATS_TEST_TMPDIR/kept
	all=(verify info compose unpack wake)
	image_of_nothing acme/web
	step prepare "$vm" # which makes its data disk
	end_of_start
	mkdir -p "$snapshots"
}

teardown() {
	net_teardown
}

step() { within mvm-instance "$@"; }
end_of_start() { EXIT_CODE=exited EXIT_STATUS=1 step finish "$vm"; }

cpu() { # KEY: of /proc/cpuinfo
	sed -n "s/^$1[[:blank:]]*: //p" /proc/cpuinfo | head -1
}

# All that a wake compares, told by others than mvm: then nothing but the files can be wrong.
of_this_machine() { # GEN...
	local here disks uuid ref image=$pool/artifacts/current data=$instance/volumes/data.ext4
	here=$(jq -nc --arg revision "$(basename "$(readlink "$image")")" --arg arch "$(uname -m)" \
		--arg version "$(mvm-fc-qemu --version | sed -n 's/^mvm-fc-qemu //p')" \
		--arg sha "$(sha256sum <"$MVM_BIN/mvm-fc-qemu" | cut -d' ' -f1)" \
		--arg format "$(mvm-fc-qemu --snapshot-version | head -1)" \
		--arg vendor "$(cpu vendor_id)" --arg family "$(cpu 'cpu family')" --arg model "$(cpu model)" \
		--arg stepping "$(cpu stepping)" --arg microcode "$(cpu microcode)" \
		--arg flags "$(cpu flags | tr ' ' '\n' | grep . | LC_ALL=C sort | tr '\n' '\0' | sha256sum | cut -d' ' -f1)" \
		--arg kernel "$(uname -r)" --argjson root "$(stat -c %s "$image/rootfs.erofs")" '
		{revision_hash: $revision, arch: $arch, vmm_version: $version, vmm_sha256: $sha, state_format: $format,
		host_kernel: $kernel,
		cpu: {vendor: $vendor, family: ($family | tonumber? // 0), model: ($model | tonumber? // 0),
			stepping: ($stepping | tonumber? // 0), microcode: $microcode, flags_sha256: $flags},
		devices: [["drive", "rootfs", $root], ["net", "eth0", 0], ["vsock", "vsock", 0], ["entropy", "entropy", 0]] |
			map({kind: .[0], id: .[1], bytes: .[2], identity: ""})}')
	uuid=$(blkid -p -s UUID -o value "$data" | tr -d -)
	disks=$(jq -nc --arg identity "$uuid $(stat -c %.9Y "$data")" --argjson data "$(stat -c %s "$data")" '
		[["data", $data, $identity], ["secrets", 16777216, ""], ["config", 1048576, ""]] |
			map({kind: "drive", id: .[0], bytes: .[1], identity: .[2]})')
	for ref in "$@"; do
		reseal "$snapshots/$ref" ".machine *= $here | .guest.disks = $disks |
			.guest += $(jq -c '.net | {guest_ip, gateway_ip, cidr, mac}' "$instance/instance.json")"
	done
}

# What is there now is what all begins with.
keep() {
	rm -rf "$kept"
	cp -a "$snapshots" "$kept"
}

seen() { # GEN: inode and time of its memory are those that its manifest has, so that it need not be read
	local file=$snapshots/$1/mem inode mtime
	[[ ! -e $file ]] || {
		read -r inode mtime < <(stat -c '%i %.9Y' "$file")
		reseal "$snapshots/$1" ".memory.seen = {inode: \"$inode\", mtime: \"$mtime\"}"
	}
}

afresh() {
	local gen
	rm -rf "$snapshots"
	cp -a "$kept" "$snapshots"
	for gen in "$snapshots"/gen-*; do
		seen "${gen##*/}"
	done
	edit "$vm" '.op = null | .cold = null | .status = "sleeping"'
}

# The wake's check: what it would load, or why nothing is.
wakes() { # prints "load", or the cause of a boot
	step prepare "$vm" >/dev/null
	if [[ $(<"$MVM_RUN_DIR/instances/i-0000000a/launch.json") == *'"mode":"load"'* ]]; then
		echo load
	else
		mvm-instance info "$vm" | jq -r .cold
		[[ ! -L $snapshots/delta ]] || return 1 # where a boot would leave it, the next wake might follow it
	fi
	end_of_start
}

# Does it refuse what there is, by the name of $named? 0 yes, 1 it takes no notice, 2 neither. $stale: whether what
# there is has been changed by that.
sees() { # WHO
	local was=0
	stale=yes
	case $1 in
	wake)
		wakes >"$BATS_TEST_TMPDIR/told" || return 2
		[[ $(<"$BATS_TEST_TMPDIR/told") != load ]] || return 1
		;;
	*)
		before=$(digest)
		mvm-snap "$1" "$vm" >"$BATS_TEST_TMPDIR/told" 2>&1 || was=$?
		[[ $(digest) != "$before" ]] || stale=
		# a look changes nothing, and nor does who refuses
		[[ ! $stale || ($was == 0 && $1 != verify && $1 != info) ]] || return 2
		((was)) || return 1
		[[ $was == 1 || "$1 $was" == "verify 3" || ($1 != verify && $was == 4) ]] || return 2
		;;
	esac
	grep -qF "$named" "$BATS_TEST_TMPDIR/told" || return 2
}

# A harm, what it is refused as, and who of all has to see it: the others take no notice.
harm() { # HARM NAMED WHO...
	local who did want
	named=$2 stale=yes
	for who in "${all[@]}"; do
		if [[ $stale ]]; then
			afresh
			eval "$1"
		fi
		did=0
		sees "$who" || did=$?
		want=1
		[[ " ${*:3} " != *" $who "* ]] || want=0
		[[ $did == "$want" ]] || {
			echo "$1: $who: $did instead of $want: $(<"$BATS_TEST_TMPDIR/told")" >&2
			return 1
		}
	done
}

# The same for a file cut and grown. More lengths, and more places of bits: tests/unit/test_snap_gen.c; each
# byte of a pack and of a manifest: test_snap_pack.c, test_snap_manifest.c.
each_length() { # FILE NAMED WHO...
	local length size
	size=$(stat -c %s "$kept/$1")
	for length in $((size / 2)) $((size - 1)) $((size + 1)); do
		harm "truncate -s $length \"$snapshots/$1\"" "${@:2}"
	done
}

each_bit() { # FILE NAMED PLACES WHO...
	local at
	for at in $3; do
		harm "flip \"$snapshots/$1\" $at" "$2" "${@:4}"
	done
}

full() {
	gen 1 0=7 2=3 4095=9
	of_this_machine gen-1
	keep
}

@test "a capture of this machine is loaded, as it is, packed or a delta" {
	full
	afresh
	[ "$(wakes)" = load ]
	mvm-snap pack "$vm" --compression lz4
	[ "$(wakes)" = load ]
	delta 2 gen-1 2=0 5=5
	of_this_machine gen-2
	edit "$vm" '.op = null | .status = "sleeping"'
	[ "$(wakes)" = load ]
	[ "$(jq -r .composed_from "$snapshots/gen-2/manifest.json")" = gen-1 ]
}

@test "gc keeps the base that starts would use here, not one of the image that was taken elsewhere" {
	local ref=0123456789abcdef0123456789abcdef
	base $ref 1=1
	reseal "$pool/snapshots/base-$ref" ".machine.revision_hash = \"$(basename "$(readlink "$pool/artifacts/current")")\""
	why_of() { mvm-snap gc acme/web --dry-run | jq -r '.[0] | .ref + " " + .why'; }
	[ "$(why_of)" = "base-$ref unused" ]
	# which one that is, is not known
	[ "$(MVM_VMM=none why_of)" = "base-$ref image" ]
	[ "$(mvm-snap gc acme/web | jq -r '.[0].removed')" = true ]
	[ ! -e "$pool/snapshots/base-$ref" ]
}

# A QEMU that says so, in front of the one that is there.
another_qemu() { # VERSION
	mkdir -p "$BATS_TEST_TMPDIR/bin"
	printf '#!/bin/sh\necho "QEMU emulator version %s"\n' "$1" >"$BATS_TEST_TMPDIR/bin/qemu-system-x86_64"
	chmod +x "$BATS_TEST_TMPDIR/bin/qemu-system-x86_64"
}

@test "8: a capture of another QEMU stays, says what it needs, and is loaded when that is there" {
	local real path=$PATH khz
	full
	real=$(qemu-system-x86_64 --version | sed -n '1s/^QEMU emulator version //p')
	afresh
	reseal "$snapshots/gen-1" ".machine.emulator = \"$real\""
	[ "$(wakes)" = load ]
	khz=$(jq .tsc_khz "$MVM_RUN_DIR/qemu-host.json")
	((khz > 100000))
	afresh
	reseal "$snapshots/gen-1" ".machine.emulator = \"$real\" | .machine.tsc_khz = $khz"
	[ "$(wakes)" = load ]
	for version in '99.1.0 (Debian 1:99.1+dfsg-1)' 99.2.0; do
		another_qemu "$version"
		PATH=$BATS_TEST_TMPDIR/bin:$path
		afresh
		reseal "$snapshots/gen-1" ".machine.emulator = \"$real\" | .machine.tsc_khz = $khz"
		refuses 8 step prepare "$vm"
		[[ $stderr == *"machine: emulator: the capture is of QEMU $real, here it is $version"* ]]
		end_of_start
		[ "$(mvm-instance info "$vm" | jq -r '[.status, .cold] | map(tostring) | join(" ")')" = "sleeping null" ]
		[ "$(jq .spent "$snapshots/gen-1/manifest.json")" = false ]
		[[ $(step explain "$vm" | jq -r .capture_bad) == *"emulator"* ]]
		PATH=$path
		[ "$(wakes)" = load ]
	done
	afresh
	reseal "$snapshots/gen-1" ".machine.tsc_khz = $((khz + khz / 1000))"
	refuses 8 step prepare "$vm"
	[[ $stderr == *"machine: tsc_khz: the capture is of a host with a TSC of "* ]]
	end_of_start
	[ "$(readlink "$snapshots/delta")" = gen-1 ]
	# one that says nothing of a version
	printf '#!/bin/sh\necho hello\n' >"$BATS_TEST_TMPDIR/bin/qemu-system-x86_64"
	PATH=$BATS_TEST_TMPDIR/bin:$path
	refuses 1 step prepare "$vm"
	[[ $stderr == *"qemu-system-x86_64 --version: "* ]]
}

@test "explain says of what does not fit here what a wake says, and changes nothing" {
	local change told
	full
	afresh
	[ "$(step explain "$vm" | jq -c '[.capture, .capture_bad, .capture_note]')" = '["gen-1",null,null]' ]
	reseal "$snapshots/gen-1" 'del(.quiesced)'
	[[ $(step explain "$vm" | jq -r '[.capture_bad, .capture_note] | map(tostring) | join(" ")') == "null "*"not at rest"* ]]
	for change in '.machine.cpu.model += 1' '.machine.host_kernel = "6.0"' '.machine.vmm_version = "9.9"' \
		'.machine.vcpus = 2' '.machine.devices = []' '.machine.revision_hash = "abcdef"' \
		'.guest.mac = "02:fc:00:07:00:09"' '.guest.disks[0].identity = "another"' '.spent = true | .spent_at = .created_at'; do
		afresh
		reseal "$snapshots/gen-1" "$change"
		before=$(digest)
		told=$(step explain "$vm" | jq -r .capture_bad)
		echo "$change: $told" >&2
		[ "$(digest)" = "$before" ]
		[ "$told" != null ]
		[[ $(wakes) == "${told:0:150}"* ]]
	done
	afresh
	touch "$instance/volumes/data.ext4"
	[[ $(step explain "$vm" | jq -r .capture_bad) == *"guest: disks: "* ]]
}

@test "manifest and link: whatever is wrong with them, everybody sees it" {
	full
	each_length gen-1/manifest.json manifest.json "${all[@]}"
	each_bit gen-1/manifest.json manifest.json '0 -3' "${all[@]}"
	# in the middle it is another value, which the wake compares before it looks at the seal
	each_bit gen-1/manifest.json gen-1: '300 700' "${all[@]}"
	harm 'rm "$snapshots/gen-1/manifest.json"' manifest.json "${all[@]}"
	for target in gen- gen-0 fen-1 ../snapshots/gen-1; do
		harm "ln -sfn $target \"\$snapshots/delta\"" snapshots/delta "${all[@]}"
	done
	harm 'rm "$snapshots/delta" && echo gen-1 >"$snapshots/delta"' snapshots/delta "${all[@]}"
	# One bit of it flipped, it may name another one; that is not there.
	harm 'ln -sfn gen-3 "$snapshots/delta"' gen-3 "${all[@]}"
	# A directory is nothing that a start removes.
	all=(verify info compose unpack)
	harm 'rm "$snapshots/delta" && mkdir "$snapshots/delta"' snapshots/delta "${all[@]}"
	run -1 step prepare "$vm"
	[[ $output == *"remove delta: Is a directory"* ]]
}

@test "vmstate and mem, cut, grown or with a bit flipped: verify and the wake see it" {
	full
	each_length gen-1/vmstate 'vmstate: ' verify wake
	each_bit gen-1/vmstate 'vmstate: ' '0 -1' verify wake
	each_length gen-1/mem 'mem: ' verify wake
	# in pages with data, in a hole, in the last byte
	each_bit gen-1/mem 'mem: ' '4095 8388608 -1' verify wake
	for file in vmstate mem; do
		harm "rm \"$snapshots/gen-1/$file\"" "$file: " verify wake
	done
}

@test "a cold start is counted by its cause, and stats and explain tell it" {
	full
	while IFS='|' read -r cause harm; do
		afresh
		edit "$vm" 'del(.cold_starts)'
		eval "$harm"
		wakes >"$BATS_TEST_TMPDIR/told"
		[ "$(within mvm-instance stats "$vm" | jq -r '.cold_starts | to_entries | map(select(.value > 0) | "\(.key) \(.value)") | join(" ")')" = "$cause" ]
		told=$(<"$BATS_TEST_TMPDIR/told")
		[[ $(mvm-instance explain "$vm" | jq -r '.cold // "load"') == "$told" ]]
	done <<-'END'
		damaged 1|truncate -s 1 "$snapshots/gen-1/vmstate"
		other 1|reseal "$snapshots/gen-1" ".machine.vcpus = 2"
		refused 1|reseal "$snapshots/gen-1" ".spent = true | .spent_at = .created_at"
		gone 1|rm "$snapshots/delta"
		|true
	END
}

# What no write has done (a disk that forgets) leaves the time as it was: then only verify reads all of it, as
# does whoever makes another memory of it.
@test "mem that has changed under its time: verify sees it, and a pack is not made of it" {
	full
	afresh
	touch -r "$snapshots/gen-1/mem" "$BATS_TEST_TMPDIR/time"
	flip "$snapshots/gen-1/mem" 12000
	touch -r "$BATS_TEST_TMPDIR/time" "$snapshots/gen-1/mem"
	run -3 mvm-snap verify "$vm"
	[[ $(out '.[0].error') == *"mem: its digest does not fit"* ]]
	refuses_untouched 1 mvm-snap pack "$vm" --compression zstd
	[[ $stderr == *"mem: its digest does not fit"* ]]
}

@test "what a sealed manifest says of its files is compared with them" {
	full
	harm 'reseal "$snapshots/gen-1" ".vmstate.bytes += 1"' 'vmstate: ' verify wake
	harm 'reseal "$snapshots/gen-1" ".vmstate.sha256 = .memory.sha256"' 'vmstate: ' verify wake
	# Nobody reads all of the memory whose inode and time are right.
	harm 'reseal "$snapshots/gen-1" ".memory.sha256 = .vmstate.sha256"' 'mem: ' verify
	harm 'reseal "$snapshots/gen-1" ".memory.sha256 = .vmstate.sha256 | .memory.seen.mtime = \"7\""' 'mem: ' verify wake
	harm 'reseal "$snapshots/gen-1" ".memory.seen.mtime = \"7\""' mem
	harm 'reseal "$snapshots/gen-1" ".memory.seen.inode = \"7\""' mem
}

@test "a delta and its parent, cut, grown or with a bit flipped: verify, compose and the wake see it" {
	full
	delta 2 gen-1 2=8 5=5 # no zeros: a copy of it would have holes there
	of_this_machine gen-2
	keep
	all=(verify info compose wake) # unpack has nothing to do with a delta: 3
	afresh
	[ "$(wakes)" = load ]
	each_length gen-2/delta 'delta: ' verify compose wake
	each_bit gen-2/delta 'delta: ' '8192 12000 -1' verify compose wake
	each_length gen-2/vmstate 'vmstate: ' verify wake
	each_length gen-1/mem 'mem: ' verify compose wake
	each_bit gen-1/mem 'mem: ' '4095 -1' verify compose wake
	each_bit gen-1/manifest.json manifest.json '0 -3' verify compose wake
	harm 'rm -r "$snapshots/gen-1"' gen-1 verify compose wake
}

# Header, chunks, index and trailer are looked up in the file itself, as lib/snap/pack.h has them.
@test "mem.pack, cut, grown or with a bit flipped in each chunk and each row of its index: all who read it see it" {
	for how in lz4 zstd; do
		rm -rf "${snapshots:?}"/*
		full
		afresh
		mvm-snap pack "$vm" --compression $how
		keep
		each_length gen-1/mem.pack 'mem.pack: ' verify unpack wake
		pack=$kept/gen-1/mem.pack
		size=$(stat -c %s "$pack")
		index=$(perl -e 'open F, "<", $ARGV[0]; seek F, -56, 2; read F, $b, 8; print unpack "Q<", $b' "$pack")
		(((size - 64 - index) % 96 == 0 && (size - 64 - index) / 96 == 2))
		places="12 64 $((index - 1)) -56 -1"
		for ((row = index; row < size - 64; row += 96)); do
			places+=" $row $((row + 20)) $((row + 95))"
		done
		each_bit gen-1/mem.pack 'mem.pack: ' "$places" verify unpack wake
	done
}

# Whatever calls it is cut off, and each call is a line.
vmm_that_hangs_up() { # its pid is in $vmm
	# shellcheck disable=SC2016
	perl -MIO::Socket::UNIX -MPOSIX -e '
		chdir $ARGV[0] or die; setgid $ARGV[1]; setuid $ARGV[1];
		my $s = IO::Socket::UNIX->new(Local => "api.sock", Listen => 5) or die;
		$| = 1;
		while (my $c = $s->accept) { sysread $c, my $said, 4096 and print "call\n" }' \
		"$MVM_STATE_DIR/jails/qemu/i-0000000a/root/run" "$(jq .uid "$MVM_RUN_DIR/instances/i-0000000a/launch.json")" \
		>"$BATS_TEST_TMPDIR/calls" 3>&- &
	vmm=$!
	echo "$vmm" >>"$BATS_TEST_TMPDIR/holders"
}

load_it() { # as the launcher's helper
	# shellcheck disable=SC2016
	perl -MFcntl -e '
		my $fd = syscall 434, $ARGV[0] + 0, 0; # pidfd_open
		open my $f, "<&=", $fd or die;
		fcntl $f, F_SETFD, 0 or die;
		exec "mvm-snap", "load", $ARGV[1], "--vmm-fd", $fd' "$vmm" "$vm"
}

@test "a load that fails before its VMM is called leaves the capture, one that calls it does not" {
	full
	afresh
	step prepare "$vm"
	vmm_that_hangs_up
	MVM_FAULT=life-load-rights:err=EIO refuses 1 load_it
	[[ $stderr == *"give up rights: "* ]]
	mvm-snap info "$vm" | jq -e '.spent == false and .spent_at == null'
	[ ! -s "$BATS_TEST_TMPDIR/calls" ]
	# made by hand it had no marks, which are under its seal
	launch=$MVM_RUN_DIR/instances/i-0000000a/launch.json
	jq --arg seal "$(jq -r .seal "$snapshots/gen-1/manifest.json")" '.capture_seal = $seal' <"$launch" >"$launch.new"
	mv "$launch.new" "$launch"
	refuses 1 load_it
	eventually lines_in "$BATS_TEST_TMPDIR/calls" 1
	mvm-snap info "$vm" | jq -e .spent
	refuses 3 load_it
	end_of_start
	[ "$(mvm-instance info "$vm" | jq -r .status)" = stopped ]
}

# FORMAT in the manual, over a file that is there.
file_digest() { # FILE
	# shellcheck disable=SC2016
	perl -MDigest::SHA=sha256,sha256_hex -e '
		open my $f, "<", $ARGV[0] or die;
		my ($all, $n, $raw) = ("mvm-pages-1\n" . pack("Q<", -s $f), 0);
		while (read $f, $raw, 1 << 20) {
			my ($map, $pages) = ("\0" x 32, "");
			for my $p (0 .. length($raw) / 4096 - 1) {
				my $page = substr $raw, $p * 4096, 4096;
				next if $page !~ /[^\0]/;
				vec($map, $p, 1) = 1;
				$pages .= $page;
			}
			$all .= pack("Q<", $n) . sha256($map . $pages) if length $pages;
			$n++;
		}
		print sha256_hex($all)' "$1"
}

named() { # GEN NAME: with the data disk as it is
	local dir=$snapshots/$1 disk=$instance/volumes/data.ext4
	of_this_machine "$1"
	cp -p "$disk" "$dir/data.ext4"
	reseal "$dir" ".kind = \"named\" | .name = \"$2\" | .data = {bytes: $(stat -c %s "$disk"), sha256: \"$(file_digest "$disk")\"}"
	rm -f "$snapshots/delta"
}

op() { mvm-instance info "$vm" | jq -r '[.status, .op.verb, .op.stage, .op.pid] | map(tostring) | join(" ")'; }

@test "a start by hand does not take a restore over; killed, it is settled" {
	local restore ended=0
	gen 1 0=7 2=3
	named gen-1 before
	edit "$vm" '.op = null | .status = "stopped"'
	MVM_FAULT=snap-data-copy:stop@1,life-give-done:err=EIO become_within mvm-instance snapshot restore "$vm" before 2>"$BATS_TEST_TMPDIR/said" 3>&- &
	restore=$!
	eventually is_stopped "$restore"
	[ "$(op)" = "stopped wake working $restore" ]
	# what the unit does: prepare, and finish behind it
	refuses 8 step prepare "$vm"
	[[ $stderr == *"busy: wake is working (pid $restore)"* ]]
	end_of_start
	[ "$(op)" = "stopped wake working $restore" ]
	refuses 8 step start "$vm"
	kill -CONT "$restore"
	wait "$restore" || ended=$?
	[ "$ended" = 1 ]
	cat "$BATS_TEST_TMPDIR/said" >&2
	[ "$(op)" = "sleeping null null null" ]
	[ "$(readlink "$snapshots/delta")" = gen-2 ]

	edit "$vm" '.status = "stopped"'
	MVM_FAULT=life-give-begun:kill run -137 step snapshot restore "$vm" before
	[[ $(op) == "stopped wake working "* ]]
	step settle "$vm"
	[ "$(op)" = "stopped null null null" ]
	mvm-audit list acme | jq -e 'map(select(.outcome == "failed"))[-1] | tostring | contains("wake was asked for and never ended")'
	MVM_FAULT=life-give-begun:kill run -137 step snapshot restore "$vm" before
	step prepare "$vm" # by hand as well
	[[ $(op) == "stopped start starting "* ]]
	end_of_start
}
