//! A future that waits for an event, such as the end of a coroutine or the readiness of a socket: a waiter
//! whose `schedule` wakes a [`Waker`].
//!
//! Other waiters stay on the stack of their owner, which does not go on before its wait has ended. A future
//! may be dropped at any time, so its waiter is on the heap, with a reference count:
//!
//! ```text
//!  reference of      from                 to
//!  the future        `Awaiting::list`     the drop of the `Awaiting`
//!  the event's ring  `Awaiting::list`     the fire, which passes it to the batch; or the drop of the
//!                                         `Awaiting`, if that removed the node in time
//!  the batch         the fire             `wake`
//! ```
//!
//! The waiter is parked before it is listed, so a fire always has the verdict `Schedule`, and `wake` runs
//! once for it. Once [`Event::remove`] has returned, the node either was fired, and the batch has the ring's
//! reference, or it never will be, and the `Awaiting` releases that reference.
//!
//! A fired waiter has to take the event's flag (`event.rs`). A future may never be polled again, so it does
//! not promise that: `wake` fires the next waiter at once ([`Awaited::pass_on`]).
//!
//! [`Event::remove`]: super::event::Event::remove

use super::contain::{contain_panic, drop_contained};
use super::event::{Event, EventNode};
use super::header::Handle;
use super::waiter::{Park, Table, Waiter};
use crate::base::lock::{Mutex, Rank};
use std::mem;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

/// What a future waits for. The value keeps the event alive.
pub(crate) trait Awaited: Send + Sync + 'static {
    /// The event.
    fn event(&self) -> &Event;

    /// Fires the next waiter of the event, unless this is set for good. Called after the future was woken.
    fn pass_on(&self);
}

/// The end of the coroutine.
impl Awaited for Handle {
    fn event(&self) -> &Event {
        &self.header().done
    }

    fn pass_on(&self) {}
}

#[repr(C)]
struct Awaiter<A> {
    /// First, so that a pointer to it is a pointer to the awaiter.
    waiter: Waiter,
    /// Its node in the event's ring, made before it is listed.
    node: OnceLock<EventNode>,
    /// The future's task. `None` once it was woken, or the future was dropped.
    waker: Mutex<Option<Waker>>,
    awaited: A,
}

impl<A: Awaited> Awaiter<A> {
    const TABLE: &Table = &Table { schedule: wake::<A> };
}

/// A future's registration with an event. Dropping it ends the registration.
pub(crate) struct Awaiting<A: Awaited>(Arc<Awaiter<A>>);

impl<A: Awaited> Awaiting<A> {
    /// Registers a waker, which is woken when the event is set; `None` if it is set already.
    pub(crate) fn list(awaited: A, waker: Waker) -> Option<Awaiting<A>> {
        let awaiter = Arc::new(Awaiter {
            // SAFETY: the table is a constant.
            waiter: unsafe { Waiter::new(NonNull::from(Awaiter::<A>::TABLE)) },
            node: OnceLock::new(),
            waker: Mutex::new(Rank::Parker, Some(waker)),
            awaited,
        });
        let listed = Arc::into_raw(Arc::clone(&awaiter));
        // SAFETY: alive by the reference that it stands for, and good for the whole awaiter.
        let ticket = unsafe { Waiter::ticket(NonNull::new_unchecked(listed.cast_mut()).cast()) };
        let Park::Parked = awaiter.waiter.park(ticket, true) else {
            unreachable!("no other party has the ticket yet")
        };
        let node = awaiter.node.get_or_init(|| EventNode::new(ticket));
        // SAFETY: node and waiter stay where they are as long as the ring's reference lasts. It is released
        // by `wake`, which runs after the node was fired, or by `drop` after `remove`.
        if unsafe { awaiter.awaited.event().enqueue(node) } {
            return Some(Awaiting(awaiter));
        }
        // SAFETY: the node was not listed, so this reference is still ours.
        drop(unsafe { Arc::from_raw(listed) });
        None
    }

    /// Replaces the waker; false if the former one was woken already, as the event was set.
    pub(crate) fn register(&self, waker: &Waker) -> bool {
        match self.0.waker.lock().as_ref() {
            None => return false,
            Some(current) if current.will_wake(waker) => return true,
            Some(_) => {}
        }
        // Cloning and dropping a waker runs a user's code, so neither happens under the lock.
        let new = waker.clone();
        let mut current = self.0.waker.lock();
        let Some(slot) = current.as_mut() else {
            drop(current);
            drop_contained(new);
            return false;
        };
        let former = mem::replace(slot, new);
        drop(current);
        drop_contained(former);
        true
    }
}

impl<A: Awaited> Drop for Awaiting<A> {
    fn drop(&mut self) {
        let waker = self.0.waker.lock().take();
        let node = self.0.node.get().expect("made before it was listed");
        self.0.awaited.event().remove(node);
        if self.0.waiter.cause(node.ticket()).is_none() {
            // SAFETY: the node is in no ring and was not fired, so the ring's reference is ours to release.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(&self.0)) };
        }
        // Without the lock, as that runs a user's code; contained, as a future in the middle of a poll drops
        // this.
        drop_contained(waker);
    }
}

/// Wakes the future's task. It runs where the event is set, so a waker that panics must not unwind from here.
unsafe fn wake<A: Awaited>(waiter: NonNull<Waiter>) {
    // SAFETY: this function belongs to awaiters alone, whose first field is the waiter. Their tickets are
    // made from the raw pointer of the ring's reference, which the fire passed to us, and this runs once for
    // it.
    let awaiter = unsafe { Arc::from_raw(waiter.cast::<Awaiter<A>>().as_ptr()) };
    let waker = awaiter.waker.lock().take();
    if let Some(waker) = waker {
        contain_panic(|| waker.wake());
    }
    awaiter.awaited.pass_on();
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::coroutine::header::{Header, Schedule, Settings, new};
    use crate::coroutine::label::Id;
    use crate::coroutine::waiter::Batch;

    struct NeverScheduled;

    impl Schedule for NeverScheduled {
        unsafe fn schedule(_: NonNull<Waiter>) {
            unreachable!("it is never run");
        }
    }

    /// A coroutine that is never run, and its scheduler's reference.
    pub(super) struct Subject {
        header: NonNull<Header>,
        pub(super) handle: Handle,
    }

    // SAFETY: the pointer is used as a handle is.
    unsafe impl Send for Subject {}
    // SAFETY: as above.
    unsafe impl Sync for Subject {}

    impl Subject {
        pub(super) fn new() -> Subject {
            let settings = Settings::of_tests(Id(1));
            // SAFETY: nothing is borrowed.
            let (header, handle) = unsafe { new::<_, _, NeverScheduled>(|| (), settings) };
            Subject { header, handle }
        }

        /// What the scheduler does when the coroutine has ended.
        pub(super) fn end(&self) {
            let mut batch = Batch::new();
            self.handle.header().done.set_for_good(&mut batch);
            while let Some(waiter) = batch.pop() {
                // SAFETY: it got into the batch with the verdict `Schedule`, and leaves it once.
                unsafe { Waiter::schedule(waiter) };
            }
        }
    }

    impl Drop for Subject {
        fn drop(&mut self) {
            // SAFETY: the scheduler's reference is ours.
            unsafe { Header::release(self.header) };
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::testing::Subject;
    use super::*;
    use crate::coroutine::alarm::testing::Counts;

    #[test]
    fn the_end_wakes_once() {
        let (subject, counts) = (Subject::new(), Arc::new(Counts::default()));
        let first = Awaiting::list(subject.handle.clone(), counts.clone().into()).expect("not ended");
        let second = Awaiting::list(subject.handle.clone(), counts.clone().into()).expect("not ended");
        subject.end();
        assert_eq!(counts.get(), 2);
        assert!(!first.register(&counts.clone().into()));
        assert!(Awaiting::list(subject.handle.clone(), counts.clone().into()).is_none());
        let awaiters = [first, second].map(|awaiting| Arc::downgrade(&awaiting.0));
        assert!(awaiters.iter().all(|awaiter| awaiter.upgrade().is_none()), "a reference was leaked");
        assert_eq!((counts.get(), Arc::strong_count(&counts)), (2, 1));
    }

    #[test]
    fn a_dropped_registration_is_not_woken() {
        let (subject, counts) = (Subject::new(), Arc::new(Counts::default()));
        let kept = Awaiting::list(subject.handle.clone(), counts.clone().into()).expect("not ended");
        let dropped = Awaiting::list(subject.handle.clone(), counts.clone().into()).expect("not ended");
        let awaiter = Arc::downgrade(&dropped.0);
        drop(dropped);
        assert!(awaiter.upgrade().is_none(), "a reference was leaked");
        subject.end();
        assert_eq!(counts.get(), 1);
        drop(kept);
    }

    #[test]
    fn the_last_waker_counts() {
        let (subject, old, new) = (Subject::new(), Arc::new(Counts::default()), Arc::new(Counts::default()));
        let awaiting = Awaiting::list(subject.handle.clone(), old.clone().into()).expect("not ended");
        assert!(awaiting.register(&old.clone().into()));
        assert_eq!(Arc::strong_count(&old), 2);
        assert!(awaiting.register(&new.clone().into()));
        assert_eq!(Arc::strong_count(&old), 1);
        subject.end();
        assert_eq!((old.get(), new.get()), (0, 1));
    }

    #[test]
    fn a_waker_that_panics_ends_there() {
        struct Panics;
        impl std::task::Wake for Panics {
            fn wake(self: Arc<Self>) {
                std::panic::resume_unwind(Box::new("woken"));
            }
        }
        let (subject, counts) = (Subject::new(), Arc::new(Counts::default()));
        let _first = Awaiting::list(subject.handle.clone(), counts.clone().into()).expect("not ended");
        let _second = Awaiting::list(subject.handle.clone(), Arc::new(Panics).into()).expect("not ended");
        let _third = Awaiting::list(subject.handle.clone(), counts.clone().into()).expect("not ended");
        subject.end();
        assert_eq!(counts.get(), 2);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::testing::Subject;
    use super::*;
    use crate::coroutine::alarm::testing::Counts;
    use loom::thread;

    /// The end races with the registration: the waker is woken, or there is nothing to wait for.
    #[test]
    fn the_end_is_not_missed() {
        loom::model(|| {
            let (subject, counts) = (Arc::new(Subject::new()), Arc::new(Counts::default()));
            let ends = {
                let subject = subject.clone();
                thread::spawn(move || subject.end())
            };
            let awaiting = Awaiting::list(subject.handle.clone(), counts.clone().into());
            let other = Arc::new(Counts::default());
            let registered =
                awaiting.as_ref().is_some_and(|awaiting| awaiting.register(&other.clone().into()));
            ends.join().unwrap();
            assert_eq!(counts.get() + other.get(), usize::from(awaiting.is_some()));
            assert!(!registered || other.get() == 1, "the last waker is woken");
            let awaiter = awaiting.map(|awaiting| Arc::downgrade(&awaiting.0));
            assert!(awaiter.is_none_or(|awaiter| awaiter.upgrade().is_none()), "a reference was leaked");
            assert_eq!(Arc::strong_count(&counts), 1);
        });
    }

    /// An event that is set again for the next waiter, as readiness is.
    struct Shared(Arc<Event>);

    impl Awaited for Shared {
        fn event(&self) -> &Event {
            &self.0
        }

        fn pass_on(&self) {
            set(&self.0);
        }
    }

    fn set(event: &Event) {
        let mut batch = crate::coroutine::waiter::Batch::new();
        event.set(&mut batch);
        while let Some(waiter) = batch.pop() {
            // SAFETY: it got into the batch with the verdict `Schedule`, and leaves it once.
            unsafe { Waiter::schedule(waiter) };
        }
    }

    /// Two futures wait. The first one is dropped while the event is set: the second one is woken all the
    /// same.
    #[test]
    fn a_dropped_future_keeps_no_wake_up() {
        loom::model(|| {
            let (event, counts) = (Arc::new(Event::new()), Arc::new(Counts::default()));
            let list = || Awaiting::list(Shared(event.clone()), counts.clone().into()).expect("not set");
            let (first, second) = (list(), list());
            let drops = thread::spawn(move || drop(first));
            set(&event);
            drops.join().unwrap();
            let woken = counts.get();
            assert!(woken == 1 || woken == 2);
            assert!(second.0.waker.lock().is_none(), "the second one was not woken");
            drop(second);
            assert_eq!((Arc::strong_count(&counts), Arc::strong_count(&event)), (1, 1));
        });
    }

    /// The end races with the drop: each reference is released once.
    #[test]
    fn a_drop_races_with_the_end() {
        loom::model(|| {
            let (subject, counts) = (Arc::new(Subject::new()), Arc::new(Counts::default()));
            let awaiting = Awaiting::list(subject.handle.clone(), counts.clone().into()).expect("not ended");
            let awaiter = Arc::downgrade(&awaiting.0);
            let ends = {
                let subject = subject.clone();
                thread::spawn(move || subject.end())
            };
            drop(awaiting);
            ends.join().unwrap();
            assert!(awaiter.upgrade().is_none(), "a reference was leaked");
            assert!(counts.get() <= 1);
            assert_eq!(Arc::strong_count(&counts), 1);
        });
    }
}
