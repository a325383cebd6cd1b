#!/usr/bin/env bash
# Mobile homes: crates and allocators that keep state for each thread, also with 100,000 coroutines.
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
within 900 cargo build -q -p sward-homes-checks "${features[@]}"
for homes in off auto; do
    echo "--- SWARD_HOMES=$homes"
    SWARD_HOMES=$homes within 900 "$built/sward-homes-checks" || failed=1
done

# The memory of 100,000 parked coroutines, in KiB. The smallest of three runs.
resident() { # SWARD_HOMES
    for _ in 1 2 3; do SWARD_HOMES=$1 within 120 "$built/memory" 2>/dev/null; done | sort -n | head -1
}
compare() { # what it is, the highest ratio
    local off auto
    off=$(resident off) auto=$(resident auto)
    awk -v name="$1" -v most="$2" -v off="$off" -v auto="$auto" 'BEGIN {
        if (!off || !auto) { print name ": no figure"; exit 1 }
        high = auto > off * most
        printf "%-10s %d KiB with mobile homes, %d without: ", name, auto, off
        printf "%.3f times%s\n", auto / off, high ? ", more than " most : ""
        exit high
    }' || failed=1
}
for allocator in glibc jemalloc mimalloc; do
    features=()
    [ "$allocator" = glibc ] || features=(--features "$allocator")
    if ! within 900 cargo build -q -p sward-homes-checks --bin memory "${features[@]}"; then
        echo "skipped: $allocator: it cannot be built"
    elif [ "$allocator" = mimalloc ]; then
        # mimalloc asks the kernel for huge pages, and then has 2 MiB for each thread, 0.5 GiB for 256 homes.
        # The bound holds without them.
        MIMALLOC_ALLOW_THP=0 compare "$allocator" 1.1
        compare "huge pages" 1.8
    else
        compare "$allocator" 1.1
    fi
done
exit $failed
