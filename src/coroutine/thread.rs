//! What a plain thread blocks on, so that every primitive also works outside coroutines.
//!
//! # The problem
//!
//! A plain thread has to wait for tickets as a coroutine does. A thread that wakes another one may still be
//! in the last instructions of `wake` when the woken thread goes on, and even ends: these instructions must
//! not touch freed memory.
//!
//! # The parker
//!
//! A [`Parker`] is a [`Waiter`] whose `schedule` sets `woken` and signals a condition variable. Parkers are
//! never freed. A thread *leases* one at its first wait and gives it back to a list when it ends.
//!
//! ```text
//!  from          to        cause
//!  new, idle     leased    `lease`: the first wait of a thread
//!  leased        idle      `end`: the last round of the thread's end (`base::at_exit`)
//!
//!  and while it is leased, for each wait:
//!  running       blocked   `block`: the waiter parks (`waiter.rs`), `woken` is false
//!  running       running   `block`: the ticket was fired before the waiter parked
//!  blocked       running   `wake` sets `woken`: another thread has fired the ticket
//!                          `give_up`: the deadline has passed, and the thread fires its own ticket
//! ```
//!
//! # A wait inside a wait
//!
//! The commit of a wait runs on the thread itself, after it has published the ticket, and it may run a user's
//! code: what it wakes may be a future, whose waker is called. That code may wait as well. Its ticket would
//! be of the same parker and epoch, and to fire it would end the outer wait, whose node stays in a list of
//! a frame that ends. So a wait has a parker to itself ([`with_parker_to_wait`]):
//!
//! ```text
//!  `waits` of the leased parker    the wait uses
//!  false                           the leased parker, and sets `waits` until it has ended
//!  true: a wait inside a wait      an idle parker, or a new one, which goes back when that wait has ended
//! ```
//!
//! The same holds for a worker, whose parker serves the waits in the commits of its coroutines. What belongs
//! to the thread (its token, its record) is always that of the leased parker.
//!
//! A cancellation never ends the wait of a plain thread: it parks with MASKED. If the deadline passes but
//! `give_up` loses, another thread has fired the ticket. Then the thread waits on for that thread's `wake`,
//! which would otherwise end its next wait.
//!
//! A lease lasts until the thread has run everything else. So the destructor of a thread-local that waits
//! uses the parker that the thread has always had, with its token, its time limit and its masks. Only the
//! task locals are destroyed earlier, together with the thread's own locals, since their destructors may use
//! these.
//!
//! # Access
//!
//! - `waiter`: see `waiter.rs`. `woken`: under its lock, the thread and the one that wakes it.
//! - `token`, `rounds`, `record`, `thread`, `waits`: the thread that leases the parker.
//! - The token of `task::park` itself is shared with the thread's handles, which may outlive the thread. Then
//!   the next thread that leases the parker gets a new token, to which no handle exists.
//!
//! # What was rejected
//!
//! - *Freeing the parker when its thread ends*: the `wake` that let the thread end may still use it. A
//!   reference count would cost two more atomic operations for each wait.
//! - *`std::thread::park`*: its token belongs to the user, whose own `unpark` would end our waits, and who
//!   would miss a token that our waits take.

use super::event::Event;
use super::local_record::LocalRecord;
use super::waiter::{Batch, Cause, Fired, Park, Table, Ticket, Waiter};
use crate::base::at_exit::{self, Next};
use crate::base::local::thread_locals;
use crate::base::lock::{Mutex, Rank};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::Arc;
use std::thread::Thread;
use std::time::Instant;

const TABLE: &Table = &Table { schedule: wake };

/// What a plain thread blocks on.
#[repr(C)]
pub(crate) struct Parker {
    /// First, so that a pointer to it is a pointer to the parker.
    waiter: Waiter,
    /// The token of `task::park`.
    token: RefCell<Arc<Event>>,
    /// How many rounds of the thread's end have run.
    rounds: Cell<u32>,
    woken: Mutex<bool>,
    wake_up: parking_lot::Condvar,
    record: LocalRecord,
    /// The thread, unless its locals were destroyed before its first wait.
    thread: RefCell<Option<Thread>>,
    /// Whether a wait of that thread uses the parker.
    waits: Cell<bool>,
}

// SAFETY: `record`, `thread`, `token`, `rounds` and `waits` are not Sync by themselves; only the thread
// that leases the parker uses them.
unsafe impl Sync for Parker {}
// SAFETY: as above; a parker that is not leased is not used.
unsafe impl Send for Parker {}

impl Parker {
    /// The thread's local record.
    ///
    /// # Safety
    ///
    /// The caller is the thread that leases the parker.
    pub(crate) unsafe fn local_record(&'static self) -> &'static LocalRecord {
        &self.record
    }

    /// The token of `task::park`.
    ///
    /// # Safety
    ///
    /// The caller is the thread that leases the parker.
    pub(crate) unsafe fn token(&'static self) -> Arc<Event> {
        Arc::clone(&self.token.borrow())
    }

    /// The thread that leases the parker, which is the caller. `None` if its thread-locals were destroyed
    /// before its first wait.
    pub(crate) fn thread(&'static self) -> Option<Thread> {
        self.thread.borrow().clone()
    }

    /// The ticket for the wait that uses the parker.
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
            wake_up: parking_lot::Condvar::new(),
            record: LocalRecord::new(None, None, false),
            thread: RefCell::new(None),
            waits: Cell::new(false),
        }
    }

    /// The waiter.
    pub(crate) fn waiter(&self) -> &Waiter {
        &self.waiter
    }

    /// Blocks the thread until the wait of the ticket has ended or the deadline has passed.
    pub(crate) fn block(&self, ticket: Ticket, deadline: Option<Instant>) -> Cause {
        if self.waiter.park(ticket, true) == Park::Parked {
            let mut woken = self.woken.lock();
            while !*woken {
                match deadline {
                    None => self.wake_up.wait(woken.raw()),
                    Some(at) => {
                        let late = self.wake_up.wait_until(woken.raw(), at).timed_out();
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

    /// Ends the thread's own wait as timed out; false if another thread has ended it, which will call `wake`.
    fn give_up(&self, ticket: Ticket) -> bool {
        // SAFETY: parkers are never freed. The batch is discarded: the thread runs already.
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
    parker.wake_up.notify_one();
}

static IDLE: parking_lot::Mutex<Vec<&'static Parker>> = parking_lot::Mutex::new(Vec::new());

/// Calls `f` with the thread's parker.
pub(crate) fn with_parker<R>(f: impl FnOnce(&'static Parker) -> R) -> R {
    f(leased().unwrap_or_else(lease))
}

/// Calls `f` with a parker for one wait of the thread: no other wait of the thread uses it before `f` has
/// returned.
pub(crate) fn with_parker_to_wait<R>(f: impl FnOnce(&'static Parker) -> R) -> R {
    with_parker(|own| {
        if own.waits.replace(true) {
            return with_idle_parker(f);
        }
        let _waits = Waits(own);
        f(own)
    })
}

/// While it lives, a wait uses the thread's parker.
struct Waits(&'static Parker);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waits.set(false);
    }
}

/// As [`with_parker_to_wait`], inside of a wait that uses the thread's own parker.
#[cold]
#[inline(never)]
fn with_idle_parker<R>(f: impl FnOnce(&'static Parker) -> R) -> R {
    /// A thread that wakes the parker may still use its `woken`: parkers are never freed, and a wake-up comes
    /// before the wait has ended.
    struct Returns(&'static Parker);
    impl Drop for Returns {
        fn drop(&mut self) {
            IDLE.lock().push(self.0);
        }
    }
    let taken = Returns(idle_or_new());
    f(taken.0)
}

fn idle_or_new() -> &'static Parker {
    let idle = IDLE.lock().pop();
    idle.unwrap_or_else(|| Box::leak(Box::new(Parker::new())))
}

thread_locals! {
    /// The parker that the thread leases; none before its first blocking call. It has no destructor, so the
    /// destructors of other thread-locals can use it.
    static PARKER: Cell<Option<&'static Parker>> = Cell::new(None);

    /// The parker that the thread leases, if it does. Also `None` if the system has no thread-locals without
    /// destructors and has destroyed this one.
    fn leased() -> Option<&'static Parker> = |parker| parker.get(), destroyed: None;

    /// Sets the parker that the thread leases.
    fn set_leased(leased: Option<&'static Parker>) = |parker| parker.set(leased), destroyed: ();
}

/// Calls a function when the thread destroys it.
struct OnDestruction(Cell<Option<fn()>>);

impl Drop for OnDestruction {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

thread_locals! {
    /// Its destructor runs among those of the thread's other locals.
    static ON_DESTRUCTION: OnDestruction = OnDestruction(Cell::new(None));

    /// Has `f` called when the thread's locals are destroyed; false if they are destroyed already.
    fn at_destruction(f: fn()) -> bool = |local| {
        local.0.set(Some(f));
        true
    }, destroyed: false;
}

#[cold]
fn lease() -> &'static Parker {
    let parker: &'static Parker = match at_exit::value() {
        // The system has destroyed the thread-local that held it.
        // SAFETY: it is what was kept below, and parkers are never freed.
        Some(kept) => unsafe { kept.cast::<Parker>().as_ref() },
        None => {
            let parker = idle_or_new();
            // If `keep` has no room the thread never gives the parker back.
            // SAFETY: it is a parker, and the thread's until `end` has returned it.
            unsafe { at_exit::keep(NonNull::from(parker).cast(), end) };
            parker
        }
    };
    set_leased(Some(parker));
    if at_destruction(end_locals) {
        // std's own record of the thread is destroyed after its thread-locals.
        *parker.thread.borrow_mut() = Some(std::thread::current());
    } else {
        parker.record.locals.close();
    }
    parker
}

/// Destroys the thread's task locals, while its own locals are destroyed. No task local is made afterwards.
fn end_locals() {
    if let Some(parker) = leased() {
        parker.record.locals.end();
        parker.record.locals.close();
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
    // The locals of a thread whose first wait came too late for `end_locals`.
    parker.record.locals.end();
    set_leased(None);
    parker.rounds.set(0);
    parker.waits.set(false);
    parker.record.reset();
    *parker.thread.borrow_mut() = None;
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

    /// A wait inside the commit of a wait has another ticket. To end it does not end the outer one.
    #[test]
    fn a_wait_inside_a_wait_does_not_end_it() {
        fn end(parker: &'static Parker, ticket: Ticket) {
            // SAFETY: parkers are never freed. The wait ends before the thread parks.
            assert_eq!(unsafe { ticket.fire(Cause::Event, &mut Batch::new()) }, Fired::Early);
            assert_eq!(parker.block(ticket, None), Cause::Event);
        }
        with_parker_to_wait(|outer| {
            let ticket = outer.ticket();
            for _ in 0..3 {
                with_parker_to_wait(|inner| {
                    assert!(!ptr::eq(inner, outer));
                    with_parker_to_wait(|third| {
                        assert!(!ptr::eq(third, outer) && !ptr::eq(third, inner));
                        end(third, third.ticket());
                    });
                    end(inner, inner.ticket());
                    with_parker(|own| assert!(ptr::eq(own, outer), "the thread's record is elsewhere"));
                });
            }
            assert!(outer.waiter().cause(ticket).is_none(), "the outer wait has ended");
            end(outer, ticket);
        });
        with_parker(|own| with_parker_to_wait(|again| assert!(ptr::eq(own, again))));
    }

    /// Threads that end one after the other use the same parkers, and find no state of an earlier thread.
    #[test]
    fn a_thread_that_ends_returns_its_parker() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..500 {
            let thread = std::thread::spawn(move || {
                with_parker(|parker| {
                    // SAFETY: this thread leases the parker.
                    let (record, token) = unsafe { (parker.local_record(), parker.token()) };
                    assert!(!record.masked() && record.limit().is_none() && !token.is_set());
                    token.set(&mut Batch::new());
                    std::mem::forget(record.enter(Some(Instant::now())));
                    std::mem::forget(record.mask());
                    ptr::from_ref(parker).addr()
                })
            });
            seen.insert(thread.join().expect("no panic"));
        }
        // Tests that run at the same time lease some.
        assert!(seen.len() < 250, "{} of 500 threads have had another parker", seen.len());
    }
}
