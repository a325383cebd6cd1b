//! A chat room over WebSocket: `cargo run --release -p example-websocket -- [PORT] [--origin URL]...
//! [--connections N]`, then open <http://127.0.0.1:8083/> in two windows of a browser.
//!
//! ```text
//!   client A --> reader --.                 .--> queue A --> writer --> client A
//!                 | pongs  '-->  events -->  room
//!   client B --> reader -----'              '--> queue B --> writer --> client B
//! ```
//!
//! tungstenite's `WebSocket` reads and writes through one `&mut`. So each client has two of them on clones of
//! one stream: one coroutine reads, and another one writes. Answers that the protocol demands from the
//! reader, such as pongs, go through the writer as well, so that frames do not mix.
//!
//! A browser lets any page connect to any server, and sends the page's origin. This server accepts only its
//! own pages and those of the origins given with `--origin`. A client without an origin is no browser. The
//! server derives its own origins from its address and not from the request, as a hostile page can choose the
//! `Host` through its domain name.
//!
//! One client costs the others little: the room announces joins and leaves in batches, with a bounded number
//! of names, and it never waits for a client.
//!
//! Limits: 4,000 connections, or `--connections`; further ones wait in the backlog. The head of a request has
//! ten seconds and 16 KiB, a message 4 KiB. The room drops a client that has 256 unsent lines, or that gives
//! no sign of life for 70 seconds.

#[path = "../../common/mod.rs"]
mod common;

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sward::channel::{Receiver, SendError, Sender, at, bounded, never, tick};
use sward::net::{Shutdown, TcpListener, TcpStream};
use sward::signal::{SignalKind, signal};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Bytes, Message, Utf8Bytes, WebSocket};

const HEAD_LIMIT: usize = 16 << 10;
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The time between two pings. A client that is silent for more than twice as long is dropped.
const PING_EVERY: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(70);
/// The time between two announcements of joins and leaves, and how many names one has.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(100);
const MOST_NAMES: usize = 20;
/// The longest message, and how many lines may wait for a slow client.
const LONGEST: usize = 4 << 10;
const QUEUE: usize = 256;

const PAGE: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>sward chat</title>
<style>body { font: 16px sans-serif; max-width: 40em; margin: 2em auto } input { width: 100% }</style>
<h1>Chat</h1>
<p>Say something; <code>/name NAME</code> changes your name.</p>
<input id="text" autofocus>
<div id="log"></div>
<script>
const say = line => {
  const entry = document.createElement("div");
  entry.textContent = line;
  document.getElementById("log").prepend(entry);
};
const socket = new WebSocket("ws://" + location.host + "/");
socket.onmessage = event => say(event.data);
socket.onclose = event => say("-- the connection is closed " + event.reason);
const text = document.getElementById("text");
text.onkeydown = event => {
  if (event.key === "Enter" && text.value) { socket.send(text.value); text.value = ""; }
};
</script>
"#;

fn main() {
    let mut arguments = common::Arguments::new("websocket [PORT] [--origin URL]... [--connections N]");
    let port = arguments.port(8083);
    let origins: Vec<String> = std::iter::from_fn(|| arguments.text("--origin")).collect();
    let limit = common::server::connections(&mut arguments, 1);
    arguments.end();
    if let Err(e) = sward::run(|| serve(port, origins, limit)) {
        common::fail(&format!("websocket on port {port}: {e}"));
    }
}

fn serve(port: u16, mut origins: Vec<String>, limit: usize) -> io::Result<()> {
    // Before clients can know that the server runs.
    let interrupt = signal(SignalKind::INTERRUPT)?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let address = listener.local_addr()?;
    println!("serves http://{address}/");
    origins.extend(["127.0.0.1", "localhost"].map(|host| format!("http://{host}:{}", address.port())));
    let (events, incoming) = bounded(QUEUE);
    let (stop, stopped) = bounded::<()>(0);
    let room = sward::spawn(move || room(&incoming, &stopped));
    let (origins, ids) = (Arc::new(origins), Arc::new(AtomicUsize::new(0)));
    let accepting = sward::spawn(move || {
        common::server::serve(&listener, limit, move |mut stream| {
            let id = ids.fetch_add(1, Ordering::Relaxed);
            // A broken connection ends only itself.
            let _ = connection(&mut stream, id, &origins, &events);
            common::server::close_gently(&stream);
        });
    });
    sward::select! {
        recv(interrupt) -> _ => {}
        join(accepting) -> ended => return ended.map_err(io::Error::other),
    }
    // The room says goodbye to all clients, and their writers get a moment to send it.
    drop(stop);
    let _ = room.join();
    sward::sleep(Duration::from_millis(100));
    Ok(())
}

enum Event {
    Enter { id: usize, queue: Sender<Utf8Bytes> },
    Say { id: usize, text: Utf8Bytes },
    Leave { id: usize },
}

struct Member {
    name: String,
    queue: Sender<Utf8Bytes>,
}

/// The members of the room. Only the room's coroutine uses this, so it needs no lock.
#[derive(Default)]
struct Members {
    all: HashMap<usize, Member>,
    /// Members that have joined and left since the last announcement.
    came: BTreeSet<usize>,
    left: Vec<String>,
    /// When the next announcement is due.
    announce: Option<Instant>,
}

impl Members {
    /// Sends a line to all members. A member whose queue is full leaves the room: its queue is closed.
    fn tell(&mut self, line: &str) {
        let line = Utf8Bytes::from(line);
        let slow = self.all.extract_if(|_, member| member.queue.try_send(line.clone()).is_err());
        let slow: Vec<_> = slow.collect();
        slow.into_iter().for_each(|(id, member)| self.has_left(id, member.name));
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Enter { id, queue } => {
                self.all.insert(id, Member { name: format!("guest-{id}"), queue });
                let names = list(self.all.values().map(|member| member.name.as_str()), self.all.len());
                // Its queue is empty, so this fits.
                let _ = self.all[&id].queue.try_send(format!("-- here are {names}").into());
                self.came.insert(id);
                self.announce_soon();
            }
            Event::Say { id, text } => {
                // A member is announced before its first line.
                self.announce();
                // A member that was dropped may have sent something before it noticed.
                let Some(member) = self.all.get_mut(&id) else { return };
                let line = match text.strip_prefix("/name ").map(str::trim) {
                    Some(new) if !new.is_empty() && new.len() <= 32 => {
                        let old = std::mem::replace(&mut member.name, new.to_owned());
                        format!("-- {old} is now {new}")
                    }
                    _ => format!("{}: {text}", member.name),
                };
                self.tell(&line);
            }
            Event::Leave { id } => {
                if let Some(member) = self.all.remove(&id) {
                    self.has_left(id, member.name);
                }
            }
        }
    }

    fn has_left(&mut self, id: usize, name: String) {
        // If its join was not announced yet, its end need not be announced.
        if !self.came.remove(&id) {
            self.left.push(name);
        }
        self.announce_soon();
    }

    fn announce_soon(&mut self) {
        self.announce.get_or_insert_with(|| Instant::now() + ANNOUNCE_AFTER);
    }

    /// Announces joins and leaves together. With a line for each, a thousand joins would make a million
    /// lines.
    fn announce(&mut self) {
        self.announce = None;
        let (came, left) = (std::mem::take(&mut self.came), std::mem::take(&mut self.left));
        let verb = |count, one, many| if count == 1 { one } else { many };
        if !came.is_empty() {
            let names = list(came.iter().map(|id| self.all[id].name.as_str()), came.len());
            let line = format!("-- {names} {}", verb(came.len(), "comes in", "come in"));
            self.tell(&line);
        }
        if !left.is_empty() {
            let names = list(left.iter().map(String::as_str), left.len());
            self.tell(&format!("-- {names} {}", verb(left.len(), "leaves", "leave")));
        }
    }
}

/// The first few of `count` names, and how many more there are.
fn list<'a>(names: impl Iterator<Item = &'a str>, count: usize) -> String {
    let mut names: Vec<_> = names.take(MOST_NAMES).collect();
    names.sort_unstable();
    let more = count - names.len();
    let names = names.join(", ");
    if more == 0 { names } else { format!("{names} and {more} more") }
}

/// The room: handles events until the server ends.
fn room(events: &Receiver<Event>, stopped: &Receiver<()>) {
    let mut members = Members::default();
    loop {
        let due = members.announce.map_or_else(never, at);
        sward::select! {
            recv(events) -> event => match event {
                Ok(event) => members.take(event),
                Err(_) => return,
            },
            recv(due) -> _ => members.announce(),
            recv(stopped) -> _ => return members.tell("-- the server goes home"),
        }
    }
}

fn connection(
    stream: &mut TcpStream,
    id: usize,
    origins: &[String],
    events: &Sender<Event>,
) -> tungstenite::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PING_EVERY))?;
    let (request, rest) = match sward::time::timeout(HEAD_TIME, || head(stream)) {
        Ok(head) => head?,
        Err(_) => return respond(stream, "408 Request Timeout", "text/plain", ""),
    };
    if request.headers().get_all("host").iter().count() != 1 {
        return respond(
            stream,
            "400 Bad Request",
            "text/plain",
            "whom do you mean? There must be one Host\n",
        );
    }
    if !request.headers().contains_key("upgrade") {
        return page(stream, &request);
    }
    if !may_enter(&request, origins) {
        return respond(stream, "403 Forbidden", "text/plain", "not from this page\n");
    }
    match create_response(&request) {
        Ok(response) => write_response(&mut *stream, &response)?,
        Err(e) => return respond(stream, "400 Bad Request", "text/plain", &e.to_string()),
    }
    stream.set_read_timeout(Some(SILENCE))?;

    let (queue, messages) = bounded(QUEUE);
    let gone = |_| io::Error::other("the room is closed");
    events.send(Event::Enter { id, queue }).map_err(gone)?;
    let ended = sward::scope(|s| {
        let (answers, frames) = bounded(QUEUE);
        let writing = stream.try_clone()?;
        let writer = s.spawn(move || {
            let ended = write(&writing, &messages, &frames);
            // A client that got the goodbye answers it, and the reader waits for that answer. If the goodbye
            // cannot be sent, the reader does not wait.
            let _ = writing.shutdown(if ended.is_ok() { Shutdown::Write } else { Shutdown::Both });
            ended
        });
        let ended = read(Receiving { stream, answers }, rest, |text| {
            events.send(Event::Say { id, text }).map_err(gone)
        });
        ended.and(writer.join().map_err(io::Error::other)?)
    });
    events.send(Event::Leave { id }).map_err(gone)?;
    ended
}

/// Whether the request comes from a page that may connect. A client without an origin is no browser, and
/// could send any origin anyway.
fn may_enter(request: &Request, origins: &[String]) -> bool {
    let mut named = request.headers().get_all("origin").iter();
    named.all(|origin| origins.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(origin.as_bytes())))
}

/// Reads the head of a request. Also returns the bytes that were read beyond it.
fn head(stream: &mut TcpStream) -> tungstenite::Result<(Request, Vec<u8>)> {
    let (mut input, mut buffer) = (Vec::new(), [0; 2048]);
    loop {
        let n = match stream.read(&mut buffer)? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            n => n,
        };
        input.extend_from_slice(&buffer[..n]);
        // Parse again only after a new line: otherwise a client that sends byte by byte makes the work
        // quadratic.
        let parsed = if buffer[..n].contains(&b'\n') { Request::try_parse(&input) } else { Ok(None) };
        match parsed {
            Ok(Some((length, request))) => return Ok((request, input.split_off(length))),
            Ok(None) if input.len() < HEAD_LIMIT => {}
            Ok(None) => {
                respond(stream, "431 Request Header Fields Too Large", "text/plain", "")?;
                return Err(io::Error::from(io::ErrorKind::InvalidData).into());
            }
            Err(e) => {
                respond(stream, "400 Bad Request", "text/plain", &e.to_string())?;
                return Err(e);
            }
        }
    }
}

fn page(stream: &mut TcpStream, request: &Request) -> tungstenite::Result<()> {
    match request.uri().path() {
        "/" => respond(stream, "200 OK", "text/html", PAGE),
        _ => respond(stream, "404 Not Found", "text/plain", "not found\n"),
    }
}

fn respond(stream: &mut TcpStream, status: &str, kind: &str, body: &str) -> tungstenite::Result<()> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}");
    write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}")?;
    Ok(())
}

/// A stream to read from. Its writes go to the writer coroutine. tungstenite writes whole frames.
struct Receiving<'a> {
    stream: &'a TcpStream,
    answers: Sender<Vec<u8>>,
}

impl Read for Receiving<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Receiving<'_> {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        let broken = |_: SendError<_>| io::Error::from(io::ErrorKind::BrokenPipe);
        self.answers.send(frames.to_vec()).map_err(broken)?;
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn limits() -> WebSocketConfig {
    let limits = WebSocketConfig::default().read_buffer_size(LONGEST).write_buffer_size(LONGEST);
    limits.max_write_buffer_size(4 * LONGEST).max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST))
}

/// Reads messages until the client closes, and calls `say` with each.
fn read(
    stream: Receiving<'_>,
    rest: Vec<u8>,
    say: impl Fn(Utf8Bytes) -> io::Result<()>,
) -> tungstenite::Result<()> {
    let mut socket = WebSocket::from_partially_read(stream, rest, Role::Server, Some(limits()));
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => say(text)?,
            // tungstenite has answered pings and closes itself.
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
            Err(e) => {
                let code = match e {
                    tungstenite::Error::Capacity(_) => CloseCode::Size,
                    tungstenite::Error::Utf8(_) => CloseCode::Invalid,
                    tungstenite::Error::Protocol(_) => CloseCode::Protocol,
                    _ => return Err(e),
                };
                let _ = socket.close(Some(CloseFrame { code, reason: Utf8Bytes::from_static("") }));
                return Err(e);
            }
        }
    }
}

/// Writes the lines of the room and the answers of the reader, until one of the two has ended.
fn write(
    stream: &TcpStream,
    messages: &Receiver<Utf8Bytes>,
    frames: &Receiver<Vec<u8>>,
) -> tungstenite::Result<()> {
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, Some(limits()));
    let ping = tick(PING_EVERY);
    loop {
        let next = sward::select! {
            recv(frames) -> frames => match frames {
                Ok(frames) => {
                    socket.get_mut().write_all(&frames)?;
                    ControlFlow::Continue(None)
                }
                // The reader has ended, and all its answers are written.
                Err(_) => return Ok(()),
            },
            recv(messages) -> line => match line {
                Ok(line) => ControlFlow::Continue(Some(Message::Text(line))),
                Err(_) => ControlFlow::Break(()),
            },
            recv(ping) -> _ => ControlFlow::Continue(Some(Message::Ping(Bytes::new()))),
        };
        match next {
            ControlFlow::Continue(Some(message)) => {
                socket.write(message)?;
                // Lines that came meanwhile go with it: one packet instead of one for each line.
                for line in messages.try_iter().take(QUEUE) {
                    socket.write(Message::Text(line))?;
                }
                socket.flush()?;
            }
            ControlFlow::Continue(None) => {}
            ControlFlow::Break(()) => {
                let reason = Utf8Bytes::from_static("the room has closed the door");
                return socket.close(Some(CloseFrame { code: CloseCode::Away, reason }));
            }
        }
    }
}
