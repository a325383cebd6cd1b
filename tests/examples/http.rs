//! `http`, and what all servers have in common.

use crate::programs::{Server, example_path};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

#[test]
fn http_answers_valid_and_invalid_requests() {
    answers_valid_and_invalid_requests(&["--head-seconds", "1"]);
}

/// The same without coroutines for idle connections.
#[test]
fn http_answers_valid_and_invalid_requests_in_activations() {
    answers_valid_and_invalid_requests(&["--head-seconds", "1", "--serve"]);
}

fn answers_valid_and_invalid_requests(arguments: &[&str]) {
    let Some(server) = Server::start("http", arguments) else { return };
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let close = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    let pipelined = server.talk(format!("{get}{get}{close}").as_bytes());
    assert_eq!(pipelined.matches("HTTP/1.1 200 OK").count(), 3);
    assert_eq!(pipelined.matches("Hello, World!").count(), 3);

    let old = server.talk(b"GET / HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.1 200 OK") && old.ends_with("Hello, World!\n"));

    let head = server.talk(b"HEAD / HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.ends_with("\r\n\r\n"));

    let large = format!("GET / HTTP/1.1\r\nX: {}\r\n", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: x\r\n".repeat(100));
    let chunks = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let padded = format!("{chunks}{}", format!("1;{}\r\nx\r\n", "x".repeat(250)).repeat(3_000));
    let trailers = format!("{chunks}0\r\n{}", format!("X: {}\r\n", "x".repeat(1_000)).repeat(20));
    for (request, status) in [
        (large.as_str(), "431"),
        (many.as_str(), "431"),
        (padded.as_str(), "413"),
        (trailers.as_str(), "431"),
        // Never finished: the server's time limit ends the request, although the client still waits.
        ("GET / HTTP/1.1\r\nHost: slow", "408"),
        ("\r\n\r\n", "408"),
    ] {
        let answer = strict_talk(&server, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
}

/// As `talk`, but every error is a failure, so no answer may be lost by a reset.
pub(crate) fn strict_talk(server: &Server, request: &[u8]) -> String {
    let mut stream = server.connect();
    stream.write_all(request).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an end, and no reset");
    answer
}

#[test]
fn http_keeps_to_the_rfc() {
    for arguments in [&[][..], &["--serve"]] {
        let Some(server) = Server::start("http", arguments) else { return };
        crate::programs::http::drive(|request| strict_talk(&server, request.as_bytes()));
    }
}

/// A client that sends everything before it reads still gets its answer.
#[test]
fn http_refusals_are_not_lost_by_a_reset() {
    let Some(server) = Server::start("http", &[]) else { return };
    let rest = "x".repeat(1 << 20);
    for (begin, status) in [
        ("nonsense\r\n\r\n", "400"),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n", "413"),
        ("GET / HTTP/1.1\r\nX: ", "431"),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "200"),
    ] {
        let answer = strict_talk(&server, format!("{begin}{rest}").as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
}

#[test]
fn http_answers_expect_100_continue() {
    let Some(server) = Server::start("http", &[]) else { return };
    let mut stream = server.connect();
    for (framing, body) in
        [("Content-Length: 3", "abc"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n")]
    {
        let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n{framing}\r\n\r\n");
        exchange(&mut stream, &head, "HTTP/1.1 100 Continue\r\n\r\n");
        exchange(&mut stream, body, "HTTP/1.1 200 OK\r\n");
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n\r\nabc") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("read");
            rest.push(byte[0]);
        }
    }
    // A client that has sent the body already gets no `100 Continue`.
    let late = "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc";
    exchange(&mut stream, late, "HTTP/1.1 200 OK\r\n");
}

/// Answers that clients do not read take no memory of the server.
#[test]
fn http_makes_large_answers_as_they_are_read() {
    const CLIENTS: usize = 30;
    const LENGTH: usize = 8 << 20;
    let Some(server) = Server::start("http", &[]) else { return };
    let mut clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let mut stream = server.connect();
            let close = "GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            stream.write_all(close.as_bytes()).expect("written");
            exchange(&mut stream, "", "HTTP/1.1 200 OK\r\n");
            stream
        })
        .collect();
    server.has_resident(64 << 10);
    let mut answer = Vec::new();
    clients[0].read_to_end(&mut answer).expect("read");
    let body = &answer[answer.len() - LENGTH..];
    assert!(body.iter().enumerate().all(|(at, &byte)| byte == (at % 251) as u8));
}

/// Many pipelined requests: unread answers keep the server from reading more.
#[test]
fn http_does_not_read_ahead_of_its_answers() {
    let Some(server) = Server::start("http", &[]) else { return };
    let stream = server.connect();
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("set");
    let requests = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_000);
    let mut sent = 0;
    while (&stream).write_all(requests.as_bytes()).is_ok() {
        sent += requests.len();
        assert!(sent < 256 << 20, "the server takes whatever comes");
    }
    server.has_resident(64 << 10);
}

#[test]
fn servers_hold_no_more_connections_than_their_limit() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (example, request, answer) in [
        ("http", get, "HTTP/1.1 200 OK\r\n"),
        ("redis", "PING\r\n", "+PONG\r\n"),
        ("websocket", upgrade, "HTTP/1.1 101 "),
    ] {
        let Some(server) = Server::start(example, &["--connections", "2"]) else { return };
        let mut held = [server.connect(), server.connect()];
        for stream in &mut held {
            exchange(stream, request, answer);
        }
        let mut third = server.connect();
        third.write_all(request.as_bytes()).expect("written");
        third.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
        third.read(&mut [0]).expect_err("it waits for its turn");
        third.set_read_timeout(Some(Duration::from_secs(120))).expect("set");
        let [first, second] = held;
        drop(first);
        exchange(&mut third, "", answer);
        drop(second);
    }
}

/// The time limit of a head runs from its first byte to its last, however slowly the bytes come.
#[test]
fn http_times_each_head_by_itself() {
    // Each head takes 1.2 seconds, far less than the limit, and all of them take longer than it.
    let Some(server) = Server::start("http", &["--head-seconds", "3"]) else { return };
    let mut pipelining = TcpStream::connect(&server.address).expect("connected");
    let mut dripping = TcpStream::connect(&server.address).expect("connected");
    let (begin, end) = ("GET / HTTP/1.1\r\nX: ", "\r\nHost: a\r\n\r\n");
    let last = "\r\nHost: a\r\nConnection: close\r\n\r\n";
    dripping.write_all(begin.as_bytes()).expect("written");
    pipelining.write_all(begin.as_bytes()).expect("written");
    for rest in [format!("{end}{begin}"), format!("{end}{begin}"), last.to_owned()] {
        std::thread::sleep(Duration::from_millis(1200));
        pipelining.write_all(rest.as_bytes()).expect("written");
        let _ = dripping.write_all(b"x");
    }
    let mut answers = String::new();
    pipelining.read_to_string(&mut answers).expect("read");
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    assert!(!answers.contains("408"), "{answers}");
    let mut refusal = Vec::new();
    let _ = dripping.read_to_end(&mut refusal);
    assert!(refusal.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&refusal));
}

#[test]
fn unknown_arguments_are_refused_with_the_usage() {
    for (example, arguments, wrong) in [
        ("echo", &["7000", "7001"][..], "unknown argument: \"7001\""),
        ("echo", &["seven"], "not a port: \"seven\""),
        ("proxy", &["0"], "where to? TARGET is a host and a port"),
        ("http", &["0", "--worker", "2"], "unknown argument: \"--worker\""),
        ("http", &["--workers"], "--workers wants a number"),
        ("c10k", &["--connections", "10"], "unknown argument: \"--connections\""),
        ("c10k", &["bench"], "unknown argument: \"bench\""),
        ("c10k", &["--conns", "0"], "--conns wants 1 at least, not 0"),
        ("c10k", &["--size", "8"], "--size wants from 16 to 1048576, not 8"),
        ("https", &["0", "--cert-out"], "--cert-out wants a value"),
        ("https", &["0", "--connections", "all"], "--connections wants a number, not \"all\""),
        ("websocket", &["0", "0"], "unknown argument: \"0\""),
        ("spawn_100k", &["--count", "many"], "--count wants a number, not \"many\""),
    ] {
        let Some(path) = example_path(example) else { return };
        let output = Command::new(path).args(arguments).output().expect("the example starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(wrong) && said.contains(&format!("usage: {example} ")), "{said}");
        assert_eq!(output.status.code(), Some(2));
    }
}

/// Sends a text, and expects exactly the other one in return. The connection stays open.
pub(crate) fn exchange(stream: &mut TcpStream, sent: &str, expected: &str) {
    stream.write_all(sent.as_bytes()).expect("written");
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).expect("read");
    assert_eq!(String::from_utf8_lossy(&answer), expected, "the answer to {sent:?}");
}
