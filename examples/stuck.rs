//! Programs that hang, each in its own way, and what sward says about it: `cargo run --example stuck --
//! ILLNESS [--full] [--json]`. After a second it prints a dump, and ends. With `--observe ADDR` it serves the
//! dashboard there, falls ill after three seconds, and stays so.
//!
//! `docs/DEBUGGING.md` reads these dumps line by line.

mod common;

use std::hint::black_box;
use std::process::exit;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;
use sward::channel::{bounded, unbounded};
use sward::sync::Mutex;
use sward::task;

/// Longer than the program lives.
const LONG: Duration = Duration::from_secs(3600);
/// Long enough for other coroutines to have their turns.
const MOMENT: Duration = Duration::from_millis(50);

const USAGE: &str = "stuck ILLNESS [--full] [--json] [--observe ADDR]

illnesses:
  deadlock   two coroutines lock two mutexes, each in its own order
  leak       coroutines receive from channels whose senders they hold themselves
  sleep      a coroutine sleeps in std, and so keeps its worker
  mutex      a coroutine holds a mutex of std while it waits
  loop       a coroutine computes and never yields
  slow       many producers, and a consumer that is too slow";

fn main() {
    let mut arguments = common::Arguments::new(USAGE);
    let (full, json) = (arguments.flag("--full"), arguments.flag("--json"));
    let illness = match arguments.word().unwrap_or_default().as_str() {
        "deadlock" => deadlock,
        "leak" => leak,
        "sleep" => sleep,
        "mutex" => mutex,
        "loop" => endless_loop,
        "slow" => slow_consumer,
        other => common::fail(&format!("there is no illness {other:?}\n{USAGE}")),
    };
    let observed = arguments.observe();
    arguments.end();
    if observed {
        return sward::run(|| {
            sward::sleep(Duration::from_secs(3));
            illness();
            sward::sleep(Duration::MAX);
        });
    }
    // A thread of its own: all workers may be stuck.
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        let dump = sward::observe::dump();
        match (json, full) {
            (true, _) => println!("{}", dump.to_json()),
            (false, true) => println!("{dump:#}"),
            (false, false) => println!("{dump}"),
        }
        exit(0);
    });
    sward::run(|| {
        illness();
        sward::sleep(LONG);
    });
}

/// Spawns a coroutine of that name. Dumps show the caller's line.
#[track_caller]
fn start(name: &str, f: impl FnOnce() + Send + 'static) {
    if let Err(error) = task::Builder::new().name(name).spawn(f) {
        common::fail(&error.to_string());
    }
}

/// Each coroutine holds one of the two locks and waits for the other one.
fn deadlock() {
    let (accounts, log) = (Arc::new(Mutex::new(100)), Arc::new(Mutex::new(String::new())));
    let (its_accounts, its_log) = (accounts.clone(), log.clone());
    start("payer", move || {
        let mut accounts = its_accounts.lock().expect("no panic");
        sward::sleep(MOMENT);
        its_log.lock().expect("no panic").push_str("paid");
        *accounts -= 1;
    });
    start("auditor", move || {
        let mut log = log.lock().expect("no panic");
        sward::sleep(MOMENT);
        log.push_str(&accounts.lock().expect("no panic").to_string());
    });
}

/// Each coroutine waits for a message. It holds the only sender, so it can neither get one nor see the end.
fn leak() {
    for number in 0..100 {
        let (sender, results) = unbounded::<u32>();
        start(&format!("listener {number}"), move || {
            let keep = sender;
            for result in &results {
                println!("{result}");
            }
            drop(keep);
        });
    }
}

/// std knows nothing of coroutines: its sleep blocks the worker, with all coroutines that live there.
fn sleep() {
    for number in 0..10 {
        start(&format!("sibling {number}"), || {
            loop {
                sward::sleep(MOMENT);
            }
        });
    }
    sward::sleep(MOMENT);
    start("sleeper", || std::thread::sleep(LONG));
}

/// A coroutine that locks the mutex meanwhile blocks its worker.
fn mutex() {
    let cache = Arc::new(StdMutex::new(Vec::new()));
    let its_cache = cache.clone();
    start("refresher", move || {
        let mut cache = its_cache.lock().expect("no panic");
        sward::sleep(LONG); // as if it asked a server
        cache.push(1);
    });
    sward::sleep(MOMENT);
    start("reader", move || println!("{}", cache.lock().expect("no panic").len()));
}

/// Nothing can interrupt a turn.
fn endless_loop() {
    start("spinner", || {
        let mut rounds = 0_u64;
        loop {
            rounds = black_box(rounds.wrapping_add(1));
        }
    });
}

/// Back-pressure: all producers wait for the one consumer.
fn slow_consumer() {
    let (sender, receiver) = bounded::<u64>(16);
    for number in 0..50 {
        let sender = sender.clone();
        start(&format!("producer {number}"), move || while sender.send(number).is_ok() {});
    }
    start("consumer", move || {
        for message in &receiver {
            black_box(message);
            sward::sleep(MOMENT);
        }
    });
}
