//! Waiting for the end of a child, in a way that leaves it to be waited for.

use super::sys::open_pidfd;
use crate::base::sys::retry;
use crate::coroutine::{Event, WaitReason};
use crate::descriptor::{Attempt, OpenFile, PerformError};
use crate::netpoll::{Direction, Source};
use crate::sched::{refusal, set_for_good, wait_for};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// How the end of one child is waited for. Made when somebody first does; then it stays.
#[derive(Debug)]
pub(super) enum Exit {
    /// Its descriptor, readable after the end.
    Watched(OpenFile),
    /// Set after the end by a thread that waits.
    Awaited(Arc<Event>),
}

impl Exit {
    /// The best way that there is, for a child that is not reaped.
    pub(super) fn of(pid: u32) -> io::Result<Exit> {
        match open_pidfd(pid) {
            // Said to be non-blocking, so that nobody makes it so: it is never read.
            Ok(fd) => Ok(Exit::Watched(OpenFile::new(Source::new_nonblocking(fd)))),
            Err(_) => Exit::awaited(pid),
        }
    }

    /// By a thread of its own: many children would use up those of the pool.
    fn awaited(pid: u32) -> io::Result<Exit> {
        let event = Arc::new(Event::new());
        let ended = Arc::clone(&event);
        thread::Builder::new().name("sward-child".into()).spawn(move || {
            block_until_ended(pid);
            set_for_good(&ended);
        })?;
        Ok(Exit::Awaited(event))
    }

    /// The child's descriptor, if this has one.
    pub(super) fn into_descriptor(self) -> Option<OwnedFd> {
        match self {
            Exit::Watched(file) => Some(file.into_fd()),
            Exit::Awaited(_) => None,
        }
    }

    /// Parks until `reap` finds that the child has ended, or until the deadline: `None`.
    pub(super) fn wait(
        &self,
        deadline: Option<Instant>,
        mut reap: impl FnMut() -> io::Result<Option<ExitStatus>>,
    ) -> io::Result<Option<ExitStatus>> {
        match self {
            Exit::Watched(file) => {
                let result = file.perform_until(Direction::Read, WaitReason::ChildWait, deadline, |_| {
                    Ok(reap()?.map_or(Attempt::WouldBlock, Attempt::Done))
                });
                match result {
                    Ok(status) => Ok(Some(status)),
                    Err(PerformError::TimedOut) => Ok(None),
                    Err(PerformError::Failed(error)) => Err(error),
                }
            }
            Exit::Awaited(event) => {
                if let Some(status) = reap()? {
                    return Ok(Some(status));
                }
                if let Some(refused) = refusal() {
                    return Err(refused);
                }
                match wait_for(event, WaitReason::ChildWait, deadline) {
                    Ok(()) => reap(),
                    Err(_) => Ok(None),
                }
            }
        }
    }
}

/// Blocks the thread until the child has ended, and does not reap it. If somebody else has, that is the end.
fn block_until_ended(pid: u32) {
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    // SAFETY: the place for the answer, which nobody reads, lives until the call ends.
    let _ = retry(|| unsafe {
        libc::waitid(libc::P_PID, pid as libc::id_t, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT)
    });
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    fn cat() -> (Child, Exit) {
        let child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("a child");
        let exit = Exit::awaited(child.id()).expect("a thread");
        (child, exit)
    }

    /// Without a descriptor, which is what all other tests have where there is one.
    #[test]
    fn a_thread_waits() {
        let test = || {
            let (mut child, exit) = cat();
            let soon = Some(Instant::now() + Duration::from_millis(5));
            assert_eq!(exit.wait(soon, || child.try_wait()).expect("no error"), None);
            drop(child.stdin.take());
            let status = exit.wait(None, || child.try_wait()).expect("no error").expect("an end");
            assert!(status.success());
            let again = exit.wait(None, || child.try_wait()).expect("no error");
            assert_eq!(again, Some(status));
        };
        test();
        crate::run(test);
    }

    #[test]
    fn a_cancelled_wait_leaves_the_thread_to_the_next() {
        crate::run(|| {
            let (mut child, exit) = cat();
            let waited =
                crate::time::timeout(Duration::from_millis(5), || exit.wait(None, || child.try_wait()));
            assert!(waited.is_err());
            drop(child.stdin.take());
            assert!(exit.wait(None, || child.try_wait()).expect("no error").is_some());
        });
    }
}
