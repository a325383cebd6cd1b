//! The examples as processes of their own, the servers among them driven over plain sockets.

mod checked;
mod common;
mod programs;

use programs::{Server, example_path};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn echo_gives_back_what_it_gets() {
    let Some(server) = Server::start("echo", &[]) else { return };
    let mut stream = TcpStream::connect(&server.address).expect("connected");
    let sent: Vec<u8> = (0..100_000u32).map(|n| (n * 7 % 251) as u8).collect();
    let writer = {
        let (mut stream, sent) = (stream.try_clone().expect("a clone"), sent.clone());
        std::thread::spawn(move || {
            stream.write_all(&sent).expect("written");
            stream.shutdown(Shutdown::Write).expect("half closed");
        })
    };
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("read");
    writer.join().expect("no panic");
    assert!(back == sent);
}

/// An echo server, and the proxy in front of it.
fn proxied_echo(arguments: &[&str]) -> Option<(Server, Server)> {
    let echo = Server::start("echo", &[])?;
    let arguments: Vec<&str> = std::iter::once(&*echo.address).chain(arguments.iter().copied()).collect();
    let proxy = Server::start("proxy", &arguments)?;
    Some((echo, proxy))
}

#[test]
fn the_proxy_passes_ends_on() {
    let Some((_echo, proxy)) = proxied_echo(&[]) else { return };
    // One that stays open meanwhile.
    let mut other = TcpStream::connect(&proxy.address).expect("connected");
    for _ in 0..3 {
        let mut stream = TcpStream::connect(&proxy.address).expect("connected");
        let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
        let writer = {
            let (mut stream, sent) = (stream.try_clone().expect("a clone"), sent.clone());
            std::thread::spawn(move || {
                stream.write_all(&sent).expect("written");
                stream.shutdown(Shutdown::Write).expect("half closed");
            })
        };
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("read");
        writer.join().expect("no panic");
        assert!(back == sent);
    }
    other.write_all(b"still there").expect("written");
    let mut back = [0; 11];
    other.read_exact(&mut back).expect("read");
    assert_eq!(&back, b"still there");
}

/// A client that breaks off takes its connection to the target along, and nothing else.
#[test]
fn the_proxy_survives_resets() {
    let target = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = target.local_addr().expect("an address").to_string();
    let Some(proxy) = Server::start("proxy", &[&address]) else { return };
    for _ in 0..3 {
        let client = TcpStream::connect(&proxy.address).expect("connected");
        let (mut server, _) = target.accept().expect("connected");
        (&client).write_all(b"x").expect("written");
        server.read_exact(&mut [0]).expect("read");
        server.write_all(b"unread").expect("written");
        client.peek(&mut [0]).expect("it has come");
        // A socket that is closed with data in it is reset.
        drop(client);
        assert!(matches!(server.read(&mut [0]), Ok(0) | Err(_)));
        // And the other way round.
        let mut client = TcpStream::connect(&proxy.address).expect("connected");
        let (server, _) = target.accept().expect("connected");
        client.write_all(b"unread").expect("written");
        server.peek(&mut [0]).expect("it has come");
        drop(server);
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    }
    // A target that is not there ends the client's connection.
    drop(target);
    let mut client = TcpStream::connect(&proxy.address).expect("connected");
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
}

/// A failed transfer must not look complete: a reset is passed on as a reset, in both directions.
#[test]
fn the_proxy_passes_resets_on_as_resets() {
    let target = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = target.local_addr().expect("an address").to_string();
    let Some(proxy) = Server::start("proxy", &[&address]) else { return };
    for client_resets in [true, false] {
        let client = proxy.connect();
        let (server, _) = target.accept().expect("connected");
        server.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        // Both have seen the other: the connection is a whole.
        for (mut from, mut to) in [(&client, &server), (&server, &client)] {
            from.write_all(b"x").expect("written");
            to.read_exact(&mut [0]).expect("read");
        }
        let (resets, mut learns) = if client_resets { (client, server) } else { (server, client) };
        common::reset_on_drop(&resets);
        drop(resets);
        let error = learns.read(&mut [0]).expect_err("no clean end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    // A target that is not there is no end, either.
    drop(target);
    let error = proxy.connect().read(&mut [0]).expect_err("no clean end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn the_proxy_ends_connections_that_are_idle_both_ways() {
    let Some((echo, proxy)) = proxied_echo(&["--idle", "1"]) else { return };
    let before = (echo.descriptors(), proxy.descriptors());
    let mut stream = proxy.connect();
    exchange(&mut stream, "said", "said");
    let error = stream.read(&mut [0]).expect_err("given up");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    programs::wait_for("the connections' ends", || (echo.descriptors(), proxy.descriptors()) == before);
}

/// Connections that have ended are not counted.
#[test]
fn the_proxy_counts_those_that_are_connected() {
    let Some((_echo, mut proxy)) = proxied_echo(&["--grace", "0"]) else { return };
    let before = proxy.descriptors();
    let mut kept = proxy.connect();
    exchange(&mut kept, "x", "x");
    let with_one = proxy.descriptors();
    let mut others: Vec<TcpStream> = (0..3).map(|_| proxy.connect()).collect();
    others.iter_mut().for_each(|stream| exchange(stream, "x", "x"));
    assert!(proxy.descriptors() > with_one && with_one > before);
    drop(others);
    programs::wait_for("the connections' ends", || proxy.descriptors() == with_one);
    // Between the last close and the end of its coroutine there is no wait.
    for _ in 0..20 {
        exchange(&mut kept, "x", "x");
        std::thread::sleep(Duration::from_millis(10));
    }
    proxy.interrupt();
    let said = proxy.rest();
    assert!(said.contains("ends, with 1 connections") && said.contains("gives up 1 connections"), "{said}");
    let error = kept.read(&mut [0]).expect_err("given up");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// The signal reaches a proxy that is full.
#[test]
fn the_proxy_ends_although_it_is_full() {
    let Some((_echo, mut proxy)) = proxied_echo(&["--grace", "0", "--connections", "1"]) else { return };
    let mut stream = proxy.connect();
    exchange(&mut stream, "x", "x");
    proxy.interrupt();
    assert!(proxy.child.wait().expect("an end").success());
}

#[test]
fn the_proxy_ends_gracefully() {
    for (grace, patient) in [("60", true), ("0", false)] {
        let Some((_echo, mut proxy)) = proxied_echo(&["--grace", grace]) else { return };
        let mut stream = TcpStream::connect(&proxy.address).expect("connected");
        stream.write_all(b"a").expect("written");
        stream.read_exact(&mut [0]).expect("read");
        // SAFETY: the call takes no pointers. The child was not waited for.
        assert_eq!(unsafe { libc::kill(proxy.child.id() as libc::pid_t, libc::SIGINT) }, 0);
        if patient {
            while TcpStream::connect(&proxy.address).is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
            stream.write_all(b"b").expect("written");
            stream.read_exact(&mut [0]).expect("the connection goes on");
            drop(stream);
        }
        assert!(proxy.child.wait().expect("an end").success());
    }
}

#[test]
fn http_answers_the_good_and_the_bad() {
    let Some(server) = Server::start("http", &["--head-seconds", "1"]) else { return };
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
        // Never finished: the server's patience ends, though the client goes on waiting.
        ("GET / HTTP/1.1\r\nHost: slow", "408"),
        ("\r\n\r\n", "408"),
    ] {
        let answer = strict_talk(&server, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
}

/// As `talk`; but nothing may go wrong, so no answer may be lost by a reset.
fn strict_talk(server: &Server, request: &[u8]) -> String {
    let mut stream = server.connect();
    stream.write_all(request).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an end, and no reset");
    answer
}

#[test]
fn http_keeps_to_the_rfc() {
    let Some(server) = Server::start("http", &[]) else { return };
    programs::http::drive(|request| strict_talk(&server, request.as_bytes()));
}

/// A client that sends all it has before it reads gets its answer nevertheless.
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
fn http_asks_for_bodies_that_wait_to_be_asked_for() {
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
    // One that has sent it already is not asked.
    let late = "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc";
    exchange(&mut stream, late, "HTTP/1.1 200 OK\r\n");
}

/// What clients do not read costs the server no memory of its own.
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
    let resident = programs::resident_kib(server.child.id());
    assert!(resident < 64 << 10, "{resident} KiB");
    let mut answer = Vec::new();
    clients[0].read_to_end(&mut answer).expect("read");
    let body = &answer[answer.len() - LENGTH..];
    assert!(body.iter().enumerate().all(|(at, &byte)| byte == (at % 251) as u8));
}

/// Many requests ahead of the answers: unread answers stop the server from reading more.
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
    let resident = programs::resident_kib(server.child.id());
    assert!(resident < 64 << 10, "{resident} KiB");
}

#[test]
fn servers_hold_no_more_connections_than_their_limit() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (example, request, answer) in [
        ("http", get, "HTTP/1.1 200 OK\r\n"),
        ("hyper", get, "HTTP/1.1 200 OK\r\n"),
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
        third.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        let [first, second] = held;
        drop(first);
        exchange(&mut third, "", answer);
        drop(second);
    }
}

/// A head has its time from its first byte to its last, whatever came before it and however it drips.
#[test]
fn http_times_each_head_by_itself() {
    let Some(server) = Server::start("http", &["--head-seconds", "1"]) else { return };
    let mut pipelining = TcpStream::connect(&server.address).expect("connected");
    let mut dripping = TcpStream::connect(&server.address).expect("connected");
    let (begin, end) = ("GET / HTTP/1.1\r\nX: ", "\r\nHost: a\r\n\r\n");
    let last = "\r\nHost: a\r\nConnection: close\r\n\r\n";
    dripping.write_all(begin.as_bytes()).expect("written");
    pipelining.write_all(begin.as_bytes()).expect("written");
    for rest in [format!("{end}{begin}"), format!("{end}{begin}"), last.to_owned()] {
        std::thread::sleep(Duration::from_millis(400));
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
        ("hyper", &["--head-seconds", "-1"], "--head-seconds wants a number, not \"-1\""),
        ("spawn_100k", &["--count", "many"], "--count wants a number, not \"many\""),
    ] {
        let Some(path) = example_path(example) else { return };
        let output = Command::new(path).args(arguments).output().expect("the example starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(wrong) && said.contains(&format!("usage: {example} ")), "{said}");
        assert_eq!(output.status.code(), Some(2));
    }
}

/// Sends that, and expects exactly that in return; the connection goes on.
fn exchange(stream: &mut TcpStream, sent: &str, expected: &str) {
    stream.write_all(sent.as_bytes()).expect("written");
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).expect("read");
    assert_eq!(String::from_utf8_lossy(&answer), expected, "the answer to {sent:?}");
}

/// A command as clients send it.
fn command(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{}", words.len(), words.concat())
}

#[test]
fn redis_carries_commands_out() {
    let Some(server) = Server::start("redis", &[]) else { return };
    let mut stream = server.connect();
    for (words, expected) in [
        (&["PING"][..], "+PONG\r\n"),
        (&["ping", "a b"], "$3\r\na b\r\n"),
        (&["GET", "k"], "$-1\r\n"),
        (&["SET", "k", "one\r\ntwo"], "+OK\r\n"),
        (&["GET", "k"], "$8\r\none\r\ntwo\r\n"),
        (&["SET", "empty", ""], "+OK\r\n"),
        (&["GET", "empty"], "$0\r\n\r\n"),
        (&["EXISTS", "k", "empty", "no"], ":2\r\n"),
        (&["DBSIZE"], ":2\r\n"),
        (&["DEL", "k", "empty", "no"], ":2\r\n"),
        (&["DEL", "k"], ":0\r\n"),
        (&["INCR", "n"], ":1\r\n"),
        (&["INCR", "n"], ":2\r\n"),
        (&["DECR", "n"], ":1\r\n"),
        (&["GET", "n"], "$1\r\n1\r\n"),
        (&["SET", "n", "9223372036854775807"], "+OK\r\n"),
        (&["INCR", "n"], "-ERR increment or decrement would overflow\r\n"),
        (&["DECR", "n"], ":9223372036854775806\r\n"),
        (&["SET", "n", "-9223372036854775808"], "+OK\r\n"),
        (&["DECR", "n"], "-ERR increment or decrement would overflow\r\n"),
        (&["SET", "n", "9223372036854775808"], "+OK\r\n"),
        (&["DECR", "n"], "-ERR value is not an integer or out of range\r\n"),
        (&["SET", "n", "many"], "+OK\r\n"),
        (&["INCR", "n"], "-ERR value is not an integer or out of range\r\n"),
        (&["TTL", "n"], ":-1\r\n"),
        (&["TTL", "no"], ":-2\r\n"),
        (&["EXPIRE", "no", "10"], ":0\r\n"),
        (&["EXPIRE", "n", "100"], ":1\r\n"),
        (&["TTL", "n"], ":100\r\n"),
        (&["EXPIRE", "n", "+5"], "-ERR value is not an integer or out of range\r\n"),
        (&["EXPIRE", "n", "soon"], "-ERR value is not an integer or out of range\r\n"),
        (&["EXPIRE", "n", "9223372036854775807"], ":1\r\n"),
        (&["EXPIRE", "n", "-1"], ":1\r\n"),
        (&["GET", "n"], "$-1\r\n"),
        (&["SET", "t", "x", "EX", "100"], "+OK\r\n"),
        (&["TTL", "t"], ":100\r\n"),
        (&["SET", "t", "x"], "+OK\r\n"),
        (&["TTL", "t"], ":-1\r\n"),
        (&["SET", "t", "x", "EX", "0"], "-ERR invalid expire time in 'set' command\r\n"),
        (&["SET", "t", "x", "EX"], "-ERR syntax error\r\n"),
        (&["SET", "t", "x", "XX", "1"], "-ERR syntax error\r\n"),
        (&["SET", "t", "short", "PX", "20"], "+OK\r\n"),
        (&["GET"], "-ERR wrong number of arguments for 'get' command\r\n"),
        (&["FLY", "away"], "-ERR unknown command 'FLY'\r\n"),
    ] {
        exchange(&mut stream, &command(words), expected);
    }
    std::thread::sleep(Duration::from_millis(50));
    exchange(&mut stream, &command(&["GET", "t"]), "$-1\r\n");
    exchange(&mut stream, &command(&["INCR", "t"]), ":1\r\n");

    // Another connection has the same data; inline commands as people type them.
    let mut other = server.connect();
    exchange(&mut other, "GET t\r\n", "$1\r\n1\r\n");
    exchange(&mut other, "\r\n  set   t\tx \n", "+OK\r\n");
    exchange(&mut stream, &command(&["GET", "t"]), "$1\r\nx\r\n");
    exchange(&mut other, "FLUSHALL\r\n", "+OK\r\n");
    exchange(&mut stream, "DBSIZE\r\n", ":0\r\n");
    assert_eq!(server.talk(b"QUIT\r\nPING\r\n"), "+OK\r\n");
}

#[test]
fn redis_answers_what_is_pipelined_and_what_comes_in_pieces() {
    const COUNT: usize = 10_000;
    let Some(server) = Server::start("redis", &[]) else { return };
    let mut stream = server.connect();
    let mut writing = stream.try_clone().expect("a clone");
    std::thread::scope(|s| {
        s.spawn(|| writing.write_all(command(&["INCR", "n"]).repeat(COUNT).as_bytes()).expect("written"));
        let expected: String = (1..=COUNT).map(|n| format!(":{n}\r\n")).collect();
        exchange(&mut stream, "", &expected);
    });
    for byte in command(&["SET", "k", "a\r\nb"]).bytes() {
        stream.write_all(&[byte]).expect("written");
    }
    exchange(&mut stream, &command(&["GET", "k"]), "+OK\r\n$4\r\na\r\nb\r\n");

    let large = "x".repeat(10 << 20);
    stream.write_all(command(&["SET", "large", &large]).as_bytes()).expect("written");
    exchange(&mut stream, &command(&["GET", "large"]), &format!("+OK\r\n${}\r\n{large}\r\n", large.len()));
}

#[test]
fn redis_refuses_what_is_malformed_or_too_large() {
    let Some(server) = Server::start("redis", &[]) else { return };
    let long = "x".repeat(100_000);
    for (input, error) in [
        ("*many\r\n", "invalid multibulk length"),
        ("*+1\r\n", "invalid multibulk length"),
        ("*01\r\n", "invalid multibulk length"),
        ("*\r\n", "invalid multibulk length"),
        ("*1048577\r\n", "invalid multibulk length"),
        ("*99999999999999999999\r\n", "invalid multibulk length"),
        ("*1\r\nPING\r\n", "expected '$'"),
        ("*1\r\n$-5\r\n", "invalid bulk length"),
        ("*1\r\n$+4\r\nPING\r\n", "invalid bulk length"),
        ("*1\r\n$4\r\nPINGPONG\r\n", "expected the end of a bulk"),
        ("GET \"k\r\n", "unbalanced quotes in request"),
        ("GET 'k\r\n", "unbalanced quotes in request"),
        ("GET \"k\"x\r\n", "unbalanced quotes in request"),
        ("*1\r\n$67108865\r\n", "invalid bulk length"),
        ("*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
        (&long, "too big inline request"),
        (&format!("*1\r\n{long}"), "too big bulk count string"),
    ] {
        let answer = strict_talk(&server, format!("PING\r\n{input}").as_bytes());
        assert_eq!(answer, format!("+PONG\r\n-ERR Protocol error: {error}\r\n"));
    }
    // The most that is allowed may be claimed, but costs nothing before it comes.
    let claims: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"*1048576\r\n$67108864\r\nx").expect("written");
            stream
        })
        .collect();
    exchange(&mut server.connect(), "PING\r\n", "+PONG\r\n");
    let resident = programs::resident_kib(server.child.id());
    assert!(resident < 64 << 10, "{resident} KiB");
    drop(claims);
    exchange(&mut server.connect(), "PING\r\n", "+PONG\r\n");
}

/// What redis takes for an integer is what it prints for one.
#[test]
fn redis_counts_with_integers_only() {
    let Some(server) = Server::start("redis", &[]) else { return };
    let mut stream = server.connect();
    for text in ["+5", "05", "-0", "-05", " 5", "5 ", "5.0", "", "0x5", "--5"] {
        exchange(&mut stream, &command(&["SET", "n", text]), "+OK\r\n");
        exchange(&mut stream, &command(&["INCR", "n"]), "-ERR value is not an integer or out of range\r\n");
        exchange(&mut stream, &command(&["GET", "n"]), &format!("${}\r\n{text}\r\n", text.len()));
    }
    exchange(&mut stream, &command(&["SET", "n", "-1"]), "+OK\r\n");
    exchange(&mut stream, &command(&["INCR", "n"]), ":0\r\n");
}

#[test]
fn redis_splits_inline_commands_as_a_shell_does() {
    let Some(server) = Server::start("redis", &[]) else { return };
    let mut stream = server.connect();
    for (word, value) in [
        (r#""a b""#, "a b"),
        (r#""""#, ""),
        (r#"'a "b"'"#, "a \"b\""),
        (r#"'it\'s'"#, "it's"),
        (r#"'a\nb'"#, r"a\nb"),
        (r#""\"\\\n\r\t\x41\x4a\q\xzz""#, "\"\\\n\r\tAJqxzz"),
        (r#"ab"c d""#, "abc d"),
        ("*", "*"),
    ] {
        let answer = format!("+OK\r\n${}\r\n{value}\r\n", value.len());
        exchange(&mut stream, &format!("SET 'k' {word} \r\n GET \"k\"\n"), &answer);
    }
    // Nothing at all, in each form.
    exchange(&mut stream, "\r\n \t\r\n*0\r\n*-1\r\nPING\r\n", "+PONG\r\n");
}

/// An answer is sent although the next command has begun.
#[test]
fn redis_answers_before_it_waits_for_the_rest_of_a_command() {
    let Some(server) = Server::start("redis", &[]) else { return };
    let mut stream = server.connect();
    for (begun, rest) in [("PI", "NG\r\n"), ("*1", "\r\n$4\r\nPING\r\n"), ("*1\r\n$4\r\nPI", "NG\r\n")] {
        exchange(&mut stream, &format!("PING\r\n{begun}"), "+PONG\r\n");
        exchange(&mut stream, rest, "+PONG\r\n");
    }
}

/// A few bytes that ask for gigabytes: the answers are made as they are read.
#[test]
fn redis_holds_no_answers_that_are_not_read() {
    const LENGTH: usize = 8 << 20;
    let Some(server) = Server::start("redis", &[]) else { return };
    let value = "x".repeat(LENGTH);
    let mut greedy = server.connect();
    exchange(&mut greedy, &command(&["SET", "k", &value]), "+OK\r\n");
    greedy.write_all(command(&["GET", "k"]).repeat(600).as_bytes()).expect("written");
    let answer = format!("${LENGTH}\r\n{value}\r\n");
    exchange(&mut greedy, "", &answer);
    // Others are served meanwhile, and a value that is replaced is still sent as it was.
    exchange(&mut server.connect(), &command(&["SET", "k", "short"]), "+OK\r\n");
    let resident = programs::resident_kib(server.child.id());
    assert!(resident < 64 << 10, "{resident} KiB");
    exchange(&mut greedy, "", &answer[..LENGTH / 2]);
}

/// Each byte is looked at once, in however many pieces it comes.
#[test]
fn redis_reads_long_commands_in_linear_time() {
    const KEYS: usize = 1_000_000;
    let Some(server) = Server::start("redis", &[]) else { return };
    let mut stream = server.connect();
    let keys = "$1\r\nk\r\n".repeat(KEYS);
    let exists = format!("*{}\r\n$6\r\nEXISTS\r\n{keys}", KEYS + 1);
    exchange(&mut stream, &exists, ":0\r\n");
    exchange(&mut stream, &command(&["SET", "k", "v"]), "+OK\r\n");
    exchange(&mut stream, &exists, &format!(":{KEYS}\r\n"));
}

#[test]
fn redis_has_a_limit_of_memory() {
    const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    let Some(server) = Server::start("redis", &["--memory", "16"]) else { return };
    let large = "x".repeat(5 << 20);
    let mut stream = server.connect();
    for (key, answer) in [("a", "+OK\r\n"), ("b", "+OK\r\n"), ("c", "+OK\r\n"), ("d", OOM), ("e", OOM)] {
        exchange(&mut stream, &command(&["SET", key, &large]), answer);
    }
    // Commands that are not complete count as well.
    exchange(&mut stream, &command(&["DEL", "a"]), ":1\r\n");
    let mut begun = server.connect();
    let whole = command(&["SET", "f", &large]);
    begun.write_all(&whole.as_bytes()[..whole.len() - 3]).expect("written");
    let set = command(&["SET", "g", &large]);
    programs::wait_for("the memory that is taken", || {
        let mut other = server.connect();
        other.write_all(set.as_bytes()).expect("written");
        let mut first = [0];
        other.read_exact(&mut first).expect("read");
        let refused = first == *b"-";
        if !refused {
            exchange(&mut other, "", "OK\r\n");
            exchange(&mut other, &command(&["DEL", "g"]), ":1\r\n");
        }
        refused
    });
    drop(begun);
    // What is too much at once, in many small parts.
    let many = format!("*1048576\r\n{}", "$0\r\n\r\n".repeat(1_048_576));
    exchange(&mut stream, &many, OOM);
    exchange(&mut stream, &command(&["DEL", "b", "c"]), ":2\r\n");
    exchange(&mut stream, &command(&["SET", "d", &large]), "+OK\r\n");
    let resident = programs::resident_kib(server.child.id());
    assert!(resident < 64 << 10, "{resident} KiB");
}

#[test]
fn redis_ends_on_ctrl_c() {
    let Some(mut server) = Server::start("redis", &[]) else { return };
    let mut stream = server.connect();
    exchange(&mut stream, "PING\r\n", "+PONG\r\n");
    server.interrupt();
    assert!(server.child.wait().expect("an end").success());
    assert_eq!(stream.read(&mut [0]).expect("read"), 0);
}

#[test]
fn pipeline_counts_words() {
    let Some(path) = example_path("pipeline") else { return };
    let folder = TempDir::new("words");
    // Words that span the places where the text is cut into chunks.
    let (mut files, mut cat, mut dog) = (Vec::new(), 0, 0);
    for n in 0..10 {
        let repeat = 10_000 + n;
        files.push(folder.file(&format!("{n}"), &"The cat, the CAT; ünd dog-\n".repeat(repeat)));
        cat += 2 * repeat;
        dog += repeat;
    }
    files.push(folder.file("empty", ""));
    files.push(folder.file("long", &"cat".repeat(10_000)));
    for options in [&[][..], &["--readers", "1", "--counters", "1"], &["--readers", "9", "--counters", "8"]] {
        let output = Command::new(&path).args(&files).args(options).output().expect("the example starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<_> = said.lines().map(str::trim).collect();
        assert_eq!(lines[..2], [format!("{cat} cat"), format!("{cat} the")]);
        assert_eq!(lines[2..4], [format!("{dog} dog"), format!("{dog} ünd")]);
        assert_eq!(
            lines.last(),
            Some(&format!("{} words, 5 different ones", 2 * cat + 2 * dog + 1).as_str())
        );
    }
}

#[test]
fn pipeline_tells_of_files_that_it_cannot_read() {
    let Some(path) = example_path("pipeline") else { return };
    let folder = TempDir::new("missing");
    let good = folder.file("good", "one two two");
    let missing = folder.0.join("missing");
    let output = Command::new(path).arg(&missing).arg(good).output().expect("the example starts");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("{}: No such file", missing.display())), "{said}");
    assert!(said.contains("incomplete: 1 files could not be read"), "{said}");
    let counted = String::from_utf8_lossy(&output.stdout);
    assert!(counted.contains("2 two") && counted.contains("3 words"), "{counted}");
}

#[test]
fn pipeline_ends_on_ctrl_c() {
    let Some(path) = example_path("pipeline") else { return };
    let mut child = Command::new(path)
        .args(["/dev/zero", "/dev/zero", "--counters", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let mut said = BufReader::new(child.stderr.take().expect("it was piped"));
    // The runtime may complain, before or after, that counting keeps a worker.
    let mut line = String::new();
    while line != "still counting\n" {
        line.clear();
        assert!(said.read_line(&mut line).expect("a line") > 0, "it has ended by itself");
    }
    programs::interrupt(&child);
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("text");
    assert_eq!(rest.lines().last(), Some("incomplete: interrupted"));
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("0 words, 0 different ones"));
}

/// A folder of a test's own, which goes with it.
struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let path = std::env::temp_dir().join(format!("sward-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).expect("a folder");
        TempDir(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
