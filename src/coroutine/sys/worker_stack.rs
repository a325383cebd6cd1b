//! The stacks of workers, as places where AddressSanitizer's search for leaks finds pointers. It takes the
//! stack of a coroutine for the thread's while that runs, and looks at no other.
//!
//! A thread announces its stack when it runs its first coroutine, and takes it back as it ends: the system
//! keeps the stack for another thread, and what is still written there would hide leaks. A destructor of a
//! thread-local would be too early: `exit` runs those of its thread as well, in a coroutine too, and leaks
//! are looked for after that. So it is the destructor of a key of `pthread_key_create`, which `exit` does not
//! run.

use super::leak::Used;
use libc::pthread_key_t;
use std::ffi::c_void;
use std::sync::OnceLock;

/// The key whose value is the calling thread's announcement, a `Box<Used>`; null if there is none. `None` if
/// the process has used up its keys: then no stack is announced.
static KEY: OnceLock<Option<pthread_key_t>> = OnceLock::new();

/// Announces the stack of the calling thread, with these bounds, unless it is announced.
pub(super) fn announce_worker(low: *const c_void, bytes: usize) {
    let Some(key) = *KEY.get_or_init(create) else { return };
    // SAFETY: the key was created, and is never deleted.
    if !unsafe { libc::pthread_getspecific(key) }.is_null() {
        return;
    }
    // SAFETY: the thread's own stack, which is there until the thread has run the destructors of its keys.
    let used = Box::into_raw(Box::new(unsafe { Used::announce(low, bytes) }));
    // SAFETY: as for `pthread_getspecific`.
    if unsafe { libc::pthread_setspecific(key, used.cast()) } != 0 {
        // SAFETY: it was made above, and nobody else has it.
        unsafe { take_back(used.cast()) };
    }
}

fn create() -> Option<pthread_key_t> {
    let mut key = 0;
    // SAFETY: the place for the key lives until the call ends. The system calls the function only with values
    // of this key.
    (unsafe { libc::pthread_key_create(&raw mut key, Some(take_back)) } == 0).then_some(key)
}

/// The key's destructor. Should the thread run a coroutine after that, it announces its stack again.
///
/// # Safety
///
/// The value is that of the key, and is the key's no more.
unsafe extern "C" fn take_back(used: *mut c_void) {
    // SAFETY: it was made by `announce_worker`, and the caller has it alone.
    unsafe { Box::from_raw(used.cast::<Used>()) }.ended();
}
