//! Systems without descriptors of processes.

use std::io;
use std::os::fd::OwnedFd;

/// Always `Unsupported`: the caller waits by other means.
pub(crate) fn open_pidfd(_: u32) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}
