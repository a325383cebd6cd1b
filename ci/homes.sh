#!/usr/bin/env bash
# Mobile homes: crates and allocators that keep state for each thread, also with 100,000 coroutines; and the
# whole suite, with homes that move as they are stolen, and with a move at the end of every slice.
. "$(dirname "$0")/common.sh"
missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v make >/dev/null || missing+=(make)
pkg-config --exists openssl 2>/dev/null || missing+=(pkg-config libssl-dev)
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq "${missing[@]}" >/dev/null || true
fi
built=${CARGO_TARGET_DIR:-target}/debug
failed=0

features=()
if pkg-config --exists openssl 2>/dev/null; then
    features=(--features openssl)
else
    echo "skipped: OpenSSL: its headers are not installed"
fi
within 600 cargo build -q -p sward-homes-checks "${features[@]}"
for homes in off auto; do
    echo "--- SWARD_HOMES=$homes"
    SWARD_HOMES=$homes within 900 "$built/sward-homes-checks" || failed=1
done

# The memory of 100,000 parked coroutines, in KiB. The smallest of three runs.
resident() { # SWARD_HOMES
    for _ in 1 2 3; do SWARD_HOMES=$1 within 120 "$built/memory" 2>/dev/null; done | sort -n | head -1
}
for allocator in glibc jemalloc mimalloc; do
    features=()
    [ "$allocator" = glibc ] || features=(--features "$allocator")
    if ! within 600 cargo build -q -p sward-homes-checks --bin memory "${features[@]}"; then
        echo "skipped: $allocator: it cannot be built"
        continue
    fi
    awk -v name="$allocator" -v off="$(resident off)" -v auto="$(resident auto)" 'BEGIN {
        if (!off || !auto) { print name ": no figure"; exit 1 }
        high = auto > off * 1.1
        printf "%-9s %d KiB with homes, %d without: %.3f times%s\n", name, auto, off, auto / off,
            high ? ", more than 1.1" : ""
        exit high
    }' || failed=1
done
[ "$failed" = 0 ] || exit 1

SWARD_HOMES=auto within 900 cargo test --tests
RUSTFLAGS="--cfg sward_move_homes" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/move-homes" SWARD_HOMES=auto \
    within 900 cargo test --tests
