//! How coroutines end, and how a test checks it.

use std::panic::resume_unwind;
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
