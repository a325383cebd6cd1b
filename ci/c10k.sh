#!/usr/bin/env bash
# The main job, 10,000 connections; and the memory of 100,000 parked coroutines against its bound.
. "$(dirname "$0")/common.sh"
without_lto
within 900 cargo run --release --example c10k -- --secs 5
out=$(within 900 cargo run --release --example spawn_100k)
echo "$out"
grep -q 'within 4.8 KiB' <<<"$out"
