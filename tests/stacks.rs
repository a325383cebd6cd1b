//! The stacks in a dump: of coroutines that wait, have yielded, or keep their worker in a turn.
#![cfg(feature = "symbols")]

mod checked;

use std::cell::Cell;
use std::hint::black_box;
use std::io::Read;
use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use sward::channel;
use sward::net::TcpListener;
use sward::observe::{CoroutineDump, CoroutineState, RuntimeMode, StackExtent, Symbol, dump};
use sward::runtime::{Builder, Runtime};
use sward::sync::Mutex;
use sward::task::{self, JoinHandle};

fn named<T: Send + 'static>(
    runtime: &Runtime,
    name: &str,
    f: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let name = name.to_owned();
    runtime.run(move || task::Builder::new().name(name).spawn(f).expect("spawned"))
}

/// The coroutine of that name, once a dump has it in that state with a stack. `None` if it has no stack
/// because it may migrate.
fn find(name: &str, state: CoroutineState) -> Option<CoroutineDump> {
    let begin = Instant::now();
    loop {
        let dump = dump();
        for runtime in &dump.runtimes {
            for coroutine in &runtime.coroutines {
                if coroutine.name.as_deref() != Some(name) || coroutine.state != state {
                    continue;
                }
                if runtime.mode == RuntimeMode::Migrating {
                    return None;
                }
                if coroutine.stack.as_ref().is_some_and(|stack| !stack.frames.is_empty()) {
                    return Some(coroutine.clone());
                }
            }
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "no stack of {name}: {dump:#}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The functions of its stack with their files. With little debug information names have no paths.
fn calls(coroutine: &CoroutineDump) -> Vec<String> {
    let frames = coroutine.stack.iter().flat_map(|stack| &stack.frames);
    let call = |symbol: &Symbol| {
        let (name, file) = (symbol.name.as_deref(), symbol.file.as_deref());
        format!("{} in {}", name.unwrap_or_default(), file.unwrap_or_default())
    };
    frames.flat_map(|frame| &frame.symbols).map(call).collect()
}

/// That the stack begins with a call of this function, made by that one, and ends in this file.
#[track_caller]
fn assert_stack(name: &str, state: CoroutineState, call: [&str; 2], caller: &str) {
    let Some(coroutine) = find(name, state) else { return };
    let calls = calls(&coroutine);
    assert!(call.iter().all(|part| calls[0].contains(part)), "{name}: {calls:#?}");
    assert!(calls.iter().any(|call| call.contains(caller)), "{name}: {calls:#?}");
    let last = calls.last().expect("not empty");
    assert!(last.contains("closure") && last.ends_with("tests/stacks.rs"), "{name}: {calls:#?}");
}

#[inline(never)]
fn waits_for_mutex(mutex: &Mutex<u8>) -> u8 {
    black_box(*mutex.lock().expect("not poisoned"))
}

#[inline(never)]
fn waits_for_message(receiver: &channel::Receiver<u8>) -> u8 {
    black_box(receiver.recv().expect("sent"))
}

#[inline(never)]
fn waits_for_bytes(stream: &mut impl Read) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).expect("sent");
    black_box(byte[0])
}

#[inline(never)]
fn sleeps(end: &AtomicBool) -> u8 {
    while !end.load(Ordering::Relaxed) {
        sward::sleep(Duration::from_millis(200));
    }
    black_box(4)
}

#[inline(never)]
fn yields(end: &AtomicBool) -> u8 {
    while !end.load(Ordering::Relaxed) {
        sward::yield_now();
    }
    black_box(5)
}

#[inline(never)]
fn recurses(levels: usize, receiver: &channel::Receiver<u8>) -> u8 {
    let found = if levels == 0 { waits_for_message(receiver) } else { recurses(levels - 1, receiver) };
    black_box(found)
}

#[test]
fn suspended_coroutines_show_the_call_that_waits() {
    let runtime = Builder::new().worker_threads(2).build().expect("a runtime");
    let end = Arc::new(AtomicBool::new(false));
    let mutex = Arc::new(Mutex::new(1));
    let (sender, receiver) = channel::bounded(0);
    let (deep_sender, deep_receiver) = channel::bounded(0);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");

    let held = mutex.lock().expect("not poisoned");
    let its = Arc::clone(&mutex);
    let mut all = vec![named(&runtime, "locks", move || waits_for_mutex(&its))];
    all.push(named(&runtime, "receives", move || waits_for_message(&receiver)));
    all.push(named(&runtime, "reads", move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        waits_for_bytes(&mut stream)
    }));
    let its = Arc::clone(&end);
    all.push(named(&runtime, "sleeps", move || sleeps(&its)));
    let its = Arc::clone(&end);
    all.push(named(&runtime, "yields", move || yields(&its)));
    all.push(named(&runtime, "deep", move || recurses(200, &deep_receiver)));
    let mut client = StdStream::connect(address).expect("connected");

    for _ in 0..3 {
        assert_stack("locks", CoroutineState::Parked, ["lock", "sync/mutex.rs"], "waits_for_mutex");
        assert_stack(
            "receives",
            CoroutineState::Parked,
            ["recv", "channel/receiver.rs"],
            "waits_for_message",
        );
        assert_stack("reads", CoroutineState::Parked, ["read", "net/"], "waits_for_bytes");
        assert_stack("sleeps", CoroutineState::Parked, ["sleep", "time/sleep.rs"], "sleeps");
        assert_stack("yields", CoroutineState::Runnable, ["yield_now", ".rs"], "yields");
        if let Some(deep) = find("deep", CoroutineState::Parked) {
            assert_eq!(deep.stack.as_ref().expect("a stack").extent, StackExtent::Cut);
            assert!(calls(&deep).iter().filter(|name| name.contains("recurses")).count() > 50);
        }
    }

    // The walks have changed nothing.
    drop(held);
    sender.send(2).expect("received");
    deep_sender.send(6).expect("received");
    std::io::Write::write_all(&mut client, &[3]).expect("written");
    end.store(true, Ordering::Relaxed);
    let results: Vec<u8> = all.into_iter().map(|one| one.join().expect("it ends")).collect();
    assert_eq!(results, [1, 2, 3, 4, 5, 6]);
}

/// Equal stacks are one, also when the coroutines are in homes that several workers run.
#[test]
fn equal_stacks_are_one() {
    let runtime = Builder::new().worker_threads(2).build().expect("a runtime");
    let (sender, receiver) = channel::unbounded::<u8>();
    let wait = move || {
        // Not on the stack that a sibling has used the same way.
        thread_local!(static COUNT: Cell<usize> = const { Cell::new(0) });
        COUNT.with(|count| count.set(count.get() + 1));
        waits_for_message(&receiver)
    };
    let all: Vec<_> = (0..200).map(|_| named(&runtime, "equal", wait.clone())).collect();
    let begin = Instant::now();
    loop {
        let dump = dump();
        let coroutines = dump.runtimes.iter().flat_map(|runtime| &runtime.coroutines);
        let equal: Vec<_> =
            coroutines.filter(|coroutine| coroutine.name.as_deref() == Some("equal")).collect();
        if dump.runtimes.iter().any(|runtime| runtime.mode == RuntimeMode::Migrating) {
            break;
        }
        if equal.len() == 200 && equal.iter().all(|one| one.complete && one.state == CoroutineState::Parked) {
            let stacks: std::collections::HashSet<_> =
                equal.iter().map(|one| one.stack.as_ref().map(Arc::as_ptr)).collect();
            assert_eq!(stacks.len(), 1, "{dump:#}");
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "{dump:#}");
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in &all {
        sender.send(1).expect("received");
    }
    assert!(all.into_iter().all(|one| one.join().expect("it ends") == 1));
}

#[inline(never)]
fn computes(end: &AtomicBool) {
    let mut sum = 0_u64;
    while !end.load(Ordering::Relaxed) {
        sum = black_box(sum.wrapping_mul(3) + 1);
    }
}

#[inline(never)]
fn asks_the_clock(end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        black_box(Instant::now());
    }
}

#[inline(never)]
fn sleeps_on_the_thread(end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[inline(never)]
fn locks_on_the_thread(end: &AtomicBool, lock: &std::sync::Mutex<()>) {
    while !end.load(Ordering::Relaxed) {
        drop(black_box(lock.lock().expect("not poisoned")));
    }
}

struct Flushes(channel::Receiver<u8>);

impl Drop for Flushes {
    fn drop(&mut self) {
        assert_eq!(self.0.recv(), Ok(9));
    }
}

/// A worker that is stuck in a turn shows where.
#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn stuck_workers_show_where() {
    let lock = Arc::new(std::sync::Mutex::new(()));
    for name in ["computes", "asks_the_clock", "sleeps_on_the_thread", "locks_on_the_thread"] {
        let runtime = Builder::new().worker_threads(1).build().expect("a runtime");
        let end = Arc::new(AtomicBool::new(false));
        let held = lock.lock().expect("not poisoned");
        let (its_end, its_lock) = (Arc::clone(&end), Arc::clone(&lock));
        let stuck = named(&runtime, name, move || match name {
            "computes" => computes(&its_end),
            "asks_the_clock" => asks_the_clock(&its_end),
            "sleeps_on_the_thread" => sleeps_on_the_thread(&its_end),
            _ => locks_on_the_thread(&its_end, &its_lock),
        });
        if let Some(coroutine) = find(name, CoroutineState::Running) {
            let calls = calls(&coroutine);
            assert!(calls.iter().any(|call| call.contains(name)), "{calls:#?}");
            let last = calls.last().expect("not empty");
            assert!(last.contains("closure") && last.ends_with("tests/stacks.rs"), "{calls:#?}");
        }
        drop(held);
        end.store(true, Ordering::Relaxed);
        stuck.join().expect("it ends");
    }
}

/// A wait in a destructor while the coroutine unwinds blocks the worker's thread.
#[test]
#[cfg(all(target_os = "linux", target_env = "gnu", panic = "unwind"))]
fn a_destructor_while_unwinding_shows_where() {
    let runtime = Builder::new().worker_threads(1).build().expect("a runtime");
    let (sender, receiver) = channel::bounded(0);
    let flushes = named(&runtime, "flushes", move || {
        let _flushes = Flushes(receiver);
        std::panic::resume_unwind(Box::new("as wanted"));
    });
    if let Some(coroutine) = find("flushes", CoroutineState::Running) {
        let calls = calls(&coroutine);
        let own = |call: &String| call.contains("drop") && call.ends_with("tests/stacks.rs");
        assert!(calls.iter().any(own), "{calls:#?}");
    }
    sender.send(9).expect("received");
    assert!(flushes.join().is_err());
}

/// What a dump of many costs, and what it does to the others:
/// `cargo test --release --test stacks -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn price_of_a_dump() {
    let runtime = Builder::new().worker_threads(2).build().expect("a runtime");
    let end = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = channel::unbounded::<u8>();
    let mutex = Arc::new(Mutex::new(1));
    let held = mutex.lock().expect("not poisoned");
    let mut all = Vec::new();
    for n in 0..100_000_usize {
        let (receiver, mutex) = (receiver.clone(), Arc::clone(&mutex));
        all.push(runtime.spawn(move || match n % 4 {
            0 => waits_for_message(&receiver),
            1 => waits_for_mutex(&mutex),
            2 => recurses(n % 60, &receiver),
            _ => {
                task::park();
                0
            }
        }));
    }
    // For each worker, how late a ticker is that asks for a turn after a millisecond.
    let late = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tickers: Vec<_> = (0..2)
        .map(|_| {
            let (end, late) = (Arc::clone(&end), Arc::clone(&late));
            runtime.spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    let at = Instant::now() + Duration::from_millis(1);
                    sward::time::sleep_until(at);
                    late.lock().expect("not poisoned").push(at.elapsed());
                }
            })
        })
        .collect();
    let report = |what: &str| {
        let mut all = std::mem::take(&mut *late.lock().expect("not poisoned"));
        all.sort_unstable();
        let at = |part: usize| all[(all.len() - 1) * part / 1000];
        println!(
            "{what}: {} ticks, late by {:?} (median), {:?} (99 %), {:?} (most)",
            all.len(),
            at(500),
            at(990),
            at(1000)
        );
    };
    std::thread::sleep(Duration::from_secs(3));
    report("settling");
    std::thread::sleep(Duration::from_secs(2));
    report("without a dump");
    for _ in 0..4 {
        let begin = Instant::now();
        let dump = dump();
        let took = begin.elapsed();
        report("with a dump");
        let text = dump.to_string();
        let coroutines: usize = dump.runtimes.iter().map(|runtime| runtime.coroutines.len()).sum();
        println!(
            "{coroutines} coroutines in {took:?}, {} lines of text in {:?}",
            text.lines().count(),
            begin.elapsed() - took
        );
        let _ = std::mem::take(&mut *late.lock().expect("not poisoned"));
    }
    drop(held);
    drop(sender);
    end.store(true, Ordering::Relaxed);
    tickers.into_iter().for_each(|one| one.join().expect("it ends"));
    all.iter().for_each(|one| _ = one.cancel());
    all.into_iter().for_each(|one| drop(one.join()));
}
