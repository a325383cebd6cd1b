//! The wait: until one of some descriptors is ready, without a change of their open files.
//!
//! An open file may be shared, with other threads and other processes, so `O_NONBLOCK` must not be set on it.
//! A *watcher* is an epoll instance of this crate's own. The descriptors are added to it, and the coroutine
//! waits for the epoll instance, which is pollable itself.
//!
//! A watcher serves one wait at a time and then goes to the pool of its thread, registered with the shard of
//! that worker.
//!
//! # Why no wake-up is lost
//!
//! The runtime learns of an epoll instance by edges. An edge comes when an entry becomes ready that was not
//! in the instance's list of ready entries already. So, *invariant*: no entry of a pooled watcher is armed.
//! Entries are armed one-shot. A fetch that returns an entry disarms it; after any other end of a wait, and
//! after a wait for several, the entries are deleted. If that fails, the watcher is dropped.
//!
//! A disarmed entry of a single descriptor stays, which saves a system call in the next wait for it. It names
//! the open file, not only the number: for another file under that number the kernel finds no entry.
//!
//! # `close`
//!
//! A file that is closed leaves all epoll instances, so a wait for it would never end. `close` therefore ends
//! the waits for its descriptor first, which then fail with `EBADF`.

use crate::errno::{errno, fail};
use crate::real;
use crate::scope::{Scope, mark_thread};
use libc::{c_int, pollfd};
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use sward::io::Pollable;
use sward::task::{catch_cancel, mask};

/// How many watchers a thread keeps.
const POOLED: usize = 32;
/// After how many entries that stayed a watcher is dropped: their files may be gone or not.
const KEPT: usize = 256;
/// The longest nap of a wait that has to ask again and again.
const LONGEST_NAP: Duration = Duration::from_millis(16);
const LISTS: usize = 64;
/// How often `close` tries to get a lock before it does without. It may be called where the lock is held for
/// ever: in a signal handler, in a forked child.
const TRIES: usize = 1000;

/// How a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// One of them may be ready.
    Ready,
    /// The time has passed.
    TimedOut,
    /// With that error: `ECANCELED`, `EBADF`.
    Failed(c_int),
}

/// A descriptor, and the events to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) fd: c_int,
    pub(crate) events: u32,
}

struct Watcher {
    epoll: Pollable<OwnedFd>,
    kept: AtomicUsize,
    /// Set by `close` of a descriptor that is waited for.
    closed: AtomicBool,
}

thread_local! {
    static POOL: RefCell<Vec<Arc<Watcher>>> = const { RefCell::new(Vec::new()) };
}

#[inline(never)]
fn pooled() -> Option<Arc<Watcher>> {
    POOL.try_with(|pool| pool.try_borrow_mut().ok()?.pop()).ok().flatten()
}

#[inline(never)]
fn pool(watcher: Arc<Watcher>) {
    let mut watcher = Some(watcher);
    let _ = POOL.try_with(|pool| {
        if let Ok(mut pool) = pool.try_borrow_mut()
            && pool.len() < POOLED
        {
            pool.extend(watcher.take());
        }
    });
    // Not under the borrow: a destructor of the runtime may do anything.
    drop(watcher);
}

/// A wait for a descriptor, for `close`.
struct Waiting {
    fd: c_int,
    process: u32,
    watcher: Arc<Watcher>,
}

/// How many waits are listed.
static LISTED: AtomicUsize = AtomicUsize::new(0);
static WAITING: [Mutex<Vec<Waiting>>; LISTS] = [const { Mutex::new(Vec::new()) }; LISTS];

fn list_of(fd: c_int) -> &'static Mutex<Vec<Waiting>> {
    &WAITING[fd as usize % LISTS]
}

fn locked(list: &'static Mutex<Vec<Waiting>>) -> MutexGuard<'static, Vec<Waiting>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the waits for a descriptor that is about to be closed.
#[inline]
pub(crate) fn end_waits(fd: c_int) {
    if LISTED.load(Ordering::SeqCst) != 0 && fd >= 0 {
        end_listed_waits(fd);
    }
}

/// As `end_waits`, for all descriptors of a range.
pub(crate) fn end_waits_of(first: u32, last: u32) {
    if LISTED.load(Ordering::SeqCst) == 0 {
        return;
    }
    for list in &WAITING {
        let Ok(list) = list.try_lock() else { continue };
        let in_range = |waiting: &&Waiting| (first..=last).contains(&(waiting.fd as u32));
        let fds: Vec<_> = list.iter().filter(in_range).map(|waiting| waiting.fd).collect();
        drop(list);
        fds.into_iter().for_each(end_waits);
    }
}

#[cold]
fn end_listed_waits(fd: c_int) {
    let Some(list) = (0..TRIES).find_map(|_| match list_of(fd).try_lock() {
        Ok(list) => Some(list),
        Err(std::sync::TryLockError::Poisoned(list)) => Some(list.into_inner()),
        Err(std::sync::TryLockError::WouldBlock) => {
            std::hint::spin_loop();
            None
        }
    }) else {
        return;
    };
    if !list.iter().any(|waiting| waiting.fd == fd) {
        return;
    }
    // A forked child closes its own descriptor, and its parent's coroutines are not in it.
    let process = std::process::id();
    let watchers: Vec<_> = list
        .iter()
        .filter(|waiting| waiting.fd == fd && waiting.process == process)
        .map(|waiting| Arc::clone(&waiting.watcher))
        .collect();
    // Under the lock: a wait that has left the list knows whether its watcher can serve another one.
    watchers.iter().for_each(|watcher| watcher.closed.store(true, Ordering::Release));
    drop(list);
    for watcher in watchers {
        let _ = watcher.epoll.close();
    }
}

impl Watcher {
    fn new() -> io::Result<Arc<Watcher>> {
        // SAFETY: the call takes no pointers.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is new, and nobody else's.
        let epoll = Pollable::new(unsafe { OwnedFd::from_raw_fd(epoll) })?;
        Ok(Arc::new(Watcher { epoll, kept: AtomicUsize::new(0), closed: AtomicBool::new(false) }))
    }

    fn control(&self, operation: c_int, interest: Interest) -> c_int {
        let mut event = libc::epoll_event {
            events: interest.events | libc::EPOLLONESHOT as u32,
            u64: interest.fd as u64,
        };
        // SAFETY: the event outlives the call.
        match unsafe {
            libc::epoll_ctl(self.epoll.get_ref().as_raw_fd(), operation, interest.fd, &raw mut event)
        } {
            0 => 0,
            _ => errno(),
        }
    }

    /// Has the watcher report the next event; or an error number.
    fn arm(&self, interest: Interest) -> c_int {
        match self.control(libc::EPOLL_CTL_MOD, interest) {
            libc::ENOENT => {
                self.kept.fetch_add(1, Ordering::Relaxed);
                self.control(libc::EPOLL_CTL_ADD, interest)
            }
            outcome => outcome,
        }
    }

    /// Parks until an entry is fetched.
    fn park(&self, timeout: Option<Duration>) -> Waited {
        let timeout = timeout.map(|timeout| timeout.max(Duration::from_nanos(1)));
        let outcome = catch_cancel(|| {
            self.epoll.set_read_timeout(timeout)?;
            self.epoll.read_with(|epoll| {
                let mut event = libc::epoll_event { events: 0, u64: 0 };
                // SAFETY: there is room for one event.
                match unsafe { libc::epoll_wait(epoll.as_raw_fd(), &raw mut event, 1, 0) } {
                    0 => Err(ErrorKind::WouldBlock.into()),
                    n if n > 0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            })
        });
        mark_thread();
        match outcome {
            Ok(Ok(())) => Waited::Ready,
            Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => Waited::TimedOut,
            // The runtime has shut down, or a limit has passed where nothing can unwind.
            Ok(Err(_)) => Waited::Failed(libc::ECANCELED),
            // A cancellation, or a time limit. It must not unwind through frames of C.
            Err(_) => {
                // A caller that tries again must not starve others.
                mask(sward::yield_now);
                Waited::Failed(libc::ECANCELED)
            }
        }
    }
}

/// Parks the coroutine until one of the descriptors may be ready, for that time at most. No descriptor may be
/// named twice.
pub(crate) fn wait(scope: &Scope, interests: &[Interest], timeout: Option<Duration>) -> Waited {
    let watcher = match pooled().map_or_else(Watcher::new, Ok) {
        Ok(watcher) => watcher,
        // No descriptor is free.
        Err(_) => return ask_repeatedly(interests, timeout),
    };
    // Before they are armed: a `close` in between has to find the wait.
    let listed = List::new(scope, &watcher, interests);
    for (armed, interest) in interests.iter().enumerate() {
        let error = watcher.arm(*interest);
        if error == 0 {
            continue;
        }
        drop(listed);
        give_back(watcher, &interests[..armed]);
        return match error {
            // Always ready; or closed, and the call itself says so.
            libc::EPERM | libc::EBADF => Waited::Ready,
            // Epoll instances are nested too deep; or the system's limits are reached.
            _ => ask_repeatedly(interests, timeout),
        };
    }
    let mut waited = watcher.park(timeout);
    drop(listed);
    if watcher.closed.load(Ordering::Acquire) {
        waited = Waited::Failed(libc::EBADF);
    }
    match (waited, interests) {
        (Waited::Ready, [_]) if watcher.kept.load(Ordering::Relaxed) < KEPT => pool(watcher),
        _ => give_back(watcher, interests),
    }
    waited
}

/// The entries of a wait in the lists for `close`, until it is dropped.
struct List<'a> {
    watcher: Arc<Watcher>,
    interests: &'a [Interest],
}

impl<'a> List<'a> {
    fn new(scope: &Scope, watcher: &Arc<Watcher>, interests: &'a [Interest]) -> List<'a> {
        LISTED.fetch_add(1, Ordering::SeqCst);
        for interest in interests {
            let (fd, process) = (interest.fd, scope.process());
            locked(list_of(fd)).push(Waiting { fd, process, watcher: Arc::clone(watcher) });
        }
        List { watcher: Arc::clone(watcher), interests }
    }
}

impl Drop for List<'_> {
    fn drop(&mut self) {
        for interest in self.interests {
            let mut list = locked(list_of(interest.fd));
            let at = list.iter().position(|waiting| {
                waiting.fd == interest.fd && Arc::ptr_eq(&waiting.watcher, &self.watcher)
            });
            let removed = at.map(|at| list.swap_remove(at));
            drop(list);
            drop(removed);
        }
        LISTED.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Deletes the entries and pools the watcher; or drops it.
fn give_back(watcher: Arc<Watcher>, armed: &[Interest]) {
    let clean = !watcher.closed.load(Ordering::Acquire)
        && watcher.kept.load(Ordering::Relaxed) < KEPT
        && armed.iter().all(|interest| watcher.control(libc::EPOLL_CTL_DEL, *interest) == 0);
    if clean {
        watcher.kept.fetch_sub(armed.len(), Ordering::Relaxed);
        pool(watcher);
    }
}

/// Whether one of them is ready now.
fn ready_now(interests: &[Interest]) -> bool {
    block(interests, Some(Duration::ZERO)) == Waited::Ready
}

/// Blocks the thread until one of them is ready.
fn block(interests: &[Interest], timeout: Option<Duration>) -> Waited {
    let mut entries: Vec<_> = interests
        .iter()
        .map(|interest| pollfd { fd: interest.fd, events: interest.events as i16, revents: 0 })
        .collect();
    let limit = timeout.map(|time| libc::timespec {
        tv_sec: i32::try_from(time.as_secs()).unwrap_or(i32::MAX).into(),
        tv_nsec: time.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the entries and the limit outlive the call.
    match unsafe { real::ppoll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, limit, ptr::null()) } {
        0 => Waited::TimedOut,
        n if n > 0 => Waited::Ready,
        _ => Waited::Failed(errno()),
    }
}

/// Naps that double, between questions.
pub(crate) struct Naps {
    next: Duration,
    until: Option<Instant>,
}

impl Naps {
    pub(crate) fn new(timeout: Option<Duration>) -> Naps {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Naps { next: Duration::from_millis(1), until }
    }

    /// Parks for a moment; `Ready` means: ask again.
    pub(crate) fn nap(&mut self) -> Waited {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Waited::TimedOut;
        }
        let time = left.map_or(self.next, |left| left.min(self.next));
        self.next = (self.next * 2).min(LONGEST_NAP);
        if sleep(time) { Waited::Ready } else { Waited::Failed(libc::ECANCELED) }
    }
}

/// Where there can be no watcher: the worker stays free nevertheless.
fn ask_repeatedly(interests: &[Interest], timeout: Option<Duration>) -> Waited {
    let mut naps = Naps::new(timeout);
    loop {
        if ready_now(interests) {
            return Waited::Ready;
        }
        match naps.nap() {
            Waited::Ready => {}
            ended => return ended,
        }
    }
}

/// Parks for that time. False if a cancellation or a time limit has ended it.
pub(crate) fn sleep(time: Duration) -> bool {
    let ended = catch_cancel(|| sward::sleep(time)).is_ok();
    if !ended {
        // As above: some sleep in a loop until something happens.
        mask(|| sward::sleep(time.min(Duration::from_millis(2))));
    }
    mark_thread();
    ended
}

/// Whether the open file is non-blocking. False if it is none.
pub(crate) fn is_nonblocking(fd: c_int) -> bool {
    // SAFETY: the call takes no pointers.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    flags >= 0 && flags & libc::O_NONBLOCK != 0
}

/// The number that is this option of a socket; `None` if it is no socket.
pub(crate) fn option(fd: c_int, option: c_int) -> Option<c_int> {
    let (mut value, mut len): (c_int, _) = (0, size_of::<c_int>() as libc::socklen_t);
    // SAFETY: the buffer is as long as said.
    let outcome =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, (&raw mut value).cast(), &raw mut len) };
    (outcome == 0).then_some(value)
}

/// A call that would block, in one direction of one descriptor.
pub(crate) struct Blocking<'a> {
    scope: &'a Scope,
    interest: Interest,
    /// The socket option that limits the waits.
    limit: c_int,
    /// When the waits end. Asked for at the first one.
    until: Option<Option<Instant>>,
    /// Whether it has waited before.
    waited: bool,
    /// How often in a row the call would block although the descriptor is ready.
    spurious: u32,
}

impl<'a> Blocking<'a> {
    pub(crate) fn to_read(scope: &'a Scope, fd: c_int) -> Blocking<'a> {
        let events = (libc::EPOLLIN | libc::EPOLLRDHUP) as u32;
        Blocking::new(scope, Interest { fd, events }, libc::SO_RCVTIMEO)
    }

    pub(crate) fn to_write(scope: &'a Scope, fd: c_int) -> Blocking<'a> {
        Blocking::new(scope, Interest { fd, events: libc::EPOLLOUT as u32 }, libc::SO_SNDTIMEO)
    }

    fn new(scope: &'a Scope, interest: Interest, limit: c_int) -> Blocking<'a> {
        Blocking { scope, interest, limit, until: None, waited: false, spurious: 0 }
    }

    /// Something was transferred, so the next wait is no spurious one.
    pub(crate) fn made_progress(&mut self) {
        (self.waited, self.spurious) = (false, 0);
    }

    /// For how long the call may still wait; `None`: for ever.
    fn left(&mut self) -> Option<Duration> {
        let (fd, limit) = (self.interest.fd, self.limit);
        let until = *self.until.get_or_insert_with(|| Instant::now().checked_add(time_limit(fd, limit)?));
        until.map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Parks until it is worth trying again; or returns the error number of the call: `EAGAIN` if the file
    /// is non-blocking, or its timeout has passed.
    pub(crate) fn wait(&mut self) -> Result<(), c_int> {
        if is_nonblocking(self.interest.fd) {
            return Err(libc::EAGAIN);
        }
        let left = self.left();
        if left.is_some_and(|left| left.is_zero()) {
            return Err(libc::EAGAIN);
        }
        // After a wait: either another reader was faster; or something lasts that ends each wait at once,
        // such as a queue of errors that nobody reads.
        if self.waited && is_ready(self.interest.fd, self.interest.events as i16) {
            return if self.spurious < 3 {
                self.spurious += 1;
                Ok(())
            } else {
                self.nap()
            };
        }
        (self.waited, self.spurious) = (true, 0);
        match wait(self.scope, &[self.interest], left) {
            Waited::Ready => Ok(()),
            Waited::TimedOut => Err(libc::EAGAIN),
            Waited::Failed(error) => Err(error),
        }
    }

    /// As `wait`, for a condition that the kernel does not report: naps.
    pub(crate) fn nap(&mut self) -> Result<(), c_int> {
        let left = self.left();
        if left.is_some_and(|left| left.is_zero()) {
            return Err(libc::EAGAIN);
        }
        let nap = Duration::from_millis(1 << self.spurious.min(4));
        self.spurious += 1;
        if sleep(left.map_or(nap, |left| left.min(nap))) { Ok(()) } else { Err(libc::ECANCELED) }
    }

    /// Makes the call until it does not fail with `EAGAIN`, and parks in between.
    pub(crate) fn retry<R: Copy + From<i8> + PartialEq>(&mut self, mut call: impl FnMut() -> R) -> R {
        loop {
            let outcome = call();
            if outcome != R::from(-1) || errno() != libc::EAGAIN {
                return outcome;
            }
            if let Err(error) = self.wait() {
                return fail(error);
            }
        }
    }
}

/// The limit of a socket's waits, if it has one.
fn time_limit(fd: c_int, option: c_int) -> Option<Duration> {
    let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut len = size_of::<libc::timeval>() as libc::socklen_t;
    // SAFETY: the buffer is as long as said.
    let outcome =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, (&raw mut time).cast(), &raw mut len) };
    let limit = Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_usec).ok()? * 1000);
    (outcome == 0 && !limit.is_zero()).then_some(limit)
}

/// Whether a call in that direction would not block now.
pub(crate) fn is_ready(fd: c_int, events: i16) -> bool {
    let mut entry = pollfd { fd, events, revents: 0 };
    // SAFETY: one entry.
    unsafe { real::poll(&raw mut entry, 1, 0) != 0 }
}
