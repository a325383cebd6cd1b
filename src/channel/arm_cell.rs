//! The message cell of an arm. An arm has the same size for messages of all sizes, since arms are moved by
//! value.

use super::chan::{MessageCell, Offer};
use crate::base::large_box::{LargeBox, is_large, large_box};
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// The size of the cell in an arm, in words.
const WORDS: usize = 18;

/// Where the cell for messages of a type is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the arm, which holds a `MessageCell<T>`.
    Arm,
    /// On the heap. The arm holds a `Box<MessageCell<T>>`.
    Heap,
    /// In the arm, for messages that the channel holds in boxes: a `MessageCell<LargeBox<T>>`.
    Boxed,
}

/// A cell for a message of type `T`, or for a [`LargeBox`] with one if `T` [is large](is_large).
pub(super) struct ArmCell<T> {
    /// Invariant: it holds what [`At`] says for `T`.
    words: UnsafeCell<MaybeUninit<[usize; WORDS]>>,
    holds: PhantomData<T>,
}

impl<T> ArmCell<T> {
    const AT: At = if is_large::<T>() {
        At::Boxed
    } else if size_of::<MessageCell<T>>() <= size_of::<[usize; WORDS]>()
        && align_of::<T>() <= align_of::<usize>()
    {
        At::Arm
    } else {
        At::Heap
    };

    /// An empty cell.
    pub(super) fn new() -> ArmCell<T> {
        let this = ArmCell { words: UnsafeCell::new(MaybeUninit::uninit()), holds: PhantomData };
        // SAFETY: there is room for it: each of these is small, as `AT` asks or as pointers are.
        unsafe {
            if const { matches!(Self::AT, At::Boxed) } {
                this.at::<MessageCell<LargeBox<T>>>().write(MessageCell::new(None));
            } else if const { matches!(Self::AT, At::Heap) } {
                this.at::<Box<MessageCell<T>>>().write(Box::new(MessageCell::new(None)));
            } else {
                this.at::<MessageCell<T>>().write(MessageCell::new(None));
            }
        }
        this
    }

    fn at<S>(&self) -> *mut S {
        self.words.get().cast()
    }

    /// The cell, if messages are not boxed.
    pub(super) fn small(&self) -> &MessageCell<T> {
        // SAFETY: that is what it holds, and no exclusive reference is made to it.
        unsafe {
            match Self::AT {
                At::Arm => &*self.at::<MessageCell<T>>(),
                At::Heap => &*self.at::<Box<MessageCell<T>>>(),
                At::Boxed => unreachable!("messages of this type are boxed"),
            }
        }
    }

    /// The cell, if messages are boxed.
    pub(super) fn boxed(&self) -> &MessageCell<LargeBox<T>> {
        match Self::AT {
            // SAFETY: that is what it holds, and no exclusive reference is made to it.
            At::Boxed => unsafe { &*self.at::<MessageCell<LargeBox<T>>>() },
            At::Arm | At::Heap => unreachable!("messages of this type are not boxed"),
        }
    }

    /// The cell as the payload of a node.
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
    /// As for [`MessageCell::take`].
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
    /// As for [`MessageCell::take`].
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
    /// As for [`MessageCell::take`].
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

impl<T> Drop for ArmCell<T> {
    fn drop(&mut self) {
        // SAFETY: that is what it holds, and it is not used again.
        unsafe {
            match Self::AT {
                At::Arm => self.at::<MessageCell<T>>().drop_in_place(),
                At::Heap => self.at::<Box<MessageCell<T>>>().drop_in_place(),
                At::Boxed => self.at::<MessageCell<LargeBox<T>>>().drop_in_place(),
            }
        }
    }
}
