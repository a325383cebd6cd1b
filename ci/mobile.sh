#!/usr/bin/env bash
# The whole suite with mobile homes: started coroutines live in homes that any worker may run.
. "$(dirname "$0")/common.sh"
export SWARD_HOMES=auto
within 1000 cargo test --tests
# The same while homes move as often as they can: a slice ends after one turn, and other workers go first to
# take the home. Without the tests of reports, of processes' lives and of memory (`isolated`), and of examples:
# moves change nothing there but their times. Without `fairness` as well: each home waits in the injector after
# each turn, and the bounds speak of homes that wait in the deques.
with_cfg sward_move_homes
targets=(budget cancel channel checks homes io large_values net process sync task)
within 1000 cargo test --lib "${targets[@]/#/--test=}"
