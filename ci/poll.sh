#!/usr/bin/env bash
# The suite on the portable back-end, poll(2). Without programs for which the back-end makes no difference: mobile
# homes and dumps of them (`homes`, `observe`, `stacks`, `leaks`), checked waits, large values, and the examples.
. "$(dirname "$0")/common.sh"
targets=(budget cancel channel fairness global_deadlock io isolated net process sync task)
with_cfg sward_poll
within 1000 cargo test --lib "${targets[@]/#/--test=}"
