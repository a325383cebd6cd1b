//! Systems without a transfer that does not block although the open file is blocking.

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

/// Always `Unsupported`: the caller makes the plain call.
pub(crate) fn read_nowait(_: RawFd, _: &mut [u8]) -> io::Result<usize> {
    Err(ErrorKind::Unsupported.into())
}

/// Always `Unsupported`: the caller makes the plain call.
pub(crate) fn write_nowait(_: RawFd, _: &[u8]) -> io::Result<usize> {
    Err(ErrorKind::Unsupported.into())
}
