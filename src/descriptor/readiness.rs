//! An operation on a source that parks while it would block.
//!
//! In a coroutine: readiness is consumed, then the syscall is made; what would block waits for the
//! source's event in the worker's shard. A call that took all there was leaves the readiness
//! consumed, so that the next one waits without asking the kernel in vain. On a plain thread, and
//! while unwinding, the call is made first and `poll(2)` waits. While a cancellation or a time limit unwinds
//! nothing waits: the call fails ([`refusal`]).
//!
//! A wait may end although the call still would block: another caller was faster, or the file is in an error
//! state that lasts. Each turn therefore checks the deadline, and a turn that cannot wait for a change backs
//! off.
//!
//! # Several waiters for one direction
//!
//! *One readiness wakes one waiter*, the one that came first. The poller tells an edge once, however many
//! datagrams or connections are there. So the caller that has consumed the readiness owes the others one of
//! these:
//!
//! - the call succeeded, and there may be more (`Done`): it sets the event again, which wakes the next waiter
//!   or is kept for the next call;
//! - the call failed: likewise, as the error may have been this call's alone;
//! - the call would block, or has taken all there was (`WouldBlock`, `Drained`): nothing. The kernel had
//!   nothing left at that time, and tells what comes later as a new edge.
//!
//! A woken waiter always comes to the look at the event (`coroutine::event`): a timeout or a cancellation
//! that was faster leaves the wake-up to the next waiter, and between its wake-up and its look there is only
//! the check that the source is open. A caller that arrives meanwhile may take the event first (barging); the
//! woken waiter then waits again, ahead of the others. An end or an error that lasts (HUP, ERR), `close`, and
//! a shard that retires wake all waiters. So does each readiness to read on a kqueue that does not tell
//! urgent data, since it counts as one that lasts.
//!
//! This needs calls that all block on one condition, as those of a socket do. A
//! [selective](Source::selective) source is one for calls that do not: the closures of `io::Pollable`. There
//! each event wakes all waiters, and each of them makes its call, even if another has taken the event.
//!
//! *Plain threads* and unwinding coroutines wait in `poll(2)`, not for the event. The kernel wakes all of
//! them, and they compete with the waiters here by their calls alone: they neither consume the readiness nor
//! set it. An edge that was told wakes a waiter in any case, which finds what the threads have left.

use crate::base::backoff::Backoff;
use crate::coroutine::{Batch, WaitReason};
use crate::netpoll::{Direction, Source};
use crate::sched::{
    Blocks, Cancel, Woken, checkpoint, consume_budget, deadline_of_file, elapsed, join_shard, may_switch,
    refusal, unwind_cancelled, wait_for, wait_in_ring,
};
use std::cell::Cell;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

/// What came of a non-blocking call.
pub(crate) enum Attempt<T> {
    /// It succeeded, and the next one may as well.
    Done(T),
    /// It succeeded and took all there was: the next one would block.
    Drained(T),
    /// It would block.
    WouldBlock,
}

/// Makes the call as soon as the source is ready for it.
///
/// # Errors
///
/// The call's own; `TimedOut` once the deadline has passed; `NotConnected` if the source is closed; that of
/// [`refusal`].
pub(crate) fn perform<T>(
    source: &Source,
    direction: Direction,
    reason: WaitReason,
    deadline: Option<Instant>,
    mut attempt: impl FnMut(RawFd) -> io::Result<Attempt<T>>,
) -> io::Result<T> {
    let fd = source.fd().as_raw_fd();
    let event = source.event(direction);
    // Before the first attempt: the yield of a spent budget may unwind, and would lose what an attempt has
    // moved.
    consume_budget();
    let mut backoff = Backoff::new();
    let mut woken = false;
    loop {
        // A waiter that was woken owes a look at the event. It fails here only once the source is closed,
        // which wakes every waiter.
        source.prepare()?;
        if !may_switch() {
            match attempt(fd)? {
                Attempt::Done(value) | Attempt::Drained(value) => return Ok(value),
                Attempt::WouldBlock => {}
            }
            if let Some(refused) = refusal() {
                return Err(refused);
            }
            let (deadline, limited) = deadline_of_file(deadline);
            let _blocks = Blocks::here(reason);
            if !source.wait_on_thread(direction, deadline, &mut backoff)? {
                if limited && std::thread::panicking() {
                    return Err(elapsed());
                }
                if limited {
                    unwind_cancelled();
                }
                return Err(io::ErrorKind::TimedOut.into());
            }
            continue;
        }
        let tellings = source.tellings();
        let taken = event.take();
        if taken.is_some() || tellings.is_some() {
            match attempt(fd) {
                Ok(Attempt::Done(value)) => {
                    tell_again(source, direction);
                    return Ok(value);
                }
                Ok(Attempt::Drained(value)) => {
                    source.rearm_for_others(direction);
                    return Ok(value);
                }
                // It was told for good, and wrongly: it is taken once more, like any other. What was told
                // during the attempt, and the mark of a `close`, are left alone.
                Ok(Attempt::WouldBlock) if taken.is_some_and(|taken| event.unstick(taken)) => continue,
                Ok(Attempt::WouldBlock) => {}
                Err(error) => {
                    // The next waiter makes its own call, and meets the error or what follows it.
                    tell_again(source, direction);
                    return Err(error);
                }
            }
        }
        if backoff.has_waited() {
            after_false_wake(source, direction, reason, deadline, &mut backoff)?;
        } else {
            backoff.wait();
        }
        join_shard(source)?;
        match wait_for_turn(source, direction, reason, deadline, tellings, &mut woken) {
            Woken::Event => {}
            Woken::Timeout => return Err(io::ErrorKind::TimedOut.into()),
            Woken::Cancelled => unwind_cancelled(),
        }
    }
}

/// Between the waits of a call that was woken but would block. Such wake-ups can come faster than the timers
/// are looked at, so the limits are checked here.
#[cold]
fn after_false_wake(
    source: &Source,
    direction: Direction,
    reason: WaitReason,
    deadline: Option<Instant>,
    backoff: &mut Backoff,
) -> io::Result<()> {
    let leaving = Leaving { source, direction };
    checkpoint();
    let now = Instant::now();
    if deadline.is_some_and(|at| at <= now) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    if source.stays_ready(direction)? {
        let until = now + backoff.nap();
        // Not armed, so that nothing but the time, `close` or another waiter's event ends it.
        let _ = wait_for(source.event(direction), reason, Some(deadline.map_or(until, |at| at.min(until))));
    }
    mem::forget(leaving);
    Ok(())
}

/// A caller that has used up an event, and does not wait for the next one unless this is forgotten.
struct Leaving<'a> {
    source: &'a Source,
    direction: Direction,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.source.rearm_for_others(self.direction);
    }
}

/// Waits until the source is ready, or the waiter's turn has come: behind all others, or before them if it
/// was `woken` before, and found that another one had been faster.
#[inline]
fn wait_for_turn(
    source: &Source,
    direction: Direction,
    reason: WaitReason,
    deadline: Option<Instant>,
    tellings: Option<usize>,
    woken: &mut bool,
) -> Woken {
    let event = source.event(direction);
    let (ahead, listed) = (*woken, Cell::new(false));
    let how = wait_in_ring(event, reason, deadline, Cancel::Obey, |node| {
        // SAFETY: `wait_in_ring` keeps the node until it has removed it.
        listed.set(unsafe { if ahead { event.enqueue_first(node) } else { event.enqueue(node) } });
        if listed.get() {
            source.arm(direction);
        }
        listed.get() && source.tellings() == tellings
    });
    *woken |= listed.get();
    how
}

/// Sets the source's event again: what was taken from it may not have been all.
pub(super) fn tell_again(source: &Source, direction: Direction) {
    let mut batch = Batch::new();
    source.tell(direction, &mut batch);
    batch.wake();
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::{Event, Marks};
    use std::os::unix::net::UnixDatagram;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    const RECEIVERS: usize = 200;
    const DATAGRAMS: usize = 300;

    /// Receives one datagram, which is one byte, and counts the calls.
    fn receive(source: &Source, calls: &AtomicUsize, deadline: Option<Instant>) -> io::Result<u8> {
        perform(source, Direction::Read, WaitReason::ReceiveDatagram, deadline, |fd| {
            calls.fetch_add(1, Ordering::Relaxed);
            let mut byte = 0_u8;
            // SAFETY: the buffer is one byte.
            match unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_DONTWAIT) } {
                1 => Ok(Attempt::Done(byte)),
                _ => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::WouldBlock => Ok(Attempt::WouldBlock),
                    error => Err(error),
                },
            }
        })
    }

    /// All that is there is received although it was told at once, and many of the waiters leave meanwhile.
    #[test]
    fn waiters_that_leave_lose_no_datagram() {
        crate::run(|| {
            let (ours, theirs) = UnixDatagram::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            let source = Arc::new(Source::new(ours.into()));
            let received = Arc::new(AtomicUsize::new(0));
            let receivers: Vec<_> = (0..RECEIVERS as u64)
                .map(|i| {
                    let (source, received) = (source.clone(), received.clone());
                    crate::spawn(move || {
                        let calls = AtomicUsize::new(0);
                        for turn in 0.. {
                            // A few wait for long, the others up to 3 ms.
                            let wait = if i < 3 { 60_000_000 } else { (i * 7_919 + turn * 104_729) % 3_000 };
                            let deadline = Instant::now() + Duration::from_micros(wait);
                            match receive(&source, &calls, Some(deadline)) {
                                Ok(_) => _ = received.fetch_add(1, Ordering::Relaxed),
                                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                                Err(_) => return,
                            }
                        }
                    })
                })
                .collect();
            for sent in 1..=5 * DATAGRAMS {
                while theirs.send(&[1]).is_err() {
                    crate::yield_now();
                }
                if sent % 7 == 0 {
                    // If one were lost, this would not end.
                    while received.load(Ordering::Relaxed) < sent {
                        crate::yield_now();
                    }
                }
            }
            while received.load(Ordering::Relaxed) < 5 * DATAGRAMS {
                crate::yield_now();
            }
            let mut batch = Batch::new();
            source.close(&mut batch);
            batch.wake();
            receivers.into_iter().for_each(|receiver| receiver.join().unwrap());
        });
    }

    /// A waiter that finds nothing for itself does not keep the event from one that would.
    #[test]
    fn a_selective_source_wakes_all() {
        crate::run(|| {
            let (ours, theirs) = UnixDatagram::pair().unwrap();
            let source = Arc::new(Source::new(ours.into()).selective());
            let there = Arc::new(AtomicUsize::new(0));
            let waiters: Vec<_> = [false, false, true, false]
                .into_iter()
                .map(|wants| {
                    let (source, there) = (source.clone(), there.clone());
                    crate::spawn(move || {
                        let deadline = (!wants).then(|| Instant::now() + Duration::from_millis(500));
                        perform(&source, Direction::Read, WaitReason::Read, deadline, |_| {
                            let ready = wants && there.load(Ordering::Relaxed) > 0;
                            Ok(if ready { Attempt::Done(()) } else { Attempt::WouldBlock })
                        })
                    })
                })
                .collect();
            crate::sleep(Duration::from_millis(20));
            there.store(1, Ordering::Relaxed);
            theirs.send(&[1]).unwrap();
            let results: Vec<_> = waiters.into_iter().map(|waiter| waiter.join().unwrap().is_ok()).collect();
            assert_eq!(results, [false, false, true, false]);
        });
    }

    /// What the poller does when the end has come.
    fn tell(event: &Event, marks: &Marks) {
        let mut batch = Batch::new();
        event.mark(marks, &mut batch);
        batch.wake();
    }

    /// Data and the end come together, between a call that would block and `unstick`.
    #[test]
    fn an_end_told_during_an_attempt_is_not_lost() {
        crate::run(|| {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let source = Source::new(ours.into());
            let event = source.event(Direction::Read);
            let mut calls = 0;
            let deadline = || Some(Instant::now() + Duration::from_secs(1));
            let first = perform(&source, Direction::Read, WaitReason::Read, deadline(), |_| {
                calls += 1;
                if calls == 1 {
                    tell(event, &Marks::new());
                    return Ok(Attempt::WouldBlock);
                }
                Ok(Attempt::Drained(4))
            });
            assert_eq!(first.unwrap(), 4);
            let second =
                perform(&source, Direction::Read, WaitReason::Read, deadline(), |_| Ok(Attempt::Done(0)));
            drop(theirs);
            assert_eq!(second.unwrap(), 0);
        });
    }

    /// Data and the end come together during the call of one reader, and another reader drains the source
    /// before the first one goes on.
    #[test]
    fn two_readers_do_not_lose_the_end() {
        for marked_before in [false, true] {
            crate::run(|| {
                let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
                let source = Source::new(ours.into());
                let (event, marks) = (source.event(Direction::Read), Marks::new());
                if marked_before {
                    tell(event, &marks); // urgent data, which is gone by now
                }
                let first = event.take().expect("set from the start");
                // The first one's call would block; then:
                tell(event, &marks);
                assert!(!event.unstick(first));
                let deadline = Some(Instant::now() + Duration::from_secs(1));
                let second = perform(&source, Direction::Read, WaitReason::Read, deadline, |_| {
                    Ok(Attempt::Drained(4))
                });
                assert_eq!(second.unwrap(), 4);
                assert!(event.consume(), "the end is told no more");
                drop(theirs);
            });
        }
    }
}
