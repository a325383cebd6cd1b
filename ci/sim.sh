#!/usr/bin/env bash
# Simulations: programs that use each part of the public API with 10,000 seeds for each strategy; histories of calls
# against the models of channels and locks; and programs with planted bugs, each of which has to be found. By hand
# with more: `SWARD_SIM_RUNS=1000000 bash ci/sim.sh`.
. "$(dirname "$0")/common.sh"
without_lto
export SWARD_CHECK=0
runs=${SWARD_SIM_RUNS:-10000}
SWARD_SIM_RUNS=$runs within $((900 + runs * 9 / 100)) cargo test --release --test sim -- sound:: linear:: --skip cancelled
within 300 cargo test --release --test sim
