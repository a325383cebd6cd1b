//! Children, forks, threads and credentials.

use super::coroutines::{builder, coroutines, homes_move};
use crate::common::{in_child, soon};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

#[test]
fn programs_are_executed() {
    coroutines(10).run(|this| {
        this.pause();
        assert!(Command::new("true").status().expect("a child").success());
        this.pause();
        let mut forked = Command::new("true");
        // SAFETY: the closure does nothing. It makes std fork instead of spawning.
        unsafe { forked.pre_exec(|| Ok(())) };
        assert!(forked.status().expect("a child").success());
        this.pause();
    });
}

/// A forked child is a process with one thread, which may use the C library, and start threads.
#[test]
fn a_forked_child_runs_on() {
    coroutines(4).run(|this| {
        this.pause();
        // SAFETY: the child does what glibc supports after a fork, and does not use the runtime.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::alarm(60);
                let memory = std::hint::black_box(vec![1_u8; 1_000]);
                let sum = thread::spawn(move || memory.iter().map(|byte| u32::from(*byte)).sum::<u32>());
                libc::_exit(if sum.join().is_ok_and(|sum| sum == 1_000) { 7 } else { 1 });
            }
            assert!(child > 0);
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status:#x}");
        }
        this.pause();
    });
}

#[test]
fn threads_are_spawned() {
    coroutines(10).run(|this| {
        this.pause();
        let own = thread::current().id();
        let other = thread::scope(|scope| scope.spawn(|| thread::current().id()).join().expect("no panic"));
        assert_ne!(own, other);
        this.pause();
        assert_eq!(thread::current().id(), own);
    });
}

fn set_group() {
    // SAFETY: the calls take no pointers.
    assert_eq!(unsafe { libc::setgid(libc::getgid()) }, 0);
}

/// glibc interrupts all threads, and waits until each has changed its group, too.
#[test]
fn a_coroutine_sets_the_group_of_the_process() {
    in_child(|| {
        soon(|| {
            coroutines(20).run(|this| {
                for _ in 0..5 {
                    this.pause();
                    set_group();
                }
            })
        });
    });
}

#[test]
fn a_thread_sets_the_group_while_workers_run_coroutines() {
    in_child(|| {
        soon(|| {
            let setter = thread::spawn(|| {
                for _ in 0..200 {
                    set_group();
                    thread::yield_now();
                }
            });
            coroutines(100).run(|this| this.pauses(200));
            setter.join().expect("no panic");
            // While the workers sleep, and no home runs.
            let runtime = builder().build().expect("a runtime");
            runtime.spawn(|| ()).join().expect("no panic");
            set_group();
            drop(homes_move(&runtime));
        });
    });
}
