//! hyper on sward: `cargo run --release --example hyper -- [PORT] [--head-seconds N] [--connections N]`, then
//! `curl -i http://127.0.0.1:8082/`, or with `--http2-prior-knowledge`, or `-d text http://127.0.0.1:8082/echo`.
//!
//! hyper is written as futures. It asks three things of a runtime, which this file has in this order: a
//! stream that can be polled, an executor, a timer. Each future runs in a coroutine of its own, under
//! `block_on`. So a handler may simply block. In HTTP/1.1 that parks its connection, which has one request
//! at a time. In HTTP/2 each request is a coroutine, so it parks only itself.
//!
//! Limits: 4,000 connections, or `--connections`; further ones wait in the backlog. hyper's own limits are
//! set as well: buffers, heads, and for HTTP/2 the number of streams and of resets (see `connection`).

mod common;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{self, ReadBufCursor};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use std::convert::Infallible;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use sward::net::{Shutdown, TcpListener, TcpStream};
use sward::task::JoinHandle;

/// The first bytes of a client that speaks HTTP/2 without negotiation.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn main() {
    let mut arguments = common::Arguments::new("hyper [PORT] [--head-seconds N] [--connections N]");
    let port = arguments.port(8082);
    let head_time = Duration::from_secs(arguments.number("--head-seconds", 10));
    let limit = common::server::connections(&mut arguments, 1);
    arguments.end();
    if let Err(e) = sward::run(|| serve(port, limit, head_time)) {
        common::fail(&format!("hyper on port {port}: {e}"));
    }
}

/// How many bytes hyper may buffer for a connection, in each direction.
const BUFFER: usize = 64 << 10;
/// The longest head.
const HEAD_LIMIT: u32 = 16 << 10;
/// How many requests an HTTP/2 connection may have at once, and how many that the client has reset may still
/// be pending.
const STREAMS: u32 = 100;
const RESETS: usize = 20;
/// The time between two HTTP/2 pings, and the time for the answer.
const PING_EVERY: Duration = Duration::from_secs(60);
const PONG_TIME: Duration = Duration::from_secs(20);

fn serve(port: u16, limit: usize, head_time: Duration) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("serves http://{}/", listener.local_addr()?);
    common::server::serve(&listener, limit, move |stream| {
        // A broken connection ends only itself.
        let _ = connection(stream, head_time);
    });
    Ok(())
}

/// Serves a connection. `head_time` is the limit for its first bytes, and for each head.
fn connection(mut stream: TcpStream, head_time: Duration) -> Result<(), Box<dyn std::error::Error>> {
    stream.set_nodelay(true)?;
    let begun = sward::time::timeout(head_time, || begin(&mut stream))??;
    let is_http2 = begun == PREFACE;
    let stream = Stream::new(stream, begun)?;
    if is_http2 {
        let mut builder = http2::Builder::new(Coroutines);
        builder.timer(Clock).keep_alive_interval(PING_EVERY).keep_alive_timeout(PONG_TIME);
        builder.max_concurrent_streams(STREAMS).max_pending_accept_reset_streams(RESETS);
        builder.max_header_list_size(HEAD_LIMIT).max_send_buf_size(BUFFER);
        sward::block_on(builder.serve_connection(stream, service_fn(answer)))?;
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(Clock).header_read_timeout(head_time).half_close(true).max_buf_size(BUFFER);
        sward::block_on(builder.serve_connection(stream, service_fn(answer)))?;
    }
    Ok(())
}

/// Reads until it is clear whether the client speaks HTTP/2, and returns the bytes read.
fn begin(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (mut buffer, mut len) = ([0; PREFACE.len()], 0);
    while len < PREFACE.len() && buffer[..len] == PREFACE[..len] {
        match stream.read(&mut buffer[len..])? {
            0 => break,
            n => len += n,
        }
    }
    Ok(buffer[..len].to_vec())
}

/// The service: its type is that of an async function, its code blocks.
async fn answer(request: Request<Incoming>) -> Result<Response<Either<Full<Bytes>, Incoming>>, Infallible> {
    let text = |text: &'static str| Either::Left(Full::new(Bytes::from_static(text.as_bytes())));
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/") => (StatusCode::OK, text("Hello, World!\n")),
        (&Method::GET, "/slow") => {
            sward::sleep(Duration::from_millis(200));
            (StatusCode::OK, text("slow\n"))
        }
        (&Method::POST, "/echo") => (StatusCode::OK, Either::Right(request.into_body())),
        _ => (StatusCode::NOT_FOUND, text("not found\n")),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    Ok(response)
}

/// A stream for code that polls. Its calls do not park.
struct Stream {
    stream: TcpStream,
    /// Bytes that were read before, and how many of them were passed on.
    begun: Vec<u8>,
    passed: usize,
}

impl Stream {
    fn new(stream: TcpStream, begun: Vec<u8>) -> io::Result<Stream> {
        stream.set_nonblocking(true)?;
        Ok(Stream { stream, begun, passed: 0 })
    }
}

/// Repeats a call that does not block until it has a result. In between, the caller's task waits.
fn poll_call<T>(
    mut wait: impl FnMut() -> Poll<io::Result<()>>,
    mut call: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(wait())?,
            result => return Poll::Ready(result),
        }
    }
}

impl rt::Read for Stream {
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
            return Poll::Ready(Ok(()));
        }
        let mut chunk = [0; 8 << 10];
        let room = chunk.len().min(buffer.remaining());
        let read = || (&this.stream).read(&mut chunk[..room]);
        let n = ready!(poll_call(|| this.stream.poll_readable(context), read))?;
        buffer.put_slice(&chunk[..n]);
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        poll_call(|| this.stream.poll_writable(context), || (&this.stream).write_vectored(data))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
    }
}

/// Runs each future in a coroutine of its own.
#[derive(Clone, Copy)]
struct Coroutines;

impl<F: Future<Output: Send> + Send + 'static> rt::Executor<F> for Coroutines {
    fn execute(&self, future: F) {
        sward::spawn(move || sward::block_on(future));
    }
}

/// Timers: coroutines that sleep.
#[derive(Clone, Copy)]
struct Clock;

impl rt::Timer for Clock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Sleep(sward::spawn(move || sward::sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Sleep(sward::spawn(move || sward::time::sleep_until(deadline))))
    }
}

struct Sleep(JoinHandle<()>);

impl rt::Sleep for Sleep {}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context).map(drop)
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
