#!/usr/bin/env bash
# Documentation, with warnings denied.
. "$(dirname "$0")/common.sh"
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
