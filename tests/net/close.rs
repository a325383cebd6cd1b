//! `close` and `shutdown`, beside waiters and beside calls.

use crate::common::{LONG, MOMENT, both, in_runtime, kind, listen, pair, reset_on_drop};
use crate::readiness::fill;
use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;
use sward::net::{Shutdown, TcpStream};
use sward::task::JoinError;

#[test]
fn shutdown_wakes_the_reader() {
    both(|| {
        for how in [Shutdown::Read, Shutdown::Both] {
            let (client, _server) = pair();
            let mut reading = client.try_clone().unwrap();
            let reader = sward::spawn(move || reading.read(&mut [0]));
            sward::sleep(MOMENT);
            client.shutdown(how).unwrap();
            assert_eq!(reader.join().unwrap().unwrap(), 0);
        }
    });
}

#[test]
fn close_wakes_all_waiters() {
    in_runtime(|| {
        let (client, mut server) = pair();
        let (mut one, mut two) = (client.try_clone().unwrap(), client.try_clone().unwrap());
        let parked = sward::spawn(move || one.read(&mut [0]));
        let blocked = thread::spawn(move || two.read(&mut [0]));
        let mut filling = client.try_clone().unwrap();
        let writer = sward::spawn(move || {
            loop {
                if let Err(error) = filling.write(&[0; 1 << 16]) {
                    break error.kind();
                }
            }
        });
        sward::sleep(MOMENT);
        client.close().unwrap();
        assert_eq!(kind(parked.join().unwrap()), ErrorKind::NotConnected);
        assert_eq!(kind(blocked.join().unwrap()), ErrorKind::NotConnected);
        assert!(matches!(writer.join().unwrap(), ErrorKind::NotConnected | ErrorKind::BrokenPipe));
        assert_eq!(kind((&client).read(&mut [0])), ErrorKind::NotConnected);
        assert_eq!(kind((&client).write(b"x")), ErrorKind::NotConnected);
        // The peer sees the end although the clone is alive.
        io::copy(&mut server, &mut io::sink()).unwrap();
        client.close().unwrap();
    });
}

/// A call that is under way at `close` finds the connection shut down, and must not blame that on the peer.
#[test]
fn close_during_a_call_is_not_the_end_of_the_stream() {
    fn error(mut call: impl FnMut() -> io::Result<usize>) -> ErrorKind {
        loop {
            match call() {
                Ok(0) => panic!("the end of the stream"),
                Err(e) if e.kind() != ErrorKind::WouldBlock => return e.kind(),
                _ => {}
            }
        }
    }
    for _ in 0..300 {
        let (client, _server) = pair();
        client.set_nonblocking(true).unwrap();
        thread::scope(|s| {
            let reader = s.spawn(|| error(|| (&client).read(&mut [0])));
            let writer = s.spawn(|| error(|| (&client).write(b"x")));
            thread::sleep(Duration::from_micros(200));
            client.close().unwrap();
            assert_eq!(reader.join().expect("the error of close"), ErrorKind::NotConnected);
            assert_eq!(writer.join().expect("the error of close"), ErrorKind::NotConnected);
        });
    }
}

/// Descriptors are closed and their numbers used again all the time. No connection sees the bytes or the
/// wake-ups of another.
#[test]
fn bytes_never_cross_connections() {
    const CLIENTS: u32 = 8;
    const ROUNDS: u32 = 200;
    in_runtime(|| {
        let (listener, address) = listen();
        let server = sward::spawn(move || {
            for stream in listener.incoming().take((CLIENTS * ROUNDS) as usize) {
                let mut stream = stream.expect("accepted");
                sward::spawn(move || {
                    let mut id = [0; 8];
                    while stream.read_exact(&mut id).is_ok() && stream.write_all(&id).is_ok() {}
                });
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                sward::spawn(move || {
                    for round in 0..ROUNDS {
                        let mut stream = TcpStream::connect(address).expect("connected");
                        stream.set_read_timeout(Some(LONG)).unwrap();
                        if round % 3 == 0 {
                            reset_on_drop(&stream);
                        }
                        let id = (u64::from(client) << 32 | u64::from(round)).to_be_bytes();
                        for _ in 0..1 + round % 4 {
                            stream.write_all(&id).unwrap();
                            let mut back = [0; 8];
                            stream.read_exact(&mut back).unwrap();
                            assert_eq!(back, id);
                        }
                        if round % 5 == 0 {
                            stream.write_all(&id).unwrap();
                        }
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        server.join().unwrap();
    });
}

#[test]
fn waiting_for_readiness_ends_with_the_timeout_a_close_or_a_cancellation() {
    both(|| {
        let (client, _server) = pair();
        fill(&client);
        client.set_read_timeout(Some(MOMENT)).expect("set");
        client.set_write_timeout(Some(MOMENT)).expect("set");
        assert_eq!(kind(client.readable()), ErrorKind::WouldBlock);
        assert_eq!(kind(client.writable()), ErrorKind::WouldBlock);

        client.set_read_timeout(None).expect("set");
        let waits = || {
            let clone = client.try_clone().expect("a clone");
            sward::spawn(move || clone.readable())
        };
        let (cancelled, closed) = (waits(), waits());
        thread::sleep(MOMENT);
        cancelled.cancel();
        assert!(matches!(cancelled.join(), Err(JoinError::Cancelled)));
        client.close().expect("closed");
        assert_eq!(kind(closed.join().expect("no panic")), ErrorKind::NotConnected);
        assert_eq!(kind(client.readable()), ErrorKind::NotConnected);
        assert_eq!(kind(client.writable()), ErrorKind::NotConnected);
    });
}
