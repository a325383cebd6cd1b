//! `TcpStream`.

use crate::common::{LONG, MOMENT, both, in_runtime, kind, listen, pair, pattern, reset_on_drop};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use sward::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

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
        // A queue of one: connections beyond it get no answer. SAFETY: the call takes no pointers.
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

/// A call takes 1024 buffers at most. If it takes fewer than it was given, the socket need not be full, or
/// empty.
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
        // Registers the reader at its poller, and leaves its readiness consumed.
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
fn peeked_bytes_stay() {
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
        // The error was reported. What is left is the end of the stream, and writes fail.
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert_eq!(kind(client.write(b"x")), ErrorKind::BrokenPipe);
        assert_eq!(kind(client.peer_addr()), ErrorKind::NotConnected);
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
fn clones_read_and_write_at_once() {
    both(|| {
        const TOTAL: usize = 4 << 20;
        let (client, server) = pair();
        let echo = sward::spawn(move || {
            io::copy(&mut &server, &mut server.try_clone().unwrap()).map(|_| server.shutdown(Shutdown::Write))
        });
        let mut writing = client.try_clone().unwrap();
        let writer = sward::spawn(move || {
            let bytes = pattern(TOTAL);
            writing.write_all(&bytes)?;
            writing.shutdown(Shutdown::Write)
        });
        let mut back = Vec::new();
        (&client).read_to_end(&mut back).unwrap();
        assert!(back == pattern(TOTAL));
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

        // The std socket blocks, as the bytes come later.
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
        // SAFETY: the descriptor has no other owner.
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

/// The duplicate that std gets blocks. The clone that stays parks, and does not block its worker.
#[test]
fn a_clone_goes_on_parking_when_another_went_to_std() {
    in_runtime(|| {
        let (client, mut server) = pair();
        let mut theirs = client.try_clone().unwrap().into_std().unwrap();
        assert_ne!(theirs.as_raw_fd(), client.as_raw_fd());
        let go = Arc::new(AtomicBool::new(false));
        // As many as there may be workers: if the reads blocked them, none would be left to write.
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
