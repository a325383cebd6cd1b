#!/usr/bin/env bash
# The whole suite with mobile homes: started coroutines live in homes that any worker may run.
. "$(dirname "$0")/common.sh"
export SWARD_HOMES=auto
within 900 cargo test
# The same while homes move as often as they can: a slice ends after one turn, and other workers go first to
# take the home.
RUSTFLAGS="--cfg sward_move_homes" CARGO_TARGET_DIR=target/moving within 900 cargo test
