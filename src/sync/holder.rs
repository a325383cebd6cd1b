//! Who holds a lock, for reports: one word beside the lock's state.
//!
//! The holder stores itself after it has taken the lock, and clears the word before it releases the lock. So
//! a reader that finds the lock taken, and then reads the word, reads the holder of that moment or a later
//! one, or nothing: never an earlier holder. Both stores are relaxed, and cost no read-modify-write.
//!
//! This needs a reader that acquires what each earlier holder has released with its unlock. So all changes of
//! a lock's word are read-modify-writes, which continue the release sequence, or releases.
//!
//! A leaked guard names the coroutine that leaked it, even after that has ended: numbers are never reused.
//!
//! The word is no part of the locks' protocols. So it is an ordinary atomic in loom's models, too.

use crate::coroutine::Holder;
use crate::sched::this_holder;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who holds a lock.
#[derive(Debug)]
pub(super) struct HolderWord(AtomicU64);

impl HolderWord {
    /// Nobody.
    pub(super) const fn new() -> HolderWord {
        HolderWord(AtomicU64::new(0))
    }

    /// The caller has taken the lock.
    #[inline]
    pub(super) fn set(&self) {
        self.0.store(this_holder(), Ordering::Relaxed);
    }

    /// The caller is about to release the lock.
    #[inline]
    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The holder, as far as it has stored itself. The caller has found the lock taken, with acquire.
    pub(super) fn get(&self) -> Option<Holder> {
        Holder::from_word(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::coroutine::{Facts, Holder, WaitReason};
    use crate::sched::testing::{Seen, on_one_worker, wait_of};
    use crate::sync::{Barrier, Condvar, Mutex, Notify, Once, RwLock, Semaphore, WaitGroup};
    use crate::task::{JoinHandle, current};
    use std::sync::Arc;

    fn me() -> Holder {
        Holder::Coroutine(current().id().expect("a coroutine"))
    }

    /// Runs `waits` in a coroutine, and looks at its wait for that reason.
    fn waiting<T: Send + Sync + 'static>(
        on: &Arc<T>,
        reason: WaitReason,
        waits: impl FnOnce(&T) + Send + 'static,
    ) -> (Seen, JoinHandle<()>) {
        let theirs = Arc::clone(on);
        let coroutine = crate::spawn(move || waits(&theirs));
        let seen = wait_of(&coroutine.task(), reason);
        (seen, coroutine)
    }

    /// The holder and the number of readers.
    fn lock(seen: &Seen) -> (Option<Holder>, usize) {
        match seen.facts {
            Some(Facts::Lock { at, holder, readers }) => {
                assert_eq!(Some(at), seen.address);
                (holder, readers)
            }
            ref other => panic!("a lock, not {other:?}"),
        }
    }

    #[test]
    fn a_mutex_knows_its_holder() {
        on_one_worker(|| {
            let mutex = Arc::new(Mutex::new(()));
            for round in 0..2 {
                let guard = if round == 0 { mutex.lock().ok() } else { mutex.try_lock().ok() };
                let (seen, waits) = waiting(&mutex, WaitReason::Mutex, |mutex| drop(mutex.lock()));
                assert_eq!(lock(&seen), (Some(me()), 0));
                drop(guard);
                waits.join().expect("no panic");
            }
        });
    }

    /// The coroutine that leaked the guard has ended. Its stack is used by another coroutine, which is not
    /// taken for the holder.
    #[test]
    fn a_leaked_guard_names_the_coroutine_that_leaked_it() {
        on_one_worker(|| {
            let mutex = Arc::new(Mutex::new(()));
            let theirs = Arc::clone(&mutex);
            let leaks = crate::spawn(move || std::mem::forget(theirs.lock()));
            let id = leaks.task().id().expect("a coroutine");
            leaks.join().expect("no panic");
            let (seen, waits) = waiting(&mutex, WaitReason::Mutex, |mutex| drop(mutex.lock()));
            assert_eq!(lock(&seen), (Some(Holder::Coroutine(id)), 0));
            waits.cancel();
            assert!(waits.join().is_err());
        });
    }

    /// While its owner waits for a condition, nobody holds the mutex; then the waiter of the mutex does.
    #[test]
    fn a_condition_variable_gives_the_mutex_back() {
        on_one_worker(|| {
            let pair = Arc::new((Mutex::new(()), Condvar::new()));
            let (seen, waits) = waiting(&pair, WaitReason::Condvar, |(mutex, condvar)| {
                drop(condvar.wait(mutex.lock().expect("no poison")));
            });
            assert!(matches!(seen.facts, Some(Facts::Signal { at }) if Some(at) == seen.address));
            let guard = pair.0.lock();
            pair.1.notify_one();
            let seen = wait_of(&waits.task(), WaitReason::CondvarRelock);
            assert_eq!(lock(&seen), (Some(me()), 0));
            drop(guard);
            waits.join().expect("no panic");
        });
    }

    #[test]
    fn a_lock_knows_its_writer_and_counts_its_readers() {
        on_one_worker(|| {
            let rwlock = Arc::new(RwLock::new(()));
            let guard = rwlock.write().expect("no poison");
            let (seen, reads) = waiting(&rwlock, WaitReason::RwLockRead, |rwlock| drop(rwlock.read()));
            assert_eq!(lock(&seen), (Some(me()), 0));
            drop(guard);
            reads.join().expect("no panic");
            let guards = (rwlock.read(), rwlock.try_read());
            let (seen, writes) = waiting(&rwlock, WaitReason::RwLockWrite, |rwlock| drop(rwlock.write()));
            assert_eq!(lock(&seen), (None, 2));
            drop(guards);
            writes.join().expect("no panic");
        });
    }

    #[test]
    fn a_semaphore_knows_who_has_taken_its_one_permit() {
        on_one_worker(|| {
            let semaphore = Arc::new(Semaphore::new(2));
            semaphore.acquire().expect("open").forget();
            let permit = semaphore.acquire().expect("open");
            let (seen, waits) =
                waiting(&semaphore, WaitReason::Semaphore, |semaphore| drop(semaphore.acquire()));
            let at = seen.address.expect("a subject");
            let expected = Facts::Semaphore { at, available: 0, total: 1, taken_by: Some(me()) };
            assert_eq!(seen.facts, Some(expected));
            drop(permit);
            waits.join().expect("no panic");
        });
    }

    #[test]
    fn a_once_knows_whose_closure_runs() {
        on_one_worker(|| {
            let (once, gate) = (Arc::new(Once::new()), Arc::new(Semaphore::new(0)));
            let (theirs, wanted) = (Arc::clone(&once), Arc::clone(&gate));
            let runs = crate::spawn(move || theirs.call_once(|| wanted.acquire().expect("open").forget()));
            let id = runs.task().id().expect("a coroutine");
            wait_of(&runs.task(), WaitReason::Semaphore);
            let (seen, waits) = waiting(&once, WaitReason::Once, |once| once.call_once(|| ()));
            assert_eq!(lock(&seen), (Some(Holder::Coroutine(id)), 0));
            let (seen, also_waits) = waiting(&once, WaitReason::OnceWait, Once::wait);
            assert_eq!(lock(&seen), (Some(Holder::Coroutine(id)), 0));
            gate.add_permits(1);
            for coroutine in [runs, waits, also_waits] {
                coroutine.join().expect("no panic");
            }
        });
    }

    #[test]
    fn what_counts_calls_says_how_many_are_missing() {
        on_one_worker(|| {
            let barrier = Arc::new(Barrier::new(3));
            let (seen, first) = waiting(&barrier, WaitReason::Barrier, |barrier| _ = barrier.wait());
            let at = seen.address.expect("a subject");
            assert_eq!(seen.facts, Some(Facts::Count { at, missing: 2 }));
            let second = crate::spawn({
                let barrier = Arc::clone(&barrier);
                move || _ = barrier.wait()
            });
            barrier.wait();
            first.join().expect("no panic");
            second.join().expect("no panic");

            let group = Arc::new(WaitGroup::new());
            group.add(2);
            let (seen, waits) = waiting(&group, WaitReason::WaitGroup, WaitGroup::wait);
            let at = seen.address.expect("a subject");
            assert_eq!(seen.facts, Some(Facts::Count { at, missing: 2 }));
            group.done();
            group.done();
            waits.join().expect("no panic");

            let notify = Arc::new(Notify::new());
            let (seen, waits) = waiting(&notify, WaitReason::Notify, Notify::wait);
            assert!(matches!(seen.facts, Some(Facts::Signal { at }) if Some(at) == seen.address));
            notify.notify_one();
            waits.join().expect("no panic");
        });
    }
}
