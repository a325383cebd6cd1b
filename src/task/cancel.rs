//! Cancellation tokens: a signal that is given once, in a tree of tokens. (The cancellation of a coroutine is
//! a bit in its waiter's word: `coroutine/waiter.rs`.)
//!
//! # The problem
//!
//! A program wants to stop a server with all its requests, or one request with all its parts. Many coroutines
//! poll the signal or wait for it, and tokens come and go while it is given. Nobody may miss it, and a token
//! that ends must leave nothing behind in its parent.
//!
//! # Terms
//!
//! A [`CancelToken`] and its clones are handles to one [`Inner`]: an *event*, which is set for good when the
//! token is cancelled, and the *children* with a lock of their own. A token holds its parent by a strong
//! reference, so the path to the root exists as long as it does. A parent holds its children by weak
//! references; each child removes its own when its last handle is dropped.
//!
//! # States
//!
//! ```text
//!  LIVE        the event is empty    any children
//!  CANCELLED   the event is set      no children, for ever
//!
//!  LIVE -> CANCELLED   `cancel` of the token itself or of one above it: under the lock of `children` it sets
//!                      the event and takes the list; without the lock it goes on with each child
//!
//!  a new child   LIVE and listed       if its parent is LIVE, under the lock of the parent's `children`
//!                CANCELLED, no parent  otherwise
//!  is unlisted   when its last handle is dropped (`Inner::drop`), or by the `cancel` of its parent
//! ```
//!
//! # Why no cancellation is lost
//!
//! 1. *A child that is made during a `cancel` of its parent.* Both hold the lock of `children`. Either the
//!    child is listed first, and `cancel` takes it with the list. Or the event is set first, and the child is
//!    made CANCELLED.
//! 2. *A waiter.* `cancel` reaches each token below, and sets its event for good. That wakes all waiters, and
//!    a later wait returns at once ([`Event`]).
//! 3. *A poll after another thread's `cancel`.* Thread A cancels the root and is half-way down. Thread B
//!    cancels the root as well: it finds no children and returns. B may now expect that each token below is
//!    cancelled, although A has not reached all of them. So [`is_cancelled`](CancelToken::is_cancelled)
//!    checks the events of all tokens above, too.
//! 4. *A weak reference that cannot be upgraded.* The child has no handle, and no child of its own that has
//!    one, since that would hold it: nobody could see its cancellation.
//!
//! # Locks
//!
//! No two locks of `children` are held at a time. No reference to a token is dropped under one, since its
//! destructor takes the lock of the parent. Neither `cancel` nor the destructor recurses: a chain of tokens
//! may be longer than a stack is deep.
//!
//! # Rejected
//!
//! - *Strong references to children*: a server's token would keep the token of every request that ever was.
//! - *No propagation; each token only checks those above it*: a waiter would have to be listed in the events
//!   of all of them.
//! - *One lock for the whole tree*: all requests of a server would contend for it, each at its begin and its
//!   end.

use super::scope;
use super::{Builder, JoinError};
use crate::base::clock;
use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::base::list_lock::ListLock;
use crate::coroutine::{Batch, Event, Facts, Subject, WaitReason, Why};
use crate::runtime::polled::{ArmFuture, Waits, let_others_go_first};
use crate::runtime::spawn::no_runtime;
use crate::sched;
use crate::select::{EventArm, Order, WaitLimit, select};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::iter::successors;
use std::panic::{Location, RefUnwindSafe, UnwindSafe, resume_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A signal to stop, given once. Coroutines and threads poll it ([`is_cancelled`](Self::is_cancelled)), wait
/// for it ([`wait`](Self::wait)), or run code that it ends ([`run`](Self::run)). Clones are the same token.
/// The same as tokio's `CancellationToken`, and as a cancelled `context` in Go.
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
#[doc(alias("context", "CancellationToken", "WithCancel"))]
pub struct CancelToken(Arc<Inner>);

struct Inner {
    /// Set for good when the token is cancelled, under the lock of `children`.
    event: Event,
    /// Empty once the event is set.
    children: ListLock<Children>,
    /// The parent, and our number in its `children`. Only `drop` changes it.
    parent: Option<(Arc<Inner>, u64)>,
}

struct Children {
    tokens: BTreeMap<u64, Weak<Inner>>,
    /// The number of the next child.
    next: u64,
}

// SAFETY: the address alone.
unsafe impl Subject for Inner {
    fn facts(&self) -> Facts {
        Facts::Signal { at: std::ptr::from_ref(self).addr() }
    }
}

impl Inner {
    fn new(event: Event, parent: Option<(Arc<Inner>, u64)>) -> Inner {
        Inner { event, children: ListLock::new(Children { tokens: BTreeMap::new(), next: 0 }), parent }
    }

    fn parent(&self) -> Option<&Inner> {
        self.parent.as_ref().map(|(parent, _)| &**parent)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A loop instead of recursion: a chain of tokens may be longer than a stack is deep.
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

    /// A token that is cancelled with this one; cancelling it leaves this one alone. If this one is cancelled
    /// already, so is the child. When the last clone of the child is dropped, it leaves nothing behind in
    /// this one. Does not park.
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

    /// Cancels this token and all tokens below it, and wakes all that wait for them. Calling it again has no
    /// effect. Does not park.
    pub fn cancel(&self) {
        let mut pending = vec![Arc::clone(&self.0)];
        while let Some(token) = pending.pop() {
            let mut batch = Batch::new();
            let children = {
                let mut children = token.children.lock();
                token.event.set_for_good(&mut batch);
                std::mem::take(&mut children.tokens)
            };
            batch.wake();
            // Without the lock: there may be very many children, and some that end meanwhile wait for it. A
            // child that cannot be upgraded has no handle any more.
            pending.extend(children.values().filter_map(Weak::upgrade));
        }
    }

    /// Whether this token, or one above it, has been cancelled. Checks each of them. Does not park.
    pub fn is_cancelled(&self) -> bool {
        // Another thread's `cancel` of a token above may not have come down to this one yet: argument 3.
        successors(Some(&*self.0), |token| token.parent()).any(|token| token.event.is_set())
    }

    /// Waits until the token is cancelled. Parks. A coroutine that is cancelled itself unwinds out of it.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`wait`](Self::wait), as a future, for code on any executor; the same as `cancelled` in tokio. Does
    /// not park, and needs no runtime. The waker is called where the token is cancelled.
    ///
    /// ```
    /// let token = sward::task::CancelToken::new();
    /// let theirs = token.clone();
    /// sward::spawn(move || theirs.cancel());
    /// sward::block_on(token.wait_async());
    /// ```
    pub async fn wait_async(&self) {
        let_others_go_first().await;
        if !self.is_cancelled() {
            // SAFETY: the arm holds nothing, and refers to the token.
            unsafe { ArmFuture::<_, ()>::new(self.arm(), Waits::Watching) }.await;
        }
    }

    /// As [`wait`](Self::wait), but for that time at most. Returns whether the token is cancelled.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let stop = sward::task::CancelToken::new();
    /// let mut rounds = 0;
    /// while !stop.wait_timeout(Duration::from_millis(1)) {
    ///     rounds += 1;
    ///     if rounds == 3 {
    ///         stop.cancel();
    ///     }
    /// }
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(clock::now().checked_add(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        sched::consume_budget();
        self.is_cancelled()
            || sched::wait_for(&self.0.event, Why::new(WaitReason::Cancel, &*self.0), deadline).is_ok()
            || self.is_cancelled()
    }

    /// Runs the closure until it ends or the token is cancelled: then its present wait, or its next
    /// [cancellation point](super#cancellation), unwinds. Parks until the closure has returned or was
    /// unwound. It may borrow from the caller. If the token is cancelled already, the closure is not run.
    ///
    /// The closure runs in a coroutine of its own, inside a [`scope`](super::scope()). So it must be `Send`,
    /// and it has other thread-locals and another [`current`](super::current) than the caller. Each call
    /// costs a spawn, and while the closure waits there are two stacks. If the caller is cancelled or its
    /// time limit passes, the closure is cancelled.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] if the token has ended the closure. If the closure has ended first, its value is
    /// returned, although the token is cancelled. This is always so with `panic = "abort"`, where nothing
    /// unwinds. In a [`mask()`](super::mask()), and in a destructor that runs while its coroutine unwinds,
    /// `Cancelled` also if the shutdown of the runtime has ended the closure.
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
            let child = s.spawn_with(&builder, f).unwrap_or_else(no_runtime);
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
            Err(error) if error.interruption().is_some() && self.is_cancelled() => Err(Cancelled),
            Err(error) => {
                // The caller's own time limit, or the shutdown of the runtime, which is the caller's as well.
                sched::checkpoint();
                if error.interruption().is_some() {
                    if std::thread::panicking() || sched::is_masked() {
                        // The caller unwinds already, or nothing may unwind through it.
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

    /// Returns a guard that cancels the token when it is dropped.
    ///
    /// ```
    /// let token = sward::task::CancelToken::new();
    /// drop(token.clone().drop_guard());
    /// assert!(token.is_cancelled());
    /// ```
    pub fn drop_guard(self) -> DropGuard {
        DropGuard(Some(self))
    }

    /// The cancellation as an alternative of a [`Select`](crate::select::Select).
    pub fn arm(&self) -> EventArm<'_> {
        EventArm::new(&self.0.event).of(&*self.0)
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

// No panic leaves a token in an inconsistent state.
impl UnwindSafe for CancelToken {}
impl RefUnwindSafe for CancelToken {}

/// Cancels a token when it is dropped: see [`CancelToken::drop_guard`].
#[derive(Debug)]
#[must_use = "dropping the guard cancels the token"]
#[doc(alias = "defer")]
pub struct DropGuard(Option<CancelToken>);

impl DropGuard {
    /// Returns the token without cancelling it.
    ///
    /// ```
    /// let guard = sward::task::CancelToken::new().drop_guard();
    /// assert!(!guard.disarm().is_cancelled());
    /// ```
    pub fn disarm(mut self) -> CancelToken {
        self.0.take().expect("only `disarm` takes it")
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        if let Some(token) = &self.0 {
            token.cancel();
        }
    }
}

/// The token has ended the closure of [`CancelToken::run`].
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
