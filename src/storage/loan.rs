//! What a lender publishes of itself, and the states of that.
//!
//! Loans are never freed, so the handler of a signal may read all of them at any time. A new lender takes
//! over the loan of one that has ended.
//!
//! | state | from | by | when |
//! |---|---|---|---|
//! | `FREE` | - | - | no lender has it |
//! | `STARTING` | `FREE` | [`take`](Loan::take) | before the lender is started |
//! | `LENT` | `STARTING` | lender | it has published its thread pointer; from here it touches no thread-local |
//! | `FAILED` | `STARTING` | lender | it cannot lend; it returns |
//! | `COPY` | `LENT` | a worker inside | the lender shall take over the worker's credentials |
//! | `LENT` | `COPY` | lender | done; the worker has waited for it |
//! | `END` | `LENT` | the storage's end | the lender may return |
//! | `FREE` | `END` | lender | it has withdrawn its thread pointer; from here it may touch thread-locals |
//! | `FREE` | `STARTING`, `FAILED` | the taker | there is no lender |
//!
//! So the state has one writer at a time: the taker until a lender exists, the lender until `LENT`; then the
//! thread that has the storage. That thread is inside (`COPY`) or consumes it (`END`), not both.
//!
//! Invariant: a loan's `pointer` is null or the thread pointer of a lender whose block exists. The lender
//! withdraws it before it returns. Otherwise a new thread whose block has the same address would be mistaken
//! for a worker that is inside.

use super::credentials::Credentials;
use super::sys;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

pub(super) const FREE: u32 = 0;
pub(super) const STARTING: u32 = 1;
pub(super) const LENT: u32 = 2;
pub(super) const FAILED: u32 = 3;
pub(super) const COPY: u32 = 4;
pub(super) const END: u32 = 5;

/// All loans, linked by `next`. They are only added.
static LOANS: AtomicPtr<Loan> = AtomicPtr::new(ptr::null_mut());

/// What a lender publishes. Each has cache lines of its own, because `enter` writes to it.
#[repr(align(128))]
pub(super) struct Loan {
    state: AtomicU32,
    /// The lender's kernel thread. Set before `pointer`.
    thread: AtomicI32,
    /// The lender's thread pointer; 0 if there is none.
    pointer: AtomicUsize,
    /// The own pointer of the thread that is inside, or was last.
    own: AtomicUsize,
    /// In `COPY`: what the lender copies.
    credentials: AtomicPtr<Credentials>,
    /// Set before the loan is in the list, and then constant.
    next: *mut Loan,
}

// SAFETY: `next` is constant once another thread can see the loan; the rest is atomic.
unsafe impl Sync for Loan {}

/// All loans. The handler of a signal may call it.
pub(super) fn loans() -> impl Iterator<Item = &'static Loan> {
    // SAFETY: the list's pointers are null or loans, which are never freed.
    let mut next = unsafe { LOANS.load(Ordering::Acquire).as_ref() };
    std::iter::from_fn(move || {
        let loan = next?;
        // SAFETY: as above.
        next = unsafe { loan.next.as_ref() };
        Some(loan)
    })
}

impl Loan {
    /// A loan in the state `STARTING`, which is the caller's.
    pub(super) fn take() -> &'static Loan {
        // Acquire: the previous lender has withdrawn its pointer.
        let take = |loan: &&Loan| {
            loan.state.compare_exchange(FREE, STARTING, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        if let Some(loan) = loans().find(take) {
            return loan;
        }
        let loan = Box::leak(Box::new(Loan {
            state: AtomicU32::new(STARTING),
            thread: AtomicI32::new(0),
            pointer: AtomicUsize::new(0),
            own: AtomicUsize::new(0),
            credentials: AtomicPtr::new(ptr::null_mut()),
            next: LOANS.load(Ordering::Acquire),
        }));
        // Release: a thread that finds the loan in the list sees its fields.
        while let Err(other) = LOANS.compare_exchange(loan.next, loan, Ordering::Release, Ordering::Acquire) {
            loan.next = other;
        }
        loan
    }

    /// Stores the state and wakes the thread that waits for a change.
    pub(super) fn set_state(&self, state: u32) {
        self.state.store(state, Ordering::Release);
        sys::futex_wake(&self.state);
    }

    /// Waits until the state is another one, and returns that.
    pub(super) fn wait_while(&self, state: u32) -> u32 {
        loop {
            let found = self.state.load(Ordering::Acquire);
            if found != state {
                return found;
            }
            sys::futex_wait(&self.state, state);
        }
    }

    /// The calling thread is the lender, and nobody is inside yet.
    pub(super) fn publish_pointer(&self) {
        self.thread.store(sys::thread_id(), Ordering::Relaxed);
        self.pointer.store(sys::thread_pointer(), Ordering::Release);
    }

    /// The lender lends, until the state is another one. Returns that.
    pub(super) fn lend(&self) -> u32 {
        sys::publish_and_wait(&self.state, LENT)
    }

    /// The calling thread is the lender no more.
    pub(super) fn withdraw(&self) {
        self.pointer.store(0, Ordering::Relaxed);
        self.release();
    }

    /// There is no lender. From here the loan is another thread's.
    pub(super) fn release(&self) {
        // Release: the next lender that takes the loan finds no pointer.
        self.state.store(FREE, Ordering::Release);
    }

    /// The lender's thread pointer; 0 if there is none.
    pub(super) fn pointer(&self) -> usize {
        self.pointer.load(Ordering::Relaxed)
    }

    /// In a forked child: there is no lender any more. Returns the pointer of the one that there was.
    pub(super) fn forget(&self) -> usize {
        self.pointer.swap(0, Ordering::Relaxed)
    }

    /// The calling thread is about to enter.
    #[inline]
    pub(super) fn set_own_pointer(&self) {
        self.own.store(sys::thread_pointer(), Ordering::Relaxed);
    }

    /// In `COPY`: what the lender shall take over.
    pub(super) fn credentials(&self) -> *mut Credentials {
        self.credentials.load(Ordering::Relaxed)
    }

    /// The loan whose lender has that thread pointer. A signal handler may call it.
    pub(super) fn of(pointer: usize) -> Option<&'static Loan> {
        loans().find(|loan| loan.pointer.load(Ordering::Acquire) == pointer)
    }

    /// Whether the calling thread is the lender. A signal handler may call it.
    pub(super) fn is_of_this_thread(&self) -> bool {
        self.thread.load(Ordering::Relaxed) == sys::thread_id()
    }

    /// The own pointer of the thread that is inside.
    pub(super) fn own_pointer(&self) -> usize {
        self.own.load(Ordering::Relaxed)
    }

    /// Makes the lender take over the credentials, and waits until it has. A signal handler may call it.
    ///
    /// The calling thread is inside, so it alone may change the state.
    pub(super) fn copy(&self, credentials: *mut Credentials) {
        self.credentials.store(credentials, Ordering::Relaxed);
        self.set_state(COPY);
        self.wait_while(COPY);
    }
}
