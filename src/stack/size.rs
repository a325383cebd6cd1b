//! The sizes that there are: powers of two from 64 KiB to 1 GiB of address space, guard included.

use std::io;

const SMALLEST: u32 = 16;
const LARGEST: u32 = 30;

/// How many sizes there are.
pub(super) const CLASSES: usize = (LARGEST - SMALLEST + 1) as usize;

/// The size of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackSize(u8);

impl StackSize {
    /// 256 KiB.
    pub(crate) const DEFAULT: StackSize = StackSize(2);

    /// The smallest size of at least that many bytes.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for none, and for more than 1 GiB.
    pub(crate) fn new(bytes: usize) -> io::Result<StackSize> {
        if bytes == 0 || bytes > 1 << LARGEST {
            let text = format!("a stack is at most 1 GiB and not empty, got {bytes} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let power = bytes.next_power_of_two().trailing_zeros().max(SMALLEST);
        Ok(StackSize((power - SMALLEST) as u8))
    }

    /// The size in bytes, guard included.
    pub(crate) fn bytes(self) -> usize {
        1 << (SMALLEST + u32::from(self.0))
    }

    /// Its number, from 0.
    pub(super) fn class(self) -> usize {
        usize::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_up_to_powers_of_two() {
        assert_eq!(StackSize::DEFAULT.bytes(), 256 << 10);
        for (asked, given) in [(1, 64 << 10), (65_537, 128 << 10), (256 << 10, 256 << 10), (1 << 30, 1 << 30)]
        {
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
