//! The stack pointer of the calling function, and where a suspended stack has the address at which it goes
//! on.
//!
//! `GOES_ON_AT`: how far below the stack pointer of a function that has suspended that address may be. It is
//! stored by the switch of corosensei, or by the call of a function that switches, where that is not inlined.
//! Nobody promises it, so it only serves to tell stacks apart, once a walk has confirmed it.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
mod none;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{GOES_ON_AT, stack_pointer};
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
pub(crate) use none::{GOES_ON_AT, stack_pointer};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{GOES_ON_AT, stack_pointer};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[inline(never)]
    fn inner() -> usize {
        std::hint::black_box(stack_pointer())
    }

    #[test]
    fn a_call_is_further_down() {
        let own = stack_pointer();
        assert!(inner() <= own);
        assert!(own - inner() < 4096);
    }
}
