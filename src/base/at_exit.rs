//! A value that a thread keeps until the thread has run everything else, destructors of thread-locals
//! included.
//!
//! It is the value of a key of `pthread_key_create`. As the thread ends, the system calls the key's
//! destructor in rounds: as long as keys have values, but only a limited number of times. std destroys
//! thread-locals before the first round where there is `__cxa_thread_atexit_impl`, and in one of the rounds
//! elsewhere; destructors of other keys, of libraries in C, run in any of them. So the value is set again in
//! each round but the last one that every system makes.
//!
//! For the main thread nothing is called when `main` returns: the process ends.

use libc::pthread_key_t;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::OnceLock;

/// Rounds that every system makes: `_POSIX_THREAD_DESTRUCTOR_ITERATIONS`.
pub(crate) const ROUNDS: u32 = 4;

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

/// Makes the calling thread keep the value until its end. False if the system has no room for that: then
/// `end` is never called. The function is the same in all calls.
///
/// # Safety
///
/// `end` may be called with the value on this thread, up to [`ROUNDS`] times, until it gives [`Next::Gone`].
pub(crate) unsafe fn keep(value: NonNull<()>, end: End) -> bool {
    KEY.get_or_init(|| create(end)).as_ref().is_some_and(|key| set(key, value))
}

fn create(end: End) -> Option<Key> {
    let mut id = 0;
    // SAFETY: the place for the key lives until the call ends; the function is told of values of this key
    // only.
    (unsafe { libc::pthread_key_create(&raw mut id, Some(tell)) } == 0).then_some(Key { id, end })
}

fn set(key: &Key, value: NonNull<()>) -> bool {
    // SAFETY: the key was created, and is never deleted.
    unsafe { libc::pthread_setspecific(key.id, value.as_ptr().cast::<c_void>()) == 0 }
}

unsafe extern "C" fn tell(value: *mut c_void) {
    let key = KEY.get().and_then(Option::as_ref).expect("it has called this");
    let value = NonNull::new(value).expect("the system tells of values only").cast();
    // SAFETY: it is a value that `keep` was called with on this thread.
    if unsafe { (key.end)(value) } == Next::Round {
        set(key, value);
    }
}
