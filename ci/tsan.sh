#!/usr/bin/env bash
# ThreadSanitizer: a planted race between two coroutines is found, synchronized coroutines are none, and the suite has
# no report. Needs the sources of the standard library (rustup's component rust-src), which is instrumented too:
# otherwise what it synchronizes would be reported. `quick` as an argument: only the first two.
. "$(dirname "$0")/common.sh"
target=x86_64-unknown-linux-gnu
host=$(rustc -vV | sed -n 's/^host: //p')
[ "$host" = "$target" ] || { echo "skipped: only on $target"; exit 0; }
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
    command -v rustup >/dev/null || { echo "skipped: no sources of the standard library, and no rustup"; exit 0; }
    reason=$(timeout 300 rustup component add rust-src 2>&1) || {
        echo "skipped: no sources of the standard library, and rustup says: ${reason##*$'\n'}"
        exit 0
    }
fi
# Sanitizers are not stable; the compiler is told that it may.
export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=thread CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/tsan"
# Checked waits read the words of other stacks (src/sched/checks.rs).
export SWARD_CHECK=0
# The sanitizer that tests expect the build to have (tests/isolated/sanitizers.rs).
export SWARD_TEST_SANITIZER=thread
# A panic would read the symbols of the whole program, which takes minutes here.
export RUST_BACKTRACE=0
cargo=(cargo test -Zbuild-std --target "$target")
skips=()
leave_out() { # test, reason
    echo "skipped: $1: $2"
    skips+=(--skip "$1")
}
many="it has room for 8,000 coroutines at a time"
space="it reserves more address space than the test allows"
leave_out memory::a_detached_coroutine_without_a_stack_is_reported "$space"
leave_out memory::stacks_leave_address_space_to_the_others "$space"
leave_out overflow::another_fault_goes_to_the_earlier_handler "it has the handler"
leave_out stacks::a_past_burst_leaves_few_page_tables "$many"
leave_out stacks::stacks_share_mappings "$many"
leave_out run_in_a_destructor_on_a_worker_is_refused "$space"
leave_out scope::a_coroutine_without_a_stack_is_reported "$space"
leave_out spawn::a_hundred_thousand_parked_at_once "$many"
signals="it holds a signal back until the thread that got it makes certain calls"
leave_out environment::a_builder_names_a_signal_and_a_variable_the_file "$signals"
leave_out environment::a_signal_makes_a_dump_while_all_workers_are_stuck "$signals"
leave_out stalls::a_stall_is_reported_with_the_stack_of_the_moment "$signals"
leave_out stalls::the_program_gets_a_stall_that_computes "$signals"
leave_out a_destructor_while_unwinding_shows_where "$signals"
leave_out stuck_workers_show_where "$signals"
leave_out record::the_last_seconds_before_a_deadlock_are_in_a_file "the names of functions take longer than what is kept"
leave_out sched::virtual_workers "one thread takes all steps"
leave_out valgrind_is_refused "valgrind does not run this program"
# A child that was forked beside other threads starts threads.
export TSAN_OPTIONS=die_after_fork=0:suppressions=$PWD/ci/races.txt

within 900 "${cargo[@]}" --test isolated sanitizers
[ "${1:-}" = quick ] && exit
programs=(task sync channel cancel net io observe process stacks isolated)
within 1800 "${cargo[@]}" --no-run --lib "${programs[@]/#/--test=}"
# Stalls are no news here, and tests of reports are further down. One program after the other, so that a hang names one.
for program in task sync channel cancel net io; do
    SWARD_STALL_REPORTS=0 within 1800 "${cargo[@]}" --test "$program" -- "${skips[@]}"
done
for program in observe process stacks isolated; do
    within 1800 "${cargo[@]}" --test "$program" -- "${skips[@]}"
done
within 1800 "${cargo[@]}" --lib -- "${skips[@]}"
