//! The watch: a thread that looks for deadlocks and reports each one once.
//!
//! It sleeps until a wait begins that could close a deadlock (`sched/hint.rs`), and gives that wait
//! [`SETTLE`] to end by itself. It then looks at the waits that have lasted so long ([`look`]), unless it has
//! looked at all of them before. A wait that it has seen in no deadlock gets into one only if another wait
//! begins, which is a new hint. If a worker was stuck in a turn, so that not all waits could be looked at,
//! the watch looks again.
//!
//! An idle process is not woken. A busy one pays for four rounds a second at most, each of which visits the
//! header of each coroutine, and the watch sleeps for [`SHARE`] times as long as a round takes.

use super::deadlock::{WaitOf, look, waits_older_than};
use crate::base::fork::PerProcess;
use crate::base::sys::report;
use crate::sched;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a wait may last before it counts.
const SETTLE: Duration = Duration::from_millis(250);
/// What is taken off that, since the end of a sleep and the beginning of a wait are not exact.
const SLACK: Duration = Duration::from_millis(50);
/// The watch uses at most this part of one processor.
const SHARE: u32 = 100;
/// The longest time between two rounds.
const MOST: Duration = Duration::from_secs(10);

/// How many deadlocks the watch has reported.
static FOUND: AtomicUsize = AtomicUsize::new(0);

/// Whether the process aborts after a report.
static ABORTS: AtomicBool = AtomicBool::new(false);

/// Watches for deadlocks from now on, for as long as the process lives.
pub(crate) fn start(aborts: bool) {
    ABORTS.store(aborts, Ordering::Relaxed);
    static STARTED: PerProcess<Once> = PerProcess::new(Once::new);
    STARTED.get().call_once(|| sched::watch_hints(wake));
}

/// How many deadlocks the watch has reported.
pub(crate) fn count() -> usize {
    FOUND.load(Ordering::Relaxed)
}

/// Wakes the watch, which starts at the first hint.
fn wake() {
    /// `None` if the system had no thread for it. The program runs as well, and nobody looks for deadlocks.
    static THREAD: PerProcess<OnceLock<Option<Thread>>> = PerProcess::new(OnceLock::new);
    let spawn = || {
        let thread = thread::Builder::new().name("sward-watch".to_owned()).spawn(watch);
        thread.ok().map(|handle| handle.thread().clone())
    };
    if let Some(thread) = THREAD.get().get_or_init(spawn) {
        thread.unpark();
    }
}

fn watch() {
    let (mut known, mut reported): (HashSet<WaitOf>, HashSet<WaitOf>) = Default::default();
    loop {
        while !sched::hinted() {
            thread::park();
        }
        sched::take_hint();
        loop {
            thread::sleep(SETTLE);
            let began = Instant::now();
            let waits = waits_older_than(SETTLE - SLACK);
            reported.retain(|wait| waits.contains(wait));
            let mut complete = true;
            if !waits.is_subset(&known) {
                let (deadlocks, all) = look();
                complete = all;
                for deadlock in &deadlocks {
                    if !deadlock.waits.is_subset(&reported) {
                        FOUND.fetch_add(1, Ordering::Relaxed);
                        report(format_args!("sward: {deadlock}"));
                        reported.extend(&deadlock.waits);
                        if ABORTS.load(Ordering::Relaxed) {
                            std::process::abort();
                        }
                    }
                }
            }
            thread::sleep(began.elapsed().saturating_mul(SHARE).min(MOST));
            if complete {
                known = waits;
                break;
            }
        }
    }
}
