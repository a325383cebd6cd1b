//! The waiter of a future: its `schedule` wakes a [`Waker`].
//!
//! The problem: a future may be dropped at any time, also while another thread ends its wait. Neither the
//! waiter nor what the wait has to take back may be gone too early, and nothing may leak.
//!
//! An [`Alarm`] is one wait. It is on the heap, with a reference count:
//!
//! ```text
//!  reference of    from    to
//!  the future      `new`   the drop of the `Alarm`
//!  the ticket      `new`   the winner of the ticket, who passes it to `wake`; or the drop of the `Alarm`, if
//!                          that wins the ticket
//! ```
//!
//! The waiter is parked before its ticket is published, so the winner of the ticket has the verdict
//! `Schedule`, and `wake` runs once for it. The drop competes for the ticket like any other party. If it
//! wins, nobody will call `wake`, and it releases that reference itself. If it loses, `wake` runs or has run;
//! it finds no waker.
//!
//! The future takes its ticket back from where it has published it (a list, timers) before it drops the
//! `Alarm`, under the lock of that place. So a party that fires the ticket under the lock finds the waiter
//! alive. An alarm serves one wait: its waiter may still be in a batch when the next wait begins.
//!
//! A waker is a user's code, which may panic as it is cloned, woken or dropped. A clone is made before
//! anything is published, and its panic unwinds out of the poll. The others are contained here: they run in
//! the middle of a poll that has just got a lock or a message, or where another thread ends the wait.
//!
//! [`awaiter`](super::awaiter) is the same for waits on events that outlive their future.

use super::contain::{contain_panic, drop_contained};
use super::waiter::{Batch, Cause, Fired, Park, Table, Ticket, Waiter};
use crate::base::lock::{Mutex, Rank};
use std::mem;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::Waker;

#[repr(C)]
struct Inner {
    /// First, so that a pointer to it is a pointer to the whole.
    waiter: Waiter,
    /// The future's task. `None` once it was woken, or the future was dropped.
    waker: Mutex<Option<Waker>>,
}

/// A static, so that its address tells the waiters of futures from others.
static TABLE: Table = Table { schedule: wake };

/// One wait of a future.
pub(crate) struct Alarm {
    inner: Arc<Inner>,
    ticket: Ticket,
}

impl Alarm {
    /// A wait that has begun. When its ticket is fired, the waker is woken.
    pub(crate) fn new(waker: Waker) -> Alarm {
        // SAFETY: the table is a static.
        let waiter = unsafe { Waiter::new(NonNull::from(&TABLE)) };
        let inner = Arc::new(Inner { waiter, waker: Mutex::new(Rank::Parker, Some(waker)) });
        let published = Arc::into_raw(Arc::clone(&inner));
        // SAFETY: alive by the reference that it stands for, and good for the whole.
        let ticket = unsafe { Waiter::ticket(NonNull::new_unchecked(published.cast_mut()).cast()) };
        let Park::Parked = inner.waiter.park(ticket, true) else {
            unreachable!("no other party has the ticket yet")
        };
        Alarm { inner, ticket }
    }

    /// The ticket, to be published in one place or more.
    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Whether the wait has ended.
    pub(crate) fn has_rung(&self) -> bool {
        self.inner.waiter.cause(self.ticket).is_some()
    }

    /// Replaces the waker; false if the former one was woken already.
    pub(crate) fn register(&self, waker: &Waker) -> bool {
        match self.inner.waker.lock().as_ref() {
            None => return false,
            Some(current) if current.will_wake(waker) => return true,
            Some(_) => {}
        }
        // Cloning and dropping a waker runs a user's code, so neither happens under the lock.
        let new = waker.clone();
        let mut current = self.inner.waker.lock();
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

    /// Ends the wait, if it goes on, without waking the task.
    pub(crate) fn end(&self) {
        let mut batch = Batch::new();
        // SAFETY: the future's reference keeps the waiter.
        if unsafe { self.ticket.fire(Cause::Cancelled, &mut batch) } == Fired::Schedule {
            let _ = batch.pop();
            // SAFETY: the ticket was won here, so the ticket's reference is ours to release.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(&self.inner)) };
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let waker = self.inner.waker.lock().take();
        self.end();
        // Without the lock, as that runs a user's code; contained, since a future that is in the middle of a
        // poll drops this, and would lose what it has got.
        drop_contained(waker);
    }
}

/// Whether it is the ticket of a future.
///
/// # Safety
///
/// The ticket's waiter is alive.
pub(crate) unsafe fn is_of_future(ticket: Ticket) -> bool {
    // SAFETY: as the caller says.
    unsafe { ticket.table() == NonNull::from(&TABLE) }
}

/// Wakes the future's task. It runs where the wait is ended, so a waker that panics must not unwind from
/// here.
unsafe fn wake(waiter: NonNull<Waiter>) {
    // SAFETY: this function belongs to alarms alone, whose first field is the waiter. Their tickets are made
    // from the raw pointer of the ticket's reference, which the winner passed to us, and this runs once for
    // it.
    let inner = unsafe { Arc::from_raw(waiter.cast::<Inner>().as_ptr()) };
    let waker = inner.waker.lock().take();
    if let Some(waker) = waker {
        contain_panic(|| waker.wake());
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    /// Counts how often it was woken.
    #[derive(Default)]
    pub(in crate::coroutine) struct Counts(AtomicUsize);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Counts {
        pub(in crate::coroutine) fn get(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    pub(super) fn counts() -> (Arc<Counts>, Waker) {
        let counts = Arc::new(Counts::default());
        (counts.clone(), counts.into())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::testing::counts;
    use super::*;

    fn fire(ticket: Ticket) {
        let mut batch = Batch::new();
        // SAFETY: the alarms of these tests outlive this.
        let _ = unsafe { ticket.fire(Cause::Event, &mut batch) };
        batch.wake();
    }

    #[test]
    fn the_last_waker_is_woken_once() {
        let ((old, waker), (new, other)) = (counts(), counts());
        let alarm = Alarm::new(waker.clone());
        assert!(alarm.register(&waker) && alarm.register(&other) && !alarm.has_rung());
        fire(alarm.ticket());
        fire(alarm.ticket());
        assert!(alarm.has_rung() && !alarm.register(&other));
        assert_eq!((old.get(), new.get()), (0, 1));
        let inner = Arc::downgrade(&alarm.inner);
        drop(alarm);
        assert!(inner.upgrade().is_none(), "a reference was leaked");
    }

    #[test]
    fn a_dropped_alarm_leaks_nothing() {
        let (counts, waker) = counts();
        let alarm = Alarm::new(waker);
        let inner = Arc::downgrade(&alarm.inner);
        drop(alarm);
        assert!(inner.upgrade().is_none(), "a reference was leaked");
        assert_eq!((counts.get(), Arc::strong_count(&counts)), (0, 1));
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::testing::counts;
    use super::*;
    use crate::coroutine::waitlist::{NodeState, WaitList, WaitNode};
    use loom::thread;

    struct Queue {
        list: loom::sync::Mutex<(WaitList<()>, usize)>,
    }

    // SAFETY: nodes are used under the lock.
    unsafe impl Sync for Queue {}
    // SAFETY: as above.
    unsafe impl Send for Queue {}

    /// A future that waits for something is dropped while another thread hands it over: it is handed over or
    /// it stays, and each reference is released once.
    #[test]
    fn a_drop_races_with_a_hand_over() {
        loom::model(|| {
            let queue = loom::sync::Arc::new(Queue { list: loom::sync::Mutex::new((WaitList::new(), 0)) });
            let (counts, waker) = counts();
            let alarm = Alarm::new(waker);
            let inner = Arc::downgrade(&alarm.inner);
            let node = Box::new(WaitNode::new(alarm.ticket(), ()));
            // SAFETY: the node stays until it was won from the list or has left it, below.
            unsafe { queue.list.lock().unwrap().0.push_back(&node) };
            let gives = {
                let queue = queue.clone();
                thread::spawn(move || {
                    let mut batch = Batch::new();
                    {
                        let mut state = queue.list.lock().unwrap();
                        if !state.0.hand_turn_to_first(&mut batch) {
                            state.1 += 1;
                        }
                    }
                    batch.wake();
                })
            };
            // What the drop of such a future does.
            {
                let mut state = queue.list.lock().unwrap();
                state.0.remove(&node);
                if node.state() == NodeState::Handed {
                    state.1 += 1;
                }
            }
            drop(alarm);
            gives.join().unwrap();
            assert_eq!(queue.list.lock().unwrap().1, 1, "it was lost or doubled");
            assert!(inner.upgrade().is_none(), "a reference was leaked");
            assert!(counts.get() <= 1 && Arc::strong_count(&counts) == 1);
        });
    }
}
