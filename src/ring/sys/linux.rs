//! Linux: the structures of `io_uring(7)`, which libc does not have, and the three mappings of a ring.
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
//! inside of `io_uring_enter`. So entries that it has not taken can be taken back: the tail goes back to the
//! head.

use crate::base::sys::check;
use crate::ring::operation::{Operation, Taken};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Entries that can be pending. A full queue is submitted at once.
const ENTRIES: u32 = 64;
/// Completions that the queue holds: twice the calls that may be under way.
const COMPLETIONS: u32 = 2048;

const SETUP_CQSIZE: u32 = 1 << 3;
const SETUP_CLAMP: u32 = 1 << 4;
/// An entry that the kernel finds faulty does not keep it from taking those behind it (Linux 5.18).
const SETUP_SUBMIT_ALL: u32 = 1 << 7;
/// The kernel does not interrupt the thread to complete a call (5.19). A worker enters the kernel soon
/// anyway.
const SETUP_COOP_TASKRUN: u32 = 1 << 8;

/// One mapping has both queues (5.4).
const FEATURE_SINGLE_MMAP: u32 = 1;
/// The kernel keeps completions for which there is no room (5.5).
const FEATURE_NODROP: u32 = 1 << 1;
/// An entry may be reused once it was taken (5.5).
const FEATURE_SUBMIT_STABLE: u32 = 1 << 2;
const FEATURES: u32 = FEATURE_SINGLE_MMAP | FEATURE_NODROP | FEATURE_SUBMIT_STABLE;

const OFFSET_QUEUES: libc::off_t = 0;
const OFFSET_ENTRIES: libc::off_t = 0x1000_0000;

const REGISTER_PROBE: libc::c_uint = 8;
const OP_SUPPORTED: u16 = 1;

const OP_FSYNC: u8 = 3;
const OP_ASYNC_CANCEL: u8 = 14;
const OP_READ: u8 = 22;
const OP_WRITE: u8 = 23;
/// The operations that a ring must know (5.6).
const OPERATIONS: [u8; 4] = [OP_FSYNC, OP_ASYNC_CANCEL, OP_READ, OP_WRITE];

const FSYNC_DATASYNC: u32 = 1;

/// The most that one read or write transfers, as the kernel limits it.
const MOST: usize = 0x7fff_f000;

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
    pub(super) opcode: u8,
    flags: u8,
    priority: u16,
    fd: i32,
    offset: u64,
    address: u64,
    len: u32,
    operation_flags: u32,
    key: u64,
    buffer_index: u16,
    personality: u16,
    file_index: u32,
    address3: u64,
    padding: u64,
}

/// `struct io_uring_cqe`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Completion {
    key: u64,
    result: i32,
    _flags: u32,
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
        }
    }

    /// The request to cancel the call of that key.
    pub(crate) fn cancel(call: u64, key: u64) -> Entry {
        Entry { opcode: OP_ASYNC_CANCEL, fd: -1, address: call, key, ..Entry::default() }
    }
}

/// A ring, mapped. Dropping it closes it. The kernel then cancels what is under way, and keeps its own side
/// until that has ended.
#[derive(Debug)]
pub(crate) struct Kernel {
    fd: OwnedFd,
    queues: Mapping,
    entries: Mapping,
    sq: Queue,
    cq: Queue,
    /// Where the completions are in `queues`.
    completions: u32,
}

/// Where the head and the tail of a queue are in the mapping, and its length, a power of two.
#[derive(Clone, Copy, Debug)]
struct Queue {
    head: u32,
    tail: u32,
    len: u32,
}

impl Kernel {
    pub(crate) fn new() -> io::Result<Kernel> {
        let base = SETUP_CQSIZE | SETUP_CLAMP;
        let (fd, params) = setup(base | SETUP_SUBMIT_ALL | SETUP_COOP_TASKRUN).or_else(|error| {
            // An older kernel does not know the two.
            if error.raw_os_error() == Some(libc::EINVAL) { setup(base) } else { Err(error) }
        })?;
        if params.features & FEATURES != FEATURES {
            return Err(io::ErrorKind::Unsupported.into());
        }
        probe(&fd)?;
        let sq_end = params.sq.seventh as usize + params.sq_entries as usize * size_of::<u32>();
        let cq_end = params.cq.sixth as usize + params.cq_entries as usize * size_of::<Completion>();
        let queues = Mapping::new(&fd, OFFSET_QUEUES, sq_end.max(cq_end))?;
        let entries = Mapping::new(&fd, OFFSET_ENTRIES, params.sq_entries as usize * size_of::<Entry>())?;
        for n in 0..params.sq_entries {
            // SAFETY: the kernel says where the array is, and that it is so long. It reads it later.
            unsafe { queues.at::<u32>(params.sq.seventh).add(n as usize).write(n) };
        }
        let queue = |offsets: &Offsets, len| Queue { head: offsets.head, tail: offsets.tail, len };
        Ok(Kernel {
            sq: queue(&params.sq, params.sq_entries),
            cq: queue(&params.cq, params.cq_entries),
            completions: params.cq.sixth,
            fd,
            queues,
            entries,
        })
    }

    pub(crate) fn completions(&self) -> usize {
        self.cq.len as usize
    }

    /// # Safety
    ///
    /// No other thread pushes, submits or takes back. What the entry points to is valid until its call has
    /// ended.
    pub(crate) unsafe fn push(&self, entry: &Entry) -> bool {
        let tail = self.word(self.sq.tail).load(Ordering::Relaxed);
        if tail.wrapping_sub(self.word(self.sq.head).load(Ordering::Acquire)) == self.sq.len {
            return false;
        }
        let place = tail & (self.sq.len - 1);
        // SAFETY: the mapping has so many entries. The kernel does not read this one before it is behind the
        // tail, and then only in `submit`.
        unsafe { self.entries.at::<Entry>(0).add(place as usize).write(*entry) };
        self.word(self.sq.tail).store(tail.wrapping_add(1), Ordering::Release);
        true
    }

    /// # Safety
    ///
    /// As for `push`.
    pub(crate) unsafe fn submit(&self) -> Taken {
        let pushed = || {
            let tail = self.word(self.sq.tail).load(Ordering::Relaxed);
            tail.wrapping_sub(self.word(self.sq.head).load(Ordering::Acquire))
        };
        let before = pushed();
        if before == 0 {
            return Taken::All;
        }
        // SAFETY: the entries that were pushed are valid, as their callers say. There is no signal mask.
        let taken = check(unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd.as_raw_fd(),
                before,
                0 as libc::c_uint,
                0 as libc::c_uint,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            ) as libc::c_int
        });
        match taken {
            Ok(_) if pushed() == 0 => Taken::All,
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
        let tail = self.word(self.sq.tail).load(Ordering::Relaxed);
        if tail == self.word(self.sq.head).load(Ordering::Acquire) {
            return None;
        }
        let last = tail.wrapping_sub(1);
        let place = last & (self.sq.len - 1);
        // SAFETY: it was written by `push`, and the kernel does not write to it.
        let key = unsafe { (*self.entries.at::<Entry>(0).add(place as usize)).key };
        self.word(self.sq.tail).store(last, Ordering::Release);
        Some(key)
    }

    pub(crate) fn has_completions(&self) -> bool {
        self.word(self.cq.head).load(Ordering::Relaxed) != self.word(self.cq.tail).load(Ordering::Acquire)
    }

    /// # Safety
    ///
    /// No other thread calls this at the same time.
    pub(crate) unsafe fn next_completion(&self) -> Option<(u64, i32)> {
        let head = self.word(self.cq.head).load(Ordering::Relaxed);
        if head == self.word(self.cq.tail).load(Ordering::Acquire) {
            return None;
        }
        let place = head & (self.cq.len - 1);
        // SAFETY: the kernel has written it before it moved the tail, which was read with Acquire. It does
        // not use the place again before the head has moved.
        let completion = unsafe { self.queues.at::<Completion>(self.completions).add(place as usize).read() };
        self.word(self.cq.head).store(head.wrapping_add(1), Ordering::Release);
        Some((completion.key, completion.result))
    }

    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: the kernel has said that a word of a queue is there. It lives as long as the mapping, and
        // both sides access it atomically.
        unsafe { &*self.queues.at::<AtomicU32>(offset) }
    }
}

impl AsFd for Kernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn setup(flags: u32) -> io::Result<(OwnedFd, Params)> {
    let mut params = Params { flags, cq_entries: COMPLETIONS, ..Params::default() };
    // SAFETY: the structure is as the kernel wants it, and the call fills it. The descriptor is
    // close-on-exec.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut params) as libc::c_int })?;
    // SAFETY: a fresh descriptor, with no other owner.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, params))
}

/// Fails unless the kernel knows all [`OPERATIONS`].
fn probe(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: all zeros is a value of this type, and what the kernel wants.
    let mut known = Box::new(unsafe { std::mem::zeroed::<OpcodeProbe>() });
    // SAFETY: the structure has room for so many opcodes, and the call fills it.
    check(unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fd.as_raw_fd(),
            REGISTER_PROBE,
            &raw mut *known,
            known.ops.len() as libc::c_uint,
        ) as libc::c_int
    })?;
    let knows = |op: &u8| *op <= known.last_op && known.ops[usize::from(*op)].flags & OP_SUPPORTED != 0;
    if OPERATIONS.iter().all(knows) { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
}

/// Memory that is shared with the kernel.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it owns the memory, and `Kernel` says who accesses which part of it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: &OwnedFd, offset: libc::off_t, len: usize) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd.as_raw_fd(), offset) };
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
