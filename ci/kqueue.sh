#!/usr/bin/env bash
# The socket tests on the kqueue back-end: over libkqueue if it is or can be installed, else over our own
# stand-in on epoll. The stand-in runs the back-end, but proves nothing about a BSD's kernel.
. "$(dirname "$0")/common.sh"
with_cfg sward_libkqueue
folder=${CARGO_TARGET_DIR:-target}/kqueue-on-epoll

stand_in() { # why
    echo "skipped: libkqueue: $1"
    command -v cc >/dev/null || { echo "skipped: the stand-in: no C compiler"; exit 0; }
    echo "running on the stand-in, ci/kqueue-on-epoll.c"
    mkdir -p "$folder"
    export LIBRARY_PATH="$(cd "$folder" && pwd)"
    export LD_LIBRARY_PATH="$LIBRARY_PATH"
    cc -O2 -Wall -Wextra -Werror -shared -fPIC -o "$LIBRARY_PATH/libkqueue.so" ci/kqueue-on-epoll.c
}

if ! ldconfig -p | grep -q 'libkqueue\.so '; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        stand_in "not installed, and no apt-get for root to install it with"
    elif ! reason=$({ apt-get update -qq && apt-get install -y -qq libkqueue-dev; } 2>&1); then
        stand_in "not installed, and apt-get says: ${reason##*$'\n'}"
    fi
fi
within 900 cargo test --lib --test net
within 900 cargo test --test io -- pollable::
within 900 cargo test --test task -- cancel:: park:: shutdown:: spawn::
within 900 cargo test --test isolated -- accept:: environment:: fork:: life:: overflow:: stacks:: system_calls::
