//! Children that have not ended, and whose handle is gone. Somebody has to reap them.
//!
//! One thread does, the reaper. It starts with the first orphan, sleeps until one has ended, and leaves with
//! the last, so it belongs to no runtime and costs nothing where there are no orphans. It waits for the
//! descriptors of the processes, and for a pipe, the bell, that tells of new orphans. A child without a
//! descriptor is asked from time to time, in intervals that double up to [`LONGEST`].
//!
//! Invariants: a child on the list has not been reaped, so its number is its own. While there is a bell there
//! is a reaper, and nobody else removes children: they keep their order.

use super::sys::open_pidfd;
use crate::base::fork::PerProcess;
use crate::base::sys::poll;
use crate::base::sys::set_nonblocking;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The first interval at which a child without a descriptor is asked, or one whose descriptor wrongly says
/// that it has ended.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(1);

struct Orphan {
    child: Child,
    /// Readable once it has ended.
    descriptor: Option<Arc<OwnedFd>>,
}

#[derive(Default)]
struct Orphans {
    list: Vec<Orphan>,
    bell: Option<PipeWriter>,
}

/// A forked child has neither its parent's children nor the reaper.
static ORPHANS: PerProcess<Mutex<Orphans>> = PerProcess::new(Mutex::default);

fn orphans() -> MutexGuard<'static, Orphans> {
    ORPHANS.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a child that nobody will wait for, with its descriptor if there is one already. Does not block.
pub(super) fn adopt(child: Child, descriptor: Option<OwnedFd>) {
    let descriptor = descriptor.or_else(|| open_pidfd(child.id()).ok()).map(Arc::new);
    let mut orphans = orphans();
    orphans.list.push(Orphan { child, descriptor });
    match &mut orphans.bell {
        // A full pipe rings already.
        Some(bell) => drop(bell.write(&[0])),
        // Without a thread, `reap` does it.
        None => orphans.bell = start().ok(),
    }
}

/// Reaps the children that have ended, if no thread could be started for the reaper. Does not block.
pub(super) fn reap() {
    let mut orphans = orphans();
    if orphans.bell.is_none() {
        orphans.reap(|_| true);
    }
}

impl Orphans {
    /// Of the children at those indices, reaps the ones that have ended; gives their number.
    fn reap(&mut self, is_asked: impl Fn(usize) -> bool) -> usize {
        let (before, mut index) = (self.list.len(), 0);
        self.list.retain_mut(|orphan| {
            let asked = is_asked(index);
            index += 1;
            // What cannot be asked for any more was reaped by somebody else.
            !asked || matches!(orphan.child.try_wait(), Ok(None))
        });
        before - self.list.len()
    }
}

/// Starts the reaper, and gives its bell.
fn start() -> io::Result<PipeWriter> {
    let (heard, bell) = io::pipe()?;
    set_nonblocking(heard.as_fd(), true)?;
    set_nonblocking(bell.as_fd(), true)?;
    thread::Builder::new().name("sward-reaper".into()).spawn(move || run(heard))?;
    Ok(bell)
}

/// The reaper's life.
fn run(mut heard: PipeReader) {
    let mut nap = SHORTEST;
    let mut descriptors: Vec<Option<Arc<OwnedFd>>> = Vec::new();
    let mut entries: Vec<libc::pollfd> = Vec::new();
    loop {
        let called = |entry: &libc::pollfd| entry.revents != 0;
        let (rung, ended) = match entries.split_first() {
            Some((bell, others)) => (called(bell), others.iter().any(called)),
            None => (true, false),
        };
        let mut orphans = orphans();
        let reaped = orphans.reap(|index| match descriptors.get(index) {
            Some(Some(_)) => entries.get(index + 1).is_some_and(called),
            _ => true,
        });
        if orphans.list.is_empty() {
            // Under the lock: who adopts the next one finds no bell, and starts a reaper.
            orphans.bell = None;
            return;
        }
        descriptors.clear();
        descriptors.extend(orphans.list.iter().map(|orphan| orphan.descriptor.clone()));
        drop(orphans);
        if rung {
            while heard.read(&mut [0; 64]).is_ok_and(|count| count == 64) {}
        }
        nap = if rung || reaped != 0 { SHORTEST } else { (nap * 2).min(LONGEST) };
        // A traced child has ended for its descriptor, and not for its parent.
        let deceived = ended && reaped == 0;
        entries.clear();
        entries.push(entry(heard.as_raw_fd()));
        if !deceived {
            let fd = |descriptor: &Option<Arc<OwnedFd>>| descriptor.as_ref().map_or(-1, |fd| fd.as_raw_fd());
            entries.extend(descriptors.iter().map(fd).map(entry));
        }
        let asks = deceived || descriptors.iter().any(Option::is_none);
        if poll(&mut entries, asks.then_some(nap)).is_err() {
            // A signal, or no memory: the list is looked at as a whole.
            descriptors.clear();
            thread::sleep(SHORTEST);
        }
    }
}

/// A negative descriptor is passed over.
fn entry(fd: libc::c_int) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    /// Whether the process is there, be it as a zombie.
    fn is_there(pid: u32) -> bool {
        // SAFETY: the call takes no pointers, and no signal is sent.
        unsafe { libc::kill(pid as libc::pid_t, 0) == 0 }
    }

    /// On systems without descriptors of processes, and where none is free.
    #[test]
    fn a_child_without_a_descriptor_is_reaped() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("a child");
        let (pid, input) = (child.id(), child.stdin.take());
        {
            let mut orphans = orphans();
            orphans.list.push(Orphan { child, descriptor: None });
            match &mut orphans.bell {
                Some(bell) => drop(bell.write(&[0])),
                None => orphans.bell = Some(start().expect("a thread")),
            }
        }
        thread::sleep(Duration::from_millis(10));
        assert!(is_there(pid));
        drop(input);
        let start = Instant::now();
        while is_there(pid) {
            assert!(start.elapsed() < Duration::from_secs(60), "it is a zombie");
            thread::sleep(SHORTEST);
        }
    }
}
