//! The intrusive queue that links runnable coroutines without an allocation.

use std::ptr::NonNull;

/// An element that carries its own link.
///
/// # Safety
///
/// `link` returns the same pointer at every call for the same element, and only the queue that holds the
/// element reads or writes what it points to.
pub(crate) unsafe trait Linked {
    /// Where the pointer to the next element is stored.
    ///
    /// # Safety
    ///
    /// The element is alive.
    unsafe fn link(this: NonNull<Self>) -> NonNull<Option<NonNull<Self>>>;
}

/// A first-in, first-out queue of elements that it does not own.
///
/// Invariant: from `head` along the links to `tail` every element is alive, is in this queue alone,
/// and `tail`'s link is `None`.
#[derive(Debug)]
pub(crate) struct Queue<T: Linked> {
    head: Option<NonNull<T>>,
    tail: Option<NonNull<T>>,
}

impl<T: Linked> Queue<T> {
    /// An empty queue.
    pub(crate) const fn new() -> Self {
        Queue { head: None, tail: None }
    }

    /// How many elements it holds.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.count_up_to(usize::MAX)
    }

    /// How many elements it holds. Counts no further than `most`.
    pub(crate) fn count_up_to(&self, most: usize) -> usize {
        std::iter::successors(self.head, |element| {
            // SAFETY: an element of the queue is alive and its link is ours.
            unsafe { T::link(*element).read() }
        })
        .take(most)
        .count()
    }

    /// Whether it holds none.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Adds an element at the end.
    ///
    /// # Safety
    ///
    /// `element` is in no queue, and stays alive for as long as it is in this one.
    #[inline]
    pub(crate) unsafe fn push(&mut self, element: NonNull<T>) {
        // SAFETY: the caller says that the element is alive and in no queue, so its link is ours.
        unsafe { T::link(element).write(None) };
        match self.tail.replace(element) {
            // SAFETY: the old tail is alive and in this queue, so its link is ours.
            Some(tail) => unsafe { T::link(tail).write(Some(element)) },
            None => self.head = Some(element),
        }
    }

    /// Adds an element at the front.
    ///
    /// # Safety
    ///
    /// As for [`push`](Self::push).
    #[inline]
    pub(crate) unsafe fn push_front(&mut self, element: NonNull<T>) {
        // SAFETY: the caller says that the element is alive and in no queue, so its link is ours.
        unsafe { T::link(element).write(self.head) };
        self.head = Some(element);
        if self.tail.is_none() {
            self.tail = Some(element);
        }
    }

    /// The first two elements.
    #[inline]
    pub(crate) fn first_two(&self) -> (Option<NonNull<T>>, Option<NonNull<T>>) {
        // SAFETY: an element of the queue is alive and its link is ours.
        let second = self.head.and_then(|head| unsafe { T::link(head).read() });
        (self.head, second)
    }

    /// Takes the element at the front.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<NonNull<T>> {
        let element = self.head?;
        // SAFETY: an element of the queue is alive and its link is ours.
        self.head = unsafe { T::link(element).read() };
        if self.head.is_none() {
            self.tail = None;
        }
        Some(element)
    }

    /// Moves all of `other` to the end of this queue.
    #[inline]
    pub(crate) fn append(&mut self, other: &mut Self) {
        let Some(head) = other.head.take() else { return };
        match self.tail {
            // SAFETY: the tail is alive and in this queue, so its link is ours.
            Some(tail) => unsafe { T::link(tail).write(Some(head)) },
            None => self.head = Some(head),
        }
        self.tail = other.tail.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::UnsafeCell;

    struct Node {
        value: u32,
        link: UnsafeCell<Option<NonNull<Node>>>,
    }

    // SAFETY: always the field of the same node; only the queue reads or writes it.
    unsafe impl Linked for Node {
        unsafe fn link(this: NonNull<Self>) -> NonNull<Option<NonNull<Self>>> {
            // SAFETY: the element is alive, as the caller says.
            NonNull::new(unsafe { this.as_ref() }.link.get()).expect("a field is not at null")
        }
    }

    fn nodes(n: u32) -> Vec<Node> {
        (0..n).map(|value| Node { value, link: UnsafeCell::new(None) }).collect()
    }

    fn drain(queue: &mut Queue<Node>) -> Vec<u32> {
        // SAFETY: the nodes outlive the queue in each test.
        std::iter::from_fn(|| queue.pop().map(|n| unsafe { n.as_ref() }.value)).collect()
    }

    #[test]
    fn first_in_first_out_and_front() {
        let nodes = nodes(4);
        let mut queue = Queue::new();
        for n in &nodes[..3] {
            // SAFETY: each node is pushed once and outlives the queue.
            unsafe { queue.push(NonNull::from(n)) };
        }
        // SAFETY: as above.
        unsafe { queue.push_front(NonNull::from(&nodes[3])) };
        assert_eq!(queue.len(), 4);
        assert_eq!(drain(&mut queue), [3, 0, 1, 2]);
        assert!(queue.is_empty());
    }

    #[test]
    fn append_joins_the_ends() {
        let nodes = nodes(5);
        let (mut a, mut b) = (Queue::new(), Queue::new());
        a.append(&mut b);
        for (i, n) in nodes.iter().enumerate() {
            // SAFETY: each node is pushed once and outlives the queues.
            unsafe { if i < 2 { a.push(NonNull::from(n)) } else { b.push(NonNull::from(n)) } };
        }
        a.append(&mut b);
        assert!(b.is_empty());
        assert_eq!((a.len(), b.len()), (5, 0));
        assert_eq!(drain(&mut a), [0, 1, 2, 3, 4]);
    }
}
