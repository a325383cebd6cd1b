//! What of sockets has names or types of its own on Linux.

use crate::base::sys::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::SocketAddr as UnixAddr;

#[cfg(target_os = "android")]
use std::os::android::net::SocketAddrExt;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;

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
