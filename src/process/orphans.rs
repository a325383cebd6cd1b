//! Reaping the children whose handle was dropped before they ended: the orphans.
//!
//! One thread, the reaper, reaps them. It starts with the first orphan, sleeps until one has ended, and exits
//! with the last. So it belongs to no runtime, and costs nothing while no orphan exists. It waits for the
//! descriptors of the processes, and for a wake-up pipe, which announces new orphans. It polls each child
//! without a descriptor, at intervals that double up to [`LONGEST`].
//!
//! Invariants: a child in the list has not been reaped, so its process number is its own. While the wake-up
//! pipe exists, the reaper runs, and nobody else removes children from the list, so they keep their order.

use super::sys::open_pidfd;
use crate::base::fork::PerProcess;
use crate::base::new_thread::new_thread;
use crate::base::sys::{poll, set_nonblocking};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The first interval at which the reaper polls a child that has no descriptor, or whose descriptor reports
/// an end that `waitpid` does not confirm.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest such interval.
const LONGEST: Duration = Duration::from_secs(1);

struct Orphan {
    child: Child,
    /// Readable once the child has ended.
    descriptor: Option<Arc<OwnedFd>>,
}

#[derive(Default)]
struct Orphans {
    list: Vec<Orphan>,
    /// The writing end of the reaper's wake-up pipe; `None` if no reaper runs.
    wake_up: Option<PipeWriter>,
}

/// A forked child has neither its parent's children nor the reaper.
static ORPHANS: PerProcess<Mutex<Orphans>> = PerProcess::new(Mutex::default);

fn orphans() -> MutexGuard<'static, Orphans> {
    ORPHANS.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes over a child for which nobody will wait, with its descriptor if it has one already. Does not block.
pub(super) fn adopt(child: Child, descriptor: Option<OwnedFd>) {
    let descriptor = descriptor.or_else(|| open_pidfd(child.id()).ok()).map(Arc::new);
    let mut orphans = orphans();
    orphans.list.push(Orphan { child, descriptor });
    match &mut orphans.wake_up {
        // This fails if the pipe is full. Then it is readable, which is enough.
        Some(wake_up) => drop(wake_up.write(&[0])),
        // If no thread can be started, `reap` takes the reaper's place.
        None => orphans.wake_up = start().ok(),
    }
}

/// Reaps the children that have ended, if the reaper could not be started. Does not block.
pub(super) fn reap() {
    let mut orphans = orphans();
    if orphans.wake_up.is_none() {
        orphans.reap(|_| true);
    }
}

impl Orphans {
    /// Asks the children at the chosen indices, reaps those of them that have ended, and returns their
    /// number.
    fn reap(&mut self, is_chosen: impl Fn(usize) -> bool) -> usize {
        let (before, mut index) = (self.list.len(), 0);
        self.list.retain_mut(|orphan| {
            let chosen = is_chosen(index);
            index += 1;
            // An error means that someone else has reaped the child.
            !chosen || matches!(orphan.child.try_wait(), Ok(None))
        });
        before - self.list.len()
    }
}

/// Starts the reaper, and returns the writing end of its wake-up pipe.
fn start() -> io::Result<PipeWriter> {
    let (wake_ups, wake_up) = io::pipe()?;
    set_nonblocking(wake_ups.as_fd(), true)?;
    set_nonblocking(wake_up.as_fd(), true)?;
    new_thread("sward-reaper")?.spawn(move || run(wake_ups))?;
    Ok(wake_up)
}

/// The reaper's loop.
fn run(mut wake_ups: PipeReader) {
    let mut nap = SHORTEST;
    let mut descriptors: Vec<Option<Arc<OwnedFd>>> = Vec::new();
    let mut entries: Vec<libc::pollfd> = Vec::new();
    loop {
        let is_ready = |entry: &libc::pollfd| entry.revents != 0;
        let (woken, ended) = match entries.split_first() {
            Some((wake_up, children)) => (is_ready(wake_up), children.iter().any(is_ready)),
            None => (true, false),
        };
        let mut orphans = orphans();
        let reaped = orphans.reap(|index| match descriptors.get(index) {
            Some(Some(_)) => entries.get(index + 1).is_some_and(is_ready),
            _ => true,
        });
        if orphans.list.is_empty() {
            // Under the lock: the next `adopt` finds no wake-up pipe, and starts a reaper.
            orphans.wake_up = None;
            return;
        }
        descriptors.clear();
        descriptors.extend(orphans.list.iter().map(|orphan| orphan.descriptor.clone()));
        drop(orphans);
        if woken {
            while wake_ups.read(&mut [0; 64]).is_ok_and(|count| count == 64) {}
        }
        nap = if woken || reaped != 0 { SHORTEST } else { (nap * 2).min(LONGEST) };
        // The descriptor of a traced child reports the end before the parent can reap the child. Polling it
        // would return at once, so this turn naps instead.
        let unconfirmed = ended && reaped == 0;
        entries.clear();
        entries.push(entry(wake_ups.as_raw_fd()));
        if !unconfirmed {
            let fd = |descriptor: &Option<Arc<OwnedFd>>| descriptor.as_ref().map_or(-1, |fd| fd.as_raw_fd());
            entries.extend(descriptors.iter().map(fd).map(entry));
        }
        let must_ask = unconfirmed || descriptors.iter().any(Option::is_none);
        if poll(&mut entries, must_ask.then_some(nap)).is_err() {
            // A signal, or no memory. The next turn asks all children.
            descriptors.clear();
            thread::sleep(SHORTEST);
        }
    }
}

/// `poll` ignores an entry with a negative descriptor.
fn entry(fd: libc::c_int) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    /// Whether the process exists, be it as a zombie.
    fn exists(pid: u32) -> bool {
        // SAFETY: the call takes no pointers, and no signal is sent.
        unsafe { libc::kill(pid as libc::pid_t, 0) == 0 }
    }

    /// As on systems without descriptors of processes, and where no descriptor is free.
    #[test]
    fn a_child_without_a_descriptor_is_reaped() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("a child");
        let (pid, input) = (child.id(), child.stdin.take());
        {
            let mut orphans = orphans();
            orphans.list.push(Orphan { child, descriptor: None });
            match &mut orphans.wake_up {
                Some(wake_up) => drop(wake_up.write(&[0])),
                None => orphans.wake_up = Some(start().expect("a thread")),
            }
        }
        thread::sleep(Duration::from_millis(10));
        assert!(exists(pid));
        drop(input);
        let start = Instant::now();
        while exists(pid) {
            assert!(start.elapsed() < Duration::from_secs(120), "it is a zombie");
            thread::sleep(SHORTEST);
        }
    }
}
