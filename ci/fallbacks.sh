#!/usr/bin/env bash
# Tests with each fallback forced: stacks guarded by mprotect; standard streams and children without what only
# Linux has; files by rings that fail at random. mprotect cannot guard 100,000 stacks, so the one test that needs them is skipped.
. "$(dirname "$0")/common.sh"
SWARD_STACK_GUARD=mprotect within 900 cargo test --lib --test task --test net -- --skip a_hundred_thousand_parked_at_once
with_cfg sward_portable
within 900 cargo test --test io --test process
with_cfg sward_ring_faults
within 900 cargo test --test io -- fs
