#!/usr/bin/env bash
# Miri over pure files, those without system calls and stack switches. It interprets their tests, and reports accesses
# out of bounds or after the end, uses of pointers that the aliasing rules forbid, races, and leaks.
. "$(dirname "$0")/common.sh"
cargo +nightly miri --version >/dev/null 2>&1 || {
    echo "skipped: no Miri (rustup toolchain install nightly --component miri,rust-src)"
    exit 0
}
pure=(
    base::bit_set base::histogram base::large_box base::list base::recycle base::slab base::spin_lock
    channel::queue coroutine::contain coroutine::locals
    inspect::json sched::inbox sched::random sched::ring sched::timers
)
echo "skipped: tests named stress or burst: Miri is a thousand times slower"
# The clock and the variables of the environment are the system's. Some tests make pointers from numbers.
export PROPTEST_CASES=4 MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-permissive-provenance"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/miri"
within 1800 cargo +nightly miri test --lib -- "${pure[@]}" --skip stress --skip burst
