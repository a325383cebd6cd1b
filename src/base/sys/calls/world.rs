//! What may answer a system call in the kernel's place.
//!
//! A [`World`] is entered by a thread, and then answers the calls of that thread until its guard is
//! dropped. A simulation's world has sockets of its own. Each has a descriptor of the kernel as a
//! placeholder, so that ownership, numbers and `close` stay what they are; a call that goes around the seam
//! meets the placeholder.
//!
//! Times are virtual: nanoseconds since the simulation began.

use crate::base::local::thread_locals;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Duration;

/// What answers system calls.
pub(crate) trait World {
    /// Answers the call, or leaves it to the kernel.
    fn call(&self, call: &mut Call<'_>) -> Answer;

    /// The number is about to be closed.
    fn closing(&self, fd: RawFd);

    /// The addresses of the host with that name.
    fn addresses_of(&self, name: &str) -> io::Result<Vec<IpAddr>>;

    /// Where a path of the calling host is in the system; `None` if it is the system's.
    fn map_path(&self, path: &Path) -> Option<io::Result<PathBuf>>;

    /// What the calling host calls a path of the system.
    fn unmap_path(&self, path: PathBuf) -> PathBuf;

    /// A call on a file of the calling host begins: how many bytes it may transfer.
    fn before_file(&self, call: FileCall<'_>) -> io::Result<usize>;

    /// A sync of that file or folder of the calling host begins: how many changes it concerns. The caller
    /// passes them on in [`FileChange::Synced`].
    fn sync_begins(&self, fd: BorrowedFd<'_>) -> u64;

    /// How long it takes.
    fn file_delay(&self) -> Duration;

    /// A call on files of the calling host has changed something.
    fn file_changed(&self, change: FileChange<'_>) -> io::Result<()>;

    /// When something happens next, if anything does.
    fn next_event(&self) -> Option<u64>;

    /// Whether a poller has something to report that it was not asked for so far.
    fn has_news(&self) -> bool;

    /// It is `now`: does everything that is due. What became ready is reported by the next wait of a poller.
    fn advance(&self, now: u64);
}

/// What a simulated world needs to know of the program that it serves.
pub(crate) trait Context {
    /// The virtual time.
    fn now(&self) -> u64;

    /// The host of the running coroutine; zero outside of all hosts.
    fn host(&self) -> u32;

    /// The next number of the run's generator.
    fn random(&self) -> u64;

    /// A call blocks the thread: lets time pass until the world does something, or up to that time, if any.
    /// Does not return if nothing will happen.
    fn block(&self, until: Option<u64>);

    /// Adds an event to the run's trace, which a second run with the same seed has to repeat.
    fn trace(&self, event: fmt::Arguments<'_>);
}

/// The answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The kernel makes the call.
    Kernel,
    /// The kernel makes the call, for that many bytes at most.
    Short(usize),
    /// The call returns this.
    Is(isize),
    /// The call fails with this errno.
    Fails(libc::c_int),
}

/// Where a call writes a value of variable length: `at` has room for `*len` bytes, and the call sets `*len`
/// to the value's length.
#[derive(Debug)]
pub(crate) struct OutValue {
    pub(super) at: *mut u8,
    pub(super) len: *mut libc::socklen_t,
}

impl OutValue {
    /// How many bytes it has room for.
    pub(crate) fn room(&self) -> usize {
        // SAFETY: as the type says.
        unsafe { *self.len as usize }
    }

    /// Writes the value, cut off where the room ends.
    pub(crate) fn put(&mut self, value: &[u8]) {
        // SAFETY: as the type says; the wrappers of the calls pass on what their own callers promise.
        unsafe {
            let room = *self.len as usize;
            ptr::copy_nonoverlapping(value.as_ptr(), self.at, value.len().min(room));
            *self.len = value.len() as libc::socklen_t;
        }
    }
}

/// A system call with its arguments. Buffers are those of the caller, and valid until the call is answered.
/// A poll without a limit may block for ever.
#[derive(Debug)]
#[allow(dead_code, reason = "a call is described whole, whatever a world makes of it")]
pub(crate) enum Call<'a> {
    Socket { family: libc::c_int, kind: libc::c_int },
    SocketPair { family: libc::c_int, kind: libc::c_int, fds: &'a mut [libc::c_int; 2] },
    Bind { fd: RawFd, address: &'a [u8] },
    Listen { fd: RawFd, backlog: libc::c_int },
    Accept { fd: RawFd, address: Option<OutValue>, flags: libc::c_int },
    Connect { fd: RawFd, address: &'a [u8] },
    Receive { fd: RawFd, buffers: &'a [libc::iovec], flags: libc::c_int, sender: Option<OutValue> },
    Send { fd: RawFd, buffers: &'a [libc::iovec], flags: libc::c_int, to: Option<&'a [u8]> },
    Option { fd: RawFd, level: libc::c_int, name: libc::c_int, value: OutValue },
    SetOption { fd: RawFd, level: libc::c_int, name: libc::c_int, value: &'a [u8] },
    Name { fd: RawFd, address: OutValue },
    PeerName { fd: RawFd, address: OutValue },
    Shutdown { fd: RawFd, how: libc::c_int },
    Read { fd: RawFd, buffers: &'a [libc::iovec] },
    Write { fd: RawFd, buffers: &'a [libc::iovec] },
    Poll { entries: &'a mut [libc::pollfd], limit_nanos: Option<u64> },
    Watch { epoll: RawFd, operation: libc::c_int, fd: RawFd, event: libc::epoll_event },
    Wait { epoll: RawFd, events: &'a mut [libc::epoll_event], precise: bool },
}

/// A call on a file that is about to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FileCall<'a> {
    /// It writes that many bytes, at that offset or at the file's position.
    Write { fd: BorrowedFd<'a>, offset: Option<u64>, len: usize },
}

/// What a call has changed on a disk. Paths are those of the system.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FileChange<'a> {
    /// A file was opened, and perhaps created or truncated.
    Opened(BorrowedFd<'a>),
    /// Bytes were written, up to that offset, or up to the file's position.
    Wrote {
        fd: BorrowedFd<'a>,
        end: Option<u64>,
        bytes: &'a [u8],
    },
    Length {
        fd: BorrowedFd<'a>,
        len: u64,
    },
    /// The changes of a file or a folder are synced now, up to that number. Decides whether that succeeds.
    Synced {
        fd: BorrowedFd<'a>,
        changes: u64,
    },
    /// A folder was made, perhaps with those above it.
    Folder(&'a Path),
    /// A name was removed, with all below it.
    Removed(&'a Path),
    Renamed {
        from: &'a Path,
        to: &'a Path,
    },
    Linked {
        original: &'a Path,
        link: &'a Path,
    },
    /// A symbolic link was made.
    Symlink {
        target: &'a Path,
        link: &'a Path,
    },
}

/// The bytes that the buffers of a call have room for, or hold.
pub(crate) fn total(buffers: &[libc::iovec]) -> usize {
    buffers.iter().fold(0usize, |sum, buffer| sum.saturating_add(buffer.iov_len))
}

/// Copies the bytes into the buffers of a receive, as far as there is room. Returns how many it has copied.
pub(crate) fn scatter(mut bytes: &[u8], buffers: &[libc::iovec]) -> usize {
    let before = bytes.len();
    for buffer in buffers {
        let (now, later) = bytes.split_at(bytes.len().min(buffer.iov_len));
        // SAFETY: the buffers of a receive have room for their lengths, until the call is answered.
        unsafe { ptr::copy_nonoverlapping(now.as_ptr(), buffer.iov_base.cast(), now.len()) };
        bytes = later;
    }
    before - bytes.len()
}

/// The bytes in the buffers of a send, up to a limit.
pub(crate) fn gather(buffers: &[libc::iovec], limit: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(total(buffers).min(limit));
    for buffer in buffers {
        let len = buffer.iov_len.min(limit - bytes.len());
        if len > 0 {
            // SAFETY: the buffers of a send have that many bytes, until the call is answered.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(buffer.iov_base.cast(), len) });
        }
    }
    bytes
}

thread_locals! {
    /// The world that the thread has entered.
    static WORLD: Cell<Option<*const dyn World>> = Cell::new(None);

    fn current() -> Option<*const dyn World> = |world| world.get(), destroyed: None;

    fn replace(new: Option<*const dyn World>) -> Option<*const dyn World>
        = |world| world.replace(new), destroyed: None;
}

/// The thread's world. The reference is not kept beyond the caller's own work, and not over a switch.
pub(crate) fn world<'a>() -> Option<&'a dyn World> {
    // SAFETY: `enter`: the world lives for as long as it is the thread's.
    current().map(|world| unsafe { &*world })
}

/// Makes a world the thread's, until the guard is dropped.
///
/// # Safety
///
/// The world outlives the guard.
pub(crate) unsafe fn enter(world: *const dyn World) -> Entered {
    Entered { former: replace(Some(world)), thread: PhantomData }
}

/// The thread has entered a world. Dropping this leaves it.
pub(crate) struct Entered {
    former: Option<*const dyn World>,
    thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        replace(self.former);
    }
}
