//! `copy` and `copy_bidirectional`.

use crate::common::{MOMENT, both, in_runtime, kind, pattern};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use sward::io::{CloseWrite, CopyBidirectional, CopyIdle, Pollable, copy, copy_bidirectional, pipe};
use sward::net::{Shutdown, TcpListener, TcpStream, UnixStream};
use sward::task::{self, JoinError};
use sward::time::timeout;

/// Reads that return what the script says.
struct Script(Vec<Result<Vec<u8>, ErrorKind>>);

impl Read for Script {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let bytes = self.0.remove(0)?;
        buf[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

#[test]
fn a_copy_runs_to_the_end_and_retries_interrupted_calls() {
    both(|| {
        let all = pattern(3 << 20);
        let mut to = Vec::new();
        assert_eq!(copy(&mut &all[..], &mut to).unwrap(), 3 << 20);
        assert!(to == all);
        assert_eq!(copy(&mut io::empty(), &mut to).unwrap(), 0);

        let script = |last| Script(vec![Ok(vec![1, 2]), Err(ErrorKind::Interrupted), Ok(vec![3]), last]);
        let mut to = Vec::new();
        assert_eq!(copy(&mut script(Ok(vec![4])), &mut to).unwrap(), 4);
        assert_eq!(to, [1, 2, 3, 4]);
        assert_eq!(kind(copy(&mut script(Err(ErrorKind::InvalidData)), &mut to)), ErrorKind::InvalidData);
        let mut small = [0; 2];
        assert_eq!(kind(copy(&mut script(Ok(vec![])), &mut &mut small[..])), ErrorKind::WriteZero);
        // Unsized readers and writers.
        let (from, to): (&mut dyn Read, &mut dyn Write) = (&mut &b"dyn"[..], &mut Vec::new());
        assert_eq!(copy(from, to).unwrap(), 3);
    });
}

#[test]
fn a_copy_from_pipe_to_pipe_parks() {
    both(|| {
        let (mut from, mut first) = pipe().unwrap();
        let (mut last, mut to) = pipe().unwrap();
        let copying = sward::spawn(move || copy(&mut from, &mut to));
        let writing = sward::spawn(move || first.write_all(&pattern(1 << 20)));
        let mut all = Vec::new();
        last.read_to_end(&mut all).unwrap();
        assert!(all == pattern(1 << 20));
        writing.join().unwrap().unwrap();
        assert_eq!(copying.join().unwrap().unwrap(), 1 << 20);
    });
}

fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

type Proxy = sward::task::JoinHandle<io::Result<(u64, u64)>>;

/// A client, a server, and the coroutine that copies between them.
fn proxied() -> (TcpStream, UnixStream, Proxy) {
    let ((client, a), (b, server)) = (tcp(), UnixStream::pair().unwrap());
    (client, server, sward::spawn(move || copy_bidirectional(&a, &b)))
}

#[test]
fn both_directions_end_by_themselves() {
    both(|| {
        for client_first in [true, false] {
            let (mut client, mut server, proxy) = proxied();
            let end = |client: &mut TcpStream, server: &mut UnixStream| {
                client.write_all(b"question").unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(io::read_to_string(server).unwrap(), "question");
            };
            if client_first {
                end(&mut client, &mut server);
            }
            // The other direction goes on.
            for _ in 0..3 {
                server.write_all(b"part ").unwrap();
                client.read_exact(&mut [0; 5]).unwrap();
            }
            server.shutdown(Shutdown::Write).unwrap();
            assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
            if !client_first {
                end(&mut client, &mut server);
            }
            assert_eq!(proxy.join().unwrap().unwrap(), (8, 15));
        }
    });
}

#[test]
fn many_bytes_go_in_both_directions_at_once() {
    both(|| {
        const TOTAL: usize = 4 << 20;
        let (client, server, proxy) = proxied();
        sward::scope(|s| {
            s.spawn(|| {
                (&client).write_all(&pattern(TOTAL)).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            });
            s.spawn(|| {
                (&server).write_all(&pattern(TOTAL)).unwrap();
                server.shutdown(Shutdown::Write).unwrap();
            });
            for side in [&client as &dyn ReadShared, &server] {
                s.spawn(move || {
                    let mut all = Vec::new();
                    side.read_all(&mut all);
                    assert!(all == pattern(TOTAL));
                });
            }
        });
        assert_eq!(proxy.join().unwrap().unwrap(), (TOTAL as u64, TOTAL as u64));
    });
}

/// Reads through a shared reference, whatever it refers to.
trait ReadShared: Sync {
    fn read_all(&self, to: &mut Vec<u8>);
}

impl ReadShared for TcpStream {
    fn read_all(&self, to: &mut Vec<u8>) {
        let mut this = self;
        this.read_to_end(to).unwrap();
    }
}

impl ReadShared for UnixStream {
    fn read_all(&self, to: &mut Vec<u8>) {
        let mut this = self;
        this.read_to_end(to).unwrap();
    }
}

/// The other direction, whose peers do not end it, ends as well.
#[test]
fn a_reset_ends_both() {
    both(|| {
        let (client, _server, proxy) = proxied();
        sward::sleep(MOMENT);
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let size = size_of::<libc::linger>() as libc::socklen_t;
        // SAFETY: the value is `size` bytes and lives until the call ends.
        let set = unsafe {
            let value = (&raw const linger).cast();
            libc::setsockopt(client.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size)
        };
        assert_eq!(set, 0);
        drop(client);
        assert_eq!(kind(proxy.join().unwrap()), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_limit_and_a_cancel_end_both() {
    let test = || {
        let ((_client, a), (b, _server)) = (tcp(), tcp());
        assert!(timeout(MOMENT, || copy_bidirectional(&a, &b)).is_err());
        // The streams are as they were.
        let proxy = sward::spawn(move || copy_bidirectional(&a, &b));
        sward::sleep(MOMENT);
        assert!(!proxy.is_finished());
        proxy.cancel();
        assert!(matches!(proxy.join(), Err(JoinError::Cancelled)));
    };
    both(test);
}

/// Both directions are silent: one has been used, and the other has not.
#[test]
fn an_idle_limit_ends_both() {
    both(|| {
        for half_closed in [false, true] {
            while idle_after_a_question(half_closed) == 0 {}
        }
    });
}

/// Whether the question has passed before the limit came, in bytes. On a slow machine it may not have.
fn idle_after_a_question(half_closed: bool) -> u64 {
    let ((mut client, a), (b, mut server)) = (tcp(), UnixStream::pair().unwrap());
    let settings = CopyBidirectional::new().idle_timeout(MOMENT);
    client.write_all(b"question").unwrap();
    if half_closed {
        client.shutdown(Shutdown::Write).unwrap();
    }
    let proxy = sward::spawn(move || (settings.copy(&a, &b), a, b));
    let (copied, a, _b) = proxy.join().unwrap();
    let error = copied.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let idle: &CopyIdle = error.get_ref().unwrap().downcast_ref().unwrap();
    server.set_read_timeout(Some(MOMENT)).unwrap();
    let arrived = server.read(&mut [0; 9]).unwrap_or(0) as u64;
    assert!(arrived == 0 || arrived == 8);
    assert_eq!((idle.a_to_b, idle.b_to_a), (arrived, 0));
    // The streams are open.
    (&a).write_all(b"bye").unwrap();
    client.read_exact(&mut [0; 3]).unwrap();
    arrived
}

/// A stream that has taken what is written when its writer is cancelled, and not sooner.
#[derive(Default)]
struct Late {
    begun: AtomicBool,
}

impl Read for &Late {
    fn read(&mut self, _buf: &mut [u8]) -> io::Result<usize> {
        loop {
            task::park();
        }
    }
}

impl Write for &Late {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.begun.store(true, Ordering::Relaxed);
        let cancelled: Result<(), _> = task::catch_cancel(|| {
            loop {
                task::park();
            }
        });
        cancelled.unwrap_err();
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl CloseWrite for Late {
    fn close_write(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn bytes_that_are_written_while_an_idle_limit_ends_the_copying_are_counted() {
    in_runtime(|| {
        loop {
            let ((mut client, a), late) = (tcp(), Late::default());
            client.write_all(b"question").unwrap();
            let error = CopyBidirectional::new().idle_timeout(MOMENT).copy(&a, &late).unwrap_err();
            let idle: &CopyIdle = error.get_ref().unwrap().downcast_ref().unwrap();
            // On a slow machine the limit may come before the write.
            if late.begun.into_inner() {
                return assert_eq!((idle.a_to_b, idle.b_to_a), (8, 0));
            }
        }
    });
}

/// One direction is silent for longer than the limit, and the other is not, as in a download.
#[test]
fn an_idle_limit_is_one_for_both_directions() {
    const LIMIT: Duration = Duration::from_secs(4);
    in_runtime(|| {
        let ((mut client, a), (b, mut server)) = (tcp(), tcp());
        let settings = CopyBidirectional::new().idle_timeout(LIMIT);
        let proxy = sward::spawn(move || settings.copy(&a, &b));
        let begun = Instant::now();
        let mut count = 0;
        while begun.elapsed() < 2 * LIMIT {
            server.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
            count += 1;
            sward::sleep(LIMIT / 40);
        }
        drop((client, server));
        assert_eq!(proxy.join().unwrap().unwrap(), (0, count));
    });
}

/// An end, an error, a limit and a cancellation work as without an idle limit, and do not wait for it.
#[test]
fn an_idle_limit_delays_no_other_end() {
    let settings = CopyBidirectional::new().idle_timeout(Duration::from_secs(3600)).buffer_size(3);
    both(|| {
        let start = |a: TcpStream, b: UnixStream| {
            let settings = settings.clone();
            sward::spawn(move || settings.copy(&a, &b))
        };
        let ((mut client, a), (b, mut server)) = (tcp(), UnixStream::pair().unwrap());
        let proxy = start(a, b);
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(io::read_to_string(&mut server).unwrap(), "question");
        server.write_all(b"answer").unwrap();
        drop(server);
        assert_eq!(io::read_to_string(&mut client).unwrap(), "answer");
        assert_eq!(proxy.join().unwrap().unwrap(), (8, 6));

        let ((client, a), (b, _server)) = (tcp(), UnixStream::pair().unwrap());
        let proxy = start(a, b);
        client.set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        assert_eq!(kind(proxy.join().unwrap()), ErrorKind::ConnectionReset);

        let ((_client, a), (b, _server)) = (tcp(), UnixStream::pair().unwrap());
        assert!(timeout(MOMENT, || settings.copy(&a, &b)).is_err());
        let proxy = start(a, b);
        sward::sleep(MOMENT);
        assert!(!proxy.is_finished());
        proxy.cancel();
        assert!(matches!(proxy.join(), Err(JoinError::Cancelled)));
    });
}

#[test]
fn what_is_not_a_socket_is_an_error() {
    both(|| {
        let (client, a) = tcp();
        drop(client);
        let (_reader, writer) = io::pipe().unwrap();
        struct End(Pollable<io::PipeWriter>);
        impl AsFd for End {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.0.as_fd()
            }
        }
        impl Read for &End {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Ok(0)
            }
        }
        impl Write for &End {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                (&self.0).write(buf)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let end = End(Pollable::new(writer).unwrap());
        let error = copy_bidirectional(&a, &end).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
    });
}
