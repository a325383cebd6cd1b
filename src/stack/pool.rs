//! Free stacks: a cache for each worker, in front of the central free lists.
//!
//! - A worker takes the stack that it has put last. The top of that stack is in the processor's cache, and no
//!   lock or atomic is needed.
//! - A full cache moves its older half to the central free list in one go, and an empty one fetches several
//!   stacks at once. So the lock is rare.
//! - Stacks are *trimmed* when they move to the central free list, not at the end of each coroutine: to give
//!   pages back takes the lock of the page tables and interrupts the other processors. All pages but the top
//!   one go, and the top one too once many stacks are free.
//! - While far more stacks are free than in use, whole chunks of the central free list are emptied, and their
//!   page tables go as well ([`central`](super::central) says when).
//! - In a program that has locked its memory, chunks are not emptied, since the kernel would populate a range
//!   that is mapped anew. Locked stacks are not trimmed either: the kernel refuses.

use super::advise::{advise, range};
use super::capability::Capability;
use super::central::{CentralFreeList, spare};
use super::size::{CLASSES, StackSize};
use super::sys::{DISCARD, populates};
use super::{guard, region};
use crate::base::lock::{Mutex, Rank};
use crate::base::sys::page_size;
use std::io;
use std::mem;
use std::num::NonZeroUsize;

/// One worker's cache of one size holds at most this many bytes of address space, and at most this many
/// stacks.
const CACHE_BYTES: usize = 16 << 20;
const CACHE_STACKS: usize = 64;
/// Stacks fetched from the central free list at once.
const REFILL: usize = 16;

/// A stack. If it is dropped, it goes to the central free list, so none is lost.
#[derive(Debug)]
pub(crate) struct Stack {
    base: NonZeroUsize,
    /// Its chunk in the central free list.
    chunk: u32,
    size: StackSize,
}

impl Stack {
    fn new(chunk: u32, low: usize, size: StackSize) -> Stack {
        let base = NonZeroUsize::new(low + size.stride()).expect("no mapping ends at zero");
        Stack { base, chunk, size }
    }

    /// The address just above the stack.
    #[inline]
    pub(crate) fn base(&self) -> NonZeroUsize {
        self.base
    }

    /// The lowest address, where the guard begins.
    pub(crate) fn limit(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.base.get() - self.size.stride()).expect("no mapping is at zero")
    }

    /// The lowest address that can be used.
    #[allow(dead_code, reason = "for sanitizers")]
    pub(crate) fn above_guard(&self) -> usize {
        self.limit().get() + self.size.guard()
    }

    /// Its chunk and its low end, for the central free list.
    fn into_slot(self) -> (u32, usize) {
        let slot = (self.chunk, self.limit().get());
        mem::forget(self);
        slot
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        give_back(self.size, vec![Stack { base: self.base, chunk: self.chunk, size: self.size }]);
    }
}

/// One worker's free stacks.
pub(crate) struct Pool {
    caches: [Cache; CLASSES],
}

/// One worker's free stacks of one size.
struct Cache {
    stacks: Vec<Stack>,
    most: usize,
}

impl Cache {
    const EMPTY: Cache = Cache { stacks: Vec::new(), most: 0 };
}

impl Pool {
    /// No stacks yet.
    pub(crate) fn new() -> Pool {
        Pool { caches: [Cache::EMPTY; CLASSES] }
    }

    /// A stack of that size.
    ///
    /// # Errors
    ///
    /// There is no address space or no guard for it.
    #[inline]
    pub(crate) fn take(&mut self, size: StackSize) -> io::Result<Stack> {
        match self.caches[size.class()].stacks.pop() {
            Some(stack) => Ok(stack),
            None => self.refill(size),
        }
    }

    /// Takes a stack back that is not in use any more.
    #[inline]
    pub(crate) fn put(&mut self, stack: Stack) {
        let size = stack.size;
        let cache = &mut self.caches[size.class()];
        cache.stacks.push(stack);
        if cache.stacks.len() > cache.most {
            cache.overflow(size);
        }
    }

    #[cold]
    fn refill(&mut self, size: StackSize) -> io::Result<Stack> {
        let cache = &mut self.caches[size.class()];
        cache.most = most_cached(size);
        let want = REFILL.min(cache.most);
        let mut shared = SHARED[size.class()].lock();
        shared.take(size, want, |chunk, low| cache.stacks.push(Stack::new(chunk, low, size)));
        if let Some(stack) = cache.stacks.pop() {
            return Ok(stack);
        }
        let new = shared.take_unguarded(size, want)?;
        // The system calls that follow take long, and other workers may need stacks.
        drop(shared);
        // SAFETY: the slots are parts of a region, and ours alone since they were taken.
        let installed = unsafe { guard::install(&new.lows, size) };
        let (count, split) = installed.as_ref().map_or((0, false), |done| (done.count, done.split));
        SHARED[size.class()].lock().guarded(size, &new, count, split);
        // The lowest slots are used first, as in the central free list.
        cache.stacks.extend(new.lows[..count].iter().rev().map(|&low| Stack::new(new.chunk, low, size)));
        installed?;
        Ok(cache.stacks.pop().expect("at least one guard was installed"))
    }
}

impl Cache {
    #[cold]
    fn overflow(&mut self, size: StackSize) {
        // `most` may never have been set: the stack can be from another worker.
        self.most = most_cached(size);
        if self.stacks.len() > self.most {
            let older = self.stacks.len() / 2;
            give_back(size, self.stacks.drain(..older).collect());
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for cache in &mut self.caches {
            let stacks = mem::take(&mut cache.stacks);
            if let Some(first) = stacks.first() {
                give_back(first.size, stacks);
            }
        }
    }
}

fn most_cached(size: StackSize) -> usize {
    (CACHE_BYTES / size.stride()).clamp(1, CACHE_STACKS)
}

/// The central free lists, one for each size.
static SHARED: [Mutex<CentralFreeList>; CLASSES] =
    [const { Mutex::new(Rank::Stacks, CentralFreeList::new()) }; CLASSES];

/// Whether to empty chunks.
static EMPTYING: Capability = Capability::new();

fn give_back(size: StackSize, stacks: Vec<Stack>) {
    let keep_top = SHARED[size.class()].lock().free() < spare(size);
    // Without the lock: the stacks are still ours.
    trim(&stacks, size, if keep_top { page_size() } else { 0 });
    let mut shared = SHARED[size.class()].lock();
    shared.put(size, stacks.into_iter().map(Stack::into_slot));
    let too_many = shared.has_too_many(size);
    drop(shared);
    if too_many && EMPTYING.worth_a_try() {
        empty_idle_chunks(size);
    }
}

/// How many stacks exist, in use or free, and how many bytes of address space they have.
pub(crate) fn count() -> (usize, usize) {
    let classes = SHARED.iter().enumerate().map(|(class, shared)| {
        let shared = shared.lock();
        let stacks = shared.taken() + shared.free();
        (stacks, stacks * if stacks > 0 { StackSize::of_class(class).stride() } else { 0 })
    });
    classes.fold((0, 0), |(stacks, bytes), (more, their)| (stacks + more, bytes + their))
}

/// Gives the committed memory of those stacks back, except the topmost `keep` bytes of each.
fn trim(stacks: &[Stack], size: StackSize, keep: usize) {
    let used = |stack: &Stack| range(stack.limit().get() + size.guard(), size.stride() - size.guard() - keep);
    let ranges: Vec<_> = stacks.iter().map(used).collect();
    // SAFETY: the stacks are free, so their content is not used. Memory that the kernel keeps because it is
    // locked does no harm.
    let _ = unsafe { advise(&ranges, DISCARD) };
}

/// Empties idle chunks until no more stacks are free than may be.
#[cold]
fn empty_idle_chunks(size: StackSize) {
    if populates() {
        return EMPTYING.refused();
    }
    loop {
        let Some(idle) = SHARED[size.class()].lock().take_idle(size) else { return };
        // SAFETY: the chunks are parts of regions, and ours alone since they were taken.
        match unsafe { region::empty(idle.memory.clone()) } {
            Ok(()) => {
                guard::merged(idle.split);
                SHARED[size.class()].lock().emptied(&idle);
            }
            // The chunks may not be mapped any more. They stay taken and unused for ever.
            Err(_) => return EMPTYING.refused(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A size that no other test of this process uses.
    fn own_size(power: u32) -> StackSize {
        StackSize::of(1 << power, 1)
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
            touch(stack, size.stride() - size.guard());
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
            touch(stack, size.stride() - size.guard());
        }
        assert_eq!(resident(first, size), (size.stride() - size.guard()) / page_size());
        for stack in stacks {
            pool.put(stack);
        }
        assert_eq!(resident(first, size), 1, "the stack that was put first has left the cache");
    }

    #[test]
    fn a_dropped_stack_is_used_again() {
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
