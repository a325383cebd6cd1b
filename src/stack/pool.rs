//! Free stacks: a hot cache for each worker, and what overflows from it, shared.
//!
//! - A worker takes the stack that it put last: its top is in the processor's cache, and no lock or
//!   atomic is touched.
//! - A cache that is full moves its older half to the shared stacks in one go, and an empty one
//!   fetches several at once, so the lock is rare.
//! - Stacks are trimmed on that way, not at each exit: giving pages back takes the lock of the page
//!   tables and interrupts the other processors. All but the top page goes; the top page too, once
//!   many stacks are free.

use super::advise::{advise, range};
use super::guard;
use super::region::Carver;
use super::size::{CLASSES, StackSize, guard_bytes};
use super::system::DISCARD;
use crate::base::lock::{Mutex, Rank};
use crate::base::sys::page_size;
use std::io;
use std::mem;
use std::num::NonZeroUsize;

/// Bytes of address space that one worker's cache of one size holds, and stacks at the most.
const CACHE_BYTES: usize = 16 << 20;
const CACHE_MOST: usize = 64;
/// Stacks fetched from the shared ones at once.
const REFILL: usize = 16;
/// Free stacks in the shared overflow that keep their top page.
const WARM: usize = 4096;

/// A stack. One that is dropped goes to the shared ones, so that none can be lost.
#[derive(Debug)]
pub(crate) struct Stack {
    low: NonZeroUsize,
    size: StackSize,
}

impl Stack {
    fn new(low: usize, size: StackSize) -> Stack {
        Stack { low: NonZeroUsize::new(low).expect("no mapping is at zero"), size }
    }

    /// The highest address, just beyond the stack.
    pub(crate) fn base(&self) -> NonZeroUsize {
        self.low.checked_add(self.size.stride()).expect("a mapping ends within the address space")
    }

    /// The lowest address, where the guard begins.
    pub(crate) fn limit(&self) -> NonZeroUsize {
        self.low
    }

    /// Its size.
    pub(crate) fn size(&self) -> StackSize {
        self.size
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        give_back(self.size, vec![Stack { low: self.low, size: self.size }]);
    }
}

/// One worker's free stacks.
pub(crate) struct Pool {
    caches: [Vec<Stack>; CLASSES],
}

impl Pool {
    /// No stacks yet.
    pub(crate) fn new() -> Pool {
        Pool { caches: [const { Vec::new() }; CLASSES] }
    }

    /// A stack of that size.
    ///
    /// # Errors
    ///
    /// No address space or no guard for it.
    #[inline]
    pub(crate) fn take(&mut self, size: StackSize) -> io::Result<Stack> {
        match self.caches[size.class()].pop() {
            Some(stack) => Ok(stack),
            None => self.refill(size),
        }
    }

    /// Takes a stack back that nobody uses any more.
    #[inline]
    pub(crate) fn put(&mut self, stack: Stack) {
        let size = stack.size;
        let cache = &mut self.caches[size.class()];
        cache.push(stack);
        if cache.len() > most_cached(size) {
            let older = cache.len() / 2;
            give_back(size, cache.drain(..older).collect());
        }
    }

    #[cold]
    fn refill(&mut self, size: StackSize) -> io::Result<Stack> {
        let cache = &mut self.caches[size.class()];
        let want = REFILL.min(most_cached(size));
        let mut shared = SHARED[size.class()].lock();
        let from = shared.free.len().saturating_sub(want);
        cache.extend(shared.free.drain(from..));
        if let Some(stack) = cache.pop() {
            return Ok(stack);
        }
        let slots = shared.carver.cut(size, want)?;
        // The system calls that follow take long, and other workers want stacks, too.
        drop(shared);
        // SAFETY: the slots are of a region, and ours alone since they were cut off.
        let installed = unsafe { guard::install(slots.clone(), size.stride()) };
        let bare = slots.start + installed.as_ref().map_or(0, |count| count * size.stride());
        cache.extend((slots.start..bare).step_by(size.stride()).map(|low| Stack::new(low, size)));
        if bare < slots.end {
            SHARED[size.class()].lock().carver.put_back(bare..slots.end);
        }
        installed?;
        Ok(cache.pop().expect("at least one guard was installed"))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for cache in mem::take(&mut self.caches) {
            if let Some(size) = cache.first().map(Stack::size) {
                give_back(size, cache);
            }
        }
    }
}

fn most_cached(size: StackSize) -> usize {
    (CACHE_BYTES / size.stride()).clamp(1, CACHE_MOST)
}

/// The stacks of one size that nobody holds.
struct Shared {
    free: Vec<Stack>,
    carver: Carver,
}

static SHARED: [Mutex<Shared>; CLASSES] =
    [const { Mutex::new(Rank::Stacks, Shared { free: Vec::new(), carver: Carver::new() }) }; CLASSES];

fn give_back(size: StackSize, stacks: Vec<Stack>) {
    let warm = SHARED[size.class()].lock().free.len() < WARM;
    // Without the lock: these are ours still.
    trim(&stacks, size, if warm { page_size() } else { 0 });
    SHARED[size.class()].lock().free.extend(stacks);
}

/// Gives committed memory of those stacks back, but for the topmost `keep` bytes of each.
fn trim(stacks: &[Stack], size: StackSize, keep: usize) {
    let guard = guard_bytes(page_size());
    let used = |stack: &Stack| range(stack.low.get() + guard, size.stride() - guard - keep);
    let ranges: Vec<_> = stacks.iter().map(used).collect();
    // SAFETY: the stacks are free, so what they hold is of no use. Memory that the kernel keeps all the
    // same is no harm.
    let _ = unsafe { advise(&ranges, DISCARD) };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A size that no other test of this process uses.
    fn own_size(power: u32) -> StackSize {
        StackSize::new(1 << power).expect("a fine size")
    }

    fn touch(stack: &Stack, bytes: usize) {
        let base = stack.base().get();
        for at in (base - bytes..base).step_by(page_size()) {
            // SAFETY: the stack is ours, and the address above its guard.
            unsafe { (at as *mut u8).write(1) };
        }
    }

    /// The committed pages of the slot that begins there.
    fn resident(low: NonZeroUsize, size: StackSize) -> usize {
        let mut pages = vec![0u8; size.stride() / page_size()];
        let start = low.get() as *mut libc::c_void;
        // SAFETY: the range is mapped, and the vector has a byte for each of its pages.
        let done = unsafe { libc::mincore(start, size.stride(), pages.as_mut_ptr()) };
        assert_eq!(done, 0);
        pages.iter().filter(|&&page| page & 1 != 0).count()
    }

    #[test]
    fn the_last_put_is_the_first_taken() {
        let size = own_size(17);
        let mut pool = Pool::new();
        let (a, b) = (pool.take(size).expect("a stack"), pool.take(size).expect("a stack"));
        let (at_a, at_b) = (a.base(), b.base());
        assert_ne!(at_a, at_b);
        pool.put(a);
        pool.put(b);
        assert_eq!(pool.take(size).expect("a stack").base(), at_b);
        assert_eq!(pool.take(size).expect("a stack").base(), at_a);
    }

    #[test]
    fn two_thousand_do_not_overlap() {
        let size = own_size(16);
        let mut pool = Pool::new();
        let mut stacks: Vec<_> = (0..2_000).map(|_| pool.take(size).expect("a stack")).collect();
        for stack in &stacks {
            touch(stack, size.stride() - guard_bytes(page_size()));
        }
        stacks.sort_by_key(Stack::base);
        for pair in stacks.windows(2) {
            assert!(pair[0].base() <= pair[1].limit());
        }
        for stack in stacks {
            pool.put(stack);
        }
    }

    #[test]
    fn deep_use_is_trimmed_to_the_top_page() {
        let size = own_size(19);
        let mut pool = Pool::new();
        let stacks: Vec<_> = (0..200).map(|_| pool.take(size).expect("a stack")).collect();
        let first = stacks[0].limit();
        for stack in &stacks {
            touch(stack, size.stride() - guard_bytes(page_size()));
        }
        assert_eq!(resident(first, size), (size.stride() - guard_bytes(page_size())) / page_size());
        for stack in stacks {
            pool.put(stack);
        }
        assert_eq!(resident(first, size), 1, "the first to be put back has left the cache");
    }

    #[test]
    fn a_dropped_stack_is_given_out_again() {
        let size = own_size(21);
        let mut pool = Pool::new();
        let stack = pool.take(size).expect("a stack");
        let low = stack.limit();
        touch(&stack, 64 << 10);
        drop(stack);
        assert_eq!(resident(low, size), 1, "it is trimmed");
        let rest: Vec<_> = std::iter::repeat_with(|| pool.take(size).expect("a stack")).take(16).collect();
        assert!(rest.iter().any(|stack| stack.limit() == low));
    }
}
