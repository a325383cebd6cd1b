//! The coroutine-local record: what only one coroutine, or one plain thread, itself uses. Its name, the
//! section of code that it is in (time limit, masks), its task locals.
//!
//! Only the owner touches it; other threads read the name and the limit under which the owner was spawned,
//! which never change.

use super::cancellation::{Cancellation, Interruption};
use super::locals::Locals;
use crate::base::clock;
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// The local record of one coroutine or one plain thread.
#[derive(Debug)]
pub(crate) struct LocalRecord {
    name: Option<Box<str>>,
    checked: bool,
    /// How many masked sections the owner is in.
    masked: Cell<u32>,
    /// The time limit of the present section, at which its waits unwind with a [`Cancellation`].
    limit: Cell<Option<Instant>>,
    /// The time limit under which the coroutine was spawned.
    inherited: Option<Instant>,
    /// The outermost section whose operations on files report a cancellation as an error.
    errors: Cell<Option<Errors>>,
    /// Alive as long as a payload of one of the owner's cancellations exists. A payload that is caught and
    /// resumed continues to exist. When one is caught and dropped, the unwinding by cancellation is over.
    payloads: RefCell<Weak<()>>,
    /// Whether a time limit raised the last payload.
    elapsed: Cell<bool>,
    /// Whether a payload was raised.
    has_unwound: Cell<bool>,
    /// Whether a time limit ended the owner's last wait.
    limit_ended_wait: Cell<bool>,
    /// `masked` where the last payload was raised; lowered when an outer masked section ends.
    raised_in: Cell<u32>,
    /// The values of the owner's task locals.
    pub(crate) locals: Locals,
}

impl LocalRecord {
    pub(crate) fn new(name: Option<Box<str>>, limit: Option<Instant>, checked: bool) -> LocalRecord {
        LocalRecord {
            name,
            checked,
            masked: Cell::new(0),
            limit: Cell::new(limit),
            inherited: limit,
            errors: Cell::new(None),
            payloads: RefCell::new(Weak::new()),
            elapsed: Cell::new(false),
            has_unwound: Cell::new(false),
            limit_ended_wait: Cell::new(false),
            raised_in: Cell::new(0),
            locals: Locals::default(),
        }
    }

    /// The name in reports.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether its waits are checked: each one looks at the stack first.
    #[inline]
    pub(crate) fn checked(&self) -> bool {
        self.checked
    }

    /// Whether cancellation is masked.
    #[inline]
    pub(crate) fn masked(&self) -> bool {
        self.masked.get() > 0
    }

    /// The time limit of the present section.
    #[inline]
    pub(crate) fn limit(&self) -> Option<Instant> {
        self.limit.get()
    }

    /// Whether the time limit has passed under which the coroutine was spawned.
    pub(super) fn is_late(&self) -> bool {
        self.inherited.is_some_and(|at| at <= clock::now())
    }

    /// The section around the caller whose operations on files report a cancellation as an error, unless a
    /// masked section stands between.
    pub(crate) fn errors(&self) -> Option<Errors> {
        self.errors.get().filter(|_| self.masked.get() == 1)
    }

    /// The time limit of an operation on a file, which may report as an error what is from outside of the
    /// present section.
    pub(crate) fn limit_of_file(&self) -> Option<Instant> {
        let outer = self.errors().and_then(|errors| errors.limit);
        self.limit.get().into_iter().chain(outer).min()
    }

    /// Whether the present unwinding, if there is one, is that of a cancellation.
    pub(crate) fn cancelling(&self) -> bool {
        self.payloads.borrow().strong_count() > 0
    }

    /// What raised the present unwinding, if there is one.
    pub(crate) fn unwinding(&self) -> Unwinding {
        if !self.cancelling() {
            Unwinding::Panic
        } else if self.masked.get() > self.raised_in.get() {
            Unwinding::Masked
        } else if self.elapsed.get() {
            Unwinding::Elapsed
        } else {
            Unwinding::Cancelled
        }
    }

    /// Whether the owner has unwound before, by a cancellation or a time limit, and has caught that.
    pub(crate) fn has_unwound(&self) -> bool {
        self.has_unwound.get()
    }

    /// Notes whether a time limit has ended the owner's wait.
    #[inline]
    pub(crate) fn note_wait(&self, limit_ended_it: bool) {
        self.limit_ended_wait.set(limit_ended_it);
    }

    /// Whether a time limit has ended the owner's last wait.
    pub(crate) fn limit_ended_wait(&self) -> bool {
        self.limit_ended_wait.get()
    }

    /// Makes the payload of a cancellation.
    pub(crate) fn cancellation(&self, why: Interruption, elapsed: bool) -> Cancellation {
        self.elapsed.set(elapsed);
        self.has_unwound.set(true);
        self.raised_in.set(self.masked.get());
        let mut payloads = self.payloads.borrow_mut();
        let alive = payloads.upgrade().unwrap_or_default();
        *payloads = Arc::downgrade(&alive);
        Cancellation { why, elapsed, _alive: alive }
    }

    /// Begins a section with a time limit. It ends when the guard is dropped.
    pub(crate) fn enter(&self, limit: Option<Instant>) -> Section<'_> {
        self.section(limit, self.masked.get(), self.errors.get())
    }

    /// Begins a masked section: neither a cancellation nor an outer limit ends its waits. It ends when the
    /// guard is dropped.
    pub(crate) fn mask(&self) -> Section<'_> {
        self.section(None, self.masked.get() + 1, self.errors.get())
    }

    /// Begins a masked section in which operations on files report as errors what the mask holds off. Within
    /// another masked section it masks, no more. It ends when the guard is dropped.
    pub(crate) fn mask_with_errors(&self) -> Section<'_> {
        match self.masked.get() {
            0 => self.section(None, 1, Some(Errors { limit: self.limit.get() })),
            _ if self.errors().is_some() => {
                self.section(None, 1, Some(Errors { limit: self.limit_of_file() }))
            }
            masked => self.section(None, masked + 1, self.errors.get()),
        }
    }

    /// Begins a section that lifts the mask of [`mask_with_errors`](Self::mask_with_errors) around it, if no
    /// other mask stands between. It ends when the guard is dropped.
    pub(crate) fn unmask_errors(&self) -> Section<'_> {
        match self.errors() {
            Some(_) => self.section(self.limit_of_file(), 0, None),
            None => self.enter(self.limit.get()),
        }
    }

    fn section(&self, limit: Option<Instant>, masked: u32, errors: Option<Errors>) -> Section<'_> {
        Section {
            record: self,
            limit: self.limit.replace(limit),
            masked: self.masked.replace(masked),
            errors: self.errors.replace(errors),
        }
    }

    /// Resets the record of a plain thread for the next thread.
    pub(super) fn reset(&self) {
        self.masked.set(0);
        self.limit.set(None);
        self.errors.set(None);
        self.limit_ended_wait.set(false);
        self.payloads.take();
        self.locals.reset();
    }
}

/// What a thread unwinds from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwinding {
    /// An ordinary panic.
    Panic,
    /// A cancellation of the whole coroutine.
    Cancelled,
    /// A time limit that expired.
    Elapsed,
    /// A cancellation or a time limit, but a destructor is in a masked section.
    Masked,
}

/// A section whose operations on files report a cancellation as an error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errors {
    /// The time limit of the section around it.
    pub(crate) limit: Option<Instant>,
}

/// A section of code with a time limit or a mask. Holds what was in force around it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Section<'a> {
    record: &'a LocalRecord,
    limit: Option<Instant>,
    masked: u32,
    errors: Option<Errors>,
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        let Section { record, limit, masked, errors } = *self;
        record.limit.set(limit);
        record.masked.set(masked);
        record.errors.set(errors);
        record.raised_in.set(record.raised_in.get().min(masked));
    }
}
