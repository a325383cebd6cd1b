#!/usr/bin/env bash
# Small sizes of `sward-bench seeds`, of which docs/WHY.md tells, and of `sward-bench files` and `completions`: does
# all of it run, and is what is no timing true (each byte and tick is counted, a regular file is always ready, each
# page is the right one)? Its figures mean nothing. It uses the build of ci/instructions.sh. Go, Node.js, fio and
# io_uring are skipped where there is none.
. "$(dirname "$0")/common.sh"
export RUSTFLAGS="--cfg sward_valgrind" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/valgrind"
within 900 cargo build --release -q -p sward-bench
within 300 "$CARGO_TARGET_DIR/release/sward-bench" seeds --quick
within 300 "$CARGO_TARGET_DIR/release/sward-bench" files --quick
within 300 "$CARGO_TARGET_DIR/release/sward-bench" completions --quick
