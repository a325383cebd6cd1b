#!/usr/bin/env bash
# Lints for the crate, its tests and examples, and the benchmark. Warnings are errors.
. "$(dirname "$0")/common.sh"
cargo clippy --workspace --all-targets -- -D warnings
