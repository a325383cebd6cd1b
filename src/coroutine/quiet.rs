//! Destructors of users' values: run where a panic must not go on, and one after another where a panic in one
//! must not keep the others from running.
//!
//! The panic hook has reported such a panic before it gets here. A panic that unwinds out of a destructor
//! while the thread unwinds already aborts the process; one that is caught inside of the destructor does not.

use super::header::Cancellation;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a user's code that must not unwind, such as a destructor; a panic in it ends here.
pub(crate) fn quietly(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        discard(payload);
    }
}

/// Drops each of the values. A panic in one goes on when all are dropped; further ones end here, and so does
/// the first if the thread is unwinding already.
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

/// Drops a value; a panic in its destructor ends here if the thread is unwinding already.
pub(crate) fn drop_one<T>(value: T) {
    let mut value = Some(value);
    drop_each(|| value.take());
}

/// Gets rid of the payload of a panic that ends here.
fn discard(payload: Box<dyn Any + Send>) {
    // The destructor of a user's payload may panic as well: leave it. A cancellation ends with its payload.
    if !payload.is::<Cancellation>() {
        std::mem::forget(payload);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;

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
}
