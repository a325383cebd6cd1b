//! Address space, cut into slots.
//!
//! Regions are reserved with one `mmap` each, larger ones as more are needed, and never given back: a
//! free slot costs address space, and a page at most. Huge pages are declined, since one would commit
//! 2 MiB at the first touch of a stack. Slots are contiguous, so that a guard and the top of the
//! stack below it share a page of page table.
//!
//! The table of regions is read by the overflow handler, so it is a list that only grows, of nodes
//! that are never freed.

use super::guard;
use super::size::{StackSize, guard_bytes};
use crate::base::sys::{check, page_size};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Slots of the first region of a size, and of the largest ones.
const FIRST: usize = 16;
const MOST: usize = 1024;
/// Bytes of the largest regions, where one slot is not larger.
const MOST_BYTES: usize = 256 << 20;
/// Slots that get their guards in one go.
const BATCH: usize = 64;

/// The unused part of the newest region of one size, under the lock of the shared stacks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carver {
    next: usize,
    end: usize,
    slots: usize,
}

impl Carver {
    /// No region yet.
    pub(super) const fn new() -> Self {
        Carver { next: 0, end: 0, slots: FIRST / 2 }
    }

    /// Cuts off up to `want` slots, at least one, and calls `take` with the low end of each.
    ///
    /// # Errors
    ///
    /// No address space, or no guards: nothing was cut off.
    pub(super) fn carve(
        &mut self,
        size: StackSize,
        want: usize,
        mut take: impl FnMut(usize),
    ) -> io::Result<()> {
        if self.next == self.end {
            self.reserve(size)?;
        }
        let left = (self.end - self.next) / size.bytes();
        let count = want.min(left).min(BATCH);
        // SAFETY: the slots from `next` on are within our region, and not given out yet.
        let count = unsafe { guard::install(self.next, size.bytes(), count)? };
        for _ in 0..count {
            take(self.next);
            self.next += size.bytes();
        }
        Ok(())
    }

    fn reserve(&mut self, size: StackSize) -> io::Result<()> {
        let slots = (self.slots * 2).min(MOST).min((MOST_BYTES / size.bytes()).max(1));
        let bytes = slots * size.bytes();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
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
        // SAFETY: our own mapping. A kernel without huge pages says no, which is as good.
        let _ = check(unsafe { libc::madvise(start, bytes, libc::MADV_NOHUGEPAGE) });
        let start = start as usize;
        publish(Region {
            start,
            end: start + bytes,
            slot: size.bytes(),
            guard: guard_bytes(page_size()),
            older: ptr::null(),
        });
        *self = Carver { next: start, end: start + bytes, slots };
        Ok(())
    }
}

struct Region {
    start: usize,
    end: usize,
    slot: usize,
    guard: usize,
    older: *const Region,
}

static REGIONS: AtomicPtr<Region> = AtomicPtr::new(ptr::null_mut());

/// Called under the lock of the shared stacks: there is one writer.
fn publish(mut region: Region) {
    region.older = REGIONS.load(Ordering::Relaxed);
    // Releases the node to `guard_at`.
    REGIONS.store(Box::leak(Box::new(region)), Ordering::Release);
}

/// If the address is in a guard: the size of the stack that it belongs to. Callable in a signal
/// handler.
pub(super) fn guard_at(address: usize) -> Option<usize> {
    let mut at: *const Region = REGIONS.load(Ordering::Acquire);
    // SAFETY: nodes are never freed nor changed once they are published.
    while let Some(region) = unsafe { at.as_ref() } {
        if (region.start..region.end).contains(&address) {
            return ((address - region.start) % region.slot < region.guard).then_some(region.slot);
        }
        at = region.older;
    }
    None
}
