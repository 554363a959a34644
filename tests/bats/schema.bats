# SPDX-License-Identifier: MIT
# mvm-schema: what it prints is what the tools take.

setup() {
	load helper
	fresh_state
}

@test "the schema of a tenant names every key of a tenant's document, and no other" {
	mvm-tenant create acme --net-id 7 --subnet 10.240.7.0/24
	diff <(mvm-schema show tenant | jq -r '.properties | keys[]') \
		<(jq -r 'keys[]' "$MVM_STATE_DIR/tenants/acme/tenant.json")
}

@test "every document has a schema and a table" {
	run -0 --separate-stderr mvm-schema list
	(($(jq length <<<"$output") >= 8))
	for name in $(jq -r '.[].name' <<<"$output"); do
		mvm-schema show "$name" | jq -e '.type == "object" and .additionalProperties == false'
		mvm-schema show "$name" --markdown | grep -q '^|'
	done
}

@test "the lifecycle is printed as a table and as a diagram" {
	mvm-schema lifecycle | grep -q '^| start |'
	mvm-schema lifecycle --dot | grep -q 'running -> stopped'
}

@test "an unknown document is 4, and a full disk an error" {
	refuses 4 mvm-schema show colour
	to_full() { mvm-schema show tenant >/dev/full; }
	run -1 to_full
}
