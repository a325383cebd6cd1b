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
    /// How long the stream may take no bytes, and the time since it takes none.
    write_time: Option<Duration>,
    stuck: Option<Sleep>,
}

impl<S: PollStream> Io<S> {
    /// That stream.
    pub fn new(stream: S) -> Io<S> {
        Io::with_begun(stream, Vec::new())
    }

    /// A stream of which these bytes were read already.
    pub fn with_begun(stream: S, begun: Vec<u8>) -> Io<S> {
        Io { stream, begun, passed: 0, write_time: None, stuck: None }
    }

    /// Limits how long the peer may take no bytes that are written. `TimedOut` after it.
    pub fn write_time(mut self, limit: Duration) -> Io<S> {
        self.write_time = Some(limit);
        self
    }

    /// The result of a call that writes. If it has none, the time limit runs.
    fn limited<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match (written, self.write_time) {
            (Poll::Pending, Some(limit)) => {
                let stuck = self.stuck.get_or_insert_with(|| sward_compat::sleep(limit));
                Pin::new(stuck).poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
            (written, _) => {
                self.stuck = None;
                written
            }
        }
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
        self.poll_write_vectored(context, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.stream.poll_write(context, data);
        this.limited(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = this.stream.poll_flush(context);
        this.limited(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ended = this.stream.poll_shutdown(context);
        this.limited(context, ended)
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
