//! What tools for programs say about coroutines.

// Programs with a sanitizer run under no other tool.
#![cfg(not(sward_sanitizer))]
// Some systems have none of the tools.
#![allow(dead_code, unused_imports)]

use crate::common::{command, is_child, text, this_test};
use std::process::Command;

/// The standard output and error of a tool that runs this test as a child; `None` if there is no such tool.
fn under(tool: &str, arguments: &[&str], test: &str) -> Option<(bool, String)> {
    let child = command(test, test);
    let mut command = Command::new(tool);
    command
        .args(arguments)
        .arg(child.get_program())
        .args(child.get_args())
        .envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("SWARD_CHECK", "0")
        // valgrind lets no other thread run while one waits in `io_uring_enter`.
        .env_remove("SWARD_NETPOLL")
        .env("SWARD_STALL_REPORTS", "0");
    match command.output() {
        Ok(output) => Some((output.status.success(), text(&output))),
        Err(error) => {
            println!("skipped: {tool}: {error}");
            None
        }
    }
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn sward_test_stops_here() {
    std::hint::black_box(());
}

/// A backtrace in a coroutine ends: it goes on over the worker's stack to the start of its thread, without a
/// cycle and without an error.
#[test]
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn gdb_finds_the_end_of_a_stack() {
    if is_child() {
        sward::run(|| {
            sward::spawn(|| {
                sward::yield_now();
                sward_test_stops_here();
            })
            .join()
            .expect("no panic");
        });
        return;
    }
    let stop = ["-batch", "-nx", "-ex", "set breakpoint pending on", "-ex", "break sward_test_stops_here"];
    let look = ["-ex", "run", "-ex", "backtrace 200", "-ex", "kill", "--args"];
    let Some((_, said)) = under("gdb", &[&stop[..], &look[..]].concat(), this_test!()) else {
        return;
    };
    let Some(trace) = said.split_once("hit Breakpoint 1,").map(|(_, trace)| trace) else {
        // As in some containers.
        let refused = said.contains("ptrace: Operation not permitted")
            || said.contains("Could not trace the inferior process");
        assert!(refused, "gdb may trace, so it stops there: {said}");
        return println!("skipped: gdb may not trace: {said}");
    };
    let frames: Vec<&str> = trace.lines().filter(|line| line.starts_with('#')).collect();
    let has = |name: &str| frames.iter().any(|frame| frame.contains(name));
    assert!(has("gdb_finds_the_end_of_a_stack"), "the coroutine's closure is there: {said}");
    assert!(has("worker") && frames.len() < 200, "and what has resumed it: {said}");
    for fault in ["corrupt stack", "Cannot access memory", "same frame", "inner to this frame"] {
        assert!(!said.contains(fault), "{fault}: {said}");
    }
}

/// memcheck knows the stacks: no switch is an error, and a variable that nobody has set is one.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn valgrind_knows_the_stacks() {
    if is_child() {
        let planted = std::env::var_os("SWARD_TEST_PLANTED").is_some();
        sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime").run(|| {
            for _ in 0..3 {
                sward::scope(|scope| {
                    for coroutine in 0..20_u64 {
                        scope.spawn(move || {
                            let mut here = [coroutine; 100];
                            for at in 1..100 {
                                here[at] += here[at - 1];
                                if at % 10 == 0 {
                                    sward::yield_now();
                                }
                            }
                            assert_eq!(here[99], 100 * coroutine);
                        });
                    }
                });
            }
            if planted {
                let unset = Box::<u64>::new_uninit();
                sward::yield_now();
                // SAFETY: this is not sound, which is what the test is about.
                if std::hint::black_box(unsafe { unset.assume_init() }).is_power_of_two() {
                    println!("by chance");
                }
            }
        });
        return;
    }
    let arguments = ["-q", "--error-exitcode=99", "--leak-check=no"];
    let Some((content, said)) = under("valgrind", &arguments, this_test!()) else { return };
    assert!(content, "{said}");
    for fault in ["Invalid", "uninitialised", "client switching stacks"] {
        assert!(!said.contains(fault), "{fault}: {said}");
    }
    let planted = [arguments.as_slice(), &["--trace-children=yes", "env", "SWARD_TEST_PLANTED=1"]].concat();
    let Some((_, said)) = under("valgrind", &planted, this_test!()) else { return };
    assert!(said.contains("depends on uninitialised"), "{said}");
}
