//! `websocket`, on tungstenite.

#[path = "../../../tests/checked/mod.rs"]
mod checked;
#[path = "../../../tests/programs/mod.rs"]
mod programs;

use programs::{Server, read_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::Duration;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Bytes, Message, WebSocket};

type Client = WebSocket<TcpStream>;

fn start(arguments: &[&str]) -> Server {
    Server::start_at(Path::new(env!("CARGO_BIN_EXE_websocket")), arguments)
}

/// Joins the room. The others may not have been told yet.
fn join(server: &Server) -> Client {
    let url = format!("ws://{}/", server.address);
    let (mut client, response) = tungstenite::client(url, server.connect()).expect("a handshake");
    assert_eq!(response.status(), 101);
    assert!(line(&mut client).starts_with("-- here are guest-"));
    client
}

/// Joins the room, and reads everything up to the announcement.
fn enter(server: &Server) -> Client {
    let mut client = join(server);
    while !line(&mut client).contains(" come") {}
    client
}

/// The next line of text. Other messages are skipped.
fn line(client: &mut Client) -> String {
    loop {
        if let Message::Text(text) = client.read().expect("a message") {
            return text.as_str().to_owned();
        }
    }
}

/// Reads until the connection is closed, and returns the reason.
fn close_code(client: &mut Client) -> CloseCode {
    let mut code = None;
    loop {
        match client.read() {
            Ok(Message::Close(frame)) => code = frame.map(|frame| frame.code),
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => return code.expect("a reason"),
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn websocket_members_hear_each_other() {
    let server = start(&[]);
    let mut one = enter(&server);
    let mut other = enter(&server);
    assert_eq!(line(&mut one), "-- guest-1 comes in");
    other.send("hällo".into()).expect("sent");
    other.send("/name Ann".into()).expect("sent");
    other.send("I am Ann".into()).expect("sent");
    for client in [&mut one, &mut other] {
        assert_eq!(line(client), "guest-1: hällo");
        assert_eq!(line(client), "-- guest-1 is now Ann");
        assert_eq!(line(client), "Ann: I am Ann");
    }
    one.send(Message::Ping(Bytes::from_static(b"are you there"))).expect("sent");
    assert_eq!(one.read().expect("a message"), Message::Pong(Bytes::from_static(b"are you there")));

    other.close(None).expect("sent");
    assert!(matches!(other.read(), Ok(Message::Close(_))));
    assert!(matches!(other.read(), Err(tungstenite::Error::ConnectionClosed)));
    assert_eq!(line(&mut one), "-- Ann leaves");
    let third = enter(&server);
    assert_eq!(line(&mut one), "-- guest-2 comes in");
    drop(third);
    assert_eq!(line(&mut one), "-- guest-2 leaves");
}

/// Joins are announced together: each takes a part of a line, and not a line of its own.
#[test]
fn websocket_joins_cost_little() {
    const MEMBERS: usize = 500;
    let server = start(&[]);
    let mut first = enter(&server);
    let mut others: Vec<Client> = (1..MEMBERS).map(|_| join(&server)).collect();
    others.last_mut().expect("many").send("done".into()).expect("sent");
    let (mut bytes, mut lines) = (0, 0);
    loop {
        let said = line(&mut first);
        (bytes, lines) = (bytes + said.len(), lines + 1);
        if said == format!("guest-{}: done", MEMBERS - 1) {
            break;
        }
    }
    assert!(lines <= MEMBERS + 1 && bytes < MEMBERS * 100, "{lines} lines, {bytes} bytes");
    // A list of all members would be longer than a message may be.
    let mut last = server.connect();
    last.write_all(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .expect("written");
    head(&mut last);
    let mut last = WebSocket::from_raw_socket(last, tungstenite::protocol::Role::Client, None);
    let said = line(&mut last);
    assert!(said.ends_with(&format!(" and {} more", MEMBERS + 1 - 20)) && said.len() < 400, "{said}");
}

/// A page of another server must not speak in the name of its reader.
#[test]
fn websocket_refuses_foreign_pages() {
    let server = start(&["--origin", "https://chat.example"]);
    let port = server.address.rsplit(':').next().expect("a port");
    let own = [format!("http://127.0.0.1:{port}"), format!("http://LOCALHOST:{port}")];
    let foreign = ["http://evil.example", "null", "https://chat.example.evil", "http://chat.example", ""];
    let origins = own.iter().map(|own| (own.as_str(), true)).chain([("https://chat.example", true)]);
    for (origin, is_welcome) in origins.chain(foreign.map(|origin| (origin, false))) {
        // A page whose domain resolves to this machine: the host is that of the page.
        let host = origin.rsplit("//").next().expect("a part");
        let mut stream = server.connect();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("written");
        let head = head(&mut stream);
        let status = if is_welcome { "http/1.1 101 " } else { "http/1.1 403 " };
        assert!(head.starts_with(status), "{origin:?}: {head}");
    }
}

/// Reads the head of a response, in lower case.
fn head(stream: &mut impl Read) -> String {
    let head = read_until(stream, b"\r\n\r\n").expect("read");
    String::from_utf8_lossy(&head).to_lowercase()
}

/// A client that sends more than the server reads still gets its refusal.
#[test]
fn websocket_refusals_are_not_lost_by_a_reset() {
    let server = start(&[]);
    for (begin, status) in [("nonsense\r\n\r\n", "400"), ("GET / HTTP/1.1\r\nX: ", "431")] {
        let mut stream = server.connect();
        stream.write_all(format!("{begin}{}", "x".repeat(1 << 20)).as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an end, and no reset");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

/// The frames of the reading coroutine and of the writing one do not mix.
#[test]
fn websocket_frames_do_not_mix() {
    const LINES: usize = 1_000;
    let server = start(&[]);
    let (mut pinging, mut saying) = (enter(&server), enter(&server));
    let mut pings = WebSocket::from_raw_socket(
        pinging.get_ref().try_clone().expect("a clone"),
        tungstenite::protocol::Role::Client,
        None,
    );
    thread::scope(|s| {
        s.spawn(move || {
            for n in 0..LINES {
                pings.send(Message::Ping(Bytes::from(n.to_be_bytes().to_vec()))).expect("sent");
            }
        });
        s.spawn(|| {
            for n in 0..LINES {
                saying.send(n.to_string().into()).expect("sent");
                while line(&mut saying) != format!("guest-1: {n}") {}
            }
        });
        let (mut said, mut answered) = (0, 0);
        while said < LINES || answered < LINES {
            match pinging.read().expect("a message") {
                Message::Text(text) if text.starts_with("-- ") => {}
                Message::Text(text) => {
                    assert_eq!(text.as_str(), format!("guest-1: {said}"));
                    said += 1;
                }
                Message::Pong(number) => {
                    assert_eq!(*number, answered.to_be_bytes());
                    answered += 1;
                }
                other => panic!("{other}"),
            }
        }
    });
}

#[test]
fn websocket_closes_connections_of_bad_and_slow_clients() {
    let server = start(&[]);
    let mut good = enter(&server);

    let mut long = enter(&server);
    long.send("x".repeat(5_000).into()).expect("sent");
    assert_eq!(close_code(&mut long), CloseCode::Size);

    let mut raw = enter(&server);
    // An unmasked frame, which a client must not send.
    raw.get_mut().write_all(&[0x81, 1, b'x']).expect("written");
    assert_eq!(close_code(&mut raw), CloseCode::Protocol);

    // This member does not read, and the server does not wait for it.
    let mut slow = enter(&server);
    let text = "x".repeat(4_000);
    for n in 0..5_000 {
        good.send(format!("{n} {text}").into()).expect("sent");
        let expected = format!("guest-0: {n} ");
        while !line(&mut good).starts_with(&expected) {}
    }
    assert_eq!(close_code(&mut slow), CloseCode::Away);
    good.send("still here".into()).expect("sent");
    while line(&mut good) != "guest-0: still here" {}
}

#[test]
fn websocket_answers_plain_http_as_well() {
    let server = start(&[]);
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n", "x".repeat(20_000));
    for (request, status, contents) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK", "new WebSocket("),
        ("GET /other HTTP/1.1\r\nHost: a\r\n\r\n", "404 Not Found", "not found"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "400 Bad Request",
            "ersion",
        ),
        ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request", "one Host"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400 Bad Request", "one Host"),
        ("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "400 Bad Request", ""),
        ("nonsense\r\n\r\n", "400 Bad Request", ""),
        (&long, "431 Request Header Fields Too Large", ""),
    ] {
        let answer = server.talk(request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {answer}");
        assert!(answer.contains(contents), "{request}: {answer}");
    }
    // The head comes in pieces, and the first frame in one segment with the end of the head.
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgr").expect("written");
    thread::sleep(Duration::from_millis(20));
    let rest = format!("ade\r\nUpgrade: WebSocket\r\n{key}\r\n");
    let frame = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
    stream.write_all(&[rest.as_bytes(), &frame].concat()).expect("written");
    let head = head(&mut stream);
    assert!(head.starts_with("http/1.1 101") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    let mut client = WebSocket::from_raw_socket(stream, tungstenite::protocol::Role::Client, None);
    assert!(line(&mut client).starts_with("-- here are"));
    while !line(&mut client).ends_with(": hi") {}
}

#[test]
fn websocket_says_goodbye_on_ctrl_c() {
    let mut server = start(&[]);
    let (mut one, mut other) = (enter(&server), enter(&server));
    server.interrupt();
    for client in [&mut one, &mut other] {
        while line(client) != "-- the server goes home" {}
        assert_eq!(close_code(client), CloseCode::Away);
    }
    assert!(server.child.wait().expect("an end").success());
}
