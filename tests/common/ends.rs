//! How coroutines end, and how a test checks it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use sward::task::{JoinError, JoinHandle};

/// Panics, without a message of the panic hook.
pub fn fails() -> ! {
    resume_unwind(Box::new("on purpose"))
}

/// Cancels a coroutine, and checks that it ends by that.
pub fn assert_cancelled<T>(handle: JoinHandle<T>) {
    handle.cancel();
    assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
}

/// The message of the panic that the closure ends with.
pub fn message_of<T>(f: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).err().expect("a panic");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast_ref::<&str>().expect("a text")).to_owned(),
    }
}
