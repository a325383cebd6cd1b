//! A source: an open file that coroutines and threads can wait for, with its readiness in both directions.
//!
//! # The problem
//!
//! Callers make non-blocking calls on the file, and wait when a call would block. No event of the kernel may
//! be lost between such a call and the wait, and no caller may meet another file under the same descriptor
//! number after `close`.
//!
//! # Terms
//!
//! - *Readiness event*: the flag "a call in this direction may succeed" with its waiters
//!   (`coroutine::event`). A new source is "maybe ready": both events are set, so the first call is made
//!   without a wait.
//! - *Consume*: take the event, before the call that may use the readiness up.
//! - *Bound*: in the table of a shard, whose poller then sets the events.
//! - *Closed*: `close` was called. The descriptor stays open until the source is dropped.
//!
//! # States
//!
//! | from, to | by | cause |
//! |---|---|---|
//! | unbound, bound | `join` | a call would block, and the source is in no shard |
//! | bound, bound elsewhere | `follow` | its user stays on the worker of another shard |
//! | bound, unbound | `Shard::retire` | the runtime ends; the next call that would block joins another shard |
//! | bound, unbound | `close`, `into_fd`, drop | the end of its use |
//! | open, closed | `close` | its owner has called it; never undone |
//!
//! A source joins the shard of the worker on which the first waiting coroutine runs. So a connection that is
//! accepted on one worker and handled on another is registered once, where its events are needed. The user of
//! an activation is a new coroutine each time, and may be on another worker each time: `follow` is for that.
//!
//! # Why no event is lost
//!
//! - *An edge between a call and its wait.* The caller has consumed the event before the call, so the
//!   poller's `set` is kept, and the caller finds the event set when it lists itself.
//! - *A change before `join`.* Adding a descriptor reports its state at that time. If two callers join at
//!   once, the lock of `binding` makes one registration. The other caller reads `bound` as true (release,
//!   acquire), so the shard's events are for it as well.
//! - *`follow`.* All of it takes place under the lock of `binding`, so `arm`, `bind` and `close` see the
//!   source before or after. It joins the new shard first, then leaves the old one. For a moment both watch
//!   it: two reports of one edge are harmless. From the moment it has joined, the new shard reports each
//!   edge; what came before is a state by then, which joining reports, in both directions. So nothing is lost
//!   with an event that the old shard's poll has fetched, and has not handled when the key is gone. Joining
//!   arms both directions of a one-shot back-end, so waiters that were listed before need not arm again. The
//!   new key names the same readiness, and the old one names nothing for ever. If the new shard refuses the
//!   source, the old one has it still.
//! - *`follow` while a shard retires.* The readiness counts its shards, so it is bound as long as one of the
//!   two has it. If the old shard retires meanwhile, its waiters wake, find the source bound, and wait again.
//!   If the new one does, they may find it bound for as long as it is in the old one. So `follow`, which has
//!   taken it out of there, looks once more, and wakes all waiters if it is in no shard.
//! - *One-shot back-ends.* The waiter lists itself, then arms its direction; arming reports the state.
//! - *`close`.* It sets `closed` before it sets the events for good. So a waiter that these wake, or that
//!   comes later and finds them set, sees that the source is closed.
//! - *A shard that retires.* The source is unbound before the shard fires the waiters, so each of them joins
//!   another shard, or fails with it. A waiter that has seen the source bound before, and lists itself later,
//!   finds the event set.
//!
//! # Rejected
//!
//! - *`close` closes the descriptor.* Its number may be another file's at once, and a caller that is about to
//!   make its call would meet that file. So the number is freed only with the last owner of the source.
//! - *Registration when the file is opened.* It costs a system call for files that never block, and is on the
//!   wrong worker for a connection that another worker handles.

use super::affinity::Affinity;
use super::event::{Direction, Key};
use super::fd::{is_ready, wait_on_thread};
use super::readiness::{Interest, Readiness};
use super::shard::Shard;
use super::sys::one_shot;
use crate::base::backoff::Backoff;
use crate::base::fork;
use crate::base::lock::{Mutex, Rank};
use crate::base::sys::{calls, set_nonblocking};
use crate::coroutine::{Awaiting, Batch, Event};
use once_cell::race::OnceBox;
use std::io::{self, PipeReader, PipeWriter};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// An open file that can be waited for.
///
/// Invariant: the descriptor is open for as long as the source lives.
pub(crate) struct Source {
    fd: OwnedFd,
    readiness: Arc<Readiness>,
    /// The shard that it has joined. Stale once that shard has retired: then `readiness` is not bound.
    binding: Mutex<Option<(Arc<Shard>, Key)>>,
    /// Whether the file is known to be non-blocking.
    nonblocking: AtomicBool,
    closed: AtomicBool,
    affinity: Affinity,
    /// What few sources have.
    extras: OnceBox<Extras>,
}

/// What few sources have. It is apart from the others, which are small.
#[derive(Default)]
struct Extras {
    /// For files whose blocked threads nothing else can wake.
    close_pipe: Option<Mutex<ClosePipe>>,
    /// The future that waits for the source to be readable.
    read: Slot,
    /// The future that waits for it to be writable.
    write: Slot,
}

/// A future's registration.
type Slot = std::sync::Mutex<Option<Awaiting<Interest>>>;

/// A pipe whose writing end `close` closes. It wakes the plain threads that block on a file of a kind that
/// has no `shutdown`: they wait for the reading end as well.
#[derive(Debug, Default)]
enum ClosePipe {
    /// No thread has blocked so far. The first one makes the pipe.
    #[default]
    Absent,
    /// Threads may be blocked on the reading end.
    Open { reader: Arc<PipeReader>, _writer: PipeWriter },
    /// `close` has dropped the writing end: no thread blocks any more.
    Closed,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("fd", &self.fd.as_raw_fd()).finish_non_exhaustive()
    }
}

impl Source {
    /// A source that makes its file non-blocking at the first operation.
    pub(crate) fn new(fd: OwnedFd) -> Source {
        Source {
            fd,
            readiness: Arc::new(Readiness::new()),
            binding: Mutex::new(Rank::Binding, None),
            nonblocking: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            affinity: Affinity::default(),
            extras: OnceBox::new(),
        }
    }

    /// A source whose file is known to be non-blocking.
    #[cfg_attr(target_vendor = "apple", allow(dead_code))]
    pub(crate) fn new_nonblocking(fd: OwnedFd) -> Source {
        let source = Source::new(fd);
        source.nonblocking.store(true, Ordering::Relaxed);
        source
    }

    /// A source whose file is known to be non-blocking, and of a kind that has no `shutdown`, which would
    /// wake threads that block on it. `close` wakes them by a pipe.
    pub(crate) fn new_with_close_pipe(fd: OwnedFd) -> Source {
        let mut source = Source::new_nonblocking(fd);
        let close_pipe = Some(Mutex::new(Rank::Binding, ClosePipe::Absent));
        source.extras = OnceBox::with_value(Box::new(Extras { close_pipe, ..Extras::default() }));
        source
    }

    /// The same source, for calls that block on different conditions: one may find nothing where another
    /// would succeed. Each event wakes all waiters of its direction, and each of them makes its call, even if
    /// another waiter has consumed the event.
    pub(crate) fn selective(mut self) -> Source {
        Arc::get_mut(&mut self.readiness).expect("it is in no shard yet").make_selective();
        self
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The readiness event of one direction.
    pub(crate) fn event(&self, direction: Direction) -> &Event {
        self.readiness.event(direction)
    }

    /// Sets the event of one direction, as the shard does when the kernel reports readiness.
    #[inline]
    pub(crate) fn set_ready(&self, direction: Direction, batch: &mut Batch) {
        self.readiness.set_ready(direction, batch);
    }

    /// How often a selective source was reported as ready; `None` for other sources. A waiter of a selective
    /// source reads it before its call and again once it is listed, and waits only if both are equal: another
    /// caller may have consumed an event in between.
    #[inline]
    pub(crate) fn times_ready(&self) -> Option<usize> {
        self.readiness.times_ready()
    }

    /// Fails with `NotConnected` after `close`.
    #[inline]
    pub(crate) fn check_open(&self) -> io::Result<()> {
        if self.is_closed() {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "it was closed"));
        }
        Ok(())
    }

    /// As `check_open`, before a call that must not block: makes the file non-blocking if it is not yet.
    #[inline]
    pub(crate) fn prepare(&self) -> io::Result<()> {
        self.check_open()?;
        // Pairs with `make_nonblocking`: otherwise the caller's call could still block its worker.
        if !self.nonblocking.load(Ordering::Acquire) {
            self.make_nonblocking()?;
        }
        Ok(())
    }

    /// Whether `close` was called.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Joins that shard if the source is in none. Call this before a wait for an event.
    #[inline]
    pub(crate) fn join(&self, shard: &Arc<Shard>) -> io::Result<()> {
        if !self.readiness.is_bound() {
            self.bind(shard)?;
        }
        Ok(())
    }

    /// Notes that the caller, who is the only reader of the source, has used it on the worker of that shard,
    /// at that tick of the netpoller thread. If the source is in another shard, and `affinity` says so, it
    /// moves to this one, unless that one refuses it. Returns whether it has moved. Call this before the next
    /// wait, and wake the batch.
    pub(crate) fn follow(&self, shard: &Arc<Shard>, tick: u64, batch: &mut Batch) -> bool {
        let mut binding = self.binding.lock();
        match &*binding {
            None => return false,
            Some((from, _)) if Arc::ptr_eq(from, shard) => {
                self.affinity.note_at_home();
                return false;
            }
            Some(_) if self.affinity.note_elsewhere(tick) => {}
            Some(_) => return false,
        }
        fork::check();
        self.change_shard(&mut binding, shard, batch)
    }

    fn change_shard(
        &self,
        binding: &mut Option<(Arc<Shard>, Key)>,
        to: &Arc<Shard>,
        batch: &mut Batch,
    ) -> bool {
        let Some((from, key)) = &*binding else { return false };
        let Ok(new_key) = to.add(self.fd(), &self.readiness) else { return false };
        // If it has retired, the source has left it already.
        from.remove(self.fd(), *key);
        *binding = Some((Arc::clone(to), new_key));
        if !self.readiness.is_bound() {
            // `to` has retired meanwhile. The waiters that it woke may have found the source bound.
            self.readiness.set_all(batch);
        }
        true
    }

    /// The same for a use on the worker of its shard.
    pub(crate) fn stay(&self) {
        self.affinity.note_at_home();
    }

    /// Whether it is in no shard.
    pub(crate) fn is_unbound(&self) -> bool {
        !self.readiness.is_bound()
    }

    /// Asks a one-shot back-end for that direction's next event. Call this once the waiter is listed, so that
    /// the event finds it.
    #[inline]
    pub(crate) fn arm(&self, direction: Direction) {
        // A forked child must not write to queues that it shares with its parent.
        if one_shot()
            && !fork::forked()
            && let Some((shard, key)) = &*self.binding.lock()
        {
            shard.arm(*key, direction);
        }
    }

    /// As `arm`, for the remaining waiters. A waiter that has used up the event and leaves calls this.
    #[inline]
    pub(crate) fn rearm_for_others(&self, direction: Direction) {
        if one_shot() && self.event(direction).has_waiters() {
            self.arm(direction);
        }
    }

    #[cold]
    fn bind(&self, shard: &Arc<Shard>) -> io::Result<()> {
        fork::check();
        let mut binding = self.binding.lock();
        if !self.readiness.is_bound() {
            *binding = Some((Arc::clone(shard), shard.add_unarmed(self.fd(), &self.readiness)?));
        }
        Ok(())
    }

    /// Ends the use of the file: fires all waiters, and makes each later `prepare` fail.
    pub(crate) fn close(&self, batch: &mut Batch) {
        // Before the events: a waiter that they wake must find the source closed.
        self.closed.store(true, Ordering::Release);
        self.unbind();
        self.readiness.read.set_for_good(batch);
        self.readiness.write.set_for_good(batch);
        if let Some(pipe) = self.close_pipe() {
            *pipe.lock() = ClosePipe::Closed;
        }
    }

    /// Blocks the thread until the file is ready in that direction, in error or closed. Returns false if the
    /// deadline has passed. All waits of one call share a `backoff`; see `fd::wait_on_thread`.
    pub(crate) fn wait_on_thread(
        &self,
        direction: Direction,
        deadline: Option<Instant>,
        backoff: &mut Backoff,
    ) -> io::Result<bool> {
        let reader = match self.close_pipe() {
            None => None,
            Some(pipe) => match pipe.lock().reader()? {
                None => return Ok(true),
                reader => reader,
            },
        };
        let interrupt = reader.as_ref().map(|reader| reader.as_fd());
        wait_on_thread(self.fd(), interrupt, direction, deadline, backoff)
    }

    /// Whether the file's state makes each wait in that direction return at once, although a call has just
    /// found that it would block. An edge-triggered back-end reports only changes, so there it is never so.
    pub(crate) fn stays_ready(&self, direction: Direction) -> io::Result<bool> {
        Ok(one_shot() && is_ready(self.fd(), direction)?)
    }

    /// Has the waker woken when the source may be ready in that direction, in place of the waker of the last
    /// call. False, and nothing is registered, if the event is set. As before a wait, the caller has joined a
    /// shard.
    pub(crate) fn register(&self, direction: Direction, waker: &Waker) -> bool {
        let interest = Interest::new(Arc::clone(&self.readiness), direction);
        let Some(awaiting) = Awaiting::list(interest, waker.clone()) else { return false };
        self.arm(direction);
        let extras = self.extras.get_or_init(Box::default);
        let slot = match direction {
            Direction::Read => &extras.read,
            Direction::Write => &extras.write,
        };
        let former = slot.lock().unwrap_or_else(PoisonError::into_inner).replace(awaiting);
        // Not under the lock: dropping a waker runs a user's code.
        drop(former);
        true
    }

    /// Leaves the shard and returns the descriptor, which stays non-blocking if it is.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.unbind();
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is neither used as a whole again nor dropped. Each field that owns anything is
        // dropped or moved out here, once.
        unsafe {
            std::ptr::drop_in_place(&raw mut this.readiness);
            std::ptr::drop_in_place(&raw mut this.binding);
            std::ptr::drop_in_place(&raw mut this.extras);
            std::ptr::read(&raw const this.fd)
        }
    }

    fn close_pipe(&self) -> Option<&Mutex<ClosePipe>> {
        self.extras.get()?.close_pipe.as_ref()
    }

    fn unbind(&self) {
        // A forked child shares the kernel's side of the shard with its parent, which still watches the file.
        if fork::forked() {
            return;
        }
        if let Some((shard, key)) = self.binding.lock().take() {
            shard.remove(self.fd(), key);
        }
    }

    #[cold]
    fn make_nonblocking(&self) -> io::Result<()> {
        set_nonblocking(self.fd(), true)?;
        // Release: the mode of the file was changed before.
        self.nonblocking.store(true, Ordering::Release);
        Ok(())
    }
}

impl ClosePipe {
    /// The reading end, with a new pipe if there is none yet; `None` after `close`.
    fn reader(&mut self) -> io::Result<Option<Arc<PipeReader>>> {
        if let ClosePipe::Absent = self {
            let (reader, writer) = io::pipe()?;
            *self = ClosePipe::Open { reader: Arc::new(reader), _writer: writer };
        }
        Ok(match self {
            ClosePipe::Open { reader, .. } => Some(Arc::clone(reader)),
            _ => None,
        })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.unbind();
        calls::closing(self.fd.as_raw_fd());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::netpoll::Events;
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Duration;

    const ROUNDS: usize = 2_000;
    const LONG: Duration = Duration::from_secs(120);

    /// Two shards, which their threads poll until the closure has returned.
    fn with_two_shards(f: impl FnOnce(&[Arc<Shard>; 2])) {
        let shards = [(); 2].map(|()| Arc::new(Shard::new().expect("a shard")));
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for shard in &shards {
                scope.spawn(|| {
                    let mut events = Events::with_capacity(8);
                    while !over.load(Ordering::Relaxed) {
                        let mut batch = Batch::new();
                        shard.poll(&mut events, Some(Duration::from_millis(1)), &mut batch).expect("a poll");
                        batch.wake();
                    }
                });
            }
            f(&shards);
            over.store(true, Ordering::Relaxed);
        });
    }

    fn change(source: &Source, to: &Arc<Shard>) -> bool {
        let mut batch = Batch::new();
        let changed = source.change_shard(&mut source.binding.lock(), to, &mut batch);
        batch.wake();
        changed
    }

    fn source() -> (UnixStream, UnixStream, Source) {
        let (near, far) = UnixStream::pair().expect("a pair");
        near.set_nonblocking(true).expect("non-blocking");
        let source = Source::new_nonblocking(near.try_clone().expect("a descriptor").into());
        (near, far, source)
    }

    /// Bytes come while the source changes its shard, each at another moment of that.
    #[test]
    fn no_edge_is_lost_while_a_source_changes_its_shard() {
        let (mut near, mut far, source) = source();
        let received = AtomicUsize::new(0);
        with_two_shards(|shards| {
            source.join(&shards[0]).expect("joined");
            thread::scope(|scope| {
                scope.spawn(|| {
                    for round in 0..ROUNDS {
                        while received.load(Ordering::Acquire) < round {
                            thread::yield_now();
                        }
                        (0..round % 64 * 8).for_each(|_| std::hint::spin_loop());
                        far.write_all(&[round as u8]).expect("written");
                    }
                });
                let (mut byte, mut at) = ([0], 0);
                for round in 0..ROUNDS {
                    let began = Instant::now();
                    source.event(Direction::Read).consume();
                    while let Err(error) = near.read(&mut byte) {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        // Both shards may have reported the last byte: then this is the second time.
                        at = 1 - at;
                        assert!(change(&source, &shards[at]));
                        source.arm(Direction::Read);
                        while !source.event(Direction::Read).is_set() {
                            assert!(began.elapsed() < LONG, "the event of byte {round} is lost");
                            thread::yield_now();
                        }
                        source.event(Direction::Read).consume();
                    }
                    assert_eq!(byte[0], round as u8);
                    received.store(round + 1, Ordering::Release);
                }
            });
            drop(source);
            assert_eq!(shards.each_ref().map(|shard| shard.watched()), [0, 0]);
        });
    }

    /// Whichever comes first, no shard watches the source afterwards.
    #[test]
    fn a_source_that_is_closed_while_it_changes_its_shard_leaves_both() {
        with_two_shards(|shards| {
            for round in 0..ROUNDS / 4 {
                let (_near, _far, source) = source();
                source.join(&shards[0]).expect("joined");
                let begin = std::sync::Barrier::new(2);
                thread::scope(|scope| {
                    scope.spawn(|| {
                        begin.wait();
                        (0..round % 64).for_each(|_| std::hint::spin_loop());
                        let mut batch = Batch::new();
                        source.close(&mut batch);
                        batch.wake();
                    });
                    begin.wait();
                    change(&source, &shards[1]);
                    change(&source, &shards[0]);
                });
                assert!(source.is_unbound() && source.is_closed());
                assert!(source.event(Direction::Read).is_set());
                assert_eq!(shards.each_ref().map(|shard| shard.watched()), [0, 0]);
            }
        });
    }

    /// Others see no moment in which the source is in no shard: they would join it to a third one, and a
    /// shard that refuses it would leave it without any.
    #[test]
    fn a_source_is_in_a_shard_all_the_while_it_changes() {
        with_two_shards(|shards| {
            let (_near, _far, source) = source();
            source.join(&shards[0]).expect("joined");
            let over = AtomicBool::new(false);
            thread::scope(|scope| {
                let looks = scope.spawn(|| {
                    let mut unbound = 0;
                    while !over.load(Ordering::Relaxed) {
                        (0..100).for_each(|_| unbound += usize::from(source.is_unbound()));
                        thread::yield_now();
                    }
                    unbound
                });
                for round in 0..10 * ROUNDS {
                    assert!(change(&source, &shards[(round + 1) % 2]));
                }
                over.store(true, Ordering::Relaxed);
                assert_eq!(looks.join().expect("no panic"), 0, "it was in no shard");
            });
            assert_eq!(shards.each_ref().map(|shard| shard.watched()), [1, 0]);
        });
    }

    /// Its own shard has retired: the source joins the other one.
    #[test]
    fn a_source_follows_out_of_a_shard_that_has_retired() {
        with_two_shards(|shards| {
            let (_near, mut far, source) = source();
            source.join(&shards[0]).expect("joined");
            source.event(Direction::Read).consume();
            let mut batch = Batch::new();
            shards[0].retire(&mut batch);
            batch.wake();
            assert!(source.is_unbound());
            source.event(Direction::Read).consume();
            assert!(change(&source, &shards[1]));
            assert!(!source.is_unbound());
            far.write_all(b"x").expect("written");
            let began = Instant::now();
            while !source.event(Direction::Read).is_set() {
                assert!(began.elapsed() < LONG, "nobody watches it");
                thread::yield_now();
            }
            drop(source);
            assert_eq!(shards.each_ref().map(|shard| shard.watched()), [0, 0]);
        });
    }

    /// The new shard retires before the source has left the old one. The waiters that it wakes find the
    /// source bound, and wait again: they are woken once more.
    #[test]
    fn a_source_that_changes_to_a_shard_which_retires_wakes_its_waiters() {
        let shards = [(); 2].map(|()| Arc::new(Shard::new().expect("a shard")));
        let (_near, _far, source) = source();
        source.join(&shards[0]).expect("joined");
        let (held, goes_on) = (AtomicBool::new(false), AtomicBool::new(false));
        let until = |flag: &AtomicBool| {
            while !flag.load(Ordering::Acquire) {
                thread::yield_now();
            }
        };
        let event = source.event(Direction::Write);
        thread::scope(|scope| {
            scope.spawn(|| {
                shards[0].hold(|| {
                    held.store(true, Ordering::Release);
                    until(&goes_on);
                });
            });
            until(&held);
            scope.spawn(|| change(&source, &shards[1]));
            while shards[1].watched() == 0 {
                thread::yield_now();
            }
            let mut batch = Batch::new();
            shards[1].retire(&mut batch);
            batch.wake();
            event.consume();
            assert!(!source.is_unbound(), "it is in the old shard still");
            goes_on.store(true, Ordering::Release);
        });
        assert!(source.is_unbound());
        assert!(event.is_set(), "a waiter would wait for ever");
    }

    /// A source stays where it is if the other shard has retired, and no shard that has retired gets it.
    #[test]
    fn a_source_does_not_follow_into_a_shard_that_has_retired() {
        with_two_shards(|shards| {
            let (_near, _far, source) = source();
            source.join(&shards[0]).expect("joined");
            let mut batch = Batch::new();
            shards[1].retire(&mut batch);
            assert!(!change(&source, &shards[1]));
            assert!(!source.is_unbound());
            assert_eq!(shards[0].watched(), 1);
            shards[0].retire(&mut batch);
            assert!(!change(&source, &shards[1]));
            assert!(source.is_unbound());
            batch.wake();
        });
    }
}
