#!/usr/bin/env bash
# The page of the dashboard in headless Chromium: it loads, a group opens, a planted deadlock and a stall appear,
# it is quick with 100,000 coroutines, and a browser reports no error. Screenshots go to `target/dashboard`.
. "$(dirname "$0")/common.sh"
if ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq chromium >/dev/null || true
fi
for tool in chromium node npm; do
    command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 0; }
done
out=${CARGO_TARGET_DIR:-target}/dashboard
mkdir -p "$out"
within 120 npm install --silent --no-audit --no-fund --prefix "$out" playwright-core@1.64.1 >/dev/null || {
    echo "skipped: playwright-core cannot be installed"
    exit 0
}
# The profile that `ci/clients.sh` builds, unless another one is named.
profile=${PROFILE:-release}
without_lto
cargo build --example stuck --example spawn_100k --profile "$profile"
[ "$profile" = dev ] && profile=debug
NODE_PATH=$out/node_modules within 120 node ci/dashboard.cjs "${CARGO_TARGET_DIR:-target}/$profile/examples" "$out"
