//! Systems without io_uring.

use crate::ring::operation::{Operation, Taken};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// No ring: there is no value of this type.
#[derive(Debug)]
pub(crate) enum Kernel {}

/// No entry.
#[derive(Debug)]
pub(crate) struct Entry;

impl Entry {
    pub(crate) fn of(_operation: &Operation, _key: u64) -> Entry {
        Entry
    }

    pub(crate) fn cancel(_call: u64, _key: u64) -> Entry {
        Entry
    }
}

impl Kernel {
    pub(crate) fn new() -> io::Result<Kernel> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn completions(&self) -> usize {
        match *self {}
    }

    pub(crate) fn knows(&self, _entry: &Entry) -> bool {
        match *self {}
    }

    /// # Safety
    ///
    /// It cannot be called.
    pub(crate) unsafe fn push(&self, _entry: &Entry) -> bool {
        match *self {}
    }

    /// # Safety
    ///
    /// It cannot be called.
    pub(crate) unsafe fn submit(&self) -> Taken {
        match *self {}
    }

    /// # Safety
    ///
    /// It cannot be called.
    pub(crate) unsafe fn take_back(&self) -> Option<u64> {
        match *self {}
    }

    pub(crate) fn has_completions(&self) -> bool {
        match *self {}
    }

    /// # Safety
    ///
    /// It cannot be called.
    pub(crate) unsafe fn next_completion(&self) -> Option<(u64, i32)> {
        match *self {}
    }
}

impl AsFd for Kernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}
