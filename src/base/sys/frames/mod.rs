//! The frames of the calling thread, as code addresses: cheap beside a backtrace with names.
//!
//! - `unwind`: the unwinder, which std uses for panics.
//! - `none`: processors whose unwinder has another interface.

#[cfg(target_arch = "arm")]
mod none;
#[cfg(not(target_arch = "arm"))]
mod unwind;

#[cfg(target_arch = "arm")]
pub(crate) use none::walk;
#[cfg(not(target_arch = "arm"))]
pub(crate) use unwind::walk;

/// One call that has not returned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// The address at which the code continues when the call returns that this frame has made.
    pub(crate) address: usize,
    /// Where on the stack that address is stored, on processors whose calls push it (x86). On others this is
    /// some address in the same stack.
    pub(crate) stored_at: usize,
}

#[cfg(all(test, not(target_arch = "arm")))]
mod tests {
    use super::*;

    #[inline(never)]
    fn deep(levels: usize, frames: &mut Vec<usize>) {
        if levels > 0 {
            deep(levels - 1, frames);
            std::hint::black_box(&frames);
        } else {
            walk(&mut |frame| {
                frames.push(frame.address);
                true
            });
        }
    }

    #[test]
    fn each_call_is_a_frame() {
        let (mut shallow, mut deeper, mut first) = (Vec::new(), Vec::new(), Vec::new());
        deep(0, &mut shallow);
        deep(10, &mut deeper);
        assert_eq!(deeper.len(), shallow.len() + 10);
        walk(&mut |frame| {
            first.push(frame.address);
            first.len() < 2
        });
        assert_eq!(first.len(), 2, "it stops at the first false");
    }
}
