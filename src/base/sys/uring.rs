//! io_uring: the structures of `io_uring(7)`, which libc does not have, and the two mappings of a ring.
//!
//! ```text
//!  shared with the kernel        written by      read by
//!  submission queue: tail        this process    the kernel, in `io_uring_enter`
//!                    head        the kernel      this process
//!                    array       this process, once: entry n is in place n
//!  entries                       this process    the kernel, in `io_uring_enter`
//!  completion queue: tail, cqes  the kernel      this process
//!                    head        this process    the kernel
//! ```
//!
//! Without `IORING_SETUP_SQPOLL` the kernel reads the submission queue only while a thread of this process is
//! inside of `io_uring_enter`. Calls of it by several threads take entries one after the other, under a lock
//! of the kernel.

use super::call::check;
use super::calls;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const SETUP_CQSIZE: u32 = 1 << 3;
const SETUP_CLAMP: u32 = 1 << 4;
/// An entry that the kernel finds faulty does not keep it from taking those behind it (Linux 5.18).
pub(crate) const SETUP_SUBMIT_ALL: u32 = 1 << 7;
/// The kernel does not interrupt the thread to complete a call (5.19).
pub(crate) const SETUP_COOP_TASKRUN: u32 = 1 << 8;

/// One mapping has both queues (5.4).
const FEATURE_SINGLE_MMAP: u32 = 1;
/// The kernel keeps completions for which there is no room (5.5).
const FEATURE_NODROP: u32 = 1 << 1;
/// An entry may be reused once it was taken (5.5).
const FEATURE_SUBMIT_STABLE: u32 = 1 << 2;
const FEATURES: u32 = FEATURE_SINGLE_MMAP | FEATURE_NODROP | FEATURE_SUBMIT_STABLE;
/// `io_uring_enter` takes a timeout (5.11).
pub(crate) const FEATURE_EXT_ARG: u32 = 1 << 8;
/// An entry may say that its success has no completion (5.17).
pub(crate) const FEATURE_CQE_SKIP: u32 = 1 << 11;

const OFFSET_QUEUES: libc::off_t = 0;
const OFFSET_ENTRIES: libc::off_t = 0x1000_0000;

const ENTER_GETEVENTS: libc::c_uint = 1;
const ENTER_EXT_ARG: libc::c_uint = 1 << 3;

/// In the submission queue's flags: completions wait for room in the queue.
const CQ_OVERFLOW: u32 = 1 << 1;

const REGISTER_PROBE: libc::c_uint = 8;
const OP_SUPPORTED: u16 = 1;
/// Cancels calls at once (Linux 6.0).
const REGISTER_SYNC_CANCEL: libc::c_uint = 24;

const OP_NOP: u8 = 0;

pub(crate) const OP_FSYNC: u8 = 3;
pub(crate) const OP_POLL_ADD: u8 = 6;
pub(crate) const OP_ASYNC_CANCEL: u8 = 14;
pub(crate) const OP_READ: u8 = 22;
pub(crate) const OP_WRITE: u8 = 23;
/// Linux 5.11, as is `OP_UNLINKAT`.
pub(crate) const OP_RENAMEAT: u8 = 35;
pub(crate) const OP_UNLINKAT: u8 = 36;
/// Linux 5.15, as are `OP_SYMLINKAT` and `OP_LINKAT`.
pub(crate) const OP_MKDIRAT: u8 = 37;
pub(crate) const OP_SYMLINKAT: u8 = 38;
pub(crate) const OP_LINKAT: u8 = 39;
/// Linux 6.9.
pub(crate) const OP_FTRUNCATE: u8 = 55;

/// In [`Entry::flags`]: success has no completion.
pub(crate) const ENTRY_SKIPS_SUCCESS: u8 = 1 << 6;
/// In [`Entry::len`] of `OP_POLL_ADD`: it goes on after its first event (5.13).
pub(crate) const POLL_ADD_MULTI: u32 = 1;
/// In [`Completion::flags`]: the call goes on.
pub(crate) const COMPLETION_MORE: u32 = 1 << 1;

/// `struct io_sqring_offsets`, `struct io_cqring_offsets`: where the words of a queue are in its mapping. The
/// two differ from `flags` on.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Offsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    /// The submission queue's flags; the completion queue's count of overflows.
    fifth: u32,
    /// The submission queue's count of faulty entries; the completion queue's entries.
    sixth: u32,
    /// The submission queue's array; the completion queue's flags.
    seventh: u32,
    reserved: u32,
    user_address: u64,
}

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    sq: Offsets,
    cq: Offsets,
}

/// `struct io_uring_sqe`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) opcode: u8,
    pub(crate) flags: u8,
    pub(crate) priority: u16,
    pub(crate) fd: i32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) operation_flags: u32,
    pub(crate) key: u64,
    pub(crate) buffer_index: u16,
    pub(crate) personality: u16,
    pub(crate) file_index: u32,
    pub(crate) address3: u64,
    pub(crate) padding: u64,
}

/// `struct io_uring_cqe`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Completion {
    pub(crate) key: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct WaitArgument {
    signal_mask: u64,
    signal_mask_size: u32,
    padding: u32,
    timeout: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct Timeout {
    seconds: i64,
    nanoseconds: i64,
}

/// `struct io_uring_sync_cancel_reg`.
#[repr(C)]
struct CancelArgument {
    key: u64,
    fd: i32,
    flags: u32,
    timeout: Timeout,
    opcode: u8,
    padding: [u8; 7],
    padding2: [u64; 3],
}

/// `struct io_uring_probe`, with room for all opcodes.
#[repr(C)]
struct OpcodeProbe {
    last_op: u8,
    len: u8,
    reserved: u16,
    reserved2: [u32; 3],
    ops: [ProbedOp; 256],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ProbedOp {
    op: u8,
    reserved: u8,
    flags: u16,
    reserved2: u32,
}

const _: () =
    assert!(size_of::<Params>() == 120 && size_of::<Entry>() == 64 && size_of::<Completion>() == 16);
const _: () = assert!(size_of::<OpcodeProbe>() == 16 + 256 * 8);
const _: () = assert!(size_of::<WaitArgument>() == 24 && size_of::<Timeout>() == 16);
const _: () = assert!(size_of::<CancelArgument>() == 64);

/// A ring, mapped. Dropping it closes it. The kernel then cancels what is under way, and keeps its own side
/// until that has ended.
#[derive(Debug)]
pub(crate) struct Uring {
    fd: OwnedFd,
    queues: Mapping,
    entries: Mapping,
    sq: Queue,
    cq: Queue,
    /// Where the submission queue's flags are in `queues`.
    flags: u32,
    /// Where the completions are in `queues`.
    completions: u32,
    /// The operations that the kernel knows, below 64: one bit each.
    known: u64,
}

/// Where the head and the tail of a queue are in the mapping, and its length, a power of two.
#[derive(Clone, Copy, Debug)]
struct Queue {
    head: u32,
    tail: u32,
    len: u32,
}

impl Uring {
    /// A ring with queues of about these lengths.
    ///
    /// # Errors
    ///
    /// The system has no io_uring, or forbids it, or knows not all of the flags, features and operations.
    pub(crate) fn new(
        entries: u32,
        completions: u32,
        flags: u32,
        features: u32,
        operations: &[u8],
    ) -> io::Result<Uring> {
        let flags = flags | SETUP_CQSIZE | SETUP_CLAMP;
        let mut params = Params { flags, cq_entries: completions, ..Params::default() };
        // SAFETY: the structure is as the kernel wants it, and the call fills it. The descriptor is
        // close-on-exec.
        let fd = check(calls::newer(|| unsafe {
            libc::syscall(libc::SYS_io_uring_setup, entries, &raw mut params) as libc::c_int
        }))?;
        // SAFETY: a fresh descriptor, with no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let features = FEATURES | features;
        if params.features & features != features {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let known = probe(&fd)?;
        if !operations.iter().all(|&op| is_in(known, op)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let sq_end = params.sq.seventh as usize + params.sq_entries as usize * size_of::<u32>();
        let cq_end = params.cq.sixth as usize + params.cq_entries as usize * size_of::<Completion>();
        let queues = Mapping::new(&fd, OFFSET_QUEUES, sq_end.max(cq_end))?;
        let entries = Mapping::new(&fd, OFFSET_ENTRIES, params.sq_entries as usize * size_of::<Entry>())?;
        for n in 0..params.sq_entries {
            // SAFETY: the kernel says where the array is, and that it is so long. It reads it later.
            unsafe { queues.at::<u32>(params.sq.seventh).add(n as usize).write(n) };
        }
        let queue = |offsets: &Offsets, len| Queue { head: offsets.head, tail: offsets.tail, len };
        Ok(Uring {
            sq: queue(&params.sq, params.sq_entries),
            cq: queue(&params.cq, params.cq_entries),
            flags: params.sq.fifth,
            completions: params.cq.sixth,
            known,
            fd,
            queues,
            entries,
        })
    }

    /// The length of the completion queue.
    pub(crate) fn completions(&self) -> usize {
        self.cq.len as usize
    }

    /// Whether the kernel knows that operation.
    #[inline]
    pub(crate) fn knows(&self, operation: u8) -> bool {
        is_in(self.known, operation)
    }

    /// Appends an entry to the submission queue; false if that is full.
    ///
    /// # Safety
    ///
    /// No other thread pushes or takes back. What the entry points to is valid until its call has ended.
    pub(crate) unsafe fn push(&self, entry: &Entry) -> bool {
        let tail = self.word(self.sq.tail).load(Ordering::Relaxed);
        // Acquire: pairs with the kernel's release, after which it does not read that entry any more.
        if tail.wrapping_sub(self.word(self.sq.head).load(Ordering::Acquire)) == self.sq.len {
            return false;
        }
        let place = tail & (self.sq.len - 1);
        // SAFETY: the mapping has that many entries. The kernel does not read this one before it is behind
        // the tail.
        unsafe { self.entries.at::<Entry>(0).add(place as usize).write(*entry) };
        // Release: pairs with the kernel's acquire in `io_uring_enter`.
        self.word(self.sq.tail).store(tail.wrapping_add(1), Ordering::Release);
        true
    }

    /// How many entries of the submission queue the kernel has not taken.
    #[inline]
    pub(crate) fn pending(&self) -> u32 {
        // Acquire, the head: as in `push`.
        let head = self.word(self.sq.head).load(Ordering::Acquire);
        self.word(self.sq.tail).load(Ordering::Relaxed).wrapping_sub(head)
    }

    /// Removes the newest entry that the kernel has not taken, and returns its key.
    ///
    /// # Safety
    ///
    /// No other thread pushes, takes back or is inside of `submit` or `wait`.
    pub(crate) unsafe fn take_back(&self) -> Option<u64> {
        if self.pending() == 0 {
            return None;
        }
        let last = self.word(self.sq.tail).load(Ordering::Relaxed).wrapping_sub(1);
        let place = last & (self.sq.len - 1);
        // SAFETY: it was written by `push`, and the kernel does not write to it.
        let key = unsafe { (*self.entries.at::<Entry>(0).add(place as usize)).key };
        self.word(self.sq.tail).store(last, Ordering::Release);
        Some(key)
    }

    /// Replaces the entries with that key that the kernel has not taken by such as do nothing, and have no
    /// completion if the kernel can do without one.
    ///
    /// # Safety
    ///
    /// No other thread pushes, takes back or is inside of `submit` or `wait`.
    pub(crate) unsafe fn blank_out(&self, key: u64, no_key: u64) {
        let tail = self.word(self.sq.tail).load(Ordering::Relaxed);
        for n in 1..=self.pending() {
            let place = tail.wrapping_sub(n) & (self.sq.len - 1);
            // SAFETY: it was written by `push`, and the kernel reads it only inside of `submit` and `wait`.
            let entry = unsafe { &mut *self.entries.at::<Entry>(0).add(place as usize) };
            if entry.key == key {
                *entry =
                    Entry { opcode: OP_NOP, flags: ENTRY_SKIPS_SUCCESS, key: no_key, ..Entry::default() };
            }
        }
    }

    /// Cancels all calls with that key that the kernel has taken. Their completions come as others do.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none; `EINVAL` if the kernel does not know this.
    pub(crate) fn cancel_now(&self, key: u64) -> io::Result<()> {
        const ALL: u32 = 1;
        let at_once = Timeout { seconds: 0, nanoseconds: 0 };
        let argument = CancelArgument {
            key,
            fd: -1,
            flags: ALL,
            timeout: at_once,
            opcode: 0,
            padding: [0; 7],
            padding2: [0; 3],
        };
        // SAFETY: the structure is as the kernel wants it, and lives until the call ends.
        check(unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.fd.as_raw_fd(),
                REGISTER_SYNC_CANCEL,
                &raw const argument,
                1,
            ) as libc::c_int
        })
        .map(drop)
    }

    /// Asks the kernel to take that many entries. Returns how many it has taken.
    pub(crate) fn submit(&self, entries: u32) -> io::Result<libc::c_int> {
        self.enter(entries, 0, 0, ptr::null(), 0)
    }

    /// As `submit`, and moves completions that found no room into the queue. Then waits for a completion, if
    /// all entries were taken; for as long as `timeout` says, or without limit (`None`). Needs
    /// [`FEATURE_EXT_ARG`].
    ///
    /// # Errors
    ///
    /// `ETIME` if the timeout has passed and `entries` is zero.
    pub(crate) fn wait(&self, entries: u32, timeout: Option<Duration>) -> io::Result<libc::c_int> {
        let Some(timeout) = timeout else {
            return self.enter(entries, 1, ENTER_GETEVENTS, ptr::null(), 0);
        };
        let timeout = Timeout {
            seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: timeout.subsec_nanos().into(),
        };
        let argument = WaitArgument {
            signal_mask: 0,
            signal_mask_size: 0,
            padding: 0,
            timeout: (&raw const timeout) as u64,
        };
        let flags = ENTER_GETEVENTS | ENTER_EXT_ARG;
        self.enter(entries, 1, flags, (&raw const argument).cast(), size_of::<WaitArgument>())
    }

    /// As `submit`, and moves completions that found no room into the queue.
    pub(crate) fn submit_and_flush(&self, entries: u32) -> io::Result<libc::c_int> {
        self.enter(entries, 0, ENTER_GETEVENTS, ptr::null(), 0)
    }

    /// Whether completions wait for room in the queue.
    #[inline]
    pub(crate) fn has_overflowed(&self) -> bool {
        self.word(self.flags).load(Ordering::Relaxed) & CQ_OVERFLOW != 0
    }

    /// Whether the completion queue holds any.
    #[inline]
    pub(crate) fn has_completions(&self) -> bool {
        self.word(self.cq.head).load(Ordering::Relaxed) != self.word(self.cq.tail).load(Ordering::Acquire)
    }

    /// Takes the oldest completion out of its queue.
    ///
    /// # Safety
    ///
    /// No other thread calls this at the same time.
    #[inline]
    pub(crate) unsafe fn next_completion(&self) -> Option<Completion> {
        let head = self.word(self.cq.head).load(Ordering::Relaxed);
        // Acquire: pairs with the kernel's release, before which it has written the completion.
        if head == self.word(self.cq.tail).load(Ordering::Acquire) {
            return None;
        }
        let place = head & (self.cq.len - 1);
        // SAFETY: the kernel has written it before it moved the tail. It does not use the place again before
        // the head has moved.
        let completion = unsafe { self.queues.at::<Completion>(self.completions).add(place as usize).read() };
        // Release: pairs with the kernel's acquire, so it overwrites the place only after the read above.
        self.word(self.cq.head).store(head.wrapping_add(1), Ordering::Release);
        Some(completion)
    }

    fn enter(
        &self,
        entries: u32,
        at_least: u32,
        flags: libc::c_uint,
        argument: *const libc::c_void,
        size: usize,
    ) -> io::Result<libc::c_int> {
        // SAFETY: the entries that were pushed are valid, as the callers of `push` say. The argument lives
        // until the call ends; it is a signal mask, which is absent, or a `WaitArgument`, as `flags` say.
        check(unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd.as_raw_fd(),
                entries,
                at_least,
                flags,
                argument,
                size,
            ) as libc::c_int
        })
    }

    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: the kernel has said that a word of a queue is there. It lives as long as the mapping, and
        // both sides access it atomically.
        unsafe { &*self.queues.at::<AtomicU32>(offset) }
    }
}

impl AsFd for Uring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether a set of operations has that one.
fn is_in(set: u64, operation: u8) -> bool {
    operation < 64 && set >> operation & 1 != 0
}

/// The operations that the kernel knows, below 64.
fn probe(fd: &OwnedFd) -> io::Result<u64> {
    // SAFETY: all zeros is a value of this type, and what the kernel wants.
    let mut known = Box::new(unsafe { std::mem::zeroed::<OpcodeProbe>() });
    // SAFETY: the structure has room for that many opcodes, and the call fills it.
    check(unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fd.as_raw_fd(),
            REGISTER_PROBE,
            &raw mut *known,
            known.ops.len() as libc::c_uint,
        ) as libc::c_int
    })?;
    let knows = |op: usize| op <= known.last_op.into() && known.ops[op].flags & OP_SUPPORTED != 0;
    Ok((0..64).filter(|&op| knows(op)).fold(0, |set, op| set | 1 << op))
}

/// Memory that is shared with the kernel.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it owns the memory, and `Uring` says who accesses which part of it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: &OwnedFd, offset: libc::off_t, len: usize) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start = unsafe { calls::mmap(ptr::null_mut(), len, protection, flags, fd.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("no mapping begins at zero");
        Ok(Mapping { start, len })
    }

    /// What is at that offset. The caller knows that it is inside of the mapping.
    fn at<T>(&self, offset: u32) -> *mut T {
        self.start.as_ptr().wrapping_add(offset as usize).cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is this value's own mapping, and nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
