//! The back-end `io_uring`. The contract is in `mod.rs`.
//!
//! # The problem
//!
//! io_uring polls a descriptor if an entry of the submission queue says so, and reports the event in the
//! completion queue. Both queues are memory that is shared with the kernel. So watching a descriptor costs no
//! system call of its own: the next `wait` submits what was pushed since the last one. And a `wait` that does
//! not block needs no system call at all if nothing was pushed.
//!
//! Three things differ from epoll, and decide the design:
//!
//! - *A poll is a call under way, which holds the file.* Closing the descriptor does not end it. So `remove`
//!   cancels it before it returns.
//! - *A poll belongs to the thread that has submitted it.* That thread posts the completion, whenever it next
//!   leaves the kernel; a running thread is interrupted for that, and a sleeping one woken. If the thread has
//!   ended, the poll ends with its next event, with `ECANCELED`.
//! - *A poll that goes on* (`IORING_POLL_ADD_MULTI`) *reports the cause of a wake-up, not the state*. For
//!   data of a socket this names urgent data whether there is any or not.
//!
//! # The polls
//!
//! The back-end is one-shot: a waiter arms its direction. Each direction of a descriptor has a poll of its
//! own, whose key has a bit for the direction.
//!
//! | direction | poll | why |
//! |---|---|---|
//! | read | ends with its first event | a read stops before urgent data, although more may have come: only the state says so, and arming asks for it |
//! | write | goes on, and reports edges | every poll reports the end of the peer's side (`POLLRDHUP`), asked for or not. While that lasts, a poll for writing that ends with its first event would end at once, again and again |
//!
//! | a direction, from, to | by | cause |
//! |---|---|---|
//! | idle, armed | `arm` | it pushes the poll |
//! | armed, idle | `collect` | the poll's last completion, whatever it says, is an event |
//! | armed, idle | `remove`, `retire` | they have the kernel cancel the poll |
//!
//! So a poll that ends for another reason than an event (the queue was full, its thread has ended, an error)
//! is an event as well: the caller tries its call, and arms the direction again.
//!
//! # The lock
//!
//! `table` gives the right to push entries and to take completions, and guards the table. A thread takes it
//! for as long as it needs to fill or empty a queue, and while it submits without waiting. It does not hold
//! it while it sleeps; `sleeping` counts those threads. The kernel takes entries under a lock of its own, so
//! threads that submit at the same time submit each entry once.
//!
//! - *A sleeper sees what is armed meanwhile*: it has raised `sleeping` under the lock, after its last look
//!   at the queue. A thread that pushes later finds it raised, and nudges the sleeper, which submits. It does
//!   not submit by itself: it would own the polls of others, and their events would wait while it is in a
//!   call that nothing interrupts (`vfork`, `fsync`).
//! - *No event after `remove`*: completions are matched with the table under the lock. One whose key has left
//!   the table is dropped.
//! - *No other file is polled under the number of one that was removed*: `remove` has the kernel cancel the
//!   polls that it has taken, by a call that needs no entry (Linux 6.0), and blanks out the pending ones. For
//!   that nobody may be submitting: `remove` waits until nobody sleeps, or nothing is pending. On an older
//!   kernel, and if that takes long, it submits. Entries are taken in their order, its own last.
//! - *Two threads that wait*: each takes completions under the lock, so each completion is returned once. The
//!   kernel ends the wait of both; the one that finds nothing waits on.
//!
//! # Waking
//!
//! `wake` writes to an eventfd, which a poll that goes on watches. Only a `wait` that sleeps submits that
//! poll. So it belongs to the worker of the shard, and not to the netpoller thread, which would else be woken
//! for each `wake` of the worker.
//!
//! # Limits
//!
//! - If the poll of a descriptor belongs to another thread than the one that removes it, the file closes when
//!   that thread has noticed: at once if it sleeps or runs.
//! - While a thread is in a call of the kernel that nothing interrupts, such as a read of a disk, the events
//!   of the polls that it has submitted wait for the end of that call.
//! - A call that blocks a worker's thread is interrupted by the events of that worker's polls. The kernel
//!   starts it again, except for calls that a signal always ends: a `recv` of std with a time limit, for one,
//!   fails with `Interrupted`.
//! - A child that was forked and does not call `exec` keeps the ring open, and so the files that it polls.
//! - A thread that fills the queue, as it arms many descriptors, submits the polls of others. So does the
//!   netpoller thread, for a worker in a long turn.
//! - A file that has more than two queues of waiters is refused by the kernel. Waits for it end at once.
//!
//! # Rejected
//!
//! - *`IORING_SETUP_SINGLE_ISSUER` with `DEFER_TASKRUN`*: only the worker's thread could submit and have
//!   completions posted. In a long turn it does neither, and the netpoller thread could not do it in its
//!   place.
//! - *`IORING_SETUP_COOP_TASKRUN`*: a worker that computes would post no completion before its next system
//!   call or timer interrupt, and the netpoller thread would find none: readiness would be seen within a tick
//!   of the kernel, not within 2 ms.
//! - *Polls for reading that go on*: `docs/PERFORMANCE.md` has what they would save. Against urgent data each
//!   read would have to be repeated until it finds nothing, which costs as much.
//! - *Waking by an entry* (`IORING_OP_NOP`): it needs the lock, and submits the entries of others, whose
//!   polls would then belong to the thread that wakes.

use super::epoll::{Events, WAKE};
use crate::base::lock::{Guard, Mutex, Rank};
use crate::base::slab::shrink;
use crate::base::sys::uring::{
    COMPLETION_MORE, ENTRY_SKIPS_SUCCESS, Entry, FEATURE_CQE_SKIP, FEATURE_EXT_ARG, OP_ASYNC_CANCEL,
    OP_POLL_ADD, POLL_ADD_MULTI, SETUP_SUBMIT_ALL, Uring,
};
use crate::base::sys::{check, retry};
use crate::netpoll::event::{Direction, Key};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

/// Entries that can be pending. A full queue is submitted at once.
const ENTRIES: u32 = 128;
/// Completions that the queue holds. The kernel keeps what finds no room.
const COMPLETIONS: u32 = 1024;

/// The key of requests to cancel. No slot of a table has this number.
const NOBODY: u64 = WAKE - 1;
/// The key of the poll that makes a sleeper submit what others have pushed.
const NUDGE: u64 = WAKE - 2;
/// How often a thread that removes a descriptor yields to sleepers that are submitting. Then it submits what
/// is pending itself.
const MOST_YIELDS: u32 = 1_000;
/// In a key, as a number: the poll is for writing. No slot has so large a number.
const FOR_WRITING: u64 = 1 << 31;

/// Longer timeouts are cut into several waits: the kernel adds a timeout to its clock.
const LONGEST: Duration = Duration::from_secs(1 << 25);

/// A ring, the table of what is watched, and the eventfd that ends a wait.
#[derive(Debug)]
pub(crate) struct Poller {
    ring: Uring,
    wakeup: OwnedFd,
    /// An eventfd that makes a sleeper submit what others have pushed, and go on sleeping.
    nudge: OwnedFd,
    /// Whether the kernel cancels a poll without an entry (Linux 6.0).
    cancels_at_once: bool,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// By the slots of the keys.
    watches: Vec<Option<Watch>>,
    /// Calls of `wait` that sleep, or are about to.
    sleeping: usize,
    /// Whether the two eventfds are polled.
    wakeup_is_polled: bool,
    nudge_is_polled: bool,
    /// Whether a sleeper was nudged, and none has gone to sleep since.
    nudged: bool,
    /// Whether completions were ever lost: then the kernel may have polls that are not `armed`.
    lost: bool,
}

#[derive(Debug)]
struct Watch {
    fd: RawFd,
    generation: u32,
    /// Whether the directions are armed: for reading, for writing.
    armed: [bool; 2],
}

const DIRECTIONS: [Direction; 2] = [Direction::Read, Direction::Write];

impl Poller {
    pub(crate) const ONE_SHOT: bool = true;
    pub(crate) const REPORTS_PRIORITY: bool = false;

    pub(crate) fn new() -> io::Result<Poller> {
        let features = FEATURE_EXT_ARG | FEATURE_CQE_SKIP;
        let operations = [OP_POLL_ADD, OP_ASYNC_CANCEL];
        let ring = Uring::new(ENTRIES, COMPLETIONS, SETUP_SUBMIT_ALL, features, &operations)?;
        // A sandbox may forbid this call alone.
        ring.submit_and_flush(0)?;
        let cancels_at_once = ring.cancel_now(NOBODY).is_err_and(|e| e.raw_os_error() == Some(libc::ENOENT));
        let (wakeup, nudge) = (eventfd()?, eventfd()?);
        let table = Mutex::new(Rank::Poller, Table::default());
        Ok(Poller { ring, wakeup, nudge, cancels_at_once, table })
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        self.add_unarmed(fd, key)?;
        DIRECTIONS.into_iter().for_each(|direction| self.arm(key, direction));
        Ok(())
    }

    pub(crate) fn add_unarmed(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        let mut table = self.table.lock();
        let slot = key.slot as usize;
        if table.watches.len() <= slot {
            table.watches.resize_with(slot + 1, || None);
        }
        let watch = Watch { fd: fd.as_raw_fd(), generation: key.generation, armed: [false; 2] };
        table.watches[slot] = Some(watch);
        Ok(())
    }

    pub(crate) fn remove(&self, _fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        let mut table = self.table.lock();
        let Some(watch) = table.watch(key) else { return Ok(()) };
        let armed = watch.armed;
        let armed = if table.lost { [true; 2] } else { armed };
        table.watches[key.slot as usize] = None;
        // The table of sources uses its lowest free slot first, so the end becomes free.
        while let Some(None) = table.watches.last() {
            table.watches.pop();
        }
        shrink(&mut table.watches);
        if armed != [false; 2] {
            self.end_polls(table, key, armed);
        }
        Ok(())
    }

    /// Ends the polls of a descriptor that has left the table. Unless the kernel is too old this submits
    /// nothing, since the polls of others would then belong to this thread.
    fn end_polls<'a>(&'a self, mut table: Guard<'a, Table>, key: Key, armed: [bool; 2]) {
        if !self.cancels_at_once {
            self.cancel(&table, key, armed);
            self.submit(&table);
            return;
        }
        // A thread that sleeps, or is about to, may be submitting. It soon has, unless the system does not
        // run it.
        let mut yields = 0;
        while table.sleeping > 0 && self.ring.pending() > 0 {
            if yields == MOST_YIELDS {
                self.submit(&table);
                break;
            }
            yields += 1;
            self.nudge(&mut table);
            drop(table);
            thread::yield_now();
            table = self.table.lock();
        }
        for direction in DIRECTIONS {
            if armed[direction as usize] {
                let number = number(key, direction);
                // SAFETY: nobody pushes or submits, since this thread has the lock. Nor does a sleeper: there
                // is none, or nothing is pending that it might be about to submit.
                unsafe { self.ring.blank_out(number, NOBODY) };
                let _ = self.ring.cancel_now(number);
            }
        }
    }

    pub(crate) fn retire(&self) {
        let mut table = self.table.lock();
        let watches = std::mem::take(&mut table.watches);
        for (slot, watch) in watches.iter().enumerate() {
            if let Some(watch) = watch {
                self.cancel(&table, Key { slot: slot as u32, generation: watch.generation }, watch.armed);
            }
        }
        self.submit(&table);
    }

    pub(crate) fn arm(&self, key: Key, direction: Direction) {
        let mut table = self.table.lock();
        let Some(watch) = table.watch(key) else { return };
        let armed = &mut watch.armed[direction as usize];
        if !std::mem::replace(armed, true) {
            let entry = poll(watch.fd, number(key, direction), direction);
            self.push(&table, &entry);
            if table.sleeping > 0 {
                self.nudge(&mut table);
            }
        }
    }

    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let blocks = timeout != Some(Duration::ZERO);
        let deadline = timeout.filter(|_| blocks).and_then(|timeout| Instant::now().checked_add(timeout));
        let mut left = timeout.filter(|_| deadline.is_some());
        loop {
            let mut table = self.table.lock();
            self.collect(&mut table, events);
            if !blocks || !events.is_empty() {
                if self.ring.pending() > 0 || self.ring.has_overflowed() {
                    self.submit(&table);
                    self.collect(&mut table, events);
                }
                return Ok(());
            }
            self.poll_wakeup(&mut table);
            table.nudged = false;
            table.sleeping += 1;
            let pending = self.ring.pending();
            drop(table);
            let result = self.ring.wait(pending, left.map(|left| left.min(LONGEST)));
            let mut table = self.table.lock();
            table.sleeping -= 1;
            self.collect(&mut table, events);
            match result.map_err(|e| (e.raw_os_error(), e)) {
                Err((Some(libc::EINTR), _)) => return Ok(()),
                Err((Some(libc::EBADR), _)) => self.fire_all(&mut table, events),
                Err((Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM), _)) => thread::yield_now(),
                Ok(_) | Err((Some(libc::ETIME), _)) => {}
                Err((_, e)) => return Err(e),
            }
            drop(table);
            if let Some(deadline) = deadline.filter(|_| events.is_empty()) {
                let rest = deadline.saturating_duration_since(Instant::now());
                if rest.is_zero() {
                    return Ok(());
                }
                left = Some(rest);
            }
        }
    }

    pub(crate) fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the buffer is eight bytes, as an eventfd wants. The counter cannot overflow in the
        // life of a process, so the write does not fail.
        let _ = retry(|| unsafe { libc::write(self.wakeup.as_raw_fd(), one.as_ptr().cast(), 8) });
    }

    /// Makes a sleeper submit what was pushed.
    fn nudge(&self, table: &mut Table) {
        if std::mem::replace(&mut table.nudged, true) {
            return;
        }
        let one = 1u64.to_ne_bytes();
        // SAFETY: as in `wake`.
        let _ = retry(|| unsafe { libc::write(self.nudge.as_raw_fd(), one.as_ptr().cast(), 8) });
    }

    /// Takes completions, for as many as there is room in `events`.
    fn collect(&self, table: &mut Table, events: &mut Events) {
        while events.has_room() {
            // SAFETY: the lock of the table gives the right to take completions.
            let Some(completion) = (unsafe { self.ring.next_completion() }) else { return };
            let goes_on = completion.flags & COMPLETION_MORE != 0;
            match completion.key {
                NOBODY => {}
                NUDGE => table.nudge_is_polled = goes_on,
                WAKE => {
                    table.wakeup_is_polled = goes_on;
                    events.push(libc::EPOLLIN as u32, WAKE);
                }
                number => {
                    let key = Key::unpack(number & !FOR_WRITING);
                    let direction = DIRECTIONS[usize::from(number & FOR_WRITING != 0)];
                    let Some(watch) = table.watch(key) else { continue };
                    let mut bits = u32::try_from(completion.result).unwrap_or(0);
                    if !goes_on {
                        watch.armed[direction as usize] = false;
                        bits |= interest(direction);
                    }
                    events.push(bits, key.pack());
                }
            }
        }
    }

    /// Has the eventfds polled.
    fn poll_wakeup(&self, table: &mut Table) {
        let polled = [&mut table.wakeup_is_polled, &mut table.nudge_is_polled];
        let missing = polled.map(|polled| !std::mem::replace(polled, true));
        if missing == [false; 2] {
            return;
        }
        for (missing, (fd, key)) in missing.into_iter().zip([(&self.wakeup, WAKE), (&self.nudge, NUDGE)]) {
            if missing {
                let entry = Entry { len: POLL_ADD_MULTI, ..poll(fd.as_raw_fd(), key, Direction::Read) };
                self.push(table, &entry);
            }
        }
        // Here, so that no other thread submits it.
        self.submit(table);
    }

    /// Reports all that is armed: the kernel has lost completions, since it had no memory. What has ended is
    /// not known, so all polls end.
    #[cold]
    fn fire_all(&self, table: &mut Table, events: &mut Events) {
        table.lost = true;
        for key in [WAKE, NUDGE] {
            let _ = self.ring.cancel_now(key);
        }
        (table.wakeup_is_polled, table.nudge_is_polled) = (false, false);
        events.push(libc::EPOLLIN as u32, WAKE);
        for (slot, watch) in table.watches.iter_mut().enumerate() {
            let Some(watch) = watch else { continue };
            for direction in DIRECTIONS {
                if std::mem::take(&mut watch.armed[direction as usize]) {
                    let key = Key { slot: slot as u32, generation: watch.generation };
                    let _ = self.ring.cancel_now(number(key, direction));
                    events.push(interest(direction), key.pack());
                }
            }
        }
    }

    fn cancel(&self, table: &Table, key: Key, armed: [bool; 2]) {
        for direction in DIRECTIONS {
            if armed[direction as usize] {
                let (opcode, flags, address) = (OP_ASYNC_CANCEL, ENTRY_SKIPS_SUCCESS, number(key, direction));
                self.push(table, &Entry { opcode, flags, fd: -1, address, key: NOBODY, ..Entry::default() });
            }
        }
    }

    fn push(&self, table: &Table, entry: &Entry) {
        // SAFETY: the lock of the table gives the right to push. The entry points to nothing.
        while !unsafe { self.ring.push(entry) } {
            self.submit(table);
        }
    }

    /// Has the kernel take all entries, without waiting for events. The caller holds the lock of the table.
    fn submit(&self, _table: &Table) {
        loop {
            match self.ring.submit_and_flush(self.ring.pending()).map_err(|e| (e.raw_os_error(), e)) {
                Ok(_) | Err((Some(libc::EINTR), _)) => {}
                // Completions were lost. The next `wait` that sleeps is told so again.
                Err((Some(libc::EBADR), _)) => {}
                Err((Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM), _)) => thread::yield_now(),
                Err((_, e)) => refused(&e),
            }
            if self.ring.pending() == 0 {
                return;
            }
        }
    }
}

fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: a fresh descriptor, with no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Table {
    fn watch(&mut self, key: Key) -> Option<&mut Watch> {
        let watch = self.watches.get_mut(key.slot as usize)?.as_mut()?;
        (watch.generation == key.generation).then_some(watch)
    }
}

/// The kernel wants the halves of a poll's bits the other way round.
const HALVES_ARE_SWAPPED: bool = cfg!(target_endian = "big");

/// What a sandbox does that forbids the call later than the ring.
#[cold]
fn refused(error: &io::Error) -> ! {
    panic!("io_uring_enter fails: {error}. If it is forbidden from now on, run with SWARD_NETPOLL=epoll")
}

/// The key of the poll of that direction, as a number.
fn number(key: Key, direction: Direction) -> u64 {
    key.pack() | if direction == Direction::Write { FOR_WRITING } else { 0 }
}

fn interest(direction: Direction) -> u32 {
    match direction {
        Direction::Read => libc::EPOLLIN as u32,
        Direction::Write => libc::EPOLLOUT as u32,
    }
}

fn poll(fd: RawFd, key: u64, direction: Direction) -> Entry {
    let len = if direction == Direction::Write { POLL_ADD_MULTI } else { 0 };
    let bits = interest(direction);
    let operation_flags = if HALVES_ARE_SWAPPED { bits.rotate_left(16) } else { bits };
    Entry { opcode: OP_POLL_ADD, fd, len, operation_flags, key, ..Entry::default() }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::netpoll::event::PollEvent;
    use crate::netpoll::sys::contract::{KEY, contract, readable, writable};
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    contract!(crate::netpoll::sys::io_uring);

    /// A poller; `None` where the system refuses it, as `contract` says.
    fn new() -> Option<Poller> {
        Poller::new().ok()
    }

    fn wait(poller: &Poller, timeout: Option<Duration>) -> Vec<PollEvent> {
        let mut events = Events::with_capacity(8);
        poller.wait(&mut events, timeout).expect("waits");
        events.iter().collect()
    }

    #[test]
    fn an_event_is_not_lost_with_the_thread_that_has_submitted_its_poll() {
        let Some(poller) = new() else { return };
        let (mut a, mut b) = UnixStream::pair().expect("a pair");
        for direction in DIRECTIONS {
            poller.add_unarmed(b.as_fd(), KEY).expect("added");
            b.set_nonblocking(true).expect("set");
            while direction == Direction::Write && b.write(&[0; 4096]).is_ok() {}
            let submit = || {
                poller.arm(KEY, direction);
                assert!(wait(&poller, Some(Duration::ZERO)).is_empty());
            };
            thread::scope(|scope| scope.spawn(submit).join()).expect("no panic");
            match direction {
                Direction::Read => a.write_all(b"x").expect("written"),
                Direction::Write => {
                    a.set_nonblocking(true).expect("set");
                    while a.read(&mut [0; 4096]).is_ok() {}
                }
            }
            let events = wait(&poller, None);
            assert!(match direction {
                Direction::Read => readable(&events, KEY),
                Direction::Write => writable(&events, KEY),
            });
            poller.remove(b.as_fd(), KEY).expect("removed");
        }
    }

    #[test]
    fn more_events_than_the_queue_holds_are_all_reported() {
        let Some(poller) = new() else { return };
        let (mut a, b) = UnixStream::pair().expect("a pair");
        let keys = 3 * COMPLETIONS;
        for slot in 0..keys {
            let key = Key { slot, generation: 1 };
            poller.add_unarmed(b.as_fd(), key).expect("added");
            poller.arm(key, Direction::Read);
        }
        assert!(wait(&poller, Some(Duration::ZERO)).is_empty());
        a.write_all(b"x").expect("written");
        let mut missing: std::collections::BTreeSet<u32> = (0..keys).collect();
        while !missing.is_empty() {
            for event in wait(&poller, None) {
                assert!(event.readable && missing.remove(&event.key.slot));
            }
        }
    }

    /// Otherwise the polls would be the other thread's, and end with it.
    #[test]
    fn a_thread_that_removes_does_not_submit_the_polls_of_others() {
        let Some(poller) = new().filter(|poller| poller.cancels_at_once) else { return };
        let ((mut a, b), (_c, d)) =
            (UnixStream::pair().expect("a pair"), UnixStream::pair().expect("a pair"));
        let [taken, pending, other] = [1, 2, 3].map(|slot| Key { slot, generation: 1 });
        poller.add_unarmed(d.as_fd(), taken).expect("added");
        poller.arm(taken, Direction::Read);
        assert!(wait(&poller, Some(Duration::ZERO)).is_empty());
        poller.add_unarmed(b.as_fd(), other).expect("added");
        poller.arm(other, Direction::Read);
        poller.add_unarmed(d.as_fd(), pending).expect("added");
        poller.arm(pending, Direction::Read);
        let remove = || [taken, pending].map(|key| poller.remove(d.as_fd(), key).expect("removed"));
        thread::scope(|scope| scope.spawn(remove).join()).expect("no panic");
        assert_eq!(poller.ring.pending(), 2, "another thread has submitted them");
        drop(d);
        assert!(wait(&poller, Some(Duration::ZERO)).is_empty());
        a.write_all(b"x").expect("written");
        let events = wait(&poller, None);
        assert!(events.len() == 1 && readable(&events, other));
    }

    /// Arming and removing beside a sleeper, from a thread that then ends.
    #[test]
    fn a_sleeper_submits_what_others_arm() {
        let Some(poller) = new() else { return };
        for round in 0..200 {
            let ((mut a, b), (_c, d)) =
                (UnixStream::pair().expect("a pair"), UnixStream::pair().expect("a pair"));
            let [one, two] = [0, 1].map(|slot| Key { slot, generation: 2 * round + 1 });
            poller.add_unarmed(b.as_fd(), one).expect("added");
            thread::scope(|scope| {
                scope.spawn(|| {
                    poller.add_unarmed(d.as_fd(), two).expect("added");
                    poller.arm(two, Direction::Read);
                    poller.arm(one, Direction::Read);
                    poller.remove(d.as_fd(), two).expect("removed");
                    a.write_all(b"x").expect("written");
                });
                let mut events = Vec::new();
                while !readable(&events, one) {
                    events = wait(&poller, None);
                    assert!(events.iter().all(|event| event.key == one));
                }
            });
            poller.remove(b.as_fd(), one).expect("removed");
        }
    }

    /// The end of the peer's side is a state of the socket, which io_uring reports to each poll.
    #[test]
    fn a_writer_beside_a_half_closed_peer_sleeps() {
        let Some(poller) = new() else { return };
        let (mut a, mut b) = UnixStream::pair().expect("a pair");
        b.set_nonblocking(true).expect("set");
        while b.write(&[0; 4096]).is_ok() {}
        a.shutdown(Shutdown::Write).expect("shut down");
        poller.add_unarmed(b.as_fd(), KEY).expect("added");
        poller.arm(KEY, Direction::Write);
        assert!(!writable(&wait(&poller, Some(Duration::ZERO)), KEY));
        for _ in 0..3 {
            poller.arm(KEY, Direction::Write);
            assert!(wait(&poller, Some(Duration::ZERO)).is_empty());
        }
        a.set_nonblocking(true).expect("set");
        while a.read(&mut [0; 4096]).is_ok() {}
        assert!(writable(&wait(&poller, None), KEY));
    }
}
