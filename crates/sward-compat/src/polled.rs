//! Streams of sward for code that polls.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};
use sward::net::{Shutdown, TcpStream, UnixStream};

mod sealed {
    pub trait Sealed {}
}

/// A stream socket of sward: [`TcpStream`] or [`UnixStream`].
pub trait Socket: AsFd + sealed::Sealed + Send + Sync + Unpin + 'static {
    /// As the method of the socket.
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()>;
    /// As the method of the socket.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// As the method of the socket.
    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// As the method of the socket.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
    /// As [`Read::read`] of the socket.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// As [`Write::write_vectored`] of the socket.
    fn write_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize>;
}

macro_rules! sockets {
    ($($ours:ty),*) => {$(
        impl sealed::Sealed for $ours {}

        impl Socket for $ours {
            fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
                self.set_nonblocking(nonblocking)
            }

            fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_readable(context)
            }

            fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_writable(context)
            }

            fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                self.shutdown(how)
            }

            fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                (&mut &*self).read(buffer)
            }

            fn write_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
                (&mut &*self).write_vectored(data)
            }
        }
    )*};
}

sockets!(TcpStream, UnixStream);

/// A byte stream that is polled: the common form of what tokio, futures and hyper ask for. None of the calls
/// parks. Implement it for a stream of your own, such as one of a TLS library.
pub trait PollStream: Send + Unpin + 'static {
    /// Reads at most as much as fits. Zero bytes are the end of the stream, if `buffer` is not empty.
    ///
    /// # Errors
    ///
    /// Those of the stream; never `WouldBlock`.
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes some of the data, and returns how many bytes.
    ///
    /// # Errors
    ///
    /// As [`poll_read`](Self::poll_read).
    fn poll_write(&mut self, context: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Passes on what the stream has buffered.
    ///
    /// # Errors
    ///
    /// As [`poll_read`](Self::poll_read).
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends the direction to the peer.
    ///
    /// # Errors
    ///
    /// As [`poll_read`](Self::poll_read).
    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A stream of sward for code that polls: tokio's and futures' `AsyncRead` and `AsyncWrite`, on any executor.
///
/// The stream is in non-blocking mode from here on, and so are its clones, until
/// [`into_inner`](Polled::into_inner). No call parks: a coroutine that polls what is always ready gets
/// `Pending` now and then, and is woken at once, so that others go first. A task may move between threads; if
/// two tasks poll the same direction, the one that has polled last is woken.
///
/// On an executor that is not sward's, some sward runtime of the process has to run.
#[derive(Debug)]
pub struct Polled<S> {
    stream: S,
}

impl<S: Socket> Polled<S> {
    /// Puts the stream into non-blocking mode.
    ///
    /// # Errors
    ///
    /// Those of `set_nonblocking`.
    pub fn new(stream: S) -> io::Result<Polled<S>> {
        stream.set_nonblocking(true)?;
        Ok(Polled { stream })
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream, in blocking mode again: its calls park.
    ///
    /// # Errors
    ///
    /// Those of `set_nonblocking`.
    pub fn into_inner(self) -> io::Result<S> {
        self.stream.set_nonblocking(false)?;
        Ok(self.stream)
    }
}

/// Repeats a call that does not block until it has a result. In between, the task waits.
fn poll_call<T>(
    mut wait: impl FnMut() -> Poll<io::Result<()>>,
    mut call: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(wait())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Poll::Ready(result),
        }
    }
}

impl<S: Socket> PollStream for Polled<S> {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        poll_call(|| self.stream.poll_readable(context), || self.stream.read(buffer))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        poll_call(|| self.stream.poll_writable(context), || self.stream.write_vectored(data))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
    }
}

impl<S: Socket> AsFd for Polled<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(feature = "tokio")]
mod tokio_io {
    use super::{PollStream, Polled, Socket};
    use std::io::{self, IoSlice};
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    impl<S: Socket> AsyncRead for Polled<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let read = PollStream::poll_read(&mut *self, context, buffer.initialize_unfilled());
            buffer.advance(ready!(read)?);
            Poll::Ready(Ok(()))
        }
    }

    impl<S: Socket> AsyncWrite for Polled<S> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            data: &[u8],
        ) -> Poll<io::Result<usize>> {
            PollStream::poll_write(&mut *self, context, &[IoSlice::new(data)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            data: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            PollStream::poll_write(&mut *self, context, data)
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            PollStream::poll_flush(&mut *self, context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            PollStream::poll_shutdown(&mut *self, context)
        }
    }
}

#[cfg(feature = "futures-io")]
mod futures {
    use super::{PollStream, Polled, Socket};
    use futures_io::{AsyncRead, AsyncWrite};
    use std::io::{self, IoSlice};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    impl<S: Socket> AsyncRead for Polled<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            PollStream::poll_read(&mut *self, context, buffer)
        }
    }

    impl<S: Socket> AsyncWrite for Polled<S> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            data: &[u8],
        ) -> Poll<io::Result<usize>> {
            PollStream::poll_write(&mut *self, context, &[IoSlice::new(data)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            data: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            PollStream::poll_write(&mut *self, context, data)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            PollStream::poll_flush(&mut *self, context)
        }

        fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            PollStream::poll_shutdown(&mut *self, context)
        }
    }
}
