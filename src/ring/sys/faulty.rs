//! Linux, with faults (`--cfg sward_ring_faults`): rings that the system refuses, operations that it does not
//! know, entries that it finds faulty or cannot serve at the moment, and submissions that it refuses, each at
//! random. For tests of what happens then.

use super::linux;
use crate::ring::operation::Taken;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use linux::Entry;

/// No operation of any kernel.
const NO_OPERATION: u8 = 255;

/// A ring with faults.
#[derive(Debug)]
pub(crate) struct Kernel(linux::Kernel);

/// True once in that many times.
fn happens(once_in: u64) -> bool {
    static STEPS: AtomicU64 = AtomicU64::new(1);
    let mut x = STEPS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ x >> 31).is_multiple_of(once_in)
}

impl Kernel {
    pub(crate) fn new() -> io::Result<Kernel> {
        if happens(8) { Err(io::ErrorKind::Unsupported.into()) } else { linux::Kernel::new().map(Kernel) }
    }

    pub(crate) fn completions(&self) -> usize {
        self.0.completions()
    }

    pub(crate) fn knows(&self, entry: &Entry) -> bool {
        !happens(8) && self.0.knows(entry)
    }

    /// # Safety
    ///
    /// As for the ring itself. A faulty entry points to nothing.
    pub(crate) unsafe fn push(&self, entry: &Entry) -> bool {
        let mut entry = *entry;
        if happens(8) {
            entry.opcode = NO_OPERATION;
        }
        // SAFETY: as the caller says.
        unsafe { self.0.push(&entry) }
    }

    /// # Safety
    ///
    /// As for the ring itself.
    pub(crate) unsafe fn submit(&self) -> Taken {
        if happens(500) {
            return Taken::Refused { for_good: true };
        }
        if happens(8) {
            return Taken::Refused { for_good: false };
        }
        // SAFETY: as the caller says.
        unsafe { self.0.submit() }
    }

    /// # Safety
    ///
    /// As for the ring itself.
    pub(crate) unsafe fn take_back(&self) -> Option<u64> {
        // SAFETY: as the caller says.
        unsafe { self.0.take_back() }
    }

    pub(crate) fn has_completions(&self) -> bool {
        self.0.has_completions()
    }

    /// # Safety
    ///
    /// As for the ring itself.
    pub(crate) unsafe fn next_completion(&self) -> Option<(u64, i32)> {
        // SAFETY: as the caller says.
        let (key, result) = unsafe { self.0.next_completion() }?;
        let again = result == -libc::EINVAL && happens(2);
        Some((key, if again { -libc::EAGAIN } else { result }))
    }
}

impl AsFd for Kernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
