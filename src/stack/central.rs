//! All stacks of one size that no worker holds, in chunks of up to 64 slots.
//!
//! ```text
//!   a chunk:  slot    0 1 2 3 4 5 ...
//!             free    . . 1 . 1 .         has its guard, and nobody uses it
//!             bare    . . . . . 1         has no guard yet, or no more
//!             cut     . 1 1 . . .         its guard is a mapping of its own; not set for a bare one
//!                     ^ neither free nor bare: with a worker, or used by a coroutine
//! ```
//!
//! A slot is taken from the lowest chunk that has a free one. So the stacks in use stay together in the
//! chunks with low numbers, and others become idle as a whole. A chunk that is idle can be emptied: its page
//! tables go, which cost half a KiB for a stack of 256 KiB and stay when the stack's pages are given back.
//! Then its slots are bare.
//!
//! Bound: chunks are emptied while more stacks are free than are in use or with a worker, and more than
//! [`spare`] says. So after a burst the page tables of at most that many free stacks are left, and those of
//! the chunks in which a stack is in use: at worst one chunk for each of these. (Rejected: emptying after
//! some time without use. That needs somebody to look, and nothing wakes an idle runtime.) A program whose
//! number of coroutines goes up and down by less than half, or by less than [`spare`], never empties a chunk.
//!
//! Pure: the caller works on the memory, without the lock.

use super::region;
use super::size::StackSize;
use crate::base::bit_set::BitSet;
use std::io;
use std::ops::Range;

/// Slots of a chunk, where its region has as many.
const SLOTS: usize = u64::BITS as usize;
/// Free stacks that are kept as they are: so many at most, and so much address space.
const SPARE: usize = 4096;
const SPARE_BYTES: usize = 1 << 30;
/// Chunks that are emptied at once, or one more.
const BATCH: usize = 4;

/// How many free stacks are kept whatever is in use.
pub(super) fn spare(size: StackSize) -> usize {
    SPARE.min(SPARE_BYTES / size.stride())
}

/// How many more than may stay are free before chunks are emptied, so that several are at once.
fn slack(size: StackSize) -> usize {
    (spare(size) / 16).clamp(1, BATCH * SLOTS)
}

/// The bits of the first so many slots.
fn first(slots: usize) -> u64 {
    u64::MAX >> (SLOTS - slots)
}

/// The bits that are set, as slots.
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
    bare: u64,
    cut: u64,
}

impl Chunk {
    /// Whether nobody has any of its slots.
    fn unused(&self) -> bool {
        self.free | self.bare == first(self.slots)
    }
}

/// The stacks of one size.
#[derive(Debug)]
pub(super) struct CentralFreeList {
    chunks: Vec<Chunk>,
    /// The chunks that have a free slot; a bare one.
    with_free: BitSet,
    with_bare: BitSet,
    /// The chunks that have a free slot and that nobody uses.
    idle: BitSet,
    free: usize,
    bare: usize,
    slots: usize,
    /// How many slots the next region is to have.
    region: usize,
}

/// Bare slots of one chunk, which are the caller's.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) chunk: u32,
    /// Where they are, from the lowest on.
    pub(super) lows: Vec<usize>,
}

/// Chunks that follow one another in memory, all of whose slots are the caller's, to be emptied.
#[derive(Debug)]
pub(super) struct Idle {
    chunks: Range<usize>,
    pub(super) memory: Range<usize>,
    /// How many guards in there are mappings of their own.
    pub(super) cut_out: u32,
}

impl CentralFreeList {
    /// No stacks.
    pub(super) const fn new() -> CentralFreeList {
        CentralFreeList {
            chunks: Vec::new(),
            with_free: BitSet::new(),
            with_bare: BitSet::new(),
            idle: BitSet::new(),
            free: 0,
            bare: 0,
            slots: 0,
            region: region::FIRST,
        }
    }

    /// How many are free.
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// Takes up to `want` free slots; `each` gets their chunks and where they are.
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
            self.note(number);
        }
    }

    /// Cuts off up to `want` bare slots, at least one.
    ///
    /// # Errors
    ///
    /// No address space: nothing was cut off.
    pub(super) fn cut(&mut self, size: StackSize, want: usize) -> io::Result<Cut> {
        let number = match self.with_bare.first() {
            Some(number) => number,
            None => self.grow(size)?,
        };
        let chunk = &mut self.chunks[number];
        let slots = ones(chunk.bare).take(want.max(1));
        let lows: Vec<_> = slots.map(|slot| chunk.start + slot * size.stride()).collect();
        for low in &lows {
            chunk.bare &= !(1 << ((low - chunk.start) / size.stride()));
        }
        self.bare -= lows.len();
        self.note(number);
        Ok(Cut { chunk: number as u32, lows })
    }

    /// The first `guarded` of the slots that were cut off have guards now, and stay the caller's; the others
    /// go back.
    pub(super) fn settle(&mut self, size: StackSize, cut: &Cut, guarded: usize, cut_out: bool) {
        let number = cut.chunk as usize;
        let chunk = &mut self.chunks[number];
        for (n, low) in cut.lows.iter().enumerate() {
            let bit = 1 << ((low - chunk.start) / size.stride());
            if n >= guarded {
                chunk.bare |= bit;
                self.bare += 1;
            } else if cut_out {
                chunk.cut |= bit;
            }
        }
        self.note(number);
    }

    /// Takes slots back that were taken, each by its chunk and its place.
    pub(super) fn put(&mut self, size: StackSize, stacks: impl Iterator<Item = (u32, usize)>) {
        for (number, low) in stacks {
            let number = number as usize;
            let chunk = &mut self.chunks[number];
            let slot = (low - chunk.start) / size.stride();
            debug_assert!((chunk.free | chunk.bare) & (1 << slot) == 0, "it was taken");
            chunk.free |= 1 << slot;
            self.free += 1;
            self.note(number);
        }
    }

    /// Whether the caller should empty chunks.
    pub(super) fn has_too_many(&self, size: StackSize) -> bool {
        self.free > self.allowed(size) + slack(size)
    }

    /// Free stacks that may stay as they are.
    fn allowed(&self, size: StackSize) -> usize {
        let used = self.slots - self.free - self.bare;
        spare(size).max(used)
    }

    /// Takes idle chunks, the last ones first, if there are more free stacks than may stay.
    pub(super) fn take_idle(&mut self, size: StackSize) -> Option<Idle> {
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
            // One that is bare already costs nothing, and the page table that it shares goes as well.
            more = if self.chunks[chunks.start].free == 0 { 0 } else { more - 1 };
        }
        if self.are_neighbours(size, last) && self.chunks[chunks.end].unused() {
            chunks.end += 1;
        }
        let memory = self.chunks[chunks.start].start..self.end_of(size, chunks.end - 1);
        let mut cut_out = 0;
        for number in chunks.clone() {
            let chunk = &mut self.chunks[number];
            cut_out += chunk.cut.count_ones();
            self.free -= chunk.free.count_ones() as usize;
            self.bare -= chunk.bare.count_ones() as usize;
            (chunk.free, chunk.bare, chunk.cut) = (0, 0, 0);
            self.note(number);
        }
        Some(Idle { chunks, memory, cut_out })
    }

    /// Takes chunks back that were emptied.
    pub(super) fn emptied(&mut self, idle: &Idle) {
        for number in idle.chunks.clone() {
            let chunk = &mut self.chunks[number];
            chunk.bare = first(chunk.slots);
            self.bare += chunk.slots;
            self.note(number);
        }
    }

    /// Whether a chunk ends where the next one begins.
    fn are_neighbours(&self, size: StackSize, number: usize) -> bool {
        self.chunks.get(number + 1).is_some_and(|next| next.start == self.end_of(size, number))
    }

    fn end_of(&self, size: StackSize, number: usize) -> usize {
        self.chunks[number].start + self.chunks[number].slots * size.stride()
    }

    fn note(&mut self, number: usize) {
        let chunk = &self.chunks[number];
        self.with_free.set(number, chunk.free != 0);
        self.with_bare.set(number, chunk.bare != 0);
        self.idle.set(number, chunk.free != 0 && chunk.unused());
    }

    /// Reserves another region; the number of its first chunk.
    fn grow(&mut self, size: StackSize) -> io::Result<usize> {
        let region = region::reserve(size, self.region)?;
        let number = self.chunks.len();
        let mut slots = region.len() / size.stride();
        // Doubles what was got: where there is no room for a large one, the next one is not larger, either.
        self.region = 2 * slots;
        self.slots += slots;
        self.bare += slots;
        let mut start = region.start;
        while slots > 0 {
            let some = slots.min(SLOTS);
            self.chunks.push(Chunk { start, slots: some, free: 0, bare: first(some), cut: 0 });
            self.note(self.chunks.len() - 1);
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

    /// The tests share no memory, and write to none: places are only numbers here.
    fn size() -> StackSize {
        StackSize::of(64 << 10, 1)
    }

    /// Takes free stacks, and makes the missing ones.
    fn get(depot: &mut CentralFreeList, want: usize) -> Vec<(u32, usize)> {
        let mut got = Vec::new();
        depot.take(size(), want, |chunk, low| got.push((chunk, low)));
        while got.len() < want {
            let cut = depot.cut(size(), want - got.len()).expect("address space");
            depot.settle(size(), &cut, cut.lows.len(), false);
            got.extend(cut.lows.iter().map(|&low| (cut.chunk, low)));
        }
        got
    }

    fn empty(depot: &mut CentralFreeList) -> Vec<Range<usize>> {
        let mut emptied = Vec::new();
        while let Some(idle) = depot.take_idle(size()) {
            depot.emptied(&idle);
            emptied.push(idle.memory);
        }
        emptied
    }

    #[test]
    fn slots_that_get_no_guard_are_cut_off_again() {
        let mut depot = CentralFreeList::new();
        let all = depot.cut(size(), usize::MAX).expect("address space");
        assert_eq!(all.lows.len(), region::FIRST);
        depot.settle(size(), &all, 3, false);
        assert_eq!(depot.cut(size(), 2).expect("slots").lows, all.lows[3..5]);
        assert_eq!(depot.cut(size(), usize::MAX).expect("slots").lows, all.lows[5..]);
        assert_eq!(depot.cut(size(), usize::MAX).expect("address space").lows.len(), 2 * region::FIRST);
    }

    #[test]
    fn the_lowest_chunk_is_used_first() {
        let mut depot = CentralFreeList::new();
        let mut stacks = get(&mut depot, 1_000);
        stacks.sort_unstable();
        depot.put(size(), stacks.iter().copied().rev());
        let mut again = get(&mut depot, 300);
        again.sort_unstable();
        assert_eq!(again, stacks[..300]);
    }

    #[test]
    fn what_is_emptied_is_what_nobody_uses_and_no_more_than_needed() {
        let mut depot = CentralFreeList::new();
        let few = spare(size()) + slack(size());
        let stacks = get(&mut depot, few);
        depot.put(size(), stacks.into_iter());
        assert!(!depot.has_too_many(size()), "so many may be free");

        let many = get(&mut depot, 4 * few);
        // One stays in use in every eighth chunk.
        let (used, unused): (Vec<_>, Vec<_>) = many.into_iter().enumerate().partition(|(n, _)| n % 512 == 0);
        depot.put(size(), unused.into_iter().map(|(_, place)| place));
        assert!(depot.has_too_many(size()));
        let emptied = empty(&mut depot);
        let kept = depot.free();
        assert!(kept <= spare(size()) && kept + 2 * BATCH * SLOTS > spare(size()), "{kept} are kept");
        for (_, (_, low)) in &used {
            assert!(!emptied.iter().any(|memory| memory.contains(low)), "it is in use");
        }
        assert!(empty(&mut depot).is_empty());
    }

    /// As many as are in use may be free: a number that goes up and down by less than half empties nothing.
    #[test]
    fn a_tide_of_less_than_half_empties_nothing() {
        let mut depot = CentralFreeList::new();
        let sea = 4 * spare(size());
        let _always = get(&mut depot, sea);
        for _ in 0..5 {
            let tide = get(&mut depot, sea);
            depot.put(size(), tide.into_iter());
            assert!(!depot.has_too_many(size()));
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Get(usize),
        /// Puts back so many of the stacks that were got, beginning with one of them.
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

        /// No stack is given out twice or emptied while it is used, none is lost, and after emptying no more
        /// are free than may be, unless a used one is in each chunk that has free ones.
        #[test]
        fn each_stack_has_one_owner(steps in prop::collection::vec(step(), 0..40)) {
            let mut depot = CentralFreeList::new();
            let mut used: Vec<(u32, usize)> = Vec::new();
            for step in steps {
                match step {
                    Step::Get(n) => used.extend(get(&mut depot, n)),
                    Step::Put(_, _) if used.is_empty() => {}
                    Step::Put(from, n) => {
                        let from = from.index(used.len());
                        let to = (from + n).min(used.len());
                        depot.put(size(), used.drain(from..to));
                    }
                    Step::Empty => {
                        for memory in empty(&mut depot) {
                            prop_assert!(!used.iter().any(|(_, low)| memory.contains(low)));
                        }
                        let idle = depot.chunks.iter().filter(|chunk| chunk.unused() && chunk.free != 0);
                        prop_assert!(depot.free() <= depot.allowed(size()) || idle.count() == 0);
                    }
                }
                let lows: BTreeSet<_> = used.iter().map(|(_, low)| low).collect();
                prop_assert_eq!(lows.len(), used.len(), "given out twice");
                prop_assert_eq!(used.len() + depot.free + depot.bare, depot.slots, "none is lost");
                let count = |bits: fn(&Chunk) -> u64| {
                    depot.chunks.iter().map(|chunk| bits(chunk).count_ones() as usize).sum::<usize>()
                };
                prop_assert_eq!((count(|c| c.free), count(|c| c.bare)), (depot.free, depot.bare));
            }
        }
    }
}
