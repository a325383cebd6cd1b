//! The threads that a wait blocks, for reports: plain threads, and workers whose coroutine waits while it
//! unwinds.
//!
//! A thread lists its wait before it blocks and takes it off afterwards, under one lock. So while a reader
//! holds the lock, the frames of all listed waits stay, and what they wait for may be described. Only a
//! thread that blocks pays for this.
//!
//! The list is by [`Holder::word`]. Should two waits ever have the same one, the later replaces the earlier,
//! and whichever ends first takes it off: a report may then lack one of them, but nothing dangles.

use super::budget::this_holder;
use super::hint::{hint_of_rest, wait_for_others_begins};
use crate::base::clock;
use crate::base::fork::PerProcess;
use crate::coroutine::{Holder, SubjectRef, WaitReason, Waiter, Why, with_parker};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Instant;

/// The wait of a blocked thread.
#[derive(Clone)]
pub(crate) struct BlockedThread<'a> {
    /// The number of the wait. No two waits of threads have the same one.
    pub(crate) wait: u64,
    /// Who waits: the thread; or a coroutine, that blocks its worker since it unwinds.
    pub(crate) who: Holder,
    /// The thread. `None` if its thread-locals were destroyed before it first waited.
    pub(crate) thread: Option<Thread>,
    /// The kind of call.
    pub(crate) reason: WaitReason,
    /// What it waits for.
    pub(crate) subject: Option<SubjectRef<'a>>,
    /// When the wait ends at the latest.
    pub(crate) deadline: Option<Instant>,
    /// When the thread blocked.
    pub(crate) since: Instant,
    /// The waiter that parks it, if a ticket ends the wait. Parkers are never freed.
    waiter: Option<&'static Waiter>,
}

// SAFETY: a subject may be described by any thread; the rest is `Send`.
unsafe impl Send for BlockedThread<'_> {}

type Threads = BTreeMap<u64, BlockedThread<'static>>;

// A forked child has none of the threads, and must not find their frames.
static BLOCKED: PerProcess<Mutex<Threads>> = PerProcess::new(|| Mutex::new(BTreeMap::new()));

fn lock(blocked: &Mutex<Threads>) -> MutexGuard<'_, Threads> {
    blocked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A wait that is listed until this is dropped.
pub(super) struct Listed {
    word: u64,
    among: &'static Mutex<Threads>,
}

/// Lists the calling thread's wait.
///
/// # Safety
///
/// The subject is alive until the result was dropped, and the result is dropped.
pub(super) unsafe fn list(
    why: Why<'_>,
    deadline: Option<Instant>,
    waiter: Option<&'static Waiter>,
) -> Listed {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if why.reason.needs_others() {
        wait_for_others_begins();
    }
    if why.reason.needs_somebody() {
        hint_of_rest();
    }
    let word = this_holder();
    let blocked = BlockedThread {
        wait: NEXT.fetch_add(1, Ordering::Relaxed),
        who: Holder::from_word(word).expect("a holder's word is not zero"),
        thread: with_parker(|parker| parker.thread()),
        reason: why.reason,
        // SAFETY: it is taken off before the borrow ends, as the caller says.
        subject: why.subject.map(|subject| unsafe { subject.outlive() }),
        deadline,
        since: clock::now(),
        waiter,
    };
    let among = BLOCKED.get();
    lock(among).insert(word, blocked);
    Listed { word, among }
}

impl Drop for Listed {
    fn drop(&mut self) {
        lock(self.among).remove(&self.word);
    }
}

/// Calls `f` for every thread that a wait blocks. `f` runs under a lock: it neither parks nor runs code of a
/// user, and takes no lock but those of wait lists.
pub(crate) fn for_each_blocked_thread(f: impl FnMut(&BlockedThread<'_>)) {
    lock(BLOCKED.get()).values().for_each(f);
}

/// The numbers of all waits of threads, if each is one of a plain thread, without a limit, that somebody of
/// this process has to end, and nobody has ended yet.
pub(crate) fn waits_for_somebody() -> Option<Vec<u64>> {
    let blocked = lock(BLOCKED.get());
    let endless = |blocked: &BlockedThread<'_>| {
        let parked = blocked.waiter.is_some_and(|waiter| waiter.parked_in().is_some());
        let plain = matches!(blocked.who, Holder::Thread(_));
        parked && plain && blocked.deadline.is_none() && blocked.reason.needs_somebody()
    };
    blocked.values().all(endless).then(|| blocked.values().map(|blocked| blocked.wait).collect())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::Facts;
    use crate::sync::Mutex;
    use std::sync::Arc;
    use std::thread;

    /// The wait of the thread with that name, once it waits.
    fn wait_of(name: &str) -> (Holder, WaitReason, Option<Facts>) {
        loop {
            let mut found = None;
            for_each_blocked_thread(|blocked| {
                if blocked.thread.as_ref().and_then(Thread::name) == Some(name) {
                    let facts = blocked.subject.map(SubjectRef::facts);
                    found = Some((blocked.who, blocked.reason, facts));
                }
            });
            match found {
                Some(found) => return found,
                None => thread::yield_now(),
            }
        }
    }

    #[test]
    fn a_thread_that_waits_for_a_mutex_is_listed_with_its_holder() {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock().expect("no poison");
        let me = Holder::from_word(this_holder()).expect("a holder");
        let theirs = Arc::clone(&mutex);
        let waits = thread::Builder::new()
            .name("waits-for-a-mutex".into())
            .spawn(move || drop(theirs.lock()))
            .expect("a thread");
        let (who, reason, facts) = wait_of("waits-for-a-mutex");
        assert!(matches!(who, Holder::Thread(_)) && who != me);
        assert_eq!(reason, WaitReason::Mutex);
        let Some(Facts::Lock { holder, .. }) = facts else { panic!("a lock, not {facts:?}") };
        assert_eq!(holder, Some(me));
        drop(guard);
        waits.join().expect("no panic");
        for_each_blocked_thread(|blocked| assert!(blocked.who != who));
    }
}
