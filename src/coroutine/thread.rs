//! What a plain thread blocks on, so that every primitive works outside coroutines too.
//!
//! A [`Parker`] is a [`Waiter`] whose `schedule` wakes the thread. Parkers are never freed: a thread
//! leases one at its first wait and returns it to a list when it ends. A waker that is still inside
//! the last instructions of `wake` therefore never touches freed memory.

use super::event::Event;
use super::own::Own;
use super::waiter::{Batch, Cause, Fired, Park, Table, Ticket, Waiter};
use crate::base::local;
use crate::base::lock::{Mutex, Rank};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::time::Instant;

const TABLE: &Table = &Table { schedule: wake };

/// What one plain thread blocks on.
#[repr(C)]
pub(crate) struct Parker {
    /// First, so that a pointer to it is a pointer to the parker.
    waiter: Waiter,
    /// The token of `task::park`.
    pub(crate) token: Event,
    woken: Mutex<bool>,
    bell: parking_lot::Condvar,
    own: Own,
}

// SAFETY: what is not Sync by itself is `own`, which only the thread that leases the parker uses.
unsafe impl Sync for Parker {}
// SAFETY: as above; it is unused while the parker is on its way to another thread.
unsafe impl Send for Parker {}

impl Parker {
    /// What belongs to the thread alone.
    ///
    /// # Safety
    ///
    /// The caller is the thread that leases the parker.
    pub(crate) unsafe fn own(&'static self) -> &'static Own {
        &self.own
    }

    /// The ticket for the thread's next wait.
    pub(crate) fn ticket(&'static self) -> Ticket {
        // SAFETY: parkers are never freed, and the pointer is made from the whole parker.
        unsafe { Waiter::ticket(NonNull::from(self).cast()) }
    }

    fn new() -> Self {
        Parker {
            // SAFETY: the table is a constant.
            waiter: unsafe { Waiter::new(NonNull::from(TABLE)) },
            token: Event::new(),
            woken: Mutex::new(Rank::Parker, false),
            bell: parking_lot::Condvar::new(),
            own: Own::new(None, None, false),
        }
    }

    /// Blocks the thread until the ticket's wait has ended or the deadline passed.
    pub(crate) fn block(&self, ticket: Ticket, deadline: Option<Instant>) -> Cause {
        if self.waiter.park(ticket, true) == Park::Parked {
            let mut woken = self.woken.lock();
            while !*woken {
                match deadline {
                    None => self.bell.wait(woken.raw()),
                    Some(at) => {
                        let late = self.bell.wait_until(woken.raw(), at).timed_out();
                        if late && !*woken && self.give_up(ticket) {
                            return Cause::Timeout;
                        }
                    }
                }
            }
            *woken = false;
        }
        self.waiter.cause(ticket).expect("a wait returns after it was ended")
    }

    /// Ends the thread's own wait as timed out; false if somebody else ended it, who then wakes it.
    fn give_up(&self, ticket: Ticket) -> bool {
        // SAFETY: parkers are never freed. The batch is thrown away: the thread is up already.
        unsafe { ticket.fire(Cause::Timeout, &mut Batch::new()) == Fired::Schedule }
    }
}

/// Wakes the parker's thread.
unsafe fn wake(waiter: NonNull<Waiter>) {
    // SAFETY: this function belongs to parkers alone, whose first field is the waiter, and which are
    // never freed.
    let parker = unsafe { waiter.cast::<Parker>().as_ref() };
    let mut woken = parker.woken.lock();
    *woken = true;
    parker.bell.notify_one();
}

static IDLE: parking_lot::Mutex<Vec<&'static Parker>> = parking_lot::Mutex::new(Vec::new());

/// A parker on loan to one thread.
struct Lease(&'static Parker);

impl Lease {
    fn take() -> Lease {
        let idle = IDLE.lock().pop();
        Lease(idle.unwrap_or_else(|| Box::leak(Box::new(Parker::new()))))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.token.consume();
        // The destructors of locals find this parker, though the thread's own place for it is gone.
        local::set_ending(ptr::from_ref(self.0).cast());
        self.0.own.locals.end();
        local::set_ending(ptr::null());
        self.0.own.reset();
        IDLE.lock().push(self.0);
    }
}

/// Calls `f` with the thread's parker.
pub(crate) fn with_parker<R>(f: impl FnOnce(&'static Parker) -> R) -> R {
    match local::parker(|| Rc::new(Lease::take())) {
        Some(lease) => f(lease.downcast_ref::<Lease>().expect("the only kind of parker").0),
        // The thread's locals are being destroyed: a destructor of one of them waits.
        None => match NonNull::new(local::ending().cast_mut()) {
            // SAFETY: it is the parker whose lease this thread is giving back, and parkers are never freed.
            Some(parker) => f(unsafe { parker.cast::<Parker>().as_ref() }),
            None => {
                let lease = Lease::take();
                // It goes at once, and a value in it would as well.
                lease.0.own.locals.close();
                f(lease.0)
            }
        },
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_deadline_ends_the_wait() {
        with_parker(|parker| {
            let ticket = parker.ticket();
            let cause = parker.block(ticket, Some(Instant::now() + Duration::from_millis(5)));
            assert_eq!(cause, Cause::Timeout);
        });
    }

    #[test]
    fn another_thread_ends_the_wait() {
        with_parker(|parker| {
            for _ in 0..1_000 {
                let ticket = parker.ticket();
                std::thread::scope(|s| {
                    s.spawn(move || {
                        let mut batch = Batch::new();
                        // SAFETY: parkers are never freed.
                        let _ = unsafe { ticket.fire(Cause::Event, &mut batch) };
                        while let Some(waiter) = batch.pop() {
                            // SAFETY: it was fired with the verdict `Schedule`, once.
                            unsafe { Waiter::schedule(waiter) };
                        }
                    });
                    assert_eq!(parker.block(ticket, None), Cause::Event);
                });
            }
        });
    }
}
