//! The sizes that there are: powers of two from 64 KiB to 1 GiB of address space, guard included. A stack is
//! one page larger than its size says ([`StackSize::stride`]), and all of it above the guard is used.
//!
//! What the kernel protects or gives back is whole pages, which are of 4, 16 or 64 KiB. The arithmetic
//! takes their size as an argument. With pages of 64 KiB the smallest stack is of 128 KiB, since half of
//! it is guard.

use crate::base::sys::page_size;
use std::io;

const SMALLEST: u32 = 16;
const LARGEST: u32 = 30;
/// The largest frame that code without stack probes skips.
const LARGEST_FRAME: usize = 16 << 10;
/// What the smallest stack has besides its guard, at the least.
const USABLE: usize = 48 << 10;

/// The bytes at the low end of a slot that nobody may touch.
pub(super) fn guard_bytes(page: usize) -> usize {
    LARGEST_FRAME.next_multiple_of(page)
}

/// The power of two of the smallest size of at least that many bytes, if there is one.
fn power(bytes: usize, page: usize) -> Option<u32> {
    if bytes == 0 || bytes > 1 << LARGEST {
        return None;
    }
    let least = guard_bytes(page) + USABLE;
    Some(bytes.max(least).next_power_of_two().trailing_zeros())
}

/// How many sizes there are.
pub(super) const CLASSES: usize = (LARGEST - SMALLEST + 1) as usize;

/// The size of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackSize(u8);

impl StackSize {
    /// 256 KiB, whatever the size of pages.
    pub(crate) const DEFAULT: StackSize = StackSize(2);

    /// The smallest size of at least that many bytes.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for none, and for more than 1 GiB.
    pub(crate) fn new(bytes: usize) -> io::Result<StackSize> {
        match power(bytes, page_size()) {
            Some(power) => Ok(StackSize((power - SMALLEST) as u8)),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a stack is at most 1 GiB and not empty, got {bytes} bytes"),
            )),
        }
    }

    /// The size in bytes, guard included.
    pub(crate) fn bytes(self) -> usize {
        1 << (SMALLEST + u32::from(self.0))
    }

    /// The bytes from one stack to the next: a page more than the size. The tops of stacks that are a power
    /// of two apart have their addresses in the same set of the processor's translation cache, which holds
    /// a few dozen of them so; a page further each, they fill it (page colouring).
    #[inline]
    pub(super) fn stride(self) -> usize {
        self.bytes() + page_size()
    }

    /// Its number, from 0.
    pub(super) fn class(self) -> usize {
        usize::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    #[test]
    fn guards_are_whole_pages() {
        for (page, guard) in [(4 * KIB, 16 * KIB), (16 * KIB, 16 * KIB), (64 * KIB, 64 * KIB)] {
            assert_eq!(guard_bytes(page), guard);
        }
    }

    #[test]
    fn the_smallest_stack_has_room_above_its_guard() {
        for (page, smallest) in [(4 * KIB, 64 * KIB), (16 * KIB, 64 * KIB), (64 * KIB, 128 * KIB)] {
            assert_eq!(power(1, page), Some(smallest.trailing_zeros()));
            assert_eq!(power(smallest, page), Some(smallest.trailing_zeros()));
            assert_eq!(power(smallest + 1, page), Some(smallest.trailing_zeros() + 1));
            assert!(smallest - guard_bytes(page) >= USABLE);
            assert!(smallest.trailing_zeros() >= SMALLEST);
            assert!(StackSize::DEFAULT.bytes() >= smallest);
            assert_eq!(power(1 << LARGEST, page), Some(LARGEST));
            assert_eq!(power((1 << LARGEST) + 1, page), None);
            assert_eq!(power(0, page), None);
        }
    }

    #[test]
    fn sizes_round_up_to_powers_of_two() {
        assert_eq!(StackSize::DEFAULT.bytes(), 256 << 10);
        for (asked, given) in [(65_537, 128 << 10), (256 << 10, 256 << 10), (1 << 30, 1 << 30)] {
            assert_eq!(StackSize::new(asked).expect("a fine size").bytes(), given);
        }
        assert_eq!(StackSize::new(1 << 30).expect("a fine size").class(), CLASSES - 1);
    }

    #[test]
    fn absurd_sizes_are_errors() {
        for bytes in [0, (1 << 30) + 1, usize::MAX] {
            assert_eq!(StackSize::new(bytes).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
