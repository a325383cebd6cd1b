//! Waiting for several descriptors: `poll`, `ppoll`, `select`.
//!
//! The kernel answers, with a timeout of zero, before and after each wait. So what is reported, and which
//! arguments are errors, is up to the kernel.

use crate::errno::fail;
use crate::real;
use crate::scope::Scope;
use crate::watch::{Interest, Naps, Waited, sleep, wait};
use libc::{c_int, fd_set, nfds_t, pollfd};
use std::ptr;
use std::time::{Duration, Instant};

/// The events of `poll(2)`, which are those of epoll.
const EVENTS: u32 = 0x23ff;
/// A wait as short as this has not waited.
const SPURIOUS: Duration = Duration::from_micros(100);
/// How many descriptors a set of the C library holds.
const SET_SIZE: c_int = libc::FD_SETSIZE as c_int;

/// A time from now, unless it never comes.
fn at(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// The time that is left; `None`: for ever.
fn left(until: Option<Instant>) -> Option<Duration> {
    until.map(|until| until.saturating_duration_since(Instant::now()))
}

/// Names each descriptor once, with all events.
fn merge(mut interests: Vec<Interest>) -> Vec<Interest> {
    interests.sort_unstable_by_key(|interest| interest.fd);
    interests.dedup_by(|later, kept| {
        let same = later.fd == kept.fd;
        if same {
            kept.events |= later.events;
        }
        same
    });
    interests
}

/// Asks until the answer is not zero, and parks in between.
fn ask(
    scope: &Scope,
    interests: &[Interest],
    timeout: Option<Duration>,
    mut question: impl FnMut() -> c_int,
) -> c_int {
    let until = at(timeout);
    let (mut naps, mut spurious) = (None, 0);
    loop {
        let waited = match left(until) {
            Some(left) if left.is_zero() => Waited::TimedOut,
            Some(left) if interests.is_empty() => match sleep(left) {
                true => Waited::TimedOut,
                false => Waited::Failed(libc::ECANCELED),
            },
            // A wait that returns although nothing is ready must not spin.
            left if spurious > 3 || interests.is_empty() => naps.get_or_insert_with(|| Naps::new(left)).nap(),
            left => {
                let begun = Instant::now();
                let waited = wait(scope, interests, left);
                spurious = if begun.elapsed() < SPURIOUS { spurious + 1 } else { 0 };
                waited
            }
        };
        match waited {
            Waited::Failed(error) if error != libc::EBADF => return fail(error),
            Waited::TimedOut => return question(),
            _ => match question() {
                0 => {}
                answer => return answer,
            },
        }
    }
}

/// `poll(2)`.
///
/// # Safety
///
/// That of `poll(2)`.
pub(crate) unsafe fn poll(
    scope: &Scope,
    entries: *mut pollfd,
    count: nfds_t,
    timeout: Option<Duration>,
) -> c_int {
    // SAFETY: the caller's entries.
    let question = || unsafe { real::poll(entries, count, 0) };
    let answer = question();
    if answer != 0 || timeout == Some(Duration::ZERO) {
        return answer;
    }
    let entries = match count {
        0 => &[],
        // SAFETY: the kernel has read and written that many.
        count => unsafe { std::slice::from_raw_parts(entries, count as usize) },
    };
    let interests = entries
        .iter()
        .filter(|entry| entry.fd >= 0)
        .map(|entry| Interest { fd: entry.fd, events: u32::from(entry.events as u16) & EVENTS });
    ask(scope, &merge(interests.collect()), timeout, question)
}

/// One of the sets of `select(2)`: the caller's, and what it held.
struct Set {
    caller: *mut fd_set,
    before: Vec<u64>,
    now: Vec<u64>,
}

impl Set {
    /// # Safety
    ///
    /// The set is null or has that many words.
    unsafe fn new(caller: *mut fd_set, words: usize) -> Set {
        let mut before = Vec::new();
        if !caller.is_null() {
            // SAFETY: passed on to the caller. A byte-wise copy, as the set may be unaligned.
            unsafe {
                before.resize(words, 0_u64);
                ptr::copy_nonoverlapping(caller.cast::<u8>(), before.as_mut_ptr().cast(), words * 8);
            }
        }
        Set { caller, now: before.clone(), before }
    }

    /// The set for a question; null if the caller has none.
    fn question(&mut self) -> *mut fd_set {
        if self.caller.is_null() {
            return ptr::null_mut();
        }
        self.now.copy_from_slice(&self.before);
        self.now.as_mut_ptr().cast()
    }

    /// # Safety
    ///
    /// As `new`.
    unsafe fn answer(&self) {
        if !self.caller.is_null() {
            // SAFETY: passed on to the caller.
            unsafe {
                let words = self.caller.cast::<u64>();
                for (at, now) in self.now.iter().enumerate().filter(|(at, now)| self.before[*at] != **now) {
                    words.add(at).write_unaligned(*now);
                }
            }
        }
    }

    fn interests(&self, count: c_int, events: c_int) -> impl Iterator<Item = Interest> {
        let events = events as u32;
        (0..count)
            .filter(|fd| self.before.get(*fd as usize / 64).is_some_and(|word| word >> (fd % 64) & 1 == 1))
            .map(move |fd| Interest { fd, events })
    }
}

/// How many descriptors of a set the kernel looks at; `None` if nobody knows, or the count is wrong. The sets
/// of the caller may be shorter than the count says: the kernel stops at the size of the process's table.
pub(crate) fn selected(count: c_int) -> Option<c_int> {
    if (0..=SET_SIZE).contains(&count) {
        return Some(count);
    }
    let table = || {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        status.lines().find_map(|line| line.strip_prefix("FDSize:"))?.trim().parse().ok()
    };
    if count < 0 { None } else { table().map(|table: c_int| table.min(count)) }
}

/// `select(2)`, without its change of the timeout.
///
/// # Safety
///
/// That of `select(2)`, for a count that `selected` has returned.
pub(crate) unsafe fn select(
    scope: &Scope,
    count: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    others: *mut fd_set,
    timeout: Option<Duration>,
) -> c_int {
    let words = (count as usize).div_ceil(64);
    // SAFETY: passed on to the caller.
    let mut sets = unsafe { [reads, writes, others].map(|set| Set::new(set, words)) };
    let mut interests = Vec::new();
    let events = [libc::EPOLLIN, libc::EPOLLOUT, libc::EPOLLPRI];
    for (set, events) in sets.iter().zip(events) {
        interests.extend(set.interests(count, events));
    }
    let mut question = || {
        let mut zero = libc::timeval { tv_sec: 0, tv_usec: 0 };
        let [reads, writes, others] = sets.each_mut().map(Set::question);
        // SAFETY: the sets have as many words as the kernel reads.
        unsafe { real::select(count, reads, writes, others, &raw mut zero) }
    };
    let first = question();
    let answer = if first != 0 || timeout == Some(Duration::ZERO) {
        first
    } else {
        ask(scope, &merge(interests), timeout, question)
    };
    // After an error the sets are as they were.
    if answer >= 0 {
        // SAFETY: passed on to the caller.
        sets.iter().for_each(|set| unsafe { set.answer() });
    }
    answer
}
