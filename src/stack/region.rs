//! Address space, cut into slots.
//!
//! Regions are reserved with one `mmap` each, larger ones as more are needed, and never given back: a
//! free slot costs address space, and a page at most. Huge pages are declined, since one would commit
//! 2 MiB at the first touch of a stack. Slots are contiguous, so that a guard and the top of the
//! stack below it share a page of page table.
//!
//! The table of regions is read by the overflow handler, so it is a list that only grows, of nodes
//! that are never freed.

use super::size::{StackSize, guard_bytes};
use super::system::{RESERVE, decline_huge_pages};
use crate::base::sys::page_size;
use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Slots of the first region of a size, and of the largest ones.
const FIRST: usize = 16;
const MOST: usize = 1024;
/// Bytes of the largest regions, where one slot is not larger.
const MOST_BYTES: usize = 256 << 20;

/// The slots of one size that have no guard yet, under the lock of the shared stacks.
#[derive(Debug)]
pub(super) struct Carver {
    /// Ranges of whole slots.
    bare: Vec<Range<usize>>,
    /// How many the newest region has.
    slots: usize,
}

impl Carver {
    /// No region yet.
    pub(super) const fn new() -> Self {
        Carver { bare: Vec::new(), slots: FIRST / 2 }
    }

    /// Cuts off up to `want` slots, at least one, which are the caller's then.
    ///
    /// # Errors
    ///
    /// No address space: nothing was cut off.
    pub(super) fn cut(&mut self, size: StackSize, want: usize) -> io::Result<Range<usize>> {
        let range = match self.bare.pop() {
            Some(range) => range,
            None => self.reserve(size)?,
        };
        let middle = range.start + want.max(1).saturating_mul(size.stride()).min(range.len());
        self.put_back(middle..range.end);
        Ok(range.start..middle)
    }

    /// Takes slots back that were cut off and still have no guard.
    pub(super) fn put_back(&mut self, range: Range<usize>) {
        if !range.is_empty() {
            self.bare.push(range);
        }
    }

    fn reserve(&mut self, size: StackSize) -> io::Result<Range<usize>> {
        let slots = (self.slots * 2).min(MOST).min((MOST_BYTES / size.stride()).max(1));
        let bytes = slots * size.stride();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | RESERVE;
        // SAFETY: a fresh mapping at a place of the kernel's choice.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            let e = io::Error::last_os_error();
            return Err(io::Error::new(
                e.kind(),
                format!("no address space for {bytes} bytes of stacks: {e}"),
            ));
        }
        // SAFETY: our own mapping.
        unsafe { decline_huge_pages(start, bytes) };
        let start = start as usize;
        publish(Region {
            start,
            end: start + bytes,
            size: size.bytes(),
            slot: size.stride(),
            guard: guard_bytes(page_size()),
            older: ptr::null(),
        });
        self.slots = slots;
        Ok(start..start + bytes)
    }
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

/// Several at once may do this, since each size has a lock of its own.
fn publish(region: Region) {
    let region = Box::leak(Box::new(region));
    // Release: for the acquiring load in `guard_at`, which reads the node.
    let _ = REGIONS.fetch_update(Ordering::Release, Ordering::Relaxed, |newest| {
        region.older = newest;
        Some(region)
    });
}

/// If the address is in a guard: the size of the stack that it belongs to. Callable in a signal
/// handler.
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
    fn slots_that_are_put_back_are_cut_off_again() {
        let size = StackSize::new(1 << 18).expect("a fine size");
        let mut carver = Carver::new();
        let all = carver.cut(size, FIRST).expect("address space");
        assert_eq!(all.len(), FIRST * size.stride());
        let middle = all.start + 3 * size.stride();
        carver.put_back(middle..all.end);
        assert_eq!(carver.cut(size, 2).expect("slots"), middle..middle + 2 * size.stride());
        assert_eq!(carver.cut(size, usize::MAX).expect("slots"), middle + 2 * size.stride()..all.end);
        assert_eq!(carver.cut(size, usize::MAX).expect("address space").len(), 2 * FIRST * size.stride());
    }

    #[test]
    fn regions_reserved_at_the_same_time_are_all_known() {
        let size = StackSize::new(1 << 16).expect("a fine size");
        let start = std::sync::Barrier::new(4);
        let reserve = || {
            start.wait();
            std::iter::repeat_with(|| Carver::new().cut(size, 1).expect("address space").start)
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
        let size = StackSize::new(1 << 18).expect("a fine size");
        let slots = Carver::new().cut(size, 2).expect("address space");
        let guard = guard_bytes(page_size());
        for low in slots.step_by(size.stride()) {
            assert_eq!(guard_at(low), Some(size.bytes()));
            assert_eq!(guard_at(low + guard - 1), Some(size.bytes()));
            assert_eq!(guard_at(low + guard), None);
            assert_eq!(guard_at(low + size.stride() - 1), None);
        }
        assert_eq!(guard_at(8), None);
    }
}
