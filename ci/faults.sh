#!/usr/bin/env bash
# Programs whose system calls fail at random (SWARD_FAULTS, src/base/sys/calls/faults.rs). First what the program sees
# as errors: threads, memory, sockets, pollers (tests/faults.rs). Then what the crate handles by itself, in the tests
# of sockets, pipes, files, children, tasks and stacks. Left out there: tests that count what one call transfers, and
# tests that fill a buffer or look into it by calls in non-blocking mode, which a fault ends early; tests that a call
# is made without a thread, which needs a newer one; and 100,000 stacks, for which guards by mprotect are too many.
# `quick` is what CI runs: one seed, and fewer programs.
. "$(dirname "$0")/common.sh"
skip=(pipe::a_reader_waits_for_a_writer buffers_are_gathered_and_scattered a_full_queue_ends_in_the_timeout non_blocking_calls_fail_instead_of_waiting
    a_full_stream_is_writable_once_the_peer_has_read waits_for_readiness_wait_in_nonblocking_mode_too
    waiting_for_readiness_ends_with_the_timeout_a_close_or_a_cancellation a_fifo_behaves_as_in_std
    reads_of_cached_data_do_not_use_the_pool what_is_cached_takes_no_thread
    a_hundred_thousand_parked_at_once an_error_does_not_end_incoming)
seeds=(1 2 3) programs=(net io process task stacks) own=20
[ "${1:-}" = quick ] && seeds=(1) programs=(net process) own=4
SWARD_FAULT_SEEDS=$own within 900 cargo test -q --test faults
for seed in "${seeds[@]}"; do
    SWARD_FAULTS=$seed:10:handled within 900 cargo test -q "${programs[@]/#/--test=}" -- "${skip[@]/#/--skip=}"
done
