#!/usr/bin/env bash
# The models of the lock-free protocols: waiter, event, idle.
. "$(dirname "$0")/common.sh"
RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom LOOM_MAX_PREEMPTIONS=3 \
    within 900 cargo test --lib --release models
