#!/usr/bin/env bash
# Formatting.
. "$(dirname "$0")/common.sh"
cargo fmt --all --check
