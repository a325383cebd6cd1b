#!/usr/bin/env bash
# What the peers of the benchmark need besides crates: Go and wrk. What cannot be had is skipped by the benchmark.
. "$(dirname "$0")/common.sh"
missing=()
command -v go >/dev/null || missing+=(golang-go)
command -v wrk >/dev/null || missing+=(wrk)
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq "${missing[@]}" >/dev/null || true
fi
for tool in go wrk; do
    command -v "$tool" >/dev/null || echo "skipped: $tool is not installed, and what needs it will not run"
done
