//! An operation on a source that parks while it would block.
//!
//! In a coroutine, `perform` consumes the readiness and then makes the call. If the call would block, the
//! coroutine waits for the source's event in its worker's shard. A call that took all there was leaves the
//! readiness consumed, so the next call waits without asking the kernel first. On a plain thread, and while
//! the thread unwinds, `perform` makes the call first and waits in `poll(2)`. While a cancellation or a time
//! limit unwinds, nothing waits: the operation fails ([`refusal`]).
//!
//! A wake-up may be spurious: another caller was faster, or the file is in an error state that lasts. So each
//! turn of the loop checks the deadline, and a turn that cannot wait for a change backs off.
//!
//! # Several waiters for one direction
//!
//! *One readiness wakes one waiter*, the first in the ring. The poller reports an edge once, however many
//! datagrams or connections have arrived. So a caller that has consumed the readiness owes something to the
//! other waiters, depending on its call:
//!
//! | the call | what the caller does | why |
//! |---|---|---|
//! | succeeded (`Done`) | sets the event again, which wakes the next waiter or is kept for the next call | there may be more |
//! | failed | likewise | the error may concern this call only |
//! | would block, or took all there was (`WouldBlock`, `Drained`) | nothing | the kernel had nothing left then, and reports what arrives later as a new edge |
//!
//! A woken waiter always checks the event (`coroutine::event`). If a timeout or a cancellation ended its wait
//! first, the wake-up goes to the next waiter. Between its wake-up and its check, the waiter checks only that
//! the source is open. A new caller may consume the event first (barging); the woken waiter then waits again,
//! at the front of the ring. Some things wake all waiters: the end of a stream or an error that lasts (HUP,
//! ERR), `close`, and a shard that retires. On a kqueue that does not report urgent data, each readiness to
//! read counts as one that lasts, and so wakes all waiters too.
//!
//! All this needs calls that block on one condition, as those of a socket do. The closures of `io::Pollable`
//! may block on different conditions. For them a source is [selective](Source::selective): each event wakes
//! all waiters, and each waiter makes its call, even if another one has consumed the event.
//!
//! *Plain threads* and unwinding coroutines wait in `poll(2)`, not for the event. The kernel wakes all of
//! them. They neither consume the readiness nor set it, so they compete with the waiters here only by their
//! calls. An edge wakes a waiter here in any case; the waiter then finds what the threads have left.
//!
//! *Futures* (`poll_ready`) ask the kernel for the present state before they wait, and wake the next waiter
//! when they are woken, since nobody knows whether they are polled again.

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::coroutine::{Batch, Facts, Subject, WaitReason, Why};
use crate::netpoll::{Direction, Source, is_ready};
use crate::sched::{
    Blocks, Cancel, Wait, Woken, budget_is_used_up, checkpoint, consume_budget_of_file, deadline_of_file,
    elapsed, interrupted, interruption, join_shard, join_some_shard, may_switch, refusal, wait_for,
    wait_in_ring,
};
use std::cell::Cell;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::task::{Context, Poll};
use std::time::Instant;

/// The result of a non-blocking call that has not failed.
pub(crate) enum Attempt<T> {
    /// It succeeded, and the next call may succeed as well.
    Done(T),
    /// It succeeded and took all there was: the next call would block.
    Drained(T),
    /// It would block.
    WouldBlock,
}

/// Why an operation has ended without a result.
#[derive(Debug)]
pub(crate) enum PerformError {
    /// The operation's deadline has passed.
    TimedOut,
    /// The call has failed; or the source is closed (`NotConnected`); or the operation would have to wait
    /// where no wait is allowed ([`refusal`]), or an interruption has ended its wait ([`interrupted`]).
    Failed(io::Error),
}

impl From<io::Error> for PerformError {
    #[inline]
    fn from(error: io::Error) -> PerformError {
        PerformError::Failed(error)
    }
}

/// For the public surface, where a deadline that has passed is the kind `TimedOut`.
impl From<PerformError> for io::Error {
    fn from(error: PerformError) -> io::Error {
        match error {
            PerformError::TimedOut => io::ErrorKind::TimedOut.into(),
            PerformError::Failed(error) => error,
        }
    }
}

/// Makes the call once the source is ready for it. Parks until then.
pub(crate) fn perform<T>(
    source: &Source,
    direction: Direction,
    reason: WaitReason,
    deadline: Option<Instant>,
    mut attempt: impl FnMut(RawFd) -> io::Result<Attempt<T>>,
) -> Result<T, PerformError> {
    let fd = source.fd().as_raw_fd();
    let event = source.event(direction);
    // Before the first attempt: the yield of a used-up budget may unwind, and what an attempt has transferred
    // would be lost.
    consume_budget_of_file()?;
    let mut backoff = Backoff::new();
    let mut woken = false;
    loop {
        // A woken waiter has to check the event. It fails here only if the source is closed, and `close`
        // wakes every waiter.
        source.prepare()?;
        if !may_switch() {
            match attempt(fd)? {
                Attempt::Done(value) | Attempt::Drained(value) => return Ok(value),
                Attempt::WouldBlock => block_thread(source, direction, reason, deadline, &mut backoff)?,
            }
            continue;
        }
        let times_ready = source.times_ready();
        let taken = event.take();
        if taken.is_some() || times_ready.is_some() {
            match attempt(fd) {
                Ok(Attempt::Done(value)) => {
                    set_again(source, direction);
                    return Ok(value);
                }
                Ok(Attempt::Drained(value)) => {
                    source.rearm_for_others(direction);
                    return Ok(value);
                }
                // The event was set for good, and wrongly so. `unstick` makes it an ordinary one, to be taken
                // once more. It leaves alone what was reported during the attempt, and the mark of `close`.
                Ok(Attempt::WouldBlock) if taken.is_some_and(|taken| event.unstick(taken)) => continue,
                Ok(Attempt::WouldBlock) => {}
                Err(error) => {
                    // The next waiter makes its own call, and gets the error or what follows it.
                    set_again(source, direction);
                    return Err(error.into());
                }
            }
        }
        if backoff.has_waited() {
            after_spurious_wake_up(source, direction, reason, deadline, &mut backoff)?;
        } else {
            backoff.wait();
        }
        join_shard(source)?;
        match wait_for_turn(source, direction, reason, deadline, times_ready, &mut woken) {
            Woken::Event => {}
            Woken::Timeout => return Err(PerformError::TimedOut),
            Woken::Cancelled => {
                let error = interrupted();
                source.prepare()?;
                return last_attempt(source, direction, &mut attempt)?.ok_or(error.into());
            }
        }
    }
}

/// Blocks the thread until the source may be ready, where no coroutine can park.
#[cold]
fn block_thread(
    source: &Source,
    direction: Direction,
    reason: WaitReason,
    deadline: Option<Instant>,
    backoff: &mut Backoff,
) -> Result<(), PerformError> {
    if let Some(refused) = refusal() {
        return Err(refused.into());
    }
    let (deadline, limited) = deadline_of_file(deadline);
    // SAFETY: the source is borrowed until this returns.
    let _blocks = unsafe { Blocks::here(Why::new(reason, source), deadline, None) };
    if source.wait_on_thread(direction, deadline, backoff)? {
        return Ok(());
    }
    Err(match limited {
        true if std::thread::panicking() => elapsed().into(),
        true => interrupted().into(),
        false => PerformError::TimedOut,
    })
}

/// The attempt of an operation whose wait was interrupted, and which is about to fail for that. It succeeds
/// if it need not wait: the poller may not have reported yet what the kernel has. An operation that unwinds
/// makes no such attempt, since what it transfers would be lost.
#[cold]
fn last_attempt<T>(
    source: &Source,
    direction: Direction,
    attempt: &mut impl FnMut(RawFd) -> io::Result<Attempt<T>>,
) -> io::Result<Option<T>> {
    let outcome = attempt(source.fd().as_raw_fd());
    match outcome {
        Ok(Attempt::WouldBlock) => Ok(None),
        // As in `perform`. The readiness was not consumed, or by a call that found nothing. So also after
        // `Drained`, it may be set although nothing is left.
        Ok(Attempt::Done(value) | Attempt::Drained(value)) => {
            set_again(source, direction);
            Ok(Some(value))
        }
        Err(error) => {
            set_again(source, direction);
            Err(error)
        }
    }
}

/// Whether a call in that direction would not block now. If it would, the future's task is woken once that
/// may have changed; of several tasks that have polled the same direction, the last one. Does not park.
pub(crate) fn poll_ready(
    source: &Source,
    direction: Direction,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    if budget_is_used_up() {
        // The caller may hold locks over a poll, so it is not here that the coroutine lets others go first.
        context.waker().wake_by_ref();
        return Poll::Pending;
    }
    let leaving = RearmOnExit { source, direction };
    loop {
        source.prepare()?;
        let times_ready = source.times_ready();
        // Before the question, so that an edge after it is kept.
        let taken = source.event(direction).take();
        if is_ready(source.fd(), direction)? {
            set_again(source, direction);
            return Poll::Ready(Ok(()));
        }
        // Set for good, and wrongly so: as in `perform`.
        if taken.is_some_and(|taken| source.event(direction).unstick(taken)) {
            continue;
        }
        join_some_shard(source)?;
        if source.register(direction, context.waker()) && source.times_ready() == times_ready {
            mem::forget(leaving);
            return Poll::Pending;
        }
    }
}

/// Runs after a spurious wake-up, before the next wait. Such wake-ups can come faster than the worker checks
/// its timers, so this checks the deadline and the limits.
#[cold]
fn after_spurious_wake_up(
    source: &Source,
    direction: Direction,
    reason: WaitReason,
    deadline: Option<Instant>,
    backoff: &mut Backoff,
) -> Result<(), PerformError> {
    let leaving = RearmOnExit { source, direction };
    checkpoint();
    if let Some(why) = interruption() {
        return Err(PerformError::Failed(why.into()));
    }
    let now = clock::now();
    if deadline.is_some_and(|at| at <= now) {
        return Err(PerformError::TimedOut);
    }
    if source.stays_ready(direction)? {
        let until = now + backoff.nap();
        // Without arming the source: only the time, `close` or another waiter's event may end this wait.
        let _ = wait_for(
            source.event(direction),
            Why::new(reason, source),
            Some(deadline.map_or(until, |at| at.min(until))),
        );
    }
    mem::forget(leaving);
    Ok(())
}

/// Arms the source for the other waiters if the caller, which has consumed the event, fails or unwinds
/// instead of waiting for the next one. Forgotten if the caller goes on to wait.
struct RearmOnExit<'a> {
    source: &'a Source,
    direction: Direction,
}

impl Drop for RearmOnExit<'_> {
    fn drop(&mut self) {
        self.source.rearm_for_others(self.direction);
    }
}

/// Waits until the source's event wakes this waiter. A caller enters the ring at its end. If it was `woken`
/// before, and another caller was faster, it enters at the front.
#[inline]
fn wait_for_turn(
    source: &Source,
    direction: Direction,
    reason: WaitReason,
    deadline: Option<Instant>,
    times_ready: Option<usize>,
    woken: &mut bool,
) -> Woken {
    let event = source.event(direction);
    let (ahead, listed) = (*woken, Cell::new(false));
    let how = Wait { deadline, cancel: Cancel::AsError, ..Wait::new(Why::new(reason, source)) };
    let how = wait_in_ring(event, how, |node| {
        // SAFETY: `wait_in_ring` keeps the node until it has removed it.
        listed.set(unsafe { if ahead { event.enqueue_first(node) } else { event.enqueue(node) } });
        if listed.get() {
            source.arm(direction);
        }
        listed.get() && source.times_ready() == times_ready
    });
    *woken |= listed.get();
    how
}

// SAFETY: the number of the descriptor does not change while it is borrowed.
unsafe impl Subject for Source {
    fn facts(&self) -> Facts {
        Facts::File(self.fd().as_raw_fd())
    }
}

/// Sets the source's event again, since there may be more than the caller has taken.
pub(crate) fn set_again(source: &Source, direction: Direction) {
    let mut batch = Batch::new();
    source.set_ready(direction, &mut batch);
    batch.wake();
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::{Event, StickyNumbers};
    use std::os::unix::net::UnixDatagram;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    const RECEIVERS: usize = 200;
    const DATAGRAMS: usize = 300;

    /// Receives one datagram, which is one byte, and counts the calls.
    fn receive(source: &Source, calls: &AtomicUsize, deadline: Option<Instant>) -> Result<u8, PerformError> {
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

    #[test]
    fn a_wait_for_a_socket_names_its_descriptor() {
        use crate::sched::testing::{on_one_worker, wait_of};
        on_one_worker(|| {
            let (one, other) = crate::net::UnixStream::pair().expect("a pair");
            let fd = one.as_raw_fd();
            let reads = crate::spawn(move || std::io::Read::read(&mut &one, &mut [0; 8]));
            let seen = wait_of(&reads.task(), WaitReason::Read);
            assert_eq!(seen.facts, Some(Facts::File(fd)));
            drop(other);
            assert_eq!(reads.join().expect("no panic").expect("the end"), 0);
        });
    }

    /// The poller has no turn between the arrival of the datagram and the call.
    #[test]
    fn what_the_poller_has_not_reported_is_received_in_spite_of_a_cancellation() {
        use crate::task::cancel_as_error;
        let runtime = crate::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
        let outcome = runtime.run(|| {
            let (ours, theirs) = UnixDatagram::pair().unwrap();
            let source = Source::new(ours.into());
            let calls = AtomicUsize::new(0);
            let (begins, begun) = crate::channel::bounded(1);
            crate::scope(|s| {
                let cancelled = s.spawn(|| {
                    cancel_as_error(|| {
                        begins.send(()).unwrap();
                        assert!(receive(&source, &calls, None).is_err(), "nothing has arrived");
                        theirs.send(&[7]).unwrap();
                        let received = receive(&source, &calls, None);
                        (received, receive(&source, &calls, None).is_err())
                    })
                });
                begun.recv().unwrap();
                cancelled.cancel();
                cancelled.join().expect("nothing unwinds")
            })
        });
        assert!(matches!(outcome, (Ok(7), true)), "{outcome:?}");
    }

    /// All datagrams are received, although the poller reports many of them with one edge, and many waiters
    /// time out meanwhile.
    #[test]
    fn waiters_that_time_out_lose_no_datagram() {
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
                            // Three waiters wait for long, the others for up to 3 ms.
                            let wait = if i < 3 { 60_000_000 } else { (i * 7_919 + turn * 104_729) % 3_000 };
                            let deadline = Instant::now() + Duration::from_micros(wait);
                            match receive(&source, &calls, Some(deadline)) {
                                Ok(_) => _ = received.fetch_add(1, Ordering::Relaxed),
                                Err(PerformError::TimedOut) => {}
                                Err(PerformError::Failed(_)) => return,
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
                    // If a datagram were lost, this loop would not end.
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

    /// A waiter whose call would block does not keep the event from a waiter whose call would succeed.
    #[test]
    fn a_selective_source_wakes_all() {
        crate::run(|| {
            let (ours, theirs) = UnixDatagram::pair().unwrap();
            let source = Arc::new(Source::new(ours.into()).selective());
            let arrived = Arc::new(AtomicUsize::new(0));
            let waiters: Vec<_> = [false, false, true, false]
                .into_iter()
                .map(|wants| {
                    let (source, arrived) = (source.clone(), arrived.clone());
                    crate::spawn(move || {
                        let deadline = (!wants).then(|| Instant::now() + Duration::from_millis(500));
                        perform(&source, Direction::Read, WaitReason::Read, deadline, |_| {
                            let ready = wants && arrived.load(Ordering::Relaxed) > 0;
                            Ok(if ready { Attempt::Done(()) } else { Attempt::WouldBlock })
                        })
                    })
                })
                .collect();
            crate::sleep(Duration::from_millis(20));
            arrived.store(1, Ordering::Relaxed);
            theirs.send(&[1]).unwrap();
            let results: Vec<_> = waiters.into_iter().map(|waiter| waiter.join().unwrap().is_ok()).collect();
            assert_eq!(results, [false, false, true, false]);
        });
    }

    /// What the poller does at the end of the stream.
    fn report_end(event: &Event, marks: &StickyNumbers) {
        let mut batch = Batch::new();
        event.set_sticky(marks, &mut batch);
        batch.wake();
    }

    /// Data and the end of the stream arrive together, between a call that would block and `unstick`.
    #[test]
    fn an_end_reported_during_an_attempt_is_not_lost() {
        crate::run(|| {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let source = Source::new(ours.into());
            let event = source.event(Direction::Read);
            let mut calls = 0;
            let deadline = || Some(Instant::now() + Duration::from_secs(1));
            let first = perform(&source, Direction::Read, WaitReason::Read, deadline(), |_| {
                calls += 1;
                if calls == 1 {
                    report_end(event, &StickyNumbers::new());
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

    /// Data and the end of the stream arrive together during one reader's call, and a second reader drains
    /// the source before the first one goes on.
    #[test]
    fn two_readers_do_not_lose_the_end() {
        for marked_before in [false, true] {
            crate::run(|| {
                let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
                let source = Source::new(ours.into());
                let (event, marks) = (source.event(Direction::Read), StickyNumbers::new());
                if marked_before {
                    report_end(event, &marks); // Urgent data, which is gone by now.
                }
                let first = event.take().expect("set from the start");
                // The first reader's call would block. Then:
                report_end(event, &marks);
                assert!(!event.unstick(first));
                let deadline = Some(Instant::now() + Duration::from_secs(1));
                let second = perform(&source, Direction::Read, WaitReason::Read, deadline, |_| {
                    Ok(Attempt::Drained(4))
                });
                assert_eq!(second.unwrap(), 4);
                assert!(event.consume(), "the end is no longer reported");
                drop(theirs);
            });
        }
    }
}
