//! The word that a server shuts down, for futures.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Set once. The tasks of the connections wait for it beside their own work.
///
/// Invariant: `stopped` is set under the lock. So a task that registers either sees it, or is woken.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    stopped: AtomicBool,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    /// A place for each connection; `None` if it is free.
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self) {
        let wakers = {
            let mut places = self.lock();
            self.stopped.store(true, Ordering::Release);
            std::mem::take(&mut places.wakers)
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    pub(crate) fn is_set(&self) -> bool {
        // Acquire: pairs with the store in `set`.
        self.stopped.load(Ordering::Acquire)
    }

    pub(crate) fn listen(&self) -> Listening<'_> {
        Listening { stop: self, registered: None }
    }
}

/// One connection's registration. Dropping it ends the registration.
pub(crate) struct Listening<'a> {
    stop: &'a Stop,
    /// The place, and the waker in it.
    registered: Option<(usize, Waker)>,
}

impl Listening<'_> {
    /// Ready once it is set. Otherwise the task is woken then.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.stop.is_set() {
            return Poll::Ready(());
        }
        // A connection asks in each of its polls, nearly always with the same waker, and all share the lock.
        if self.registered.as_ref().is_some_and(|(_, waker)| waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        // Cloning and dropping a waker runs foreign code, so not under the lock.
        let (new, own) = (context.waker().clone(), context.waker().clone());
        let mut places = self.stop.lock();
        if self.stop.is_set() {
            return Poll::Ready(());
        }
        let place = match self.registered.as_ref().map(|(place, _)| *place).or_else(|| places.free.pop()) {
            Some(place) => place,
            None => {
                places.wakers.push(None);
                places.wakers.len() - 1
            }
        };
        let former = places.wakers[place].replace(new);
        drop(places);
        drop(former);
        self.registered = Some((place, own));
        Poll::Pending
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let Some((place, _)) = self.registered else { return };
        let mut places = self.stop.lock();
        if self.stop.is_set() {
            return;
        }
        let former = places.wakers[place].take();
        places.free.push(place);
        drop(places);
        drop(former);
    }
}
