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
//!   bounded by memory alone. The kernel refuses it for locked memory. An emulator of system calls may ignore
//!   it and report success, as qemu does; then a stack would have no guard.
//! - *`mprotect`*: splits the mapping. The guards may use half of `vm.max_map_count`; beyond that, `install`
//!   returns an error that names the setting. The other half is for the rest of the program, whose mappings
//!   are not counted.
//!
//! # Which method is used
//!
//! | `SWARD_STACK_GUARD` | the method |
//! |---|---|
//! | not set | the advice, for each batch of stacks anew; `mprotect` if it is refused or ignored |
//! | `madvise` | the advice only; an error if the kernel does not take it |
//! | `mprotect` | `mprotect` only |
//!
//! Whether the advice is ignored is found out once, before the first stack: the advice is given for a page,
//! and then the kernel is asked to read that page. It must not be able to.
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
use super::sys::{GUARD, faults, max_mappings};
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
        (None, Some(advice)) => Ok(unforced(advice)),
        (None | Some(Some("mprotect")), _) => Ok(Method::Mprotect),
        (Some(Some("madvise")), Some(advice)) if trial(advice) == Trial::Guards => {
            Ok(Method::Madvise(advice))
        }
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

/// The method on a system with that advice, if nobody has said which one.
fn unforced(advice: libc::c_int) -> Method {
    // What is refused now may be taken later. What is ignored says nothing later either.
    if trial(advice) == Trial::Ignored { Method::Mprotect } else { Method::Either(advice) }
}

/// What has come of an advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// The page is a guard.
    Guards,
    /// The advice was taken, and the page can be read.
    Ignored,
    Refused,
}

/// Tries that advice on a mapping of its own.
fn trial(advice: libc::c_int) -> Trial {
    let anywhere = std::ptr::null_mut();
    let size = page_size();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping, which no other code knows, and which is unmapped again. Its words are zero.
    unsafe {
        let page = calls::mmap(anywhere, size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if page == libc::MAP_FAILED {
            return Trial::Refused;
        }
        let taken = calls::madvise(page, size, advice) == 0;
        let guards = taken && faults(page);
        libc::munmap(page, size);
        match (taken, guards) {
            (false, _) => Trial::Refused,
            (true, false) => Trial::Ignored,
            (true, true) => Trial::Guards,
        }
    }
}

fn max_map_count() -> Option<usize> {
    static LIMIT: OnceCell<Option<usize>> = OnceCell::new();
    *LIMIT.get_or_init(max_mappings)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// As with an emulator that does not know the advice for guards.
    #[test]
    fn an_advice_without_effect_makes_no_guards() {
        assert_eq!(trial(libc::MADV_NORMAL), Trial::Ignored);
        assert_eq!(unforced(libc::MADV_NORMAL), Method::Mprotect);
    }

    /// A kernel that knows the advice is not taken for one that ignores it.
    #[test]
    fn what_takes_the_advice_makes_guards() {
        let Some(advice) = GUARD else { return println!("skipped: this system has no such advice") };
        match trial(advice) {
            Trial::Guards => assert_eq!(unforced(advice), Method::Either(advice)),
            Trial::Refused => println!("skipped: this kernel has no MADV_GUARD_INSTALL"),
            // Nor does such a system look at the number.
            Trial::Ignored => {
                assert_eq!(trial(9999), Trial::Ignored, "the advice is taken, and guards nothing")
            }
        }
    }
}
