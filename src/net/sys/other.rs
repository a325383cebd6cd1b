//! Names and types of the socket interface on systems other than Linux.

use std::io;
use std::os::unix::net::SocketAddr as UnixAddr;

/// An errno of `accept` that only some systems have; these have none.
pub(in crate::net) const NO_NETWORK: Option<libc::c_int> = None;

/// The abstract name in an address; these systems have none.
pub(in crate::net) fn abstract_name(_address: &UnixAddr) -> Option<&[u8]> {
    None
}

/// The address for an abstract name; these systems have none.
pub(in crate::net) fn from_abstract_name(_name: &[u8]) -> io::Result<UnixAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no abstract names"))
}

/// The type of `IP_MULTICAST_TTL` and `IP_MULTICAST_LOOP`.
#[cfg(target_vendor = "apple")]
pub(in crate::net) type MulticastV4 = libc::c_int;
/// The type of `IP_MULTICAST_TTL` and `IP_MULTICAST_LOOP`.
#[cfg(not(target_vendor = "apple"))]
pub(in crate::net) type MulticastV4 = libc::c_uchar;

/// The options that join and leave an IPv6 multicast group.
pub(in crate::net) use libc::{IPV6_JOIN_GROUP as JOIN_V6, IPV6_LEAVE_GROUP as LEAVE_V6};
