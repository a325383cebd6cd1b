#!/usr/bin/env bash
# Lints, with warnings denied, for the crate and for the workspace's helpers.
. "$(dirname "$0")/common.sh"
cargo clippy --workspace --all-targets -- -D warnings
