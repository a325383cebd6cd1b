//! The system's declarations of kqueue.

pub(super) use libc::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_EOF, EV_ERROR, EV_RECEIPT, EVFILT_READ, EVFILT_USER, EVFILT_WRITE,
    NOTE_TRIGGER, kevent, kqueue,
};

/// The filter and the note of out-of-band ("urgent") data.
#[cfg(any(target_vendor = "apple", target_os = "openbsd", target_os = "dragonfly"))]
pub(super) const OUT_OF_BAND: Option<(i32, u32)> = Some((libc::EVFILT_EXCEPT as i32, libc::NOTE_OOB));
/// These systems have none.
#[cfg(any(target_os = "freebsd", target_os = "netbsd"))]
pub(super) const OUT_OF_BAND: Option<(i32, u32)> = None;
