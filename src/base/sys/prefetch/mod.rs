//! Requests for memory some time before it is used: a function `line` for each kind of processor.
//!
//! - `x86_64`, `aarch64`: their prefetch instruction.
//! - `none`: other processors, where it does nothing.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
mod none;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64::line;
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
use none::line;
#[cfg(target_arch = "x86_64")]
use x86_64::line;

/// The size of a cache line, at least, in bytes.
pub(crate) const LINE: usize = 64;

/// Prefetches that many cache lines from that address on. Only a hint: the address need not be valid.
#[inline(always)]
pub(crate) fn prefetch(from: *const (), lines: usize) {
    for n in 0..lines {
        line(from.wrapping_byte_add(n * LINE));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn any_address_will_do() {
        let here = [7_u8; 4 * LINE];
        for from in [here.as_ptr().cast(), std::ptr::null(), std::ptr::without_provenance(usize::MAX)] {
            prefetch(from, 4);
        }
        assert_eq!(here, [7; 4 * LINE]);
    }
}
