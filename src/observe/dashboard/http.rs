//! As much of HTTP/1.1 as a server needs that only answers `GET` and `HEAD`.
//!
//! A client can make it hold a head of [`HEAD_LIMIT`] bytes and one answer. Every read and write has a time
//! limit. A request with a body is refused, so the next one begins where the head ends.

use crate::net::{Shutdown, TcpStream};
use crate::sync::OwnedSemaphorePermit;
use crate::time::{Deadline, timeout, timeout_at};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The longest head of a request, and the most fields in it.
const HEAD_LIMIT: usize = 8 << 10;
const FIELDS: usize = 64;
/// How long a head may take; also how long a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long the client may read nothing, and how long it may take for an answer.
const WRITE_TIME: Duration = Duration::from_secs(10);
const ANSWER_TIME: Duration = Duration::from_secs(300);
/// How many bytes are written at once.
const PIECE: usize = 64 << 10;
/// How long, and for how many bytes, the server reads on after its last answer.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// A request that may be answered.
pub(super) struct Request {
    pub(super) path: String,
    query: String,
}

impl Request {
    /// The value of a parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    }
}

/// An answer.
pub(super) struct Response {
    pub(super) status: Status,
    pub(super) kind: &'static str,
    pub(super) body: Body,
    /// More fields, each with the end of its line.
    pub(super) fields: Cow<'static, str>,
    /// Held until the answer is sent: it bounds how many large ones there are.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

pub(super) enum Body {
    Text(Cow<'static, str>),
    Shared(Arc<str>),
}

impl Body {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Body::Text(text) => text.as_bytes(),
            Body::Shared(text) => text.as_bytes(),
        }
    }
}

impl Response {
    pub(super) const TEXT: &'static str = "text/plain; charset=utf-8";
    pub(super) const METRICS: &'static str = "text/plain; version=0.0.4; charset=utf-8";
    pub(super) const JSON: &'static str = "application/json";

    pub(super) fn ok(kind: &'static str, text: impl Into<Cow<'static, str>>) -> Response {
        let body = Body::Text(text.into());
        Response { status: Status::Ok, kind, body, fields: Cow::Borrowed(""), _permit: None }
    }

    pub(super) fn refusal(status: Status, text: impl Into<Cow<'static, str>>) -> Response {
        Response { status, ..Response::ok(Response::TEXT, text) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Timeout,
    BodyNotAllowed,
    Misdirected,
    HeadTooLarge,
    Failed,
    Busy,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::Timeout => "408 Request Timeout",
            Status::BodyNotAllowed => "413 Content Too Large",
            Status::Misdirected => "421 Misdirected Request",
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
            Status::Failed => "500 Internal Server Error",
            Status::Busy => "503 Service Unavailable",
        }
    }
}

/// Which requests may be answered.
pub(super) struct Policy {
    /// Names of the server, beside those of the machine itself.
    hosts: Vec<String>,
}

impl Policy {
    pub(super) fn new(hosts: Vec<String>) -> Policy {
        Policy { hosts }
    }

    /// Whether a request that was sent to that address may name the server so. A page of another origin whose
    /// name resolves to this address has its own name there (DNS rebinding).
    fn knows(&self, host: &str, local: IpAddr) -> bool {
        let host = without_port(host);
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse::<IpAddr>() {
            let address = address.to_canonical();
            if address.is_loopback() || address == local.to_canonical() {
                return true;
            }
        }
        host.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host) || known == literal)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// What the head of a request says.
struct Head {
    request: Request,
    /// Only the head of the answer is wanted.
    head_only: bool,
    close: bool,
}

/// Serves a connection: answers one request after the other.
pub(super) fn serve(
    mut stream: TcpStream,
    policy: &Policy,
    answer: impl Fn(&Request) -> Response,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_TIME))?;
    let local = stream.local_addr()?.ip();
    let mut input = Vec::new();
    loop {
        let read = timeout(HEAD_TIME, || read_head(&mut stream, &mut input, policy, local));
        let read = match read {
            Ok(read) => read?,
            // The connection was idle.
            Err(_) if input.is_empty() => return Ok(()),
            Err(_) => Input::Refused(Response::refusal(Status::Timeout, "the request is too slow\n")),
        };
        let (head_only, close, response) = match read {
            Input::End => return Ok(()),
            Input::Refused(response) => (false, true, response),
            Input::Head(head) => (head.head_only, head.close, answer(&head.request)),
        };
        let deadline = Deadline::after(ANSWER_TIME);
        let sent = timeout_at(deadline, || send(&mut stream, &response, head_only, close));
        match sent {
            Ok(sent) => sent?,
            Err(elapsed) => return Err(io::Error::other(elapsed)),
        }
        if close {
            return close_gently(&mut stream);
        }
    }
}

enum Input {
    Head(Head),
    Refused(Response),
    /// The client has closed the connection.
    End,
}

/// Reads up to the end of a head. What follows it stays in `input`.
fn read_head(
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
    policy: &Policy,
    local: IpAddr,
) -> io::Result<Input> {
    let mut buffer = [0; 2 << 10];
    loop {
        if !input.is_empty() {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS];
            let mut parsed = httparse::Request::new(&mut fields);
            let refused = match parsed.parse(input) {
                Ok(httparse::Status::Complete(length)) if length <= HEAD_LIMIT => {
                    let head = head(&parsed, policy, local);
                    input.drain(..length);
                    return Ok(match head {
                        Ok(head) => Input::Head(head),
                        Err(response) => Input::Refused(response),
                    });
                }
                Ok(httparse::Status::Partial) if input.len() < HEAD_LIMIT => None,
                Ok(_) | Err(httparse::Error::TooManyHeaders) => Some(Status::HeadTooLarge),
                Err(_) => Some(Status::BadRequest),
            };
            if let Some(status) = refused {
                return Ok(Input::Refused(Response::refusal(status, "the request cannot be read\n")));
            }
        }
        let wanted = buffer.len().min(HEAD_LIMIT + 1 - input.len());
        match stream.read(&mut buffer[..wanted])? {
            0 => return Ok(Input::End),
            count => input.extend_from_slice(&buffer[..count]),
        }
    }
}

/// The fields of a head.
#[derive(Clone, Copy)]
struct Fields<'h>(&'h [httparse::Header<'h>]);

impl<'h> Fields<'h> {
    /// The values of all fields of that name.
    fn all(self, name: &'static str) -> impl Iterator<Item = &'h str> + Clone {
        let named = self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| str::from_utf8(field.value).unwrap_or("\u{fffd}").trim())
    }

    /// The value of the first one, or nothing.
    fn one(self, name: &'static str) -> &'h str {
        self.all(name).next().unwrap_or_default()
    }
}

/// Checks a head. A refusal closes the connection, so that nothing depends on where a body ends.
fn head(parsed: &httparse::Request<'_, '_>, policy: &Policy, local: IpAddr) -> Result<Head, Response> {
    let fields = Fields(&*parsed.headers);
    let head_only = match parsed.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => {
            let response = Response::refusal(Status::MethodNotAllowed, "only GET and HEAD\n");
            return Err(Response { fields: Cow::Borrowed("Allow: GET, HEAD\r\n"), ..response });
        }
    };
    let has_length = fields.all("content-length").any(|length| length != "0");
    if has_length || fields.all("transfer-encoding").next().is_some() {
        return Err(Response::refusal(Status::BodyNotAllowed, "a request has no body here\n"));
    }
    check_host(fields, policy, local)?;
    let target = parsed.path.unwrap_or_default();
    // The absolute form, as proxies get it: its host is that of the field.
    let target = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    check_origin(fields, path)?;
    let said = |word| fields.all("connection").flat_map(|text| text.split(',')).any(|part| same(part, word));
    let old = parsed.version == Some(0);
    Ok(Head {
        request: Request { path: path.to_owned(), query: query.to_owned() },
        head_only,
        close: said("close") || (old && !said("keep-alive")),
    })
}

/// A page of another origin could reach the server under a name that it has made resolve to this machine.
fn check_host(fields: Fields<'_>, policy: &Policy, local: IpAddr) -> Result<(), Response> {
    let mut hosts = fields.all("host");
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if policy.knows(host, local) => Ok(()),
        (Some(_), None) => Err(Response::refusal(
            Status::Misdirected,
            "sward: the Host of this request is not known here. The dashboard answers to localhost, to \
             loopback addresses, and to the names given to Dashboard::host.\n",
        )),
        _ => Err(Response::refusal(Status::BadRequest, "a request has one Host\n")),
    }
}

/// Only the page itself makes the server work.
fn check_origin(fields: Fields<'_>, path: &str) -> Result<(), Response> {
    let refuse = || Err(Response::refusal(Status::Forbidden, "not for pages of other origins\n"));
    let one = |name| fields.one(name);
    // Browsers send these. A link to the page may be followed from anywhere, but no page of another origin
    // makes the server work, not even in a frame.
    let elsewhere = matches!(one("sec-fetch-site"), "cross-site" | "same-site");
    let follows = one("sec-fetch-mode") == "navigate" && one("sec-fetch-dest") == "document" && path == "/";
    if elsewhere && !follows {
        return refuse();
    }
    // Over plain HTTP to another machine they do not send those, but these. The page itself has this host.
    let host = one("host");
    let origins = [one("origin"), one("referer")].into_iter().filter(|origin| !origin.is_empty());
    let is_own = |origin: &str| {
        let named = origin.split_once("://").map_or("", |(_, rest)| rest);
        named.split('/').next().is_some_and(|named| same(named, host))
    };
    if path != "/" && !origins.clone().all(is_own) {
        return refuse();
    }
    Ok(())
}

fn same(part: &str, word: &str) -> bool {
    part.trim().eq_ignore_ascii_case(word)
}

fn send(stream: &mut TcpStream, response: &Response, head_only: bool, close: bool) -> io::Result<()> {
    let body = response.body.as_bytes();
    let mut head = String::new();
    let connection = if close { "close" } else { "keep-alive" };
    let _ = write!(
        head,
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n{}\r\n",
        response.status.line(),
        response.kind,
        body.len(),
        response.fields,
    );
    // One piece if it is small, so that it is one packet.
    let body = if head_only { &[] } else { body };
    let (first, rest) = body.split_at(body.len().min(PIECE));
    let mut piece = head.into_bytes();
    piece.extend_from_slice(first);
    stream.write_all(&piece)?;
    rest.chunks(PIECE).try_for_each(|piece| stream.write_all(piece))
}

/// Ends a connection so that the client gets the last answer. If the kernel finds unread data, it resets the
/// connection, and the reset overtakes the answer.
fn close_gently(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let (mut buffer, mut left) = ([0; 2 << 10], LINGER_BYTES);
    let _ = timeout(LINGER_TIME, || {
        while let Ok(count @ 1..) = stream.read(&mut buffer)
            && count < left
        {
            left -= count;
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_not_this_machine_is_refused() {
        let policy = Policy::new(vec!["build-7".to_owned(), "10.0.0.5".to_owned()]);
        let local = "192.168.1.2".parse().expect("an address");
        for host in [
            "localhost",
            "LOCALHOST:6060",
            "127.0.0.1",
            "127.0.0.1:6060",
            "127.9.9.9",
            "[::1]",
            "[::1]:80",
            "192.168.1.2:1",
            "Build-7:1",
            "10.0.0.5:6060",
        ] {
            assert!(policy.knows(host, local), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:6060",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.168.1.3",
            "0.0.0.0",
            "localhost:80:80",
            "127.0.0.1@evil.example",
        ] {
            assert!(!policy.knows(host, local), "{host}");
        }
    }
}
