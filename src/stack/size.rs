//! The sizes of stacks and guards.
//!
//! - The size of a stack is a power of two, from 64 KiB to 1 GiB of address space. It includes a guard of 16
//!   KiB.
//! - A guard may be larger, a power of two up to 64 MiB. What it has beyond 16 KiB comes on top of the size.
//! - A slot is one page larger than that ([`StackSize::stride`]). All of it above the guard can be used.
//!
//! The kernel protects and frees whole pages, which have 4, 16 or 64 KiB. The arithmetic takes the size of a
//! page as an argument. With pages of 64 KiB the smallest stack has 128 KiB, since half of it is guard.

use crate::base::sys::page_size;
use std::io;

const SMALLEST: u32 = 16;
const LARGEST: u32 = 30;
/// The smallest guard, as a power of two. Code with stack probes touches each page, so one page would be
/// enough for it. Code without probes may skip as much as its frame is large; most frames are smaller than
/// this.
const SMALLEST_GUARD: u32 = 14;
const LARGEST_GUARD: u32 = 26;
/// What the smallest stack has besides its guard, at least.
const USABLE: usize = 48 << 10;

/// The bytes of a guard of that power of two: at least a page.
fn guard_bytes(power: u32, page: usize) -> usize {
    (1_usize << power).max(page)
}

/// The power of two of the smallest size of at least that many bytes, if there is one.
fn power(bytes: usize, page: usize) -> Option<u32> {
    if bytes == 0 || bytes > 1 << LARGEST {
        return None;
    }
    let least = guard_bytes(SMALLEST_GUARD, page) + USABLE;
    Some(bytes.max(least).next_power_of_two().trailing_zeros())
}

/// The power of two of the smallest guard of at least that many bytes, if there is one.
fn guard_power(bytes: usize) -> Option<u32> {
    if bytes == 0 || bytes > 1 << LARGEST_GUARD {
        return None;
    }
    Some(bytes.next_power_of_two().trailing_zeros().max(SMALLEST_GUARD))
}

fn size_class(bytes: usize) -> io::Result<u8> {
    match power(bytes, page_size()) {
        Some(power) => Ok((power - SMALLEST) as u8),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a stack is at most 1 GiB and not empty, got {bytes} bytes"),
        )),
    }
}

fn guard_class(bytes: usize) -> io::Result<u8> {
    match guard_power(bytes) {
        Some(power) => Ok((power - SMALLEST_GUARD) as u8),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a stack's guard is at most 64 MiB and not empty, got {bytes} bytes"),
        )),
    }
}

/// The bits of a class that are the size of the stack. The others are the size of the guard.
const SIZE: u8 = 0xf;
const GUARD: u8 = !SIZE;

/// The number of classes: one for each size with each guard.
pub(super) const CLASSES: usize = ((LARGEST_GUARD - SMALLEST_GUARD + 1) as usize) << GUARD.trailing_zeros();
const _: () = assert!(LARGEST - SMALLEST <= SIZE as u32 && CLASSES <= 256);

/// The size of a stack and of its guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackSize(u8);

impl StackSize {
    /// 256 KiB, whatever the size of pages, with the smallest guard.
    pub(crate) const DEFAULT: StackSize = StackSize(2);

    /// This size, with what the override sets in place of its own.
    #[inline]
    pub(crate) fn with(self, other: StackOverride) -> StackSize {
        StackSize(self.0 & !other.mask | other.class)
    }

    fn power(self) -> u32 {
        SMALLEST + u32::from(self.0 & SIZE)
    }

    fn guard_power(self) -> u32 {
        SMALLEST_GUARD + u32::from(self.0 >> GUARD.trailing_zeros())
    }

    /// The size in bytes, the smallest guard included.
    pub(crate) fn bytes(self) -> usize {
        1 << self.power()
    }

    /// The bytes above the guard, at least.
    pub(crate) fn usable(self) -> usize {
        self.bytes() - guard_bytes(SMALLEST_GUARD, page_size())
    }

    /// The bytes of the guard, at the low end of a slot.
    pub(super) fn guard(self) -> usize {
        guard_bytes(self.guard_power(), page_size())
    }

    /// The bytes from one stack to the next: a page more than the size (page colouring). If stacks were a
    /// power of two apart, their tops would be in the same set of the processor's translation cache, which
    /// would hold only a few dozen of them. A page further apart, they spread over all sets.
    pub(crate) fn stride(self) -> usize {
        let page = page_size();
        self.bytes() + (self.guard() - guard_bytes(SMALLEST_GUARD, page)) + page
    }

    /// The size of that number.
    pub(super) fn of_class(class: usize) -> StackSize {
        StackSize(class as u8)
    }

    /// Its number, from 0.
    #[inline]
    pub(super) fn class(self) -> usize {
        usize::from(self.0)
    }
}

/// A size of the stack, of the guard, or of both, in place of the runtime's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StackOverride {
    /// Which bits of the class it sets, and their values. The other bits are zero.
    mask: u8,
    class: u8,
}

impl StackOverride {
    /// The smallest stack of at least that many bytes, and the smallest guard of at least that many. `None`
    /// leaves the runtime's.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero, and for more than 1 GiB of stack or 64 MiB of guard.
    pub(crate) fn new(stack: Option<usize>, guard: Option<usize>) -> io::Result<StackOverride> {
        let mut new = StackOverride::default();
        if let Some(bytes) = stack {
            new.mask |= SIZE;
            new.class |= size_class(bytes)?;
        }
        if let Some(bytes) = guard {
            new.mask |= GUARD;
            new.class |= guard_class(bytes)? << GUARD.trailing_zeros();
        }
        Ok(new)
    }
}

#[cfg(test)]
impl StackSize {
    /// The smallest size of at least that many bytes, with a guard of at least that many.
    pub(super) fn of(stack: usize, guard: usize) -> StackSize {
        StackSize::DEFAULT.with(StackOverride::new(Some(stack), Some(guard)).expect("valid sizes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    #[test]
    fn guards_are_whole_pages() {
        for (page, guard) in [(4 * KIB, 16 * KIB), (16 * KIB, 16 * KIB), (64 * KIB, 64 * KIB)] {
            assert_eq!(guard_bytes(SMALLEST_GUARD, page), guard);
            assert_eq!(guard_bytes(LARGEST_GUARD, page), 64 << 20);
        }
    }

    #[test]
    fn the_smallest_stack_has_room_above_its_guard() {
        for (page, smallest) in [(4 * KIB, 64 * KIB), (16 * KIB, 64 * KIB), (64 * KIB, 128 * KIB)] {
            assert_eq!(power(1, page), Some(smallest.trailing_zeros()));
            assert_eq!(power(smallest, page), Some(smallest.trailing_zeros()));
            assert_eq!(power(smallest + 1, page), Some(smallest.trailing_zeros() + 1));
            assert!(smallest - guard_bytes(SMALLEST_GUARD, page) >= USABLE);
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
            assert_eq!(StackSize::of(asked, 1).bytes(), given);
        }
        for (asked, given) in [(1, 16 << 10), (16 << 10, 16 << 10), (16_385, 32 << 10), (64 << 20, 64 << 20)]
        {
            assert_eq!(StackSize::of(1 << 20, asked).guard(), given.max(page_size()));
        }
        assert!(StackSize::of(1 << 30, 64 << 20).class() < CLASSES);
    }

    /// The room above the guard is the same with any guard.
    #[test]
    fn a_larger_guard_takes_nothing_from_the_stack() {
        let usual = StackSize::of(256 << 10, 1);
        assert_eq!(usual, StackSize::DEFAULT);
        for guard in [1, 64 << 10, 512 << 10, 64 << 20] {
            let size = StackSize::of(256 << 10, guard);
            assert_eq!(size.stride() - size.guard(), usual.stride() - usual.guard());
        }
    }

    #[test]
    fn what_is_not_overridden_stays() {
        let usual = StackSize::of(1 << 20, 32 << 10);
        let with = |stack, guard| usual.with(StackOverride::new(stack, guard).expect("valid sizes"));
        assert_eq!(with(None, None), usual);
        assert_eq!(with(Some(64 << 10), None), StackSize::of(64 << 10, 32 << 10));
        assert_eq!(with(None, Some(1 << 20)), StackSize::of(1 << 20, 1 << 20));
        assert_eq!(with(Some(2 << 20), Some(1)), StackSize::of(2 << 20, 1));
    }

    #[test]
    fn sizes_out_of_range_are_errors() {
        for bytes in [0, (1 << 30) + 1, usize::MAX] {
            let error = StackOverride::new(Some(bytes), None).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        for bytes in [0, (64 << 20) + 1, usize::MAX] {
            let error = StackOverride::new(None, Some(bytes)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
