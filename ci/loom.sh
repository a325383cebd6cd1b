#!/usr/bin/env bash
# The models of the lock-free protocols and of the locks, under loom, with up to three preemptions.
. "$(dirname "$0")/common.sh"
without_lto
RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom LOOM_MAX_PREEMPTIONS=3 \
    within 3000 cargo test --lib --release models
