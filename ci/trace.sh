#!/usr/bin/env bash
# Traces of the flight recorder, read by programs of others: Python's JSON parser with the rules of the trace-event
# format (`ci/trace.py`), speedscope's importer in headless Chromium, and Perfetto's trace processor. Each is
# skipped if it cannot be had. Not part of `.ci/run`: the last two are downloads.
. "$(dirname "$0")/common.sh"
out=${CARGO_TARGET_DIR:-target}/trace
mkdir -p "$out"
rm -f "$out"/*.json
cargo build --example stuck
stuck=${CARGO_TARGET_DIR:-target}/debug/examples/stuck
export SWARD_RECORD=1 SWARD_WORKERS=2
# A deadlock, after which the process aborts; and a signal amid many turns.
SWARD_RECORD_FILE=$out/deadlock.json SWARD_DEADLOCKS=abort within 60 "$stuck" deadlock >/dev/null 2>&1 || true
SWARD_RECORD_FILE=$out/slow.json SWARD_DUMP_SIGNAL=USR1 "$stuck" slow >/dev/null 2>&1 &
sleep 0.4
kill -USR1 $!
wait
traces=("$out"/*.json)
[ ${#traces[@]} = 2 ] || { echo "no traces: ${traces[*]}"; exit 1; }

within 60 python3 ci/trace.py "${traces[@]}"

speedscope() {
    for tool in chromium node npm; do
        command -v "$tool" >/dev/null || { echo "skipped: speedscope: $tool is not installed"; return; }
    done
    within 120 npm install --silent --no-audit --no-fund --prefix "$out" playwright-core@1.64.1 speedscope@1.25.0 \
        >/dev/null || { echo "skipped: speedscope cannot be installed"; return; }
    NODE_PATH=$out/node_modules within 120 node ci/trace.cjs "$out/node_modules/speedscope/dist/release" \
        "${traces[@]}"
}

perfetto() {
    [ -x "$out/venv/bin/python" ] || python3 -m venv "$out/venv"
    within 120 "$out/venv/bin/pip" install -q perfetto==0.59.1 2>/dev/null || {
        echo "skipped: the package perfetto cannot be installed"
        return
    }
    # The package downloads the program itself.
    within 60 "$out/venv/bin/python" -c 'from perfetto.trace_processor.platform import PlatformDelegate as P
P().get_shell_path(None)' >/dev/null 2>&1 || { echo "skipped: perfetto's trace processor cannot be downloaded"; return; }
    within 120 "$out/venv/bin/python" ci/trace.py --perfetto "${traces[@]}"
}

speedscope
perfetto
