#!/usr/bin/env bash
# A hundred thousand random programs against the bounds of src/sched/README.md, in both modes.
. "$(dirname "$0")/common.sh"
export SWARD_PROGRAMS=100000
# Without fat LTO: it takes longer than it saves here.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
CARGO_TARGET_DIR=target/fairness within 900 cargo test --release --test fairness
CARGO_TARGET_DIR=target/fairness RUSTFLAGS="--cfg sward_migrate" within 900 cargo test --release --test fairness
