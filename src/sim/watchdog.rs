//! Reports a run that makes no step for a long time of the real clock, and names the coroutine that keeps it.
//!
//! The thread that waits for the end of a run looks at it now and then. Nothing can be done about such a run:
//! its thread is inside of the program. A report says what to look for, where there would be a test that
//! hangs without a word.

use super::trace::NOBODY;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a run may make no step until it is reported.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// What others see of a run. The fields are written by its thread alone, and read for a report.
pub(super) struct Watch {
    /// How many steps there were: turns, and calls that need not wait.
    steps: AtomicU64,
    /// The coroutine whose turn it is.
    current: AtomicU32,
    /// The names of all coroutines.
    names: Mutex<Vec<Box<str>>>,
    ended: Mutex<bool>,
    ends: Condvar,
}

/// The run's thread is at work. Dropping this says that the run has ended.
pub(super) struct Watched<'a>(&'a Watch);

impl Watch {
    pub(super) fn new() -> Watch {
        Watch {
            steps: AtomicU64::new(0),
            current: AtomicU32::new(NOBODY),
            names: Mutex::default(),
            ended: Mutex::new(false),
            ends: Condvar::new(),
        }
    }

    /// A run begins on the calling thread.
    pub(super) fn begin(&self) -> Watched<'_> {
        Watched(self)
    }

    /// That coroutine goes on.
    pub(super) fn step(&self, who: u32) {
        self.current.store(who, Ordering::Relaxed);
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// The run has ended, or goes on no more.
    pub(super) fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ends.notify_all();
    }

    /// The names of the run's coroutines, by number.
    pub(super) fn names(&self) -> MutexGuard<'_, Vec<Box<str>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of the run, and reports it whenever it makes no step for that long. Each such time
    /// is reported once.
    pub(super) fn wait(&self, seed: u64, limit: Duration, mut report: impl FnMut(&str)) {
        let steps = || self.steps.load(Ordering::Relaxed);
        let (mut seen, mut since, mut reported) = (steps(), Instant::now(), false);
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        while !*ended {
            ended = self.ends.wait_timeout(ended, limit / 4).unwrap_or_else(PoisonError::into_inner).0;
            if steps() != seen {
                (seen, since, reported) = (steps(), Instant::now(), false);
            } else if !*ended && !reported && since.elapsed() >= limit {
                reported = true;
                report(&self.describe(seed, limit));
            }
        }
    }

    fn describe(&self, seed: u64, limit: Duration) -> String {
        let who = match self.current.load(Ordering::Relaxed) {
            NOBODY => "nothing".to_owned(),
            who => self.names().get(who as usize).map_or("?".to_owned(), |name| format!("coroutine {name}")),
        };
        format!(
            "sward::sim: seed {seed}: {who} has kept the simulation from going on for {limit:?}. It computes \
             without a call of sward, or it waits for something that is not simulated: a lock of std that \
             another coroutine holds over a call of sward, a thread, the kernel."
        )
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    /// The thread waits for the report, so a test that passes has seen one.
    #[test]
    fn a_run_without_a_step_is_reported_with_its_coroutine() {
        let watch = Watch::new();
        watch.names().push("#0 \"main\"".into());
        let (reported, waits) = mpsc::channel();
        let seen = &watch;
        thread::scope(|scope| {
            scope.spawn(move || {
                let _watched = seen.begin();
                seen.step(0);
                assert!(
                    waits.recv().is_ok_and(|text: String| text.contains("seed 7: coroutine #0 \"main\""))
                );
            });
            watch.wait(7, Duration::from_millis(10), |text| _ = reported.send(text.to_owned()));
        });
    }
}
