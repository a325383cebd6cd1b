//! Panics in users' destructors: contained where the runtime must not unwind, and delayed where several
//! values are dropped, so that a panic in one destructor does not keep the others from running.
//!
//! The panic hook has reported such a panic before it gets here. A panic that unwinds out of a destructor
//! while the thread unwinds already aborts the process; one that is caught inside the destructor does not.

use super::cancellation::Cancellation;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a user's code, such as a destructor, where the runtime must not unwind: catches and discards a panic.
pub(crate) fn contain_panic(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        discard(payload);
    }
}

/// Drops a value of a user's, such as a waker, in the middle of a change of state: catches and discards a
/// panic of its destructor.
pub(crate) fn drop_contained<T>(value: T) {
    contain_panic(|| drop(value));
}

/// Drops all values, also if a destructor panics. Resumes the first panic afterwards, unless the thread is
/// unwinding already; discards all others.
pub(crate) fn drop_each<T>(mut next: impl FnMut() -> Option<T>) {
    let mut first = None;
    while let Some(value) = next() {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
            match first {
                None => first = Some(payload),
                Some(_) => discard(payload),
            }
        }
    }
    match first {
        Some(payload) if std::thread::panicking() => discard(payload),
        Some(payload) => resume_unwind(payload),
        None => {}
    }
}

/// Drops a value. If its destructor panics while the thread is unwinding already, discards that panic.
pub(crate) fn drop_one<T>(value: T) {
    let mut value = Some(value);
    drop_each(|| value.take());
}

/// Discards the payload of a caught panic.
fn discard(payload: Box<dyn Any + Send>) {
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    // The payload's destructor has panicked, with a second payload. That one's destructor may panic as well,
    // and so on without end, so it is leaked. The payload of a cancellation is dropped:
    // `LocalRecord::cancelling` is true as long as it exists.
    if let Err(second) = dropped
        && !second.is::<Cancellation>()
    {
        std::mem::forget(second);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Counts its end, and panics in every third.
    struct Bomb<'a>(usize, &'a Cell<usize>);

    impl Drop for Bomb<'_> {
        fn drop(&mut self) {
            self.1.set(self.1.get() + 1);
            if self.0.is_multiple_of(3) {
                resume_unwind(Box::new(self.0));
            }
        }
    }

    fn drop_some(numbers: std::ops::Range<usize>, dropped: &Cell<usize>) {
        let mut bombs = numbers.map(|number| Bomb(number, dropped));
        drop_each(|| bombs.next());
    }

    #[test]
    fn all_are_dropped_and_the_first_panic_goes_on() {
        let dropped = Cell::new(0);
        let first = catch_unwind(AssertUnwindSafe(|| drop_some(1..10, &dropped))).expect_err("a panic");
        assert_eq!((first.downcast_ref(), dropped.get()), (Some(&3_usize), 9));
        drop_some(1..3, &dropped);
        assert_eq!(dropped.get(), 11);
    }

    #[test]
    fn while_the_thread_unwinds_no_panic_goes_on() {
        struct InDrop<'a>(&'a Cell<usize>);
        impl Drop for InDrop<'_> {
            fn drop(&mut self) {
                drop_some(0..10, self.0);
                drop_one(Bomb(0, self.0));
            }
        }
        let dropped = Cell::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _in_drop = InDrop(&dropped);
            resume_unwind(Box::new("the one that counts"));
        }));
        assert_eq!(outcome.expect_err("a panic").downcast_ref(), Some(&"the one that counts"));
        assert_eq!(dropped.get(), 11);
    }

    /// A payload that counts its end, and then panics with another one, that many times.
    struct Payload(u32, Arc<AtomicU32>);

    impl Drop for Payload {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
            if self.0 > 0 {
                resume_unwind(Box::new(Payload(self.0 - 1, self.1.clone())));
            }
        }
    }

    #[test]
    fn payloads_that_are_discarded_are_dropped() {
        let dropped = Arc::new(AtomicU32::new(0));
        contain_panic(|| resume_unwind(Box::new(Payload(0, dropped.clone()))));
        assert_eq!(Arc::strong_count(&dropped), 1);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }

    /// A payload's destructor panics with a payload of the same kind: only the first is dropped.
    #[test]
    fn a_payload_whose_destructor_panics_is_contained() {
        let dropped = Arc::new(AtomicU32::new(0));
        contain_panic(|| resume_unwind(Box::new(Payload(5, dropped.clone()))));
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
}
