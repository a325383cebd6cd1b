//! Boxes for large values that are passed on inside the crate.
//!
//! A coroutine's stack is small, and each call that takes or returns a value by value may copy it into
//! another frame; without optimisation it always does. So a function that takes a user's value to pass it on
//! puts a large value into a [`LargeBox`] first, by [`large_box!`](large_box), and passes the box on. The
//! function that returns the value to the user takes it out.
//!
//! ```text
//!   caller's frame        the heap           receiver's frame
//!   [ value ] ----------> [ box ] ---------> [ value ]            two copies
//! ```
//!
//! Whether a value is large is known at compile time. So branches are on constants, and the code for small
//! values is the same as without boxes.

use std::mem::MaybeUninit;

/// Values of more bytes than this are boxed: to copy one costs about as much as an allocation.
const LARGEST_UNBOXED: usize = 1024;

/// Whether values of that type are boxed.
pub(crate) const fn is_large<T>() -> bool {
    size_of::<T>() > LARGEST_UNBOXED
}

/// A box that holds a value or has room for one.
pub(crate) struct LargeBox<T> {
    memory: Box<MaybeUninit<T>>,
    /// Invariant: if it is true, `memory` holds a value.
    full: bool,
}

impl<T> LargeBox<T> {
    /// A box without a value.
    pub(crate) fn empty() -> LargeBox<T> {
        LargeBox { memory: Box::new_uninit(), full: false }
    }

    /// Where the caller writes the value.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.memory.as_mut_ptr()
    }

    /// Declares that the box holds a value.
    ///
    /// # Safety
    ///
    /// A value was written to `as_mut_ptr`.
    pub(crate) unsafe fn assume_full(&mut self) {
        self.full = true;
    }

    /// Takes the value out.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub(crate) fn into_inner(mut self) -> T {
        assert!(std::mem::take(&mut self.full), "the box was filled before it was passed on");
        // SAFETY: the value is there, and is not dropped with the box: it moves out.
        unsafe { self.memory.as_ptr().read() }
    }

    /// Takes the value out if the call that fills the box has succeeded.
    // Never inlined: the frame of the caller, which has made that call, would hold the value once more.
    #[inline(never)]
    pub(crate) fn into_inner_if<E>(self, outcome: Result<(), E>) -> Result<T, E> {
        match outcome {
            Ok(()) => Ok(self.into_inner()),
            Err(error) => Err(error),
        }
    }
}

impl<F> LargeBox<F> {
    /// Calls the closure, and writes what it returns into the other box.
    pub(crate) fn call_into<T>(self, out: &mut LargeBox<T>)
    where
        F: FnOnce() -> T,
    {
        // SAFETY: the memory is for such a value.
        unsafe {
            out.as_mut_ptr().write(self.into_inner()());
            out.assume_full();
        }
    }

    /// Calls the closure, and returns what it returns in a box.
    pub(crate) fn call<T>(self) -> LargeBox<T>
    where
        F: FnOnce() -> T,
    {
        let mut out = LargeBox::empty();
        self.call_into(&mut out);
        out
    }
}

impl<T> Drop for LargeBox<T> {
    fn drop(&mut self) {
        if self.full {
            // SAFETY: there is a value, and it is not used again.
            unsafe { self.memory.assume_init_drop() };
        }
    }
}

/// Makes a [`LargeBox`] with the value of that variable. Not a function, since a call would copy the value
/// once more.
macro_rules! large_box {
    ($value:ident) => {{
        let mut boxed = $crate::base::large_box::LargeBox::empty();
        // SAFETY: the memory is for such a value.
        unsafe {
            std::ptr::write(boxed.as_mut_ptr(), $value);
            boxed.assume_full();
        }
        boxed
    }};
}
pub(crate) use large_box;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn a_value_is_dropped_once() {
        let count = Rc::new(());
        let value = (Rc::clone(&count), [7_u8; 4096]);
        let boxed = large_box!(value);
        let value = boxed.into_inner();
        assert_eq!((Rc::strong_count(&count), value.1[4095]), (2, 7));
        drop(large_box!(value));
        assert_eq!(Rc::strong_count(&count), 1);
        drop(LargeBox::<(Rc<()>, [u8; 4096])>::empty());
    }

    #[test]
    fn a_closure_is_called_once() {
        let count = Rc::new(());
        let (theirs, array) = (Rc::clone(&count), [7_u8; 4096]);
        let f = move || (theirs, array.len());
        let value: (Rc<()>, usize) = large_box!(f).call().into_inner();
        assert_eq!((Rc::strong_count(&count), value.1), (2, 4096));
    }
}
