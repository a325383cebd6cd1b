//! Waits for children, and what becomes of children that are dropped or killed.

use crate::common::{MOMENT, both, eventually, in_runtime};
use crate::tools::{alone, cat, shell, state, thread_names, utf8};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use sward::process::{Command, Stdio};
use sward::task::JoinError;
use sward::time::timeout;

#[test]
fn the_status_is_reported() {
    both(|| {
        assert!(Command::new("true").status().unwrap().success());
        assert_eq!(shell("exit 7").status().unwrap().code(), Some(7));
        let status = shell("kill -9 $$").status().unwrap();
        assert_eq!((status.code(), status.signal()), (None, Some(9)));
        let mut child = shell("exit 3").spawn().unwrap();
        for _ in 0..3 {
            assert_eq!(child.wait().unwrap().code(), Some(3));
        }
        assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(3));
        assert_eq!(child.wait_timeout(Duration::ZERO).unwrap().unwrap().code(), Some(3));
        child.kill().unwrap();
    });
}

/// With one worker, a wait that blocked would block everything.
#[test]
fn waiting_parks() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().unwrap();
    runtime.run(|| {
        let mut child = cat();
        let (input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let waiting = sward::spawn(move || child.wait().unwrap());
        let reading = sward::spawn(move || output.read(&mut [0; 8]).unwrap());
        sward::sleep(MOMENT);
        assert!(!waiting.is_finished() && !reading.is_finished());
        drop(input);
        assert_eq!(reading.join().unwrap(), 0);
        assert!(waiting.join().unwrap().success());
    });
}

#[test]
fn a_limited_wait_leaves_the_child() {
    both(|| {
        let mut child = cat();
        let mut input = child.stdin.take();
        for _ in 0..3 {
            assert!(child.wait_timeout(Duration::from_millis(2)).unwrap().is_none());
            assert!(timeout(Duration::from_millis(2), || child.wait()).is_err());
        }
        assert!(child.wait_timeout(Duration::ZERO).unwrap().is_none());
        input.as_mut().unwrap().write_all(b"still there").unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, b"still there");
    });
}

#[test]
fn a_cancelled_wait_leaves_the_child() {
    in_runtime(|| {
        let mut child = cat();
        let input = child.stdin.take();
        sward::scope(|s| {
            let waiting = s.spawn(|| child.wait());
            sward::sleep(MOMENT);
            waiting.cancel();
            assert!(matches!(waiting.join(), Err(JoinError::Cancelled)));
        });
        drop(input);
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn a_killed_child_ends() {
    both(|| {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        let parked = sward::spawn(|| {
            let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
            let pid = child.id();
            sward::spawn(move || {
                sward::sleep(MOMENT);
                // SAFETY: the call takes no pointers. No call has waited for the process.
                unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) }
            });
            child.wait().unwrap()
        });
        assert_eq!(parked.join().unwrap().signal(), Some(libc::SIGTERM));
    });
}

#[test]
fn a_dropped_child_is_killed_on_request() {
    let _alone = alone();
    both(|| {
        let child = Command::new("sleep").arg("1000").kill_on_drop(true).spawn().unwrap();
        let pid = child.id();
        assert!(state(pid).is_some());
        drop(child);
        // Killed and reaped, without any other call.
        eventually("it is gone", || state(pid).is_none());
        // The same when the coroutine that waits for it is cancelled.
        let waiting = sward::spawn(|| Command::new("sleep").arg("1000").kill_on_drop(true).output());
        sward::sleep(MOMENT);
        waiting.cancel();
        assert!(matches!(waiting.join(), Err(JoinError::Cancelled)));
    });
}

#[test]
fn a_dropped_child_goes_on_and_is_reaped() {
    let _alone = alone();
    both(|| {
        let mut child = cat();
        let (pid, mut input, mut output) =
            (child.id(), child.stdin.take().unwrap(), child.stdout.take().unwrap());
        drop(child);
        input.write_all(b"alive").unwrap();
        output.read_exact(&mut [0; 5]).unwrap();
        drop(input);
        eventually("it is reaped, although nothing else happens", || state(pid).is_none());
        // The drop itself reaps a child that has ended.
        let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        assert_eq!(child.stdout.take().unwrap().read(&mut [0]).unwrap(), 0);
        eventually("it has ended", || state(pid) == Some('Z'));
        drop(child);
        assert_eq!(state(pid), None);
    });
}

/// Children whose waits have ended early leave no zombies, also if no other child is started or dropped.
#[test]
fn a_child_whose_wait_timed_out_leaves_no_zombie() {
    let _alone = alone();
    both(|| {
        let pids: Vec<u32> = (0..20)
            .map(|_| {
                let mut child = Command::new("sleep").arg("0.2").spawn().unwrap();
                assert!(timeout(Duration::from_millis(1), || child.wait()).is_err());
                child.id()
            })
            .collect();
        eventually("all are reaped", || pids.iter().all(|&pid| state(pid).is_none()));
        // The reaper thread has ended and closed its descriptors. The next child starts another one.
        eventually("nothing is left of it", || !thread_names().iter().any(|name| name == "sward-reaper"));
        let child = Command::new("sleep").arg("0.1").spawn().unwrap();
        let pid = child.id();
        drop(child);
        eventually("it is reaped", || state(pid).is_none());
    });
}

#[test]
fn a_hundred_at_once() {
    in_runtime(|| {
        let all: Vec<_> = (0..100)
            .map(|i| {
                sward::spawn(move || {
                    let mut child = cat();
                    let mut input = child.stdin.take().unwrap();
                    write!(input, "{i}").unwrap();
                    drop(input);
                    utf8(&child.wait_with_output().unwrap().stdout).parse::<usize>().unwrap()
                })
            })
            .collect();
        for (i, handle) in all.into_iter().enumerate() {
            assert_eq!(handle.join().unwrap(), i);
        }
    });
}

/// A child outlives the runtime that has started it, and another runtime waits for it.
#[test]
fn from_runtime_to_runtime() {
    let mut child = in_runtime(|| {
        let mut child = cat();
        let input = child.stdin.take();
        assert!(child.wait_timeout(Duration::from_millis(2)).unwrap().is_none());
        child.stdin = input;
        child
    });
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    in_runtime(|| {
        input.write_all(b"x").unwrap();
        output.read_exact(&mut [0]).unwrap();
    });
    drop(input);
    assert!(in_runtime(|| child.wait()).unwrap().success());
}
