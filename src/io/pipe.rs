//! Anonymous pipes. [`PipeEnd`] reads, writes and waits.

use crate::descriptor::{PipeEnd, pipe_conversions, pipe_reads, pipe_writes};
use std::io;

/// Creates a pipe: [`std::io::pipe`] for coroutines. Does not park.
///
/// The reader reads what the writer has written. It reads the end of the stream once all writers are closed,
/// including the duplicates that children have inherited. A write fails with `BrokenPipe` once all readers
/// are closed.
///
/// # Errors
///
/// As std's: no descriptor is free.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
///
/// sward::run(|| {
///     let (mut reader, mut writer) = sward::io::pipe()?;
///     let parked = sward::spawn(move || {
///         let mut text = String::new();
///         reader.read_to_string(&mut text).map(|_| text)
///     });
///     writer.write_all(b"hello")?;
///     drop(writer);
///     assert_eq!(parked.join().unwrap()?, "hello");
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}

macro_rules! pipe_types {
    ($($(#[$doc:meta])* $ours:ident: $std:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// A call that would block parks the calling coroutine; on a plain thread it blocks the thread. Any
        /// number of coroutines and threads may use the end at once, through clones or references.
        ///
        /// The open file becomes non-blocking at the first call here, for duplicates of the descriptor as
        /// well. The last clone becomes blocking again when it is converted to a `Stdio`, an `OwnedFd` or
        /// std's type. So to share an end with a child, do not use it here, or pass the last clone to the
        /// child.
        ///
        /// # Errors
        ///
        /// As std's. Once the runtime has shut down, a call that would have to wait fails.
        ///
        /// # Cancellation
        ///
        /// A coroutine that is cancelled while it is parked here unwinds, and no bytes are lost: it parks
        /// only while nothing was transferred.
        pub struct $ours {
            end: PipeEnd,
        }

        impl $ours {
            /// Another handle to the same end. Unlike std's it duplicates no descriptor: clones share it.
            /// Does not park, and does not fail.
            pub fn try_clone(&self) -> io::Result<$ours> {
                Ok($ours { end: self.end.clone() })
            }

            /// Converts to std's type, which is blocking. Does not park.
            ///
            /// If clones remain, std's type has a duplicate of the descriptor, and the mode that the clones
            /// use.
            ///
            /// # Errors
            ///
            /// No descriptor is free for the duplicate. The handle is dropped.
            pub fn into_std(self) -> io::Result<$std> {
                self.end.into_fd().map(Into::into)
            }
        }

        pipe_conversions! { $ours, $std }
    )*};
}

pipe_types! {
    /// The reading end of a [`pipe`]: [`std::io::PipeReader`] for coroutines.
    PipeReader: std::io::PipeReader;
    /// The writing end of a [`pipe`]: [`std::io::PipeWriter`] for coroutines.
    PipeWriter: std::io::PipeWriter;
}

pipe_reads! { PipeRead, PipeReader, &PipeReader }
pipe_writes! { PipeWrite, PipeWriter, &PipeWriter }
