//! Socket options, with their values as C has them.

use crate::base::sys::{calls, check};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// The value of a socket option.
///
/// # Safety
///
/// A C type that is valid for any bytes.
pub(super) unsafe trait OptionValue: Copy {}

// SAFETY: an integer.
unsafe impl OptionValue for libc::c_int {}
// SAFETY: an integer.
unsafe impl OptionValue for libc::c_uchar {}
// SAFETY: two integers; nobody reads the padding that may follow them.
unsafe impl OptionValue for libc::timeval {}
// SAFETY: two integers of one size.
unsafe impl OptionValue for libc::linger {}
// SAFETY: two addresses of four bytes.
unsafe impl OptionValue for libc::ip_mreq {}
// SAFETY: an address of sixteen bytes, and an integer of four.
unsafe impl OptionValue for libc::ipv6_mreq {}

/// `getsockopt(2)`.
pub(super) fn option<T: OptionValue>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    let raw = fd.as_raw_fd();
    // SAFETY: the value is `len` bytes, and both live until the call ends.
    check(unsafe { calls::getsockopt(raw, level, name, value.as_mut_ptr().cast(), &raw mut len) })?;
    // SAFETY: zeros or what the kernel wrote over them; `OptionValue`: any bytes will do.
    Ok(unsafe { value.assume_init() })
}

/// `setsockopt(2)`.
pub(super) fn set_option<T: OptionValue>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: T,
) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is `len` bytes and lives until the call ends.
    check(unsafe { calls::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) }).map(drop)
}

/// The number as a C integer, or the largest C integer.
pub(super) fn to_int(value: u32) -> libc::c_int {
    libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX)
}

/// The time in whole seconds, rounded up, or the largest C integer.
pub(super) fn to_seconds(time: Duration) -> libc::c_int {
    libc::c_int::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap_or(libc::c_int::MAX)
}

/// A timeout of the kernel. Zero means none.
pub(super) fn from_timeval(value: libc::timeval) -> Option<Duration> {
    let timeout = Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1_000);
    (!timeout.is_zero()).then_some(timeout)
}

/// The timeout as the kernel takes it. Rounded up, since zero means none.
pub(super) fn to_timeval(timeout: Option<Duration>) -> libc::timeval {
    let micros = timeout.map_or(0, |timeout| timeout.as_nanos().div_ceil(1_000));
    libc::timeval {
        tv_sec: libc::time_t::try_from(micros / 1_000_000).unwrap_or(libc::time_t::MAX),
        tv_usec: (micros % 1_000_000) as libc::suseconds_t,
    }
}

/// The value of `SO_LINGER`.
pub(super) fn linger_value(linger: Option<Duration>) -> libc::linger {
    libc::linger { l_onoff: libc::c_int::from(linger.is_some()), l_linger: linger.map_or(0, to_seconds) }
}

/// The time in a value of `SO_LINGER`.
pub(super) fn linger_time(value: libc::linger) -> Option<Duration> {
    (value.l_onoff != 0).then(|| Duration::from_secs(value.l_linger as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_timeout_is_never_rounded_to_none() {
        let back = |timeout| from_timeval(to_timeval(timeout));
        assert_eq!(back(None), None);
        assert_eq!(back(Some(Duration::from_nanos(1))), Some(Duration::from_micros(1)));
        assert_eq!(back(Some(Duration::from_millis(1_500))), Some(Duration::from_millis(1_500)));
    }
}
