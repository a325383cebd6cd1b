#!/usr/bin/env bash
# Thirty thousand random programs, with wakes and without, against the bounds of src/sched/README.md.
# ci/migrating.sh runs a part of them in migrating mode.
. "$(dirname "$0")/common.sh"
without_lto
SWARD_PROGRAMS=30000 within 900 cargo test --release --test fairness
