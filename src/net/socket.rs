//! What all sockets share: the open file, the calls that do not wait, and the conversions from and to
//! descriptors.
//!
//! All clones of a socket share one [`Socket`]. Invariant: no call that is made here blocks the thread.

use super::addr::{RawAddr, written_by};
use super::options::{OptionValue, from_timeval, option, set_option, to_int, to_timeval};
use super::{Shutdown, linger, sys};
use crate::base::sys::{calls, check, set_nonblocking};
use crate::coroutine::WaitReason;
use crate::descriptor::OpenFile;
use crate::netpoll::{Direction, Source};
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll};

/// An open socket.
#[derive(Debug)]
pub(super) struct Socket {
    /// Taken out once: by the destructor, or by `into_fd`, after which the destructor does not run.
    pub(super) file: ManuallyDrop<OpenFile>,
    /// What a short transfer means.
    pub(super) short: Short,
}

/// What a short transfer means: a call has read or written less than it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// The call has emptied or filled the socket, so the next one would block. Only TCP streams guarantee
    /// this.
    Drained,
    /// Nothing: the next call may succeed.
    Nothing,
}

impl Socket {
    /// A new socket. Its file is non-blocking, or each call on it says itself that it must not block.
    pub(super) fn new(fd: OwnedFd, short: Short) -> Arc<Socket> {
        Arc::new(Socket { file: ManuallyDrop::new(OpenFile::new(sys::source(fd))), short })
    }

    /// A socket that was made elsewhere; keeps the timeouts of its descriptor. Each call on it says itself
    /// that it must not block.
    pub(super) fn adopt(fd: OwnedFd, short: Short) -> Arc<Socket> {
        let socket = Socket::new(fd, short);
        for (direction, name) in TIMEOUTS {
            if let Ok(value) = option::<libc::timeval>(socket.fd(), libc::SOL_SOCKET, name) {
                let set = socket.file.set_timeout(direction, from_timeval(value));
                set.expect("the kernel's zero is none");
            }
        }
        socket
    }

    /// A listener that was made elsewhere. Its file becomes non-blocking at the first `accept`, since
    /// `accept` has no flag for it.
    pub(super) fn adopt_listener(fd: OwnedFd) -> Arc<Socket> {
        Arc::new(Socket { file: ManuallyDrop::new(OpenFile::new(Source::new(fd))), short: Short::Nothing })
    }

    /// The descriptor for use elsewhere, with the mode and the timeouts that were set here. If clones share
    /// the socket, it is a duplicate.
    pub(super) fn release(self: Arc<Socket>) -> io::Result<OwnedFd> {
        set_nonblocking(self.fd(), self.file.is_nonblocking())?;
        for (direction, name) in TIMEOUTS {
            set_option(self.fd(), libc::SOL_SOCKET, name, to_timeval(self.file.timeout(direction)))?;
        }
        self.into_fd().map(|(fd, _)| fd)
    }

    /// A listener's descriptor for use elsewhere. If clones share the socket, it is a duplicate, and stays
    /// non-blocking, since the duplicate and the clones share the mode.
    pub(super) fn release_listener(self: Arc<Socket>) -> io::Result<OwnedFd> {
        let nonblocking = self.file.is_nonblocking();
        let (fd, sole) = self.into_fd()?;
        set_nonblocking(fd.as_fd(), nonblocking || !sole)?;
        Ok(fd)
    }

    /// The descriptor, and whether it is the socket's only one.
    fn into_fd(self: Arc<Socket>) -> io::Result<(OwnedFd, bool)> {
        match Arc::try_unwrap(self) {
            Ok(socket) => {
                let mut socket = ManuallyDrop::new(socket);
                // SAFETY: the socket's destructor, which would take it again, does not run.
                let file = unsafe { ManuallyDrop::take(&mut socket.file) };
                Ok((file.into_fd(), true))
            }
            Err(shared) => Ok((shared.fd().try_clone_to_owned()?, false)),
        }
    }

    /// The descriptor.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.file.fd()
    }

    /// Waits until a call in that direction would not block, whatever the mode; `WouldBlock` after the
    /// direction's timeout.
    pub(super) fn wait_ready(&self, direction: Direction, reason: WaitReason) -> io::Result<()> {
        self.file.wait_ready(direction, reason)
    }

    /// As `wait_ready`, for a future.
    pub(super) fn poll_ready(&self, direction: Direction, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.file.poll_ready(direction, context)
    }

    /// Whether `close` was called.
    pub(super) fn is_closed(&self) -> bool {
        self.file.is_closed()
    }

    /// Wakes all waiters of the socket, and makes its calls fail from now on.
    pub(super) fn close(&self) {
        self.file.close();
        // After the file is closed, so that a thread that the kernel wakes finds the file closed. This fails
        // if the socket is not connected: then it has no peer, and the kernel wakes the blocked threads all
        // the same.
        let _ = self.shutdown(Shutdown::Both);
    }

    /// `shutdown(2)`.
    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => libc::SHUT_RD,
            Shutdown::Write => libc::SHUT_WR,
            Shutdown::Both => libc::SHUT_RDWR,
        };
        // SAFETY: the call takes no pointers.
        check(unsafe { calls::shutdown(self.fd().as_raw_fd(), how) }).map(drop)
    }

    /// The address it is bound to.
    pub(super) fn local_addr<A: FromRaw>(&self) -> io::Result<A> {
        name(self.fd(), calls::getsockname)
    }

    /// The address it is connected to.
    pub(super) fn peer_addr<A: FromRaw>(&self) -> io::Result<A> {
        name(self.fd(), calls::getpeername)
    }

    /// `IP_TTL`.
    pub(super) fn ttl(&self) -> io::Result<u32> {
        self.option(libc::IPPROTO_IP, libc::IP_TTL).map(|ttl: libc::c_int| ttl as u32)
    }

    /// Sets `IP_TTL`.
    pub(super) fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.set_option(libc::IPPROTO_IP, libc::IP_TTL, ttl as libc::c_int)
    }

    /// Takes the pending error.
    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        let errno: libc::c_int = self.option(libc::SOL_SOCKET, libc::SO_ERROR)?;
        Ok((errno != 0).then(|| io::Error::from_raw_os_error(errno)))
    }

    /// `getsockopt(2)`.
    pub(super) fn option<T: OptionValue>(&self, level: libc::c_int, name: libc::c_int) -> io::Result<T> {
        option(self.fd(), level, name)
    }

    /// `setsockopt(2)`.
    pub(super) fn set_option<T: OptionValue>(
        &self,
        level: libc::c_int,
        name: libc::c_int,
        value: T,
    ) -> io::Result<()> {
        set_option(self.fd(), level, name, value)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: a destructor runs once, and `into_fd` prevents it where it has taken the file.
        let file = unsafe { ManuallyDrop::take(&mut self.file) };
        if self.short == Short::Drained && linger::would_block_worker(file.fd()) {
            linger::close(file.into_fd());
        }
    }
}

/// The `Debug` output of a socket with those addresses. An address that is an error is left out.
pub(super) fn describe<A: fmt::Debug, const N: usize>(
    fd: BorrowedFd<'_>,
    f: &mut fmt::Formatter<'_>,
    name: &str,
    addresses: [(&str, io::Result<A>); N],
) -> fmt::Result {
    let mut out = f.debug_struct(name);
    for (what, address) in addresses {
        if let Ok(address) = address {
            out.field(what, &address);
        }
    }
    out.field("fd", &fd.as_raw_fd()).finish()
}

/// The kernel's names for the timeouts.
const TIMEOUTS: [(Direction, libc::c_int); 2] =
    [(Direction::Read, libc::SO_RCVTIMEO), (Direction::Write, libc::SO_SNDTIMEO)];

type NameCall = unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

/// An address type that can be made from the kernel's.
pub(super) trait FromRaw: for<'a> TryFrom<&'a RawAddr, Error = io::Error> {}

impl<A: for<'a> TryFrom<&'a RawAddr, Error = io::Error>> FromRaw for A {}

/// `getsockname(2)` or `getpeername(2)`.
pub(super) fn name<A: FromRaw>(fd: BorrowedFd<'_>, call: NameCall) -> io::Result<A> {
    let fd = fd.as_raw_fd();
    // SAFETY: `address` has room for `len` bytes, and both live until the call ends.
    let (_, raw) = written_by(|address, len| check(unsafe { call(fd, address, len) }))?;
    A::try_from(&raw)
}

/// `connect(2)`. Fails with `EINTR` if a signal interrupts it.
pub(super) fn connect(fd: RawFd, address: &RawAddr) -> io::Result<()> {
    let (address, len) = address.parts();
    // SAFETY: the address is `len` bytes and lives until the call ends.
    check(unsafe { calls::connect(fd, address, len) }).map(drop)
}

/// `bind(2)`.
pub(super) fn bind(fd: BorrowedFd<'_>, address: &RawAddr) -> io::Result<()> {
    let (address, len) = address.parts();
    // SAFETY: the address is `len` bytes and lives until the call ends.
    check(unsafe { calls::bind(fd.as_raw_fd(), address, len) }).map(drop)
}

/// `listen(2)`.
pub(super) fn listen(fd: BorrowedFd<'_>, backlog: u32) -> io::Result<()> {
    let backlog = to_int(backlog);
    // SAFETY: the call takes no pointers.
    check(unsafe { calls::listen(fd.as_raw_fd(), backlog) }).map(drop)
}
