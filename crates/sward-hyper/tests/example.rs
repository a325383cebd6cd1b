//! The example `hyper` as a process of its own, with HTTP/1.1 and HTTP/2 written by hand.

#[path = "../../../tests/programs/mod.rs"]
mod programs;

use programs::{Server, read_until, wait_for};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

const GET_CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Reads a response with a length: its head in lower case, and its body.
fn response(stream: &mut impl Read) -> io::Result<(String, Vec<u8>)> {
    let head = read_until(stream, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let mut body = Vec::new();
    if head.contains("transfer-encoding: chunked") {
        loop {
            let line = read_until(stream, b"\r\n")?;
            let length = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).expect("a length");
            let begin = body.len();
            body.resize(begin + length + 2, 0);
            stream.read_exact(&mut body[begin..])?;
            body.truncate(begin + length);
            if length == 0 {
                return Ok((head, body));
            }
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    body.resize(length.parse().expect("a number"), 0);
    stream.read_exact(&mut body)?;
    Ok((head, body))
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
    // More than the kernel buffers, in both directions at once.
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
    // A client that begins like HTTP/2, and then does not continue so.
    assert!(server.talk(b"PRI /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").contains(" 404 "));
}

#[test]
fn hyper_ends_heads_that_take_too_long() {
    let Some(server) = Server::start("hyper", &["1"]) else { return };
    thread::scope(|s| {
        for begun in ["", "PRI", "GET / HTTP/1.1\r\nX: ", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /"] {
            let server = &server;
            s.spawn(move || {
                let start = Instant::now();
                let answer = server.talk(begun.as_bytes());
                assert_eq!(answer.contains("Hello"), begun.contains("Host"), "{begun:?}: {answer}");
                let time = start.elapsed();
                assert!(time > Duration::from_millis(900), "{begun:?} was closed after {time:?}");
                assert!(time < Duration::from_secs(120), "{begun:?} was closed after {time:?}");
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

/// The preface, and default settings.
fn http2(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    // In two parts, as the server decides only once it has the whole preface.
    stream.write_all(b"PRI * HTTP/2.0\r\n").expect("written");
    thread::sleep(Duration::from_millis(10));
    stream.write_all(&[&b"\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat()).expect("written");
    stream
}

/// A GET on a stream. The method, the scheme and the names of two more fields are in the static table.
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

/// Each request of a connection has a coroutine of its own, so a handler that parks does not delay the
/// others.
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

/// However connections end, no descriptor of them is left, and no coroutine that waits for one.
#[test]
fn hyper_leaves_nothing_behind() {
    let Some(server) = Server::start("hyper", &["3"]) else { return };
    assert!(server.talk(GET_CLOSE).contains("Hello"));
    let before = server.descriptors();
    let mut open = Vec::new();
    for n in 0..70 {
        match n % 7 {
            0 => drop(server.connect()),
            1 => server.connect().write_all(b"GET / HT").expect("written"),
            // The client does not wait for its response.
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
                // The client keeps its side open after the time limit.
                let mut stream = server.connect();
                stream.write_all(b"GET / HT").expect("written");
                open.push(stream);
            }
            _ => {
                // The client does not read the response.
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

#[test]
fn hyper_holds_no_more_connections_than_its_limit() {
    let Some(server) = Server::start("hyper", &["10", "2"]) else { return };
    let mut held = [server.connect(), server.connect()];
    for stream in &mut held {
        stream.write_all(GET).expect("written");
        response(stream).expect("a response");
    }
    let mut third = server.connect();
    third.write_all(GET).expect("written");
    third.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
    assert!(third.read(&mut [0]).is_err(), "a third connection is served");
    drop(held);
    third.set_read_timeout(Some(Duration::from_secs(120))).expect("set");
    assert!(response(&mut third).expect("a response").0.starts_with("http/1.1 200"));
}

#[test]
fn hyper_ends_requests_before_it_ends() {
    let Some(mut server) = Server::start("hyper", &[]) else { return };
    let mut stream = server.connect();
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nsl").expect("written");
    // The handler runs: the response begins.
    stream.peek(&mut [0]).expect("a response");
    server.interrupt();
    thread::sleep(Duration::from_millis(50));
    stream.write_all(b"ow\n").expect("written");
    assert_eq!(response(&mut stream).expect("a response").1, b"slow\n");
    assert!(server.child.wait().expect("it ends").success());
}
