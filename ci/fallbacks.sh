#!/usr/bin/env bash
# The suite with each fallback forced: stacks guarded by mprotect. 100,000 stacks are more than that can
# guard, so the one test that wants them is left out.
. "$(dirname "$0")/common.sh"
SWARD_STACK_GUARD=mprotect within 600 cargo test --lib --test tasks --test net -- --skip a_hundred_thousand_parked_at_once
