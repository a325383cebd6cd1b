//! What belongs to one coroutine or one plain thread alone: its name, the section of code that it is
//! in, its task locals. Only the owner touches it, except for the name, which does not change.

use super::cancellation::Cancellation;
use super::locals::Locals;
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// What belongs to one coroutine or one plain thread.
#[derive(Debug)]
pub(crate) struct LocalRecord {
    name: Option<Box<str>>,
    checked: bool,
    /// How many sections deep cancellation is masked.
    masked: Cell<u32>,
    /// When waits of the present section end, with [`Cancellation`](super::Cancellation) as payload.
    limit: Cell<Option<Instant>>,
    /// What the payloads of its cancellations share: it is alive as long as one of them is. A payload that is
    /// caught and resumed stays alive, one that is swallowed goes, and a cancellation with it.
    payloads: RefCell<Weak<()>>,
    /// Whether the last of them was raised by a time limit.
    elapsed: Cell<bool>,
    /// How many sections deep cancellation was masked where that one was raised or, further out, is now.
    raised_in: Cell<u32>,
    /// The values of its task locals.
    pub(crate) locals: Locals,
}

impl LocalRecord {
    pub(crate) fn new(name: Option<Box<str>>, limit: Option<Instant>, checked: bool) -> LocalRecord {
        LocalRecord {
            name,
            checked,
            masked: Cell::new(0),
            limit: Cell::new(limit),
            payloads: RefCell::new(Weak::new()),
            elapsed: Cell::new(false),
            raised_in: Cell::new(0),
            locals: Locals::default(),
        }
    }

    /// The name in reports.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether its stack is looked at before each wait.
    #[inline]
    pub(crate) fn checked(&self) -> bool {
        self.checked
    }

    /// Whether cancellation is masked.
    #[inline]
    pub(crate) fn masked(&self) -> bool {
        self.masked.get() > 0
    }

    /// When waits of the present section end.
    #[inline]
    pub(crate) fn limit(&self) -> Option<Instant> {
        self.limit.get()
    }

    /// Whether the present unwinding, if there is one, is a cancellation's.
    pub(crate) fn cancelling(&self) -> bool {
        self.payloads.borrow().strong_count() > 0
    }

    /// What the present unwinding, if there is one, was raised by.
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

    /// The payload of a cancellation that is to unwind.
    pub(crate) fn cancellation(&self, elapsed: bool) -> Cancellation {
        self.elapsed.set(elapsed);
        self.raised_in.set(self.masked.get());
        let mut payloads = self.payloads.borrow_mut();
        let alive = payloads.upgrade().unwrap_or_default();
        *payloads = Arc::downgrade(&alive);
        Cancellation { elapsed, _alive: alive }
    }

    /// Begins a section with that limit, until the guard goes.
    pub(crate) fn enter(&self, limit: Option<Instant>) -> Section<'_> {
        Section { own: self, outer: self.limit.replace(limit), masks: false }
    }

    /// Begins a section in which cancellation waits and no limit counts, until the guard goes.
    pub(crate) fn mask(&self) -> Section<'_> {
        self.masked.set(self.masked.get() + 1);
        Section { own: self, outer: self.limit.replace(None), masks: true }
    }

    /// As new, for the next thread.
    pub(super) fn reset(&self) {
        self.masked.set(0);
        self.limit.set(None);
        self.payloads.take();
        self.locals.reset();
    }
}

/// What a thread unwinds from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwinding {
    /// An ordinary panic.
    Panic,
    /// A cancellation of the whole.
    Cancelled,
    /// The end of a time limit.
    Elapsed,
    /// One of the latter two, and a destructor has masked it.
    Masked,
}

/// A section of code with a limit or a mask of its own.
#[derive(Debug)]
#[must_use]
pub(crate) struct Section<'a> {
    own: &'a LocalRecord,
    outer: Option<Instant>,
    masks: bool,
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        self.own.limit.set(self.outer);
        if self.masks {
            let masked = self.own.masked.get() - 1;
            self.own.masked.set(masked);
            self.own.raised_in.set(self.own.raised_in.get().min(masked));
        }
    }
}
