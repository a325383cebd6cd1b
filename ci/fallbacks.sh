#!/usr/bin/env bash
# The suite with each fallback forced: stacks guarded by mprotect; standard streams and children without what only
# Linux offers. 100,000 stacks are more than mprotect can guard, so the one test that wants them is left out.
. "$(dirname "$0")/common.sh"
SWARD_STACK_GUARD=mprotect within 600 cargo test --lib --test tasks --test net -- --skip a_hundred_thousand_parked_at_once
RUSTFLAGS="--cfg sward_portable" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/portable" \
    within 600 cargo test --test io --test process_children
