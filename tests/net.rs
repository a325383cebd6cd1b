//! TCP: the coverage of std's own tests, and what is particular to parking.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sward::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listen();
    let client = TcpStream::connect(address).expect("connected");
    let (server, peer) = listener.accept().expect("accepted");
    assert_eq!(peer, client.local_addr().expect("its address"));
    (client, server)
}

/// Runs the test in a coroutine, and again on a plain thread.
fn both(test: impl Fn() + Send + Sync) {
    sward::run(&test);
    test();
}

#[test]
fn bytes_arrive_and_end() {
    both(|| {
        let (mut client, mut server) = pair();
        client.write_all(b"hello").unwrap();
        let mut buffer = [0; 5];
        server.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"hello");
        drop(client);
        assert_eq!(server.read(&mut buffer).unwrap(), 0);
        assert_eq!(server.read(&mut buffer).unwrap(), 0);
    });
}

#[test]
fn nobody_listens() {
    both(|| {
        let (listener, address) = listen();
        drop(listener);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn the_next_address_is_tried() {
    both(|| {
        let (gone, dead) = listen();
        drop(gone);
        let (_listener, address) = listen();
        let stream = TcpStream::connect(&[dead, address][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let none: &[SocketAddr] = &[];
        assert_eq!(TcpStream::connect(none).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn an_address_is_bound_once() {
    both(|| {
        let (_listener, address) = listen();
        assert_eq!(TcpListener::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(TcpListener::bind("1.1.1.1:9999").unwrap_err().kind(), ErrorKind::AddrNotAvailable);
    });
}

#[test]
fn names_resolve_without_a_worker() {
    both(|| {
        let (_listener, address) = listen();
        let stream = TcpStream::connect(("localhost", address.port())).unwrap();
        assert_eq!(stream.peer_addr().unwrap().port(), address.port());
        assert!(TcpStream::connect("no port").is_err());
    });
}

#[test]
fn vectored_and_empty_transfers() {
    both(|| {
        let (mut client, mut server) = pair();
        assert_eq!(client.write(&[]).unwrap(), 0);
        assert_eq!(server.read(&mut []).unwrap(), 0);
        let n = client.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b"cde")]).unwrap();
        assert_eq!(n, 5);
        let (mut a, mut b) = ([0; 3], [0; 4]);
        let n = server.read_vectored(&mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)]).unwrap();
        assert_eq!((n, &a, &b[..2]), (5, b"abc", &b"de"[..]));
    });
}

#[test]
fn peeked_bytes_stay() {
    both(|| {
        let (mut client, mut server) = pair();
        client.write_all(b"xy").unwrap();
        let mut buffer = [0; 8];
        for _ in 0..3 {
            assert_eq!(server.peek(&mut buffer).unwrap(), 2);
        }
        assert_eq!(server.read(&mut buffer).unwrap(), 2);
    });
}

#[test]
fn half_a_connection_goes_on() {
    both(|| {
        let (mut client, mut server) = pair();
        client.shutdown(Shutdown::Write).unwrap();
        let mut buffer = Vec::new();
        assert_eq!(server.read_to_end(&mut buffer).unwrap(), 0);
        server.write_all(b"still").unwrap();
        drop(server);
        client.read_to_end(&mut buffer).unwrap();
        assert_eq!(buffer, b"still");
    });
}

#[test]
fn a_reset_is_an_error() {
    both(|| {
        let (mut client, server) = pair();
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the option's value lives until the call ends.
        let done = unsafe {
            libc::setsockopt(
                server.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            )
        };
        assert_eq!(done, 0);
        drop(server);
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn timeouts_are_kept_and_expire() {
    both(|| {
        let (mut client, _server) = pair();
        assert_eq!(client.read_timeout().unwrap(), None);
        let limit = Some(Duration::from_millis(20));
        client.set_read_timeout(limit).unwrap();
        assert_eq!((client.read_timeout().unwrap(), client.write_timeout().unwrap()), (limit, None));
        assert_eq!(
            client.set_read_timeout(Some(Duration::ZERO)).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        let start = Instant::now();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= Duration::from_millis(20));

        client.set_write_timeout(limit).unwrap();
        let block = vec![0; 1 << 20];
        let error = (0..1_000).find_map(|_| client.write(&block).err()).expect("the buffers fill up");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn connecting_takes_no_longer_than_allowed() {
    let zero = TcpStream::connect_timeout(&"127.0.0.1:1".parse().unwrap(), Duration::ZERO);
    assert_eq!(zero.unwrap_err().kind(), ErrorKind::InvalidInput);
    both(|| {
        let (_listener, address) = listen();
        TcpStream::connect_timeout(&address, Duration::from_secs(60)).unwrap();
        // A listener that is not asked: its queue fills, and further connections hang.
        let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        // SAFETY: the call takes no pointers.
        assert_eq!(unsafe { libc::listen(full.as_raw_fd(), 0) }, 0);
        let address = full.local_addr().unwrap();
        let limit = Duration::from_millis(100);
        let mut held = Vec::new();
        let error = (0..8).find_map(|_| match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => {
                held.push(stream);
                None
            }
            Err(e) => Some(e),
        });
        assert_eq!(error.expect("the queue is full").kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn options_are_kept() {
    both(|| {
        let (listener, address) = listen();
        let stream = TcpStream::connect(address).unwrap();
        assert!(!stream.nodelay().unwrap());
        stream.set_nodelay(true).unwrap();
        assert!(stream.nodelay().unwrap());
        stream.set_ttl(55).unwrap();
        listener.set_ttl(44).unwrap();
        assert_eq!((stream.ttl().unwrap(), listener.ttl().unwrap()), (55, 44));
        assert!(stream.take_error().unwrap().is_none() && listener.take_error().unwrap().is_none());
        listener.set_nonblocking(true).unwrap();
        let _ = listener.accept().unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        listener.set_nonblocking(false).unwrap();
    });
}

#[test]
fn conversions_go_there_and_back() {
    both(|| {
        let (client, server) = pair();
        let mut client: std::net::TcpStream = client.into_std().unwrap();
        let mut server = TcpStream::from(OwnedFd::from(server));
        client.write_all(b"1").unwrap();
        server.read_exact(&mut [0]).unwrap();
        let mut client = TcpStream::from(client);
        server.write_all(b"2").unwrap();
        client.read_exact(&mut [0]).unwrap();
        let (listener, address) = listen();
        let listener = TcpListener::from(listener.into_std().unwrap());
        let _client = TcpStream::connect(address).unwrap();
        let kept = listener.try_clone().unwrap();
        let theirs = std::net::TcpListener::try_from(listener).unwrap();
        assert_ne!(theirs.as_raw_fd(), kept.as_raw_fd());
        theirs.accept().unwrap();
    });
}

#[test]
fn a_reader_and_a_writer_park_on_one_stream() {
    sward::run(|| {
        let (client, server) = pair();
        let client = Arc::new(client);
        let theirs = client.clone();
        let reader = sward::spawn(move || {
            let mut buffer = [0; 4];
            (&*theirs).read_exact(&mut buffer).unwrap();
            buffer
        });
        let theirs = client.clone();
        let bytes = 8 << 20;
        let writer = sward::spawn(move || (&*theirs).write_all(&vec![7; bytes]).unwrap());
        sward::sleep(Duration::from_millis(10));
        (&server).write_all(b"pong").unwrap();
        assert_eq!(&reader.join().unwrap(), b"pong");
        assert!(!writer.is_finished());
        let mut left = bytes;
        let mut buffer = vec![0; 1 << 16];
        while left > 0 {
            let n = (&server).read(&mut buffer).unwrap();
            assert!(n > 0 && buffer[..n].iter().all(|&byte| byte == 7));
            left -= n;
        }
        writer.join().unwrap();
    });
}

#[test]
fn two_readers_make_progress() {
    sward::run(|| {
        let (mut client, server) = pair();
        let seen = Arc::new(AtomicUsize::new(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let mut server = server.try_clone().unwrap();
                let seen = seen.clone();
                sward::spawn(move || {
                    let mut mine = 0;
                    while server.read(&mut [0]).unwrap() == 1 {
                        seen.fetch_add(1, Ordering::Relaxed);
                        mine += 1;
                    }
                    mine
                })
            })
            .collect();
        for round in 1..=100 {
            client.write_all(b"ab").unwrap();
            while seen.load(Ordering::Relaxed) < 2 * round {
                sward::yield_now();
            }
        }
        drop(client);
        let sum: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert_eq!(sum, 200);
    });
}

#[test]
fn closing_wakes_whoever_is_parked() {
    sward::run(|| {
        let (client, _server) = pair();
        let client = Arc::new(client);
        let theirs = client.clone();
        let reader = sward::spawn(move || (&*theirs).read(&mut [0]));
        let theirs = client.clone();
        let thread = std::thread::spawn(move || (&*theirs).read(&mut [0]));
        let (listener, _) = listen();
        let listener = Arc::new(listener);
        let theirs = listener.clone();
        let accepter = sward::spawn(move || theirs.accept().map(drop));
        sward::sleep(Duration::from_millis(20));
        client.close().unwrap();
        listener.close().unwrap();
        let closed = |result: io::Result<usize>| match result {
            Ok(n) => assert_eq!(n, 0),
            Err(e) => assert_eq!(e.kind(), ErrorKind::NotConnected),
        };
        closed(reader.join().unwrap());
        while !thread.is_finished() {
            sward::sleep(Duration::from_millis(1));
        }
        closed(thread.join().unwrap());
        assert!(accepter.join().unwrap().is_err());
        assert_eq!((&*client).write(b"x").unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn shutdown_wakes_a_reader() {
    sward::run(|| {
        let (client, _server) = pair();
        let mut theirs = client.try_clone().unwrap();
        let reader = sward::spawn(move || theirs.read(&mut [0]));
        sward::sleep(Duration::from_millis(5));
        client.shutdown(Shutdown::Read).unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), 0);
    });
}

#[test]
fn a_cancelled_reader_leaves_the_stream_usable() {
    sward::run(|| {
        let (mut client, server) = pair();
        let mut theirs = server.try_clone().unwrap();
        let reader = sward::spawn(move || theirs.read(&mut [0]).map(drop));
        sward::sleep(Duration::from_millis(5));
        reader.cancel();
        assert!(matches!(reader.join(), Err(sward::task::JoinError::Cancelled)));
        client.write_all(b"z").unwrap();
        assert_eq!((&server).read(&mut [0]).unwrap(), 1);
    });
}

/// Descriptors are closed and used again all the time; no byte crosses from one connection to another.
#[test]
fn bytes_never_cross_connections() {
    sward::run(|| {
        let (listener, address) = listen();
        let server = sward::spawn(move || {
            for stream in listener.incoming().take(8 * 200) {
                let mut stream = stream.unwrap();
                sward::spawn(move || {
                    let mut buffer = [0; 8];
                    while stream.read_exact(&mut buffer).is_ok() {
                        if stream.write_all(&buffer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let clients: Vec<_> = (0..8u64)
            .map(|client| {
                sward::spawn(move || {
                    for round in 0..200u64 {
                        let mut stream = TcpStream::connect(address).unwrap();
                        for message in 0..1 + round % 3 {
                            let sent = (client << 32 | round << 8 | message).to_be_bytes();
                            stream.write_all(&sent).unwrap();
                            let mut back = [0; 8];
                            stream.read_exact(&mut back).unwrap();
                            assert_eq!(back, sent);
                        }
                        if round % 2 == 0 {
                            // Leaves with bytes on the way.
                            stream.write_all(&[0xff; 8]).unwrap();
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
fn a_stream_outlives_its_runtime() {
    let (mut client, mut server) = sward::run(|| {
        let (mut client, server) = pair();
        let mut theirs = server.try_clone().unwrap();
        let reader = sward::spawn(move || theirs.read_exact(&mut [0]).unwrap());
        sward::sleep(Duration::from_millis(5));
        client.write_all(b"a").unwrap();
        reader.join().unwrap();
        (client, server)
    });
    client.write_all(b"b").unwrap();
    server.read_exact(&mut [0]).unwrap();
    sward::run(move || {
        let reader = sward::spawn(move || server.read_exact(&mut [0]).unwrap());
        sward::sleep(Duration::from_millis(5));
        client.write_all(b"c").unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn connections_of_one_accept_loop_spread_over_the_workers() {
    const CONNECTIONS: usize = 1_000;
    let runtime = sward::runtime::Builder::new().worker_threads(2).build().unwrap();
    runtime.run(|| {
        let (listener, address) = listen();
        let server = sward::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                sward::spawn(move || while stream.read(&mut [0]).is_ok_and(|n| n == 1) {});
            }
        });
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let mut client = TcpStream::connect(address).unwrap();
                client.write_all(b"x").unwrap();
                client
            })
            .collect();
        let live = || -> Vec<usize> {
            sward::runtime::metrics().unwrap().workers.iter().map(|worker| worker.live).collect()
        };
        while live().iter().sum::<usize>() < CONNECTIONS + 2 {
            sward::sleep(Duration::from_millis(1));
        }
        for live in live() {
            assert!(live.abs_diff(CONNECTIONS / 2) <= CONNECTIONS * 15 / 200, "{live} on one worker");
        }
        drop(clients);
        server.cancel();
    });
}

/// With every worker inside CPU-bound code, the netpoller thread sees a socket and a timer. In
/// migrating mode a spare worker then runs their coroutines.
#[test]
fn busy_workers_do_not_hide_events() {
    // SAFETY: nothing in this test holds anything of a thread's over a wait.
    let builder = unsafe { sward::runtime::Builder::new().worker_threads(2).migrate_started() };
    let runtime = builder.build().unwrap();
    runtime.run(|| {
        let (mut client, mut server) = pair();
        let reader = sward::spawn(move || server.read_exact(&mut [0]).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let sleeper = sward::spawn(|| sward::sleep(Duration::from_millis(30)));
        sward::sleep(Duration::from_millis(10));
        let burners: Vec<_> = (0..2)
            .map(|_| {
                let stop = stop.clone();
                sward::spawn(move || while !stop.load(Ordering::Relaxed) {})
            })
            .collect();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            client.write_all(b"x").unwrap();
            client
        });
        sleeper.join().unwrap();
        reader.join().unwrap();
        assert!(burners.iter().all(|burner| !burner.is_finished()));
        stop.store(true, Ordering::Relaxed);
        drop(writer.join().unwrap());
    });
    assert!(runtime.metrics().workers.iter().any(|worker| worker.helped > 0));
}

#[test]
fn an_always_ready_socket_does_not_starve_others() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().unwrap();
    runtime.run(|| {
        let (client, server) = pair();
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = stop.clone();
        let feeder = std::thread::spawn(move || {
            let block = vec![1; 1 << 16];
            while !theirs.load(Ordering::Relaxed) && (&client).write(&block).is_ok() {}
        });
        let reader = sward::spawn(move || while (&server).read(&mut [0]).is_ok_and(|n| n > 0) {});
        sward::sleep(Duration::from_millis(20));
        assert_eq!(sward::spawn(|| 1).join().unwrap(), 1);
        stop.store(true, Ordering::Relaxed);
        while !feeder.is_finished() {
            sward::sleep(Duration::from_millis(1));
        }
        reader.cancel();
    });
}
