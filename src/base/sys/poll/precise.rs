//! `ppoll`, with nanoseconds.

use crate::base::sys::{calls, check, timespec};
use std::io;
use std::ptr;
use std::time::Duration;

pub(crate) fn poll(entries: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<libc::c_int> {
    let limit = timeout.map(timespec);
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    let count = entries.len() as libc::nfds_t;
    // SAFETY: the entries are as many as their count says; they and the timeout live until the call ends; the
    // signal mask stays as it is.
    check(unsafe { calls::ppoll(entries.as_mut_ptr(), count, limit, ptr::null()) })
}
