# SPDX-License-Identifier: MIT
# Many guests at once.

load e2e

teardown() {
	nothing_left
}

@test "sixteen instances started at once all come up" {
	mvm-instance create acme/web -n 16
	mapfile -t all < <(mvm-instance list acme/web -o name)
	mvm-instance start "${all[@]}"
	[[ $(mvm-instance list acme/web | jq '[.[] | select(.status == "running")] | length') == 16 ]]
	for vm in "${all[@]}"; do
		[[ $(mvm-guest exec "$vm" -- hostname) == "${vm##*/}" ]]
	done
	mvm-instance destroy --yes --all acme/web
}
