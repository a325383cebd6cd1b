//! The ends of the pipes to a child's standard streams. [`PipeEnd`] reads, writes and waits.

use crate::descriptor::{PipeEnd, pipe_conversions, pipe_reads, pipe_writes};
use std::io;

macro_rules! streams {
    ($($(#[$doc:meta])* $ours:ident: $std:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// A call that would block parks the calling coroutine; on a plain thread it blocks the thread. A
        /// coroutine that is cancelled while it is parked here unwinds, and no bytes are lost. The child's
        /// end of the pipe is blocking, as programs expect.
        pub struct $ours {
            end: PipeEnd,
        }

        impl $ours {
            /// Converts to std's type, which is blocking. Does not park.
            pub fn into_std(self) -> io::Result<$std> {
                self.end.into_fd().map(Into::into)
            }
        }

        pipe_conversions! { $ours, $std }
    )*};
}

streams! {
    /// What the child reads: [`std::process::ChildStdin`] for coroutines. Dropping it ends the child's input.
    ChildStdin: std::process::ChildStdin;
    /// What the child writes to its standard output: [`std::process::ChildStdout`] for coroutines.
    ChildStdout: std::process::ChildStdout;
    /// What the child writes to its standard error stream: [`std::process::ChildStderr`] for coroutines.
    ChildStderr: std::process::ChildStderr;
}

pipe_writes! { ChildStdin, ChildStdin, &ChildStdin }
pipe_reads! { ChildStdout, ChildStdout, &ChildStdout }
pipe_reads! { ChildStderr, ChildStderr, &ChildStderr }
