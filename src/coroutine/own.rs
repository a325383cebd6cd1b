//! What belongs to one coroutine or one plain thread alone: its name, the section of code that it is
//! in, its task locals. Only the owner touches it, except for the name, which does not change.

use super::locals::Locals;
use std::cell::Cell;
use std::time::Instant;

/// What belongs to one coroutine or one plain thread.
#[derive(Debug)]
pub(crate) struct Own {
    name: Option<Box<str>>,
    /// How many sections deep cancellation is masked.
    masked: Cell<u32>,
    /// When waits of the present section end, with [`Cancellation`](super::Cancellation) as payload.
    limit: Cell<Option<Instant>>,
    /// Whether the present unwinding, if there is one, is a cancellation's.
    cancelling: Cell<bool>,
    /// The values of its task locals.
    pub(crate) locals: Locals,
}

impl Own {
    pub(crate) fn new(name: Option<Box<str>>, limit: Option<Instant>) -> Own {
        Own {
            name,
            masked: Cell::new(0),
            limit: Cell::new(limit),
            cancelling: Cell::new(false),
            locals: Locals::default(),
        }
    }

    /// The name in reports.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
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

    /// Whether the present unwinding is a cancellation's.
    pub(crate) fn cancelling(&self) -> bool {
        self.cancelling.get()
    }

    /// Says whether the present unwinding is a cancellation's.
    pub(crate) fn set_cancelling(&self, cancelling: bool) {
        self.cancelling.set(cancelling);
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
        self.cancelling.set(false);
        self.locals.reset();
    }
}

/// A section of code with a limit or a mask of its own.
#[derive(Debug)]
#[must_use]
pub(crate) struct Section<'a> {
    own: &'a Own,
    outer: Option<Instant>,
    masks: bool,
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        self.own.limit.set(self.outer);
        if self.masks {
            self.own.masked.set(self.own.masked.get() - 1);
        }
    }
}
