#!/usr/bin/env bash
# The whole suite on the portable back-end, poll(2).
. "$(dirname "$0")/common.sh"
RUSTFLAGS="--cfg sward_poll" CARGO_TARGET_DIR=target/poll within 900 cargo test --tests
