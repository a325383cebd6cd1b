//! What a wait is for, as data.

use crate::coroutine::{Facts, Id};
use std::fmt;
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{FromRawFd, RawFd};

/// What a wait is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// The end of that coroutine.
    Coroutine(Id),
    /// Readiness of that descriptor. It had these addresses a moment after the capture.
    Descriptor {
        /// Its number.
        fd: i32,
        /// The address of a socket of the Internet.
        local: Option<SocketAddr>,
        /// The address of its peer.
        peer: Option<SocketAddr>,
    },
    /// Something of which only the address is known. Equal addresses are the same thing.
    Address(usize),
}

impl Subject {
    /// What is known, of what the subject itself said and its address.
    pub(super) fn of(facts: Option<Facts>, address: Option<usize>) -> Option<Subject> {
        match facts {
            Some(Facts::Coroutine(id)) => Some(Subject::Coroutine(id)),
            Some(Facts::File(fd)) => {
                let (local, peer) = addresses(fd);
                Some(Subject::Descriptor { fd, local, peer })
            }
            _ => address.map(Subject::Address),
        }
    }
}

/// The addresses of a socket of the Internet; none for any other descriptor, be it closed or not.
fn addresses(fd: RawFd) -> (Option<SocketAddr>, Option<SocketAddr>) {
    if fd < 0 {
        return (None, None);
    }
    // SAFETY: the two calls below only ask the kernel, whatever the descriptor is, and it is not closed here.
    let socket = ManuallyDrop::new(unsafe { TcpStream::from_raw_fd(fd) });
    (socket.local_addr().ok(), socket.peer_addr().ok())
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Coroutine(id) => write!(f, "coroutine #{id}"),
            Subject::Descriptor { fd, local, peer } => {
                write!(f, "descriptor {fd}")?;
                match (local, peer) {
                    (Some(local), Some(peer)) => write!(f, " ({local} to {peer})"),
                    (Some(local), None) => write!(f, " ({local})"),
                    _ => Ok(()),
                }
            }
            Subject::Address(address) => write!(f, "{address:#x}"),
        }
    }
}
