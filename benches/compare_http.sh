#!/usr/bin/env bash
# Requests per CPU-second of the http example, with one worker and with two, against a single-threaded epoll
# loop in C style, 64 connections: five alternated rounds, medians, ratios.
# compare_http.sh [CONNECTIONS] [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
command -v wrk >/dev/null || { echo "skipped: wrk is not installed"; exit 0; }
conns=${1:-64} secs=${2:-5}
cargo build --release -q --example http
cargo build --release -q -p sward-peers --bin raw-http
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT
"$target/release/examples/http" 18180 --workers 1 >/dev/null & pids+=($!)
"$target/release/raw-http" 18181 >/dev/null & pids+=($!)
"$target/release/examples/http" 18182 --workers 2 >/dev/null & pids+=($!)
sleep 0.5
ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }
round() { # pid, port: requests per CPU-second
    local before after requests
    before=$(ticks "$1")
    requests=$(wrk -t1 "-c$conns" "-d$secs" "http://127.0.0.1:$2/" | awk '/requests in/ { print $1 }')
    after=$(ticks "$1")
    awk -v r="$requests" -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%d", r * hz / t }'
}
one=() raw=() two=()
for _ in 1 2 3 4 5; do
    one+=("$(round "${pids[0]}" 18180)")
    raw+=("$(round "${pids[1]}" 18181)")
    two+=("$(round "${pids[2]}" 18182)")
done
median() { printf '%s\n' "$@" | sort -n | sed -n 3p; }
ratio() { awk -v a="$2" -v b="$3" -v name="$1" 'BEGIN { printf "%s / raw, requests per CPU-second: %.2f\n", name, a / b }'; }
echo "sward, one worker   ${one[*]}"
echo "sward, two workers  ${two[*]}"
echo "raw                 ${raw[*]}"
ratio "one worker" "$(median "${one[@]}")" "$(median "${raw[@]}")"
ratio "two workers" "$(median "${two[@]}")" "$(median "${raw[@]}")"
