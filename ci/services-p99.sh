#!/usr/bin/env bash
# By hand: latencies of `notes` beside the same service on tokio and axum, alternately under the same load of wrk.
# Arguments: rounds (7), seconds for each run (4), connections (64). It prints medians, and their ratio.
. "$(dirname "$0")/common.sh"
rounds=${1:-7} seconds=${2:-4} connections=${3:-64}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
# As `ci/services.sh` builds them.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
command -v wrk >/dev/null || { echo "skipped: wrk is not installed"; exit 0; }
cargo build --release -p example-services --features tokio-twin --bin notes --bin notes-tokio

scratch=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$scratch"' EXIT
address=
start() { # its name, a command
    local name=$1
    shift
    : >"$scratch/$name.out"
    "$@" >"$scratch/$name.out" 2>"$scratch/$name.err" &
    pids+=($!)
    for _ in $(seq 100); do
        address=$(sed -n 's,^serves http://\(.*\)/$,\1,p' "$scratch/$name.out")
        [ -n "$address" ] && return
        sleep 0.1
    done
    cat "$scratch/$name.err" >&2
    exit 1
}
start sward "$CARGO_TARGET_DIR/release/notes" 127.0.0.1:0 --sqlite "$scratch/sward.db" --log error && sward=$address
start tokio "$CARGO_TARGET_DIR/release/notes-tokio" 127.0.0.1:0 "$scratch/tokio.db" && tokio=$address
for address in "$sward" "$tokio"; do
    for n in $(seq 50); do
        curl -s -o /dev/null --json "{\"title\": \"note $n\", \"text\": \"some text\"}" "http://$address/notes"
    done
done
# One note is read by nine of ten requests, and the tenth makes a new one.
cat >"$scratch/mixed.lua" <<'L'
local n = 0
local fields = { ["Content-Type"] = "application/json" }
function request()
    n = n + 1
    if n % 10 == 0 then return wrk.format("POST", "/notes", fields, '{"title": "new", "text": "some text"}') end
    return wrk.format("GET", "/notes/7")
end
L

# Prints p50 and p99 in microseconds, and requests a second.
measure() { # address, load
    local out
    case $2 in
        read) out=$(wrk -t1 -c"$connections" -d"$seconds" --latency "http://$1/notes/7") ;;
        list) out=$(wrk -t1 -c"$connections" -d"$seconds" --latency "http://$1/notes") ;;
        mixed) out=$(wrk -t1 -c"$connections" -d"$seconds" --latency -s "$scratch/mixed.lua" "http://$1/") ;;
    esac
    if grep -qE 'Non-2xx' <<<"$out"; then echo "$out" >&2; exit 1; fi
    awk 'function micros(t) { return t ~ /us$/ ? t + 0 : t ~ /ms$/ ? t * 1000 : t * 1000000 }
        $1 == "50%" { p50 = micros($2) } $1 == "99%" { p99 = micros($2) } /^Requests\/sec/ { rate = $2 }
        END { print p50, p99, rate }' <<<"$out"
}
for load in read list mixed; do
    for round in $(seq "$rounds"); do
        # Each one is first in every second round.
        if [ $((round % 2)) = 0 ]; then order="sward tokio"; else order="tokio sward"; fi
        for name in $order; do measure "${!name}" "$load" >>"$scratch/$load.$name"; done
    done
    for name in sward tokio; do
        for column in 1 2 3; do
            sort -n -k"$column,$column" "$scratch/$load.$name" | awk -v c="$column" '{ v[NR] = $c }
                END { printf "%s ", v[int((NR + 1) / 2)] }'
        done >"$scratch/$load.$name.medians"
    done
    paste -d' ' "$scratch/$load.sward.medians" "$scratch/$load.tokio.medians" | awk -v name="$load" '{
        printf "%-6s p50 %d us, tokio %d us, ratio %.2f; p99 %d us, tokio %d us, ratio %.2f; ", name, $1, $4, $1 / $4, $2, $5, $2 / $5
        printf "requests a second %d, tokio %d, ratio %.2f\n", $3, $6, $3 / $6 }'
done
