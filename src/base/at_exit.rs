//! A value that a thread has until it has run everything else, the destructors of its thread-locals included.
//!
//! It hangs on a key of `pthread_key_create`, whose destructor the system calls as the thread ends: in rounds,
//! as long as keys have values, but no more than so many. std destroys thread-locals before the first round where
//! there is `__cxa_thread_atexit_impl`, and in one of the rounds elsewhere; destructors of other keys, of libraries
//! in C, run in any of them. So the value is set again in each round but the last one that every system makes.
//!
//! The main thread's is not called where `main` returns: the process ends.

use libc::pthread_key_t;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::OnceLock;

/// Rounds that every system makes: `_POSIX_THREAD_DESTRUCTOR_ITERATIONS`.
pub(crate) const ROUNDS: u32 = 4;

/// What a thread's end comes to, for its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is told again in the next round.
    Round,
    /// The thread has the value no more.
    Gone,
}

/// Told in each round, on the thread that ends. Must not unwind.
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

/// Has the calling thread keep the value until its end. False if the system has no room for that: then nobody is
/// told of the end. The function is the same in all calls.
///
/// # Safety
///
/// `end` may be called with the value on this thread, up to [`ROUNDS`] times, until it gives [`Next::Gone`].
pub(crate) unsafe fn keep(value: NonNull<()>, end: End) -> bool {
    KEY.get_or_init(|| create(end)).as_ref().is_some_and(|key| set(key, value))
}

fn create(end: End) -> Option<Key> {
    let mut id = 0;
    // SAFETY: the place for the key lives until the call ends; the function is told of values of this key only.
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
