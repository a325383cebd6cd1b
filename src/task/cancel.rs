//! Tokens of cancellation: a signal, given once, in a tree of its own.
//!
//! A token is an [`Event`] that is set for good, and a place in a tree. A child keeps its parent alive, so
//! that what is between it and an ancestor may be forgotten; a parent knows its children by weak
//! references, and each takes itself off when its last handle goes.
//!
//! Invariant: a token whose event is set has no children, and gets none. Both change under the lock of
//! `children`. No two of these locks are held at a time, and no reference to a token is dropped under one.

use super::scope;
use super::{Builder, JoinError};
use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::base::list_lock::ListLock;
use crate::coroutine::{Batch, Event, WaitReason};
use crate::sched;
use crate::select::{EventArm, Order, WaitLimit, select};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::iter::successors;
use std::panic::{Location, RefUnwindSafe, UnwindSafe, resume_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A signal to stop, given once: some look at it, some wait for it, some run under it. As tokio's
/// `CancellationToken` and a cancelled `context` in Go. Clones are the same token.
///
/// A [child](Self::child_token) is cancelled with its parent, but not the other way round.
///
/// ```
/// use sward::task::CancelToken;
///
/// let server = CancelToken::new();
/// let request = server.child_token();
/// let worker = {
///     let request = request.clone();
///     sward::spawn(move || request.wait())
/// };
/// server.cancel();
/// worker.join().unwrap();
/// assert!(request.is_cancelled());
/// ```
#[derive(Clone)]
pub struct CancelToken(Arc<Inner>);

struct Inner {
    event: Event,
    children: ListLock<Children>,
    /// The parent, and our number there. Only `drop` changes it.
    parent: Option<(Arc<Inner>, u64)>,
}

struct Children {
    tokens: BTreeMap<u64, Weak<Inner>>,
    next: u64,
}

impl Inner {
    fn new(event: Event, parent: Option<(Arc<Inner>, u64)>) -> Inner {
        Inner { event, children: ListLock::new(Children { tokens: BTreeMap::new(), next: 0 }), parent }
    }

    fn above(&self) -> Option<&Inner> {
        self.parent.as_ref().map(|(parent, _)| &**parent)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // In a loop, not by recursion: a chain of tokens may be longer than a stack is deep.
        let mut parent = self.parent.take();
        while let Some((above, number)) = parent {
            above.children.lock().tokens.remove(&number);
            parent = Arc::into_inner(above).and_then(|mut above| above.parent.take());
        }
    }
}

impl CancelToken {
    /// A token without a parent.
    pub fn new() -> CancelToken {
        CancelToken(Arc::new(Inner::new(Event::new(), None)))
    }

    /// A token that is cancelled with this one; cancelling it leaves this one alone. It is cancelled from
    /// the start if this one is. When its last clone goes it leaves nothing behind in this one.
    ///
    /// ```
    /// let parent = sward::task::CancelToken::new();
    /// let (one, other) = (parent.child_token(), parent.child_token());
    /// one.cancel();
    /// assert!(!parent.is_cancelled() && !other.is_cancelled());
    /// parent.cancel();
    /// assert!(other.is_cancelled() && parent.child_token().is_cancelled());
    /// ```
    pub fn child_token(&self) -> CancelToken {
        let mut children = self.0.children.lock();
        if self.0.event.is_set() {
            drop(children);
            let event = Event::new();
            event.set_for_good(&mut Batch::new());
            return CancelToken(Arc::new(Inner::new(event, None)));
        }
        let number = children.next;
        children.next += 1;
        let child = Arc::new(Inner::new(Event::new(), Some((Arc::clone(&self.0), number))));
        children.tokens.insert(number, Arc::downgrade(&child));
        CancelToken(child)
    }

    /// Cancels this token and all below it: whoever waits for them is woken. Again is the same as once.
    /// Does not park.
    pub fn cancel(&self) {
        let mut next = vec![Arc::clone(&self.0)];
        while let Some(token) = next.pop() {
            let mut batch = Batch::new();
            let below = {
                let mut children = token.children.lock();
                token.event.set_for_good(&mut batch);
                std::mem::take(&mut children.tokens)
            };
            batch.wake();
            // Without the lock, for which those wait by turns that end meanwhile: there may be very many. One
            // that cannot be upgraded has no handle any more.
            next.extend(below.values().filter_map(Weak::upgrade));
        }
    }

    /// Whether it has been cancelled. It is as soon as one above it is. Looks at each of those.
    pub fn is_cancelled(&self) -> bool {
        // Whoever cancels one above may be on its way down still, and another one's `cancel` has returned.
        successors(Some(&*self.0), |token| token.above()).any(|token| token.event.is_set())
    }

    /// Waits until it is cancelled. Parks the calling coroutine, or blocks the calling thread. A coroutine
    /// that is cancelled itself unwinds out of it.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`wait`](Self::wait), but for that time at most: whether the token is cancelled.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let stop = sward::task::CancelToken::new();
    /// let mut beats = 0;
    /// while !stop.wait_timeout(Duration::from_millis(1)) {
    ///     beats += 1;
    ///     if beats == 3 {
    ///         stop.cancel();
    ///     }
    /// }
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        sched::consume_budget();
        self.is_cancelled()
            || sched::wait_for(&self.0.event, WaitReason::Cancel, deadline).is_ok()
            || self.is_cancelled()
    }

    /// Runs the closure such that the token's cancellation ends it: its present or next wait unwinds, as
    /// with [`JoinHandle::cancel`](super::JoinHandle::cancel). Parks the caller until the closure has returned or was unwound; it may
    /// borrow from the caller. If the token is cancelled already, the closure is not run.
    ///
    /// The closure runs in a coroutine of its own, a [`scope`](super::scope()) around it: it is `Send`, and
    /// has other thread-locals and another [`current`](super::current) than the caller. If the caller is
    /// cancelled or its time limit passes, so is the closure.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] if the token has ended the closure. If the closure was faster, its value is
    /// returned although the token is cancelled. So it is where panics abort: there is no unwinding then.
    /// In a destructor that runs while its coroutine unwinds, also if the runtime's shutdown has ended it.
    ///
    /// # Panics
    ///
    /// If the closure panics, with its payload; if there is no stack for it; on a plain thread, if the
    /// default runtime cannot be started or has shut down.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sward::task::{CancelToken, Cancelled};
    ///
    /// let token = CancelToken::new();
    /// assert_eq!(token.run(|| 6 * 7), Ok(42));
    ///
    /// let later = token.clone();
    /// sward::spawn(move || (sward::sleep(Duration::from_millis(5)), later.cancel()));
    /// let slept = token.run(|| sward::sleep(Duration::from_secs(3600)));
    /// assert_eq!(slept, Err(Cancelled));
    /// ```
    #[track_caller]
    pub fn run<T: Send, F: FnOnce() -> T + Send>(&self, f: F) -> Result<T, Cancelled> {
        if const { is_large::<F>() || is_large::<T>() } {
            let (f, mut value) = (large_box!(f), LargeBox::empty());
            let outcome = self.run_small(|| f.call_into(&mut value));
            value.into_inner_if(outcome)
        } else {
            self.run_small(f)
        }
    }

    #[track_caller]
    fn run_small<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, Cancelled> {
        if self.is_cancelled() {
            return Err(Cancelled);
        }
        let builder = Builder::new().at(Location::caller());
        let outcome = scope::scope(|s| {
            let child = s.spawn_with(&builder, f).unwrap_or_else(super::no_runtime);
            let (mut ended, mut cancelled) = (child.arm(), self.arm());
            let arms = &mut [Some(ended.any()), Some(cancelled.any())];
            select(arms, WaitReason::CancelRun, WaitLimit::Endless, Order::Given);
            if !child.is_finished() {
                child.cancel();
            }
            child.join()
        });
        match outcome {
            Ok(value) => Ok(value),
            Err(JoinError::Panicked(panic)) => resume_unwind(panic.into_payload()),
            Err(JoinError::Cancelled) if self.is_cancelled() => Err(Cancelled),
            Err(error) => {
                // The caller's own time limit, or the runtime's end, which is the caller's as well.
                sched::checkpoint();
                if matches!(error, JoinError::Cancelled) {
                    if std::thread::panicking() {
                        // The caller cannot unwind again.
                        return Err(Cancelled);
                    }
                    if sched::current_coroutine().is_some() {
                        sched::unwind_shutdown();
                    }
                }
                panic!("sward: {error}")
            }
        }
    }

    /// A guard that cancels the token when it is dropped.
    ///
    /// ```
    /// let token = sward::task::CancelToken::new();
    /// drop(token.clone().drop_guard());
    /// assert!(token.is_cancelled());
    /// ```
    pub fn drop_guard(self) -> DropGuard {
        DropGuard(Some(self))
    }

    /// The cancellation as one of the alternatives of a [`Select`](crate::select::Select).
    pub fn arm(&self) -> EventArm<'_> {
        EventArm::new(&self.0.event)
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        CancelToken::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

// Every state of a token is a good one.
impl UnwindSafe for CancelToken {}
impl RefUnwindSafe for CancelToken {}

/// Cancels a token when it is dropped: see [`CancelToken::drop_guard`].
#[derive(Debug)]
#[must_use = "dropping the guard cancels the token"]
pub struct DropGuard(Option<CancelToken>);

impl DropGuard {
    /// Gives the token back without cancelling it.
    ///
    /// ```
    /// let guard = sward::task::CancelToken::new().drop_guard();
    /// assert!(!guard.disarm().is_cancelled());
    /// ```
    pub fn disarm(mut self) -> CancelToken {
        self.0.take().expect("it is there until here")
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        if let Some(token) = &self.0 {
            token.cancel();
        }
    }
}

/// What [`CancelToken::run`] ran was ended by the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancelled")
    }
}

impl Error for Cancelled {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn children(token: &CancelToken) -> usize {
        token.0.children.lock().tokens.len()
    }

    #[test]
    fn children_leave_nothing_behind() {
        let root = CancelToken::new();
        for _ in 0..100_000 {
            let child = root.child_token();
            let _grandchild = child.child_token();
        }
        assert_eq!(children(&root), 0);
        let (first, second) = (root.child_token(), root.child_token());
        assert_eq!(children(&root), 2);
        let grandchild = first.child_token();
        drop(first);
        assert_eq!(children(&root), 2, "a grandchild keeps what is between");
        drop((grandchild, second));
        assert_eq!(children(&root), 0);
        assert_eq!(Arc::strong_count(&root.0), 1);
    }

    /// Neither cancelling nor dropping a long chain recurses.
    #[test]
    fn a_chain_may_be_longer_than_a_stack_is_deep() {
        crate::run(|| {
            for cancel in [false, true] {
                let root = CancelToken::new();
                let mut last = root.clone();
                for _ in 0..100_000 {
                    last = last.child_token();
                }
                if cancel {
                    root.cancel();
                    assert!(last.is_cancelled());
                }
                drop(root);
                drop(last);
            }
        });
    }

    #[test]
    fn a_cancelled_token_keeps_no_children() {
        let root = CancelToken::new();
        let child = root.child_token();
        root.cancel();
        assert!(child.is_cancelled() && root.child_token().is_cancelled());
        assert_eq!(children(&root), 0);
    }
}
