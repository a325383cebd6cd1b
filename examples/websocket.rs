//! A chat room over WebSocket: `cargo run --release --example websocket -- [PORT]`, then open
//! <http://127.0.0.1:8083/> in two windows of a browser.
//!
//! ```text
//!   client A --> reader --.                 .--> queue A --> writer --> client A
//!                 | pongs  '-->  events -->  room
//!   client B --> reader -----'              '--> queue B --> writer --> client B
//! ```
//!
//! tungstenite's `WebSocket` reads and writes through one `&mut`, so each client has two of them on clones of
//! one stream: a coroutine that reads and a coroutine that writes. What the protocol makes the reading one
//! answer, such as pongs, goes to the writer as well, so that frames do not mix.

mod common;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::time::Duration;
use sward::channel::{Receiver, SendError, Sender, bounded, tick};
use sward::net::{Shutdown, TcpListener, TcpStream};
use sward::signal::{SignalKind, signal};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Bytes, Message, Utf8Bytes, WebSocket};

const HEAD_LIMIT: usize = 16 << 10;
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A client is asked for a sign of life this often, and given up after more than twice as long.
const PING_EVERY: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(70);
/// How long a client has to close its side once ours is closed.
const LINGER: Duration = Duration::from_secs(2);
/// The longest message, and how many of them may wait for a client that is slow.
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
    let mut arguments = common::Arguments::new("websocket [PORT]");
    let port = arguments.port(8083);
    arguments.end();
    if let Err(e) = sward::run(|| serve(port)) {
        common::fail(&format!("websocket on port {port}: {e}"));
    }
}

fn serve(port: u16) -> io::Result<()> {
    // Before anyone can know that it runs.
    let interrupt = signal(SignalKind::INTERRUPT)?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("serves http://{}/", listener.local_addr()?);
    let (events, incoming) = bounded(QUEUE);
    let (stop, stopped) = bounded::<()>(0);
    let room = sward::spawn(move || room(&incoming, &stopped));
    let accepting = sward::spawn(move || -> io::Result<()> {
        for (id, stream) in listener.incoming().enumerate() {
            let (stream, events) = (stream?, events.clone());
            sward::spawn(move || {
                // A connection that breaks is the end of that connection only.
                let _ = connection(stream, id, &events);
            });
        }
        Ok(())
    });
    sward::select! {
        recv(interrupt) -> _ => {}
        join(accepting) -> ended => return ended.map_err(io::Error::other)?,
    }
    // The room says goodbye to everyone, and their writers get a moment to pass it on.
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

/// Who is in the room. Only the room's coroutine touches it, so there is no lock.
#[derive(Default)]
struct Members(HashMap<usize, Member>);

impl Members {
    /// Tells everyone. Whoever has not taken what came before leaves the room: its queue is closed.
    fn tell(&mut self, line: &str) {
        let line = Utf8Bytes::from(line);
        self.0.retain(|_, member| member.queue.try_send(line.clone()).is_ok());
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Enter { id, queue } => {
                let name = format!("guest-{id}");
                self.tell(&format!("-- {name} comes in"));
                self.0.insert(id, Member { name, queue });
                self.tell(&format!("-- here are {}", self.names()));
            }
            Event::Say { id, text } => {
                // One who was told to leave may have said something before he noticed.
                let Some(member) = self.0.get_mut(&id) else { return };
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
                if let Some(member) = self.0.remove(&id) {
                    self.tell(&format!("-- {} leaves", member.name));
                }
            }
        }
    }

    fn names(&self) -> String {
        let mut names: Vec<_> = self.0.values().map(|member| member.name.as_str()).collect();
        names.sort_unstable();
        names.join(", ")
    }
}

/// The room: takes events until it is told to stop.
fn room(events: &Receiver<Event>, stopped: &Receiver<()>) {
    let mut members = Members::default();
    loop {
        sward::select! {
            recv(events) -> event => match event {
                Ok(event) => members.take(event),
                Err(_) => return,
            },
            recv(stopped) -> _ => return members.tell("-- the server goes home"),
        }
    }
}

fn connection(mut stream: TcpStream, id: usize, events: &Sender<Event>) -> tungstenite::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PING_EVERY))?;
    let (request, rest) = match sward::time::timeout(HEAD_TIME, || head(&mut stream)) {
        Ok(head) => head?,
        Err(elapsed) => return Err(io::Error::from(elapsed).into()),
    };
    if !request.headers().contains_key("upgrade") {
        return page(&mut stream, &request);
    }
    match create_response(&request) {
        Ok(response) => write_response(&mut stream, &response)?,
        Err(e) => return respond(&mut stream, "400 Bad Request", "text/plain", &e.to_string()),
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
            // A client that was told goodbye answers, and the reader waits for that; one that cannot be told
            // is not waited for.
            let _ = writing.shutdown(if ended.is_ok() { Shutdown::Write } else { Shutdown::Both });
            ended
        });
        let ended = read(Receiving { stream: &stream, answers }, rest, |text| {
            events.send(Event::Say { id, text }).map_err(gone)
        });
        ended.and(writer.join().map_err(io::Error::other)?)
    });
    events.send(Event::Leave { id }).map_err(gone)?;
    // What the client still sends would make the kernel reset the connection, and what it was told be lost.
    let _ = sward::time::timeout(LINGER, || io::copy(&mut stream, &mut io::sink()));
    ended
}

/// Reads the head of a request; gives what was read beyond it, too.
fn head(stream: &mut TcpStream) -> tungstenite::Result<(Request, Vec<u8>)> {
    let (mut input, mut buffer) = (Vec::new(), [0; 2048]);
    loop {
        match Request::try_parse(&input) {
            Ok(Some((length, request))) => return Ok((request, input.split_off(length))),
            Ok(None) if input.len() < HEAD_LIMIT => match stream.read(&mut buffer)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                n => input.extend_from_slice(&buffer[..n]),
            },
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

/// A stream that is read from; what is written goes to the writer. tungstenite writes whole frames.
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
    limits.max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST))
}

/// Reads messages until the client closes, and lets `say` have them.
fn read(
    stream: Receiving<'_>,
    rest: Vec<u8>,
    say: impl Fn(Utf8Bytes) -> io::Result<()>,
) -> tungstenite::Result<()> {
    let mut socket = WebSocket::from_partially_read(stream, rest, Role::Server, Some(limits()));
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => say(text)?,
            // tungstenite has answered pings and a close by itself.
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

/// Writes what the room and the reader have for the client, until either is through with it.
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
                // The reader has ended, and all its answers were written.
                Err(_) => return Ok(()),
            },
            recv(messages) -> line => match line {
                Ok(line) => ControlFlow::Continue(Some(Message::Text(line))),
                Err(_) => ControlFlow::Break(()),
            },
            recv(ping) -> _ => ControlFlow::Continue(Some(Message::Ping(Bytes::new()))),
        };
        match next {
            ControlFlow::Continue(Some(message)) => socket.send(message)?,
            ControlFlow::Continue(None) => {}
            ControlFlow::Break(()) => {
                let reason = Utf8Bytes::from_static("the room has closed the door");
                return socket.close(Some(CloseFrame { code: CloseCode::Away, reason }));
            }
        }
    }
}
