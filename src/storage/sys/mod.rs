//! What differs between systems, C libraries and processors in thread-local storage.
//!
//! | each module supplies | |
//! |---|---|
//! | `check` | why this process cannot have storages, as far as that can be known without a try |
//! | `thread_pointer` | the calling thread's |
//! | `call_on` | calls a function with another thread pointer |
//! | `guards` | the words of a block that compilers and the C library expect to be the same in all threads |
//! | `swap_errno` | reads and sets `errno` |
//! | `futex_wait`, `futex_wake` | waits for a word of memory |
//! | `publish_and_wait` | sets a word and waits for its next change, out of the compiler's reach |
//! | `thread_id` | the number of the kernel thread |
//! | `block_signals`, `restore_signals` | all signals but that of `wrap_setxid` |
//! | `leave_rseq`, `leave_rseq_of` | ends the kernel's writes to a block |
//! | `occupy_rseq` | keeps libraries from making the kernel write to a block in which a worker is |
//! | `no_rseq` | whether the kernel writes to no block on behalf of this kernel thread |
//! | `wrap_setxid` | puts a handler in front of the C library's for `setuid` and its kin |
//! | `has_signalled_itself` | whether that signal has come from the thread's own call |
//! | `users`, `group`, `groups` and their setters | the credentials of the kernel thread |
//! | `map`, `unmap` | memory without an allocator |
//!
//! All but `check`, `swap_errno`, `leave_rseq`, `no_rseq`, `occupy_rseq` and `wrap_setxid` touch no
//! thread-local, `errno` included, and may be called in signal handlers.
//!
//! - `linux_gnu`: Linux with glibc, on x86-64 and AArch64.
//! - `none`: all others, models, miri and ThreadSanitizer. `check` refuses, so nothing else is called.

#[cfg(sward_storage)]
mod linux_gnu;
#[cfg(not(sward_storage))]
mod none;

#[cfg(sward_storage)]
pub(super) use linux_gnu::*;
#[cfg(not(sward_storage))]
pub(super) use none::*;
