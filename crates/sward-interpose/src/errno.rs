//! `errno`, which belongs to the thread: never inlined, since a coroutine that migrates may have been moved
//! by the call before.

use libc::c_int;

#[inline(never)]
pub(crate) fn errno() -> c_int {
    // SAFETY: the C library returns the address of the thread's variable.
    unsafe { *libc::__errno_location() }
}

#[inline(never)]
pub(crate) fn set_errno(error: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = error };
}

/// Sets `errno` and returns what stands for an error.
pub(crate) fn fail<R: From<i8>>(error: c_int) -> R {
    set_errno(error);
    R::from(-1)
}
