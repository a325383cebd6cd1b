//! Crates that know nothing of coroutines, driven over plain sockets by clients that do not either: rustls,
//! tungstenite and hyper, as the examples have them.

mod checked;
mod programs;

use programs::{Server, wait_for};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Bytes, Message, WebSocket};

/// A file of this test's own, which goes with it.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str) -> TempFile {
        TempFile(std::env::temp_dir().join(format!("sward-{}-{name}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Reads one response of HTTP/1.1 with a `Content-Length`: the head in lower case, and the body.
fn response(stream: &mut impl Read) -> io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}

/// The settings of a client that trusts the certificate in that file and no other; nobody without one.
fn trusting(file: Option<&TempFile>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = file {
        let certificate = CertificateDer::from_pem_file(&file.0).expect("a certificate");
        roots.add(certificate).expect("a root");
    }
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

fn session(settings: &Arc<ClientConfig>, name: &'static str) -> ClientConnection {
    let name = ServerName::try_from(name).expect("a name");
    ClientConnection::new(Arc::clone(settings), name).expect("a client")
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const GET_LARGE: &[u8] = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";
const GET_CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[test]
fn https_serves_clients_that_verify_its_certificate() {
    let file = TempFile::new("https.pem");
    let Some(server) = Server::start("https", &["--cert-out", file.path()]) else { return };
    let settings = trusting(Some(&file));

    let mut stream = StreamOwned::new(session(&settings, "localhost"), server.connect());
    for _ in 0..3 {
        stream.write_all(GET).expect("written");
        let (head, body) = response(&mut stream).expect("a response");
        assert!(head.starts_with("http/1.1 200 ok") && body == b"Hello, World!\n", "{head}");
    }
    stream.write_all(&[GET_LARGE, GET_CLOSE].concat()).expect("written");
    let (_, large) = response(&mut stream).expect("a response");
    assert_eq!(large.len(), 8 << 20);
    assert!(large.iter().enumerate().all(|(n, &byte)| byte == (n % 251) as u8));
    let mut last = String::new();
    stream.read_to_string(&mut last).expect("an end that is announced, not a cut");
    assert!(last.ends_with("Hello, World!\n"), "{last}");

    let address = session(&settings, "127.0.0.1");
    StreamOwned::new(address, server.connect()).write_all(GET).expect("the address is a name as well");
    for (settings, name) in [(&settings, "example.com"), (&trusting(None), "localhost")] {
        let refused = StreamOwned::new(session(settings, name), server.connect()).write_all(GET);
        assert_eq!(refused.expect_err("not to be trusted").kind(), ErrorKind::InvalidData);
    }

    // Not TLS, or not for long.
    assert!(!server.talk(GET).contains("Hello"));
    drop(server.connect());
    let mut cut = server.connect();
    cut.write_all(&[22, 3, 1, 2, 0, 1]).expect("written");
    drop(cut);
    assert_https_answers(&server, &settings);
}

fn assert_https_answers(server: &Server, settings: &Arc<ClientConfig>) {
    let mut stream = StreamOwned::new(session(settings, "localhost"), server.connect());
    stream.write_all(GET).expect("written");
    assert!(response(&mut stream).expect("a response").0.starts_with("http/1.1 200"));
}

/// The protocol and its limits are those of `http`; this is the way through the encryption.
#[test]
fn https_keeps_to_the_rfc() {
    let file = TempFile::new("rfc.pem");
    let Some(server) = Server::start("https", &["--cert-out", file.path()]) else { return };
    let settings = trusting(Some(&file));
    programs::http::drive(|request| {
        let mut stream = StreamOwned::new(session(&settings, "localhost"), server.connect());
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an end that is announced, not a cut");
        answer
    });
}

#[test]
fn https_makes_large_answers_as_they_are_read() {
    const CLIENTS: usize = 30;
    let file = TempFile::new("large.pem");
    let Some(server) = Server::start("https", &["--cert-out", file.path()]) else { return };
    let settings = trusting(Some(&file));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = StreamOwned::new(session(&settings, "localhost"), server.connect());
            stream.write_all(GET_LARGE).expect("written");
            stream.read_exact(&mut [0; 100]).expect("the answer begins");
            stream
        })
        .collect();
    let resident = programs::resident_kib(server.child.id());
    assert!(resident < 64 << 10, "{resident} KiB");
    drop(clients);
    assert_https_answers(&server, &settings);
}

/// The client side of rustls in coroutines, too.
#[test]
fn https_from_coroutine_to_coroutine() {
    let file = TempFile::new("coroutine.pem");
    let Some(server) = Server::start("https", &["--cert-out", file.path()]) else { return };
    let settings = trusting(Some(&file));
    sward::runtime::Builder::new().build().expect("a runtime").run(|| {
        sward::scope(|s| {
            for _ in 0..50 {
                s.spawn(|| {
                    let stream = sward::net::TcpStream::connect(server.address.as_str()).expect("connected");
                    let mut stream = StreamOwned::new(session(&settings, "localhost"), stream);
                    for _ in 0..10 {
                        stream.write_all(GET).expect("written");
                        assert_eq!(response(&mut stream).expect("a response").1, b"Hello, World!\n");
                    }
                });
            }
        });
    });
}

type Client = WebSocket<TcpStream>;

/// A member of the room, who may not have been announced.
fn join(server: &Server) -> Client {
    let url = format!("ws://{}/", server.address);
    let (mut client, response) = tungstenite::client(url, server.connect()).expect("a handshake");
    assert_eq!(response.status(), 101);
    assert!(line(&mut client).starts_with("-- here are guest-"));
    client
}

/// A member of the room who was announced; everything that was said until then is read.
fn enter(server: &Server) -> Client {
    let mut client = join(server);
    while !line(&mut client).contains(" come") {}
    client
}

/// The next line that is said; what else comes is passed over.
fn line(client: &mut Client) -> String {
    loop {
        if let Message::Text(text) = client.read().expect("a message") {
            return text.as_str().to_owned();
        }
    }
}

/// Reads until the connection is closed, and gives the reason.
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
    let Some(server) = Server::start("websocket", &[]) else { return };
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

/// Each join costs the other members a share of a line, not a line each.
#[test]
fn websocket_joins_cost_little() {
    const MEMBERS: usize = 500;
    let Some(server) = Server::start("websocket", &[]) else { return };
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
    // A list of all would be longer than any message may be.
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

/// A page of another server must not speak for its reader.
#[test]
fn websocket_lets_in_no_foreign_pages() {
    let Some(server) = Server::start("websocket", &["--origin", "https://chat.example"]) else { return };
    let port = server.address.rsplit(':').next().expect("a port");
    let own = [format!("http://127.0.0.1:{port}"), format!("http://LOCALHOST:{port}")];
    let foreign = ["http://evil.example", "null", "https://chat.example.evil", "http://chat.example", ""];
    let origins = own.iter().map(|own| (own.as_str(), true)).chain([("https://chat.example", true)]);
    for (origin, is_welcome) in origins.chain(foreign.map(|origin| (origin, false))) {
        // A page whose domain was made to name this machine: the host is its own.
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
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("read");
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).to_lowercase()
}

/// A client that sends more than is read gets its refusal nevertheless.
#[test]
fn websocket_refusals_are_not_lost_by_a_reset() {
    let Some(server) = Server::start("websocket", &[]) else { return };
    for (begin, status) in [("nonsense\r\n\r\n", "400"), ("GET / HTTP/1.1\r\nX: ", "431")] {
        let mut stream = server.connect();
        stream.write_all(format!("{begin}{}", "x".repeat(1 << 20)).as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an end, and no reset");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

/// What the reading coroutine answers and what the writing one says are whole frames each.
#[test]
fn websocket_frames_do_not_mix() {
    const LINES: usize = 1_000;
    let Some(server) = Server::start("websocket", &[]) else { return };
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
fn websocket_closes_the_door_on_bad_and_slow_clients() {
    let Some(server) = Server::start("websocket", &[]) else { return };
    let mut good = enter(&server);

    let mut long = enter(&server);
    long.send("x".repeat(5_000).into()).expect("sent");
    assert_eq!(close_code(&mut long), CloseCode::Size);

    let mut raw = enter(&server);
    // A frame that is not masked, which a client must not send.
    raw.get_mut().write_all(&[0x81, 1, b'x']).expect("written");
    assert_eq!(close_code(&mut raw), CloseCode::Protocol);

    // It does not read, and is not waited for.
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
    let Some(server) = Server::start("websocket", &[]) else { return };
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
    // The head in pieces, and the first frame in the same segment as its end.
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
    let Some(mut server) = Server::start("websocket", &[]) else { return };
    let (mut one, mut other) = (enter(&server), enter(&server));
    server.interrupt();
    for client in [&mut one, &mut other] {
        while line(client) != "-- the server goes home" {}
        assert_eq!(close_code(client), CloseCode::Away);
    }
    assert!(server.child.wait().expect("an end").success());
}

#[test]
fn hyper_serves_http1() {
    let Some(server) = Server::start("hyper", &[]) else { return };
    let mut stream = server.connect();
    for _ in 0..3 {
        stream.write_all(&[GET, GET].concat()).expect("written");
        for _ in 0..2 {
            let (head, body) = response(&mut stream).expect("a response");
            assert!(head.starts_with("http/1.1 200 ok") && body == b"Hello, World!\n", "{head}");
        }
    }
    // More than the kernel buffers, and both ways at once.
    let body = vec![b'x'; 16 << 20];
    let mut writing = stream.try_clone().expect("a clone");
    thread::scope(|s| {
        s.spawn(|| {
            let length = body.len();
            let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            writing.write_all(head.as_bytes()).expect("written");
            writing.write_all(&body).expect("written");
        });
        assert!(response(&mut stream).expect("a response").1 == body);
    });
    let chunked = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let echo = server.talk(format!("{chunked}2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n").as_bytes());
    assert!(echo.starts_with("HTTP/1.1 200 OK") && echo.contains("ab") && echo.contains("cde"), "{echo}");

    assert!(server.talk(b"GET /no HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").contains(" 404 "));
    assert!(server.talk(b"nonsense\r\n\r\n").contains(" 400 "));
    // A client that begins as HTTP/2 does, and then does not go on so.
    assert!(server.talk(b"PRI /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").contains(" 404 "));
}

#[test]
fn hyper_ends_heads_that_take_too_long() {
    let Some(server) = Server::start("hyper", &["--head-seconds", "1"]) else { return };
    thread::scope(|s| {
        for begun in ["", "PRI", "GET / HTTP/1.1\r\nX: ", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /"] {
            let server = &server;
            s.spawn(move || {
                let start = Instant::now();
                let answer = server.talk(begun.as_bytes());
                assert_eq!(answer.contains("Hello"), begun.contains("Host"), "{begun:?}: {answer}");
                let time = start.elapsed();
                assert!(time > Duration::from_millis(900), "{begun:?} was closed after {time:?}");
                assert!(time < Duration::from_secs(20), "{begun:?} was closed after {time:?}");
            });
        }
    });
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The preface, and settings that are the default.
fn http2(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    // In two parts: the server decides only when it has the whole preface.
    stream.write_all(b"PRI * HTTP/2.0\r\n").expect("written");
    thread::sleep(Duration::from_millis(10));
    stream.write_all(&[&b"\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat()).expect("written");
    stream
}

/// A GET for a stream: the method, the scheme and the names of two more fields are in the static table.
fn get(stream: u32, path: &str) -> Vec<u8> {
    let mut fields = vec![0x82, 0x86, 0x04, path.len() as u8];
    fields.extend_from_slice(path.as_bytes());
    fields.extend_from_slice(&[0x01, 1, b'a']);
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields)
}

/// Kind, flags, stream and payload.
fn read_frame(stream: &mut TcpStream) -> io::Result<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload)?;
    Ok((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

/// The requests of one connection are coroutines of their own: a handler that parks holds up no other.
#[test]
fn hyper_serves_http2_streams_side_by_side() {
    const STREAMS: u32 = 32;
    let Some(server) = Server::start("hyper", &[]) else { return };
    let mut stream = http2(&server);
    let start = Instant::now();
    let slow: Vec<u8> = (0..STREAMS).flat_map(|n| get(2 * n + 1, "/slow")).collect();
    stream.write_all(&[slow, get(2 * STREAMS + 1, "/")].concat()).expect("written");
    let mut ended = Vec::new();
    while ended.len() <= STREAMS as usize {
        let (kind, flags, id, payload) = read_frame(&mut stream).expect("a frame");
        if kind == DATA {
            let expected: &[u8] = if id == 2 * STREAMS + 1 { b"Hello, World!\n" } else { b"slow\n" };
            assert_eq!((payload.as_slice(), flags & END_STREAM), (expected, END_STREAM));
            ended.push(id);
        } else {
            assert!(kind == HEADERS || id == 0, "a frame of kind {kind} for {id}");
        }
    }
    assert_eq!(ended[0], 2 * STREAMS + 1, "the one that does not wait is the first");
    ended.sort_unstable();
    assert!(ended.iter().eq((1..=2 * STREAMS + 1).step_by(2).collect::<Vec<_>>().iter()));
    let time = start.elapsed();
    assert!(time < Duration::from_millis(200) * STREAMS / 2, "it took {time:?}");
}

/// However connections end, nothing of them is left: no descriptor, no coroutine that waits for one.
#[test]
fn hyper_leaves_nothing_behind() {
    let Some(server) = Server::start("hyper", &["--head-seconds", "3"]) else { return };
    assert!(server.talk(GET_CLOSE).contains("Hello"));
    let before = server.descriptors();
    let mut open = Vec::new();
    for n in 0..70 {
        match n % 7 {
            0 => drop(server.connect()),
            1 => server.connect().write_all(b"GET / HT").expect("written"),
            // Its response is not waited for.
            2 => server.connect().write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").expect("written"),
            3 => http2(&server).write_all(&get(1, "/slow")).expect("written"),
            4 => {
                let mut stream = server.connect();
                stream.write_all(GET).expect("written");
                response(&mut stream).expect("a response");
                stream.shutdown(Shutdown::Write).expect("half closed");
                assert_eq!(stream.read(&mut [0]).expect("read"), 0);
            }
            5 => {
                // It keeps its side open, although its time is over.
                let mut stream = server.connect();
                stream.write_all(b"GET / HT").expect("written");
                open.push(stream);
            }
            _ => {
                // A response that the client does not take.
                let mut stream = server.connect();
                let head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";
                stream.write_all(head).expect("written");
                stream.set_write_timeout(Some(Duration::from_millis(100))).expect("set");
                while stream.write_all(&[0; 1 << 16]).is_ok() {}
            }
        }
    }
    wait_for("the connections' ends", || server.descriptors() <= before);
    drop(open);
    assert!(server.talk(GET_CLOSE).contains("Hello"));
}
