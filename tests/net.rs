//! TCP: what std's own tests cover, and what is particular to parking.

mod checked;
mod common;

use common::{LONG, MOMENT, both, cpu_time, in_runtime, kind, listen, pair, reset_on_drop, turns};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use sward::net::{Shutdown, SocketAddr, TcpListener, TcpSocket, TcpStream, ToSocketAddrs};
use sward::task::JoinError;

#[test]
fn sockets_are_send_and_sync() {
    fn check<T: Send + Sync + Unpin + std::fmt::Debug>() {}
    check::<TcpStream>();
    check::<TcpListener>();
}

#[test]
fn sockets_are_unwind_safe() {
    fn check<T: UnwindSafe + RefUnwindSafe>() {}
    check::<std::net::TcpStream>();
    check::<TcpStream>();
    check::<TcpListener>();
    check::<sward::net::Incoming<'static>>();
}

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

#[test]
fn connecting_fails_as_in_std() {
    both(|| {
        let (listener, gone) = listen();
        drop(listener);
        assert_eq!(kind(TcpStream::connect(gone)), ErrorKind::ConnectionRefused);
        assert_eq!(kind(TcpStream::connect_timeout(&gone, LONG)), ErrorKind::ConnectionRefused);
        let refused = std::net::TcpStream::connect(gone).unwrap_err();
        assert_eq!(refused.raw_os_error(), TcpStream::connect(gone).unwrap_err().raw_os_error());
        let nothing: &[SocketAddr] = &[];
        let (ours, std) = (TcpStream::connect(nothing), std::net::TcpStream::connect(nothing));
        assert_eq!(ours.unwrap_err().to_string(), std.unwrap_err().to_string());
        let (_listener, there) = listen();
        let stream = TcpStream::connect(&[gone, there][..]).expect("the second address");
        assert_eq!(stream.peer_addr().unwrap(), there);
    });
}

#[test]
fn a_connect_times_out() {
    both(|| {
        let (listener, address) = listen();
        // A queue of one: the connections beyond it are not answered.
        // SAFETY: the call takes no pointers.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let mut queued = Vec::new();
        let error = loop {
            match TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
                Ok(stream) => queued.push(stream),
                Err(error) => break error,
            }
            assert!(queued.len() < 16, "the queue has no end");
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(kind(TcpStream::connect_timeout(&address, Duration::ZERO)), ErrorKind::InvalidInput);
    });
}

#[test]
fn names_and_literals_resolve() {
    both(|| {
        let (_listener, address) = listen();
        let port = address.port();
        for name in [format!("localhost:{port}"), format!("127.0.0.1:{port}")] {
            TcpStream::connect(&name).expect("connected");
            TcpStream::connect(name.as_str()).expect("connected");
        }
        TcpStream::connect(("localhost", port)).expect("connected");
        TcpStream::connect(("localhost".to_string(), port)).expect("connected");
        let v6 = ("::1", 80).to_socket_addrs().expect("a literal").next();
        assert_eq!(v6, Some("[::1]:80".parse().unwrap()));
        for bad in ["localhost", "localhost:seventy", ""] {
            assert_eq!(kind(bad.to_socket_addrs().map(drop)), ErrorKind::InvalidInput, "{bad:?}");
        }
    });
}

#[test]
fn many_names_resolve_at_once() {
    in_runtime(|| {
        let all: Vec<_> = (0..300)
            .map(|i| sward::spawn(move || ("localhost", i).to_socket_addrs().map(Iterator::count)))
            .collect();
        for one in all {
            assert!(one.join().unwrap().expect("resolved") > 0);
        }
    });
}

#[test]
fn bytes_arrive_and_the_end_after_them() {
    both(|| {
        let (mut client, mut server) = pair();
        client.write_all(b"hello").unwrap();
        drop(client);
        let mut buffer = [0; 3];
        assert_eq!(server.read(&mut buffer).unwrap(), 3);
        assert_eq!(server.read(&mut buffer).unwrap(), 2);
        for _ in 0..3 {
            assert_eq!(server.read(&mut buffer).unwrap(), 0);
        }
    });
}

#[test]
fn empty_transfers_return_at_once() {
    both(|| {
        let (mut client, mut server) = pair();
        assert_eq!(server.read(&mut []).unwrap(), 0);
        assert_eq!(client.write(&[]).unwrap(), 0);
        assert_eq!(server.read_vectored(&mut []).unwrap(), 0);
        assert_eq!(server.read_vectored(&mut [IoSliceMut::new(&mut [])]).unwrap(), 0);
        assert_eq!(client.write_vectored(&[IoSlice::new(&[]), IoSlice::new(&[])]).unwrap(), 0);
    });
}

#[test]
fn buffers_are_gathered_and_scattered() {
    both(|| {
        let (mut client, mut server) = pair();
        let sent = client.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")]);
        assert_eq!(sent.unwrap(), 5);
        let (mut first, mut second) = ([0; 1], [0; 8]);
        let got = server.read_vectored(&mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)]);
        assert_eq!((got.unwrap(), &first, &second[..4]), (5, b"a", &b"bcde"[..]));
    });
}

/// A call takes 1024 buffers at most. That it takes fewer than it was given does not mean that the
/// socket is full, or empty.
#[test]
fn more_buffers_than_a_call_takes_are_no_sign_of_the_end() {
    both(|| {
        const TIMES: usize = 20;
        let (mut client, mut server) = pair();
        let (done, finished) = mpsc::channel();
        let received = thread::spawn(move || {
            let mut total = 0;
            let mut bytes = vec![0u8; 2_000];
            while total < 1024 * TIMES {
                let mut buffers: Vec<_> = bytes.chunks_mut(1).map(IoSliceMut::new).collect();
                total += server.read_vectored(&mut buffers).unwrap();
            }
            done.send(total).unwrap();
            server
        });
        client.set_write_timeout(Some(LONG)).unwrap();
        for _ in 0..TIMES {
            let buffers: Vec<_> = (0..2_000).map(|_| IoSlice::new(b"x")).collect();
            assert_eq!(client.write_vectored(&buffers).unwrap(), 1024);
        }
        assert_eq!(finished.recv_timeout(LONG).expect("all arrives"), 1024 * TIMES);
        received.join().unwrap();

        let (mut client, mut server) = pair();
        server.set_read_timeout(Some(LONG)).unwrap();
        // Binds the reader to its poller, and leaves its readiness consumed.
        client.write_all(b"x").unwrap();
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 1);
        let late = client.try_clone().unwrap();
        let writer = sward::spawn(move || {
            sward::sleep(MOMENT);
            (&late).write_all(&[7; 3_000])
        });
        let mut left = 3_000;
        let mut bytes = vec![0u8; 2_000];
        while left > 0 {
            let mut buffers: Vec<_> = bytes.chunks_mut(1).map(IoSliceMut::new).collect();
            left -= server.read_vectored(&mut buffers).unwrap();
        }
        writer.join().unwrap().unwrap();
    });
}

#[test]
fn what_is_peeked_stays() {
    both(|| {
        let (mut client, mut server) = pair();
        client.write_all(b"abc").unwrap();
        let mut buffer = [0; 8];
        while server.peek(&mut buffer).unwrap() < 3 {}
        for _ in 0..3 {
            assert_eq!(server.peek(&mut buffer).unwrap(), 3);
        }
        assert_eq!(server.read(&mut buffer).unwrap(), 3);
        server.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(kind(server.peek(&mut buffer)), ErrorKind::WouldBlock);
    });
}

#[test]
fn half_a_connection_goes_on() {
    both(|| {
        let (mut client, mut server) = pair();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(kind(client.write(b"x")), ErrorKind::BrokenPipe);
        assert_eq!(io::read_to_string(&mut server).unwrap(), "question");
        server.write_all(b"answer").unwrap();
        drop(server);
        assert_eq!(io::read_to_string(&mut client).unwrap(), "answer");
    });
}

#[test]
fn a_reset_wakes_the_reader_with_an_error() {
    both(|| {
        let (mut client, server) = pair();
        reset_on_drop(&server);
        let dropper = sward::spawn(move || {
            sward::sleep(MOMENT);
            drop(server);
        });
        assert_eq!(kind(client.read(&mut [0])), ErrorKind::ConnectionReset);
        dropper.join().unwrap();
        // The error was told. What is left is the end of the stream, and no way to write.
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert_eq!(kind(client.write(b"x")), ErrorKind::BrokenPipe);
        assert_eq!(kind(client.peer_addr()), ErrorKind::NotConnected);
    });
}

#[test]
fn a_pending_error_is_taken_once() {
    both(|| {
        let (client, server) = pair();
        assert!(client.take_error().unwrap().is_none());
        reset_on_drop(&server);
        drop(server);
        let start = Instant::now();
        let error = loop {
            if let Some(error) = client.take_error().unwrap() {
                break error;
            }
            assert!(start.elapsed() < LONG, "no reset has come");
            sward::sleep(Duration::from_millis(1));
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(client.take_error().unwrap().is_none());
        let (listener, _) = listen();
        assert!(listener.take_error().unwrap().is_none());
    });
}

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
fn timeouts_are_kept_and_shared() {
    both(|| {
        let (client, _server) = pair();
        let clone = client.try_clone().unwrap();
        assert_eq!((client.read_timeout().unwrap(), client.write_timeout().unwrap()), (None, None));
        client.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        clone.set_write_timeout(Some(LONG)).unwrap();
        assert_eq!(clone.read_timeout().unwrap(), Some(Duration::from_millis(5)));
        assert_eq!(client.write_timeout().unwrap(), Some(LONG));
        assert_eq!(kind(client.set_read_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
        assert_eq!(kind(client.set_write_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
        assert_eq!(client.read_timeout().unwrap(), Some(Duration::from_millis(5)));
        client.set_read_timeout(Some(Duration::MAX)).unwrap();
        client.set_read_timeout(None).unwrap();
        assert_eq!(clone.read_timeout().unwrap(), None);
    });
}

#[test]
fn a_timeout_ends_a_read_and_a_write() {
    both(|| {
        let (mut client, mut server) = pair();
        let limit = Duration::from_millis(30);
        client.set_read_timeout(Some(limit)).unwrap();
        client.set_write_timeout(Some(limit)).unwrap();
        let start = Instant::now();
        assert_eq!(kind(client.read(&mut [0])), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= limit);
        let block = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = client.write(&block) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        // Afterwards it works as before.
        server.write_all(b"x").unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 1);
    });
}

#[test]
fn options_are_kept() {
    both(|| {
        let (client, _server) = pair();
        for nodelay in [true, false] {
            client.set_nodelay(nodelay).unwrap();
            assert_eq!(client.try_clone().unwrap().nodelay().unwrap(), nodelay);
        }
        client.set_ttl(100).unwrap();
        assert_eq!(client.ttl().unwrap(), 100);
        for quickack in [false, true] {
            client.set_quickack(quickack).unwrap();
            assert_eq!(client.quickack().unwrap(), quickack);
        }
        for linger in [Some(Duration::from_secs(2)), None] {
            client.set_linger(linger).unwrap();
            assert_eq!(client.linger().unwrap(), linger);
        }
        let (listener, _) = listen();
        listener.set_ttl(101).unwrap();
        assert_eq!(listener.ttl().unwrap(), 101);
    });
}

#[test]
fn options_are_set_before_a_connection_is_made() {
    fn check<T: Send + Sync + Unpin + std::fmt::Debug + UnwindSafe + RefUnwindSafe>() {}
    check::<TcpSocket>();
    both(|| {
        let (listener, address) = listen();
        let socket = TcpSocket::new_v4().unwrap();
        for on in [true, false] {
            socket.set_reuse_address(on).unwrap();
            assert_eq!(socket.reuse_address().unwrap(), on);
            socket.set_reuse_port(on).unwrap();
            assert_eq!(socket.reuse_port().unwrap(), on);
            socket.set_keepalive(on).unwrap();
            assert_eq!(socket.keepalive().unwrap(), on);
            socket.set_nodelay(on).unwrap();
            assert_eq!(socket.nodelay().unwrap(), on);
        }
        for size in [32 << 10, 64 << 10] {
            socket.set_send_buffer_size(size).unwrap();
            assert!(socket.send_buffer_size().unwrap() >= size);
            socket.set_recv_buffer_size(size).unwrap();
            assert!(socket.recv_buffer_size().unwrap() >= size);
        }
        socket.set_send_buffer_size(u32::MAX).unwrap();
        socket.set_keepalive_time(Duration::from_millis(59_001)).unwrap();
        socket.set_keepalive_interval(Duration::from_secs(7)).unwrap();
        socket.set_keepalive_retries(3).unwrap();
        assert_eq!(kind(socket.set_keepalive_time(Duration::ZERO)), ErrorKind::InvalidInput);
        assert_eq!(kind(socket.set_keepalive_retries(1_000)), ErrorKind::InvalidInput);
        assert_eq!(socket.linger().unwrap(), None);
        // Rounded up: zero would reset the connection.
        for (set, kept) in [(1, 1_000), (2_000, 2_000), (0, 0)] {
            socket.set_linger(Some(Duration::from_millis(set))).unwrap();
            assert_eq!(socket.linger().unwrap(), Some(Duration::from_millis(kept)));
        }
        socket.bind_device(Some(b"lo")).unwrap();
        assert!(socket.bind_device(Some(b"no such device")).is_err());
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let bound = socket.local_addr().unwrap();
        assert!(format!("{socket:?}").contains(&format!("addr: {bound}")));
        let mut client = socket.connect(address).unwrap();
        assert_eq!(client.local_addr().unwrap(), bound);
        let (mut server, peer) = listener.accept().unwrap();
        assert_eq!(peer, bound);
        server.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        // Dropping it resets the connection, as was set above.
        drop(client);
        assert_eq!(kind(server.read(&mut [0])), ErrorKind::ConnectionReset);
    });
}

#[test]
fn sockets_share_a_port_if_all_want_to() {
    both(|| {
        let bind = |address: SocketAddr| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(address).unwrap();
            socket.listen(1 << 31).unwrap()
        };
        let first = bind("127.0.0.1:0".parse().unwrap());
        let address = first.local_addr().unwrap();
        let second = bind(address);
        first.set_nonblocking(true).unwrap();
        second.set_nonblocking(true).unwrap();
        const CLIENTS: usize = 32;
        let clients: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
        let count = |listener: &TcpListener| std::iter::from_fn(|| listener.accept().ok()).count();
        let start = Instant::now();
        let mut taken = [0, 0];
        while taken[0] + taken[1] < CLIENTS {
            taken[0] += count(&first);
            taken[1] += count(&second);
            assert!(start.elapsed() < LONG, "{taken:?}");
        }
        drop(clients);
        let lonely = TcpSocket::new_v4().unwrap();
        assert_eq!(kind(lonely.bind(address)), ErrorKind::AddrInUse);
    });
}

#[test]
fn a_built_socket_connects_as_a_stream_does() {
    both(|| {
        let (listener, gone) = listen();
        drop(listener);
        assert_eq!(kind(TcpSocket::new_v4().unwrap().connect(gone)), ErrorKind::ConnectionRefused);
        let connect = |timeout| TcpSocket::new_v4().unwrap().connect_timeout(gone, timeout);
        assert_eq!(kind(connect(LONG)), ErrorKind::ConnectionRefused);
        assert_eq!(kind(connect(Duration::ZERO)), ErrorKind::InvalidInput);
        let Ok(socket) = TcpSocket::new_v6() else { return eprintln!("skipped: no IPv6 here") };
        socket.set_only_v6(true).unwrap();
        assert!(socket.only_v6().unwrap());
        assert!(socket.bind(gone).is_err());
        let fd = OwnedFd::from(socket);
        assert!(fd.as_raw_fd() >= 0);
    });
}

#[test]
fn non_blocking_calls_fail_instead_of_waiting() {
    both(|| {
        let (listener, address) = listen();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(kind(listener.accept()), ErrorKind::WouldBlock);
        let mut client = TcpStream::connect(address).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        assert_eq!(kind(client.read(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(kind(client.try_clone().unwrap().peek(&mut [0])), ErrorKind::WouldBlock);
        let block = vec![0; 1 << 20];
        while client.write(&block).is_ok() {}
        assert_eq!(kind(client.write(b"x")), ErrorKind::WouldBlock);
        client.set_nonblocking(false).unwrap();
        server.write_all(b"x").unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 1);
    });
}

#[test]
fn clones_read_and_write_at_once() {
    both(|| {
        const TOTAL: usize = 4 << 20;
        let (client, server) = pair();
        let echo = sward::spawn(move || {
            io::copy(&mut &server, &mut server.try_clone().unwrap()).map(|_| server.shutdown(Shutdown::Write))
        });
        let mut writing = client.try_clone().unwrap();
        let writer = sward::spawn(move || {
            let bytes: Vec<u8> = (0..TOTAL).map(|i| (i % 251) as u8).collect();
            writing.write_all(&bytes)?;
            writing.shutdown(Shutdown::Write)
        });
        let mut back = Vec::new();
        (&client).read_to_end(&mut back).unwrap();
        assert_eq!(back.len(), TOTAL);
        assert!(back.iter().enumerate().all(|(i, &byte)| byte == (i % 251) as u8));
        writer.join().unwrap().unwrap();
        echo.join().unwrap().unwrap().unwrap();
    });
}

#[test]
fn a_reader_and_a_writer_park_on_one_stream() {
    in_runtime(|| {
        let (client, mut server) = pair();
        let client = Arc::new(client);
        let (reading, writing) = (client.clone(), client.clone());
        let reader = sward::spawn(move || (&*reading).read_exact(&mut [0]));
        let stuck = Arc::new(AtomicUsize::new(0));
        let count = stuck.clone();
        let writer = sward::spawn(move || {
            let block = vec![1; 1 << 16];
            while count.load(Ordering::Relaxed) < 32 << 20 {
                count.fetch_add((&*writing).write(&block).unwrap(), Ordering::Relaxed);
            }
            writing.shutdown(Shutdown::Write).unwrap();
        });
        let mut last = usize::MAX;
        while last != stuck.load(Ordering::Relaxed) {
            last = stuck.load(Ordering::Relaxed);
            sward::sleep(MOMENT);
        }
        server.write_all(b"x").unwrap();
        reader.join().unwrap().unwrap();
        let drained = io::copy(&mut server, &mut io::sink()).unwrap();
        writer.join().unwrap();
        assert_eq!(drained, stuck.load(Ordering::Relaxed) as u64);
    });
}

#[test]
fn readers_of_one_stream_all_make_progress() {
    in_runtime(|| {
        let (mut client, server) = pair();
        let server = Arc::new(server);
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let server = server.clone();
                sward::spawn(move || (&*server).read_exact(&mut [0; 3]))
            })
            .collect();
        for _ in 0..6 {
            sward::sleep(Duration::from_millis(2));
            client.write_all(b"xy").unwrap();
        }
        for reader in readers {
            reader.join().unwrap().unwrap();
        }
    });
}

#[test]
fn close_wakes_whoever_is_parked() {
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

/// A call that has begun when `close` comes finds the connection shut down, and must not take that for
/// what the peer did.
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

/// A duplicate has the open file's mode, and the coroutine that accepts must not block its worker.
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
fn close_wakes_whoever_accepts() {
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
            // The end of the stream: somebody has taken it.
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
fn a_cancelled_reader_loses_nothing() {
    in_runtime(|| {
        let (mut client, server) = pair();
        let mut reading = server.try_clone().unwrap();
        let reader = sward::spawn(move || reading.read(&mut [0; 8]).map(drop));
        sward::sleep(MOMENT);
        reader.cancel();
        assert!(reader.join().is_err());
        client.write_all(b"kept").unwrap();
        let mut buffer = [0; 4];
        (&server).read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"kept");
    });
}

/// Descriptors are closed and their numbers used again all the time: no connection ever sees another's
/// bytes or wake-ups.
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
fn sockets_go_to_std_and_come_back() {
    both(|| {
        let (listener, address) = listen();
        let number = listener.as_raw_fd();
        let listener = listener.into_std().unwrap();
        assert_eq!(listener.as_raw_fd(), number);
        let listener = TcpListener::from(listener);
        let client = TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();

        // Std's blocks: the bytes come later.
        let mut client: std::net::TcpStream = client.try_into().unwrap();
        let later = thread::spawn(move || {
            thread::sleep(MOMENT);
            (&server).write_all(b"abc").map(|()| server)
        });
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        let mut client = TcpStream::from(client);
        client.read_exact(&mut byte).unwrap();
        let mut client = TcpStream::from(OwnedFd::from(client));
        client.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"c");
        // SAFETY: the descriptor is nobody else's.
        let client = unsafe { TcpStream::from_raw_fd(client.into_raw_fd()) };
        assert_eq!(client.as_fd().as_raw_fd(), client.as_raw_fd());
        assert!(format!("{client:?}").contains(&format!("peer: {address}")));
        assert!(format!("{listener:?}").contains(&format!("addr: {address}")));
        later.join().unwrap().unwrap();
    });
}

#[test]
fn timeouts_go_along_to_std_and_back() {
    let (client, _server) = pair();
    client.set_read_timeout(Some(Duration::from_millis(1_500))).unwrap();
    let client = client.into_std().unwrap();
    assert_eq!(client.read_timeout().unwrap(), Some(Duration::from_millis(1_500)));
    assert_eq!(client.write_timeout().unwrap(), None);
    client.set_write_timeout(Some(LONG)).unwrap();
    let client = TcpStream::from(client);
    assert_eq!(client.read_timeout().unwrap(), Some(Duration::from_millis(1_500)));
    assert_eq!(client.write_timeout().unwrap(), Some(LONG));
}

/// The duplicate that std gets blocks; the clone that stays parks, and does not hold up its worker.
#[test]
fn a_clone_goes_on_parking_when_another_went_to_std() {
    in_runtime(|| {
        let (client, mut server) = pair();
        let mut theirs = client.try_clone().unwrap().into_std().unwrap();
        assert_ne!(theirs.as_raw_fd(), client.as_raw_fd());
        let go = Arc::new(AtomicBool::new(false));
        // As many as there may be workers: if reading held one up, nobody would be left to write.
        let workers = thread::available_parallelism().map_or(1, |n| n.get()) * 2;
        let readers: Vec<_> = (0..workers)
            .map(|_| {
                let (mut mine, go) = (client.try_clone().unwrap(), go.clone());
                sward::spawn(move || {
                    mine.read_exact(&mut [0]).unwrap();
                    assert!(go.load(Ordering::Relaxed));
                })
            })
            .collect();
        sward::sleep(MOMENT);
        go.store(true, Ordering::Relaxed);
        server.write_all(&vec![1; workers]).unwrap();
        for reader in readers {
            reader.join().unwrap();
        }
        let blocking = thread::spawn(move || theirs.read_exact(&mut [0]));
        sward::sleep(MOMENT);
        server.write_all(b"x").unwrap();
        blocking.join().unwrap().unwrap();
    });
}

#[test]
fn plain_threads_use_sockets_without_a_runtime() {
    let (listener, address) = listen();
    let server = thread::spawn(move || {
        for stream in listener.incoming().take(4) {
            let stream = stream.unwrap();
            io::copy(&mut &stream, &mut &stream).unwrap();
        }
    });
    for _ in 0..4 {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"echo").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(io::read_to_string(client).unwrap(), "echo");
    }
    server.join().unwrap();
}

#[test]
fn a_thread_and_a_coroutine_talk_over_clones() {
    let (client, server) = pair();
    let mut far = server.try_clone().unwrap();
    let thread = thread::spawn(move || {
        let mut byte = [0];
        for expected in 0..100 {
            far.read_exact(&mut byte).unwrap();
            assert_eq!(byte[0], expected);
            far.write_all(&byte).unwrap();
        }
    });
    in_runtime(|| {
        let mut byte = [0];
        for number in 0..100 {
            (&client).write_all(&[number]).unwrap();
            (&client).read_exact(&mut byte).unwrap();
            assert_eq!(byte[0], number);
        }
    });
    thread.join().unwrap();
    (&client).write_all(b"x").unwrap();
    in_runtime(|| (&server).read_exact(&mut [0])).unwrap();
}

/// A read stops short at urgent data, with more behind it: that is no sign that all was read.
#[test]
fn urgent_data_does_not_hide_what_is_behind_it() {
    let (mut client, mut server) = pair();
    let report = in_runtime(|| {
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.write_all(b"first").unwrap();
        server.read_exact(&mut [0; 4]).unwrap();
        server.read_exact(&mut [0; 1]).unwrap();
        let parked = server.try_clone().unwrap();
        let reader = sward::spawn(move || (&parked).read(&mut [0; 8]));
        sward::sleep(MOMENT);
        client.write_all(b"x").unwrap();
        reader.join().unwrap().unwrap();
        client.write_all(b"ab").unwrap();
        // SAFETY: the buffer is one byte.
        assert_eq!(unsafe { libc::send(client.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) }, 1);
        client.write_all(b"de").unwrap();
        sward::sleep(MOMENT);
        let mut buffer = [0; 4];
        server.read_exact(&mut buffer).map(|()| buffer)
    });
    assert_eq!(&report.expect("all of it"), b"abde");
}

const CHILD: &str = "SWARD_NET_TEST_CHILD";

/// Runs this test again in a process of its own; whether this is that process.
fn in_child(test: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .output()
        .expect("a child");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(text.matches("sward: accept is backing off").count(), 1, "{text}");
    false
}

#[test]
fn accept_waits_while_descriptors_are_exhausted() {
    if !in_child("accept_waits_while_descriptors_are_exhausted") {
        return;
    }
    let limit = libc::rlimit { rlim_cur: 128, rlim_max: 128 };
    // SAFETY: the limit lives until the call ends.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    in_runtime(|| {
        let (listener, address) = listen();
        let mut held = Vec::new();
        let warm = TcpStream::connect(address).unwrap();
        held.push(listener.accept().unwrap().0);
        let client = TcpStream::connect(address).unwrap();
        let mut files = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            files.push(file);
        }
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
}

/// Sends until the kernel takes no more.
fn fill(stream: &TcpStream) {
    stream.set_nonblocking(true).expect("set");
    while (&*stream).write(&[0; 1 << 16]).is_ok() {}
    assert_eq!(kind((&*stream).write(&[0])), ErrorKind::WouldBlock);
}

#[test]
fn readiness_is_waited_for_in_nonblocking_mode_too() {
    both(|| {
        for nonblocking in [false, true] {
            let (client, server) = pair();
            client.set_nonblocking(nonblocking).expect("set");
            let sent = AtomicBool::new(false);
            thread::scope(|s| {
                s.spawn(|| {
                    thread::sleep(MOMENT);
                    sent.store(true, Ordering::Relaxed);
                    (&server).write_all(b"ab").expect("written");
                });
                client.readable().expect("readable");
                assert!(sent.load(Ordering::Relaxed), "nothing was there");
            });
            let mut byte = [0];
            for expected in *b"ab" {
                // Nothing is taken by asking, however often.
                client.readable().expect("readable");
                client.readable().expect("readable");
                assert_eq!(((&client).read(&mut byte).expect("read"), byte), (1, [expected]));
            }
            drop(server);
            client.readable().expect("the end is readable");
            assert_eq!((&client).read(&mut byte).expect("read"), 0);
        }
    });
}

#[test]
fn a_full_stream_is_writable_once_the_peer_has_read() {
    both(|| {
        let (client, mut server) = pair();
        client.writable().expect("writable from the start");
        fill(&client);
        thread::scope(|s| {
            s.spawn(move || {
                thread::sleep(MOMENT);
                server.set_read_timeout(Some(Duration::from_secs(1))).expect("set");
                while server.read(&mut [0; 1 << 16]).is_ok_and(|n| n > 0) {}
            });
            client.writable().expect("writable");
            assert!((&client).write(&[0]).is_ok());
            client.shutdown(Shutdown::Write).expect("shut down");
            client.writable().expect("an error does not block");
            assert_eq!(kind((&client).write(&[0])), ErrorKind::BrokenPipe);
        });
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

/// How a server's sockets come to linger.
#[derive(Clone, Copy, Debug)]
enum Lingers {
    Inherited,
    BySetsockopt,
    Adopted,
}

/// A server's connection that lingers, with more in its buffer than the client takes before it reads.
fn lingering(how: Lingers) -> (std::net::TcpStream, TcpStream, usize) {
    let on = libc::linger { l_onoff: 1, l_linger: LONG.as_secs() as libc::c_int };
    let socket = sward::net::TcpSocket::new_v4().unwrap();
    if let Lingers::Inherited = how {
        socket.set_linger(Some(LONG)).unwrap();
    }
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    match how {
        Lingers::Inherited => {}
        Lingers::BySetsockopt => common::set_option(&server, libc::SOL_SOCKET, libc::SO_LINGER, on),
        Lingers::Adopted => {
            let std = server.into_std().unwrap();
            common::set_option(&std, libc::SOL_SOCKET, libc::SO_LINGER, on);
            server = TcpStream::from(std);
        }
    }
    server.set_nonblocking(true).unwrap();
    let (mut sent, piece) = (0, [7; 1 << 16]);
    while let Ok(count) = server.write(&piece) {
        sent += count;
    }
    (client, server, sent)
}

/// A socket whose close waits for a client that does not read: the client reads once the worker has gone on.
#[test]
fn dropping_a_socket_that_lingers_does_not_block_its_worker() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().unwrap();
    for how in [Lingers::Inherited, Lingers::BySetsockopt, Lingers::Adopted] {
        let start = Instant::now();
        let (client, sent) = runtime.run(move || {
            let (client, server, sent) = lingering(how);
            drop(server);
            (client, sent)
        });
        assert!(start.elapsed() < LONG, "{how:?}: the drop waited");
        let mut all = Vec::new();
        (&client).read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), sent, "{how:?}");
    }
}

/// However many sockets linger, there are threads for files and names.
#[test]
fn sockets_that_linger_do_not_use_up_the_pool() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().unwrap();
    let start = Instant::now();
    runtime.run(|| {
        let clients: Vec<_> = (0..100)
            .map(|_| {
                let (client, server, sent) = lingering(Lingers::Inherited);
                drop(server);
                (client, sent)
            })
            .collect();
        sward::fs::metadata("Cargo.toml").unwrap();
        assert!(start.elapsed() < LONG, "the drops waited");
        // The last ones did not find a place to linger in, and yet are sent as a whole.
        let (mut client, sent) = clients.into_iter().next_back().unwrap();
        let mut all = Vec::new();
        sward::blocking(|| client.read_to_end(&mut all)).unwrap().unwrap();
        assert_eq!(all.len(), sent);
    });
}

/// What was a thundering herd: each connection woke every coroutine that waited for one.
#[test]
fn a_connection_wakes_one_of_many_acceptors() {
    // There a readiness may be for good, as urgent data is not told, and wakes all waiters.
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
        // Until all wait.
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

/// Many acceptors of one listener time out and come back while connections arrive: each connection is
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
                // If one were lost, this would not end.
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
