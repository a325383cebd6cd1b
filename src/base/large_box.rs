//! Large values go through the crate in boxes.
//!
//! A stack is small, and each call that takes or gives a value by value may copy it into another frame;
//! without optimisation it always does. So a function that takes a user's value to pass it on puts a large
//! value into a [`LargeBox`] first, by [`large_box!`](parcel), and passes that on. The function that gives the
//! value back to the user opens the parcel.
//!
//! ```text
//!   caller's frame        the heap           receiver's frame
//!   [ value ] ----------> [ parcel ] ------> [ value ]            two copies
//! ```
//!
//! Whether a value is large is known at compile time: branches are on constants, and the code for small
//! values is as it would be without.

use std::mem::MaybeUninit;

/// Larger values than this, in bytes, are boxed: to copy them costs about as much as to allocate.
const MOST: usize = 1024;

/// Whether values of that type are boxed.
pub(crate) const fn is_large<T>() -> bool {
    size_of::<T>() > MOST
}

/// A box for a value on its way.
pub(crate) struct LargeBox<T> {
    place: Box<MaybeUninit<T>>,
    /// Invariant: the place holds a value if this says so.
    full: bool,
}

impl<T> LargeBox<T> {
    /// One without a value.
    pub(crate) fn empty() -> LargeBox<T> {
        LargeBox { place: Box::new_uninit(), full: false }
    }

    /// The place for a value.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.place.as_mut_ptr()
    }

    /// Says that the place holds a value.
    ///
    /// # Safety
    ///
    /// It was written there.
    pub(crate) unsafe fn assume_full(&mut self) {
        self.full = true;
    }

    /// Takes the value out.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub(crate) fn into_inner(mut self) -> T {
        assert!(std::mem::take(&mut self.full), "a parcel is filled before it is passed on");
        // SAFETY: the value is there, and is not dropped with the box: it moves out.
        unsafe { self.place.as_ptr().read() }
    }

    /// Takes the value out if what was to fill the parcel went well.
    // Apart from what fills it, in whose caller's frame the value would be once more.
    #[inline(never)]
    pub(crate) fn into_inner_if<E>(self, outcome: Result<(), E>) -> Result<T, E> {
        match outcome {
            Ok(()) => Ok(self.into_inner()),
            Err(error) => Err(error),
        }
    }
}

impl<F> LargeBox<F> {
    /// Calls the closure, and puts what it gives into the other parcel.
    pub(crate) fn call_into<T>(self, out: &mut LargeBox<T>)
    where
        F: FnOnce() -> T,
    {
        // SAFETY: the place is for such a value.
        unsafe {
            out.as_mut_ptr().write(self.into_inner()());
            out.assume_full();
        }
    }

    /// Calls the closure, and gives a parcel with what it gives.
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
            // SAFETY: there is a value, which nobody uses again.
            unsafe { self.place.assume_init_drop() };
        }
    }
}

/// A [`LargeBox`] with the value of that variable. Not a function, since passing the value to a function copies
/// it once more.
macro_rules! large_box {
    ($value:ident) => {{
        let mut boxed = $crate::base::large_box::LargeBox::empty();
        // SAFETY: the place is for such a value.
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
