#!/usr/bin/env bash
# The library type-checks for other systems: each back-end, and each module that a system chooses. This runs
# and links nothing. It skips a target, with the reason, if it cannot get the target's standard library.
. "$(dirname "$0")/common.sh"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/check-targets}

targets=(
    x86_64-unknown-freebsd   # kqueue, a User event as the wake-up
    aarch64-apple-darwin     # kqueue, urgent data, sockets by options, Mach clocks
    x86_64-unknown-netbsd    # kqueue, a pipe as the wake-up
    x86_64-unknown-illumos   # poll without ppoll
    x86_64-unknown-linux-musl
    aarch64-unknown-linux-gnu # the thread pointer of mobile homes
    aarch64-linux-android
)

# Whether the standard library of a target is in the toolchain, or rustup can add it.
has_std() {
    local lib
    lib=$(rustc --print target-libdir --target "$1" 2>&1) || { reason=$lib; return 1; }
    compgen -G "$lib/libcore-*" >/dev/null && return
    command -v rustup >/dev/null || { reason="no rustup, and nothing in $lib"; return 1; }
    reason=$(timeout 600 rustup target add "$1" 2>&1) && return
    reason="rustup target add: ${reason##*$'\n'}"
    return 1
}

for target in "${targets[@]}"; do
    if has_std "$target"; then
        echo "--- $target"
        within 900 cargo check --lib --quiet --target "$target"
    else
        echo "skipped: $target: $reason"
    fi
done
