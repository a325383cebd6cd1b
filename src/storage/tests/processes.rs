//! Forks, valgrind, panics.

use super::{CHILD, enter, in_child, on_worker, passes_in_child, storage};
use crate::storage::loan::Loan;
use crate::storage::{Storage, supported, sys};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Output};
use std::thread;

#[test]
fn supported_here_or_a_reason() {
    match supported() {
        Ok(()) => println!("supported"),
        Err(reason) => println!("unsupported: {reason}"),
    }
}

#[test]
fn programs_are_started_inside() {
    let Some(storage) = storage() else { return };
    for _ in 0..2 {
        let output = on_worker(&storage, || Command::new("echo").arg("said").output()).expect("a program");
        assert_eq!(output.stdout, b"said\n");
    }
    // With a function between fork and exec, std forks by itself.
    let output = on_worker(&storage, || {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("echo");
        // SAFETY: the function does nothing.
        unsafe { command.arg("said").pre_exec(|| Ok(())) };
        command.output()
    });
    assert_eq!(output.expect("a program").stdout, b"said\n");
    storage.end().join().expect("it ends");
}

/// Forks, runs the function in the child, and returns the child's end. Zero is the function's return.
fn fork(f: impl FnOnce()) -> i32 {
    // SAFETY: the child runs the function and ends; these tests have no other threads that hold locks.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            // A hang ends as a failure.
            libc::alarm(20);
            let result = catch_unwind(AssertUnwindSafe(f));
            libc::_exit(i32::from(result.is_err()));
        }
        let mut status = -1;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        status
    }
}

#[test]
fn a_child_that_was_forked_inside_goes_on() {
    if passes_in_child("processes::a_child_that_was_forked_inside_goes_on") {
        return;
    }
    let Some(storage) = storage() else { return };
    let status = on_worker(&storage, || {
        let before = thread::current().id();
        fork(|| {
            // To glibc the worker's stack is free, and this function runs on it, unlike a coroutine. So no
            // thread may be given that one.
            let builder = || thread::Builder::new().stack_size(8 << 20);
            for i in 0..10 {
                let thread = builder().spawn(move || vec![i; 1000]).expect("a thread");
                assert_eq!(thread.join().expect("no panic"), [i; 1000]);
            }
            assert_eq!(thread::current().id(), before);
            let mut ran_inside = false;
            // SAFETY: this thread is inside.
            unsafe { storage.outside(&mut || ran_inside = thread::current().id() == before) };
            assert!(ran_inside, "the worker's block is not in use any more");
            // SAFETY: the calls have no conditions.
            assert_eq!(unsafe { libc::setgid(libc::getgid()) }, 0);
            // The kernel does not write to the worker's block any more.
            assert_eq!(sys::no_rseq(), Ok(()));
        })
    });
    assert_eq!(status, 0);
    assert_eq!(on_worker(&storage, || 1), 1, "the parent is unharmed");
    storage.end().join().expect("it ends");
}

#[test]
fn a_child_that_was_forked_outside_lends() {
    if passes_in_child("processes::a_child_that_was_forked_outside_lends") {
        return;
    }
    let Some(storage) = storage() else { return };
    let pointer = on_worker(&storage, sys::thread_pointer);
    let status = fork(|| {
        assert!(Loan::of(pointer).is_none(), "there is no lender in the child");
        let own = Storage::lend("of the child".into(), || ()).expect("a thread");
        // What it finds at first is what the start of a thread has left.
        on_worker(&own, || sys::swap_errno(7));
        assert_eq!(on_worker(&own, || sys::swap_errno(0)), 7);
        own.end().join().expect("it ends");
    });
    assert_eq!(status, 0);
    storage.end().join().expect("it ends");
}

#[test]
fn the_parents_storage_ends_in_the_child_and_does_not_hang() {
    if passes_in_child("processes::the_parents_storage_ends_in_the_child_and_does_not_hang") {
        return;
    }
    let (Some(one), Some(two)) = (storage(), storage()) else { return };
    on_worker(&one, || 1);
    let mut both = Some((one, two));
    let status = fork(|| {
        // The other one is dropped.
        let (one, _) = both.take().expect("not taken");
        one.end().join().expect("it ends");
    });
    assert_eq!(status, 0);
    let (one, two) = both.expect("of the parent");
    for storage in [one, two] {
        storage.end().join().expect("it ends");
    }
}

/// As `passes_in_child`, for a test whose forked child is refused.
fn is_refused_in_child(test: &str) -> bool {
    let refused = |output: &Output| {
        assert!(output.status.success(), "{}", output.status);
        let (said, skipped) = (String::from_utf8_lossy(&output.stderr), &output.stdout);
        let skipped = String::from_utf8_lossy(skipped).contains("skipped");
        assert!(skipped || said.contains("a child that was forked in a coroutine"), "{said}");
    };
    in_child(test).inspect(refused).is_some()
}

/// Whether the child has aborted.
fn aborted(status: i32) -> bool {
    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT
}

#[test]
fn a_child_does_not_enter_the_parents_storage() {
    if is_refused_in_child("processes::a_child_does_not_enter_the_parents_storage") {
        return;
    }
    let Some(storage) = storage() else { return };
    // SAFETY: no other thread enters.
    assert!(aborted(fork(|| unsafe { enter(&storage, || ()) })));
    storage.end().join().expect("it ends");
}

#[test]
fn a_child_does_not_leave_what_its_parent_has_entered() {
    if is_refused_in_child("processes::a_child_does_not_leave_what_its_parent_has_entered") {
        return;
    }
    let Some(storage) = storage() else { return };
    let status = on_worker(&storage, || {
        // SAFETY: the child returns, which is what the test is about; it does not get far.
        let child = unsafe { libc::fork() };
        if child == 0 {
            return None;
        }
        let mut status = -1;
        // SAFETY: the variable is written.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        Some(status)
    });
    assert!(aborted(status.expect("only the parent is here")));
    storage.end().join().expect("it ends");
}

#[test]
fn a_panic_does_not_leave_a_storage() {
    let Some(output) = in_child("processes::a_panic_does_not_leave_a_storage") else {
        let Some(storage) = storage() else { std::process::abort() };
        // SAFETY: no other thread enters.
        unsafe { storage.enter(false, &mut || panic!("out of a storage")) };
        return;
    };
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
}

#[test]
fn valgrind_is_refused() {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=none"]).arg(program).env(CHILD, "1");
    command.args(["storage::tests::processes::supported_here_or_a_reason", "--exact", "--nocapture"]);
    match command.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("unsupported: valgrind"), "{output:?}");
        }
        Err(e) => println!("skipped: no valgrind: {e}"),
    }
}
