//! The handle that joins a coroutine.

use super::task_handle::Task;
use crate::base::large_box::{LargeBox, is_large};
use crate::coroutine::{Awaiting, Batch, Event, Handle, JoinError, WaitReason, Why};
use crate::sched;
use crate::select::EventArm;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Owns the right to a coroutine's result; [`std::thread::JoinHandle`] for coroutines. Dropping it detaches
/// the coroutine, which runs on; its result is then dropped where it ends.
///
/// A handle is also a [`Future`] with the result of [`join`](Self::join), so async code can await a coroutine
/// on any executor. The future's waker is called on a thread of the coroutine's runtime, so it must not
/// block.
///
/// ```
/// let answer = sward::spawn(|| 6 * 7);
/// assert_eq!(sward::block_on(async { answer.await.unwrap() + 1 }), 43);
/// ```
pub struct JoinHandle<T> {
    handle: Handle,
    /// Dropped by `end_registration` only, since most handles are no futures.
    awaited: ManuallyDrop<Awaited>,
    result: PhantomData<fn() -> T>,
}

/// How far the handle was used as a future.
enum Awaited {
    /// It was not polled.
    Not,
    /// A poll found that the coroutine had not ended.
    Pending(Awaiting<Handle>),
    /// It has returned the result.
    Taken,
}

/// Takes the result of a coroutine that `start!` has started, and calls the closure with the error if there
/// is one.
///
/// # Safety
///
/// As for [`Handle::take`], where `T` is the result type that `start!` was called with.
unsafe fn take<T>(handle: &Handle, on_error: impl FnOnce(&JoinError)) -> Result<T, JoinError> {
    if const { is_large::<T>() } {
        // SAFETY: as the caller says.
        match unsafe { handle.take::<LargeBox<T>>() } {
            Ok(boxed) => Ok(boxed.into_inner()),
            Err(error) => {
                on_error(&error);
                Err(error)
            }
        }
    } else {
        // SAFETY: as the caller says.
        unsafe { handle.take() }.inspect_err(on_error)
    }
}

impl<T> JoinHandle<T> {
    /// For a coroutine that `start!` has started, with that result type.
    pub(crate) fn new(handle: Handle) -> Self {
        JoinHandle { handle, awaited: ManuallyDrop::new(Awaited::Not), result: PhantomData }
    }

    /// Waits for the coroutine to end and returns its result, as [`std::thread::JoinHandle::join`]. Parks. A
    /// cancelled caller unwinds out of it, and the coroutine is detached.
    ///
    /// # Errors
    ///
    /// - [`JoinError::Panicked`], with the payload of its panic.
    /// - [`JoinError::Cancelled`], if it was cancelled; [`JoinError::TimedOut`], if its time limit has
    ///   passed; [`JoinError::ShutDown`], if its runtime shut down.
    /// - [`JoinError::NoStack`], if it could not start.
    /// - [`JoinError::Deadlock`], in a destructor that runs while its coroutine unwinds, if the joined
    ///   coroutine lives on the same worker, which [cannot switch](crate::task#destructors).
    ///
    /// # Panics
    ///
    /// If the handle has returned its result as a future.
    ///
    /// ```
    /// sward::run(|| {
    ///     let fine = sward::spawn(|| "fine");
    ///     assert_eq!(fine.join().unwrap(), "fine");
    ///
    ///     let coroutine = sward::spawn(|| -> () { std::panic::resume_unwind(Box::new("no")) });
    ///     assert!(matches!(coroutine.join(), Err(sward::task::JoinError::Panicked(_))));
    /// });
    /// ```
    pub fn join(self) -> Result<T, JoinError> {
        self.join_and_report(|_| ())
    }

    /// As [`join`](Self::join), and calls the closure with the error if there is one.
    pub(crate) fn join_and_report(self, on_error: impl FnOnce(&JoinError)) -> Result<T, JoinError> {
        assert!(
            !matches!(*self.awaited, Awaited::Taken),
            "sward: a JoinHandle that has given its result is joined"
        );
        if self.is_finished() {
            sched::consume_budget();
        } else if self.is_stranded() {
            return Err(JoinError::Deadlock);
        } else {
            // Without a deadline it returns only when the event is set.
            let _ = sched::wait_for(self.done(), Why::new(WaitReason::Join, self.handle.header()), None);
        }
        self.take(on_error)
    }

    /// The result of a coroutine that has ended. Unlike [`join`](Self::join) it uses up no budget, so it does
    /// not unwind.
    pub(crate) fn take_result(self) -> Result<T, JoinError> {
        self.take(|_| ())
    }

    fn take(mut self, on_error: impl FnOnce(&JoinError)) -> Result<T, JoinError> {
        assert!(self.is_finished(), "a result is taken after the end");
        self.end_registration();
        let this = ManuallyDrop::new(self);
        // SAFETY: read once; `this` is not dropped, and its other fields own nothing.
        let handle = unsafe { std::ptr::read(&raw const this.handle) };
        // SAFETY: it is done, as asserted, and this joining handle is consumed.
        unsafe { take(&handle, on_error) }
    }

    /// As a future it has returned its result, or will not be polled again.
    #[inline]
    fn end_registration(&mut self) {
        if let Awaited::Pending(_) = *self.awaited {
            self.end_pending();
        }
    }

    #[cold]
    #[inline(never)]
    fn end_pending(&mut self) {
        *self.awaited = Awaited::Taken;
    }

    /// Whether the coroutine has ended, so that [`join`](Self::join) returns at once; as
    /// [`std::thread::JoinHandle::is_finished`].
    pub fn is_finished(&self) -> bool {
        self.done().is_set()
    }

    /// The coroutine's end as an alternative of a [`Select`](crate::select::Select).
    pub fn arm(&self) -> EventArm<'_> {
        EventArm::new(self.done()).of(self.handle.header())
    }

    /// Asks the coroutine to end ([cancellation](crate::task#cancellation)). Its present wait or its next
    /// cancellation point unwinds, destructors run, and [`join`](Self::join) returns
    /// [`JoinError::Cancelled`]. No message is printed. A coroutine that has not started is not run. Does not
    /// park.
    ///
    /// A coroutine whose calls never have to wait is reached within 128 of them. One that only computes is
    /// not interrupted: let it call [`checkpoint`](crate::task::checkpoint). While it unwinds, operations on
    /// sockets and pipes that would have to wait fail, and other waits block its worker
    /// ([destructors](crate::task#destructors)). A destructor that panics meanwhile [aborts the
    /// process](crate::task#code-that-meets-the-unwinding).
    ///
    /// Returns false, and does nothing, with `panic = "abort"`: then there is no unwinding.
    ///
    /// ```
    /// sward::run(|| {
    ///     let sleeper = sward::spawn(|| sward::sleep(std::time::Duration::from_secs(3600)));
    ///     sleeper.cancel();
    ///     assert!(matches!(sleeper.join(), Err(sward::task::JoinError::Cancelled)));
    /// });
    /// ```
    #[doc(alias = "abort")]
    pub fn cancel(&self) -> bool {
        if cfg!(panic = "abort") {
            return false;
        }
        let mut batch = Batch::new();
        sched::cancel(&self.handle, &mut batch);
        batch.wake();
        true
    }

    /// Whether it cannot end while the caller waits for its end.
    pub(crate) fn is_stranded(&self) -> bool {
        sched::can_never_end(self.handle.header())
    }

    /// The event that is set for good when the coroutine has ended.
    pub(crate) fn done(&self) -> &Event {
        &self.handle.header().done
    }

    /// The coroutine, to unpark it or to ask for its name; as [`std::thread::JoinHandle::thread`].
    pub fn task(&self) -> Task {
        Task::coroutine(self.handle.clone())
    }
}

// As std's: no code reaches the user's data through it before the result is taken by value.
impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}
/// Ready with the coroutine's result once it has ended. Dropping the handle detaches the coroutine.
///
/// # Panics
///
/// If it is polled again after it has returned the result.
impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match &*this.awaited {
            Awaited::Taken => panic!("sward: a JoinHandle is polled after it has given its result"),
            _ if this.handle.header().done.is_set() => {}
            Awaited::Pending(awaiting) => {
                if awaiting.register(context.waker()) {
                    return Poll::Pending;
                }
            }
            Awaited::Not => {
                if let Some(awaiting) = Awaiting::list(this.handle.clone(), context.waker().clone()) {
                    *this.awaited = Awaited::Pending(awaiting);
                    return Poll::Pending;
                }
            }
        }
        *this.awaited = Awaited::Taken;
        // SAFETY: it is done: each branch that leads here has found it so. This is the joining handle, and it
        // comes here once, as `awaited` says.
        Poll::Ready(unsafe { take(&this.handle, |_| ()) })
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        let taken = matches!(*self.awaited, Awaited::Taken);
        self.end_registration();
        if !taken {
            // SAFETY: this is the joining handle, which ends here.
            unsafe { self.handle.detach() };
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("task", &self.task()).finish_non_exhaustive()
    }
}
