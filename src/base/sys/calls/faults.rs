//! Errors and short counts that a seed decides, on the real system.
//!
//! `SWARD_FAULTS=seed[:rate[:classes]]` in the environment, or [`set_faults`], makes about one in `rate`
//! calls of the chosen classes fail or transfer less, as the kernel may have them do at any time. The classes
//! are words with commas between them; without any they are `calls`. The crate handles those of the first
//! three by itself, which together are `handled`. The program sees the others as errors of the public API.
//! `all` is all of them.
//!
//! | class | call | faults |
//! |---|---|---|
//! | `calls` | `recv`, `send`, `read`, `write` and their like | `EINTR`, `EAGAIN`; short counts, but not on TCP |
//! | | `accept4` | `EINTR`, `EAGAIN`, `ECONNABORTED`, `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM` |
//! | | `connect` | `EINTR` while it is in progress |
//! | | `ppoll`, `epoll_wait`, `epoll_pwait2` | `EINTR` |
//! | `newer` | calls that older kernels do not have: `epoll_pwait2`, `preadv2`, `pwritev2`, `openat2`, `statx`, `pidfd_open`, `process_madvise`, `io_uring_setup` | `ENOSYS`, `EPERM` |
//! | `advice` | `madvise` | `EINVAL`, `ENOMEM`, `EAGAIN` |
//! | `memory` | `mmap`, `mprotect` | `ENOMEM` |
//! | `threads` | `clone`, as the start of a thread | `EAGAIN` |
//! | `pollers` | `epoll_create1`, `eventfd` | `EMFILE`, `ENFILE`, `ENOMEM` |
//! | `watches` | `epoll_ctl` that adds | `ENOMEM`, `ENOSPC` |
//! | `sockets` | `socket`, `socketpair` | `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM` |
//! | | a send of datagrams with an address | `ENOBUFS` |
//!
//! *An `EAGAIN` that is not true.* An edge-triggered poller reports nothing for a socket that stays ready, so
//! the caller would wait for ever. The kernel never does that. So this asks the kernel to report the state of
//! the descriptor once more (`EPOLL_CTL_MOD`), in the poller that watches it; a descriptor that nobody
//! watches gets such a report when it is added.
//!
//! *No short counts on TCP*: there a short count says that the socket is empty or full, which the crate
//! relies on (`net/socket.rs`).

use super::world::{Answer, Call, total};
use once_cell::sync::OnceCell;
use std::collections::HashMap;
use std::env;
use std::mem::size_of;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Which faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Decides which calls fail, together with how many were made before.
    pub(crate) seed: u64,
    /// About one in this many calls fails; none if it is zero.
    pub(crate) rate: u32,
    /// The classes of calls that fail.
    pub(crate) classes: Classes,
}

/// Classes of faults. Each has a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Classes(u32);

impl Classes {
    pub(crate) const CALLS: Classes = Classes(1);
    const NEWER: Classes = Classes(1 << 1);
    const ADVICE: Classes = Classes(1 << 2);
    const MEMORY: Classes = Classes(1 << 3);
    const THREADS: Classes = Classes(1 << 4);
    const POLLERS: Classes = Classes(1 << 5);
    const WATCHES: Classes = Classes(1 << 6);
    const SOCKETS: Classes = Classes(1 << 7);

    const NAMES: [(&str, Classes); 10] = [
        ("calls", Classes::CALLS),
        ("newer", Classes::NEWER),
        ("advice", Classes::ADVICE),
        ("memory", Classes::MEMORY),
        ("threads", Classes::THREADS),
        ("pollers", Classes::POLLERS),
        ("watches", Classes::WATCHES),
        ("sockets", Classes::SOCKETS),
        ("handled", Classes(0b111)),
        ("all", Classes(0b1111_1111)),
    ];

    fn parse(text: &str) -> Option<Classes> {
        text.split(',').try_fold(Classes(0), |classes, word| {
            let (_, class) = Classes::NAMES.iter().find(|(name, _)| *name == word)?;
            Some(Classes(classes.0 | class.0))
        })
    }
}

static SEED: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);
static CLASSES: AtomicU32 = AtomicU32::new(0);
/// Zero if nothing fails.
static RATE: AtomicU32 = AtomicU32::new(0);

/// How each descriptor is watched, and by which poller.
static WATCHED: Mutex<Option<HashMap<RawFd, (RawFd, libc::epoll_event)>>> = Mutex::new(None);

/// Sets the faults of the process.
pub(crate) fn set_faults(faults: Faults) {
    from_environment();
    CALLS.store(0, Ordering::Relaxed);
    store(faults);
}

fn store(faults: Faults) {
    SEED.store(faults.seed, Ordering::Relaxed);
    CLASSES.store(faults.classes.0, Ordering::Relaxed);
    RATE.store(faults.rate, Ordering::Relaxed);
}

/// Sets them once from the environment.
fn from_environment() {
    static ONCE: OnceCell<()> = OnceCell::new();
    ONCE.get_or_init(|| {
        let Ok(text) = env::var("SWARD_FAULTS") else { return };
        store(parse(&text).expect("SWARD_FAULTS is seed[:rate[:classes]]"));
    });
}

fn parse(text: &str) -> Option<Faults> {
    let mut parts = text.split(':');
    let seed = parts.next()?.parse().ok()?;
    let rate = parts.next().map_or(Some(10), |rate| rate.parse().ok())?;
    let classes = parts.next().map_or(Some(Classes::CALLS), Classes::parse)?;
    parts.next().is_none().then_some(Faults { seed, rate, classes })
}

/// A number for the next call. Each step of the mix is a bijection, so all bits of the count take part.
fn random() -> u64 {
    let count = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut x = SEED.load(Ordering::Relaxed).wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The number is about to be closed.
pub(super) fn closing(fd: RawFd) {
    if RATE.load(Ordering::Relaxed) != 0
        && let Some(watched) = &mut *WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
    {
        watched.remove(&fd);
    }
}

/// Answers a call with a fault, or leaves it to the kernel.
pub(super) fn call(call: &mut Call<'_>) -> Answer {
    if !are_on() {
        return Answer::Kernel;
    }
    if let Call::Watch { epoll, operation, fd, event } = call {
        note_watch(*epoll, *operation, *fd, *event);
    }
    let class = match *call {
        Call::Watch { operation: libc::EPOLL_CTL_ADD, .. } => Classes::WATCHES,
        Call::Socket { .. } | Call::SocketPair { .. } => Classes::SOCKETS,
        Call::Send { to: Some(_), .. } => Classes(Classes::CALLS.0 | Classes::SOCKETS.0),
        Call::Wait { precise: true, .. } => Classes(Classes::CALLS.0 | Classes::NEWER.0),
        _ => Classes::CALLS,
    };
    choose(class).map_or(Answer::Kernel, |choice| fault(call, choice))
}

/// The errno with which a call of that kind fails, if it is to fail.
pub(super) fn refused(call: Refusable) -> Option<libc::c_int> {
    let (class, faults): (_, &[libc::c_int]) = match call {
        Refusable::Newer => (Classes::NEWER, &[libc::ENOSYS, libc::EPERM]),
        Refusable::Advice => (Classes::ADVICE, &[libc::EINVAL, libc::ENOMEM, libc::EAGAIN]),
        Refusable::Memory => (Classes::MEMORY, &[libc::ENOMEM]),
        Refusable::Thread => (Classes::THREADS, &[libc::EAGAIN]),
        Refusable::Poller => (Classes::POLLERS, &[libc::EMFILE, libc::ENFILE, libc::ENOMEM]),
    };
    if !are_on() {
        return None;
    }
    choose(class).map(|choice| faults[choice % faults.len()])
}

/// Calls of which a world is not asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusable {
    Newer,
    Advice,
    Memory,
    Thread,
    Poller,
}

fn are_on() -> bool {
    from_environment();
    RATE.load(Ordering::Relaxed) != 0
}

fn is_on(class: Classes) -> bool {
    CLASSES.load(Ordering::Relaxed) & class.0 != 0
}

/// Whether the next call of these classes fails: a number that decides how.
fn choose(classes: Classes) -> Option<usize> {
    if !is_on(classes) {
        return None;
    }
    let (rate, number) = (u64::from(RATE.load(Ordering::Relaxed)).max(1), random());
    number.is_multiple_of(rate).then_some((number / rate) as usize)
}

fn note_watch(epoll: RawFd, operation: libc::c_int, fd: RawFd, event: libc::epoll_event) {
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    let watched = watched.get_or_insert_default();
    match operation {
        // A source that changes its poller joins the new one first.
        libc::EPOLL_CTL_DEL if watched.get(&fd).is_some_and(|(other, _)| *other != epoll) => {}
        libc::EPOLL_CTL_DEL => _ = watched.remove(&fd),
        _ => _ = watched.insert(fd, (epoll, event)),
    }
}

fn fault(call: &mut Call<'_>, choice: usize) -> Answer {
    const EXHAUSTED: [libc::c_int; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    match *call {
        Call::Receive { fd, buffers, .. } => transfer(fd, buffers, choice),
        Call::Send { to: Some(_), .. } if is_on(Classes::SOCKETS) && choice.is_multiple_of(4) => {
            Answer::Fails(libc::ENOBUFS)
        }
        Call::Send { to: Some(_), .. } if !is_on(Classes::CALLS) => Answer::Kernel,
        Call::Send { fd, buffers, .. } => transfer(fd, buffers, choice),
        Call::Read { fd, buffers } | Call::Write { fd, buffers } => transfer(fd, buffers, choice),
        Call::Accept { fd, .. } => {
            let faults = [libc::EINTR, libc::EAGAIN, libc::ECONNABORTED];
            let faults: Vec<_> = faults.into_iter().chain(EXHAUSTED).collect();
            fails(fd, faults[choice % faults.len()])
        }
        Call::Connect { fd, address } => connect(fd, address),
        Call::Poll { .. } => Answer::Fails(libc::EINTR),
        // The poller never makes it again.
        Call::Wait { precise: true, .. } if is_on(Classes::NEWER) && choice.is_multiple_of(64) => {
            Answer::Fails(libc::ENOSYS)
        }
        Call::Wait { .. } if !is_on(Classes::CALLS) => Answer::Kernel,
        Call::Wait { .. } => Answer::Fails(libc::EINTR),
        Call::Watch { operation: libc::EPOLL_CTL_ADD, fd, .. } => {
            closing(fd);
            Answer::Fails([libc::ENOMEM, libc::ENOSPC][choice % 2])
        }
        Call::Socket { .. } | Call::SocketPair { .. } => Answer::Fails(EXHAUSTED[choice % EXHAUSTED.len()]),
        _ => Answer::Kernel,
    }
}

fn transfer(fd: RawFd, buffers: &[libc::iovec], choice: usize) -> Answer {
    let len = total(buffers);
    match choice % 3 {
        0 => Answer::Fails(libc::EINTR),
        1 => fails(fd, libc::EAGAIN),
        _ if len > 1 && may_be_short(fd) => Answer::Short(1 + (choice / 3) % (len - 1)),
        _ => Answer::Kernel,
    }
}

/// That error. If it is `EAGAIN`, the poller reports the descriptor once more.
fn fails(fd: RawFd, errno: libc::c_int) -> Answer {
    if errno == libc::EAGAIN {
        let watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((epoll, event)) = watched.as_ref().and_then(|watched| watched.get(&fd)) {
            let mut event = *event;
            // SAFETY: the event lives until the call ends; the kernel copies it.
            unsafe { libc::epoll_ctl(*epoll, libc::EPOLL_CTL_MOD, fd, &raw mut event) };
        }
    }
    Answer::Fails(errno)
}

/// A connect that a signal interrupts goes on, so the kernel has to have begun it.
fn connect(fd: RawFd, address: &[u8]) -> Answer {
    // SAFETY: the address has that length, and lives until the call ends.
    let connected = unsafe { libc::connect(fd, address.as_ptr().cast(), address.len() as libc::socklen_t) };
    let error = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
    match connected {
        0 => Answer::Is(0),
        _ if error == libc::EINPROGRESS => Answer::Fails(libc::EINTR),
        _ => Answer::Fails(error),
    }
}

/// Whether a short count on that descriptor says nothing about what is left: a pipe, or a stream of
/// Unix.
fn may_be_short(fd: RawFd) -> bool {
    let option = |name| {
        let (mut value, mut len) = (0 as libc::c_int, size_of::<libc::c_int>() as libc::socklen_t);
        // SAFETY: the value has room for `len` bytes; both live until the call ends.
        let got =
            unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut len) };
        (got == 0).then_some(value)
    };
    match option(libc::SO_DOMAIN) {
        // No socket. A terminal or a device may mean something else by a short count, and so may a pidfd.
        None => is_pipe(fd),
        Some(libc::AF_UNIX) => option(libc::SO_TYPE) == Some(libc::SOCK_STREAM),
        Some(_) => false,
    }
}

fn is_pipe(fd: RawFd) -> bool {
    // SAFETY: all zeros is a value of this type.
    let mut status = unsafe { std::mem::zeroed::<libc::stat>() };
    // SAFETY: there is room for the answer.
    unsafe { libc::fstat(fd, &raw mut status) == 0 && status.st_mode & libc::S_IFMT == libc::S_IFIFO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_has_up_to_three_parts() {
        let parsed = |text, rate, bits| {
            assert_eq!(parse(text), Some(Faults { seed: 7, rate, classes: Classes(bits) }), "{text}");
        };
        parsed("7", 10, 1);
        parsed("7:3", 3, 1);
        parsed("7:3:watches", 3, 1 << 6);
        parsed("7:3:handled,memory", 3, 0b1111);
        parsed("7:3:all", 3, 0xff);
        for wrong in ["", "x", "7:", "7:3:some", "7:3:calls,", "7:3:all:1", "7:4294967296"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
