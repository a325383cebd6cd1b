#!/usr/bin/env bash
# The companion crates in `crates/`, which a plain `cargo test` does not build.
. "$(dirname "$0")/common.sh"
within 900 cargo test -p sward-tracing
