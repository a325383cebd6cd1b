#!/usr/bin/env bash
# The suite with a netpoller on io_uring, where the kernel allows it. It needs no build of its own: the environment
# chooses the netpoller.
. "$(dirname "$0")/common.sh"
reason=$(within 900 cargo test -q --lib netpoll::sys::io_uring -- --nocapture | grep -m1 -o 'skipped: .*' || true)
if [ -n "$reason" ]; then
    echo "$reason"
    exit 0
fi
export SWARD_NETPOLL=io_uring SWARD_TEST_NETPOLL=io_uring
within 1500 cargo test --lib --test '*'
