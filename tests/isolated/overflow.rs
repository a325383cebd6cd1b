//! Stack overflows, and other faults.

use crate::common::{LONG, child, is_child, text, this_test};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[inline(never)]
fn deep(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 64]);
    if n == 0 { 0 } else { deep(n - 1) + frame[(n % 64) as usize] }
}

#[test]
fn an_overflow_names_the_coroutine() {
    use std::os::unix::process::ExitStatusExt;
    if is_child() {
        sward::run(|| {
            let deep = sward::task::Builder::new().name("digger").spawn(|| deep(1 << 40));
            deep.expect("spawned").join().expect("unreachable")
        });
        return;
    }
    let output = child(this_test!(), &[]);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", text(&output));
    let report = text(&output);
    for part in [
        &format!(" \"digger\" (spawned at {}:", file!()),
        "overflowed its stack of 256 KiB",
        "SWARD_STACK_SIZE",
    ] {
        assert!(report.contains(part), "{part} is missing in: {report}");
    }
}

/// The program does not build the first coroutine, so the builder of the runtime sets the size of its stack.
#[test]
fn an_overflow_of_the_main_coroutine_names_the_setting_for_its_stack() {
    if is_child() {
        sward::run(|| deep(1 << 40));
        return;
    }
    let report = text(&child(this_test!(), &[]));
    for part in [&format!(" \"main\" (spawned at {}:", file!()), "runtime::Builder::stack_size"] {
        assert!(report.contains(part), "{part} is missing in: {report}");
    }
}

#[test]
fn another_fault_goes_to_the_earlier_handler() {
    use std::os::unix::process::ExitStatusExt;
    if is_child() {
        // SAFETY: none. It ends the process, which this tests.
        sward::run(|| unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) });
        return;
    }
    let output = child(this_test!(), &[]);
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{}", text(&output));
    assert!(!text(&output).contains("overflowed"));
}

/// Without an earlier handler, a fault signal that a process sends ends this process as usual.
#[test]
fn a_fault_signal_that_was_sent_ends_the_process() {
    use std::os::unix::process::ExitStatusExt;
    let test = this_test!();
    if is_child() {
        let signal = std::env::var("SIGNAL").expect("set").parse().expect("a number");
        // SAFETY: the default action replaces std's handler. The signal is meant to end the process.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            assert_eq!(sward::run(|| libc::kill(libc::getpid(), signal)), 0);
        }
        // The signal may arrive on another thread.
        std::thread::sleep(Duration::from_secs(5));
        return;
    }
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        let output = child(test, &[("SIGNAL", &signal.to_string())]);
        assert_eq!(output.status.signal(), Some(signal), "{}", text(&output));
    }
}

/// A fault signal that was ignored stays ignored. It neither ends the process nor disables the overflow
/// report.
#[test]
fn a_fault_signal_that_was_ignored_stays_ignored() {
    use std::os::unix::process::ExitStatusExt;
    if is_child() {
        // SAFETY: std's handler is not needed here, and the signal is ignored.
        unsafe {
            libc::signal(libc::SIGSEGV, libc::SIG_IGN);
            sward::run(|| assert_eq!(libc::kill(libc::getpid(), libc::SIGSEGV), 0));
        }
        println!("goes on");
        sward::run(|| deep(1 << 40));
        return;
    }
    let output = child(this_test!(), &[]);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", text(&output));
    for part in ["goes on", "overflowed its stack"] {
        assert!(text(&output).contains(part), "{part} is missing in: {}", text(&output));
    }
}

/// Writes far below its own frame, as C code does that has such a large frame and no stack probes.
#[inline(never)]
fn write_below(bytes: usize) {
    let frame = 0_u8;
    let below = std::hint::black_box(&raw const frame).wrapping_sub(bytes).cast_mut();
    // SAFETY: none. The child must end by this.
    unsafe { below.write_volatile(1) };
}

/// A frame of 240 KiB without probes jumps over the usual guard, into another stack. A larger guard, set for
/// the runtime, in the environment or for the coroutine, catches it, and the report is the usual one.
#[test]
fn a_frame_that_jumps_the_usual_guard_is_caught_by_a_larger_one() {
    use std::os::unix::process::ExitStatusExt;
    let test = this_test!();
    if is_child() {
        let way = std::env::var("WAY").expect("given");
        // Spare workers would take stacks from another region.
        let mut runtime = sward::runtime::Builder::new().worker_threads(1).stall_threshold(LONG);
        if way == "runtime" {
            runtime = runtime.guard_size(512 << 10);
        }
        runtime.build().expect("a runtime").run(|| {
            let mut jumper = sward::task::Builder::new().name("jumper").stack_size(64 << 10);
            if way == "coroutine" {
                jumper = jumper.guard_size(512 << 10);
            }
            // Stacks below its own, which it could jump into: the first region has 16.
            let started = Arc::new(AtomicUsize::new(0));
            let other = || {
                let started = Arc::clone(&started);
                let other = move || {
                    started.fetch_add(1, Ordering::SeqCst);
                    sward::task::park();
                };
                sward::task::Builder::new().stack_size(64 << 10).spawn(other).expect("spawned")
            };
            let others: Vec<_> = std::iter::repeat_with(other).take(12).collect();
            while started.load(Ordering::SeqCst) < others.len() {
                sward::yield_now();
            }
            jumper.spawn(|| write_below(240 << 10)).expect("spawned").join().expect("no panic");
            println!("nobody has noticed");
            for other in others {
                other.task().unpark();
                other.join().expect("no panic");
            }
        });
        return;
    }
    for way in ["runtime", "environment", "coroutine", "none"] {
        let size = if way == "environment" { "500K" } else { "" };
        let output = child(test, &[("WAY", way), ("SWARD_GUARD_SIZE", size)]);
        let said = text(&output);
        if way == "none" {
            assert!(said.contains("nobody has noticed"), "the frame is too small to show anything: {said}");
            continue;
        }
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{way}: {said}");
        assert!(said.contains("jumper") && said.contains("overflowed its stack of 64 KiB"), "{said}");
    }
}
