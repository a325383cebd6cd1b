//! How deep a coroutine has used its stack. The kernel knows which pages were touched.
//!
//! Coroutines use a stack one after the other, so its present pages may be those of an earlier one. Hence the
//! worker *discards* the stack before a coroutine starts that is measured: it gives all pages back to the
//! kernel. Each page that is present later was touched by that coroutine.
//!
//! What this misses: pages that the kernel has swapped out, and how much of the last page was used.

use super::size::StackSize;
use super::sys::{DISCARD, resident};
use crate::base::sys::{calls, check, page_size};

/// How many pages are looked at in one system call.
const PAGES: usize = 512;

/// Discards a free stack, so that its depth can be measured later. False if the system cannot do that, or
/// keeps the pages because they are locked.
///
/// # Safety
///
/// It is the base of a stack of that size, which is the caller's and not in use.
pub(crate) unsafe fn discard(base: usize, size: StackSize) -> bool {
    let (low, base) = above_guard(base, size);
    // SAFETY: as the caller says, the content is not used.
    let done = unsafe { calls::madvise(low as *mut libc::c_void, base - low, DISCARD) };
    check(done).is_ok() && deepest(base, size) == Some(0)
}

/// How many bytes below the base of a stack were used since `discard`, in whole pages. `inside` is an address
/// in the topmost page of the stack, or its base.
pub(crate) fn deepest(inside: usize, size: StackSize) -> Option<usize> {
    let (low, base) = above_guard(inside.next_multiple_of(page_size()), size);
    let mut present = [0_u8; PAGES];
    let mut at = low;
    while at < base {
        let pages = ((base - at) / page_size()).min(PAGES);
        // SAFETY: stacks are never unmapped.
        if !unsafe { resident(at as *mut libc::c_void, &mut present[..pages]) } {
            return None;
        }
        if let Some(first) = present[..pages].iter().position(|page| page & 1 != 0) {
            return Some(base - at - first * page_size());
        }
        at += pages * page_size();
    }
    Some(0)
}

/// The part of a stack that can be used.
fn above_guard(base: usize, size: StackSize) -> (usize, usize) {
    (base - size.stride() + size.guard(), base)
}

#[cfg(all(test, not(loom), target_os = "linux"))]
mod tests {
    use super::*;
    use crate::stack::Pool;

    #[test]
    fn the_deepest_page_counts() {
        for size in [1 << 18, 1 << 24] {
            let size = StackSize::of(size, 1);
            let mut pool = Pool::new();
            let stack = pool.take(size).expect("a stack");
            let touch = |bytes: usize| {
                // SAFETY: the stack is ours, and the address above its guard.
                unsafe { ((stack.base().get() - bytes) as *mut u8).write(1) };
            };
            touch(100_000);
            // SAFETY: the stack is ours, and not in use.
            assert!(unsafe { discard(stack.base().get(), size) });
            let deepest = |inside| deepest(inside, size).expect("the system knows");
            assert_eq!(deepest(stack.base().get()), 0);
            touch(8);
            assert_eq!(deepest(stack.base().get()), page_size());
            // Not all pages in between.
            touch(40_000);
            let whole = 40_000_usize.next_multiple_of(page_size());
            assert_eq!(deepest(stack.base().get() - 100), whole);
        }
    }
}
