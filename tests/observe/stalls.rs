//! The report of a coroutine that keeps its worker says where it is.

use crate::common::child_command;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sward::observe::{Stall, StallKind};
use sward::runtime::{Builder, Homes};

/// Whether the stack of a running coroutine is known, with names.
const SAMPLED: bool = cfg!(feature = "symbols")
    && cfg!(all(
        target_os = "linux",
        target_env = "gnu",
        any(target_arch = "aarch64", target_arch = "x86_64")
    ));

/// The child ends after that time, if it is not killed.
const LIMIT: Duration = Duration::from_secs(60);

/// Spawns a coroutine that lives on the same worker as the caller, which is pinned. In migrating mode a spare
/// worker may start a coroutine: then another one is spawned.
fn spawn_beside(name: &str, f: impl FnOnce() + Clone + Send + 'static) {
    loop {
        let (tells, told) = sward::channel::bounded(1);
        let (goes, gone) = sward::channel::bounded(1);
        let f = f.clone();
        let beside = sward::task::Builder::new().pinned(true).name(name).spawn(move || {
            tells.send(std::thread::current().id()).expect("heard");
            if gone.recv() == Ok(()) {
                f();
            }
        });
        drop(beside.expect("spawned"));
        if told.recv() == Ok(std::thread::current().id()) {
            goes.send(()).expect("it waits");
            // What follows has a turn of its own.
            return sward::yield_now();
        }
    }
}

#[inline(never)]
fn computes_for_long() {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        black_box(());
    }
}

#[test]
fn a_stall_is_reported_with_the_stack_of_the_moment() {
    let Some(mut child) = child_command(|| {
        let builder = Builder::new().worker_threads(1).stall_threshold(Duration::from_millis(5));
        builder.build().expect("a runtime").run(|| {
            let start = Instant::now();
            let spinner = sward::task::Builder::new().name("spinner").pinned(true).spawn(move || {
                spawn_beside("sibling", move || {
                    while start.elapsed() < LIMIT {
                        sward::yield_now();
                    }
                });
                computes_for_long();
            });
            drop(spinner.expect("spawned").join());
        });
    }) else {
        return;
    };
    // Pinned homes: all coroutines are siblings.
    let child =
        child.env("SWARD_HOMES", "off").arg("--nocapture").stderr(Stdio::piped()).stdout(Stdio::null());
    let mut child = child.spawn().expect("a child");
    let mut said = String::new();
    for line in BufReader::new(child.stderr.take().expect("piped")).lines() {
        let line = line.expect("text");
        said.push_str(&line);
        said.push('\n');
        let is_last = if SAMPLED { "computes_for_long" } else { "\"spinner\"" };
        if line.contains(is_last) {
            break;
        }
    }
    // It would compute for a minute.
    child.kill().expect("it runs");
    child.wait().expect("it has ended");
    let reported = |line: &str| line.contains("\"spinner\"") && line.contains("has kept worker ");
    assert!(said.lines().any(reported), "{said}");
    assert!(!SAMPLED || said.contains("stalls::computes_for_long"), "{said}");
}

/// What the program gets of a coroutine of that name, which runs `f` beside a sibling of the same worker that
/// is always ready to run. Afterwards the flag is set.
fn stall_of(name: &'static str, f: impl FnOnce(&AtomicBool) + Send + 'static) -> Stall {
    let (sender, stalls) = std::sync::mpsc::channel();
    let builder = Builder::new().worker_threads(1).homes(Homes::Off);
    let builder = builder.on_stall(move |stall| drop(sender.send(stall.clone())));
    let runtime = builder.build().expect("a runtime");
    let over = Arc::new(AtomicBool::new(false));
    let (its, siblings) = (Arc::clone(&over), Arc::clone(&over));
    runtime.run(|| {
        let named = sward::task::Builder::new().pinned(true).name(name).spawn(move || {
            spawn_beside("sibling", move || {
                while !siblings.load(Ordering::Relaxed) {
                    sward::yield_now();
                }
            });
            f(&its);
        });
        drop(named.expect("spawned"));
    });
    let is_it = |stall: &Stall| stall.coroutine.name.as_deref() == Some(name);
    let stall = stalls.into_iter().find(is_it).expect("a stall");
    over.store(true, Ordering::Relaxed);
    assert!(runtime.metrics().workers.iter().any(|worker| worker.stalls >= 1));
    stall
}

#[inline(never)]
fn computes_until(over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        black_box(());
    }
}

#[test]
fn the_program_gets_a_stall_that_computes() {
    let stall = stall_of("computes for long", computes_until);
    assert!(matches!(stall.kind, StallKind::Computes { .. }), "{stall}");
    assert!(stall.lasts >= Duration::from_millis(20) && stall.waiting >= 1, "{stall:?}");
    assert!(stall.coroutine.spawned_at.file().ends_with("stalls.rs") && stall.suspects.is_empty());
    let stack = stall.stack.map(|stack| format!("{:?}", stack.frames)).unwrap_or_default();
    assert!(!SAMPLED || stack.contains("computes_until"), "{stack}");
}

/// A coroutine holds a mutex of std while it waits, and another one of its worker wants that.
#[test]
fn who_may_hold_the_lock_is_suspected() {
    let stall = stall_of("wants the lock", |over| {
        let cache = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&cache);
        let (locked, is_locked) = sward::channel::bounded(1);
        spawn_beside("holds the lock", move || {
            let guard = theirs.lock().expect("no panic");
            locked.send(()).expect("received");
            sward::sleep(Duration::from_secs(3600));
            drop(guard);
        });
        is_locked.recv().expect("sent");
        // A lock would block it for ever. So it waits as a lock does, until the report.
        assert!(cache.try_lock().is_err(), "it is held");
        while !over.load(Ordering::Relaxed) {
            let sleeper = Mutex::new(());
            let guard = sleeper.lock().expect("no panic");
            let never = std::sync::Condvar::new();
            drop(never.wait_timeout(guard, Duration::from_millis(500)));
        }
    });
    assert!(matches!(stall.kind, StallKind::Blocked { .. }), "{stall}");
    let text = stall.to_string();
    let suspect = stall.suspects.iter().find(|one| one.name.as_deref() == Some("holds the lock"));
    assert_eq!(suspect.and_then(|one| one.waits_in), Some("sleep"), "{text}");
    assert!(!text.contains("futex") || text.contains("\"holds the lock\" (spawned at "), "{text}");
}

/// A coroutine reads from a socket of std, as a driver of a database does.
#[test]
fn the_remedy_for_a_call_of_a_library_is_named() {
    let stall = stall_of("asks a database", |over| {
        let (mut ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        ours.set_read_timeout(Some(Duration::from_millis(500))).expect("a limit");
        while !over.load(Ordering::Relaxed) {
            drop(std::io::Read::read(&mut ours, &mut [0; 8]));
        }
    });
    let StallKind::Blocked { place } = &stall.kind else { panic!("{stall}") };
    // Some systems do not say which call it is.
    let known = place.as_deref().is_some_and(|place| place.starts_with("recvfrom"));
    assert!(
        !known || stall.to_string().contains("sward::blocking or in sward_interpose::park_blocking"),
        "{stall}"
    );
}
