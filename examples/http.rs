//! A small HTTP/1.1 server with keep-alive and pipelining:
//! `cargo run --release --example http -- [PORT] [--workers N] [--head-seconds N]`, then
//! `curl -i http://127.0.0.1:8080/`.
//!
//! What a connection sends badly is answered: 400 for what is no HTTP, 408 for a head that takes longer
//! than ten seconds, or `--head-seconds`, as a whole, 431 for one that is too large, 501 for chunked bodies.

mod common;

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};
use sward::net::{TcpListener, TcpStream};

const HEAD_LIMIT: usize = 16 << 10;
const IDLE_TIME: Duration = Duration::from_secs(60);

const HELLO: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, World!\n";
const HELLO_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\n";
const HELLO_CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\
    Connection: close\r\n\r\nHello, World!\n";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const NOT_IMPLEMENTED: &[u8] =
    b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

fn main() {
    let mut arguments = common::Arguments::new("http [PORT] [--workers N] [--head-seconds N]");
    let port = arguments.port(8080);
    let head_time = Duration::from_secs(arguments.number("--head-seconds", 10));
    let workers = arguments.number("--workers", 0) as usize;
    arguments.end();
    let mut builder = sward::runtime::Builder::new();
    if workers > 0 {
        builder = builder.worker_threads(workers);
    }
    let served = builder.build().and_then(|runtime| runtime.run(|| serve(port, head_time)));
    if let Err(e) = served {
        common::fail(&format!("http on port {port}: {e}"));
    }
}

fn serve(port: u16, head_time: Duration) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("serves http://{}/", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        sward::spawn(move || {
            // A connection that breaks is the end of that connection only.
            let _ = Connection::new(stream).and_then(|connection| connection.serve(head_time));
        });
    }
    Ok(())
}

/// What is to be done after a request.
enum Next {
    Request { head: usize, body: usize },
    NeedMore,
    Close,
    Refuse(&'static [u8]),
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Bytes of a body that are still to be passed over.
    skip: usize,
}

impl Connection {
    fn new(stream: TcpStream) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(IDLE_TIME))?;
        let (buffer, input, output) = (vec![0; 2048], Vec::with_capacity(1024), Vec::with_capacity(256));
        Ok(Connection { stream, buffer, input, output, skip: 0 })
    }

    fn serve(mut self, head_time: Duration) -> io::Result<()> {
        // When the head that has begun is to be complete.
        let mut head_ends: Option<Instant> = None;
        loop {
            match self.read_more() {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && head_ends.is_some() => {
                    return self.stream.write_all(TIMEOUT);
                }
                Err(e) => return Err(e),
            }
            let answered = self.answer_all();
            self.stream.write_all(&self.output)?;
            self.output.clear();
            let Some(answered) = answered else { return Ok(()) };

            if self.input.is_empty() {
                if head_ends.take().is_some() {
                    self.stream.set_read_timeout(Some(IDLE_TIME))?;
                }
                continue;
            }
            // The time of a head starts with its first byte and goes on until its last, however it drips.
            let now = Instant::now();
            let ends = head_ends.filter(|_| answered == 0).unwrap_or(now + head_time);
            let left = ends.saturating_duration_since(now);
            if left.is_zero() {
                return self.stream.write_all(TIMEOUT);
            }
            self.stream.set_read_timeout(Some(left))?;
            head_ends = Some(ends);
        }
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let n = self.stream.read(&mut self.buffer)?;
        let skipped = self.skip.min(n);
        self.skip -= skipped;
        self.input.extend_from_slice(&self.buffer[skipped..n]);
        Ok(n)
    }

    /// Answers every request that is complete, and tells how many; `None` when the connection is to be
    /// closed.
    fn answer_all(&mut self) -> Option<usize> {
        let (mut at, mut count) = (0, 0);
        loop {
            match next(&self.input[at..], &mut self.output) {
                Next::Request { head, body } => {
                    let left = self.input.len() - at - head;
                    self.skip = body.saturating_sub(left);
                    at += head + body.min(left);
                    count += 1;
                }
                Next::NeedMore => break,
                Next::Close => return None,
                Next::Refuse(response) => {
                    self.output.extend_from_slice(response);
                    return None;
                }
            }
        }
        self.input.drain(..at);
        Some(count)
    }
}

/// Answers the request at the beginning of `input`, if it is complete.
fn next(input: &[u8], output: &mut Vec<u8>) -> Next {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(input) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if input.len() < HEAD_LIMIT => return Next::NeedMore,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Next::Refuse(TOO_LARGE);
        }
        Err(_) => return Next::Refuse(BAD_REQUEST),
    };
    let (mut body, mut close) = (0, request.version == Some(0));
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            match std::str::from_utf8(header.value).ok().and_then(|text| text.trim().parse().ok()) {
                Some(length) => body = length,
                None => return Next::Refuse(BAD_REQUEST),
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Next::Refuse(NOT_IMPLEMENTED);
        } else if header.name.eq_ignore_ascii_case("connection") {
            close = header.value.eq_ignore_ascii_case(b"close")
                || (close && !header.value.eq_ignore_ascii_case(b"keep-alive"));
        }
    }
    output.extend_from_slice(match (request.method, request.path) {
        (Some("GET"), Some("/")) if close => HELLO_CLOSE,
        (Some("GET"), Some("/")) => HELLO,
        (Some("HEAD"), Some("/")) => HELLO_HEAD,
        _ => NOT_FOUND,
    });
    if close { Next::Close } else { Next::Request { head, body } }
}
