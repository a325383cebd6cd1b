#!/usr/bin/env bash
# The kqueue back-end on Linux: lints against the declarations of libkqueue, and the suite where that
# library is installed or can be. The back-end's pure part is tested with every other suite.
. "$(dirname "$0")/common.sh"
export RUSTFLAGS="--cfg sward_libkqueue" CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/kqueue}
within 300 cargo check --lib --tests

found() { ldconfig -p | grep -q 'libkqueue\.so ' || compgen -G "${LIBRARY_PATH:-/nowhere}/libkqueue.so" >/dev/null; }
if ! found; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "skipped: libkqueue is not installed, and there is no apt-get for root to install it with"
        exit 0
    fi
    apt-get update -qq
    if ! apt-get install -y -qq libkqueue-dev >/tmp/kqueue-install.$$ 2>&1; then
        echo "skipped: libkqueue is not installed, and apt-get says: $(tail -n 1 /tmp/kqueue-install.$$)"
        rm -f /tmp/kqueue-install.$$
        exit 0
    fi
    rm -f /tmp/kqueue-install.$$
fi
within 300 cargo test --lib netpoll::
within 600 cargo test --test netpoll --test net
