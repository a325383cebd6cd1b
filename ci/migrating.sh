#!/usr/bin/env bash
# The whole suite in migrating mode: runtimes let started coroutines move unless told otherwise.
. "$(dirname "$0")/common.sh"
RUSTFLAGS="--cfg sward_migrate" CARGO_TARGET_DIR=target/migrating within 900 cargo test --tests
# Optimized across crates, where the compiler is freest to keep the address of a thread-local.
CARGO_PROFILE_RELEASE_LTO=fat RUSTFLAGS="--cfg sward_migrate" CARGO_TARGET_DIR=target/migrating \
    SWARD_PROGRAMS=20000 within 900 cargo test --release --test tasks --test fairness
