//! How the guards at the low ends of stacks are installed.
//!
//! `MADV_GUARD_INSTALL` (Linux 6.13) marks pages within a mapping and splits none, so the number of
//! stacks is bounded by memory alone. Without it `mprotect` cuts each guard out as a mapping of its
//! own, two mappings a stack; Linux allows a process `vm.max_map_count` of them. The guards may use
//! half of that, and then an error says so; the other half is for whatever else the program maps, which is
//! not counted. No stack is ever given out without its guard.
//!
//! `SWARD_STACK_GUARD` set to `madvise` or `mprotect` forces the one or the other.

use super::advise::{advise, range};
use super::size::guard_bytes;
use super::system::{GUARD, max_mappings};
use crate::base::sys::{check, page_size};
use once_cell::sync::OnceCell;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

const VARIABLE: &str = "SWARD_STACK_GUARD";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// By that advice.
    Madvise(libc::c_int),
    Mprotect,
}

/// The guards that `mprotect` has cut out.
static CUT_OUT: AtomicUsize = AtomicUsize::new(0);

/// Whether the environment's wish for guards can be granted.
///
/// # Errors
///
/// `InvalidInput`, naming the variable, for an unknown value; `Unsupported` if the kernel cannot.
pub(crate) fn check_environment() -> io::Result<()> {
    means().map(drop)
}

/// Installs guards at the low ends of the slots of that size in the range, from its start on; how many,
/// at least one.
///
/// # Errors
///
/// The system's, or `OutOfMemory` naming `vm.max_map_count`; then none was installed.
///
/// # Safety
///
/// The slots lie within a mapping of the caller's, nobody uses them, and there is one at least.
pub(super) unsafe fn install(slots: Range<usize>, slot: usize) -> io::Result<usize> {
    let bytes = guard_bytes(page_size());
    match means()? {
        Means::Madvise(advice) => {
            let guards: Vec<_> = slots.step_by(slot).map(|low| range(low, bytes)).collect();
            // SAFETY: the guards are within the caller's mapping, and unused.
            unsafe { advise(&guards, advice) }
        }
        // Mappings are scarce: none is cut out for a stack that nobody wants yet.
        // SAFETY: as above.
        Means::Mprotect => unsafe { cut_out(slots.start, bytes) }.map(|()| 1),
    }
}

/// Makes a guard a mapping of its own, unless the limit is reached.
///
/// # Safety
///
/// As for `install`.
unsafe fn cut_out(start: usize, bytes: usize) -> io::Result<()> {
    let count = CUT_OUT.fetch_add(1, Ordering::Relaxed);
    let result = if let Some(limit) = max_map_count().filter(|limit| 2 * (count + 1) > limit / 2) {
        Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!(
                "{count} stacks use half of the memory mappings that vm.max_map_count = {limit} allows, two \
                 each; raise that sysctl, or use Linux 6.13, where a stack needs none of its own"
            ),
        ))
    } else {
        // SAFETY: as the caller says.
        check(unsafe { libc::mprotect(start as *mut libc::c_void, bytes, libc::PROT_NONE) }).map(drop)
    };
    if result.is_err() {
        CUT_OUT.fetch_sub(1, Ordering::Relaxed);
    }
    result
}

fn means() -> io::Result<Means> {
    static MEANS: OnceCell<Means> = OnceCell::new();
    MEANS.get_or_try_init(choose).copied()
}

fn choose() -> io::Result<Means> {
    let wish = std::env::var_os(VARIABLE).filter(|wish| !wish.is_empty());
    match (wish.as_deref().map(|wish| wish.to_str()), kernel_has_guards()) {
        (None | Some(Some("madvise")), Some(advice)) => Ok(Means::Madvise(advice)),
        (None | Some(Some("mprotect")), _) => Ok(Means::Mprotect),
        (Some(Some("madvise")), None) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("environment variable {VARIABLE}=madvise: this kernel has no MADV_GUARD_INSTALL"),
        )),
        (Some(_), _) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("environment variable {VARIABLE}={wish:?}: want \"madvise\" or \"mprotect\""),
        )),
    }
}

/// The advice that installs guards, tried on a mapping of its own.
fn kernel_has_guards() -> Option<libc::c_int> {
    let advice = GUARD?;
    let anywhere = std::ptr::null_mut();
    let size = page_size();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping, which nobody else knows, and which is given back.
    unsafe {
        let page = libc::mmap(anywhere, size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if page == libc::MAP_FAILED {
            return None;
        }
        let has = libc::madvise(page, size, advice) == 0;
        libc::munmap(page, size);
        has.then_some(advice)
    }
}

fn max_map_count() -> Option<usize> {
    static LIMIT: OnceCell<Option<usize>> = OnceCell::new();
    *LIMIT.get_or_init(max_mappings)
}
