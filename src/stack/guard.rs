//! How the guards at the low ends of stacks are installed.
//!
//! # The problem
//!
//! A stack must never be used without its guard, and a process may have only `vm.max_map_count` mappings. A
//! guard made by `mprotect` is a mapping of its own, so each stack costs two of them.
//!
//! # The methods
//!
//! - *Advice*: `MADV_GUARD_INSTALL` (Linux 6.13) marks pages within a mapping. The number of stacks is then
//!   bounded by memory alone. The kernel refuses it for locked memory.
//! - *`mprotect`*: splits the mapping. The guards may use half of `vm.max_map_count`; beyond that, `install`
//!   returns an error that names the setting. The other half is for the rest of the program, whose mappings
//!   are not counted.
//!
//! # Which method is used
//!
//! | `SWARD_STACK_GUARD` | the method |
//! |---|---|
//! | not set | the advice, for each batch of stacks anew; `mprotect` for a batch that it is refused for |
//! | `madvise` | the advice only; an error if the kernel does not take it |
//! | `mprotect` | `mprotect` only |
//!
//! A refusal is not final, since a program may lock its memory (`mlockall`) and unlock it at any time. After
//! one, a number of batches go to `mprotect` before the advice is tried again ([`Capability`]).
//!
//! # Who counts what
//!
//! `SPLIT` is the number of guards that are mappings of their own. `install_split` adds one, and takes it
//! back if it fails. [`merged`] subtracts the guards of chunks that were emptied: emptying makes them part of
//! the mapping around them again.

use super::advise::{advise, range};
use super::capability::Capability;
use super::size::StackSize;
use super::sys::{GUARD, max_mappings};
use crate::base::sys::{calls, check, page_size};
use once_cell::sync::OnceCell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

const VARIABLE: &str = "SWARD_STACK_GUARD";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// That advice, and `mprotect` for what it is refused for.
    Either(libc::c_int),
    /// That advice only.
    Madvise(libc::c_int),
    Mprotect,
}

/// Guards that were installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    /// How many, from the first slot on.
    pub(super) count: usize,
    /// Whether they are mappings of their own.
    pub(super) split: bool,
}

/// The number of guards that `mprotect` has made mappings of their own.
static SPLIT: AtomicUsize = AtomicUsize::new(0);
/// Whether to try the advice.
static ADVICE: Capability = Capability::new();

/// Checks that the method in the environment variable can be used.
///
/// # Errors
///
/// `InvalidInput`, naming the variable, for an unknown value; `Unsupported` if the kernel cannot.
pub(crate) fn check_environment() -> io::Result<()> {
    method().map(drop)
}

/// Installs guards for slots of that size, which are given by their low ends, from the first slot on. Returns
/// how many it has installed, at least one.
///
/// # Errors
///
/// The system's, or `OutOfMemory` naming `vm.max_map_count`; then none was installed.
///
/// # Safety
///
/// The slots are within the caller's mappings and not in use, and there is at least one.
pub(super) unsafe fn install(slots: &[usize], size: StackSize) -> io::Result<Installed> {
    let bytes = size.guard();
    let guards = || -> Vec<_> { slots.iter().map(|&low| range(low, bytes)).collect() };
    match method()? {
        Method::Madvise(advice) => {
            // SAFETY: the guards are within the caller's mappings, and unused.
            let count = unsafe { advise(&guards(), advice) }?;
            return Ok(Installed { count, split: false });
        }
        Method::Either(advice) if ADVICE.worth_a_try() => {
            // SAFETY: as above.
            if let Ok(count) = unsafe { advise(&guards(), advice) } {
                return Ok(Installed { count, split: false });
            }
            ADVICE.refused();
        }
        Method::Either(_) | Method::Mprotect => {}
    }
    // Only one: mappings are scarce, and the other stacks may never be needed.
    // SAFETY: as above.
    unsafe { install_split(slots[0], bytes) }.map(|()| Installed { count: 1, split: true })
}

/// Subtracts guards that are no longer mappings of their own.
pub(super) fn merged(split: u32) {
    SPLIT.fetch_sub(split as usize, Ordering::Relaxed);
}

/// Installs a guard by `mprotect`, unless the limit is reached.
///
/// # Safety
///
/// As for `install`.
unsafe fn install_split(start: usize, bytes: usize) -> io::Result<()> {
    let count = SPLIT.fetch_add(1, Ordering::Relaxed);
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
        check(unsafe { calls::mprotect(start as *mut libc::c_void, bytes, libc::PROT_NONE) }).map(drop)
    };
    if result.is_err() {
        merged(1);
    }
    result
}

fn method() -> io::Result<Method> {
    static METHOD: OnceCell<Method> = OnceCell::new();
    METHOD.get_or_try_init(method_from_environment).copied()
}

fn method_from_environment() -> io::Result<Method> {
    let setting = std::env::var_os(VARIABLE).filter(|setting| !setting.is_empty());
    match (setting.as_deref().map(|setting| setting.to_str()), GUARD) {
        (None, Some(advice)) => Ok(Method::Either(advice)),
        (None | Some(Some("mprotect")), _) => Ok(Method::Mprotect),
        (Some(Some("madvise")), Some(advice)) if takes(advice) => Ok(Method::Madvise(advice)),
        (Some(Some("madvise")), _) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "environment variable {VARIABLE}=madvise: this kernel has no MADV_GUARD_INSTALL, or memory is \
                 locked"
            ),
        )),
        (Some(_), _) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("environment variable {VARIABLE}={setting:?}: want \"madvise\" or \"mprotect\""),
        )),
    }
}

/// Whether the kernel takes that advice. This tries it on a mapping of its own.
fn takes(advice: libc::c_int) -> bool {
    let anywhere = std::ptr::null_mut();
    let size = page_size();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping, which no other code knows, and which is unmapped again.
    unsafe {
        let page = calls::mmap(anywhere, size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if page == libc::MAP_FAILED {
            return false;
        }
        let taken = calls::madvise(page, size, advice) == 0;
        libc::munmap(page, size);
        taken
    }
}

fn max_map_count() -> Option<usize> {
    static LIMIT: OnceCell<Option<usize>> = OnceCell::new();
    *LIMIT.get_or_init(max_mappings)
}
