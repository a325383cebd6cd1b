//! What keeps the peer from answering.

use std::fmt;
use std::sync::{Arc, PoisonError};
use sward::sync::{Condvar, Mutex, MutexGuard};

/// The peer's side of an operation that stays unanswered until the gate opens. Each call may block its
/// thread.
pub trait Gate: Sync {
    /// From now on the peer does not answer.
    fn close(&self);

    /// The peer answers what waits, and what comes later.
    fn open(&self);

    /// How many operations the peer has at the moment that it does not answer.
    fn waiting(&self) -> usize;

    /// How many connections the peer has, where it can say it.
    fn connections(&self) -> Option<usize> {
        None
    }
}

/// A gate for a peer within this process: [`pass`](Self::pass) is the operation.
#[derive(Clone, Default)]
pub struct Local(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    closed: bool,
    waiting: usize,
}

impl Local {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the gate is closed. A coroutine parks.
    pub fn pass(&self) {
        let _waiting = self.enter();
        let open = |state: &mut State| state.closed;
        drop(self.0.1.wait_while(self.lock(), open).unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts an operation that waits elsewhere, until the result is dropped.
    pub fn enter(&self) -> Entered<'_> {
        self.lock().waiting += 1;
        Entered(self)
    }
}

impl Gate for Local {
    fn close(&self) {
        self.lock().closed = true;
    }

    fn open(&self) {
        self.lock().closed = false;
        self.0.1.notify_all();
    }

    fn waiting(&self) -> usize {
        self.lock().waiting
    }
}

/// An operation of [`Local::enter`].
pub struct Entered<'a>(&'a Local);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

impl fmt::Debug for Entered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entered")
    }
}
