#!/usr/bin/env bash
# The whole suite in migrating mode: here started coroutines migrate by default.
. "$(dirname "$0")/common.sh"
RUSTFLAGS="--cfg sward_migrate" CARGO_TARGET_DIR=target/migrating within 900 cargo test --tests
# With LTO, where the compiler is freest to keep the address of a thread-local over a switch.
CARGO_PROFILE_RELEASE_LTO=fat RUSTFLAGS="--cfg sward_migrate" CARGO_TARGET_DIR=target/migrating \
    SWARD_PROGRAMS=20000 within 900 cargo test --release --test task --test fairness
