//! A value that a thread keeps until it has run everything else, destructors of thread-locals included.
//!
//! # The problem
//!
//! A destructor of a thread-local may block, and then needs the thread's parker. std offers no hook that runs
//! after all of these destructors: a thread-local with a destructor of its own may be destroyed before them.
//!
//! # The remedy
//!
//! The value is that of a key of `pthread_key_create`. As the thread ends, the system calls the destructors
//! of keys in rounds, for as long as keys have values, and for a limited number of rounds. std destroys
//! thread-locals before the first round where `__cxa_thread_atexit_impl` exists, and in one of the rounds
//! elsewhere. Destructors of other keys, such as those of C libraries, run in any round. So the key's
//! destructor sets the value again in each round but the last one that every system makes ([`ROUNDS`]).
//!
//! On the main thread nothing is called when `main` returns: the process ends.

use super::sys::KEPT_ROUNDS;
use libc::pthread_key_t;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::OnceLock;

/// The rounds that every system makes (`_POSIX_THREAD_DESTRUCTOR_ITERATIONS`), without the ones that a tool
/// has to itself.
pub(crate) const ROUNDS: u32 = 4 - KEPT_ROUNDS;

/// What happens to the value after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The thread keeps it, and `End` is called again in the next round.
    Round,
    /// The thread no longer has it.
    Gone,
}

/// Called in each round, on the thread that ends. Must not unwind.
pub(crate) type End = unsafe fn(NonNull<()>) -> Next;

struct Key {
    id: pthread_key_t,
    end: End,
}

/// `None` if the process has used up its keys.
static KEY: OnceLock<Option<Key>> = OnceLock::new();

/// The value that the calling thread keeps.
pub(crate) fn value() -> Option<NonNull<()>> {
    let key = KEY.get()?.as_ref()?;
    // SAFETY: the key was created, and is never deleted.
    NonNull::new(unsafe { libc::pthread_getspecific(key.id) }).map(NonNull::cast)
}

/// Makes the calling thread keep the value until its end. Returns false if the system has no room for it:
/// then `end` is never called. All calls pass the same function.
///
/// # Safety
///
/// `end` may be called with the value on this thread, up to [`ROUNDS`] times, until it returns
/// [`Next::Gone`].
pub(crate) unsafe fn keep(value: NonNull<()>, end: End) -> bool {
    KEY.get_or_init(|| create(end)).as_ref().is_some_and(|key| set(key, value))
}

fn create(end: End) -> Option<Key> {
    let mut id = 0;
    // SAFETY: the place for the key lives until the call ends. The system calls the function only with values
    // of this key.
    (unsafe { libc::pthread_key_create(&raw mut id, Some(run_round)) } == 0).then_some(Key { id, end })
}

fn set(key: &Key, value: NonNull<()>) -> bool {
    // SAFETY: the key was created, and is never deleted.
    unsafe { libc::pthread_setspecific(key.id, value.as_ptr().cast::<c_void>()) == 0 }
}

/// The key's destructor: the system calls it once in each round, for a thread that has a value.
unsafe extern "C" fn run_round(value: *mut c_void) {
    let key = KEY.get().and_then(Option::as_ref).expect("its destructor runs, so it was created");
    let value = NonNull::new(value).expect("the system calls it only for values that are not null").cast();
    // SAFETY: it is a value that `keep` was called with on this thread.
    if unsafe { (key.end)(value) } == Next::Round {
        set(key, value);
    }
}
