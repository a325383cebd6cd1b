//! Rank 1, thread-local storage that does not belong to the thread that uses it. It knows no coroutine.
//!
//! **The problem.** Code finds its thread-locals through a register, the *thread pointer*. A coroutine that
//! moves between threads would find other thread-locals after the move, so safe code must not move. If the
//! thread-locals go along, it may: to all code above the kernel, "the thread" is the block of memory that the
//! thread pointer names.
//!
//! **The remedy.** A thread is started only for its block: the *lender*. It publishes its thread pointer and
//! then waits. A worker that enters the storage sets its own thread pointer to the lender's, and so is that
//! thread for the C library, for std and for every crate. The block is what the C library made for a thread
//! of its own: nothing of its layout is known here, any version of the C library will do, and the block is
//! in all its lists (so `dlopen` initializes its part of a new library, and `setuid` reaches it).
//!
//! ```text
//!   lender (a thread)                          worker A                    worker B
//!   block, stack                               own block                   own block
//!     | publish the thread pointer               |                           |
//!     | wait in raw system calls                 |                           |
//!     |        . . . . . . . . . . . . . . . . enter: thread pointer = lender's
//!     |                                          | f()                       |
//!     |        . . . . . . . . . . . . . . . . thread pointer = own          |
//!     |        . . . . . . . . . . . . . . . . . | . . . . . . . . . . . . enter
//!     |                                          |                           | f()
//!     | <------------------------------------------------- end ------------- |
//!     | return: destructors of the thread-locals
//! ```
//!
//! **Terms.** *Storage*: what one lender lends, a value of type [`Storage`]. *Inside*: a thread is inside a
//! storage while its thread pointer is the lender's. *Own pointer*: the thread pointer with which the system
//! started a thread.
//!
//! - [`lender`]: the lender's thread, and how a thread enters what it lends.
//! - [`loan`]: what a lender publishes of itself, and its states.
//! - [`setxid`]: the one signal that belongs to a kernel thread, not to a block.
//! - [`credentials`]: a lender takes over what a worker inside has made of its user and groups.
//! - [`probe`]: whether all this works here, with the reason if not.
//! - [`sys`]: the thread pointer, raw system calls, and what is special about glibc.
//!
//! **The argument.** What a block holds has one user at a time:
//!
//! 1. Threads that enter exclude one another and synchronize: `enter` is `unsafe`, and its caller promises
//!    it.
//! 2. The lender touches nothing of its block from its publication until it has seen the end: meanwhile it
//!    executes one block of assembly, to which no compiler and no sanitizer adds anything. The end consumes
//!    the storage, so no thread is inside then. (The exception, [`credentials`], happens while the thread
//!    inside waits for it.)
//! 3. Signals: the lender blocks all signals but one, and that one (`setxid`) uses parts of the block that
//!    are made for concurrent use. A worker that is inside handles its signals with the lender's block, as
//!    the lender itself would if it ran the same code. That one signal is the exception.
//! 4. The compiler takes the thread pointer for constant in a function. Each function sees it constant: one
//!    block of assembly sets it, calls, and sets it back, so no compiled function spans the change. A thread
//!    that is inside may call a function on its own block in the same way (`Storage::outside`).
//!
//! What is *not* in the block stays with the kernel thread that runs: its number (`gettid`), signal mask,
//! alternate signal stack, affinity, priority, name in the kernel, processor time, credentials set by raw
//! system calls, namespaces, and the floating-point control word. glibc looks up a thread's number in the
//! block. So a call that takes a `pthread_t` and makes a system call about that thread (`pthread_kill`,
//! `pthread_setaffinity_np`, `pthread_setschedparam`, `pthread_getcpuclockid`) reaches the lender if the
//! `pthread_t` is a storage's. A signal sent to the lender stays pending until its end. `pthread_kill` of the
//! calling thread itself reaches the worker since glibc 2.34, and `raise` always. A robust mutex follows the
//! storage. One with priority inheritance stays locked for ever once it is contended, whether the storage has
//! moved or not: the kernel compares its owner, a number from the block, with the thread that unlocks it. A
//! thread that is started inside has no rseq area, because glibc does in a new thread as it did in its
//! starter.
//!
//! **Forks.** A forked child has one thread and no lender. If its parent's thread was inside, the child is
//! that thread for good, and the C library considers the worker's stack as free. So entering in the child,
//! and leaving there what the parent has entered, abort; everything else works.
//!
//! **Rejected.**
//!
//! - *A block made with glibc's `_dl_allocate_tls`*, with a `struct pthread` filled in by hand. It costs
//!   4 KiB and no kernel thread; a lender costs 10 KiB, 22 KiB in the kernel, and four mappings. But the
//!   offsets of a dozen fields have to be found out, by symbols for debuggers and by trial. The block is
//!   missing in glibc's lists, so libraries with static thread-local storage cannot be loaded any more.
//!   `pthread_getattr_np` asks the kernel about a thread that does not exist. std, sanitizers and every
//!   library with a record for each thread see a thread that never began, and its end has to call the
//!   destructors in glibc's place. Each of these depends on the version of glibc.
//! - *Threads as units of scheduling, with as many permits to run as there are processors.* No thread pointer
//!   is changed, but each move of a permit is a futex hand-off through the kernel: microseconds in place of
//!   nanoseconds, and a sleep of one thread for each turn of another.
//! - *To restore the thread pointer lazily*, only when another block is needed: then a worker's own code runs
//!   with a lender's block, also after the lender's end.

mod credentials;
mod lender;
mod loan;
mod probe;
mod setxid;
mod sys;
#[cfg(all(test, not(loom), not(miri)))]
mod tests;

pub(crate) use lender::Storage;
pub(crate) use probe::supported;

/// Prepares the calling thread for entering storages. The value stays there until the thread enters no more.
pub(crate) fn prepare_thread() -> impl Sized {
    sys::occupy_rseq()
}
