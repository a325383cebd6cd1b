#!/usr/bin/env bash
# A program with `panic = "abort"`: a shutdown leaks parked coroutines, at once and without a report.
. "$(dirname "$0")/common.sh"
crate=target/abort/crate
mkdir -p "$crate/src"
cp Cargo.lock "$crate/"
cat >"$crate/Cargo.toml" <<EOF
[package]
name = "aborts"
version = "0.0.0"
edition = "2024"
[dependencies]
sward = { path = "$PWD" }
[profile.dev]
panic = "abort"
[workspace]
EOF
cat >"$crate/src/main.rs" <<'EOF'
use std::time::{Duration, Instant};

struct Loud;

impl Drop for Loud {
    fn drop(&mut self) {
        println!("a destructor has run");
    }
}

fn main() {
    let start = Instant::now();
    sward::run(|| {
        let _parked = sward::spawn(|| {
            let _loud = Loud;
            sward::sleep(Duration::from_secs(3600));
        });
        sward::sleep(Duration::from_millis(20));
        // Never started: dropped, as ever.
        sward::spawn(|| ());
    });
    println!("ended, in time: {}", start.elapsed() < Duration::from_secs(2));
}
EOF
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/abort"
within 900 cargo build --offline --manifest-path "$crate/Cargo.toml"
output=$(within 20 "$CARGO_TARGET_DIR/debug/aborts" 2>&1)
echo "$output"
[ "$output" = "ended, in time: true" ]
