# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2034,SC2154
# Starts from the base of a pool's image, which was taken from a template, with real guests: each is
# itself, and whatever is wrong with the base costs time only.

load e2e

setup_file() {
	e2e_setup_file
	new_pool acme/mould 128 --data-disk 64 --drain-timeout 10s --start-from template
	mvm-config set acme colour='"green"' --no-push
}

setup() {
	pool=${MVM_STATE_DIR:-/var/lib/mvm}/tenants/acme/pools/mould
}

teardown() {
	mvm-instance destroy --all --yes acme/mould >/dev/null
	no_strays
	no_templates
}

no_templates() {
	[[ $(mvm-instance list acme --templates | jq 'map(select(.role == "template")) | length') == 0 ]]
}

bases_taken() { mvm-audit list acme --action SnapshotCreated | jq length; }

loaded() { # ADDRESS: the load is done, and has let go of the base
	grep -q '"repaired"' "${MVM_RUN_DIR:-/run/mvm}/instances/${1##*/}/start.json"
}

base_of() { mvm-snap list acme/mould | jq -r 'map(.ref) | join(" ")'; }

started_from() { # ADDRESS: the base that it went on from
	[[ $(field "$1" '[.status, .cold, .diff_base.ref] | join(" ")') == "running  $2" ]] || {
		mvm-instance info "$1" >&2
		return 1
	}
	[[ $(mvm-instance explain "$1" | jq .start.load) == true ]]
}

@test "the base is taken once, from a template that nothing is left of, and is read-only" {
	run -0 --separate-stderr mvm-snap base acme/mould
	[[ $(jq .changed <<<"$output") == true ]]
	ref=$(jq -r .ref <<<"$output")
	echo "# base: $(jq -r '"\(.allocated / 1048576 | floor) MiB on the disk, \(.took_ms) ms"' <<<"$output")" >&3
	no_templates
	[[ $(stat -c %a "$pool/snapshots/$ref/mem" "$pool/snapshots/$ref/vmstate" | xargs) == "444 444" ]]
	(($(stat -c %b "$pool/snapshots/$ref/mem") * 512 < 128 << 20))
	[[ $(mvm-snap info acme/mould "$ref" | jq -r '[.kind, .guest.mac, .spent] | map(tostring) | join(" ")') == "base 02:fc:00:07:00:00 false" ]]
	mvm-snap verify acme/mould
	[[ $(mvm-snap base acme/mould | jq -r '[.ref, .changed] | map(tostring) | join(" ")') == "$ref false" ]]
	[[ $(mvm-snap gc acme/mould | jq -r '.[0] | [.ref, .why] | join(" ")') == "$ref image" ]]
	[[ $(mvm-audit list acme --action SnapshotCreated | jq length) == 1 ]]
	refuses 8 flock "$pool/../../template.lock" mvm-snap base acme/mould --lock-timeout 50ms
}

@test "two starts from one base are two guests: random numbers, ids, clock, address, name, drives" {
	mvm-snap base acme/mould
	a=$(new_instance acme/mould) b=$(new_instance acme/mould)
	before=$(now_us)
	up "$a"
	echo "# start from the base: $((($(now_us) - before) / 1000)) ms" >&3
	up "$b"
	ref=$(base_of)
	for vm in "$a" "$b"; do
		started_from "$vm" "$ref"
		guest "$vm" 'head -c 16 /dev/urandom | sha256sum; cat /run/mvm/boot-id' >"$BATS_TEST_TMPDIR/${vm##*/}"
		on_time "$vm"
		guest "$vm" 'ip -4 addr show dev eth0; cat /sys/class/net/eth0/address; hostname; cat /etc/hosts' >"$BATS_TEST_TMPDIR/net"
		cat "$BATS_TEST_TMPDIR/net" >&2
		grep -q "inet $(field "$vm" .net.guest_ip)/24 " "$BATS_TEST_TMPDIR/net"
		run -1 grep -q "inet 10.240.7.0/" "$BATS_TEST_TMPDIR/net"
		grep -qx "$(field "$vm" .net.mac)" "$BATS_TEST_TMPDIR/net"
		grep -qx "${vm##*/}" "$BATS_TEST_TMPDIR/net"
		grep -q "$(field "$vm" .net.guest_ip) ${vm##*/}" "$BATS_TEST_TMPDIR/net"
		guest "$vm" 'cat /etc/mvm-config/config.json' | jq -e --arg i "${vm##*/}" '.instance_id == $i and .values.colour == "green"'
		guest "$vm" "grep -q ' /data ext4' /proc/mounts && echo $vm >/data/mine && sync"
	done
	run -1 cmp -s "$BATS_TEST_TMPDIR/${a##*/}" "$BATS_TEST_TMPDIR/${b##*/}"
	for line in 1 2; do
		[[ $(sed -n ${line}p "$BATS_TEST_TMPDIR/${a##*/}") != $(sed -n ${line}p "$BATS_TEST_TMPDIR/${b##*/}") ]]
	done
	guest "$a" "ping -c 1 -w 10 $(field "$b" .net.guest_ip)"
	[[ $(guest "$a" 'cat /data/mine') == "$a" ]]
	mvm-bridge verify acme
	[[ $(mvm-audit list acme --action InstanceStarted -n 1 | jq -r '.[0].instance_id') == "${b##*/}" ]]
	mvm-instance stop "$a"
	e2fsck -fn "$pool/instances/${a##*/}/volumes/data.ext4"
	mvm-snap verify acme/mould
}

@test "a sleep after it is a delta over the base, and so on: checksums stay" {
	vm=$(new_instance acme/mould)
	up "$vm"
	started_from "$vm" "$(base_of)"
	guest "$vm" 'mkdir -p /run/t && mount -t tmpfs none /run/t && head -c 3000000 /dev/urandom >/run/t/f &&
		sha256sum /run/t/f >/run/t/sum && head -c 500000 /dev/urandom >/data/f && sha256sum /data/f >/data/sum'
	for round in 1 2; do
		mvm-instance sleep "$vm"
		mvm-instance explain "$vm" | jq -r '"# sleep \(.sleep.kind) over \(.sleep.parent): \(.sleep.bytes / 1024 | floor) KiB"' >&3
		[[ $(mvm-instance explain "$vm" | jq -r .sleep.kind) == delta ]]
		[[ $round == 2 || $(mvm-instance explain "$vm" | jq -r .sleep.parent) == "$(base_of)" ]]
		mvm-instance wake "$vm"
		[[ $(field "$vm" .cold) == null ]]
		guest "$vm" 'sha256sum -c /run/t/sum && sha256sum -c /data/sum'
	done
	mvm-snap verify acme/mould
}

@test "a base that is refused, or comes to nothing, is a boot that says why" {
	mvm-snap base acme/mould
	vm=$(new_instance acme/mould)
	# what is taken for it is not what it was
	ref=$(base_of)
	cp -a "$pool/snapshots/$ref/vmstate" "$BATS_TEST_TMPDIR/vmstate"
	printf x >>"$pool/snapshots/$ref/vmstate"
	up "$vm"
	[[ $(field "$vm" '.status + " " + (.diff_base | tostring)') == "running null" ]]
	[[ $(field "$vm" .cold) == *vmstate* ]]
	guest "$vm" 'grep " /data ext4" /proc/mounts'
	mvm-instance stop "$vm"
	cat "$BATS_TEST_TMPDIR/vmstate" >"$pool/snapshots/$ref/vmstate"
	# the load fails
	MVM_FAULT=life-load-loaded:err=EIO mvm-instance start "$vm"
	is_status "$vm" running
	[[ $(field "$vm" .cold) == *"fault"* ]]
	guest "$vm" true
	mvm-instance stop "$vm"
	# and the next one is from the base again
	mvm-instance start "$vm"
	started_from "$vm" "$ref"
}

@test "start --cold is a boot, and says nothing of a cause" {
	mvm-snap base acme/mould
	vm=$(new_instance acme/mould)
	mvm-instance start --cold "$vm"
	[[ $(field "$vm" '[.status, .cold, .diff_base] | map(tostring) | join(" ")') == "running null null" ]]
	[[ $(mvm-instance explain "$vm" | jq .start.load) == false ]]
	mvm-instance sleep "$vm"
	mvm-instance start --cold "$vm"
	[[ $(field "$vm" '[.status, .cold, .diff_base] | map(tostring) | join(" ")') == "running null null" ]]
	mvm-instance stop "$vm"
	mvm-instance start "$vm"
	started_from "$vm" "$(base_of)"
}

@test "a damaged base is told and left alone by each start, and the next mvm-snap base replaces it" {
	mvm-snap base acme/mould
	ref=$(base_of)
	vm=$(new_instance acme/mould)
	up "$vm"
	started_from "$vm" "$ref"
	taken=$(bases_taken)
	truncate -s 100 "$pool/snapshots/$ref/manifest.json"
	other=$(new_instance acme/mould)
	for round in 1 2; do
		mvm-instance start "$other"
		[[ $(field "$other" '.status + " " + (.diff_base | tostring)') == "running null" ]]
		[[ $(field "$other" .cold) == *"$ref"*manifest.json*damaged* ]]
		mvm-instance stop "$other"
	done
	[[ $(bases_taken) == "$taken" ]]
	# whoever runs from it goes on, and is captured in full
	[[ $(mvm-snap base acme/mould | jq -r '[.ref, .changed] | map(tostring) | join(" ")') == "$ref true" ]]
	mvm-snap verify acme/mould
	mvm-instance sleep "$vm"
	[[ $(mvm-instance explain "$vm" | jq -r '.sleep | [.kind, .why_full] | join(" ")') == "full "*"another one now" ]]
	mvm-instance wake "$vm"
	[[ $(field "$vm" .cold) == null ]]
	mvm-instance start "$other"
	started_from "$other" "$ref"
	mvm-instance destroy --yes "$vm" "$other"

	# also where only a page of it is another; but not below a delta
	printf x | dd of="$pool/snapshots/$ref/mem" bs=1 seek=70000000 conv=notrunc status=none
	vm=$(new_instance acme/mould)
	mkdir "$pool/instances/${vm##*/}/snapshots/gen-1"
	refuses 3 mvm-snap base acme/mould
	[[ $stderr == *"$ref: a capture may still be laid over it"* ]]
	rmdir "$pool/instances/${vm##*/}/snapshots/gen-1"
	[[ $(mvm-snap base acme/mould | jq -r '[.ref, .changed] | map(tostring) | join(" ")') == "$ref true" ]]
	mvm-snap verify acme/mould
	truncate -s 100 "$pool/snapshots/$ref/manifest.json"
	killed_at base-removed mvm-snap base acme/mould
	[[ -z $(base_of) ]]
	mvm-snap base acme/mould
	mvm-snap verify acme/mould
	no_templates
}

# A delta over the other one would be of a memory that never was.
@test "a base that is replaced while it is loaded is no parent of what went on from the former one" {
	mvm-snap base acme/mould
	ref=$(base_of)
	was=$(mvm-snap list acme/mould | jq -r '.[0].created_at')
	vm=$(new_instance acme/mould)
	MVM_FAULT=life-commit-drives:sleep=12000@1 mvm-instance start "$vm" >/dev/null &
	job=$!
	wait_until 20 loaded "$vm"
	truncate -s 100 "$pool/snapshots/$ref/manifest.json"
	mvm-snap base acme/mould
	wait "$job"
	[[ $(mvm-snap list acme/mould | jq -r '.[0].created_at') != "$was" ]]
	[[ $(field "$vm" '[.status, .cold, .diff_base] | map(tostring) | join(" ")') == "running null null" ]]
	guest "$vm" 'mkdir -p /run/t && echo here >/run/t/f'
	mvm-instance sleep "$vm"
	[[ $(mvm-instance explain "$vm" | jq -r .sleep.kind) == full ]]
	mvm-instance wake "$vm"
	[[ $(guest "$vm" 'cat /run/t/f') == here ]]
}

@test "a template whose maker was killed is ended by gc and by sweep, and one that is being made is not" {
	rm -rf "$pool/snapshots"/base-*
	killed_at base-paused mvm-snap base acme/mould
	left=$(mvm-instance list acme --templates | jq -r '.[] | select(.role == "template") | .instance_id')
	[[ $left == i-* ]]
	[[ $(mvm-snap gc acme/mould --dry-run | jq -r '.[0] | [.ref, .why, .removed] | map(tostring) | join(" ")') == "$left template false" ]]
	[[ $(flock "$pool/../../template.lock" mvm-snap gc acme/mould | jq 'map(select(.why == "template")) | length') == 0 ]]
	[[ $(mvm-snap gc acme/mould | jq -r '.[0] | [.ref, .why, .removed] | map(tostring) | join(" ")') == "$left template true" ]]
	no_templates
	no_strays
	killed_at base-taken mvm-snap base acme/mould
	[[ $(mvm-instance sweep | jq -r '.removed | map(select(startswith("acme/mould/i-"))) | length') == 1 ]]
	no_templates
	no_strays
}

@test "another image has another base: gc takes the old one, the next start makes the new one" {
	mvm-snap base acme/mould
	old=$(base_of)
	cp -a "$MVM_IMAGE" "$BATS_TEST_TMPDIR/image"
	jq '.boot_args += " mvm.other"' "$MVM_IMAGE/mvm-image.json" >"$BATS_TEST_TMPDIR/image/mvm-image.json"
	mvm-pool-build build acme/mould --from "$BATS_TEST_TMPDIR/image"
	[[ $(mvm-snap gc acme/mould | jq -r --arg r "$old" '.[] | select(.ref == $r) | [.why, .removed] | map(tostring) | join(" ")') == "unused true" ]]
	[[ -z $(base_of) ]]
	vm=$(new_instance acme/mould)
	up "$vm"
	new=$(base_of)
	[[ $new == base-* && $new != "$old" ]]
	started_from "$vm" "$new"
	guest "$vm" 'grep -q mvm.other /proc/cmdline'
	mvm-instance destroy --yes "$vm"
	mvm-pool-build build acme/mould --from "$MVM_IMAGE"
}

@test "of one image the base of another kernel, VMM or CPU goes when nobody refers to it" {
	mvm-snap base acme/mould
	ref=$(base_of)
	vm=$(new_instance acme/mould)
	up "$vm"
	other=base-00000000000000000000000000000000
	cp -a --sparse=always "$pool/snapshots/$ref" "$pool/snapshots/$other"
	why_of() { mvm-snap gc acme/mould "$@" | jq -r 'map(select(.ref | startswith("base-")) | "\(.ref) \(.why) \(.removed)") | sort | join(", ")'; }
	# somebody runs from it
	record=$pool/instances/${vm##*/}/instance.json
	runs_from() { jq -c --arg r "$1" '.diff_base.ref = $r' "$record" >"$BATS_TEST_TMPDIR/i" && cat "$BATS_TEST_TMPDIR/i" >"$record"; }
	runs_from "$other"
	[[ $(why_of) == "$other diff-base false, $ref image false" ]]
	runs_from "$ref"
	[[ $(why_of --dry-run) == "$other unused false, $ref diff-base false" ]]
	[[ $(why_of) == "$other unused true, $ref diff-base false" ]]
	[[ $(base_of) == "$ref" ]]
	mvm-instance sleep "$vm"
	mvm-instance wake "$vm"
	[[ $(field "$vm" .cold) == null ]]
}

@test "killed anywhere: nothing is left of the template by the next one, and the base is whole" {
	mvm-instance list acme/mould >/dev/null
	for point in base-begun base-started base-paused base-taken snap-seal base-committed; do
		rm -rf "$pool/snapshots"/base-*
		killed_at "$point" mvm-snap base acme/mould
		mvm-snap base acme/mould
		no_templates
		no_strays
		[[ $(mvm-snap gc acme/mould | jq 'map(select(.why == "left-over")) | length') == 0 ]]
		mvm-snap verify acme/mould
	done
}
