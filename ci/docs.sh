#!/usr/bin/env bash
# The documentation builds. Warnings are errors.
. "$(dirname "$0")/common.sh"
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
