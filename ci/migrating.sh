#!/usr/bin/env bash
# The suite in migrating mode: here started coroutines migrate by default. Without the programs about mobile homes,
# which do not exist here (`homes`), about deadlocks and leaks, which are not found here (`leaks`), and about examples.
. "$(dirname "$0")/common.sh"
targets=(budget cancel channel checks fairness global_deadlock io isolated large_values net observe process stacks
    sync task)
with_cfg sward_migrate
within 1000 cargo test --lib "${targets[@]/#/--test=}"
# With LTO, where the compiler is freest to keep the address of a thread-local over a switch.
CARGO_PROFILE_RELEASE_LTO=fat CARGO_TARGET_DIR=target/migrating SWARD_PROGRAMS=20000 \
    within 1000 cargo test --release --test task --test fairness
