#!/bin/bash
# SPDX-License-Identifier: MIT
# Every fuzz target over its committed corpus, without a fuzzer.
set -uo pipefail
here=$(dirname "$0")
shopt -s nullglob
sources=("$here"/fuzz_*.c)
printf '1..%d\n' "${#sources[@]}"
number=0
for source in "${sources[@]}"; do
	number=$((number + 1))
	name=$(basename "$source" .c)
	name=${name#fuzz_}
	files=("$here/corpus/$name"/*)
	if out=$("${MVM_BUILD:-build}/replay/$name" "${files[@]}" 2>&1); then
		printf 'ok %d - %s stands its corpus\n' "$number" "$name"
	else
		printf 'not ok %d - %s stands its corpus\n' "$number" "$name"
		printf '%s\n' "$out" | sed 's/^/# /'
	fi
done
