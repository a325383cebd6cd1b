//! Peers that are slow, vanish or reset, and a server without descriptors.

use crate::common::{
    LONG, cpu_time, in_child, in_runtime, listen, pair, pattern, reset_on_drop, set_option,
    take_all_descriptors,
};
use crate::programs::Server;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use sward::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use sward::time::timeout;

/// The byte at that position of a long transfer, as in `pattern`.
pub(crate) fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

/// Many clients send their requests a byte at a time. The server answers the others meanwhile, and refuses
/// the slow ones in the end.
#[test]
fn slow_clients_do_not_delay_the_others() {
    const SLOW: usize = 300;
    let Some(server) = Server::start("http", &["--head-seconds", "2", "--workers", "1"]) else { return };
    let connect = || {
        let stream = std::net::TcpStream::connect(&server.address).expect("connected");
        stream.set_read_timeout(Some(LONG)).expect("set");
        stream
    };
    let mut slow: Vec<_> = (0..SLOW)
        .map(|_| {
            let mut stream = connect();
            stream.write_all(b"GET / HTTP/1.1\r\nX: ").expect("written");
            stream
        })
        .collect();
    let start = Instant::now();
    let mut answered = 0;
    while start.elapsed() < Duration::from_secs(1) || answered < 20 {
        // On a slow machine, some may have been refused already.
        slow.iter_mut().for_each(|stream| _ = stream.write_all(b"x"));
        let mut good = connect();
        good.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("written");
        let mut answer = String::new();
        good.read_to_string(&mut answer).expect("read");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("Hello, World!\n"), "{answer}");
        answered += 1;
    }
    for mut stream in slow {
        let mut refusal = Vec::new();
        // A byte that arrives after the refusal turns the end into a reset.
        let ended = stream.read_to_end(&mut refusal);
        assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        let refused = refusal.starts_with(b"HTTP/1.1 408");
        assert!(refused || refusal.is_empty(), "{}", String::from_utf8_lossy(&refusal));
    }
}

/// How a peer leaves.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// It resets the connection before it has sent anything.
    ResetAtOnce,
    /// It resets it while the server waits for the rest of the request.
    ResetInRequest,
    /// It resets it while the server waits for room for its answer.
    ResetInAnswer,
    /// It closes with the answer unread.
    CloseInAnswer,
    /// It closes its own direction in the middle of the request.
    HalfInRequest,
    /// It closes its own direction after the request, and reads the answer to its end.
    HalfAfterRequest,
}

const WAYS: [Leaves; 6] = [
    Leaves::ResetAtOnce,
    Leaves::ResetInRequest,
    Leaves::ResetInAnswer,
    Leaves::CloseInAnswer,
    Leaves::HalfInRequest,
    Leaves::HalfAfterRequest,
];

const REQUEST: usize = 1_000;

/// More than the buffers of a connection hold.
const ANSWER: usize = 16 << 20;

/// Reads a request, and writes an answer that does not fit into any buffer.
fn serve(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.read_exact(&mut [0; REQUEST])?;
    stream.write_all(answer)
}

fn visit(address: SocketAddr, leaves: Leaves) {
    let mut stream = std::net::TcpStream::connect(address).expect("connected");
    match leaves {
        Leaves::ResetAtOnce => reset_on_drop(&stream),
        Leaves::ResetInRequest => {
            stream.write_all(&[1; REQUEST / 2]).expect("written");
            thread::sleep(Duration::from_millis(5));
            reset_on_drop(&stream);
        }
        Leaves::ResetInAnswer | Leaves::CloseInAnswer => {
            stream.write_all(&[1; REQUEST]).expect("written");
            stream.read_exact(&mut [0; 100]).expect("the answer begins");
            thread::sleep(Duration::from_millis(5));
            if let Leaves::ResetInAnswer = leaves {
                reset_on_drop(&stream);
            }
        }
        Leaves::HalfInRequest => {
            stream.write_all(&[1; REQUEST / 2]).expect("written");
            stream.shutdown(Shutdown::Write).expect("half closed");
            assert_eq!(stream.read(&mut [0]).expect("the server closes"), 0);
        }
        Leaves::HalfAfterRequest => {
            stream.write_all(&[1; REQUEST]).expect("written");
            stream.shutdown(Shutdown::Write).expect("half closed");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("read");
            assert!(answer == pattern(ANSWER));
        }
    }
}

/// Peers leave in all ways and at all times. Each handler ends with the right error, and the server goes on.
#[test]
fn peers_that_vanish_end_their_handlers_alone() {
    const EACH: usize = 5;
    let outcomes = in_runtime(|| {
        let (listener, address) = listen();
        let answer = pattern(ANSWER);
        let peers = thread::spawn(move || {
            let visits = (0..EACH * WAYS.len()).map(|i| thread::spawn(move || visit(address, WAYS[i % 6])));
            visits.collect::<Vec<_>>().into_iter().for_each(|visit| visit.join().expect("no panic"));
        });
        let outcomes = sward::scope(|s| {
            let handlers: Vec<_> = (0..EACH * WAYS.len())
                .map(|_| {
                    let (stream, _) = listener.accept().expect("accepted");
                    s.spawn(|| serve(stream, &answer))
                })
                .collect();
            let join = || handlers.into_iter().map(|handler| handler.join().expect("no panic")).collect();
            timeout(LONG, join).expect("a handler waits for a peer that is gone")
        });
        sward::blocking(|| peers.join().expect("no panic")).expect("a thread");
        let outcomes: Vec<io::Result<()>> = outcomes;
        outcomes
    });
    let count = |wanted: &[ErrorKind]| {
        outcomes.iter().filter(|o| o.as_ref().is_err_and(|e| wanted.contains(&e.kind()))).count()
    };
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), EACH, "{outcomes:?}");
    assert_eq!(count(&[ErrorKind::UnexpectedEof]), EACH, "{outcomes:?}");
    // A reset that arrives while bytes are in flight is reported as a broken pipe.
    let reset = count(&[ErrorKind::ConnectionReset, ErrorKind::BrokenPipe]);
    assert_eq!(reset, 4 * EACH, "{outcomes:?}");
}

/// The reset ends a write that waits for room, and all later writes.
#[test]
fn a_reset_ends_a_write_that_waits() {
    let test = || {
        let (mut client, server) = pair();
        reset_on_drop(&server);
        let (told, tell) = mpsc::channel();
        let writer = thread::spawn(move || {
            in_runtime(|| {
                let mut written = 0;
                let error = loop {
                    match client.write(&[1; 1 << 16]) {
                        Ok(count) => written += count,
                        Err(error) => break error,
                    }
                    told.send(written).expect("somebody listens");
                };
                (error.kind(), client.write(&[1]).expect_err("it is reset").kind())
            })
        });
        // The peer does not read, so the writer waits once the buffers are full.
        while tell.recv_timeout(Duration::from_millis(200)).is_ok() {}
        assert!(!writer.is_finished());
        drop(server);
        let (first, second) = writer.join().expect("no panic");
        assert_eq!((first, second), (ErrorKind::ConnectionReset, ErrorKind::BrokenPipe));
    };
    in_runtime(test);
    test();
}

/// Without free descriptors, a call that needs one fails or waits without spinning, and all other calls go
/// on. Once there are some again, everything works as before.
#[test]
fn a_server_survives_without_descriptors() {
    let said = in_child(|| {
        in_runtime(|| {
            let (listener, address) = listen();
            let served = Arc::new(AtomicUsize::new(0));
            let theirs = served.clone();
            sward::spawn(move || {
                for stream in listener.incoming() {
                    let stream = stream.expect("exhaustion is waited out");
                    let served = theirs.clone();
                    sward::spawn(move || {
                        served.fetch_add(1, Ordering::SeqCst);
                        io::copy(&mut &stream, &mut &stream)
                    });
                }
            });
            let echo = |stream: &TcpStream| {
                (&mut &*stream).write_all(b"x").expect("written");
                (&mut &*stream).read_exact(&mut [0]).expect("echoed");
            };
            let early = TcpStream::connect(address).expect("connected");
            echo(&early);
            let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
            // SAFETY: the limit lives until the call ends.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
            let mut held = take_all_descriptors();
            // One descriptor is left for the client, and none for the server.
            held.pop();
            let waits = TcpStream::connect(address).expect("the kernel connects it");
            let before = cpu_time();
            let start = Instant::now();
            let mut refused = 0;
            while start.elapsed() < Duration::from_secs(1) {
                for connected in [TcpStream::connect(address), TcpStream::connect(("127.0.0.1", 9))] {
                    assert_eq!(connected.expect_err("no descriptor").raw_os_error(), Some(libc::EMFILE));
                }
                assert_eq!(TcpListener::bind("127.0.0.1:0").unwrap_err().raw_os_error(), Some(libc::EMFILE));
                refused += 1;
                echo(&early);
                sward::sleep(Duration::from_millis(10));
            }
            assert!(refused > 0);
            assert!(cpu_time() - before < Duration::from_millis(500), "it spins: {:?}", cpu_time() - before);
            assert_eq!(served.load(Ordering::SeqCst), 1);
            drop(held);
            timeout(LONG, || echo(&waits)).expect("accepted in the end");
            let late = TcpStream::connect(address).expect("connected");
            timeout(LONG, || echo(&late)).expect("accepted");
            assert_eq!(served.load(Ordering::SeqCst), 3);
        });
    });
    if let Some(said) = said {
        assert!(said.contains("backing off"), "{said}");
    }
}

/// Buffers are so small that nearly every write is partial.
#[test]
fn writes_in_small_pieces_lose_nothing() {
    const SIZE: usize = 1 << 19;
    let test = || {
        let (client, server) = pair();
        // The smallest buffers that the kernel allows, and no pauses until earlier bytes are acknowledged.
        set_option::<libc::c_int>(&client, libc::SOL_SOCKET, libc::SO_SNDBUF, 1);
        client.set_nodelay(true).expect("set");
        let sent = pattern(SIZE);
        let expected = sent.clone();
        let reader = thread::spawn(move || {
            in_runtime(|| {
                let (mut got, mut server) = (Vec::new(), server);
                timeout(LONG, || server.read_to_end(&mut got)).expect("all comes").expect("read");
                assert!(got.len() == 2 * SIZE && got[..SIZE] == expected && got[SIZE..] == expected);
            });
        });
        let mut short = 0;
        let mut left = &sent[..];
        while !left.is_empty() {
            let count = (&client).write(left).expect("written");
            short += usize::from(count < left.len());
            left = &left[count..];
        }
        assert!(short > 8, "the buffers are not small");
        let mut slices: Vec<_> = sent.chunks(700).map(IoSlice::new).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let count = (&client).write_vectored(left).expect("written");
            IoSlice::advance_slices(&mut left, count);
        }
        drop(client);
        reader.join().expect("no panic");
    };
    in_runtime(test);
    test();
}

#[test]
fn a_transfer_is_read_a_byte_at_a_time() {
    const SIZE: usize = 1 << 20;
    in_runtime(|| {
        let (mut client, mut server) = pair();
        let writer = sward::spawn(move || client.write_all(&pattern(SIZE)));
        let mut got = [0];
        for at in 0..SIZE {
            assert_eq!(server.read(&mut got).expect("read"), 1);
            assert_eq!(got[0], byte(at), "at {at}");
        }
        assert_eq!(server.read(&mut got).expect("the end"), 0);
        writer.join().expect("no panic").expect("written");
    });
}
