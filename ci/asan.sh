#!/usr/bin/env bash
# AddressSanitizer and LeakSanitizer over the suite, in pinned mode and, where that makes a difference, with mobile homes.
# The standard library is the toolchain's, without checks of its own. `quick` as an argument: only the planted
# errors.
. "$(dirname "$0")/common.sh"
target=x86_64-unknown-linux-gnu
host=$(rustc -vV | sed -n 's/^host: //p')
[ "$host" = "$target" ] || { echo "skipped: only on $target"; exit 0; }
# Sanitizers are not stable; the compiler is told that it may.
export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/asan"
# Checked waits read all words of a stack (src/sched/checks.rs), also those that are between variables.
export SWARD_CHECK=0
# The sanitizer that tests expect the build to have (tests/isolated/sanitizers.rs).
export SWARD_TEST_SANITIZER=address
# The crate's own handler reports overflows of stacks.
export ASAN_OPTIONS=handle_segv=0 LSAN_OPTIONS=suppressions=$PWD/ci/leaks.txt
cargo=(cargo test --target "$target")
programs=(task sync channel cancel net io observe process stacks isolated homes)
skips=()
leave_out() { # test, reason
    echo "skipped: $1: $2"
    skips+=(--skip "$1")
}
space="it reserves more address space than the test allows"
leave_out a_coroutine_without_a_stack_is_reported "$space"
leave_out a_detached_coroutine_without_a_stack_is_reported "$space"
leave_out stacks_leave_address_space_to_the_others "$space"
leave_out run_in_a_destructor_on_a_worker_is_refused "$space"
leave_out another_fault_goes_to_the_earlier_handler "it has the handler"
leave_out stacks_share_mappings "its own mappings would count"
leave_out a_past_burst_leaves_few_page_tables "its own memory would count"
leave_out a_hundred_thousand_parked_at_once "its list of stacks takes too long for so many"
leave_out sites::stacks_are_measured "large variables are elsewhere there (detect_stack_use_after_return)"
leave_out memory::a_long_write_to_a_slow_reader_takes_no_memory "it keeps freed memory"
leave_out overflow::a_frame_that_jumps_the_usual_guard "frames are larger"
leave_out life::reports_that_cannot_be_written_do_no_harm "a coroutine runs at the end (docs/TESTING.md, what limits sanitizers)"
leave_out valgrind_is_refused "valgrind does not run this program"

within 1200 "${cargo[@]}" --test isolated sanitizers
[ "${1:-}" = quick ] && exit
# LeakSanitizer by itself, which has code of its own (src/coroutine/sys/leak.rs). With whole stacks: its fast way to
# find them knows only the thread's own stack.
leaks() { # arguments of cargo test
    SWARD_TEST_SANITIZER=leak RUSTFLAGS=-Zsanitizer=leak CARGO_TARGET_DIR="${CARGO_TARGET_DIR%asan}lsan" \
        LSAN_OPTIONS=$LSAN_OPTIONS:fast_unwind_on_malloc=0 within 1800 "${cargo[@]}" "$@"
}
leaks --test isolated sanitizers
for program in task sync channel cancel net io; do
    SWARD_STALL_REPORTS=0 leaks --test "$program" -- "${skips[@]}"
done
for program in observe process stacks isolated; do
    leaks --test "$program" -- "${skips[@]}"
done
leaks --lib -- --skip storage::tests::signals "${skips[@]}"
within 1800 "${cargo[@]}" --no-run --lib "${programs[@]/#/--test=}"
# Stalls are no news here, and tests of reports are further down. One program after the other, so that a hang names one.
for program in task channel cancel net io; do
    SWARD_STALL_REPORTS=0 within 900 "${cargo[@]}" --test "$program" -- "${skips[@]}"
done
# With whole stacks, so that the function that ci/leaks.txt names is in them.
SWARD_STALL_REPORTS=0 ASAN_OPTIONS=$ASAN_OPTIONS:fast_unwind_on_malloc=0 \
    within 900 "${cargo[@]}" --test sync -- "${skips[@]}"
for program in observe process stacks isolated; do
    within 900 "${cargo[@]}" --test "$program" -- "${skips[@]}"
done
echo "skipped: storage::tests::signals: it runs below, without detect_stack_use_after_return"
within 900 "${cargo[@]}" --lib -- --skip storage::tests::signals "${skips[@]}"

# Files by rings of io_uring, whose calls are cancelled at any time.
SWARD_STALL_REPORTS=0 SWARD_IO_URING=1 within 900 "${cargo[@]}" --test io -- fs_ring

# With mobile homes. Leaks are looked for above. `detect_stack_use_after_return`: src/storage/probe.rs has the reason.
export SWARD_STALL_REPORTS=0 SWARD_HOMES=auto ASAN_OPTIONS=handle_segv=0:detect_stack_use_after_return=0:detect_leaks=0
for program in homes task cancel channel sync; do
    within 900 "${cargo[@]}" --test "$program" -- "${skips[@]}"
done
echo "skipped: sched::virtual_workers: they have run above, and have homes of their own"
within 900 "${cargo[@]}" --lib -- storage:: sched:: --skip sched::virtual_workers "${skips[@]}"
