//! Who takes or drops the result of a coroutine, and when its cell is freed: one word.
//!
//! # The states
//!
//! ```text
//!  flags             from                 cause
//!  JOINED            -                    `joined`: there is a `JoinHandle`
//!  none              -                    `detached`: there never was one; the coroutine drops the result
//!                    JOINED               `detach`: the handle was dropped; the coroutine drops the result
//!  JOINED COMPLETE   JOINED               `complete`: it has ended; the joiner takes the result after `done`
//!  COMPLETE          JOINED COMPLETE      `detach`: the handle was dropped, and drops the result
//!                    none                 `complete`: the handle was dropped just before; the coroutine
//!                                         drops the result
//! ```
//!
//! References: one for the scheduler, until the coroutine has ended; one for the `JoinHandle`; one for each
//! `Task` handle. The last one frees the cell.
//!
//! # The argument
//!
//! - *The result has one owner.* JOINED is never set again. So a coroutine that finds it gone (`is_detached`)
//!   owns its result from then on, and publishes nothing. Otherwise `complete` and `detach` are
//!   read-modify-writes of one word: the later of the two finds the flag of the other, and drops the result.
//! - *A lone reference stays alone* (`is_alone`). A reference is made from another one, or by the coroutine
//!   itself. So once the coroutine has ended and the scheduler's reference is the only one, no thread can
//!   make another. Who waits for the end of a coroutine has a reference, so then nobody waits, and nobody
//!   will. Other threads find a coroutine without a reference only in its home's list of live coroutines,
//!   under the lock of that list, which it has left by then; or by its name in a record
//!   (`descriptor/host.rs`), which is cleared before it ends.
//! - *The last owner sees what the others did*: each reference is dropped with release, and `is_alone` and
//!   the last drop acquire.

use crate::base::sync::{AtomicUsize, Ordering};

/// The coroutine has ended, and the body holds the result until it is taken or dropped. Never cleared.
const COMPLETE: usize = 1;
/// A `JoinHandle` exists.
const JOINED: usize = 1 << 1;
const REFERENCE: usize = 1 << 2;

/// The word of a coroutine.
pub(super) struct Lifetime(AtomicUsize);

impl Lifetime {
    /// Of a new coroutine with a joining handle: two references.
    pub(super) fn joined() -> Lifetime {
        Lifetime(AtomicUsize::new((2 * REFERENCE) | JOINED))
    }

    /// Of a new coroutine that nobody joins: the scheduler's reference.
    pub(super) fn detached() -> Lifetime {
        Lifetime(AtomicUsize::new(REFERENCE))
    }

    /// Whether nobody will take the result. Called by the coroutine, which owns the result if so.
    #[inline]
    pub(super) fn is_detached(&self) -> bool {
        // Acquires what the joiner did before `detach`.
        self.0.load(Ordering::Acquire) & JOINED == 0
    }

    /// Publishes the result. True if there is a joiner, which owns the result from now on.
    #[must_use]
    pub(super) fn complete(&self) -> bool {
        // Releases the result to the joiner. If JOINED is gone, acquires what the joiner did before.
        self.0.fetch_or(COMPLETE, Ordering::AcqRel) & JOINED != 0
    }

    /// The joining handle gives up. True if there is a result already, which its caller owns.
    #[must_use]
    pub(super) fn detach(&self) -> bool {
        // Acquires the result if there is one. Otherwise pairs with `complete` and `is_detached`.
        self.0.fetch_and(!JOINED, Ordering::AcqRel) & COMPLETE != 0
    }

    /// Adds a reference. The caller has one, or is the coroutine.
    pub(super) fn add_reference(&self) {
        // As in Arc: forgotten handles must not make the count wrap. The limit leaves room for all threads
        // that are between these two lines.
        if self.0.fetch_add(REFERENCE, Ordering::Relaxed) > isize::MAX as usize {
            std::process::abort();
        }
    }

    /// Whether the caller's reference is the only one.
    #[inline]
    pub(super) fn is_alone(&self) -> bool {
        // Acquires what the owners of former references did.
        self.0.load(Ordering::Acquire) / REFERENCE == 1
    }

    /// Gives up a reference. True if it was the last one: the caller frees the cell.
    #[must_use]
    #[inline]
    pub(super) fn drop_reference(&self) -> bool {
        if self.is_alone() {
            return true;
        }
        // As in Arc: each drop releases what its thread did, and the last one acquires all of it. A load
        // rather than a fence, since ThreadSanitizer does not know fences.
        if self.0.fetch_sub(REFERENCE, Ordering::Release) / REFERENCE != 1 {
            return false;
        }
        self.0.load(Ordering::Acquire);
        true
    }
}

/// A stand-in for the cell, with the real word and the real event.
#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::coroutine::{Batch, Event};
    use loom::cell::UnsafeCell;
    use loom::thread;
    use std::sync::Arc;

    /// Its result is in `body`: loom reports two threads that use it without an order. Freeing writes
    /// `memory`; a use of the cell reads it.
    struct Cell {
        lifetime: Lifetime,
        done: Event,
        body: UnsafeCell<Option<u8>>,
        memory: UnsafeCell<bool>,
        dropped: AtomicUsize,
    }

    impl Cell {
        fn new(lifetime: Lifetime) -> Arc<Cell> {
            Arc::new(Cell {
                lifetime,
                done: Event::new(),
                body: UnsafeCell::new(None),
                memory: UnsafeCell::new(true),
                dropped: AtomicUsize::new(0),
            })
        }

        fn use_memory(&self) {
            // SAFETY: loom finds a write without an order.
            self.memory.with(|alive| assert!(unsafe { *alive }, "used after it was freed"));
        }

        fn take_body(&self) -> Option<u8> {
            self.use_memory();
            // SAFETY: loom finds another use without an order.
            self.body.with_mut(|body| unsafe { (*body).take() })
        }

        /// `run`, then `conclude`.
        fn end(&self) {
            self.use_memory();
            let drop_own = || _ = self.dropped.fetch_add(1, Ordering::Relaxed);
            if self.lifetime.is_detached() {
                drop_own();
            } else {
                // SAFETY: as above.
                self.body.with_mut(|body| unsafe { *body = Some(1) });
                if !self.lifetime.complete() {
                    assert_eq!(self.take_body(), Some(1));
                    drop_own();
                }
            }
            if !self.lifetime.is_alone() {
                self.done.set_for_good(&mut Batch::new());
            }
            self.release();
        }

        fn release(&self) {
            self.use_memory();
            if self.lifetime.drop_reference() {
                // SAFETY: as above.
                self.memory.with_mut(|alive| assert!(std::mem::replace(unsafe { &mut *alive }, false)));
            }
        }

        fn check(&self) {
            assert_eq!(self.dropped.load(Ordering::Relaxed), 1, "the result is dropped once");
            // SAFETY: the other threads have ended.
            self.memory.with(|alive| assert!(!unsafe { *alive }, "it is freed"));
        }
    }

    /// The joining handle is dropped while the coroutine ends, and so is a `Task` handle.
    #[test]
    fn a_result_that_is_detached_is_dropped_once() {
        loom::model(|| {
            let cell = Cell::new(Lifetime::joined());
            cell.lifetime.add_reference();
            let (coroutine, task) = (Arc::clone(&cell), Arc::clone(&cell));
            let coroutine = thread::spawn(move || coroutine.end());
            let task = thread::spawn(move || task.release());
            if cell.lifetime.detach() {
                assert_eq!(cell.take_body(), Some(1));
                cell.dropped.fetch_add(1, Ordering::Relaxed);
            }
            cell.release();
            coroutine.join().unwrap();
            task.join().unwrap();
            cell.check();
        });
    }

    /// A coroutine without a joining handle has made `Task` handles of itself. One is dropped, the other is
    /// of a thread that sees the end.
    #[test]
    fn a_thread_with_a_reference_sees_the_end() {
        loom::model(|| {
            let cell = Cell::new(Lifetime::detached());
            cell.lifetime.add_reference();
            cell.lifetime.add_reference();
            let (coroutine, task) = (Arc::clone(&cell), Arc::clone(&cell));
            let coroutine = thread::spawn(move || coroutine.end());
            let task = thread::spawn(move || task.release());
            coroutine.join().unwrap();
            cell.use_memory();
            assert!(cell.done.is_set(), "it would wait for ever");
            cell.release();
            task.join().unwrap();
            cell.check();
        });
    }
}
