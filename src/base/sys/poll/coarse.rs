//! `poll` with milliseconds.

use crate::base::sys::check;
use std::io;
use std::time::Duration;

pub(crate) fn poll(entries: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<libc::c_int> {
    // Rounded up: a timeout rounded down returns too early, and its caller spins.
    let limit = timeout.map_or(-1, |timeout| {
        libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
    });
    // SAFETY: the entries are as many as their count says, and live until the call ends.
    check(unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, limit) })
}
