//! The slot of an arm: as small for large messages as for small ones, since arms are moved about.

use super::chan::{Offer, Slot};
use crate::base::large_box::{LargeBox, is_large, large_box};
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// How many words an arm has for its slot.
const WORDS: usize = 18;

/// Where the slot for messages of a type is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the arm, which holds a `Slot<T>`.
    Arm,
    /// On the heap. The arm holds a `Box<Slot<T>>`.
    Heap,
    /// In the arm, for messages that the channel has in boxes: a `Slot<LargeBox<T>>`.
    Boxed,
}

/// A slot for a message of type `T`, or for a [`LargeBox`] with one if `T` [is large](is_large).
pub(super) struct ArmSlot<T> {
    /// Invariant: it holds what [`At`] says for `T`.
    words: UnsafeCell<MaybeUninit<[usize; WORDS]>>,
    holds: PhantomData<T>,
}

impl<T> ArmSlot<T> {
    const AT: At = if is_large::<T>() {
        At::Boxed
    } else if size_of::<Slot<T>>() <= size_of::<[usize; WORDS]>() && align_of::<T>() <= align_of::<usize>() {
        At::Arm
    } else {
        At::Heap
    };

    /// A slot with nothing in it.
    pub(super) fn new() -> ArmSlot<T> {
        let this = ArmSlot { words: UnsafeCell::new(MaybeUninit::uninit()), holds: PhantomData };
        // SAFETY: there is room for it: each of these is small, as `AT` asks or as pointers are.
        unsafe {
            if const { matches!(Self::AT, At::Boxed) } {
                this.at::<Slot<LargeBox<T>>>().write(Slot::new(None));
            } else if const { matches!(Self::AT, At::Heap) } {
                this.at::<Box<Slot<T>>>().write(Box::new(Slot::new(None)));
            } else {
                this.at::<Slot<T>>().write(Slot::new(None));
            }
        }
        this
    }

    fn at<S>(&self) -> *mut S {
        self.words.get().cast()
    }

    /// The slot, if messages are not boxed.
    pub(super) fn small(&self) -> &Slot<T> {
        // SAFETY: that is what it holds, and no exclusive reference is made to it.
        unsafe {
            match Self::AT {
                At::Arm => &*self.at::<Slot<T>>(),
                At::Heap => &*self.at::<Box<Slot<T>>>(),
                At::Boxed => unreachable!("messages of this type are boxed"),
            }
        }
    }

    /// The slot, if messages are boxed.
    pub(super) fn boxed(&self) -> &Slot<LargeBox<T>> {
        match Self::AT {
            // SAFETY: that is what it holds, and no exclusive reference is made to it.
            At::Boxed => unsafe { &*self.at::<Slot<LargeBox<T>>>() },
            At::Arm | At::Heap => unreachable!("messages of this type are not boxed"),
        }
    }

    /// The slot as the payload of a node.
    pub(super) fn offer(&self) -> Offer {
        match Self::AT {
            At::Boxed => self.boxed().offer(),
            At::Arm | At::Heap => self.small().offer(),
        }
    }

    /// Takes the message out.
    ///
    /// # Safety
    ///
    /// As for [`Slot::take`].
    pub(super) unsafe fn take(&self) -> Option<T> {
        // SAFETY: as the caller says.
        unsafe {
            if const { is_large::<T>() } {
                let boxed = self.boxed().take()?;
                Some(boxed.into_inner())
            } else {
                self.small().take()
            }
        }
    }

    /// Puts a message in.
    ///
    /// # Safety
    ///
    /// As for [`Slot::take`].
    pub(super) unsafe fn put(&self, message: T) {
        if const { is_large::<T>() } {
            let boxed = large_box!(message);
            // SAFETY: as the caller says.
            unsafe { self.boxed().put(boxed) };
        } else {
            // SAFETY: as above.
            unsafe { self.small().put(message) };
        }
    }

    /// Whether there is a message.
    ///
    /// # Safety
    ///
    /// As for [`Slot::take`].
    pub(super) unsafe fn is_full(&self) -> bool {
        // SAFETY: as the caller says.
        unsafe {
            match Self::AT {
                At::Boxed => self.boxed().is_full(),
                At::Arm | At::Heap => self.small().is_full(),
            }
        }
    }
}

impl<T> Drop for ArmSlot<T> {
    fn drop(&mut self) {
        // SAFETY: that is what it holds, and it is not used again.
        unsafe {
            match Self::AT {
                At::Arm => self.at::<Slot<T>>().drop_in_place(),
                At::Heap => self.at::<Box<Slot<T>>>().drop_in_place(),
                At::Boxed => self.at::<Slot<LargeBox<T>>>().drop_in_place(),
            }
        }
    }
}
