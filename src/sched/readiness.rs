//! An operation on a source that parks while it would block.
//!
//! In a coroutine: readiness is consumed, then the syscall is made; what would block waits for the
//! source's event in the worker's shard. A call that took all there was leaves the readiness
//! consumed, so that the next one waits without asking the kernel in vain. On a plain thread, and
//! while unwinding, the call is made first and `poll(2)` waits.
//!
//! A wait may end although the call still would block: another caller was faster, or the file is in an error state
//! that lasts. Each turn therefore checks the deadline, and a turn that cannot wait for a change backs off.

use super::wait::{checkpoint, deadline_on_thread, raise, set, spend, wait_for};
use super::worker;
use crate::base::backoff::Backoff;
use crate::coroutine::WaitReason;
use crate::netpoll::{Direction, Source};
use std::io;
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
/// The call's own; `TimedOut` once the deadline has passed; `NotConnected` if the source is closed.
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
    spend();
    let mut backoff = Backoff::new();
    loop {
        source.prepare()?;
        if !worker::may_switch() {
            match attempt(fd)? {
                Attempt::Done(value) | Attempt::Drained(value) => return Ok(value),
                Attempt::WouldBlock => {}
            }
            let (deadline, limited) = deadline_on_thread(deadline);
            if !source.wait_on_thread(direction, deadline, &mut backoff)? {
                if limited {
                    raise();
                }
                return Err(io::ErrorKind::TimedOut.into());
            }
            continue;
        }
        if let Some(taken) = event.take() {
            match attempt(fd) {
                Ok(Attempt::Done(value)) => {
                    set(event);
                    return Ok(value);
                }
                Ok(Attempt::Drained(value)) => return Ok(value),
                // It was told for good, and wrongly: it is taken once more, like any other. What was told
                // during the attempt, and the mark of a `close`, are left alone.
                Ok(Attempt::WouldBlock) if event.unstick(taken) => continue,
                Ok(Attempt::WouldBlock) => {}
                Err(error) => {
                    // Others who wait meet the error, or what is behind it, by themselves.
                    set(event);
                    return Err(error);
                }
            }
        }
        if backoff.has_waited() {
            after_false_wake(source, direction, reason, deadline, &mut backoff)?;
        } else {
            backoff.wait();
        }
        worker::with(|worker| source.arm(worker.shard(), direction)).transpose()?;
        if wait_for(event, reason, deadline).is_err() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// Between the waits of a call that was woken and would block all the same. Such wake-ups can come faster than
/// the timers are looked at, so the limits are checked here.
#[cold]
fn after_false_wake(
    source: &Source,
    direction: Direction,
    reason: WaitReason,
    deadline: Option<Instant>,
    backoff: &mut Backoff,
) -> io::Result<()> {
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
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::{Batch, Event, Marks};
    use crate::sched::wake_all;
    use std::time::Duration;

    /// What the poller does when the end has come.
    fn tell(event: &Event, marks: &Marks) {
        let mut batch = Batch::new();
        event.mark(marks, &mut batch);
        wake_all(&mut batch);
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
