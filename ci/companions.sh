#!/usr/bin/env bash
# The companion crates in `crates/`, and the examples in packages of their own: a plain `cargo test` does not
# build them.
. "$(dirname "$0")/common.sh"
within 900 cargo test -p sward-interpose
# In coroutines whose homes move.
SWARD_HOMES=auto within 900 cargo test -q -p sward-interpose --tests
RUSTDOCFLAGS="-D warnings" within 900 cargo doc -q --no-deps -p sward-interpose
within 900 cargo test -p sward-compat -p sward-hyper -p sward-tracing --all-features
# Each feature by itself.
for feature in tokio futures-io; do
    within 900 cargo check -q -p sward-compat --no-default-features --features "$feature"
done
within 900 cargo check -q -p sward-compat --no-default-features
within 900 cargo test -p example-https -p example-websocket
RUSTDOCFLAGS="-D warnings" within 900 cargo doc -q --no-deps -p sward-compat -p sward-hyper -p sward-tracing --all-features
