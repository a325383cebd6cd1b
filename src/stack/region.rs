//! Address space for slots.
//!
//! A region is reserved with one `mmap`, larger ones as more stacks are needed, and its address space is
//! never returned. If there is no room for a large region, a smaller one is tried, down to a single slot.
//! Huge pages are declined, since one would commit 2 MiB at the first touch of a stack. Slots are contiguous,
//! so a guard and the top of the stack below it share a page of page table.
//!
//! If the process's address space is limited, stacks leave some of it free: the allocator aborts the process
//! when it gets no memory, while a missing stack is only an error. If the program has locked its future
//! memory (`mlockall(MCL_FUTURE)`), the kernel populates a region at once, so regions are small.
//!
//! The signal handler of the overflow report reads the table of regions. So the table is a list that only
//! grows, of nodes that are never freed.

use super::size::StackSize;
use super::sys::{RESERVE, announce, decline_huge_pages, free_of, populates};
use crate::base::sys::calls;
use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

/// Slots of the first region of a size, and of the largest ones.
pub(super) const FIRST: usize = 16;
const MOST: usize = 1024;
/// Bytes of the largest regions, unless one slot is larger.
const MOST_BYTES: usize = 256 << 20;
/// The same if the kernel populates a region at once.
const MOST_BYTES_POPULATED: usize = 1 << 20;
/// Of a limited address space, a region takes at most this part (one eighth), and stacks leave as much free.
const SHARES: usize = 8;
/// What stacks leave free of an address space that has no known limit.
const ROOM: usize = 4 << 20;

/// Reserves address space for that many slots, or for fewer. They are unguarded.
///
/// # Errors
///
/// There is no room even for one.
pub(super) fn reserve(size: StackSize, slots: usize) -> io::Result<Range<usize>> {
    let populated = populates();
    let limit = address_space_limit();
    let most_bytes = match limit {
        _ if populated => MOST_BYTES_POPULATED,
        Some(limit) => MOST_BYTES.min(limit / SHARES),
        None => MOST_BYTES,
    };
    // Not if the kernel would populate what `Room` holds.
    let room = if populated { 0 } else { limit.map_or(ROOM, |limit| limit / SHARES) };
    let mut slots = slots.min(MOST).min((most_bytes / size.stride()).max(1));
    loop {
        match map(slots * size.stride(), room, limit) {
            Ok(start) => {
                let range = start..start + slots * size.stride();
                publish(&range, size);
                for low in range.clone().step_by(size.stride()) {
                    announce(low + size.guard(), low + size.stride());
                }
                return Ok(range);
            }
            Err(_) if slots > 1 => slots /= 2,
            Err(e) => {
                return Err(io::Error::new(
                    e.kind(),
                    format!("no address space for a stack of {} bytes: {e}", size.bytes()),
                ));
            }
        }
    }
}

/// Maps that many bytes, if there is room for that many more.
fn map(bytes: usize, room: usize, limit: Option<usize>) -> io::Result<usize> {
    /// Two regions that are mapped at the same time would leave less.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let room = match limit.filter(|_| room > 0).and_then(free_of) {
        Some(free) if free < bytes + room => return Err(io::Error::from_raw_os_error(libc::ENOMEM)),
        Some(_) => None,
        None if room > 0 => Some(Room::hold(room)?),
        None => None,
    };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | RESERVE;
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let start =
        unsafe { calls::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    drop((room, one_at_a_time));
    // SAFETY: our own mapping.
    unsafe { decline_huge_pages(start, bytes) };
    Ok(start as usize)
}

/// Address space that is held for a moment, which shows that it is free.
struct Room(*mut libc::c_void, usize);

impl Room {
    fn hold(bytes: usize) -> io::Result<Room> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | RESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let start = unsafe { calls::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Room(start, bytes)) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which is not in use.
        unsafe { libc::munmap(self.0, self.1) };
    }
}

/// Whether less of a limited address space is free than stacks leave to others. Others that can do without
/// ask this before they take some.
pub(crate) fn address_space_is_short() -> bool {
    let is_short = |limit| match free_of(limit) {
        Some(free) => free < limit / SHARES,
        None => Room::hold(limit / SHARES).is_err(),
    };
    !populates() && address_space_limit().is_some_and(is_short)
}

/// The limit of the process's address space, if there is one.
fn address_space_limit() -> Option<usize> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the variable lives until the call ends.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) } == 0;
    (known && limit.rlim_cur != libc::RLIM_INFINITY).then(|| usize::try_from(limit.rlim_cur).ok()).flatten()
}

/// Empties a range of unused slots: their content, their guards and their page tables go, and the address
/// space stays reserved.
///
/// Only unmapping frees page tables, so the range is mapped anew. Huge pages are declined as before, so that
/// the kernel merges the range with its neighbours into one mapping again.
///
/// # Errors
///
/// The system's. The range may not be mapped any more then, so do not use it again.
///
/// # Safety
///
/// The range consists of whole slots of regions, and they are the caller's.
pub(super) unsafe fn empty(range: Range<usize>) -> io::Result<()> {
    let (start, bytes) = (range.start as *mut libc::c_void, range.len());
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | RESERVE | libc::MAP_FIXED;
    // SAFETY: as the caller says, it replaces memory that is not in use.
    let mapped = unsafe { calls::mmap(start, bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    unsafe { decline_huge_pages(start, bytes) };
    Ok(())
}

struct Region {
    start: usize,
    end: usize,
    size: usize,
    slot: usize,
    guard: usize,
    older: *const Region,
}

static REGIONS: AtomicPtr<Region> = AtomicPtr::new(ptr::null_mut());

/// Adds a region to the table. Several threads may do so at once, since each size has a lock of its own.
fn publish(range: &Range<usize>, size: StackSize) {
    let region = Box::leak(Box::new(Region {
        start: range.start,
        end: range.end,
        size: size.bytes(),
        slot: size.stride(),
        guard: size.guard(),
        older: ptr::null(),
    }));
    // Release: for the acquiring load in `guard_at`, which reads the node.
    let _ = REGIONS.fetch_update(Ordering::Release, Ordering::Relaxed, |newest| {
        region.older = newest;
        Some(region)
    });
}

/// If the address is in a guard: the size of the stack above the guard. May be called in a signal handler.
pub(super) fn guard_at(address: usize) -> Option<usize> {
    let mut at: *const Region = REGIONS.load(Ordering::Acquire);
    // SAFETY: nodes are never freed nor changed once they are published.
    while let Some(region) = unsafe { at.as_ref() } {
        if (region.start..region.end).contains(&address) {
            return ((address - region.start) % region.slot < region.guard).then_some(region.size);
        }
        at = region.older;
    }
    None
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn regions_reserved_at_the_same_time_are_all_in_the_table() {
        let size = StackSize::of(1 << 16, 1);
        let start = std::sync::Barrier::new(4);
        let reserve = || {
            start.wait();
            std::iter::repeat_with(|| reserve(size, FIRST).expect("address space").start)
                .take(200)
                .collect::<Vec<_>>()
        };
        let lows = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(reserve));
            threads.map(|thread| thread.join().expect("no panic")).concat()
        });
        assert!(lows.into_iter().all(|low| guard_at(low) == Some(size.bytes())));
    }

    #[test]
    fn a_guard_is_known_by_its_address() {
        for guard in [1, 512 << 10] {
            let size = StackSize::of(1 << 18, guard);
            let slots = reserve(size, 2).expect("address space");
            let guard = size.guard();
            for low in slots.step_by(size.stride()) {
                assert_eq!(guard_at(low), Some(size.bytes()));
                assert_eq!(guard_at(low + guard - 1), Some(size.bytes()));
                assert_eq!(guard_at(low + guard), None);
                assert_eq!(guard_at(low + size.stride() - 1), None);
            }
        }
        assert_eq!(guard_at(8), None);
    }

    #[test]
    fn a_region_is_as_large_as_asked_or_as_regions_get() {
        let reserved = |stack: usize, slots| {
            let size = StackSize::of(stack, 1);
            reserve(size, slots).expect("address space").len() / size.stride()
        };
        assert_eq!((reserved(64 << 10, 3), reserved(64 << 10, 5_000)), (3, MOST));
        assert_eq!((reserved(64 << 20, 5_000), reserved(1 << 30, 5_000)), (3, 1));
    }
}
