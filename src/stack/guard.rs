//! How the guards at the low ends of stacks are installed.
//!
//! `MADV_GUARD_INSTALL` (Linux 6.13) marks pages within a mapping and splits none, so the number of
//! stacks is bounded by memory alone. Without it `mprotect` cuts each guard out as a mapping of its
//! own, two mappings a stack; the kernel allows a process `vm.max_map_count` of them, of which this
//! uses half and then says so. No stack is ever given out without its guard.
//!
//! `SWARD_STACK_GUARD` set to `madvise` or `mprotect` forces the one or the other.

use super::GUARD;
use crate::base::sys::check;
use once_cell::sync::OnceCell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

const VARIABLE: &str = "SWARD_STACK_GUARD";
/// `MADV_GUARD_INSTALL`, where the C library does not name it yet.
const MADV_GUARD_INSTALL: libc::c_int = 102;
/// What Linux has by default, should it not tell.
const DEFAULT_MAP_COUNT: usize = 65_530;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    Madvise,
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

/// Installs guards over the first `GUARD` bytes of `count` slots of that size from `start` on; how
/// many, at least one.
///
/// # Errors
///
/// The system's, or `OutOfMemory` naming `vm.max_map_count`; then none was installed.
///
/// # Safety
///
/// The slots lie within a mapping of the caller's, and nobody uses them.
pub(super) unsafe fn install(start: usize, slot: usize, count: usize) -> io::Result<usize> {
    let (means, count) = match means()? {
        Means::Madvise => (Means::Madvise, count),
        // One at a time: mappings are scarce, so none is cut out for a stack that nobody wants yet.
        Means::Mprotect => (Means::Mprotect, 1),
    };
    for n in 0..count {
        let at = (start + n * slot) as *mut libc::c_void;
        // SAFETY: within the caller's mapping, and unused.
        let done = unsafe {
            match means {
                Means::Madvise => check(libc::madvise(at, GUARD, MADV_GUARD_INSTALL)).map(drop),
                Means::Mprotect => cut_out(at),
            }
        };
        match done {
            Ok(()) => {}
            Err(e) if n == 0 => return Err(e),
            Err(_) => return Ok(n),
        }
    }
    Ok(count)
}

/// # Safety
///
/// As for `install`.
unsafe fn cut_out(at: *mut libc::c_void) -> io::Result<()> {
    let limit = max_map_count();
    let count = CUT_OUT.fetch_add(1, Ordering::Relaxed);
    let result = if 2 * (count + 1) > limit / 2 {
        Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!(
                "{count} stacks use half of the memory mappings that vm.max_map_count = {limit} allows, two \
                 each; raise that sysctl, or use Linux 6.13, where a stack needs none of its own"
            ),
        ))
    } else {
        // SAFETY: as the caller says.
        check(unsafe { libc::mprotect(at, GUARD, libc::PROT_NONE) }).map(drop)
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
    match wish.as_deref().map(|wish| wish.to_str()) {
        None if kernel_has_guards() => Ok(Means::Madvise),
        None | Some(Some("mprotect")) => Ok(Means::Mprotect),
        Some(Some("madvise")) if kernel_has_guards() => Ok(Means::Madvise),
        Some(Some("madvise")) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("environment variable {VARIABLE}=madvise: this kernel has no MADV_GUARD_INSTALL"),
        )),
        Some(_) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("environment variable {VARIABLE}={wish:?}: want \"madvise\" or \"mprotect\""),
        )),
    }
}

/// Tries it on a mapping of its own.
fn kernel_has_guards() -> bool {
    let anywhere = std::ptr::null_mut();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping, which nobody else knows, and which is given back.
    unsafe {
        let page = libc::mmap(anywhere, GUARD, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if page == libc::MAP_FAILED {
            return false;
        }
        let has = libc::madvise(page, GUARD, MADV_GUARD_INSTALL) == 0;
        libc::munmap(page, GUARD);
        has
    }
}

fn max_map_count() -> usize {
    static LIMIT: OnceCell<usize> = OnceCell::new();
    *LIMIT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
        text.trim().parse().unwrap_or(DEFAULT_MAP_COUNT)
    })
}
