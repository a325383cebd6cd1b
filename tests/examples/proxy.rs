//! `echo`, and `proxy` in front of it.

use crate::http::exchange;
use crate::programs::Server;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// A client that sends so many bytes, and then its end, gets the same back.
fn assert_echoes(server: &Server, bytes: u32) {
    let mut stream = TcpStream::connect(&server.address).expect("connected");
    let sent: Vec<u8> = (0..bytes).map(|n| (n * 7 % 251) as u8).collect();
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

#[test]
fn echo_returns_what_it_receives() {
    let Some(server) = Server::start("echo", &[]) else { return };
    assert_echoes(&server, 100_000);
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
    // This connection stays open meanwhile.
    let mut other = TcpStream::connect(&proxy.address).expect("connected");
    for _ in 0..3 {
        assert_echoes(&proxy, 1_000_000);
    }
    other.write_all(b"still there").expect("written");
    let mut back = [0; 11];
    other.read_exact(&mut back).expect("read");
    assert_eq!(&back, b"still there");
}

/// When a client resets its connection, the proxy ends the connection to the target, and no other.
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
        // Closing a socket with unread data resets the connection.
        drop(client);
        assert!(matches!(server.read(&mut [0]), Ok(0) | Err(_)));
        // The same in the other direction.
        let mut client = TcpStream::connect(&proxy.address).expect("connected");
        let (server, _) = target.accept().expect("connected");
        client.write_all(b"unread").expect("written");
        server.peek(&mut [0]).expect("it has come");
        drop(server);
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    }
    // A missing target ends the connection of the client.
    drop(target);
    let mut client = TcpStream::connect(&proxy.address).expect("connected");
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
}

/// A failed transfer must not look complete, so the proxy passes a reset on as a reset, in both directions.
#[test]
fn the_proxy_passes_resets_on_as_resets() {
    let target = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = target.local_addr().expect("an address").to_string();
    let Some(proxy) = Server::start("proxy", &[&address]) else { return };
    for client_resets in [true, false] {
        let client = proxy.connect();
        let (server, _) = target.accept().expect("connected");
        server.set_read_timeout(Some(Duration::from_secs(120))).expect("set");
        // Both ends have received bytes, so the whole connection is there.
        for (mut from, mut to) in [(&client, &server), (&server, &client)] {
            from.write_all(b"x").expect("written");
            to.read_exact(&mut [0]).expect("read");
        }
        let (resets, mut learns) = if client_resets { (client, server) } else { (server, client) };
        crate::common::reset_on_drop(&resets);
        drop(resets);
        let error = learns.read(&mut [0]).expect_err("no clean end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    // A missing target does not look like the end of a stream, either.
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
    crate::programs::wait_for("the connections' ends", || {
        (echo.descriptors(), proxy.descriptors()) == before
    });
}

/// The proxy does not count connections that have ended.
#[test]
fn the_proxy_counts_open_connections() {
    let Some((_echo, mut proxy)) = proxied_echo(&["--grace", "0"]) else { return };
    let before = proxy.descriptors();
    let mut kept = proxy.connect();
    exchange(&mut kept, "x", "x");
    let with_one = proxy.descriptors();
    let mut others: Vec<TcpStream> = (0..3).map(|_| proxy.connect()).collect();
    others.iter_mut().for_each(|stream| exchange(stream, "x", "x"));
    assert!(proxy.descriptors() > with_one && with_one > before);
    drop(others);
    crate::programs::wait_for("the connections' ends", || proxy.descriptors() == with_one);
    // There is no wait between the last close and the end of its coroutine.
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

/// The signal also ends a proxy that is full.
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
        // SAFETY: the call takes no pointers. No call has waited for the child.
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
