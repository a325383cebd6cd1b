//! Linux: the operations as entries of an io_uring (`base::sys::uring`).
//!
//! The kernel reads the submission queue only inside of `submit`. So entries that it has not taken can be
//! taken back.

pub(crate) use crate::base::sys::uring::Entry;
use crate::base::sys::uring::{
    OP_ASYNC_CANCEL, OP_FSYNC, OP_FTRUNCATE, OP_LINKAT, OP_MKDIRAT, OP_READ, OP_RENAMEAT, OP_SYMLINKAT,
    OP_UNLINKAT, OP_WRITE, SETUP_COOP_TASKRUN, SETUP_SUBMIT_ALL, Uring,
};
use crate::ring::operation::{Operation, Taken};
use std::ffi::c_char;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Entries that can be pending. A full queue is submitted at once.
const ENTRIES: u32 = 64;
/// Completions that the queue holds: twice the calls that may be under way.
const COMPLETIONS: u32 = 2048;

/// The operations that a ring must know (5.6). It may know the others.
const OPERATIONS: [u8; 4] = [OP_FSYNC, OP_ASYNC_CANCEL, OP_READ, OP_WRITE];

const FSYNC_DATASYNC: u32 = 1;

/// Paths that are not absolute begin in the working directory, as in the calls without `at`.
const HERE: i32 = libc::AT_FDCWD;

/// The most that one read or write transfers, as the kernel limits it.
const MOST: usize = 0x7fff_f000;

impl Entry {
    /// The entry of an operation.
    pub(crate) fn of(operation: &Operation, key: u64) -> Entry {
        let none = Entry { key, ..Entry::default() };
        match *operation {
            Operation::Read { fd, buf, len, offset } => {
                let (address, len) = (buf as u64, len.min(MOST) as u32);
                Entry { opcode: OP_READ, fd, address, len, offset, ..none }
            }
            Operation::Write { fd, buf, len, offset } => {
                let (address, len) = (buf as u64, len.min(MOST) as u32);
                Entry { opcode: OP_WRITE, fd, address, len, offset, ..none }
            }
            Operation::Sync { fd, data_only } => {
                let operation_flags = if data_only { FSYNC_DATASYNC } else { 0 };
                Entry { opcode: OP_FSYNC, fd, operation_flags, ..none }
            }
            Operation::SetLen { fd, len } => Entry { opcode: OP_FTRUNCATE, fd, offset: len, ..none },
            Operation::Rename { from, to } => Entry { opcode: OP_RENAMEAT, ..none.of_paths(from, to) },
            Operation::HardLink { original, link } => {
                Entry { opcode: OP_LINKAT, ..none.of_paths(original, link) }
            }
            Operation::Symlink { original, link } => {
                let (address, offset) = (original as u64, link as u64);
                Entry { opcode: OP_SYMLINKAT, fd: HERE, address, offset, ..none }
            }
            Operation::Remove { path, directory } => {
                let operation_flags = if directory { libc::AT_REMOVEDIR as u32 } else { 0 };
                Entry { opcode: OP_UNLINKAT, fd: HERE, address: path as u64, operation_flags, ..none }
            }
            Operation::CreateDir { path, mode } => {
                Entry { opcode: OP_MKDIRAT, fd: HERE, address: path as u64, len: mode, ..none }
            }
        }
    }

    /// With two paths, as `linkat` and `renameat` take them.
    fn of_paths(self, old: *const c_char, new: *const c_char) -> Entry {
        Entry { fd: HERE, address: old as u64, len: HERE as u32, offset: new as u64, ..self }
    }

    /// The request to cancel the call of that key.
    pub(crate) fn cancel(call: u64, key: u64) -> Entry {
        Entry { opcode: OP_ASYNC_CANCEL, fd: -1, address: call, key, ..Entry::default() }
    }
}

/// A ring. Dropping it closes it. The kernel then cancels what is under way, and keeps its own side until
/// that has ended.
#[derive(Debug)]
pub(crate) struct Kernel(Uring);

impl Kernel {
    pub(crate) fn new() -> io::Result<Kernel> {
        let make = |flags| Uring::new(ENTRIES, COMPLETIONS, flags, 0, &OPERATIONS).map(Kernel);
        // A worker enters the kernel soon anyway, so it need not be interrupted.
        make(SETUP_SUBMIT_ALL | SETUP_COOP_TASKRUN).or_else(|error| {
            // An older kernel does not know the two.
            if error.raw_os_error() == Some(libc::EINVAL) { make(0) } else { Err(error) }
        })
    }

    pub(crate) fn completions(&self) -> usize {
        self.0.completions()
    }

    pub(crate) fn knows(&self, entry: &Entry) -> bool {
        self.0.knows(entry.opcode)
    }

    /// # Safety
    ///
    /// No other thread pushes, submits or takes back. What the entry points to is valid until its call has
    /// ended.
    pub(crate) unsafe fn push(&self, entry: &Entry) -> bool {
        // SAFETY: as this function's own.
        unsafe { self.0.push(entry) }
    }

    /// # Safety
    ///
    /// As for `push`.
    pub(crate) unsafe fn submit(&self) -> Taken {
        let before = self.0.pending();
        if before == 0 {
            return Taken::All;
        }
        match self.0.submit(before) {
            Ok(_) if self.0.pending() == 0 => Taken::All,
            Ok(taken) if taken > 0 => Taken::Some,
            Ok(_) => Taken::Refused { for_good: false },
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR) => Taken::Some,
                // Short of memory, or of room for completions.
                Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => Taken::Refused { for_good: false },
                _ => Taken::Refused { for_good: true },
            },
        }
    }

    /// # Safety
    ///
    /// As for `push`.
    pub(crate) unsafe fn take_back(&self) -> Option<u64> {
        // SAFETY: as this function's own.
        unsafe { self.0.take_back() }
    }

    pub(crate) fn has_completions(&self) -> bool {
        self.0.has_completions()
    }

    /// # Safety
    ///
    /// No other thread calls this at the same time.
    pub(crate) unsafe fn next_completion(&self) -> Option<(u64, i32)> {
        // SAFETY: as this function's own.
        unsafe { self.0.next_completion() }.map(|completion| (completion.key, completion.result))
    }
}

impl AsFd for Kernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
