//! What hyper asks of a runtime: a stream, an executor, a timer.

use hyper::rt::{self, ReadBufCursor};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use sward_compat::{PollStream, Sleep};

/// How much is read at once.
const CHUNK: usize = 8 << 10;

/// A stream for hyper: `Io::new(Polled::new(stream)?)` for a socket of sward.
#[derive(Debug)]
pub struct Io<S> {
    stream: S,
    /// Bytes that were read before, and how many of them were passed on.
    begun: Vec<u8>,
    passed: usize,
}

impl<S: PollStream> Io<S> {
    /// That stream.
    pub fn new(stream: S) -> Io<S> {
        Io::with_begun(stream, Vec::new())
    }

    /// A stream of which these bytes were read already.
    pub fn with_begun(stream: S, begun: Vec<u8>) -> Io<S> {
        Io { stream, begun, passed: 0 }
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream, and the bytes of it that were read and not passed on.
    pub fn into_parts(mut self) -> (S, Vec<u8>) {
        self.begun.drain(..self.passed);
        (self.stream, self.begun)
    }
}

impl<S: PollStream> rt::Read for Io<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.passed < this.begun.len() {
            let n = (this.begun.len() - this.passed).min(buffer.remaining());
            buffer.put_slice(&this.begun[this.passed..this.passed + n]);
            this.passed += n;
            if this.passed == this.begun.len() {
                (this.begun, this.passed) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        // hyper's buffer is not initialized, so the bytes are copied.
        let mut chunk = [0; CHUNK];
        let room = chunk.len().min(buffer.remaining());
        let n = ready!(this.stream.poll_read(context, &mut chunk[..room]))?;
        buffer.put_slice(&chunk[..n]);
        Poll::Ready(Ok(()))
    }
}

impl<S: PollStream> rt::Write for Io<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream.poll_write(context, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().stream.poll_write(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_shutdown(context)
    }
}

/// hyper's executor: each future runs in a coroutine of its own, so it may park.
#[derive(Clone, Copy, Debug, Default)]
pub struct Coroutines;

impl<F: Future<Output: Send> + Send + 'static> rt::Executor<F> for Coroutines {
    fn execute(&self, future: F) {
        sward::spawn(move || sward::block_on(future));
    }
}

/// hyper's timer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl rt::Timer for Clock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Timer(sward_compat::sleep(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Timer(sward_compat::sleep_until(deadline)))
    }
}

struct Timer(Sleep);

impl rt::Sleep for Timer {}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context)
    }
}
