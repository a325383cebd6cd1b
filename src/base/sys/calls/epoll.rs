//! The calls of the back-end `epoll`.

use std::ptr;

pub(crate) use libc::{epoll_create1, epoll_ctl, epoll_wait, eventfd};

/// `epoll_pwait2(2)` without a signal mask.
///
/// # Safety
///
/// The buffer has room for `capacity` events, and the timeout is null or lives until the call ends.
#[inline(always)]
pub(crate) unsafe fn epoll_pwait2(
    epoll: libc::c_int,
    events: *mut libc::epoll_event,
    capacity: libc::c_int,
    timeout: *const libc::timespec,
) -> libc::c_int {
    let mask = ptr::null::<libc::sigset_t>();
    // SAFETY: as the caller says.
    unsafe {
        libc::syscall(libc::SYS_epoll_pwait2, epoll, events, capacity, timeout, mask, 0usize) as libc::c_int
    }
}
