//! What a world would be told and asked, and faults. There are none.

use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;

/// The addresses of the host with that name; `None`, since the system has to be asked.
#[inline(always)]
pub(crate) fn addresses_of(_name: &str) -> Option<io::Result<Vec<IpAddr>>> {
    None
}

/// The number is about to be closed. The kernel need not be told.
#[inline(always)]
pub(crate) fn closing(_fd: RawFd) {}

/// Makes a call that older kernels do not have.
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code))]
#[inline(always)]
pub(crate) fn newer<R>(by_kernel: impl FnOnce() -> R) -> R {
    by_kernel()
}

/// The crate is about to start a thread. The kernel says by itself if there is none.
#[inline(always)]
pub(crate) fn before_thread() -> io::Result<()> {
    Ok(())
}
