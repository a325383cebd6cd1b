//! `poll(2)` that parks: a wait for the first of several descriptors that leaves their mode alone.
//!
//! The kernel's `poll` is asked first, without a wait. If it has nothing to report, the caller waits for a
//! change of one of the descriptors, and asks again. So the answer is always the kernel's own.
//!
//! For the wait each descriptor is duplicated, and the duplicates join the worker's shard as sources of their
//! own, which are known as non-blocking so that nobody makes them so. When the call ends, also by unwinding,
//! the duplicates are closed, and nothing of the registration is left. Until then they keep the open files
//! alive, as the kernel's `poll` does during its call.
//!
//! *No change is lost.* Each turn consumes the events of the sources, asks the kernel, and then waits; a
//! change after the question sets an event, which ends the wait. A change before the source has joined the
//! shard is reported as its state at that time (`netpoll/source.rs`).
//!
//! *No state spins.* An event that stays set although the kernel has nothing to report, such as the end of a
//! stream that is polled for urgent data alone, is made an ordinary one (`Event::unstick`). A one-shot
//! back-end reports a state anew each time it is armed; the call then naps between two questions.
//!
//! *What the shard cannot report.* The call also naps, for 10 ms at most, if no descriptor is left for a
//! duplicate, or if urgent data is asked for and the back-end does not report it.

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::base::sys::{check, poll};
use crate::coroutine::{EventNode, WaitReason, Why};
use crate::netpoll::{Direction, Source, reports_priority};
use crate::sched::{
    Blocks, Cancel, Woken, consume_budget_of_file, deadline_of_file, elapsed, interrupted, join_shard,
    may_switch, refusal, wait,
};
use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What a descriptor can be asked that concerns writing.
const WRITES: libc::c_short = libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND;
/// What concerns urgent data.
const PRIORITY: libc::c_short = libc::POLLPRI | libc::POLLRDBAND;

/// Fills in what each entry has to report, and returns how many have something. Waits until there is one, or
/// until the deadline.
pub(crate) fn poll_entries(entries: &mut [libc::pollfd], deadline: Option<Instant>) -> io::Result<usize> {
    consume_budget_of_file()?;
    let is_over = || deadline.is_some_and(|at| at <= clock::now());
    let count = ask(entries, Some(Duration::ZERO))?;
    if count > 0 || is_over() {
        return Ok(count);
    }
    if !may_switch() {
        return wait_on_thread(entries, deadline);
    }
    let mut watched = Vec::with_capacity(entries.len());
    // Whether the shard cannot report all that is asked for.
    let mut naps = !reports_priority() && entries.iter().any(|entry| entry.events & PRIORITY != 0);
    for entry in entries.iter().filter(|entry| entry.fd >= 0) {
        match watch(entry, &mut watched) {
            Ok(()) => {}
            // It was closed meanwhile, as `poll` will say.
            Err(e) if e.raw_os_error() == Some(libc::EBADF) => {
                drop(watched);
                return poll_entries(entries, deadline);
            }
            // Others may need the descriptors more.
            Err(e) if is_exhausted(&e) => {
                watched.clear();
                naps = true;
                break;
            }
            Err(e) => return Err(e),
        }
    }
    let mut backoff = Backoff::new();
    loop {
        let taken: Vec<_> = watched.iter().map(|one| one.source.event(one.direction).take()).collect();
        let count = ask(entries, Some(Duration::ZERO))?;
        if count > 0 || is_over() {
            return Ok(count);
        }
        let unstick = |(one, taken): (&Watched, _)| match taken {
            Some(taken) => one.source.event(one.direction).unstick(taken),
            None => false,
        };
        // Each of them, and then they are consumed anew.
        if watched.iter().zip(taken).map(unstick).fold(false, |any, one| any | one) {
            continue;
        }
        let woken = if backoff.has_waited() && stay_ready(&watched)? {
            nap(&[], deadline, &mut backoff)
        } else if naps {
            nap(&watched, deadline, &mut backoff)
        } else {
            backoff.wait();
            wait_for_any(&watched, deadline)
        };
        match woken {
            Woken::Event => {}
            Woken::Timeout => return ask(entries, Some(Duration::ZERO)),
            Woken::Cancelled => return Err(interrupted()),
        }
    }
}

/// As [`wait_for_any`], for one nap at most.
fn nap(watched: &[Watched], deadline: Option<Instant>, backoff: &mut Backoff) -> Woken {
    let until = clock::now() + backoff.nap();
    match wait_for_any(watched, Some(deadline.map_or(until, |at| at.min(until)))) {
        Woken::Timeout => Woken::Event,
        woken => woken,
    }
}

/// Whether there is no descriptor, or no room in the back-end, for one more.
fn is_exhausted(error: &io::Error) -> bool {
    let exhausted = [libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| exhausted.contains(&code))
}

/// The kernel's `poll`, again for as long as a signal interrupts it. For waits that are short, or none.
fn ask(entries: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    loop {
        match poll(entries, timeout) {
            Ok(count) => return Ok(count as usize),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn wait_on_thread(entries: &mut [libc::pollfd], deadline: Option<Instant>) -> io::Result<usize> {
    if let Some(refused) = refusal() {
        return Err(refused);
    }
    let (deadline, limited) = deadline_of_file(deadline);
    // SAFETY: there is no subject.
    let _blocks = unsafe { Blocks::here(Why::from(WaitReason::Poll), deadline, None) };
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(clock::now()));
        match poll(entries, left) {
            Ok(0) if deadline.is_some_and(|at| at <= clock::now()) => {
                return match limited {
                    false => Ok(0),
                    true if std::thread::panicking() => Err(elapsed()),
                    true => Err(interrupted()),
                };
            }
            Ok(0) => {}
            Ok(count) => return Ok(count as usize),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// One direction of one descriptor, while the call waits for it.
struct Watched {
    source: Rc<Source>,
    direction: Direction,
    node: Cell<Option<EventNode>>,
}

/// Has the shard watch the entry's descriptor.
fn watch(entry: &libc::pollfd, watched: &mut Vec<Watched>) -> io::Result<()> {
    let mut data = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: there is room for the answer.
    check(unsafe { libc::fstat(entry.fd, data.as_mut_ptr()) })?;
    // SAFETY: the call has succeeded.
    let kind = unsafe { data.assume_init() }.st_mode & libc::S_IFMT;
    if kind == libc::S_IFREG || kind == libc::S_IFDIR {
        // It was asked already, and never changes. To close a duplicate would release the locks of `fcntl`
        // that the process has on the file.
        return Ok(());
    }
    // From 3 on: it must not become a standard stream that the program has closed.
    // SAFETY: the call takes no pointers.
    let duplicate = check(unsafe { libc::fcntl(entry.fd, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: a fresh descriptor, with no other owner.
    let duplicate = unsafe { OwnedFd::from_raw_fd(duplicate) };
    let source = Rc::new(Source::new_nonblocking(duplicate));
    // A new source counts as ready. What it is was asked already, and joining the shard asks again.
    source.event(Direction::Read).consume();
    source.event(Direction::Write).consume();
    match join_shard(&source) {
        Ok(()) => {}
        // A device that cannot be polled: it is always ready for what it can do, which was not what it was
        // asked for.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        Err(e) => return Err(e),
    }
    let mut add = |direction| {
        let source = Rc::clone(&source);
        watched.push(Watched { source, direction, node: Cell::new(None) });
    };
    if entry.events & WRITES != 0 {
        add(Direction::Write);
    }
    // An error and the end of a stream are reported in both directions, whatever was asked for.
    if entry.events & !WRITES != 0 || entry.events & WRITES == 0 {
        add(Direction::Read);
    }
    Ok(())
}

fn stay_ready(watched: &[Watched]) -> io::Result<bool> {
    for one in watched {
        if one.source.stays_ready(one.direction)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Parks until one of the events is set, or until the deadline.
fn wait_for_any(watched: &[Watched], deadline: Option<Instant>) -> Woken {
    let mut commit = |ticket| {
        watched.iter().all(|one| {
            // SAFETY: written once in a wait, before anybody else has its address; `watched` stays until
            // `remove` has returned.
            let node = unsafe { (*one.node.as_ptr()).insert(EventNode::new(ticket)) };
            // SAFETY: as above.
            let listed = unsafe { one.source.event(one.direction).enqueue(node) };
            if listed {
                one.source.arm(one.direction);
            }
            listed
        })
    };
    // SAFETY: the ticket is in the nodes, which are removed below.
    let woken = unsafe { wait(Why::from(WaitReason::Poll), deadline, Cancel::AsError, &mut commit) };
    for one in watched {
        // SAFETY: nobody makes an exclusive reference any more: `commit` has run.
        if let Some(node) = unsafe { (*one.node.as_ptr()).as_ref() } {
            one.source.event(one.direction).remove(node);
            one.node.set(None);
        }
    }
    woken
}
