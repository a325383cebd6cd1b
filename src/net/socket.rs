//! What streams and listeners have in common: a source shared by all clones, and its options.

use super::addr::RawAddr;
use crate::base::sys::check;
use crate::coroutine::{Batch, WaitReason};
use crate::netpoll::{Direction, Source};
use crate::sched::{Attempt, perform, wake_all};
use std::io;
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A socket, shared by its clones.
#[derive(Clone)]
pub(super) struct Socket(Arc<Inner>);

struct Inner {
    source: Source,
    /// Nanoseconds; zero for none.
    read_timeout: AtomicU64,
    write_timeout: AtomicU64,
    nonblocking: AtomicBool,
}

impl Socket {
    pub(super) fn new(source: Source) -> Socket {
        Socket(Arc::new(Inner {
            source,
            read_timeout: AtomicU64::new(0),
            write_timeout: AtomicU64::new(0),
            nonblocking: AtomicBool::new(false),
        }))
    }

    /// Makes the call as soon as the socket is ready, within the timeout of that direction. A timeout
    /// that has passed is `WouldBlock`, as std's is on Unix.
    #[inline]
    pub(super) fn transfer<T>(
        &self,
        direction: Direction,
        reason: WaitReason,
        attempt: impl FnMut(RawFd) -> io::Result<Attempt<T>>,
    ) -> io::Result<T> {
        let deadline = match self.timeout_cell(direction).load(Ordering::Relaxed) {
            0 => None,
            nanos => Instant::now().checked_add(Duration::from_nanos(nanos)),
        };
        self.perform(direction, reason, deadline, attempt).map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut if deadline.is_some() && e.raw_os_error().is_none() => {
                io::ErrorKind::WouldBlock.into()
            }
            _ => e,
        })
    }

    /// Makes the call as soon as the socket is ready, until the deadline.
    #[inline]
    pub(super) fn perform<T>(
        &self,
        direction: Direction,
        reason: WaitReason,
        deadline: Option<Instant>,
        mut attempt: impl FnMut(RawFd) -> io::Result<Attempt<T>>,
    ) -> io::Result<T> {
        if self.0.nonblocking.load(Ordering::Relaxed) {
            self.0.source.check()?;
            return match attempt(self.as_raw_fd())? {
                Attempt::Done(value) | Attempt::Drained(value) => Ok(value),
                Attempt::WouldBlock => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        perform(&self.0.source, direction, reason, deadline, attempt)
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) {
        self.0.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    pub(super) fn set_timeout(&self, direction: Direction, timeout: Option<Duration>) -> io::Result<()> {
        let nanos = match timeout {
            None => 0,
            Some(Duration::ZERO) => return Err(zero_timeout()),
            Some(timeout) => u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX),
        };
        self.timeout_cell(direction).store(nanos, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn timeout(&self, direction: Direction) -> Option<Duration> {
        let nanos = self.timeout_cell(direction).load(Ordering::Relaxed);
        (nanos != 0).then(|| Duration::from_nanos(nanos))
    }

    fn timeout_cell(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Read => &self.0.read_timeout,
            Direction::Write => &self.0.write_timeout,
        }
    }

    /// Ends the use of the socket, for all its clones: whoever waits for it is woken and told.
    pub(super) fn close(&self) -> io::Result<()> {
        // For plain threads, which wait in the kernel, and for the peer.
        let shut = self.shutdown(Shutdown::Both);
        let mut batch = Batch::new();
        self.0.source.close(&mut batch);
        wake_all(&mut batch);
        match shut {
            Err(e) if e.kind() != io::ErrorKind::NotConnected => Err(e),
            _ => Ok(()),
        }
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => libc::SHUT_RD,
            Shutdown::Write => libc::SHUT_WR,
            Shutdown::Both => libc::SHUT_RDWR,
        };
        // SAFETY: the call takes no pointers.
        check(unsafe { libc::shutdown(self.as_raw_fd(), how) }).map(drop)
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        let mut raw = RawAddr::empty();
        let (address, len) = raw.as_mut_ptr();
        // SAFETY: both pointers live until the call ends, and the length is that of the room.
        check(unsafe { libc::getsockname(self.as_raw_fd(), address, len) })?;
        raw.to_std()
    }

    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        let mut raw = RawAddr::empty();
        let (address, len) = raw.as_mut_ptr();
        // SAFETY: as above.
        check(unsafe { libc::getpeername(self.as_raw_fd(), address, len) })?;
        raw.to_std()
    }

    /// The error that the kernel keeps for the socket, which is cleared by this.
    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        let error: libc::c_int = self.option(libc::SOL_SOCKET, libc::SO_ERROR)?;
        Ok((error != 0).then(|| io::Error::from_raw_os_error(error)))
    }

    pub(super) fn ttl(&self) -> io::Result<u32> {
        let ttl: libc::c_int = self.option(libc::IPPROTO_IP, libc::IP_TTL)?;
        Ok(ttl as u32)
    }

    pub(super) fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.set_option(libc::IPPROTO_IP, libc::IP_TTL, ttl as libc::c_int)
    }

    /// Reads an option of type `T`, which is plain data.
    pub(super) fn option<T: Copy + Default>(&self, level: libc::c_int, name: libc::c_int) -> io::Result<T> {
        let mut value = T::default();
        let mut len = mem::size_of::<T>() as libc::socklen_t;
        let place = (&raw mut value).cast();
        // SAFETY: both pointers live until the call ends, and the length is that of the room.
        check(unsafe { libc::getsockopt(self.as_raw_fd(), level, name, place, &raw mut len) })?;
        Ok(value)
    }

    /// Sets an option of type `T`, which is plain data.
    pub(super) fn set_option<T: Copy>(
        &self,
        level: libc::c_int,
        name: libc::c_int,
        value: T,
    ) -> io::Result<()> {
        let len = mem::size_of::<T>() as libc::socklen_t;
        let place = (&raw const value).cast();
        // SAFETY: the value lives until the call ends, and the length is its own.
        check(unsafe { libc::setsockopt(self.as_raw_fd(), level, name, place, len) }).map(drop)
    }

    /// The descriptor in blocking mode, for others to use: the socket's own, or a duplicate if clones
    /// still share it.
    pub(super) fn into_blocking_fd(self) -> io::Result<OwnedFd> {
        let fd = match Arc::try_unwrap(self.0) {
            Ok(inner) => inner.source.into_fd(),
            Err(shared) => shared.source.fd().try_clone_to_owned()?,
        };
        let raw = fd.as_raw_fd();
        // SAFETY: the calls take no pointers.
        let flags = check(unsafe { libc::fcntl(raw, libc::F_GETFL) })?;
        // SAFETY: as above.
        check(unsafe { libc::fcntl(raw, libc::F_SETFL, flags & !libc::O_NONBLOCK) })?;
        Ok(fd)
    }
}

pub(super) fn zero_timeout() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "cannot set a 0 duration timeout")
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.source.fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.source.fd().as_raw_fd()
    }
}

/// The conversions that both kinds of socket have, to and from descriptors and std's type.
macro_rules! descriptor_conversions {
    ($ours:ty, $std:ty) => {
        impl AsFd for $ours {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.socket.as_fd()
            }
        }

        impl AsRawFd for $ours {
            fn as_raw_fd(&self) -> RawFd {
                self.socket.as_raw_fd()
            }
        }

        impl From<OwnedFd> for $ours {
            /// The file becomes non-blocking at the first operation.
            fn from(fd: OwnedFd) -> Self {
                Self { socket: Socket::new(Source::new(fd)) }
            }
        }

        impl From<$std> for $ours {
            /// The file becomes non-blocking at the first operation.
            fn from(socket: $std) -> Self {
                OwnedFd::from(socket).into()
            }
        }

        impl FromRawFd for $ours {
            unsafe fn from_raw_fd(fd: RawFd) -> Self {
                // SAFETY: as the caller says.
                unsafe { OwnedFd::from_raw_fd(fd) }.into()
            }
        }

        impl From<$ours> for OwnedFd {
            /// The descriptor, in blocking mode; a duplicate if clones still share it.
            ///
            /// # Panics
            ///
            /// If there is no descriptor for the duplicate; `into_std` gives an error instead.
            fn from(socket: $ours) -> OwnedFd {
                socket.socket.into_blocking_fd().expect("a descriptor for the duplicate")
            }
        }

        impl IntoRawFd for $ours {
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }

        impl TryFrom<$ours> for $std {
            type Error = io::Error;
            fn try_from(socket: $ours) -> io::Result<$std> {
                socket.into_std()
            }
        }
    };
}

pub(super) use descriptor_conversions;
