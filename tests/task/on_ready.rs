//! Handlers that run whenever something is ready: `on_ready`.

use crate::common::{CountOnDrop, LONG, MOMENT, SHORT, eventually, in_runtime};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use sward::io::Pollable;
use sward::net::{TcpListener, TcpStream, UdpSocket};
use sward::runtime::{Builder, Runtime};
use sward::task::{Next, OnReady, Timer, Why, on_ready};

/// A socket that answers each datagram with the number of the datagram.
fn counting(socket: UdpSocket) -> OnReady {
    socket.set_nonblocking(true).expect("set");
    let answer = |socket: &UdpSocket, count: &mut u8, _| {
        let mut buf = [0; 64];
        loop {
            match socket.recv_from(&mut buf) {
                Ok((_, peer)) => {
                    *count += 1;
                    // It has room; but a call in this mode may fail all the same (ci/faults.sh).
                    let would_block = |sent: &io::Result<usize>| {
                        sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
                    };
                    let mut sent = (0..100).map(|_| socket.send_to(&[*count], peer));
                    sent.find(|sent| !would_block(sent)).expect("it has room").expect("sent");
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Idle,
                Err(error) => panic!("{error}"),
            }
        }
    };
    on_ready(socket, 0_u8, answer).expect("watched")
}

fn udp() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("bound")
}

#[test]
fn sockets_are_served_without_coroutines() {
    in_runtime(|| {
        let sockets: Vec<_> = (0..50).map(|_| udp()).collect();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().expect("bound")).collect();
        let handlers: Vec<_> = sockets.into_iter().map(counting).collect();
        let client = udp();
        client.set_read_timeout(Some(LONG)).expect("set");
        for round in 1..=5 {
            for address in &addresses {
                client.send_to(b"x", address).expect("sent");
                let mut answer = [0];
                client.recv(&mut answer).expect("received");
                assert_eq!(answer, [round]);
            }
        }
        let idle = || sward::runtime::metrics().expect("inside").activations.idle;
        eventually("they wait", || idle() >= 50);
        assert!(!handlers[0].is_closed());
        for handler in handlers {
            handler.close();
            handler.wait();
            assert!(handler.is_closed());
        }
    });
}

/// A handler that takes one datagram per run is called for the others as well.
#[test]
fn what_a_run_leaves_is_not_lost() {
    in_runtime(|| {
        let socket = udp();
        let address = socket.local_addr().expect("bound");
        let client = udp();
        client.connect(address).expect("connected");
        for byte in 0..20 {
            client.send(&[byte]).expect("sent");
        }
        let handler = on_ready(socket, 0, |socket, next, _| {
            let mut byte = [0];
            socket.recv(&mut byte).expect("received");
            assert_eq!(byte, [*next]);
            *next += 1;
            if *next < 40 { Next::Idle } else { Next::Close }
        });
        let handler = handler.expect("watched");
        sward::sleep(MOMENT);
        for byte in 20..40 {
            client.send(&[byte]).expect("sent");
        }
        handler.wait();
    });
}

/// Sends back what one read returns. Ends with the stream.
fn echo_once(mut stream: &TcpStream) -> Next {
    let mut buf = [0; 64];
    match stream.read(&mut buf) {
        Ok(n @ 1..) => {
            stream.write_all(&buf[..n]).expect("written");
            Next::Idle
        }
        _ => Next::Close,
    }
}

#[test]
fn a_listener_and_its_connections() {
    in_runtime(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        let accepts = on_ready(listener, (), |listener, (), _| {
            let (stream, _) = listener.accept().expect("accepted");
            let echo = on_ready(stream, (), |stream, (), _| echo_once(stream));
            echo.expect("watched");
            Next::Idle
        });
        let accepts = accepts.expect("watched");
        let mut clients: Vec<_> = (0..10).map(|_| TcpStream::connect(address).expect("connected")).collect();
        for _ in 0..10 {
            for client in &mut clients {
                client.write_all(b"hello").expect("written");
                let mut answer = [0; 5];
                client.read_exact(&mut answer).expect("read");
                assert_eq!(&answer, b"hello");
            }
        }
        accepts.close();
        accepts.wait();
    });
}

#[test]
fn a_pollable_is_watched() {
    in_runtime(|| {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let got = Arc::new(AtomicUsize::new(0));
        let count = got.clone();
        let pollable = Pollable::new(reader).expect("pollable");
        let handler =
            on_ready(pollable, count, |mut reader, count, _| match reader.read(&mut [0; 3]).expect("read") {
                0 => Next::Close,
                n => {
                    count.fetch_add(n, Ordering::SeqCst);
                    Next::Idle
                }
            });
        let handler = handler.expect("watched");
        for round in 1..=20 {
            writer.write_all(b"hello").expect("written");
            eventually("all was read", || got.load(Ordering::SeqCst) == 5 * round);
        }
        drop(writer);
        handler.wait();
    });
}

#[test]
fn a_timer_runs_again_and_again() {
    in_runtime(|| {
        let began = Instant::now();
        let ticks = on_ready(Timer(SHORT), 0, |_, count, why| {
            assert_eq!(why, Why::Limit);
            *count += 1;
            match *count {
                1 => Next::Idle,
                2 => Next::IdleFor(Duration::from_millis(1)),
                _ => Next::Close,
            }
        });
        ticks.expect("a runtime").wait();
        assert!(began.elapsed() >= 2 * SHORT);
    });
}

#[test]
fn a_handler_is_woken_by_hand() {
    in_runtime(|| {
        let runs = Arc::new(AtomicUsize::new(0));
        let count = runs.clone();
        let socket = udp();
        let handler = on_ready(socket, (), move |_, (), why| {
            count.fetch_add(usize::from(why == Why::Woken), Ordering::SeqCst);
            Next::Idle
        });
        let handler = handler.expect("watched");
        for round in 1..=100 {
            handler.wake();
            eventually("it has run", || runs.load(Ordering::SeqCst) >= round);
        }
        handler.close();
        handler.wait();
        let before = runs.load(Ordering::SeqCst);
        handler.wake();
        sward::sleep(MOMENT);
        assert_eq!(runs.load(Ordering::SeqCst), before);
    });
}

#[test]
fn all_is_dropped_when_a_handler_ends() {
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = || (CountOnDrop(drops.clone()), CountOnDrop(drops.clone()));
    in_runtime(|| {
        let (state, captured) = counted();
        let panics = on_ready(Timer(Duration::from_millis(1)), state, move |_, _, _| {
            let _ = &captured;
            std::panic::resume_unwind(Box::new("as asked"));
        });
        panics.expect("a runtime").wait();
        assert_eq!(drops.load(Ordering::SeqCst), 2);
        let (state, captured) = counted();
        let never = on_ready(udp(), state, move |_, _, _| {
            let _ = &captured;
            Next::Idle
        });
        never.expect("watched");
    });
    eventually("the end of the runtime has dropped the other", || drops.load(Ordering::SeqCst) == 4);
}

#[test]
fn a_plain_thread_may_ask_for_it() {
    let socket = udp();
    let address = socket.local_addr().expect("bound");
    let handler = counting(socket);
    let client = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    client.send_to(b"x", address).expect("sent");
    let mut answer = [0];
    client.recv(&mut answer).expect("received");
    assert_eq!(answer, [1]);
    handler.close();
    handler.wait();
}

/// A runtime that waits for the socket once, so that the socket is in its shard.
fn other_runtime(waits: impl FnOnce() + Send) -> Runtime {
    let other = Builder::new().worker_threads(1).build().expect("a runtime");
    other.run(waits);
    other
}

/// The socket was in the shard of another runtime, which ends while the handler waits.
#[test]
fn a_handler_that_waits_outlives_another_runtime() {
    let socket = udp();
    let address = socket.local_addr().expect("bound");
    let other = other_runtime(|| {
        socket.set_read_timeout(Some(Duration::from_millis(5))).expect("set");
        socket.recv(&mut [0]).expect_err("nothing comes");
        socket.set_read_timeout(None).expect("set");
    });
    in_runtime(|| {
        let handler = counting(socket);
        let client = udp();
        client.set_read_timeout(Some(LONG)).expect("set");
        let ask = |expected: u8| {
            client.send_to(b"x", address).expect("sent");
            let mut answer = [0];
            client.recv(&mut answer).expect("received");
            assert_eq!(answer, [expected]);
        };
        ask(1);
        sward::blocking(move || drop(other)).expect("a thread");
        for round in 2..10 {
            ask(round);
        }
        assert!(!handler.is_closed());
        handler.close();
        handler.wait();
    });
}

/// Likewise; that runtime ends while the handler runs.
#[test]
fn a_handler_that_runs_outlives_another_runtime() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let mut client = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    client.set_read_timeout(Some(LONG)).expect("set");
    let stream = TcpStream::from(listener.accept().expect("accepted").0);
    let other = other_runtime(|| {
        stream.set_read_timeout(Some(Duration::from_millis(5))).expect("set");
        (&stream).read(&mut [0]).expect_err("nothing comes");
        stream.set_read_timeout(None).expect("set");
    });
    in_runtime(|| {
        let (enter, entered) = sward::channel::bounded::<()>(1);
        let (leave, left) = sward::channel::bounded::<()>(1);
        let echo_after_the_end = move |stream: &TcpStream, runs: &mut i32, _| {
            *runs += 1;
            if *runs == 1 {
                enter.send(()).expect("the test goes on");
                left.recv().expect("the test goes on");
            }
            echo_once(stream)
        };
        let handler = on_ready(stream, 0, echo_after_the_end).expect("watched");
        client.write_all(b"hello").expect("written");
        entered.recv().expect("it runs");
        sward::blocking(move || drop(other)).expect("a thread");
        leave.send(()).expect("it runs");
        let asks = move || {
            client.read_exact(&mut [0; 5]).expect("answered");
            for _ in 0..5 {
                thread::sleep(SHORT);
                client.write_all(b"again").expect("written");
                client.read_exact(&mut [0; 5]).expect("answered");
            }
        };
        sward::blocking(asks).expect("a thread");
        handler.wait();
    });
}
