//! What differs between systems.
//!
//! A system supplies
//!
//! - new sockets, `accept` and the flags of a send: `flags.rs`, where these calls take flags, or `apple.rs`,
//!   where it takes further calls. Each new descriptor closes on `exec` from the start. No send raises
//!   SIGPIPE. Receiving and sending never block, whatever the mode of the descriptor, since the call itself
//!   says so; a stream can therefore be shared with code that wants it to block.
//! - names and types that differ: `linux.rs` or `other.rs`.

#[cfg(target_vendor = "apple")]
mod apple;
#[cfg(not(target_vendor = "apple"))]
mod flags;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod other;

#[cfg(target_vendor = "apple")]
pub(super) use apple::{KEEP_IDLE, SEND, accept, socket, socket_pair, source};
#[cfg(not(target_vendor = "apple"))]
pub(super) use flags::{KEEP_IDLE, SEND, accept, socket, socket_pair, source};

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use linux::{
    JOIN_V6, LEAVE_V6, MulticastV4, NO_NETWORK, abstract_name, bind_device, from_abstract_name,
};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use other::{JOIN_V6, LEAVE_V6, MulticastV4, NO_NETWORK, abstract_name, from_abstract_name};

/// Flags for `recv` and `recvmsg`.
pub(super) const RECV: libc::c_int = libc::MSG_DONTWAIT;

/// Whose fault an error of `accept` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AcceptFault {
    /// The connection's. It is gone, and the next `accept` may succeed.
    Connection,
    /// Neither the connection's nor the listener's: descriptors or memory have run out, or a firewall or
    /// sandbox forbids the call. The listener is sound, and the same call may succeed later.
    Temporary,
    /// The listener's. It accepts nothing any more.
    Listener,
}

/// Whose fault an errno of `accept` is. An unknown errno counts as temporary, since it must not end a server.
pub(super) fn accept_fault(errno: libc::c_int, listens: impl FnOnce() -> bool) -> AcceptFault {
    match errno {
        libc::EBADF | libc::EFAULT | libc::EINVAL | libc::ENOTSOCK | libc::ENOSYS => AcceptFault::Listener,
        // Either the socket does not listen, or this is an error of the connection, as below.
        libc::EOPNOTSUPP if !listens() => AcceptFault::Listener,
        // accept(2) on Linux returns pending network errors of the new socket.
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
        _ => AcceptFault::Temporary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_of_accept_is_the_connection_s_the_listener_s_or_temporary() {
        let fault = |errno| accept_fault(errno, || true);
        for errno in [libc::ECONNABORTED, libc::EPROTO, libc::ENETDOWN, libc::EOPNOTSUPP] {
            assert_eq!(fault(errno), AcceptFault::Connection, "{errno}");
        }
        let temporary = [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::ENOSPC,
            libc::EPERM,
            libc::EACCES,
        ];
        for errno in temporary {
            assert_eq!(fault(errno), AcceptFault::Temporary, "{errno}");
        }
        for errno in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK] {
            assert_eq!(fault(errno), AcceptFault::Listener, "{errno}");
        }
        assert_eq!(accept_fault(libc::EOPNOTSUPP, || false), AcceptFault::Listener);
    }
}
