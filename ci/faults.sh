#!/usr/bin/env bash
# The socket, pipe and file tests while about one system call in ten fails, as the kernel may have it do at any time
# (SWARD_FAULTS, src/base/sys/calls/faults.rs), with three seeds. Left out: tests that count what one call transfers,
# and tests that fill a buffer or look into it by calls in non-blocking mode, which a fault ends early.
. "$(dirname "$0")/common.sh"
skip=(buffers_are_gathered_and_scattered a_full_queue_ends_in_the_timeout non_blocking_calls_fail_instead_of_waiting
    a_full_stream_is_writable_once_the_peer_has_read waits_for_readiness_wait_in_nonblocking_mode_too
    waiting_for_readiness_ends_with_the_timeout_a_close_or_a_cancellation a_fifo_behaves_as_in_std
    a_connection_that_sends_without_pause_stays_in_no_coroutine)
for seed in 1 2 3; do
    SWARD_FAULTS=$seed:10 within 600 cargo test -q --features sim --test net --test io -- "${skip[@]/#/--skip=}"
done
