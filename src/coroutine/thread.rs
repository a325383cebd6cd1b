//! What a plain thread blocks on, so that every primitive works outside coroutines too.
//!
//! A [`Parker`] is a [`Waiter`] whose `schedule` wakes the thread. Parkers are never freed: a thread
//! leases one at its first wait and returns it to a list when it ends. A waker that is still inside
//! the last instructions of `wake` therefore never touches freed memory.
//!
//! One lease lasts until the thread has run everything else (`base::at_exit`): a destructor of a thread-local
//! that waits is on the parker on which the thread has always been, with its token, its time limit and its
//! masks. Only the task locals go earlier, with the thread's own locals, since their destructors may use
//! those.
//!
//! The token of `task::park` is no part of the parker: handles share it, and may outlive the thread. The next
//! owner of the parker gets another token then, which nobody has a handle to.

use super::event::Event;
use super::local_record::LocalRecord;
use super::waiter::{Batch, Cause, Fired, Park, Table, Ticket, Waiter};
use crate::base::at_exit::{self, Next};
use crate::base::local::thread_locals;
use crate::base::lock::{Mutex, Rank};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

const TABLE: &Table = &Table { schedule: wake };

/// What one plain thread blocks on.
#[repr(C)]
pub(crate) struct Parker {
    /// First, so that a pointer to it is a pointer to the parker.
    waiter: Waiter,
    /// The token of `task::park`.
    token: RefCell<Arc<Event>>,
    /// Rounds of the thread's end so far.
    rounds: Cell<u32>,
    woken: Mutex<bool>,
    bell: parking_lot::Condvar,
    own: LocalRecord,
}

// SAFETY: what is not Sync by itself is `own`, `token` and `rounds`, which only the thread that leases the
// parker uses.
unsafe impl Sync for Parker {}
// SAFETY: as above; it is unused while the parker is on its way to another thread.
unsafe impl Send for Parker {}

impl Parker {
    /// What belongs to the thread alone.
    ///
    /// # Safety
    ///
    /// The caller is the thread that leases the parker.
    pub(crate) unsafe fn local_record(&'static self) -> &'static LocalRecord {
        &self.own
    }

    /// The token of `task::park`.
    ///
    /// # Safety
    ///
    /// The caller is the thread that leases the parker.
    pub(crate) unsafe fn token(&'static self) -> Arc<Event> {
        Arc::clone(&self.token.borrow())
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
            token: RefCell::new(Arc::new(Event::new())),
            rounds: Cell::new(0),
            woken: Mutex::new(Rank::Parker, false),
            bell: parking_lot::Condvar::new(),
            own: LocalRecord::new(None, None, false),
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

/// Calls `f` with the thread's parker.
pub(crate) fn with_parker<R>(f: impl FnOnce(&'static Parker) -> R) -> R {
    f(leased().unwrap_or_else(lease))
}

thread_locals! {
    /// What the thread blocks on; none before its first blocking call. It has no destructor, so destructors
    /// of other thread-locals find it.
    static PARKER: Cell<Option<&'static Parker>> = Cell::new(None);

    /// The parker that the thread has. None is found either where the system has no thread-locals without
    /// destructors and has destroyed this one.
    fn leased() -> Option<&'static Parker> = |parker| parker.get(), destroyed: None;

    /// Sets the parker that the thread has.
    fn set_leased(leased: Option<&'static Parker>) = |parker| parker.set(leased), destroyed: ();
}

/// Calls a function when it is dropped.
struct Farewell(Cell<Option<fn()>>);

impl Drop for Farewell {
    fn drop(&mut self) {
        if let Some(farewell) = self.0.take() {
            farewell();
        }
    }
}

thread_locals! {
    /// What is called when the thread's locals are destroyed.
    static FAREWELL: Farewell = Farewell(Cell::new(None));

    /// Has the function called when the thread's locals are destroyed; false if they have been.
    fn at_destruction(farewell: fn()) -> bool = |place| {
        place.0.set(Some(farewell));
        true
    }, destroyed: false;
}

#[cold]
fn lease() -> &'static Parker {
    let parker: &'static Parker = match at_exit::value() {
        // The system has destroyed the place where it was noted.
        // SAFETY: it is what was kept below, and parkers are never freed.
        Some(kept) => unsafe { kept.cast::<Parker>().as_ref() },
        None => {
            let idle = IDLE.lock().pop();
            let parker: &'static Parker = idle.unwrap_or_else(|| Box::leak(Box::new(Parker::new())));
            // Where there is no room the thread never gives it back.
            // SAFETY: it is a parker, and the thread's until `end` has returned it.
            unsafe { at_exit::keep(NonNull::from(parker).cast(), end) };
            parker
        }
    };
    set_leased(Some(parker));
    if !at_destruction(end_locals) {
        parker.own.locals.close();
    }
    parker
}

/// The thread's locals are being destroyed, and with them its task locals. None is made afterwards.
fn end_locals() {
    if let Some(parker) = leased() {
        parker.own.locals.end();
        parker.own.locals.close();
    }
}

/// Returns the parker in the last round of the thread's end.
///
/// # Safety
///
/// It is the parker that the calling thread leases.
unsafe fn end(parker: NonNull<()>) -> Next {
    // SAFETY: as the caller says; parkers are never freed.
    let parker: &'static Parker = unsafe { parker.cast::<Parker>().as_ref() };
    parker.rounds.set(parker.rounds.get() + 1);
    if parker.rounds.get() < at_exit::ROUNDS {
        return Next::Round;
    }
    // Those of a thread that has first waited too late for `end_locals`.
    parker.own.locals.end();
    set_leased(None);
    parker.rounds.set(0);
    parker.own.reset();
    let mut token = parker.token.borrow_mut();
    match Arc::get_mut(&mut token) {
        Some(token) => _ = token.consume(),
        None => *token = Arc::new(Event::new()),
    }
    drop(token);
    IDLE.lock().push(parker);
    Next::Gone
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::ptr;
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

    /// Threads that end one after the other use the same parkers, and what they have set in them is gone.
    #[test]
    fn a_thread_that_ends_returns_its_parker() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..500 {
            let thread = std::thread::spawn(move || {
                with_parker(|parker| {
                    // SAFETY: this thread leases the parker.
                    let (own, token) = unsafe { (parker.local_record(), parker.token()) };
                    assert!(!own.masked() && own.limit().is_none() && !token.is_set());
                    token.set(&mut Batch::new());
                    std::mem::forget(own.enter(Some(Instant::now())));
                    std::mem::forget(own.mask());
                    ptr::from_ref(parker).addr()
                })
            });
            seen.insert(thread.join().expect("no panic"));
        }
        // Other tests have some meanwhile.
        assert!(seen.len() < 250, "{} of 500 threads have had another parker", seen.len());
    }
}
