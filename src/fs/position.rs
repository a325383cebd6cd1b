//! Who uses the position of an open file.
//!
//! The kernel locks it for as long as a call at it takes, and a call that waits for the disk takes long. A
//! read in place must not wait, so it begins only while no such call is on the pool.
//!
//! The word counts calls in its lower half and reads in place in its upper one. A call counts itself, then
//! waits until there are no reads, none of which waits for a disk. A read counts itself, and does nothing if
//! it finds calls counted. Each counts itself by one read-modify-write of the word, so of a call and a read
//! one comes first:
//!
//! - the call: the read finds it counted, unless the call has ended;
//! - the read: the call finds it counted, and waits for its end.
//!
//! Each end is a release, and what finds nothing counted is an acquire. So all that the first one did was
//! before all that the second one does. Calls do not exclude one another here, nor do reads: the kernel's
//! lock is enough for that.

use crate::base::sync::{AtomicU64, Ordering, spin};

/// The word.
#[derive(Default)]
pub(super) struct Position(AtomicU64);

/// One read in place.
const READ: u64 = 1 << 32;

impl Position {
    /// Reads in place; `None` if that might wait for a call. `f` does not panic, or calls wait for ever.
    pub(super) fn read_in_place<T>(&self, f: impl FnOnce() -> T) -> Option<T> {
        // Acquire pairs with the end of `call`, release with the wait there.
        let calls = self.0.fetch_add(READ, Ordering::Acquire) as u32;
        let read = (calls == 0).then(f);
        self.0.fetch_sub(READ, Ordering::Release);
        read
    }

    /// Makes a call that may wait for long.
    pub(super) fn call<T>(&self, f: impl FnOnce() -> T) -> T {
        struct Leave<'a>(&'a AtomicU64);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                // Pairs with the begin of `read_in_place`.
                self.0.fetch_sub(1, Ordering::Release);
            }
        }
        // The word is looked at below; this orders nothing but the word itself.
        self.0.fetch_add(1, Ordering::Relaxed);
        let _leave = Leave(&self.0);
        let mut turn = 0;
        // Pairs with the end of `read_in_place`.
        while self.0.load(Ordering::Acquire) >= READ {
            spin(turn);
            turn += 1;
        }
        f()
    }

    /// Whether nobody uses it.
    #[cfg(test)]
    pub(super) fn is_free(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::thread;

    /// Either a call waits for the reads in place, or these find it.
    #[test]
    fn calls_and_reads_in_place_exclude_each_other() {
        let (position, under_way) = (Position::default(), [const { AtomicU64::new(0) }; 2]);
        let enter = |side: usize| {
            under_way[side].fetch_add(1, Ordering::SeqCst);
            assert_eq!(under_way[1 - side].load(Ordering::SeqCst), 0);
            thread::yield_now();
            under_way[side].fetch_sub(1, Ordering::SeqCst);
        };
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..5_000).for_each(|_| position.call(|| enter(0))));
                scope.spawn(|| (0..5_000).filter_map(|_| position.read_in_place(|| enter(1))).count());
            }
        });
        assert!(position.is_free());
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// A call, and reads in place beside it, which run while it does not. Loom watches the cell: accesses of
    /// the two kinds are in order.
    #[test]
    fn a_call_excludes_reads_in_place() {
        loom::model(|| {
            let shared = Arc::new((Position::default(), UnsafeCell::new(0)));
            let readers = [(); 2].map(|()| {
                let shared = shared.clone();
                // SAFETY: calls alone change it; loom checks it.
                thread::spawn(move || shared.0.read_in_place(|| shared.1.with(|n| unsafe { *n })))
            });
            // SAFETY: as above.
            shared.0.call(|| shared.1.with_mut(|n| unsafe { *n += 1 }));
            for reader in readers {
                assert!(reader.join().unwrap().is_none_or(|n: u32| n < 2));
            }
            // SAFETY: as above.
            assert_eq!(shared.0.read_in_place(|| shared.1.with(|n| unsafe { *n })), Some(1), "nobody calls");
            assert!(shared.0.is_free());
        });
    }

    /// Two calls that overlap, and a read in place, which runs while neither of them does.
    #[test]
    fn a_read_in_place_excludes_overlapping_calls() {
        loom::model(|| {
            let shared = Arc::new((Position::default(), UnsafeCell::new(0)));
            let calls = {
                let shared = shared.clone();
                // One thread, as loom does not follow two that spin.
                thread::spawn(move || {
                    // SAFETY: reads alone change it here; loom checks it.
                    let look = || shared.1.with(|n| unsafe { *n });
                    shared.0.call(|| [shared.0.call(look), look()])
                })
            };
            // SAFETY: as above.
            let read = shared.0.read_in_place(|| shared.1.with_mut(|n| unsafe { *n += 1 }));
            let [inner, outer]: [u32; 2] = calls.join().unwrap();
            assert!(inner == outer && outer <= u32::from(read.is_some()));
            assert!(shared.0.is_free());
        });
    }
}
