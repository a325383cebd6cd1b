//! HTTP/1.1 for a server (RFC 9110, RFC 9112), over any stream: what `http` and `https` share.
//!
//! The code reads top to bottom: read a head, read the body, answer, repeat. It waits for the client inside
//! `read` and `write`, and each wait has a limit.
//!
//! What a server must get right, and where:
//! - Where a request ends (`framing`). If a proxy in front of this server sees another end, a client can
//!   smuggle requests past the proxy. So the server refuses ambiguous requests: a `Content-Length` that is
//!   repeated, signed, or beside `Transfer-Encoding`, and chunks that break the grammar in any detail.
//! - Whether the connection stays open (`keeps_alive`).
//! - That a refusal arrives (`Connection::close`), although the client may have sent more than the server has
//!   read.
//! - How much memory a client can make it hold (the constants): less than 256 KiB, whatever the client sends,
//!   and whether it reads or not. Long answers are made piece by piece, as the client reads them.

use super::server::close_gently;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime};
use sward::net::{Conn, Next, TcpStream};
use sward::time::{Deadline, timeout, timeout_at};

/// The longest head, and the most header fields in it.
const HEAD_LIMIT: usize = 16 << 10;
const MOST_FIELDS: usize = 64;
/// The longest body of a request, and the most bytes that its chunks may take on the wire.
const BODY_LIMIT: usize = 64 << 10;
const CHUNKED_LIMIT: usize = 8 * BODY_LIMIT;
/// The longest line that begins a chunk.
const CHUNK_LINE_LIMIT: usize = 256;
/// Answers are sent when they have this many bytes, or when the next read might wait.
const PIECE: usize = 16 << 10;

/// How long a connection may be silent between two requests.
pub const IDLE_TIME: Duration = Duration::from_secs(60);
/// How long a body may take, and how long the client may take to read one piece of an answer.
const BODY_TIME: Duration = Duration::from_secs(30);
const WRITE_TIME: Duration = Duration::from_secs(30);

/// A byte stream over TCP, encrypted or not.
pub trait Stream: Read + Write {
    /// Tells the peer that nothing follows, if the encryption can.
    fn end(&mut self) -> io::Result<()>;

    /// Ends the connection so that the peer gets the last answer.
    fn close_gently(&mut self);
}

impl Stream for TcpStream {
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn close_gently(&mut self) {
        close_gently(&*self);
    }
}

impl Stream for &mut Conn<'_> {
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn close_gently(&mut self) {
        close_gently(&mut **self);
    }
}

/// A request, and its body.
pub struct Request {
    pub method: String,
    /// The path, without the query.
    pub path: String,
    pub body: Vec<u8>,
}

/// The answer of a service.
pub struct Response {
    /// The status code and its reason.
    pub status: &'static str,
    /// Fields beyond those of every answer, each with its line end.
    pub fields: &'static str,
    pub content: Content,
}

pub enum Content {
    Bytes(Cow<'static, [u8]>),
    /// A number of bytes that are made when they are sent: the function fills a piece that begins at an
    /// offset.
    Pieces(u64, fn(u64, &mut [u8])),
}

impl Response {
    pub fn new(status: &'static str, content: impl Into<Cow<'static, [u8]>>) -> Response {
        Response { status, fields: "", content: Content::Bytes(content.into()) }
    }
}

/// Serves one connection until it ends. A head may take `head_time`.
pub fn serve<S: Stream>(stream: S, head_time: Duration, service: impl Fn(Request) -> Response) {
    Connection::new(stream, head_time).serve(|_| false, service);
}

/// The handler for `net::serve`: answers the requests that have come, and returns when the client is silent.
/// While it waits for the rest of a request it keeps its coroutine, since all of the request is in its local
/// variables; between two requests there is nothing to keep.
pub fn serve_ready(
    stream: &mut Conn<'_>,
    head_time: Duration,
    service: impl Fn(Request) -> Response,
) -> io::Result<Next> {
    let open = Connection::new(stream, head_time).serve(|unread| unread.is_empty(), service);
    Ok(if open { Next::Idle } else { Next::Close })
}

/// Why a connection ends before its last answer.
enum End {
    /// The client gets this status.
    Refused(&'static str),
    /// The client is gone, or cannot be answered.
    Broken,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Broken
    }
}

const BAD_REQUEST: End = End::Refused("400 Bad Request");
const TOO_LATE: End = End::Refused("408 Request Timeout");
const BODY_TOO_LARGE: End = End::Refused("413 Content Too Large");
const NO_SUCH_EXPECTATION: End = End::Refused("417 Expectation Failed");
const HEAD_TOO_LARGE: End = End::Refused("431 Request Header Fields Too Large");
const NOT_IMPLEMENTED: End = End::Refused("501 Not Implemented");
const NO_SUCH_VERSION: End = End::Refused("505 HTTP Version Not Supported");

/// The contents of a head.
struct Head {
    length: usize,
    method: String,
    path: String,
    framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    expects_continue: bool,
    /// The minor version is 0.
    is_old: bool,
    keep_alive: bool,
}

/// How long a body is.
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
}

struct Connection<S> {
    stream: S,
    head_time: Duration,
    /// The bytes read. Those before `at` have been used.
    input: Vec<u8>,
    at: usize,
    output: Vec<u8>,
}

impl<S: Stream> Connection<S> {
    fn new(stream: S, head_time: Duration) -> Connection<S> {
        Connection { stream, head_time, input: Vec::new(), at: 0, output: Vec::new() }
    }

    /// Returns true, and leaves the connection open, once `leaves` says so of the unread bytes behind a
    /// request.
    fn serve(mut self, leaves: fn(&[u8]) -> bool, service: impl Fn(Request) -> Response) -> bool {
        match self.answer_all(leaves, service) {
            Ok(true) => return true,
            Ok(false) => self.close(),
            Err(End::Refused(status)) => {
                self.push_head(status, "", 0, false, Some("close"));
                self.close();
            }
            Err(End::Broken) => {}
        }
        false
    }

    /// Answers requests until the client has sent its last one, or `leaves` returns true.
    fn answer_all(
        &mut self,
        leaves: fn(&[u8]) -> bool,
        service: impl Fn(Request) -> Response,
    ) -> Result<bool, End> {
        while let Some(head) = self.read_head()? {
            let body = self.read_body(&head)?;
            let without_content = head.method == "HEAD";
            let response = service(Request { method: head.method, path: head.path, body });
            let connection = match (head.keep_alive, head.is_old) {
                (false, _) => Some("close"),
                (true, true) => Some("keep-alive"),
                (true, false) => None,
            };
            self.answer(&response, without_content, connection)?;
            if !head.keep_alive {
                break;
            }
            if leaves(self.unread()) {
                return self.flush().map(|()| true);
            }
        }
        Ok(false)
    }

    /// Reads the next head; `None` if the client has ended the connection, or is silent for too long.
    fn read_head(&mut self) -> Result<Option<Head>, End> {
        let mut ends = None;
        // How many bytes of the input were searched for a line end already.
        let mut seen = 0;
        loop {
            // Empty lines before a request are skipped (RFC 9112, 2.2).
            let blank = self.unread().iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count();
            self.at += blank;
            seen = seen.max(blank) - blank;

            // Parse again only after a new line: otherwise a client that sends byte by byte makes the work
            // quadratic.
            if self.unread()[seen..].contains(&b'\n')
                && let Some(head) = parse(self.unread())?
            {
                self.at += head.length;
                return Ok(Some(head));
            }
            seen = self.unread().len();
            if seen >= HEAD_LIMIT {
                return Err(HEAD_TOO_LARGE);
            }
            // The time limit is for the whole head, from its first byte to its last.
            if ends.is_none() && seen + blank > 0 {
                ends = Some(Deadline::after(self.head_time));
            }
            match self.read_more(ends.unwrap_or_else(|| Deadline::after(IDLE_TIME))) {
                Ok(0) if seen == 0 => return Ok(None),
                Ok(0) => return Err(End::Broken),
                Ok(_) => {}
                Err(End::Refused(_)) if ends.is_none() => return Ok(None),
                Err(end) => return Err(end),
            }
        }
    }

    fn read_body(&mut self, head: &Head) -> Result<Vec<u8>, End> {
        let ends = Deadline::after(BODY_TIME);
        match head.framing {
            Framing::Length(0) => Ok(Vec::new()),
            Framing::Length(length) => {
                let length = usize::try_from(length).ok().filter(|&length| length <= BODY_LIMIT);
                let length = length.ok_or(BODY_TOO_LARGE)?;
                if head.expects_continue && self.unread().len() < length {
                    self.output.extend_from_slice(CONTINUE);
                }
                self.take(length, ends)
            }
            Framing::Chunked => {
                if head.expects_continue && self.unread().is_empty() {
                    self.output.extend_from_slice(CONTINUE);
                }
                self.read_chunks(ends)
            }
        }
    }

    fn read_chunks(&mut self, ends: Deadline) -> Result<Vec<u8>, End> {
        let (mut body, mut on_the_wire) = (Vec::new(), 0);
        loop {
            let line = self.take_line(CHUNK_LINE_LIMIT, ends)?;
            let size = chunk_size(&line).ok_or(BAD_REQUEST)?;
            if size > BODY_LIMIT - body.len() {
                return Err(BODY_TOO_LARGE);
            }
            on_the_wire += line.len() + size;
            if on_the_wire > CHUNKED_LIMIT {
                return Err(BODY_TOO_LARGE);
            }
            if size == 0 {
                break;
            }
            body.extend(self.take(size, ends)?);
            if self.take(2, ends)? != b"\r\n" {
                return Err(BAD_REQUEST);
            }
        }
        // Trailer fields after the body are ignored.
        let mut trailers = 0;
        loop {
            let line = self.take_line(HEAD_LIMIT, ends)?;
            if line.is_empty() {
                return Ok(body);
            }
            trailers += line.len();
            if trailers > HEAD_LIMIT {
                return Err(HEAD_TOO_LARGE);
            }
        }
    }

    /// The next `length` bytes of the input.
    fn take(&mut self, length: usize, ends: Deadline) -> Result<Vec<u8>, End> {
        while self.unread().len() < length {
            self.need_more(ends)?;
        }
        let taken = self.unread()[..length].to_vec();
        self.at += length;
        Ok(taken)
    }

    /// The next line without its end, which is CR and LF; neither may stand alone.
    fn take_line(&mut self, limit: usize, ends: Deadline) -> Result<Vec<u8>, End> {
        let mut seen = 0;
        loop {
            if let Some(length) = self.unread()[seen..].iter().position(|&byte| byte == b'\n') {
                let mut line = self.take(seen + length + 1, ends)?;
                line.pop();
                return match line.pop() {
                    Some(b'\r') if !line.contains(&b'\r') => Ok(line),
                    _ => Err(BAD_REQUEST),
                };
            }
            seen = self.unread().len();
            if seen > limit {
                return Err(BAD_REQUEST);
            }
            self.need_more(ends)?;
        }
    }

    fn unread(&self) -> &[u8] {
        &self.input[self.at..]
    }

    fn need_more(&mut self, ends: Deadline) -> Result<(), End> {
        match self.read_more(ends)? {
            0 => Err(End::Broken),
            _ => Ok(()),
        }
    }

    /// Reads the available input, and returns how much. It sends the answers so far first, since the client
    /// may wait for them.
    fn read_more(&mut self, ends: Deadline) -> Result<usize, End> {
        self.flush()?;
        self.input.drain(..self.at);
        self.at = 0;
        if self.input.is_empty() {
            // An idle connection keeps no buffer.
            self.input = Vec::new();
        }
        let mut buffer = [0; 4 << 10];
        let count = timeout_at(ends, || self.stream.read(&mut buffer)).map_err(|_| TOO_LATE)??;
        self.input.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    fn answer(
        &mut self,
        response: &Response,
        without_content: bool,
        connection: Option<&str>,
    ) -> Result<(), End> {
        let length = match &response.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Pieces(length, _) => *length,
        };
        self.push_head(response.status, response.fields, length, true, connection);
        match &response.content {
            _ if without_content => {}
            Content::Bytes(bytes) => self.output.extend_from_slice(bytes),
            Content::Pieces(length, fill) => {
                let mut offset = 0;
                while offset < *length {
                    let begin = self.output.len();
                    let size = (length - offset).min(PIECE as u64);
                    self.output.resize(begin + size as usize, 0);
                    fill(offset, &mut self.output[begin..]);
                    offset += size;
                    self.flush()?;
                }
            }
        }
        if self.output.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    fn push_head(
        &mut self,
        status: &str,
        fields: &str,
        length: u64,
        is_text: bool,
        connection: Option<&str>,
    ) {
        let date = httpdate::fmt_http_date(SystemTime::now());
        let mut head = format!("HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Length: {length}\r\n{fields}");
        if is_text {
            head.push_str("Content-Type: text/plain\r\n");
        }
        if let Some(connection) = connection {
            let _ = write!(head, "Connection: {connection}\r\n");
        }
        head.push_str("\r\n");
        self.output.extend_from_slice(head.as_bytes());
    }

    /// Sends the answers. A client that does not read them in time loses its connection.
    fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let sent = timeout(WRITE_TIME, || {
            self.stream.write_all(&self.output)?;
            self.stream.flush()
        });
        self.output = Vec::new();
        sent.map_err(|_| End::Broken)?.map_err(End::from)
    }

    /// Sends the remaining answers, and closes without losing them.
    fn close(mut self) {
        let ended = self.flush().is_ok() && matches!(timeout(WRITE_TIME, || self.stream.end()), Ok(Ok(())));
        if ended {
            self.stream.close_gently();
        }
    }
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The head at the beginning of the input; `None` if it is not complete.
fn parse(input: &[u8]) -> Result<Option<Head>, End> {
    // httparse refuses folded lines, blanks before a colon, control characters, and a CR that stands alone.
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(input) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HEAD_TOO_LARGE),
        Err(httparse::Error::Version) => return Err(NO_SUCH_VERSION),
        Err(_) => return Err(BAD_REQUEST),
    };
    if length > HEAD_LIMIT {
        return Err(HEAD_TOO_LARGE);
    }
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let (is_old, fields) = (request.version == Some(0), Fields(request.headers));

    match fields.all("host").as_slice() {
        [] if is_old => {}
        [host] if host.is_empty() || is_authority(host) => {}
        _ => return Err(BAD_REQUEST),
    }
    let path = path(method, target)?.to_owned();
    let framing = framing(&fields, is_old)?;
    let expects_continue = match fields.all("expect").as_slice() {
        [] => false,
        [one] if one.eq_ignore_ascii_case(b"100-continue") => !is_old,
        _ => return Err(NO_SUCH_EXPECTATION),
    };
    let keep_alive = keeps_alive(&fields, is_old);
    Ok(Some(Head { length, method: method.to_owned(), path, framing, expects_continue, is_old, keep_alive }))
}

struct Fields<'a>(&'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    /// The values of all fields of that name.
    fn all(&self, name: &str) -> Vec<&'a [u8]> {
        let named = self.0.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value.trim_ascii()).collect()
    }

    /// The members of a list, which may be spread over several fields, in lower case.
    fn list(&self, name: &str) -> Vec<Vec<u8>> {
        let fields = self.all(name);
        let members = fields.iter().flat_map(|value| value.split(|&byte| byte == b','));
        let members = members.map(|member| member.trim_ascii().to_ascii_lowercase());
        members.filter(|member| !member.is_empty()).collect()
    }
}

/// How long the body is (RFC 9112, 6.3). Refuses a head that two readers might understand differently.
fn framing(fields: &Fields<'_>, is_old: bool) -> Result<Framing, End> {
    let lengths = fields.all("content-length");
    if !fields.all("transfer-encoding").is_empty() {
        let codings = fields.list("transfer-encoding");
        if !lengths.is_empty() || is_old {
            return Err(BAD_REQUEST);
        }
        return match codings.iter().filter(|coding| *coding == b"chunked").count() {
            1 if codings.len() == 1 => Ok(Framing::Chunked),
            count if count < codings.len() => Err(NOT_IMPLEMENTED),
            _ => Err(BAD_REQUEST),
        };
    }
    match lengths.as_slice() {
        [] => Ok(Framing::Length(0)),
        [digits] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            length.map(Framing::Length).ok_or(BODY_TOO_LARGE)
        }
        _ => Err(BAD_REQUEST),
    }
}

/// Whether the connection stays open after the answer (RFC 9112, 9.3).
fn keeps_alive(fields: &Fields<'_>, is_old: bool) -> bool {
    let options = fields.list("connection");
    let has = |option: &[u8]| options.iter().any(|other| other == option);
    !has(b"close") && (!is_old || has(b"keep-alive"))
}

/// The path that a request is for (RFC 9112, 3.2).
fn path<'a>(method: &str, target: &'a str) -> Result<&'a str, End> {
    if method == "CONNECT" {
        return Err(NOT_IMPLEMENTED);
    }
    if target == "*" && method == "OPTIONS" {
        return Ok(target);
    }
    let path = if target.starts_with('/') {
        target
    } else {
        // The absolute form, as proxies get it. Its authority replaces the `Host` field.
        let (scheme, rest) = target.split_once("://").ok_or(BAD_REQUEST)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let known = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        if !known || !is_authority(&rest.as_bytes()[..end]) {
            return Err(BAD_REQUEST);
        }
        &rest[end..]
    };
    if path.contains('#') {
        return Err(BAD_REQUEST);
    }
    let path = path.split('?').next().unwrap_or_default();
    Ok(if path.is_empty() { "/" } else { path })
}

/// Whether this is a host name or address, perhaps with a port.
fn is_authority(text: &[u8]) -> bool {
    let is_in_brackets = text.first() == Some(&b'[');
    let end = if is_in_brackets {
        text.iter().position(|&byte| byte == b']').map_or(0, |at| at + 1)
    } else {
        text.iter().position(|&byte| byte == b':').unwrap_or(text.len())
    };
    let (host, port) = text.split_at(end);
    let host = if is_in_brackets { host.get(1..end.saturating_sub(1)).unwrap_or_default() } else { host };
    let is_host = |byte: &u8| {
        byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(byte) || (is_in_brackets && *byte == b':')
    };
    let is_port = match port.split_first() {
        None => true,
        Some((first, digits)) => *first == b':' && digits.iter().all(u8::is_ascii_digit),
    };
    !host.is_empty() && host.iter().all(is_host) && is_port
}

/// The size in the first line of a chunk: hexadecimal digits, and perhaps extensions, which are ignored.
fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let extension = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    if !rest.is_empty() && extension != Some(&b';') {
        return None;
    }
    usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
