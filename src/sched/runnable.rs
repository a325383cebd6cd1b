//! An item of a run queue, and the two ways in which a coroutine ends: after its last turn, or without one.

use super::home::Home;
use crate::coroutine::{Batch, Header, Waiter};
use std::ptr::NonNull;

/// A coroutine in a queue: with it comes the right to run it. Or a mobile home, likewise: the address of one
/// plus [`HOME`].
pub(crate) struct Runnable(pub(super) NonNull<Waiter>);

/// The bit that marks the address of a home. Waiters have even addresses.
const HOME: usize = 1;
const _: () = assert!(align_of::<Waiter>() > HOME && align_of::<Home<()>>() > HOME);

// SAFETY: the right to run a coroutine, or a home, passes with this, and the queues synchronize.
unsafe impl Send for Runnable {}

impl Runnable {
    /// A mobile home.
    pub(super) fn of_home<R>(home: &Home<R>) -> Runnable {
        Runnable(NonNull::from(home).map_addr(|address| address | HOME).cast())
    }

    /// The home, if it is one. `R` is the runtime of the queue in which the item was.
    #[inline]
    pub(super) fn home<R>(&self) -> Option<NonNull<Home<R>>> {
        let is_home = self.0.addr().get() & HOME != 0;
        is_home.then(|| self.0.map_addr(|address| (address.get() - HOME).try_into().expect("no null")).cast())
    }
}

/// Ends a coroutine that will not run: the error of its joiner is `ShutDown`, or that of a cancellation which
/// came before. A started one is leaked.
pub(super) fn discard(item: Runnable) {
    // The coroutines of a home are leaked.
    if item.home::<()>().is_some() {
        return;
    }
    let this: NonNull<Header> = item.0.cast();
    // SAFETY: the thread that takes a coroutine from a queue owns it, and it is alive.
    if unsafe { this.as_ref().started() } {
        return;
    }
    // SAFETY: we own it, and it is alive.
    let why = unsafe { this.as_ref().interruption() };
    // SAFETY: we own it, and it has not been started.
    unsafe { Header::fail(this, why.into()) };
    conclude(this);
}

/// Wakes the joiner of a coroutine that has ended, and releases the scheduler's reference.
#[inline]
pub(super) fn conclude(this: NonNull<Header>) {
    // SAFETY: alive until `release`.
    let header = unsafe { this.as_ref() };
    // SAFETY: we own it, it has ended, and the caller has taken it off the list of its home.
    if !unsafe { header.ends_unseen() } {
        let mut batch = Batch::new();
        header.done.set_for_good(&mut batch);
        batch.wake();
    }
    // SAFETY: it has ended, and we do not touch it again.
    unsafe { Header::release(this) };
}
