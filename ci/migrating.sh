#!/usr/bin/env bash
# The whole suite in migrating mode: runtimes let started coroutines move unless told otherwise.
. "$(dirname "$0")/common.sh"
RUSTFLAGS="--cfg sward_migrate" CARGO_TARGET_DIR=target/migrating within 600 cargo test --tests
