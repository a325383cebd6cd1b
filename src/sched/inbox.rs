//! The inbox of a home: other threads push coroutines that they have woken, and the worker that runs the
//! home takes all of them at once. Pure.
//!
//! It is a linked stack. A push is one compare-and-swap. Taking is one swap of the whole stack, so the ABA
//! problem does not arise. Taking reverses the order: first in, first out.

use crate::base::list::{Linked, Queue};
use crate::base::sync::{AtomicPtr, Ordering};
use std::ptr::{self, NonNull};

/// A stack with many producers. It does not own its elements.
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
            // Releases the element to `take`. Sequentially consistent, as the protocol of sleeping demands
            // of every push (`README.md` beside this file).
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

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use std::cell::UnsafeCell;

    pub(in crate::sched) struct Node {
        pub(super) value: u32,
        link: UnsafeCell<Option<NonNull<Node>>>,
    }

    // SAFETY: always the field of the same node; the tests touch it through queues alone.
    unsafe impl Linked for Node {
        unsafe fn link(this: NonNull<Self>) -> NonNull<Option<NonNull<Self>>> {
            // SAFETY: the element is alive, as the caller says.
            NonNull::new(unsafe { this.as_ref() }.link.get()).expect("a field is not at null")
        }
    }

    /// Pushes nodes with these values. They are freed by `values`.
    pub(in crate::sched) fn push(inbox: &Inbox<Node>, values: std::ops::Range<u32>) {
        for value in values {
            let node = Box::new(Node { value, link: UnsafeCell::new(None) });
            // SAFETY: a new node is in no queue, and lives until it was taken.
            unsafe { inbox.push(NonNull::from(Box::leak(node))) };
        }
    }

    /// Takes all, in order.
    pub(in crate::sched) fn values(inbox: &Inbox<Node>) -> Vec<u32> {
        let mut queue = inbox.take();
        // SAFETY: nodes come from boxes, and leave the queue once.
        std::iter::from_fn(|| queue.pop().map(|node| unsafe { Box::from_raw(node.as_ptr()) }.value)).collect()
    }

    /// Whether the values below `middle`, and the values from `middle` on, are each in order and complete.
    pub(super) fn is_complete(seen: &[u32], middle: u32, end: u32) -> bool {
        let (low, high): (Vec<u32>, Vec<u32>) = seen.iter().copied().partition(|&value| value < middle);
        low.into_iter().eq(0..middle) && high.into_iter().eq(middle..end)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::testing::{is_complete, push, values};
    use super::*;

    #[test]
    fn first_in_first_out() {
        let inbox = Inbox::new();
        assert!(inbox.is_empty() && values(&inbox).is_empty());
        push(&inbox, 0..5);
        assert!(!inbox.is_empty());
        assert_eq!(values(&inbox), [0, 1, 2, 3, 4]);
        assert!(inbox.is_empty());
    }

    /// Two threads push, two take: every element arrives once, and each taker sees each pusher's order.
    #[test]
    fn stress() {
        const EACH: u32 = 50_000;
        let inbox = Inbox::new();
        let (mut one, other) = std::thread::scope(|s| {
            s.spawn(|| push(&inbox, 0..EACH));
            s.spawn(|| push(&inbox, EACH..2 * EACH));
            let take = || {
                let mut seen = Vec::new();
                for _ in 0..EACH {
                    seen.extend(values(&inbox));
                }
                seen
            };
            let other = s.spawn(take);
            (take(), other.join().expect("no panic"))
        });
        one.extend(values(&inbox));
        for seen in [&one, &other] {
            assert!(seen.iter().filter(|&&value| value < EACH).is_sorted());
            assert!(seen.iter().filter(|&&value| value >= EACH).is_sorted());
        }
        one.extend(other);
        one.sort_unstable();
        assert!(is_complete(&one, EACH, 2 * EACH));
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::testing::{is_complete, push, values};
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// A node of which loom watches a part.
    struct Watched {
        link: std::cell::UnsafeCell<Option<NonNull<Watched>>>,
        written: UnsafeCell<u32>,
    }

    // SAFETY: always the field of the same node; the model touches it through queues alone.
    unsafe impl Linked for Watched {
        unsafe fn link(this: NonNull<Self>) -> NonNull<Option<NonNull<Self>>> {
            // SAFETY: the element is alive, as the caller says.
            NonNull::new(unsafe { this.as_ref() }.link.get()).expect("a field is not at null")
        }
    }

    /// What two threads have written to their elements before they push them, the one that takes them sees.
    #[test]
    fn an_element_is_taken_as_it_was_pushed() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::new());
            let push = |inbox: &Inbox<Watched>, value: u32| {
                let link = std::cell::UnsafeCell::new(None);
                let node = Box::leak(Box::new(Watched { link, written: UnsafeCell::new(0) }));
                // SAFETY: no other thread has it; loom checks it.
                node.written.with_mut(|written| unsafe { *written = value });
                // SAFETY: a new node is in no queue, and lives until it was taken.
                unsafe { inbox.push(NonNull::from(node)) };
            };
            let take = |inbox: &Inbox<Watched>| {
                let mut queue = inbox.take();
                // SAFETY: nodes come from boxes, and leave the queue once.
                let nodes =
                    std::iter::from_fn(|| queue.pop().map(|at| unsafe { Box::from_raw(at.as_ptr()) }));
                // SAFETY: the taker owns it; loom checks it.
                nodes.map(|node| node.written.with(|written| unsafe { *written })).sum::<u32>()
            };
            // The taker has a thread: where the main thread takes, loom tries no order in which it finds any.
            let [taken, pushed] = [(); 2].map(|()| inbox.clone());
            let taker = thread::spawn(move || take(&taken));
            let pusher = thread::spawn(move || push(&pushed, 1));
            push(&inbox, 2);
            pusher.join().unwrap();
            let early = taker.join().unwrap();
            assert_eq!(early + take(&inbox), 3);
        });
    }

    /// Two threads push while one takes: every element arrives once, in each pusher's order.
    #[test]
    fn each_element_is_taken_once() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::new());
            let pusher = {
                let inbox = inbox.clone();
                thread::spawn(move || push(&inbox, 0..2))
            };
            push(&inbox, 2..3);
            let mut seen = values(&inbox);
            pusher.join().unwrap();
            push(&inbox, 3..4);
            seen.extend(values(&inbox));
            assert!(is_complete(&seen, 2, 4), "{seen:?}");
        });
    }
}
