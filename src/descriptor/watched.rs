//! What [`task::on_ready`](crate::task::on_ready()) can wait for.

use crate::netpoll::Source;
use std::time::Duration;

/// What [`on_ready`](crate::task::on_ready()) can wait for: the sockets of [`net`](crate::net), an
/// [`io::Pollable`](crate::io::Pollable) and a [`Timer`](crate::task::Timer).
///
/// No other type can implement it.
pub trait Watched: Sealed {}

impl<W: Sealed> Watched for W {}

/// What such a type consists of. Its name is not public.
pub trait Sealed {
    /// Its open file, always the same.
    fn file(&self) -> Option<WatchedFile<'_>>;

    /// How long it waits at most.
    fn period(&self) -> Option<Duration> {
        None
    }
}

/// An open file that can be waited for.
pub struct WatchedFile<'a>(&'a Source);

impl<'a> WatchedFile<'a> {
    pub(crate) fn new(source: &'a Source) -> WatchedFile<'a> {
        WatchedFile(source)
    }

    pub(crate) fn source(self) -> &'a Source {
        self.0
    }
}
