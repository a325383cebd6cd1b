#!/usr/bin/env bash
# A minute of connections, timers, channels, locks, cancellation, scopes, blocking calls, files, panics and children, all
# checked, and no drift of descriptors, coroutines, threads and memory. An argument is the number of minutes.
. "$(dirname "$0")/common.sh"
[ "$(uname)" = Linux ] || { echo "skipped: the figures come from Linux's /proc"; exit 0; }
without_lto
minutes=${1:-1}
within 900 cargo build --release -q --example soak
within $((60 * minutes + 300)) "${CARGO_TARGET_DIR:-target}/release/examples/soak" --minutes "$minutes"
