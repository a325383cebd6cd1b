//! What of sockets has names or types of its own on Linux.

use crate::base::sys::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::SocketAddr as UnixAddr;
use std::ptr;

#[cfg(target_os = "android")]
use std::os::android::net::SocketAddrExt;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;

/// `recv(2)`. Not libc's function, which is a point where a thread can be cancelled: saying that it can, and then that
/// it cannot, takes two atomic operations each, a tenth of what an echo takes in user mode.
///
/// # Safety
///
/// The buffer has room for `len` bytes.
#[inline(always)]
pub(super) unsafe fn recv(
    fd: RawFd,
    buf: *mut libc::c_void,
    len: usize,
    flags: libc::c_int,
) -> libc::ssize_t {
    let nobody = ptr::null::<libc::c_void>();
    // SAFETY: the call writes to the buffer at most; it is not asked for an address.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, buf, len, flags, nobody, nobody) as libc::ssize_t }
}

/// `send(2)`, in the same way as [`recv`].
///
/// # Safety
///
/// The buffer has `len` bytes.
#[inline(always)]
pub(super) unsafe fn send(
    fd: RawFd,
    buf: *const libc::c_void,
    len: usize,
    flags: libc::c_int,
) -> libc::ssize_t {
    let nobody = ptr::null::<libc::c_void>();
    // SAFETY: the call reads the buffer at most; there is no address.
    unsafe { libc::syscall(libc::SYS_sendto, fd, buf, len, flags, nobody, 0usize) as libc::ssize_t }
}

/// The errno of `accept` that only some systems have.
pub(super) const NO_NETWORK: Option<libc::c_int> = Some(libc::ENONET);

/// The name of an address that is in no file system.
pub(super) fn abstract_name(address: &UnixAddr) -> Option<&[u8]> {
    address.as_abstract_name()
}

/// The address of that name, which is in no file system.
pub(super) fn from_abstract_name(name: &[u8]) -> io::Result<UnixAddr> {
    UnixAddr::from_abstract_name(name)
}

/// What `IP_MULTICAST_TTL` and `IP_MULTICAST_LOOP` take.
pub(super) type MulticastV4 = libc::c_int;

/// The names of joining and leaving an IPv6 multicast group.
pub(super) use libc::{IPV6_ADD_MEMBERSHIP as JOIN_V6, IPV6_DROP_MEMBERSHIP as LEAVE_V6};

/// Binds a socket to a network interface; to any, if the name is empty.
pub(super) fn bind_device(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let len = name.len() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_BINDTODEVICE);
    // SAFETY: the name is `len` bytes and lives until the call ends.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, name.as_ptr().cast(), len) }).map(drop)
}
