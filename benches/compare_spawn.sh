#!/usr/bin/env bash
# Spawn, run and join of a trivial coroutine against Go's goroutine: five alternated rounds, medians, ratio.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
command -v go >/dev/null || { echo "skipped: go is not installed"; exit 0; }
cargo build --release -q -p sward-peers
go build -o "$target/go-spawn" benches/peers/go/spawn.go
ours=() theirs=()
for _ in 1 2 3 4 5; do
    ours+=("$("$target/release/sward-spawn")")
    theirs+=("$("$target/go-spawn")")
done
median() { printf '%s\n' "$@" | sort -n | sed -n 3p; }
a=$(median "${ours[@]}") b=$(median "${theirs[@]}")
echo "sward ${ours[*]}"
echo "go    ${theirs[*]}"
awk -v a="$a" -v b="$b" 'BEGIN { printf "sward / go, time of medians: %.2f\n", a / b }'
