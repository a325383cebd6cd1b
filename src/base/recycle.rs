//! Memory blocks of a few sizes that are used again: each thread keeps some of the blocks that it has freed.
//!
//! # The problem
//!
//! A coroutine's header lives as long as the coroutine, and a server makes and ends very many of them. The
//! allocator's own cache for a thread holds a handful of blocks of a size. This one holds enough for bursts
//! of a thousand coroutines.
//!
//! # A block
//!
//! | from, to | by | cause |
//! |---|---|---|
//! | the allocator's, in use | [`allocate`] | the thread keeps no block of this class |
//! | in use, kept by a thread | [`free`] | the thread keeps fewer than [`MOST`] of this class |
//! | kept, in use | [`allocate`] on the same thread | the block that was freed last goes first |
//! | in use, the allocator's | [`free`] | the thread keeps enough, or is at its end |
//! | kept, the allocator's | the thread's end | its list is destroyed |
//!
//! A block may be freed on another thread than the one that allocated it. It is kept there then. No other
//! thread touches a kept block, so there is no lock and no atomic.
//!
//! A worker that runs on thread-locals of another thread goes on using its own blocks ([`use_blocks_of`]).
//!
//! ```text
//!   class  0: blocks of   8 bytes    first --> next --> next      (the link is in the free block)
//!   class  1: blocks of  24 bytes    first --> ...
//!   ...
//!   class 31: blocks of 504 bytes    first --> ...
//! ```
//!
//! The usual allocator puts a word of its own before each block, and makes blocks in steps of 16 bytes. These
//! sizes waste nothing there.
//!
//! Rejected: a pool that all threads share. It needs atomics for each coroutine, and its blocks are in
//! another processor's cache.

use super::local::thread_locals;
use super::sys::KEPT_BLOCKS;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};

const CLASSES: usize = 32;
const STEP: usize = 16;
const LEAST: usize = 8;
const ALIGN: usize = 16;
/// The most blocks of a class that a thread keeps. None where a tool watches memory that is free.
const MOST: u32 = KEPT_BLOCKS;

/// The blocks that one thread keeps. Invariant: each list has as many blocks as its count says, all of its
/// class's layout, and no other code uses them.
pub(crate) struct FreeBlocks {
    lists: [(Cell<*mut u8>, Cell<u32>); CLASSES],
    /// The blocks that are used in place of these, null for none.
    instead: Cell<*const FreeBlocks>,
}

impl FreeBlocks {
    const fn new() -> FreeBlocks {
        let lists = [const { (Cell::new(ptr::null_mut()), Cell::new(0)) }; CLASSES];
        FreeBlocks { lists, instead: Cell::new(ptr::null()) }
    }
}

impl Drop for FreeBlocks {
    fn drop(&mut self) {
        for (class, (first, _)) in self.lists.iter().enumerate() {
            while let Some(block) = NonNull::new(first.get()) {
                // SAFETY: a block of the list, which holds the link to the next one; freed once, with the
                // layout that it was allocated with.
                unsafe {
                    first.set(block.cast::<*mut u8>().read());
                    dealloc(block.as_ptr(), layout_of(class));
                }
            }
        }
    }
}

thread_locals! {
    /// The blocks that the thread has freed and will use again.
    static FREE_BLOCKS: FreeBlocks = FreeBlocks::new();

    /// A block that the thread has kept.
    fn take_block(class: usize) -> Option<NonNull<u8>> = |blocks| blocks.in_use().take(class), destroyed: None;

    /// The calling thread's blocks, for [`use_blocks_of`].
    pub(crate) fn own_blocks() -> *const FreeBlocks = |blocks| ptr::from_ref(blocks), destroyed: ptr::null();

    /// See [`use_blocks_of`].
    fn set_instead(other: *const FreeBlocks) = |blocks| blocks.instead.set(other), destroyed: ();

    /// Keeps a block for later; false if there are enough, or if the thread is at its end.
    fn put_block(class: usize, block: NonNull<u8>) -> bool
        = |blocks| blocks.in_use().put(class, block), destroyed: false;
}

fn layout_of(class: usize) -> Layout {
    Layout::from_size_align(LEAST + class * STEP, ALIGN).expect("a small layout")
}

/// The class whose blocks such a value fits in.
const fn class_of<T>() -> Option<usize> {
    let size = size_of::<T>();
    let class = size.saturating_sub(LEAST).div_ceil(STEP);
    if size == 0 || class >= CLASSES || align_of::<T>() > ALIGN { None } else { Some(class) }
}

/// Memory for a value, which the caller writes in place: to move a value there could cost more than all the
/// rest. Aborts if there is no memory, as `Box::new` does.
#[inline]
pub(crate) fn allocate<T>() -> NonNull<T> {
    match const { class_of::<T>() } {
        Some(class) => take_block(class).unwrap_or_else(|| allocate_new(class)).cast(),
        None => NonNull::from(Box::leak(Box::<T>::new_uninit())).cast(),
    }
}

#[cold]
fn allocate_new(class: usize) -> NonNull<u8> {
    let layout = layout_of(class);
    // SAFETY: the layout is not empty.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Drops a value and frees its block.
///
/// # Safety
///
/// The pointer comes from [`allocate`], the value was written, and it is not used afterwards.
#[inline]
pub(crate) unsafe fn free<T>(value: NonNull<T>) {
    let Some(class) = (const { class_of::<T>() }) else {
        // SAFETY: `allocate` made it with a Box.
        drop(unsafe { Box::from_raw(value.as_ptr()) });
        return;
    };
    // SAFETY: as the caller says.
    unsafe { value.drop_in_place() };
    if !put_block(class, value.cast()) {
        // SAFETY: `allocate` took it from the allocator with this layout.
        unsafe { dealloc(value.as_ptr().cast(), layout_of(class)) };
    }
}

/// Uses these blocks in place of the calling thread's own; null ends that. For a worker that runs on
/// thread-locals which another thread has lent it: blocks stay with the worker.
///
/// # Safety
///
/// They are null, or come from [`own_blocks`]. Until this is undone, what runs on the calling thread's
/// thread-locals is run by the thread of these blocks, before that one ends.
pub(crate) unsafe fn use_blocks_of(blocks: *const FreeBlocks) {
    set_instead(blocks);
}

impl FreeBlocks {
    /// The blocks that stand for these.
    #[inline]
    fn in_use(&self) -> &FreeBlocks {
        // SAFETY: as the caller of `use_blocks_of` has promised. Or it is null.
        unsafe { self.instead.get().as_ref() }.unwrap_or(self)
    }

    fn take(&self, class: usize) -> Option<NonNull<u8>> {
        let (first, count) = &self.lists[class];
        let block = NonNull::new(first.get())?;
        // SAFETY: a free block holds the link to the next one.
        first.set(unsafe { block.cast::<*mut u8>().read() });
        count.set(count.get() - 1);
        Some(block)
    }

    /// Keeps a block, whose content is dropped, if there are fewer than `MOST`.
    fn put(&self, class: usize, block: NonNull<u8>) -> bool {
        let (first, count) = &self.lists[class];
        if count.get() == MOST {
            return false;
        }
        // SAFETY: the caller has handed the block over, and it is large enough for a link.
        unsafe { block.cast::<*mut u8>().write(first.get()) };
        first.set(block.as_ptr());
        count.set(count.get() + 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new<T>(value: T) -> NonNull<T> {
        let block = allocate();
        // SAFETY: it is for such a value.
        unsafe { block.write(value) };
        block
    }

    #[test]
    fn a_freed_block_is_used_again() {
        let one = new([1_u64; 20]);
        // SAFETY: it is alive.
        assert_eq!(unsafe { one.read() }, [1; 20]);
        // SAFETY: it comes from `new`, and is not used again.
        unsafe { free(one) };
        let other = new([2_u64; 21]);
        // Unless the block has gone to the allocator, which may have given it out once more.
        assert!(one.cast::<u8>() == other.cast() || MOST == 0);
        // SAFETY: as above.
        unsafe { free(other) };
    }

    #[test]
    fn no_block_is_kept_where_a_tool_watches_free_memory() {
        let class = class_of::<[u64; 30]>().expect("small");
        // SAFETY: it comes from `new`, and is not used again.
        unsafe { free(new([1_u64; 30])) };
        let kept = take_block(class);
        assert_eq!(kept.is_some(), MOST > 0);
        if let Some(kept) = kept {
            // SAFETY: `allocate` took it from the allocator with this layout.
            unsafe { dealloc(kept.as_ptr(), layout_of(class)) };
        }
    }

    #[test]
    fn values_of_any_size_and_alignment_are_dropped_once() {
        use std::rc::Rc;
        #[repr(align(128))]
        struct Wide(#[allow(dead_code)] Rc<()>);
        let count = Rc::new(());
        let small = new(Rc::clone(&count));
        let large = new((Rc::clone(&count), [0_u8; 600]));
        let wide = new(Wide(Rc::clone(&count)));
        assert_eq!((Rc::strong_count(&count), wide.as_ptr().addr() % 128), (4, 0));
        // SAFETY: they come from `new`, and are not used again.
        unsafe {
            free(small);
            free(large);
            free(wide);
        }
        assert_eq!(Rc::strong_count(&count), 1);
        let nothing = new(());
        // SAFETY: as above.
        unsafe { free(nothing) };
    }

    #[test]
    fn a_thread_keeps_at_most_so_many_and_frees_all_at_its_end() {
        let blocks: Vec<_> =
            (0..2 * MOST).map(|i| new([u64::from(i); 8]).as_ptr().expose_provenance()).collect();
        std::thread::spawn(move || {
            for block in blocks {
                let block = NonNull::new(std::ptr::with_exposed_provenance_mut::<[u64; 8]>(block));
                // SAFETY: each comes from `new`, and is freed once.
                unsafe { free(block.expect("a block")) };
            }
        })
        .join()
        .expect("no panic");
    }
}
