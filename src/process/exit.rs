//! Waiting for the end of a child, without reaping it.

use super::sys::open_pidfd;
use crate::base::new_thread::new_thread;
use crate::base::sys::retry;
use crate::coroutine::{Event, Facts, Subject, WaitReason, Why};
use crate::descriptor::{Attempt, OpenFile, PerformError};
use crate::netpoll::{Direction, Source};
use crate::sched::{Cancel, Woken, interrupted, refusal, set_for_good, wait_for_event};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

/// What the waiters of one child wait for. Made at the first wait, and kept.
#[derive(Debug)]
pub(super) enum Exit {
    /// The child's descriptor, readable once the child has ended.
    Descriptor(OpenFile),
    /// An event that a waiting thread sets once the child has ended.
    Thread(Arc<Event>, Pid),
}

/// The number of a child.
#[derive(Debug)]
pub(super) struct Pid(u32);

// SAFETY: it never changes.
unsafe impl Subject for Pid {
    fn facts(&self) -> Facts {
        Facts::Child { pid: self.0 }
    }
}

impl Exit {
    /// For a child that was not reaped. Uses a descriptor if one is available, otherwise a thread.
    pub(super) fn of(pid: u32) -> io::Result<Exit> {
        match open_pidfd(pid) {
            // Nobody reads from it, so its mode does not matter, and the source need not change it.
            Ok(fd) => Ok(Exit::Descriptor(OpenFile::new(Source::new_nonblocking(fd)))),
            Err(_) => Exit::by_thread(pid),
        }
    }

    /// Uses a thread of its own: the threads of the pool would not do for many children.
    fn by_thread(pid: u32) -> io::Result<Exit> {
        let event = Arc::new(Event::new());
        let ended = Arc::clone(&event);
        new_thread("sward-child")?.spawn(move || {
            block_until_ended(pid);
            set_for_good(&ended);
        })?;
        Ok(Exit::Thread(event, Pid(pid)))
    }

    /// The child's descriptor, if one is used.
    pub(super) fn into_descriptor(self) -> Option<OwnedFd> {
        match self {
            Exit::Descriptor(file) => Some(file.into_fd()),
            Exit::Thread(..) => None,
        }
    }

    /// Parks until `reap` returns a status. `None` after the deadline.
    pub(super) fn wait(
        &self,
        deadline: Option<Instant>,
        mut reap: impl FnMut() -> io::Result<Option<ExitStatus>>,
    ) -> io::Result<Option<ExitStatus>> {
        match self {
            Exit::Descriptor(file) => {
                let result = file.perform_until(Direction::Read, WaitReason::ChildWait, deadline, |_| {
                    Ok(reap()?.map_or(Attempt::WouldBlock, Attempt::Done))
                });
                match result {
                    Ok(status) => Ok(Some(status)),
                    Err(PerformError::TimedOut) => Ok(None),
                    Err(PerformError::Failed(error)) => Err(error),
                }
            }
            Exit::Thread(event, pid) => {
                if let Some(status) = reap()? {
                    return Ok(Some(status));
                }
                if let Some(refused) = refusal() {
                    return Err(refused);
                }
                match wait_for_event(event, Why::new(WaitReason::ChildWait, pid), deadline, Cancel::AsError) {
                    Woken::Event => reap(),
                    Woken::Timeout => Ok(None),
                    Woken::Cancelled => Err(interrupted()),
                }
            }
        }
    }
}

/// Blocks the thread until the child has ended, without reaping it. Returns as well if someone else has
/// reaped it.
fn block_until_ended(pid: u32) {
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    // SAFETY: `info`, which nobody reads, lives until the call ends.
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
        let exit = Exit::by_thread(child.id()).expect("a thread");
        (child, exit)
    }

    /// All other tests use a descriptor, where the system has them.
    #[test]
    fn a_thread_waits_for_the_child() {
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
