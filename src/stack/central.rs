//! The central free list: all stacks of one size that no worker holds, in chunks of up to 64 slots.
//!
//! # The problem
//!
//! After a burst of coroutines most stacks are free. Their pages can be given back one by one, but their page
//! tables cannot: half a KiB for each stack of 256 KiB. A page table is freed only if everything that it maps
//! is unmapped. So free stacks have to be together, and whole ranges of them have to be emptied.
//!
//! # Terms
//!
//! - *Slot*: the room for one stack with its guard. *Chunk*: up to 64 neighbouring slots.
//! - *Empty* (a chunk): map its memory anew, so that its pages, its guards and its page tables go. The
//!   address space stays reserved.
//! - *Unguarded*: the slot has no guard, either not yet or not any more.
//! - *Split*: the slot's guard is a mapping of its own, made by `mprotect`; see [`guard`](super::guard).
//! - *Idle* (a chunk): none of its slots is taken, and at least one is free.
//!
//! # States of a slot
//!
//! ```text
//!   a chunk:  slot         0 1 2 3 4 5 ...
//!             free         . . 1 . 1 .         has its guard, and is not in use
//!             unguarded    . . . . . 1         has no guard, and is not in use
//!             split        . 1 1 . . .         how its guard was made; never set for an unguarded slot
//!                          ^ neither free nor unguarded: taken, by a worker or by a coroutine
//! ```
//!
//! | from, to | by | cause |
//! |---|---|---|
//! | (none), unguarded | `grow` | no slot is free or unguarded: a new region is reserved |
//! | unguarded, taken | `take_unguarded` | a worker needs stacks, and none is free; the worker installs the guards |
//! | taken, unguarded | `guarded` | no guard could be installed |
//! | free, taken | `take` | a worker's cache is empty |
//! | taken, free | `put` | a worker's cache is full, or a stack was dropped |
//! | free or unguarded, taken | `take_idle` | too many stacks are free: the caller empties the chunk |
//! | taken, unguarded | `emptied` | the caller has emptied the chunk |
//!
//! A slot is taken from the lowest chunk that has a free one. So the stacks in use stay together in the
//! chunks with low numbers, and the other chunks become idle.
//!
//! # The bound
//!
//! Chunks are emptied while more stacks are free than are taken, and more than [`spare`] says. So after a
//! burst the page tables of at most that many free stacks stay, and those of the chunks in which a stack is
//! in use: at worst one chunk for each of these. A program whose number of coroutines goes up and down by
//! less than half, or by less than [`spare`], never empties a chunk.
//!
//! # Rejected
//!
//! - *Emptying after some time without use.* Some thread would have to look at the time, and nothing wakes an
//!   idle runtime.
//!
//! Pure: the caller works on the memory, without the lock.

use super::region;
use super::size::StackSize;
use crate::base::bit_set::BitSet;
use std::io;
use std::ops::Range;

/// Slots of a chunk, in regions that have as many.
const SLOTS: usize = u64::BITS as usize;
/// The free stacks that are kept: at most this many, and at most this many bytes of address space.
const SPARE: usize = 4096;
const SPARE_BYTES: usize = 1 << 30;
/// How many chunks are emptied at once. One more may follow.
const BATCH: usize = 4;

/// How many free stacks are kept, however few are in use.
pub(super) fn spare(size: StackSize) -> usize {
    SPARE.min(SPARE_BYTES / size.stride())
}

/// How many more stacks than that may be free before chunks are emptied, so that several are emptied at once.
fn slack(size: StackSize) -> usize {
    (spare(size) / 16).clamp(1, BATCH * SLOTS)
}

/// The bits of that many slots, from the first one on.
fn first(slots: usize) -> u64 {
    u64::MAX >> (SLOTS - slots)
}

/// The slots whose bits are set.
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let slot = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        slot
    })
}

#[derive(Debug)]
struct Chunk {
    start: usize,
    /// How many slots it has, from 1 to 64.
    slots: usize,
    free: u64,
    unguarded: u64,
    split: u64,
}

impl Chunk {
    /// Whether none of its slots is taken.
    fn unused(&self) -> bool {
        self.free | self.unguarded == first(self.slots)
    }
}

/// The stacks of one size.
#[derive(Debug)]
pub(super) struct CentralFreeList {
    chunks: Vec<Chunk>,
    /// The chunks that have a free slot, and the chunks that have an unguarded one.
    with_free: BitSet,
    with_unguarded: BitSet,
    /// The idle chunks.
    idle: BitSet,
    /// The numbers of free, of unguarded and of all slots.
    free: usize,
    unguarded: usize,
    slots: usize,
    /// How many slots the next region should have.
    region: usize,
}

/// Unguarded slots of one chunk, which the caller has taken to install their guards.
#[derive(Debug)]
pub(super) struct Unguarded {
    pub(super) chunk: u32,
    /// The low ends of the slots, from the lowest on.
    pub(super) lows: Vec<usize>,
}

/// Neighbouring chunks, which the caller has taken as a whole to empty them.
#[derive(Debug)]
pub(super) struct IdleChunks {
    chunks: Range<usize>,
    pub(super) memory: Range<usize>,
    /// How many guards in there are mappings of their own.
    pub(super) split: u32,
}

impl CentralFreeList {
    /// No stacks.
    pub(super) const fn new() -> CentralFreeList {
        CentralFreeList {
            chunks: Vec::new(),
            with_free: BitSet::new(),
            with_unguarded: BitSet::new(),
            idle: BitSet::new(),
            free: 0,
            unguarded: 0,
            slots: 0,
            region: region::FIRST,
        }
    }

    /// How many stacks are free.
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// How many stacks are taken.
    pub(super) fn taken(&self) -> usize {
        self.slots - self.free - self.unguarded
    }

    /// Takes up to `want` free slots. Calls `each` with the chunk and the low end of each of them.
    pub(super) fn take(&mut self, size: StackSize, mut want: usize, mut each: impl FnMut(u32, usize)) {
        while want > 0
            && let Some(number) = self.with_free.first()
        {
            let chunk = &mut self.chunks[number];
            for slot in ones(chunk.free).take(want) {
                chunk.free &= !(1 << slot);
                each(number as u32, chunk.start + slot * size.stride());
                self.free -= 1;
                want -= 1;
            }
            self.update(number);
        }
    }

    /// Takes up to `want` unguarded slots of one chunk, at least one.
    ///
    /// # Errors
    ///
    /// There is no address space: nothing was taken.
    pub(super) fn take_unguarded(&mut self, size: StackSize, want: usize) -> io::Result<Unguarded> {
        let number = match self.with_unguarded.first() {
            Some(number) => number,
            None => self.grow(size)?,
        };
        let chunk = &mut self.chunks[number];
        let slots = ones(chunk.unguarded).take(want.max(1));
        let lows: Vec<_> = slots.map(|slot| chunk.start + slot * size.stride()).collect();
        for low in &lows {
            chunk.unguarded &= !(1 << ((low - chunk.start) / size.stride()));
        }
        self.unguarded -= lows.len();
        self.update(number);
        Ok(Unguarded { chunk: number as u32, lows })
    }

    /// The first `count` of the slots have guards now, and stay taken. The others become unguarded again.
    pub(super) fn guarded(&mut self, size: StackSize, taken: &Unguarded, count: usize, split: bool) {
        let number = taken.chunk as usize;
        let chunk = &mut self.chunks[number];
        for (n, low) in taken.lows.iter().enumerate() {
            let bit = 1 << ((low - chunk.start) / size.stride());
            if n >= count {
                chunk.unguarded |= bit;
                self.unguarded += 1;
            } else if split {
                chunk.split |= bit;
            }
        }
        self.update(number);
    }

    /// Returns slots that were taken, each with its chunk and its low end. They become free.
    pub(super) fn put(&mut self, size: StackSize, stacks: impl Iterator<Item = (u32, usize)>) {
        for (number, low) in stacks {
            let number = number as usize;
            let chunk = &mut self.chunks[number];
            let slot = (low - chunk.start) / size.stride();
            debug_assert!((chunk.free | chunk.unguarded) & (1 << slot) == 0, "it was taken");
            chunk.free |= 1 << slot;
            self.free += 1;
            self.update(number);
        }
    }

    /// Whether the caller should empty chunks.
    pub(super) fn has_too_many(&self, size: StackSize) -> bool {
        self.free > self.allowed(size) + slack(size)
    }

    /// How many stacks may be free without being emptied.
    fn allowed(&self, size: StackSize) -> usize {
        spare(size).max(self.taken())
    }

    /// Takes idle chunks, beginning with the highest, if more stacks are free than may be.
    pub(super) fn take_idle(&mut self, size: StackSize) -> Option<IdleChunks> {
        if self.free <= self.allowed(size) {
            return None;
        }
        let last = self.idle.last()?;
        let mut chunks = last..last + 1;
        let mut more = BATCH - 1;
        while more > 0 && chunks.start > 0 && self.are_neighbours(size, chunks.start - 1) {
            if !self.chunks[chunks.start - 1].unused() {
                break;
            }
            chunks.start -= 1;
            // A chunk that is unguarded as a whole costs nothing, and the page table that it shares is freed
            // as well.
            more = if self.chunks[chunks.start].free == 0 { 0 } else { more - 1 };
        }
        if self.are_neighbours(size, last) && self.chunks[chunks.end].unused() {
            chunks.end += 1;
        }
        let memory = self.chunks[chunks.start].start..self.end_of(size, chunks.end - 1);
        let mut split = 0;
        for number in chunks.clone() {
            let chunk = &mut self.chunks[number];
            split += chunk.split.count_ones();
            self.free -= chunk.free.count_ones() as usize;
            self.unguarded -= chunk.unguarded.count_ones() as usize;
            (chunk.free, chunk.unguarded, chunk.split) = (0, 0, 0);
            self.update(number);
        }
        Some(IdleChunks { chunks, memory, split })
    }

    /// Returns chunks that the caller has emptied. Their slots become unguarded.
    pub(super) fn emptied(&mut self, idle: &IdleChunks) {
        for number in idle.chunks.clone() {
            let chunk = &mut self.chunks[number];
            chunk.unguarded = first(chunk.slots);
            self.unguarded += chunk.slots;
            self.update(number);
        }
    }

    /// Whether a chunk ends where the next one begins.
    fn are_neighbours(&self, size: StackSize, number: usize) -> bool {
        self.chunks.get(number + 1).is_some_and(|next| next.start == self.end_of(size, number))
    }

    fn end_of(&self, size: StackSize, number: usize) -> usize {
        self.chunks[number].start + self.chunks[number].slots * size.stride()
    }

    /// Brings the sets of chunks in line with a chunk that has changed.
    fn update(&mut self, number: usize) {
        let chunk = &self.chunks[number];
        self.with_free.set(number, chunk.free != 0);
        self.with_unguarded.set(number, chunk.unguarded != 0);
        self.idle.set(number, chunk.free != 0 && chunk.unused());
    }

    /// Reserves another region. Returns the number of its first chunk.
    fn grow(&mut self, size: StackSize) -> io::Result<usize> {
        let region = region::reserve(size, self.region)?;
        let number = self.chunks.len();
        let mut slots = region.len() / size.stride();
        // Twice what was reserved: if there was no room for a larger region, the next one is not larger
        // either.
        self.region = 2 * slots;
        self.slots += slots;
        self.unguarded += slots;
        let mut start = region.start;
        while slots > 0 {
            let some = slots.min(SLOTS);
            self.chunks.push(Chunk { start, slots: some, free: 0, unguarded: first(some), split: 0 });
            self.update(self.chunks.len() - 1);
            start += some * size.stride();
            slots -= some;
        }
        Ok(number)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The tests write to no stack: addresses are only numbers here.
    fn size() -> StackSize {
        StackSize::of(64 << 10, 1)
    }

    /// Takes free stacks, and makes the missing ones.
    fn get(list: &mut CentralFreeList, want: usize) -> Vec<(u32, usize)> {
        let mut got = Vec::new();
        list.take(size(), want, |chunk, low| got.push((chunk, low)));
        while got.len() < want {
            let new = list.take_unguarded(size(), want - got.len()).expect("address space");
            list.guarded(size(), &new, new.lows.len(), false);
            got.extend(new.lows.iter().map(|&low| (new.chunk, low)));
        }
        got
    }

    fn empty(list: &mut CentralFreeList) -> Vec<Range<usize>> {
        let mut emptied = Vec::new();
        while let Some(idle) = list.take_idle(size()) {
            list.emptied(&idle);
            emptied.push(idle.memory);
        }
        emptied
    }

    #[test]
    fn slots_that_get_no_guard_are_taken_again() {
        let mut list = CentralFreeList::new();
        let all = list.take_unguarded(size(), usize::MAX).expect("address space");
        assert_eq!(all.lows.len(), region::FIRST);
        list.guarded(size(), &all, 3, false);
        assert_eq!(list.take_unguarded(size(), 2).expect("slots").lows, all.lows[3..5]);
        assert_eq!(list.take_unguarded(size(), usize::MAX).expect("slots").lows, all.lows[5..]);
        assert_eq!(
            list.take_unguarded(size(), usize::MAX).expect("address space").lows.len(),
            2 * region::FIRST
        );
    }

    #[test]
    fn the_lowest_chunk_is_used_first() {
        let mut list = CentralFreeList::new();
        let mut stacks = get(&mut list, 1_000);
        stacks.sort_unstable();
        list.put(size(), stacks.iter().copied().rev());
        let mut again = get(&mut list, 300);
        again.sort_unstable();
        assert_eq!(again, stacks[..300]);
    }

    #[test]
    fn only_unused_chunks_are_emptied_and_no_more_than_needed() {
        let mut list = CentralFreeList::new();
        let few = spare(size()) + slack(size());
        let stacks = get(&mut list, few);
        list.put(size(), stacks.into_iter());
        assert!(!list.has_too_many(size()), "that many may be free");

        let many = get(&mut list, 4 * few);
        // One stays in use in every eighth chunk.
        let (used, unused): (Vec<_>, Vec<_>) = many.into_iter().enumerate().partition(|(n, _)| n % 512 == 0);
        list.put(size(), unused.into_iter().map(|(_, stack)| stack));
        assert!(list.has_too_many(size()));
        let emptied = empty(&mut list);
        let kept = list.free();
        assert!(kept <= spare(size()) && kept + 2 * BATCH * SLOTS > spare(size()), "{kept} are kept");
        for (_, (_, low)) in &used {
            assert!(!emptied.iter().any(|memory| memory.contains(low)), "it is in use");
        }
        assert!(empty(&mut list).is_empty());
    }

    /// As many stacks may be free as are in use, so a number that goes up and down by less than half empties
    /// nothing.
    #[test]
    fn a_number_that_varies_by_less_than_half_empties_nothing() {
        let mut list = CentralFreeList::new();
        let base = 4 * spare(size());
        let _always = get(&mut list, base);
        for _ in 0..5 {
            let more = get(&mut list, base);
            list.put(size(), more.into_iter());
            assert!(!list.has_too_many(size()));
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Get(usize),
        /// Returns that many of the taken stacks, beginning with one of them.
        Put(prop::sample::Index, usize),
        Empty,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1..2_000_usize).prop_map(Step::Get),
            3 => (any::<prop::sample::Index>(), 1..4_000_usize).prop_map(|(from, n)| Step::Put(from, n)),
            2 => Just(Step::Empty),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

        /// No stack has two users, none is emptied while it is used, and none is lost. After emptying no more
        /// stacks are free than may be, unless each chunk with a free stack also has a used one.
        #[test]
        fn each_stack_has_one_owner(steps in prop::collection::vec(step(), 0..40)) {
            let mut list = CentralFreeList::new();
            let mut used: Vec<(u32, usize)> = Vec::new();
            for step in steps {
                match step {
                    Step::Get(n) => used.extend(get(&mut list, n)),
                    Step::Put(_, _) if used.is_empty() => {}
                    Step::Put(from, n) => {
                        let from = from.index(used.len());
                        let to = (from + n).min(used.len());
                        list.put(size(), used.drain(from..to));
                    }
                    Step::Empty => {
                        for memory in empty(&mut list) {
                            prop_assert!(!used.iter().any(|(_, low)| memory.contains(low)));
                        }
                        let idle = list.chunks.iter().filter(|chunk| chunk.unused() && chunk.free != 0);
                        prop_assert!(list.free() <= list.allowed(size()) || idle.count() == 0);
                    }
                }
                let lows: BTreeSet<_> = used.iter().map(|(_, low)| low).collect();
                prop_assert_eq!(lows.len(), used.len(), "it has two users");
                prop_assert_eq!(used.len() + list.free + list.unguarded, list.slots, "none is lost");
                let count = |bits: fn(&Chunk) -> u64| {
                    list.chunks.iter().map(|chunk| bits(chunk).count_ones() as usize).sum::<usize>()
                };
                prop_assert_eq!((count(|c| c.free), count(|c| c.unguarded)), (list.free, list.unguarded));
            }
        }
    }
}
