//! How many threads of the process are this crate's own, for a report that has to know of all threads.
//!
//! A thread counts itself when it begins to run, and takes itself off before it ends. So each counted thread
//! exists. It does so after the thread-locals were made and before they are destroyed: code of a user that
//! runs in a destructor there is not that of a counted thread.
//!
//! One word holds the count and the number of changes. If two loads return the same word, the same threads
//! were counted all the time in between.

use super::fork::PerProcess;
use std::sync::atomic::{AtomicU64, Ordering};

const CHANGE: u64 = 1 << 32;

// A forked child has none of the threads.
static WORD: PerProcess<AtomicU64> = PerProcess::new(AtomicU64::default);

/// Counts the thread that has made it, until it is dropped.
pub(crate) struct CountedThread(&'static AtomicU64);

impl CountedThread {
    /// The calling thread runs only this crate's code from now on, and users' code as coroutines or as calls
    /// of the blocking pool.
    pub(crate) fn begin() -> CountedThread {
        let word = WORD.get();
        word.fetch_add(CHANGE + 1, Ordering::SeqCst);
        CountedThread(word)
    }
}

impl Drop for CountedThread {
    fn drop(&mut self) {
        self.0.fetch_add(CHANGE - 1, Ordering::SeqCst);
    }
}

/// Which threads are counted. Equal values are the same threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CountedThreads(u64);

impl CountedThreads {
    /// The present ones.
    pub(crate) fn now() -> CountedThreads {
        CountedThreads(WORD.get().load(Ordering::SeqCst))
    }

    /// How many they are.
    pub(crate) fn count(self) -> usize {
        (self.0 % CHANGE) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_has_come_and_gone_is_a_change() {
        let before = CountedThreads::now();
        drop(CountedThread::begin());
        assert_ne!(CountedThreads::now(), before);
    }
}
