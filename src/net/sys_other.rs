//! What of sockets has names or types of its own on systems other than Linux.

use std::io;
use std::os::unix::net::SocketAddr as UnixAddr;

/// The errno of `accept` that only some systems have: not this one.
pub(super) const NO_NETWORK: Option<libc::c_int> = None;

/// The name of an address that is in no file system: there are none.
pub(super) fn abstract_name(_address: &UnixAddr) -> Option<&[u8]> {
    None
}

/// The address of that name, which is in no file system: there are none.
pub(super) fn from_abstract_name(_name: &[u8]) -> io::Result<UnixAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no abstract names"))
}

/// What `IP_MULTICAST_TTL` and `IP_MULTICAST_LOOP` take.
#[cfg(target_vendor = "apple")]
pub(super) type MulticastV4 = libc::c_int;
/// What `IP_MULTICAST_TTL` and `IP_MULTICAST_LOOP` take.
#[cfg(not(target_vendor = "apple"))]
pub(super) type MulticastV4 = libc::c_uchar;

/// The names of joining and leaving an IPv6 multicast group.
pub(super) use libc::{IPV6_JOIN_GROUP as JOIN_V6, IPV6_LEAVE_GROUP as LEAVE_V6};
