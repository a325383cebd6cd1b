//! Where a cancellation is let in, and where it is held off.

use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::sched;

/// Runs the closure with cancellation held off: no wait in it is ended by a cancellation of the coroutine,
/// nor by a time limit that was set outside of it. The first cancellation point after the closure meets them.
/// Does not park by itself.
///
/// Use it for a section that must be done as a whole, such as writing the second half of a record; and around
/// frames of foreign code (`extern "C"`) with waits above them, since such frames cannot be unwound.
///
/// Masks nest. Coroutines that the closure spawns are not masked; those of a [`scope`](super::scope()) in it
/// are not cancelled with the caller. The same as `NonCancellable` in Kotlin and `uninterruptibleMask` in
/// Haskell.
///
/// ```
/// use std::time::Duration;
///
/// sward::run(|| {
///     let both = sward::spawn(|| {
///         sward::task::mask(|| {
///             sward::sleep(Duration::from_millis(5));
///             assert!(sward::task::is_cancelled());
///             // both halves are done
///         });
///         sward::task::park(); // unwinds
///     });
///     sward::yield_now();
///     both.cancel();
///     assert!(matches!(both.join(), Err(sward::task::JoinError::Cancelled)));
/// });
/// ```
pub fn mask<R, F: FnOnce() -> R>(f: F) -> R {
    if const { is_large::<F>() || is_large::<R>() } {
        let (f, mut value) = (large_box!(f), LargeBox::empty());
        sched::masked(|| f.call_into(&mut value));
        value.into_inner()
    } else {
        sched::masked(f)
    }
}

/// Whether the calling coroutine has been cancelled, [masked](mask) or not. False on a plain thread. For a
/// closure that swallows its unwinding, or that only computes and ends by itself. Does not park.
///
/// ```
/// assert!(!sward::task::is_cancelled());
/// ```
pub fn is_cancelled() -> bool {
    sched::cancelled()
}

/// Unwinds if the calling coroutine has been cancelled, or if its time limit has passed; otherwise returns at
/// once. It does not unwind in a [`mask()`], nor in a destructor while the coroutine unwinds already.
///
/// This is a [cancellation point](super#cancellation) that does not park, for loops that compute. If other
/// coroutines should have a turn as well, use [`yield_now`](super::yield_now), which is both.
///
/// ```
/// sward::run(|| {
///     let busy = sward::spawn(|| loop {
///         sward::task::checkpoint();
///         sward::yield_now();
///     });
///     busy.cancel();
///     assert!(busy.join().is_err());
/// });
/// ```
pub fn checkpoint() {
    sched::checkpoint();
}
