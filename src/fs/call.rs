//! Calls on the pool for blocking calls.

use super::simulated;
use crate::blocking;
use crate::coroutine::WaitReason;
use crate::sched::{FileWay, count_file_call, may_switch};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Makes the call on the pool; on a plain thread, in place. Parks.
pub(super) fn call<T: Send>(f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    simulated::delay();
    count_file_call(FileWay::Pool);
    blocking::run(WaitReason::File, f)?
}

/// Whether the caller may make calls on files without the pool: it is a coroutine that may park, and its
/// files are the system's.
pub(super) fn needs_no_pool() -> bool {
    may_switch() && !simulated::is_in_simulation()
}

/// Makes the call on the pool, unless one of the files is a FIFO or a device, which might occupy the pool's
/// thread for ever: then `None`. Parks.
pub(super) fn call_on_disk<T: Send, const N: usize>(
    paths: [&Path; N],
    f: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<Option<T>> {
    call(|| {
        let may_never_be_ready = |path: &&Path| {
            path.metadata()
                .is_ok_and(|status| status.file_type().is_fifo() || status.file_type().is_char_device())
        };
        if paths.iter().any(may_never_be_ready) { Ok(None) } else { f().map(Some) }
    })
}
