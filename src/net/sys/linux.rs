//! Names and types of the socket interface that only Linux has.

use crate::base::sys::{calls, check};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::SocketAddr as UnixAddr;

#[cfg(target_os = "android")]
use std::os::android::net::SocketAddrExt;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;

/// An errno of `accept` that only some systems have.
pub(in crate::net) const NO_NETWORK: Option<libc::c_int> = Some(libc::ENONET);

/// The abstract name in an address, which is in no file system.
pub(in crate::net) fn abstract_name(address: &UnixAddr) -> Option<&[u8]> {
    address.as_abstract_name()
}

/// The address for an abstract name.
pub(in crate::net) fn from_abstract_name(name: &[u8]) -> io::Result<UnixAddr> {
    UnixAddr::from_abstract_name(name)
}

/// The type of `IP_MULTICAST_TTL` and `IP_MULTICAST_LOOP`.
pub(in crate::net) type MulticastV4 = libc::c_int;

/// The options that join and leave an IPv6 multicast group.
pub(in crate::net) use libc::{IPV6_ADD_MEMBERSHIP as JOIN_V6, IPV6_DROP_MEMBERSHIP as LEAVE_V6};

/// Binds a socket to a network interface. An empty name removes the binding.
pub(in crate::net) fn bind_device(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let len = name.len() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_BINDTODEVICE);
    // SAFETY: the name is `len` bytes and lives until the call ends.
    check(unsafe { calls::setsockopt(fd.as_raw_fd(), level, option, name.as_ptr().cast(), len) }).map(drop)
}
