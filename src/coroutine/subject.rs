//! What a coroutine waits for, as a report describes it.
//!
//! A wait has a [`WaitReason`], which names the call, and mostly a *subject*: the lock, channel, coroutine or
//! file that the call waits for. Only the layer that made a subject knows how to describe it, so a wait
//! carries a reference to it as a [`Subject`], which returns [`Facts`]: plain data, for reports and for the
//! wait graph. This layer and the reports never look into a subject.
//!
//! A wait costs a few stores for this, on the suspended stack and in the header. Facts are made only when a
//! report asks for them.

use super::label::Id;
use super::reason::WaitReason;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::time::Instant;

/// What a wait is for. The waiter borrows it until the wait has ended.
///
/// Another thread than the waiter's may call [`facts`](Self::facts).
pub(crate) trait Subject: Sync {
    /// Describes it as it is now. Neither parks nor runs code of a user; takes no lock but those of wait
    /// lists.
    #[cfg_attr(not(test), allow(dead_code, reason = "for reports"))]
    fn facts(&self) -> Facts;
}

/// The description of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "for reports")]
pub(crate) enum Facts {
    /// The end of that coroutine.
    Coroutine(Id),
    /// A file of any kind: a socket, a pipe, a descriptor that says when a child has ended.
    File(RawFd),
}

/// Why something waits: for which call, and for what.
#[derive(Clone, Copy)]
pub(crate) struct Why<'a> {
    pub(crate) reason: WaitReason,
    pub(crate) subject: Option<&'a dyn Subject>,
}

impl<'a> Why<'a> {
    /// A wait for that subject.
    #[inline(always)]
    pub(crate) fn new(reason: WaitReason, subject: &'a dyn Subject) -> Why<'a> {
        Why { reason, subject: Some(subject) }
    }

    /// The subject as a pointer that outlives its borrow.
    #[inline(always)]
    pub(super) fn erased(self) -> Option<NonNull<dyn Subject>> {
        let subject = NonNull::from(self.subject?);
        // SAFETY: only the lifetime of the type changes. Who makes a reference of it says why it is alive.
        Some(unsafe {
            std::mem::transmute::<NonNull<dyn Subject + 'a>, NonNull<dyn Subject + 'static>>(subject)
        })
    }

    /// The address of the subject; null without one.
    #[inline(always)]
    pub(super) fn address(self) -> *mut () {
        self.subject.map_or(ptr::null_mut(), |subject| ptr::from_ref(subject).cast_mut().cast())
    }
}

impl From<WaitReason> for Why<'_> {
    #[inline(always)]
    fn from(reason: WaitReason) -> Self {
        Why { reason, subject: None }
    }
}

/// The present wait of a suspended coroutine.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "for reports")]
pub(crate) struct Waiting<'a> {
    /// The kind of call.
    pub(crate) reason: WaitReason,
    /// What it waits for.
    pub(crate) subject: Option<&'a dyn Subject>,
    /// When the wait ends at the latest: the call's own deadline, or the time limit of its section of code.
    pub(crate) deadline: Option<Instant>,
    /// When the wait began, in nanoseconds since the runtime began: the last poll of the worker before it.
    pub(crate) since: u64,
    /// Whether no cancellation ends this wait.
    pub(crate) masked: bool,
    /// Whether the wait has ended: the coroutine is about to run.
    pub(crate) ended: bool,
}
