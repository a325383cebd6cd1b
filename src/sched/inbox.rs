//! What other threads hand to a worker: a stack that many push to and that is taken whole.
//!
//! A push is one compare-and-swap; taking is one swap, so there is no ABA. The order is restored when
//! it is taken: first in, first out. Pure.

use crate::base::list::{Linked, Queue};
use crate::base::sync::{AtomicPtr, Ordering};
use std::ptr::{self, NonNull};

/// A multi-producer stack of elements that it does not own.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    head: AtomicPtr<T>,
}

impl<T: Linked> Inbox<T> {
    /// An empty inbox.
    pub(crate) fn new() -> Self {
        Inbox { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Adds an element.
    ///
    /// # Safety
    ///
    /// The element is in no queue, and stays alive until it was taken.
    pub(crate) unsafe fn push(&self, element: NonNull<T>) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: the element is in no queue, so its link is ours.
            unsafe { T::link(element).write(NonNull::new(head)) };
            // Releases the element to `take`. Sequentially consistent, as the idle protocol wants of
            // every push (sched/README.md).
            match self.head.compare_exchange_weak(head, element.as_ptr(), Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all, oldest first. Any thread may.
    pub(crate) fn take(&self) -> Queue<T> {
        let mut queue = Queue::new();
        if self.is_empty() {
            return queue;
        }
        // Acquires the elements from `push`.
        let mut at = NonNull::new(self.head.swap(ptr::null_mut(), Ordering::AcqRel));
        while let Some(element) = at {
            // SAFETY: the swap made the whole chain ours.
            at = unsafe { T::link(element).read() };
            // SAFETY: the element has just left the chain.
            unsafe { queue.push_front(element) };
        }
        queue
    }

    /// Whether it is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::SeqCst).is_null()
    }
}
