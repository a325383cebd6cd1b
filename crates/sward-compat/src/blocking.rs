//! Async streams for code that blocks.

/// An async stream of tokio's or futures' traits as std's `Read` and `Write`. Each call parks until the
/// stream is ready, as [`sward::block_on`] does; a cancellation unwinds out of it.
///
/// Wrap a stream once: for tokio's traits use [`Blocking::tokio`], for futures' [`Blocking::futures`].
///
/// ```
/// use std::io::{Read, Write};
/// use sward_compat::Blocking;
///
/// sward::run(|| {
///     let (near, far) = tokio::io::duplex(64);
///     let (mut near, mut far) = (Blocking::tokio(near), Blocking::tokio(far));
///     let writes = sward::spawn(move || near.write_all(b"hello"));
///     let mut text = String::new();
///     far.read_to_string(&mut text)?;
///     assert_eq!(text, "hello");
///     writes.join().unwrap()
/// })
/// # .unwrap();
/// ```
#[cfg(any(feature = "tokio", feature = "futures-io"))]
#[derive(Debug)]
pub struct Blocking<S, Kind> {
    stream: S,
    kind: std::marker::PhantomData<Kind>,
}

#[cfg(any(feature = "tokio", feature = "futures-io"))]
impl<S, Kind> Blocking<S, Kind> {
    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

/// The kind of a [`Blocking`] over tokio's traits.
#[cfg(feature = "tokio")]
#[derive(Debug)]
pub enum Tokio {}

/// The kind of a [`Blocking`] over futures' traits.
#[cfg(feature = "futures-io")]
#[derive(Debug)]
pub enum Futures {}

#[cfg(feature = "tokio")]
mod over_tokio {
    use super::{Blocking, Tokio};
    use std::future::poll_fn;
    use std::io::{self, Read, Write};
    use std::marker::PhantomData;
    use std::pin::Pin;
    use sward::block_on;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    impl<S> Blocking<S, Tokio> {
        /// A stream of tokio's traits. A socket of tokio needs tokio's driver: see
        /// [`block_on`](crate::block_on).
        pub fn tokio(stream: S) -> Self {
            Blocking { stream, kind: PhantomData }
        }
    }

    impl<S: AsyncRead + Unpin> Read for Blocking<S, Tokio> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut buffer = ReadBuf::new(buffer);
            block_on(poll_fn(|context| Pin::new(&mut self.stream).poll_read(context, &mut buffer)))?;
            Ok(buffer.filled().len())
        }
    }

    impl<S: AsyncWrite + Unpin> Write for Blocking<S, Tokio> {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            block_on(poll_fn(|context| Pin::new(&mut self.stream).poll_write(context, data)))
        }

        fn flush(&mut self) -> io::Result<()> {
            block_on(poll_fn(|context| Pin::new(&mut self.stream).poll_flush(context)))
        }
    }
}

#[cfg(feature = "futures-io")]
mod over_futures {
    use super::{Blocking, Futures};
    use futures_io::{AsyncRead, AsyncWrite};
    use std::future::poll_fn;
    use std::io::{self, Read, Write};
    use std::marker::PhantomData;
    use std::pin::Pin;
    use sward::block_on;

    impl<S> Blocking<S, Futures> {
        /// A stream of futures' traits.
        pub fn futures(stream: S) -> Self {
            Blocking { stream, kind: PhantomData }
        }
    }

    impl<S: AsyncRead + Unpin> Read for Blocking<S, Futures> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            block_on(poll_fn(|context| Pin::new(&mut self.stream).poll_read(context, buffer)))
        }
    }

    impl<S: AsyncWrite + Unpin> Write for Blocking<S, Futures> {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            block_on(poll_fn(|context| Pin::new(&mut self.stream).poll_write(context, data)))
        }

        fn flush(&mut self) -> io::Result<()> {
            block_on(poll_fn(|context| Pin::new(&mut self.stream).poll_flush(context)))
        }
    }
}
