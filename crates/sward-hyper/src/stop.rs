//! The word that a server shuts down, for futures.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Set once. The tasks of the connections wait for it beside their own work.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    /// A place for each connection; `None` if it is free.
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self) {
        let wakers = {
            let mut state = self.lock();
            state.stopped = true;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.lock().stopped
    }

    pub(crate) fn listen(&self) -> Listening<'_> {
        Listening { stop: self, place: None }
    }
}

/// One connection's registration. Dropping it ends the registration.
pub(crate) struct Listening<'a> {
    stop: &'a Stop,
    place: Option<usize>,
}

impl Listening<'_> {
    /// Ready once it is set. Otherwise the task is woken then.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Cloning a waker runs foreign code, so not under the lock.
        let new = context.waker().clone();
        let mut state = self.stop.lock();
        if state.stopped {
            return Poll::Ready(());
        }
        let place = match self.place.or_else(|| state.free.pop()) {
            Some(place) => place,
            None => {
                state.wakers.push(None);
                state.wakers.len() - 1
            }
        };
        self.place = Some(place);
        let former = state.wakers[place].replace(new);
        drop(state);
        drop(former);
        Poll::Pending
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut state = self.stop.lock();
        if state.stopped {
            return;
        }
        let former = state.wakers[place].take();
        state.free.push(place);
        drop(state);
        drop(former);
    }
}
