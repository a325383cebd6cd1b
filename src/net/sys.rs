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

/// Whose fault it is that `accept` has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AcceptFault {
    /// The connection's: it is gone, and the next one may succeed.
    Connection,
    /// Neither the connection's nor the listener's: descriptors or memory have run out, or a firewall or
    /// sandbox forbids it. The listener is sound, and the same call may succeed later.
    Passing,
    /// The listener's: it will accept nothing any more.
    Listener,
}

/// Decides by errno. One that is not known counts as passing: it must not end a server.
pub(super) fn accept_fault(errno: libc::c_int, listens: impl FnOnce() -> bool) -> AcceptFault {
    match errno {
        libc::EBADF | libc::EFAULT | libc::EINVAL | libc::ENOTSOCK | libc::ENOSYS => AcceptFault::Listener,
        // Of a socket that does not listen, or as below.
        libc::EOPNOTSUPP if !listens() => AcceptFault::Listener,
        // accept(2): pending network errors of the new socket come out of `accept`.
        libc::ECONNABORTED
        | libc::ECONNRESET
        | libc::EHOSTDOWN
        | libc::EHOSTUNREACH
        | libc::ENETDOWN
        | libc::ENETUNREACH
        | libc::ENOPROTOOPT
        | libc::EOPNOTSUPP
        | libc::EPROTO
        | libc::EPROTONOSUPPORT
        | libc::ESOCKTNOSUPPORT
        | libc::ETIMEDOUT => AcceptFault::Connection,
        errno if NO_NETWORK == Some(errno) => AcceptFault::Connection,
        _ => AcceptFault::Passing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_accept_is_the_connection_s_the_listener_s_or_passes() {
        let fault = |errno| accept_fault(errno, || true);
        for errno in [libc::ECONNABORTED, libc::EPROTO, libc::ENETDOWN, libc::EOPNOTSUPP] {
            assert_eq!(fault(errno), AcceptFault::Connection, "{errno}");
        }
        let passing = [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::ENOSPC,
            libc::EPERM,
            libc::EACCES,
        ];
        for errno in passing {
            assert_eq!(fault(errno), AcceptFault::Passing, "{errno}");
        }
        for errno in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK] {
            assert_eq!(fault(errno), AcceptFault::Listener, "{errno}");
        }
        assert_eq!(accept_fault(libc::EOPNOTSUPP, || false), AcceptFault::Listener);
    }
}
