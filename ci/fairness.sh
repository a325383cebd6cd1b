#!/usr/bin/env bash
# Sixty thousand random programs, with wakes and without, against the bounds of src/sched/README.md.
# ci/migrating.sh runs a part of them in migrating mode.
. "$(dirname "$0")/common.sh"
SWARD_PROGRAMS=60000 within 900 cargo test --release --test fairness
