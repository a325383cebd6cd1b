//! How this crate starts a thread of its own: the one place for it, so that a test can have it fail.

use super::sys::calls;
use std::io;
use std::thread::Builder;

/// A builder of a thread of that name.
///
/// # Errors
///
/// The system has no thread. As `spawn` of the builder may fail, too, a caller treats both alike.
pub(crate) fn new_thread(name: impl Into<String>) -> io::Result<Builder> {
    calls::before_thread()?;
    Ok(Builder::new().name(name.into()))
}
