#!/usr/bin/env bash
# AddressSanitizer over the tests of mobile homes and of what they rest on (thread-local storage, scheduler), and of
# coroutines, cancellation, channels, locks and files. With mobile homes and in pinned mode. Needs a nightly toolchain for
# `-Zsanitizer`; the standard library is the toolchain's, without checks of its own. ThreadSanitizer is not for this
# crate: it has to be told of each switch of stacks, and corosensei tells AddressSanitizer only.
. "$(dirname "$0")/common.sh"
target=x86_64-unknown-linux-gnu
host=$(rustc -vV | sed -n 's/^host: //p')
[ "$host" = "$target" ] || { echo "skipped: only on $target"; exit 0; }
command -v rustup >/dev/null || { echo "skipped: no rustup, and so no nightly toolchain"; exit 0; }
if ! rustup run nightly rustc --version 2>/dev/null; then
    reason=$(timeout 300 rustup toolchain install nightly --profile minimal 2>&1) || {
        echo "skipped: no nightly toolchain, and rustup says: ${reason##*$'\n'}"
        exit 0
    }
fi
export RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/asan"
# `detect_stack_use_after_return`: src/storage/probe.rs has the reason. Leaks: some tests leak coroutines on purpose.
export ASAN_OPTIONS=detect_stack_use_after_return=0:detect_leaks=0
# Checked waits read all words of a stack (src/sched/checks.rs), also those that are between variables.
export SWARD_CHECK=0
cargo=(cargo +nightly test --target "$target" --features corosensei/sanitizer)
for homes in auto off; do
    echo "--- SWARD_HOMES=$homes"
    export SWARD_HOMES=$homes
    # The skipped test limits the address space, of which AddressSanitizer reserves terabytes.
    within 900 "${cargo[@]}" --test homes --test task --test cancel --test channel --test sync -- \
        --skip a_coroutine_without_a_stack_is_reported
    # Files by rings of io_uring, whose calls are cancelled at any time.
    SWARD_IO_URING=1 within 900 "${cargo[@]}" --test io -- fs_ring
    # valgrind does not run this program.
    within 900 "${cargo[@]}" --lib -- storage:: sched:: --skip valgrind_is_refused
done
