//! Where a cancellation is let in, and where it is held off.

use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::coroutine::Interruption;
use crate::sched;
use std::io;

/// Runs the closure with cancellation held off: no wait in it is ended by a cancellation of the coroutine,
/// nor by a time limit that was set outside of it. The first cancellation point after the closure meets them.
/// Does not park by itself.
///
/// Use it for a section that must be done as a whole, such as writing the second half of a record; and around
/// frames of foreign code (`extern "C"`) with waits above them, since such frames cannot be unwound. If such
/// waits are to end early, use [`cancel_as_error`] or [`catch_cancel`].
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

/// Runs the closure and catches the unwinding of a cancellation, a time limit or a shutdown that comes out of
/// it. Use it around a wait whose caller must not unwind, such as a function that C calls: the unwinding then
/// passes only the frames between that wait and this call. It covers every wait of this crate: sends and
/// receives, locks, sleeps, joins, operations on files. Does not park by itself.
///
/// What was caught stays in force. The next [cancellation point](super#cancellation) unwinds again, or is
/// caught again, after other coroutines have had a turn. So let the caller return its error soon.
///
/// In a section of [`cancel_as_error`] it makes all waits of the closure meet the cancellation again, so that
/// a callback under foreign frames can be cancelled in a receive, say. In a [`mask()`] nothing arrives. An
/// inner [`timeout`](crate::time::timeout()) still returns its own error.
///
/// # Errors
///
/// What has ended the closure. If the closure ends first, its value is returned.
///
/// # Panics
///
/// If the closure panics.
///
/// ```
/// use sward::task::{Interruption, catch_cancel};
///
/// sward::run(|| {
///     let (_sender, receiver) = sward::channel::bounded::<u32>(0);
///     let (started, starts) = sward::channel::bounded(1);
///     let waits = sward::spawn(move || {
///         started.send(()).unwrap();
///         catch_cancel(|| receiver.recv())
///     });
///     starts.recv().unwrap();
///     waits.cancel();
///     assert_eq!(waits.join().unwrap(), Err(Interruption::Cancelled));
/// });
/// ```
pub fn catch_cancel<R, F: FnOnce() -> R>(f: F) -> Result<R, Interruption> {
    if const { is_large::<F>() || is_large::<R>() } {
        let (f, mut value) = (large_box!(f), LargeBox::empty());
        let outcome = sched::caught(|| f.call_into(&mut value));
        value.into_inner_if(outcome)
    } else {
        sched::caught(f)
    }
}

/// Runs the closure as a section through which no cancellation unwinds. Operations on sockets and other files
/// return an error instead. Use it around foreign code (`extern "C"`) that calls back into reads and writes
/// of this crate, such as a TLS library over a stream: it gets an error of the stream. Does not park by
/// itself.
///
/// What the waits of the closure do when its coroutine is cancelled, when its runtime shuts down, or when a
/// time limit passes that was set outside of the closure:
///
/// | wait | what it does |
/// |---|---|
/// | sockets, pipes, terminals, `Pollable`, `File::lock`, `Child::wait` | fails: see below |
/// | such an operation that need not wait | succeeds, except one in 128, which transfers nothing |
/// | all others: channels, locks, sleeps, joins, `blocking` | goes on, as in a [`mask()`]; [`catch_cancel`]
/// ends it |
///
/// The error is an [`io::Error`](std::io::Error) with the [`Interruption`] inside, of the kind `TimedOut` for
/// a limit, else `Other`.
///
/// So do operations that read in coroutines of their own, and their coroutines have ended then:
/// [`Child::wait_with_output`](crate::process::Child::wait_with_output),
/// [`Command::output`](crate::process::Command::output) and
/// [`copy_bidirectional`](crate::io::copy_bidirectional).
///
/// What the closure itself sets is not affected: an inner [`timeout`](crate::time::timeout()) unwinds up to
/// its own call, and an inner [`mask()`] masks files as well. In an outer `mask` this is a `mask`, no more.
/// The first cancellation point after the closure unwinds.
///
/// ```
/// use std::io::Read;
/// use sward::task::{Interruption, cancel_as_error};
///
/// sward::run(|| {
///     let (mut ours, _theirs) = sward::net::UnixStream::pair().unwrap();
///     let (started, starts) = sward::channel::bounded(1);
///     let reads = sward::spawn(move || {
///         started.send(()).unwrap();
///         cancel_as_error(|| {
///             let error = ours.read(&mut [0; 8]).unwrap_err();
///             error.downcast::<Interruption>().unwrap()
///         })
///     });
///     starts.recv().unwrap();
///     reads.cancel();
///     assert_eq!(reads.join().unwrap(), Interruption::Cancelled);
/// });
/// ```
pub fn cancel_as_error<R, F: FnOnce() -> R>(f: F) -> R {
    if const { is_large::<F>() || is_large::<R>() } {
        let (f, mut value) = (large_box!(f), LargeBox::empty());
        sched::with_errors(|| f.call_into(&mut value));
        value.into_inner()
    } else {
        sched::with_errors(f)
    }
}

/// Runs an operation on files that waits in other ways as well. In a section of [`cancel_as_error`] it fails
/// where another operation on a file would.
pub(crate) fn as_file_operation<R>(f: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    if sched::fails_when_cancelled() { sched::caught(f).unwrap_or_else(|why| Err(why.into())) } else { f() }
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
