#!/usr/bin/env bash
# The formatting is rustfmt's.
. "$(dirname "$0")/common.sh"
cargo fmt --all --check
cargo fmt --manifest-path fuzz/Cargo.toml --check
