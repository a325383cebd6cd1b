//! Linux: `preadv2` with `RWF_NOWAIT`.

use crate::base::sys::{calls, retry};
use crate::fs::cached::Cached;
use once_cell::sync::OnceCell;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Reads what is in the page cache. See the contract in `mod.rs`.
///
/// # Safety
///
/// `bufs` points to `count` buffers that the kernel may write to. Their contents need not be initialized.
pub(crate) unsafe fn read_cached(
    fd: BorrowedFd<'_>,
    bufs: *const libc::iovec,
    count: usize,
    offset: Option<u64>,
) -> Cached {
    // As the kernel takes it: in two registers. It ignores the second one if the first is wide enough.
    let at = offset.map_or(-1, |offset| offset as i64);
    // SAFETY: as the caller says.
    let call = || unsafe {
        libc::syscall(
            libc::SYS_preadv2,
            fd.as_raw_fd(),
            bufs,
            count as libc::c_ulong,
            at as libc::c_ulong,
            (at >> 32) as libc::c_ulong,
            libc::RWF_NOWAIT,
        ) as libc::ssize_t
    };
    let read = retry(|| calls::newer(call));
    match read {
        Ok(0) if !zero_is_the_end() => Cached::No,
        Ok(read) => Cached::Read(read as usize),
        Err(error) => match error.raw_os_error() {
            // EPERM, EACCES: a sandbox.
            Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::EPERM | libc::EACCES) => {
                Cached::Unsupported
            }
            // An ordinary read says what is wrong.
            _ => Cached::No,
        },
    }
}

/// Whether the file was opened with `O_DIRECT`. `preadv2` then submits the read and waits for it.
pub(crate) fn bypasses_cache(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: the call takes no pointers.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    flags != -1 && flags & libc::O_DIRECT != 0
}

/// Whether a read of nothing means the end of the file. In Linux 5.9 and 5.10 it may also mean that the data
/// is not cached (preadv2(2), BUGS).
fn zero_is_the_end() -> bool {
    static KNOWN: OnceCell<bool> = OnceCell::new();
    *KNOWN.get_or_init(|| {
        // SAFETY: all zeros is a value of this type, and the call fills it.
        let mut name = unsafe { std::mem::zeroed::<libc::utsname>() };
        // SAFETY: as above.
        if unsafe { libc::uname(&raw mut name) } != 0 {
            return false;
        }
        // SAFETY: the kernel ends the text with a zero.
        let release = unsafe { CStr::from_ptr(name.release.as_ptr()) };
        !is_affected(&release.to_string_lossy())
    })
}

fn is_affected(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    numbers.next() == Some("5") && matches!(numbers.next(), Some("9" | "10"))
}

#[cfg(test)]
mod tests {
    use super::is_affected;

    #[test]
    fn releases_are_told_apart() {
        for (release, affected) in
            [("5.10.0-28-amd64", true), ("5.9.1", true), ("5.1.10", false), ("6.18.44-x", false), ("", false)]
        {
            assert_eq!(is_affected(release), affected, "{release}");
        }
    }
}
