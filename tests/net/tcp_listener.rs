//! `TcpListener`.

use crate::common::{
    MOMENT, both, cpu_time, in_child, in_runtime, kind, listen, take_all_descriptors, turns,
};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use sward::net::{SocketAddr, TcpListener, TcpStream};

#[test]
fn binding_fails_as_in_std() {
    both(|| {
        let (_listener, taken) = listen();
        assert_eq!(kind(TcpListener::bind(taken)), ErrorKind::AddrInUse);
        assert_eq!(kind(TcpListener::bind("1.1.1.1:9999")), ErrorKind::AddrNotAvailable);
        assert_eq!(kind(TcpListener::bind(&[][..])), ErrorKind::InvalidInput);
        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let second = TcpListener::bind(&[taken, free][..]).expect("the second address");
        assert_ne!(second.local_addr().unwrap(), taken);
    });
}

/// A duplicate shares the mode of the open file. The coroutine that accepts must not block its worker
/// nevertheless.
#[test]
fn a_listener_goes_on_parking_when_a_clone_went_to_std() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().unwrap();
    runtime.run(|| {
        let (listener, address) = listen();
        let theirs = listener.try_clone().unwrap().into_std().unwrap();
        assert_eq!(kind(theirs.accept()), ErrorKind::WouldBlock);
        let accepting = sward::spawn(move || listener.accept().map(drop));
        sward::sleep(MOMENT);
        let _client = TcpStream::connect(address).unwrap();
        accepting.join().unwrap().unwrap();
    });
}

#[test]
fn close_wakes_acceptors() {
    in_runtime(|| {
        let (listener, address) = listen();
        let (one, two) = (listener.try_clone().unwrap(), listener.try_clone().unwrap());
        let parked = sward::spawn(move || one.accept());
        let blocked = thread::spawn(move || two.accept());
        sward::sleep(MOMENT);
        listener.close().unwrap();
        assert_eq!(kind(parked.join().unwrap()), ErrorKind::NotConnected);
        assert_eq!(kind(blocked.join().unwrap()), ErrorKind::NotConnected);
        assert_eq!(kind(listener.accept()), ErrorKind::NotConnected);
        assert_eq!(kind(TcpStream::connect(address)), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn close_ends_loops_over_incoming() {
    in_runtime(|| {
        let (listener, address) = listen();
        let serve = |listener: TcpListener| {
            let mut taken = 0;
            for stream in listener.incoming() {
                stream.expect("accepted");
                taken += 1;
            }
            let mut ended = listener.incoming();
            assert!(ended.next().is_none() && ended.next().is_none());
            taken
        };
        let (one, two) = (listener.try_clone().unwrap(), listener.try_clone().unwrap());
        let parked = sward::spawn(move || serve(one));
        let blocked = thread::spawn(move || serve(two));
        for _ in 0..10 {
            // The end of the stream: another coroutine has accepted it.
            assert_eq!(TcpStream::connect(address).unwrap().read(&mut [0]).unwrap(), 0);
        }
        sward::sleep(MOMENT);
        listener.close().unwrap();
        assert_eq!(parked.join().unwrap() + blocked.join().unwrap(), 10);
    });
}

#[test]
fn an_error_does_not_end_incoming() {
    let (listener, address) = listen();
    listener.set_nonblocking(true).unwrap();
    let mut incoming = listener.incoming();
    assert_eq!(kind(incoming.next().expect("not closed")), ErrorKind::WouldBlock);
    listener.set_nonblocking(false).unwrap();
    let _client = TcpStream::connect(address).unwrap();
    incoming.next().expect("not closed").expect("accepted");
    listener.close().unwrap();
    assert!(incoming.next().is_none());
}

#[test]
fn accept_waits_while_descriptors_are_exhausted() {
    let said = in_child(|| {
        let limit = libc::rlimit { rlim_cur: 128, rlim_max: 128 };
        // SAFETY: the limit lives until the call ends.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        in_runtime(|| {
            let (listener, address) = listen();
            let mut held = Vec::new();
            let warm = TcpStream::connect(address).unwrap();
            held.push(listener.accept().unwrap().0);
            let client = TcpStream::connect(address).unwrap();
            let files = take_all_descriptors();
            let accepting = sward::spawn(move || listener.accept().map(|(stream, _)| stream));
            sward::sleep(MOMENT);
            let before = cpu_time();
            sward::sleep(Duration::from_secs(1));
            let spent = cpu_time() - before;
            assert!(spent < Duration::from_millis(300), "spent {spent:?} of a second");
            drop(files);
            let mut server = accepting.join().unwrap().expect("accepted once descriptors are free");
            (&client).write_all(b"x").unwrap();
            server.read_exact(&mut [0]).unwrap();
            drop(warm);
        });
    });
    let Some(said) = said else { return };
    assert_eq!(said.matches("sward: accept is backing off").count(), 1, "{said}");
}

/// No thundering herd: a connection does not wake every coroutine that waits for one.
#[test]
fn a_connection_wakes_one_of_many_acceptors() {
    // There a readiness may be set for good, as urgent data is not reported, and wakes all waiters.
    if cfg!(sward_libkqueue) || !cfg!(target_os = "linux") {
        println!("skipped: on kqueue a readiness wakes all waiters");
        return;
    }
    const ACCEPTORS: u64 = 500;
    const CONNECTIONS: u64 = 100;
    in_runtime(|| {
        let (listener, address) = listen();
        let listener = Arc::new(listener);
        let (tell, told) = sward::channel::bounded(1);
        let acceptors: Vec<_> = (0..ACCEPTORS)
            .map(|_| {
                let (listener, tell) = (listener.clone(), tell.clone());
                sward::spawn(move || {
                    while listener.accept().is_ok() {
                        tell.send(()).expect("it is awaited");
                    }
                })
            })
            .collect();
        // Loops until all wait.
        let mut before = turns();
        loop {
            sward::sleep(MOMENT);
            match turns() {
                now if now < before + ACCEPTORS / 50 => break,
                now => before = now,
            }
        }
        let before = turns();
        for _ in 0..CONNECTIONS {
            TcpStream::connect(address).expect("connected");
            told.recv().expect("accepted");
        }
        let turns = turns() - before;
        listener.close().expect("closed");
        acceptors.into_iter().for_each(|acceptor| acceptor.join().expect("no panic"));
        assert!(turns < 20 * CONNECTIONS, "{turns} turns for {CONNECTIONS} connections");
    });
}

/// Many acceptors of one listener time out and come back while connections arrive. Each connection is
/// accepted.
#[test]
fn acceptors_that_leave_lose_no_connection() {
    const ACCEPTORS: u64 = 100;
    const CONNECTIONS: usize = 500;
    let accepted = Arc::new(AtomicUsize::new(0));
    in_runtime(|| {
        let (listener, address) = listen();
        let listener = Arc::new(listener);
        let acceptors: Vec<_> = (0..ACCEPTORS)
            .map(|seed| {
                let (listener, accepted) = (listener.clone(), accepted.clone());
                sward::spawn(move || {
                    for turn in 0.. {
                        let limit = Duration::from_micros((seed * 7_919 + turn * 104_729) % 4_000);
                        match sward::time::timeout(limit, || listener.accept()) {
                            Ok(Ok(_)) => _ = accepted.fetch_add(1, Ordering::Relaxed),
                            Ok(Err(_)) => return,
                            Err(_) => {}
                        }
                    }
                })
            })
            .collect();
        for made in 1..=CONNECTIONS {
            TcpStream::connect(address).expect("connected");
            if made % 8 == 0 {
                // If one were lost, this would hang.
                while accepted.load(Ordering::Relaxed) < made {
                    sward::sleep(Duration::from_micros(50));
                }
            }
        }
        while accepted.load(Ordering::Relaxed) < CONNECTIONS {
            sward::sleep(Duration::from_micros(50));
        }
        listener.close().expect("closed");
        acceptors.into_iter().for_each(|acceptor| acceptor.join().expect("no panic"));
    });
    assert_eq!(accepted.load(Ordering::Relaxed), CONNECTIONS);
}
