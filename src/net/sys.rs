//! What of the socket calls differs between systems.
//!
//! A port supplies new sockets and sends: `sys_flags.rs` where the calls take flags for them, `sys_options.rs`
//! where that takes further calls (macOS). Each new descriptor is close-on-exec from birth, and no send
//! raises SIGPIPE. Receiving and sending never block, whatever the mode of the descriptor: the call says so
//! itself, which is why a stream can be shared with code that wants it to block. And it supplies what has
//! names or types of its own: `sys_linux.rs`, `sys_other.rs`. `sys_direct.rs` makes the calls of each request where
//! that can be done past libc.

#[cfg(all(any(target_os = "linux", target_os = "android"), target_pointer_width = "64"))]
pub(super) use super::sys_direct::{recv, send};
#[cfg(not(target_vendor = "apple"))]
pub(super) use super::sys_flags::{KEEP_IDLE, SEND, accept, socket, socket_pair, source};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use super::sys_linux::{
    JOIN_V6, LEAVE_V6, MulticastV4, NO_NETWORK, abstract_name, bind_device, from_abstract_name,
};
#[cfg(target_vendor = "apple")]
pub(super) use super::sys_options::{KEEP_IDLE, SEND, accept, socket, socket_pair, source};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use super::sys_other::{
    JOIN_V6, LEAVE_V6, MulticastV4, NO_NETWORK, abstract_name, from_abstract_name,
};

#[cfg(not(all(any(target_os = "linux", target_os = "android"), target_pointer_width = "64")))]
pub(super) use libc::{recv, send};

/// Flags for `recv` and `recvmsg`.
pub(super) const RECV: libc::c_int = libc::MSG_DONTWAIT;

/// Whether `accept` failed because of the one connection it would have given: the next may do.
pub(super) fn concerns_one_connection(errno: libc::c_int) -> bool {
    // accept(2): pending network errors of the new socket come out of accept.
    matches!(
        errno,
        libc::ECONNABORTED
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
    ) || NO_NETWORK == Some(errno)
}

/// Whether `accept` failed for want of descriptors or memory, which others may free.
pub(super) fn is_exhaustion(errno: libc::c_int) -> bool {
    matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
}
