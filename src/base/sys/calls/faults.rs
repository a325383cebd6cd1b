//! Errors and short counts that a seed decides, on the real system.
//!
//! `SWARD_FAULTS=seed[:rate[:all]]` in the environment, or [`set_faults`], makes about one in `rate` calls
//! fail or transfer less, as the kernel may have them do at any time:
//!
//! | call | faults that the crate handles by itself | further ones with `all`, which the program sees |
//! |---|---|---|
//! | `recv`, `send`, `read`, `write` and their like | `EINTR`, `EAGAIN`; short counts, but not on TCP | `ENOBUFS` of a send of datagrams |
//! | `accept4` | `EINTR`, `EAGAIN`, `ECONNABORTED`, `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM` | |
//! | `connect` | `EINTR` while it is in progress | |
//! | `ppoll`, `epoll_wait`, `epoll_pwait2` | `EINTR`; `ENOSYS` of `epoll_pwait2` | |
//! | `epoll_ctl` | | `ENOMEM`, `ENOSPC` |
//! | `socket`, `socketpair` | | `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM` |
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
    /// About one in so many calls fails; none if it is zero.
    pub(crate) rate: u32,
    /// Also faults that the program sees.
    pub(crate) all: bool,
}

static SEED: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);
/// Twice the rate, and one more with `all`.
static RATE: AtomicU32 = AtomicU32::new(0);

/// How each descriptor is watched, and by which poller.
static WATCHED: Mutex<Option<HashMap<RawFd, (RawFd, libc::epoll_event)>>> = Mutex::new(None);

/// Sets the faults of the process.
pub(crate) fn set_faults(faults: Faults) {
    from_environment();
    SEED.store(faults.seed, Ordering::Relaxed);
    CALLS.store(0, Ordering::Relaxed);
    RATE.store(faults.rate * 2 + u32::from(faults.all), Ordering::Relaxed);
}

/// Sets them once from the environment.
fn from_environment() {
    static ONCE: OnceCell<()> = OnceCell::new();
    ONCE.get_or_init(|| {
        let Ok(text) = env::var("SWARD_FAULTS") else { return };
        let faults = parse(&text).expect("SWARD_FAULTS is seed[:rate[:all]]");
        SEED.store(faults.seed, Ordering::Relaxed);
        RATE.store(faults.rate * 2 + u32::from(faults.all), Ordering::Relaxed);
    });
}

fn parse(text: &str) -> Option<Faults> {
    let mut parts = text.split(':');
    let seed = parts.next()?.parse().ok()?;
    let rate = parts.next().map_or(Some(10), |rate| rate.parse().ok())?;
    let all = match parts.next() {
        None => false,
        Some("all") => true,
        Some(_) => return None,
    };
    (rate < u32::MAX / 2).then_some(Faults { seed, rate, all })
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
    from_environment();
    let setting = RATE.load(Ordering::Relaxed);
    if setting == 0 {
        return Answer::Kernel;
    }
    if let Call::Watch { epoll, operation, fd, event } = call {
        note_watch(*epoll, *operation, *fd, *event);
    }
    let (rate, all) = (u64::from(setting / 2), setting % 2 == 1);
    let number = random();
    match number % rate.max(1) {
        0 => fault(call, (number / rate.max(1)) as usize, all),
        _ => Answer::Kernel,
    }
}

fn note_watch(epoll: RawFd, operation: libc::c_int, fd: RawFd, event: libc::epoll_event) {
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    let watched = watched.get_or_insert_default();
    match operation {
        libc::EPOLL_CTL_DEL => _ = watched.remove(&fd),
        _ => _ = watched.insert(fd, (epoll, event)),
    }
}

fn fault(call: &mut Call<'_>, choice: usize, all: bool) -> Answer {
    const EXHAUSTED: [libc::c_int; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    match *call {
        Call::Receive { fd, buffers, .. } => transfer(fd, buffers, choice),
        Call::Send { fd, to: Some(_), .. } if all && choice.is_multiple_of(4) => fails(fd, libc::ENOBUFS),
        Call::Send { fd, buffers, .. } => transfer(fd, buffers, choice),
        Call::Read { fd, buffers } | Call::Write { fd, buffers } => transfer(fd, buffers, choice),
        Call::Accept { fd, .. } => {
            let faults = [libc::EINTR, libc::EAGAIN, libc::ECONNABORTED];
            let faults: Vec<_> = faults.into_iter().chain(EXHAUSTED).collect();
            fails(fd, faults[choice % faults.len()])
        }
        Call::Connect { fd, address } => connect(fd, address),
        Call::Poll { .. } => Answer::Fails(libc::EINTR),
        Call::Wait { precise: true, .. } if choice.is_multiple_of(64) => Answer::Fails(libc::ENOSYS),
        Call::Wait { .. } => Answer::Fails(libc::EINTR),
        Call::Watch { operation: libc::EPOLL_CTL_ADD, fd, .. } if all => {
            closing(fd);
            Answer::Fails([libc::ENOMEM, libc::ENOSPC][choice % 2])
        }
        Call::Socket { .. } | Call::SocketPair { .. } if all => {
            Answer::Fails(EXHAUSTED[choice % EXHAUSTED.len()])
        }
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
        assert_eq!(parse("7"), Some(Faults { seed: 7, rate: 10, all: false }));
        assert_eq!(parse("7:3"), Some(Faults { seed: 7, rate: 3, all: false }));
        assert_eq!(parse("7:3:all"), Some(Faults { seed: 7, rate: 3, all: true }));
        for wrong in ["", "x", "7:", "7:3:some", "7:4294967295"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
