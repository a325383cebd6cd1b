//! Anonymous pipes. What reads, writes and waits is [`PipeEnd`].

use crate::descriptor::{PipeEnd, pipe_conversions, pipe_reads, pipe_writes};
use std::io;

/// Makes a pipe; [`std::io::pipe`] for coroutines. Does not park.
///
/// What is written to one end is read from the other. The reader meets the end of the stream when all writers
/// are gone, those that children have inherited included; a writer fails with `BrokenPipe` when all readers
/// are gone.
///
/// # Errors
///
/// Those of `pipe2(2)`: no descriptor was free.
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
    ($($(#[$doc:meta])* $ours:ident: $std:ty, $example:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// A call that would block parks the calling coroutine; on a plain thread it blocks the thread. Any
        /// number of coroutines and threads may use it at once, through clones or references.
        ///
        /// The open file becomes non-blocking at the first call here, for duplicates of the descriptor as
        /// well. One that goes to a child should not be used here, or be given to the child whole: the last
        /// clone becomes blocking again when it is turned into a `Stdio`, an `OwnedFd` or std's type.
        ///
        /// # Errors
        ///
        /// As std's. Once the runtime has shut down, a call that would have to wait fails.
        ///
        /// # Cancellation
        ///
        /// A coroutine that is cancelled while parked here unwinds, and no bytes are lost: it is parked
        /// only while none were transferred.
        pub struct $ours {
            end: PipeEnd,
        }

        impl $ours {
            /// Another handle to the same end, which shares the descriptor. Does not park.
            ///
            /// # Errors
            ///
            /// None at present.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $example]
            /// let clone = end.try_clone()?;
            /// # Ok::<_, std::io::Error>(())
            /// ```
            pub fn try_clone(&self) -> io::Result<$ours> {
                Ok($ours { end: self.end.clone() })
            }

            /// Turns it into std's type, which is blocking. Does not park.
            ///
            /// If clones remain, std's has a duplicate of the descriptor, and the mode that the clones use.
            ///
            /// # Errors
            ///
            /// No descriptor was free for the duplicate; the handle is dropped.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $example]
            #[doc = concat!("let std: ", stringify!($std), " = end.into_std()?;")]
            /// # Ok::<_, std::io::Error>(())
            /// ```
            pub fn into_std(self) -> io::Result<$std> {
                self.end.into_fd().map(Into::into)
            }
        }

        pipe_conversions! { $ours, $std }
    )*};
}

pipe_types! {
    /// The end of a [`pipe`] that is read; [`std::io::PipeReader`] for coroutines.
    PipeReader: std::io::PipeReader, "let (end, _writer) = sward::io::pipe()?;";
    /// The end of a [`pipe`] that is written; [`std::io::PipeWriter`] for coroutines.
    PipeWriter: std::io::PipeWriter, "let (_reader, end) = sward::io::pipe()?;";
}

pipe_reads! { PipeRead, PipeReader, &PipeReader }
pipe_writes! { PipeWrite, PipeWriter, &PipeWriter }
