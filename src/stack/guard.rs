//! How the guards at the low ends of stacks are installed.
//!
//! `MADV_GUARD_INSTALL` (Linux 6.13) marks pages within a mapping and splits none, so the number of
//! stacks is bounded by memory alone. Without it `mprotect` cuts each guard out as a mapping of its
//! own, two mappings a stack; Linux allows a process `vm.max_map_count` of them. The guards may use
//! half of that, and then an error says so; the other half is for whatever else the program maps, which is
//! not counted. No stack is ever given out without its guard.
//!
//! The advice is tried for each batch of stacks, and `mprotect` does what it is refused for: the kernel does
//! not take it for locked memory, and a program may lock its memory (`mlockall`) and unlock it at any time.
//! `SWARD_STACK_GUARD` set to `madvise` or `mprotect` forces the one or the other.

use super::advise::{advise, range};
use super::capability::Capability;
use super::size::StackSize;
use super::sys::{GUARD, max_mappings};
use crate::base::sys::{check, page_size};
use once_cell::sync::OnceCell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

const VARIABLE: &str = "SWARD_STACK_GUARD";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// By that advice if it is taken, else by `mprotect`.
    Either(libc::c_int),
    /// By that advice.
    Madvise(libc::c_int),
    Mprotect,
}

/// Guards that were installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    /// How many: those of the first slots.
    pub(super) count: usize,
    /// Whether they are mappings of their own.
    pub(super) cut_out: bool,
}

/// The guards that `mprotect` has cut out.
static CUT_OUT: AtomicUsize = AtomicUsize::new(0);
/// The advice.
static ADVICE: Capability = Capability::new();

/// Whether the environment's wish for guards can be granted.
///
/// # Errors
///
/// `InvalidInput`, naming the variable, for an unknown value; `Unsupported` if the kernel cannot.
pub(crate) fn check_environment() -> io::Result<()> {
    means().map(drop)
}

/// Installs guards at the low ends of slots of that size, which are given by their addresses, from the first
/// one on; at least one.
///
/// # Errors
///
/// The system's, or `OutOfMemory` naming `vm.max_map_count`; then none was installed.
///
/// # Safety
///
/// The slots lie within mappings of the caller's, nobody uses them, and there is one at least.
pub(super) unsafe fn install(slots: &[usize], size: StackSize) -> io::Result<Installed> {
    let bytes = size.guard();
    let guards = || -> Vec<_> { slots.iter().map(|&low| range(low, bytes)).collect() };
    match means()? {
        Means::Madvise(advice) => {
            // SAFETY: the guards are within the caller's mappings, and unused.
            let count = unsafe { advise(&guards(), advice) }?;
            return Ok(Installed { count, cut_out: false });
        }
        Means::Either(advice) if ADVICE.worth_a_try() => {
            // SAFETY: as above.
            if let Ok(count) = unsafe { advise(&guards(), advice) } {
                return Ok(Installed { count, cut_out: false });
            }
            ADVICE.refused();
        }
        Means::Either(_) | Means::Mprotect => {}
    }
    // Mappings are scarce: none is cut out for a stack that nobody wants yet.
    // SAFETY: as above.
    unsafe { cut_out(slots[0], bytes) }.map(|()| Installed { count: 1, cut_out: true })
}

/// So many guards that were mappings of their own have become parts of others again.
pub(super) fn gone(cut_out: u32) {
    CUT_OUT.fetch_sub(cut_out as usize, Ordering::Relaxed);
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
                 each; raise that sysctl, or use Linux 6.13 without locked memory, where a stack needs none"
            ),
        ))
    } else {
        // SAFETY: as the caller says.
        check(unsafe { libc::mprotect(start as *mut libc::c_void, bytes, libc::PROT_NONE) }).map(drop)
    };
    if result.is_err() {
        gone(1);
    }
    result
}

fn means() -> io::Result<Means> {
    static MEANS: OnceCell<Means> = OnceCell::new();
    MEANS.get_or_try_init(choose).copied()
}

fn choose() -> io::Result<Means> {
    let wish = std::env::var_os(VARIABLE).filter(|wish| !wish.is_empty());
    match (wish.as_deref().map(|wish| wish.to_str()), GUARD) {
        (None, Some(advice)) => Ok(Means::Either(advice)),
        (None | Some(Some("mprotect")), _) => Ok(Means::Mprotect),
        (Some(Some("madvise")), Some(advice)) if takes(advice) => Ok(Means::Madvise(advice)),
        (Some(Some("madvise")), _) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "environment variable {VARIABLE}=madvise: this kernel has no MADV_GUARD_INSTALL, or memory is \
                 locked"
            ),
        )),
        (Some(_), _) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("environment variable {VARIABLE}={wish:?}: want \"madvise\" or \"mprotect\""),
        )),
    }
}

/// Whether the kernel takes that advice, tried on a mapping of its own.
fn takes(advice: libc::c_int) -> bool {
    let anywhere = std::ptr::null_mut();
    let size = page_size();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping, which nobody else knows, and which is given back.
    unsafe {
        let page = libc::mmap(anywhere, size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if page == libc::MAP_FAILED {
            return false;
        }
        let taken = libc::madvise(page, size, advice) == 0;
        libc::munmap(page, size);
        taken
    }
}

fn max_map_count() -> Option<usize> {
    static LIMIT: OnceCell<Option<usize>> = OnceCell::new();
    *LIMIT.get_or_init(max_mappings)
}
