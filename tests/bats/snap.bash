# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2034,SC2154
# Captures made by hand, for tests that need no VMM. $pool and $snapshots: where they go, $instance:
# whose they are, $mem_mib: how much memory they have.
mem_mib=2

# One instance, in namespaces of its own (net.bash), whose captures are made here.
snap_setup() {
	net_setup
	export MVM_BACKEND=direct MVM_VMM=qemu
	vm=acme/web/i-0000000a
	tenant acme 7 10.20.7.0/24
	instance acme/web i-0000000a
	pool=$MVM_STATE_DIR/tenants/acme/pools/web
	instance=$pool/instances/i-0000000a
	snapshots=$instance/snapshots
}

# A sparse file: PAGE=BYTE ... (BYTE 0 writes zeros)
pages() { # FILE PAGE=BYTE...
	perl -e '
		open F, "+>", shift or die;
		truncate F, shift() << 20 or die;
		for (@ARGV) {
			my ($p, $b) = split /=/;
			sysseek F, $p * 4096, 0;
			syswrite(F, chr($b) x 4096) == 4096 or die }' "$1" "$mem_mib" "${@:2}"
	sync "$1"
}

# The digest of FORMAT in the manual, over the pages that are given.
pages_digest() { # content|data PAGE=BYTE...
	perl -MDigest::SHA=sha256,sha256_hex -e '
		my $form = shift; my $size = shift; my %mib;
		for (@ARGV) { my ($p, $b) = split /=/; next if $form eq "content" && !$b;
			$mib{int($p / 256)}{$p % 256} = chr($b) x 4096 }
		my $all = "mvm-pages-1\n" . pack("Q<", $size << 20);
		for my $n (sort { $a <=> $b } keys %mib) {
			my $map = "\0" x 32;
			vec($map, $_, 1) = 1 for keys %{$mib{$n}};
			$all .= pack("Q<", $n) . sha256($map . join "", map { $mib{$n}{$_} } sort { $a <=> $b } keys %{$mib{$n}}) }
		print sha256_hex($all)' "$1" "$mem_mib" "${@:2}"
}

# The seal is over the text with its keys in the order of the manual's FORMAT. gojq sorts them, and jq, which
# would keep them, takes ten times as long to start: so they are put in order here.
snap_keys='schema_version kind name created_at quiesced machine revision_hash arch vmm vmm_version vmm_sha256 state_format accel
	cpu vendor family model stepping microcode flags_sha256 cpu_template host_kernel vcpus mem_mib pci agent_protocol
	devices emulator tsc_khz guest tenant_id pool_id instance_id guest_ip gateway_ip cidr mac disks parent ref composed_from vmstate
	memory form id bytes identity sha256 seen inode mtime pack compression spent spent_at data cloned_from marks'
snap_text='def text($order): if type == "object" then . as $o |
		if keys - $order == [] then . else error("no place for \(keys - $order)") end |
		"{\($order | map(select(. as $k | $o | has($k)) | "\(tojson):\($o[.] | text($order))") | join(","))}"
	elif type == "array" then "[\(map(text($order)) | join(","))]" else tojson end;'

seal() { # DIR FILTER JQ-ARGUMENT...: what the filter makes is the manifest
	local text sum
	text=$(jq -r --arg keys "$snap_keys" "${@:3}" "$snap_text ($2) | text([\$keys | splits(\"[[:space:]]+\")])") || return
	sum=$(sha256sum < <(printf %s "$text"))
	printf '%s,"seal":"%s"}\n' "${text%\}}" "${sum%% *}" >"$1/manifest.json"
}

reseal() { # DIR FILTER: as if it had been written so
	seal "$1" "del(.seal) | $2" <"$1/manifest.json"
}

manifest() { # DIR KIND FORM PARENT PARENT-SHA MEM-SHA FILE
	local seen vmstate bytes
	seen=$(stat -c '%i %.9Y' "$7") vmstate=$(sha256sum <"$1/vmstate") bytes=$(stat -c %s "$1/vmstate")
	seal "$1" '
		{schema_version: 1, kind: $kind, name: null, created_at: "2026-01-01T00:00:00Z", quiesced: true,
		machine: {revision_hash: null, arch: "x86_64", vmm: "qemu", vmm_version: "0.1.0",
			vmm_sha256: null, state_format: "1", accel: "tcg",
			cpu: {vendor: "GenuineIntel", family: 6, model: 85, stepping: 4,
				microcode: "0x1", flags_sha256: null},
			cpu_template: "", host_kernel: "6.1", vcpus: 1, mem_mib: $mem, pci: false,
			agent_protocol: 1, devices: []},
		guest: {tenant_id: "acme", pool_id: "web", instance_id: $instance,
			guest_ip: "10.240.7.3", gateway_ip: "10.240.7.1", cidr: 24,
			mac: "02:fc:00:07:00:03", disks: []},
		parent: {ref: $parent, sha256: (if $psha == "" then null else $psha end)},
		composed_from: null, vmstate: {bytes: $bytes, sha256: $vmstate},
		memory: {form: $form, bytes: ($mem * 1048576), sha256: $sha,
			seen: {inode: $inode, mtime: $mtime}, pack: {bytes: 0, sha256: null}},
		compression: "none", spent: false, spent_at: null}' -n --arg kind "$2" --arg form "$3" --arg parent "$4" \
		--arg psha "$5" --arg sha "$6" --arg inode "${seen% *}" --arg mtime "${seen#* }" --arg vmstate "${vmstate%% *}" \
		--argjson bytes "$bytes" --argjson mem "$mem_mib" --arg instance "${instance##*/}"
}

gen() { # N PAGE=BYTE...: a full one
	local dir=$snapshots/gen-$1
	mkdir "$dir"
	: >"$dir/lock"
	echo "state $1" >"$dir/vmstate"
	pages "$dir/mem" "${@:2}"
	manifest "$dir" full mem none '' "$(pages_digest content "${@:2}")" "$dir/mem"
	ln -sfn "gen-$1" "$snapshots/delta"
}

delta() { # N PARENT PAGE=BYTE...
	local dir=$snapshots/gen-$1
	mkdir "$dir"
	: >"$dir/lock"
	echo "state $1" >"$dir/vmstate"
	pages "$dir/delta" "${@:3}"
	manifest "$dir" delta delta "$2" "$(jq -r .memory.sha256 "$snapshots/$2/manifest.json")" \
		"$(pages_digest data "${@:3}")" "$dir/delta"
	ln -sfn "gen-$1" "$snapshots/delta"
}

base() { # HASH PAGE=BYTE...
	local dir=$pool/snapshots/base-$1
	mkdir -p "$dir"
	: >"$dir/lock"
	echo state >"$dir/vmstate"
	pages "$dir/mem" "${@:2}"
	manifest "$dir" base mem none '' "$(pages_digest content "${@:2}")" "$dir/mem"
}

flip() { # FILE AT: the least bit of one byte; from the end when AT is negative
	perl -e '
		my ($file, $at) = @ARGV;
		open F, "+<", $file or die;
		$at += -s F if $at < 0;
		seek F, $at, 0; read(F, $b, 1) == 1 or die "no byte $at\n";
		seek F, $at, 0; print F chr(ord($b) ^ 1)' "$1" "$2"
}
