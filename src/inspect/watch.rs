//! The watch: a thread that looks for deadlocks and reports each one once.
//!
//! It sleeps until a wait begins that could close a deadlock (`sched/hint.rs`), and gives that wait
//! [`SETTLE`] to end by itself. It then looks at the waits that have lasted so long ([`look`]), unless it has
//! looked at all of them before. A wait that it has seen in no deadlock gets into one only if another wait
//! begins, which is a new hint. If a worker was stuck in a turn, so that not all waits could be looked at,
//! the watch looks again.
//!
//! At each hint it also looks whether all coroutines of the process wait for ever ([`global`]). If only
//! threads that it does not know could wake one, it looks again before it ends, as such a thread may end
//! meanwhile.
//!
//! The thread starts at a hint, and ends when there was none for [`IDLE`].
//!
//! An idle process is not woken. A busy one pays for four rounds a second at most, each of which visits the
//! header of each coroutine, and the watch sleeps for [`SHARE`] times as long as a round takes.

use super::deadlock::{WaitOf, add_stacks, look, waits_older_than};
use super::global::{self, Found};
use super::recorder::Past;
use crate::base::counted_threads::CountedThread;
use crate::base::fork::PerProcess;
use crate::base::new_thread::new_thread;
use crate::base::sys::report;
use crate::sched;
use std::collections::HashSet;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a wait may last before it counts.
const SETTLE: Duration = Duration::from_millis(250);
/// What is taken off that, since the end of a sleep and the beginning of a wait are not exact.
const SLACK: Duration = Duration::from_millis(50);
/// The watch uses at most this part of one processor.
const SHARE: u32 = 100;
/// The longest time between two rounds.
const MOST: Duration = Duration::from_secs(10);

/// Without a hint for so long the thread ends.
const IDLE: Duration = Duration::from_secs(2);
/// The thread's stack. Finding the names of functions takes some of it.
const STACK: usize = 512 << 10;

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

/// The thread of the watch, if there is one.
#[derive(Default)]
struct Watch {
    runs: Mutex<bool>,
    hinted: Condvar,
    memory: Mutex<Memory>,
}

/// What outlives the thread.
#[derive(Default)]
struct Memory {
    /// The waits of the last round.
    known: HashSet<WaitOf>,
    /// The present waits of the deadlocks that were reported.
    reported: HashSet<WaitOf>,
    /// The global deadlock that was reported.
    global: Option<global::State>,
    /// Whether only threads that the watch does not know can wake a coroutine.
    threads: bool,
}

impl Watch {
    fn get() -> &'static Watch {
        static WATCH: PerProcess<Watch> = PerProcess::new(Watch::default);
        WATCH.get()
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a hint. False if none has come for [`IDLE`]: then the thread has to end. Before that it
    /// calls `last`.
    fn wait(&self, last: impl Fn()) -> bool {
        let idle = |_: &mut bool| !sched::hinted();
        let waited = self.hinted.wait_timeout_while(self.lock(), IDLE, idle);
        let (runs, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if !timeout.timed_out() {
            return true;
        }
        drop(runs);
        last();
        let mut runs = self.lock();
        *runs = sched::hinted();
        *runs
    }
}

/// Wakes the watch, or starts it. The caller has left a hint.
fn wake() {
    let watch = Watch::get();
    let mut runs = watch.lock();
    if *runs {
        watch.hinted.notify_one();
    } else {
        let started =
            new_thread("sward-watch").and_then(|thread| thread.stack_size(STACK).spawn(self::watch));
        // Without the thread the program runs as well, and the next hint tries again.
        *runs = started.is_ok();
        if !*runs {
            sched::take_hints();
        }
    }
}

fn watch() {
    let _own = CountedThread::begin();
    let watch = Watch::get();
    let memory = || watch.memory.lock().unwrap_or_else(PoisonError::into_inner);
    while watch.wait(|| memory().look_again()) {
        let hints = sched::take_hints();
        let mut memory = memory();
        loop {
            thread::sleep(SETTLE);
            let began = Instant::now();
            let complete = !hints.of_wait() || memory.round();
            memory.global_round();
            thread::sleep(began.elapsed().saturating_mul(SHARE).min(MOST));
            if complete {
                break;
            }
        }
    }
}

impl Memory {
    /// Looks for deadlocks and reports the new ones. Says whether all waits could be looked at.
    fn round(&mut self) -> bool {
        let waits = waits_older_than(SETTLE - SLACK);
        self.reported.retain(|wait| waits.contains(wait));
        if waits.is_subset(&self.known) {
            self.known = waits;
            return true;
        }
        let (mut deadlocks, complete) = look();
        deadlocks.retain(|deadlock| !deadlock.waits.iter().all(|wait| self.reported.contains(wait)));
        let mut past = if deadlocks.is_empty() { None } else { Past::copy() };
        add_stacks(&mut deadlocks);
        for deadlock in &deadlocks {
            self.reported.extend(&deadlock.waits);
            report_deadlock(deadlock, past.take());
        }
        if complete {
            self.known = waits;
        }
        complete
    }

    /// Looks whether all coroutines wait for ever, and reports that once.
    fn global_round(&mut self) {
        let found = global::look();
        self.threads = found == Found::Threads;
        let Found::Deadlock(state) = found else { return };
        // A deadlock of some of them explains why the others wait.
        if self.reported.is_empty() && !self.global.as_ref().is_some_and(|known| known.is_the_same(&state)) {
            self.global = Some(state);
            let past = Past::copy();
            report_deadlock(&global::Report::collect(), past);
        }
    }

    /// Looks again, if threads that were not known may have ended.
    fn look_again(&mut self) {
        if self.threads {
            self.global_round();
        }
    }
}

fn report_deadlock(deadlock: &dyn Display, past: Option<Past>) {
    FOUND.fetch_add(1, Ordering::Relaxed);
    report(format_args!("sward: {deadlock}"));
    Past::write(past, "the deadlock");
    if ABORTS.load(Ordering::Relaxed) {
        std::process::abort();
    }
}
