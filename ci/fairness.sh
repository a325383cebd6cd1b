#!/usr/bin/env bash
# A hundred thousand random programs, with wakes and without, against the bounds of src/sched/README.md;
# ci/migrating.sh does the same in migrating mode.
. "$(dirname "$0")/common.sh"
SWARD_PROGRAMS=100000 within 900 cargo test --release --test fairness
