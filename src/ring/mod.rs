//! Rank 3, calls that the kernel makes while the coroutine that asked for them is parked: io_uring.
//!
//! # The problem
//!
//! A read of a disk has no readiness that a poller could report. A thread of a pool that makes the call costs
//! two hand-overs between threads. io_uring takes the call itself, and reports its end. Until then the kernel
//! owns the caller's buffer: nothing may free it, whatever ends the caller's wait.
//!
//! # Terms
//!
//! - *Call*: an [`Operation`] that a coroutine has started, and whose end it awaits. An older kernel does not
//!   know all of them: each ring asks the kernel at its start, and the pool makes the other calls.
//! - [`Ring`]: the two queues that a worker shares with the kernel, and the table of its calls. A worker
//!   makes its ring when a coroutine on it first needs one, so a program without such calls pays nothing.
//! - *Entry*: a call, or a request to cancel one, in the submission queue. *Pending*: the kernel was not
//!   asked to take it yet.
//! - *Completion*: the kernel's report that a call has ended, with its result.
//!
//! # The states of a call
//!
//! ```text
//!             start            submit                 collect            finish
//!   (none) ----------> pending -------> in the kernel --------> ended ----------> (none)
//!                         |                                       ^
//!                         +---------------------------------------+
//!                           submit fails: the kernel has not taken it
//! ```
//!
//! | from, to | by | the buffer belongs to |
//! |---|---|---|
//! | none, pending | `start`, in the commit of the caller's wait | the caller, who is parked |
//! | pending, in the kernel | `submit` ("Who submits") | the kernel |
//! | pending, ended | `submit`, if the kernel refuses; the pool then makes the call | the caller |
//! | in the kernel, ended | `collect`, likewise | the caller |
//! | ended, none | `finish`: the caller, before its frame may end | the caller |
//!
//! *Who submits and collects.* The worker, when a round begins and before and after each of its polls; so
//! calls of one round are one system call. The netpoller thread, for a worker in a long turn. A thread that
//! finds the queue full or cancels a call submits, too.
//!
//! # Why the buffer outlives the call
//!
//! The buffer is borrowed by the frame of the function that waits (`fs::by_ring`). That function returns, or
//! unwinds, only after `finish` has returned an outcome, and there is one only if the kernel has reported the
//! end, or has never taken the entry. What else may end a wait:
//!
//! - *A cancellation, a time limit, a shutdown*: the caller asks the kernel to cancel the call (`cancel`),
//!   and then waits in a way that none of these ends. The kernel interrupts what has not begun; a disk's
//!   read that has begun ends by itself.
//! - *A panic*: no code of a user runs between `start` and `finish`. While a thread unwinds, callers do not
//!   use the ring at all.
//! - *A runtime that gives up waiting for its coroutines* leaks them with their stacks.
//! - *A worker in a long turn*: the netpoller thread submits and collects for it.
//! - *A home that another worker runs by then*: the ring stays where it is. Its calls are ended by its own
//!   worker, which wakes the coroutine as it wakes any other of that home. Any thread may cancel a call,
//!   at the ring that has it.
//! - *A fork*: the child has none of the workers, and ends if it uses the runtime. The kernel writes to the
//!   memory of the parent.
//!
//! # Locks
//!
//! `submission` gives the right to push entries and to ask the kernel to take them. `calls` gives the right
//! to read the completion queue, and guards the table. A result is stored, and the ticket of its caller
//! fired, under `calls`; the caller takes its ticket back under `calls`. So no protocol between threads
//! needs more than the locks, which are hardly ever contended: the owner's thread takes nearly all of them.
//!
//! # Which calls
//!
//! Reads and writes that go to a local disk: the kernel starts them without a thread. Files of other file
//! systems are the pool's (`fs::disk`): the kernel may issue such a call in the thread that submits it, and
//! wait there for another program (FUSE), or give it to one of a few threads of its own.
//!
//! Only if the settings say so: buffered writes and syncs, lengths, and calls that change names. These need a
//! file system's locks or its journal, and the kernel gives them to threads of its own. `write` with
//! `fdatasync` takes as long as on the pool. For the others the ring's processor time is lower: for names
//! 0.65 to 0.86 of the pool's with one caller and 0.47 to 0.81 with 64, for lengths 0.72 and 0.41. But on a
//! machine with an idle processor a lone caller waits longer for the kernel's thread than for one of the pool
//! (a rename: 55.7 us in a bare ring, 32.6 us on the pool), and a lone caller is the usual case
//! (`sward-bench files names`, `docs/PERFORMANCE.md`).
//!
//! Not here: `readv` and `writev`, which std offers at the file's position only (`fs::disk` says why that is
//! not the ring's); opening and metadata, which are cheaper in place (`fs::in_place`), and std's `Metadata`
//! cannot be made of what `statx` returns; `close`, which takes no wait on a local disk; copies, for which
//! io_uring has no `copy_file_range`, and the pool makes one call for a whole file.
//!
//! # Rejected
//!
//! - *`IORING_SETUP_SINGLE_ISSUER` and `IORING_SETUP_DEFER_TASKRUN`*: only the worker's own thread could then
//!   submit, cancel and have completions posted. In a long turn it does nothing of that, and neither the
//!   netpoller thread nor a coroutine that has moved to another worker could do it in its place. And such a
//!   ring's descriptor does not report that a call has ended, before the issuer asks for completions: all
//!   workers sleep while the results are there (Linux 6.18). With an eventfd that is registered with the ring
//!   and watched instead it works, and gains little: for random reads of the disk 0.91 of the processor time
//!   with 64 readers and 1.05 with one, and times too scattered to tell apart. A single issuer alone gains
//!   nothing (64 readers: 4.1 us of processor time each, 3.9 without).
//! - *To serve the ring in polls only*, and not when a round begins: as long as workers run dry this makes no
//!   difference (the same read: 4.2 us). But a worker that always has something to run polls once in each
//!   tick, so a read would be submitted, and its end be seen, up to a millisecond late each. Beside one
//!   coroutine that yields after each 100 us, eight readers on one worker then took 5.6 times as long.
//! - *A ring for the whole process*: its locks would be contended, and each completion would wake a worker on
//!   which the coroutine does not live.
//! - *A thread that waits for completions*: two wake-ups for each call, as with the pool.

// `operation`: a call, and its outcome. `queues`: the ring. `sys`: the kernel's side.

mod operation;
mod queues;
mod sys;

pub(crate) use operation::{Operation, Outcome};
pub(crate) use queues::Ring;
