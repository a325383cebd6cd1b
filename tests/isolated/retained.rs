//! The memory that stays allocated after a burst.

use crate::common::in_child;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};
use sward::channel::{bounded, broadcast, unbounded};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: each call goes to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many more bytes are allocated after the closure, while its result is still there.
fn retained<T>(f: impl FnOnce() -> T) -> (isize, T) {
    let before = LIVE.load(Ordering::Relaxed);
    let kept = f();
    (LIVE.load(Ordering::Relaxed) - before, kept)
}

/// The bound in the documentation of `unbounded`, and the channel itself.
const EMPTY_CHANNEL: isize = (8 << 10) + 512;

fn burst<T>(count: usize, make: impl Fn() -> T) {
    for (sender, receiver) in [unbounded(), bounded(count)] {
        let (bytes, _ends) = retained(|| {
            (0..count).for_each(|_| sender.send(make()).expect("a receiver"));
            (0..count).for_each(|_| drop(receiver.recv().expect("a message")));
            (sender, receiver)
        });
        assert!(bytes <= EMPTY_CHANNEL, "{bytes} bytes after {count} of {} bytes", size_of::<T>());
    }
}

#[test]
fn a_burst_leaves_little_memory_behind() {
    in_child(|| {
        burst(100_000, || 1_u8);
        burst(100_000, || [1_u64; 3]);
        burst(50_000, || [1_u8; 1000]);
        burst(1_000, || [1_u8; 20_000]);
        burst(50_000, || vec![1_u8; 1000]);

        let (bytes, _ends) = retained(|| bounded::<[u8; 1000]>(1 << 40));
        assert!(bytes <= 512, "a large capacity costs nothing by itself: {bytes} bytes");

        let (bytes, _sender) = retained(|| {
            let (sender, receiver) = broadcast::channel(100_000);
            (0..100_000).for_each(|i| _ = sender.send(i).expect("a receiver"));
            drop(receiver);
            sender
        });
        assert!(bytes <= 512, "nobody is left to read the broadcast: {bytes} bytes");
    });
}
