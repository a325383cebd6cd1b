//! Readiness for futures: `poll_readable` and `poll_writable`.

use crate::common::{LONG, MOMENT, both, in_runtime, kind, pair};
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Instant;
use sward::io::Pollable;
use sward::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixStream};

/// Counts how often it was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    fn new() -> (Arc<Wakes>, Waker) {
        let wakes = Arc::new(Wakes::default());
        (wakes.clone(), wakes.into())
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn wait(&self) {
        let start = Instant::now();
        while self.get() == 0 {
            assert!(start.elapsed() < LONG, "it was not woken");
            sward::sleep(MOMENT);
        }
    }
}

/// Reads in non-blocking mode, and waits as a future.
async fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    poll_fn(|context| {
        loop {
            match (&mut &*stream).read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::task::ready!(stream.poll_readable(context))?;
                }
                result => return Poll::Ready(result),
            }
        }
    })
    .await
}

/// Writes all in non-blocking mode, and waits as a future.
async fn write_all(stream: &TcpStream, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match (&mut &*stream).write(data) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll_fn(|context| stream.poll_writable(context)).await?;
            }
            written => data = &data[written?..],
        }
    }
    Ok(())
}

/// Runs a future on a thread that is no worker.
fn block_thread_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park_timeout(LONG),
        }
    }
}

const BYTES: usize = 3 << 20;

/// More than the buffers hold in one direction and back, by futures at both ends.
fn echo(run: fn(&TcpStream, &[u8]) -> io::Result<()>) {
    let (client, server) = pair();
    let echo = sward::spawn(move || {
        server.set_nonblocking(true).unwrap();
        sward::block_on(async {
            let mut buffer = [0; 4096];
            loop {
                let n = read(&server, &mut buffer).await?;
                if n == 0 {
                    return Ok::<_, io::Error>(());
                }
                write_all(&server, &buffer[..n]).await?;
            }
        })
    });
    let data: Vec<u8> = (0..BYTES).map(|i| (i * 7 % 251) as u8).collect();
    let sends = {
        let (client, data) = (client.try_clone().unwrap(), data.clone());
        sward::spawn(move || {
            run(&client, &data).unwrap();
        })
    };
    let mut received = vec![0; BYTES];
    client.set_nonblocking(true).unwrap();
    let mut at = 0;
    while at < BYTES {
        at += sward::block_on(read(&client, &mut received[at..])).unwrap();
    }
    assert!(received == data, "other bytes");
    sends.join().unwrap();
    drop(client);
    echo.join().unwrap().unwrap();
}

#[test]
fn futures_read_and_write() {
    in_runtime(|| echo(|client, data| sward::block_on(write_all(client, data))));
}

#[test]
fn futures_on_a_thread_read_and_write() {
    in_runtime(|| {
        echo(|client, data| {
            let (client, data) = (client.try_clone()?, data.to_vec());
            sward::blocking(move || block_thread_on(write_all(&client, &data)))?
        });
    });
}

/// Each of many connections waits as a future, with no coroutine but its own.
#[test]
fn many_futures_wait() {
    in_runtime(|| {
        let readers: Vec<_> = (0..100)
            .map(|_| {
                let (client, server) = pair();
                client.set_nonblocking(true).unwrap();
                let reads = sward::spawn(move || {
                    let mut buffer = [0; 1];
                    sward::block_on(read(&client, &mut buffer)).unwrap();
                    buffer[0]
                });
                (server, reads)
            })
            .collect();
        sward::sleep(MOMENT);
        for (i, (mut server, reads)) in readers.into_iter().enumerate() {
            server.write_all(&[i as u8]).unwrap();
            assert_eq!(reads.join().unwrap(), i as u8);
        }
    });
}

#[test]
fn only_the_last_task_is_woken() {
    in_runtime(|| {
        let (client, mut server) = pair();
        let ((first, first_waker), (last, last_waker)) = (Wakes::new(), Wakes::new());
        assert!(client.poll_readable(&mut Context::from_waker(&first_waker)).is_pending());
        assert!(client.poll_readable(&mut Context::from_waker(&last_waker)).is_pending());
        server.write_all(b"x").unwrap();
        last.wait();
        assert_eq!(first.get(), 0);
        let again = &mut Context::from_waker(&first_waker);
        assert!(matches!(client.poll_readable(again), Poll::Ready(Ok(()))));
        // It was not read, so it is still ready.
        assert!(matches!(client.poll_readable(again), Poll::Ready(Ok(()))));
        assert_eq!(Arc::strong_count(&first), 2, "a waker was kept");
    });
}

/// A task that is woken and never polls again does not keep the readiness from a coroutine.
#[test]
fn a_forgotten_future_keeps_nothing_back() {
    in_runtime(|| {
        let (client, mut server) = pair();
        let (wakes, waker) = Wakes::new();
        assert!(client.poll_readable(&mut Context::from_waker(&waker)).is_pending());
        let reads = {
            let mut client = client.try_clone().unwrap();
            sward::spawn(move || {
                let mut buffer = [0; 1];
                client.read_exact(&mut buffer).unwrap();
                buffer[0]
            })
        };
        sward::sleep(MOMENT);
        server.write_all(b"x").unwrap();
        assert_eq!(reads.join().unwrap(), b'x');
        wakes.wait();
    });
}

#[test]
fn close_wakes_the_task() {
    in_runtime(|| {
        let (client, _server) = pair();
        let (wakes, waker) = Wakes::new();
        assert!(client.poll_readable(&mut Context::from_waker(&waker)).is_pending());
        client.close().unwrap();
        wakes.wait();
        match client.poll_readable(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => assert_eq!(kind(result), ErrorKind::NotConnected),
            Poll::Pending => panic!("it is closed"),
        }
        drop(client);
        drop(waker);
        assert_eq!(Arc::strong_count(&wakes), 1, "a waker was kept");
    });
}

#[test]
fn a_dropped_socket_drops_its_wakers() {
    in_runtime(|| {
        let (client, _server) = pair();
        let (wakes, waker) = Wakes::new();
        assert!(client.poll_readable(&mut Context::from_waker(&waker)).is_pending());
        drop((client, waker));
        assert_eq!((Arc::strong_count(&wakes), wakes.get()), (1, 0));
    });
}

/// The runtime whose shard the socket is in ends: the task is woken, and waits with another runtime.
#[test]
fn a_task_outlives_the_runtime() {
    in_runtime(|| {
        // Unlike a connected socket it is in no shard yet.
        let (client, mut server) = UnixStream::pair().unwrap();
        let (wakes, waker) = Wakes::new();
        let other = sward::runtime::Builder::new().worker_threads(1).build().unwrap();
        {
            let (client, waker) = (client.try_clone().unwrap(), waker.clone());
            let polls = other.spawn(move || {
                assert!(client.poll_readable(&mut Context::from_waker(&waker)).is_pending());
            });
            polls.join().unwrap();
        }
        sward::blocking(move || drop(other)).unwrap();
        wakes.wait();
        assert!(client.poll_readable(&mut Context::from_waker(&waker)).is_pending());
        server.write_all(b"x").unwrap();
        let start = Instant::now();
        while wakes.get() < 2 {
            assert!(start.elapsed() < LONG, "it was not woken again");
            sward::sleep(MOMENT);
        }
    });
}

#[test]
fn other_types_are_polled() {
    in_runtime(|| {
        let (wakes, waker) = Wakes::new();
        let context = &mut Context::from_waker(&waker);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listener.poll_readable(context).is_pending());
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        wakes.wait();
        assert!(matches!(listener.poll_readable(context), Poll::Ready(Ok(()))));

        let (one, other) = UnixDatagram::pair().unwrap();
        let seen = wakes.get();
        assert!(one.poll_readable(context).is_pending());
        assert!(matches!(one.poll_writable(context), Poll::Ready(Ok(()))));
        other.send(b"x").unwrap();
        while wakes.get() == seen {
            sward::yield_now();
        }

        let (reader, mut writer) = io::pipe().unwrap();
        let pollable = Pollable::new(reader).unwrap();
        let seen = wakes.get();
        assert!(pollable.poll_readable(context).is_pending());
        writer.write_all(b"x").unwrap();
        while wakes.get() == seen {
            sward::yield_now();
        }
        assert!(matches!(pollable.poll_readable(context), Poll::Ready(Ok(()))));
    });
}

/// All socket types wait for readiness.
#[test]
fn sockets_wait_for_readiness() {
    both(|| {
        let (one, other) = UnixDatagram::pair().unwrap();
        one.writable().unwrap();
        other.send(b"x").unwrap();
        one.readable().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.readable().unwrap();
    });
}

/// An event that lasts although a read would block does not keep a poll in a loop.
#[test]
fn out_of_band_data_is_not_taken_for_a_byte() {
    in_runtime(|| {
        let (mut client, mut server) = pair();
        // SAFETY: the byte is alive during the call.
        let sent = unsafe { libc::send(server.as_raw_fd(), [b'!'].as_ptr().cast(), 1, libc::MSG_OOB) };
        assert_eq!(sent, 1);
        sward::sleep(MOMENT);
        let (wakes, waker) = Wakes::new();
        let context = &mut Context::from_waker(&waker);
        client.set_nonblocking(true).unwrap();
        // Now and then it may be ready without a byte, but not for ever.
        let start = Instant::now();
        while client.poll_readable(context).is_ready() {
            assert_eq!(kind(client.read(&mut [0; 8])), ErrorKind::WouldBlock);
            assert!(start.elapsed() < LONG, "it is always ready");
        }
        let seen = wakes.get();
        server.write_all(b"x").unwrap();
        while wakes.get() == seen {
            sward::yield_now();
        }
        assert!(client.poll_readable(context).is_ready());
    });
}

#[test]
fn a_refused_datagram_does_not_stay_readable() {
    in_runtime(|| {
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(closed.local_addr().unwrap()).unwrap();
        drop(closed);
        socket.send(b"x").unwrap();
        let (_, waker) = Wakes::new();
        let context = &mut Context::from_waker(&waker);
        socket.set_nonblocking(true).unwrap();
        let start = Instant::now();
        while socket.poll_readable(context).is_ready() {
            assert!(socket.recv(&mut [0; 8]).is_err());
            assert!(start.elapsed() < LONG, "it is always ready");
        }
    });
}

/// A coroutine that polls what is always ready lets its siblings go first, and not in the midst of a poll.
#[test]
fn ready_polls_use_up_the_budget() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().unwrap();
    runtime.run(|| {
        let (client, mut server) = pair();
        server.write_all(b"x").unwrap();
        client.readable().unwrap();
        let sibling = sward::spawn(|| ());
        sward::block_on(async {
            let mut polls = 0;
            while !sibling.is_finished() {
                poll_fn(|context| client.poll_readable(context)).await.unwrap();
                polls += 1;
                assert!(polls < 1_000_000, "the sibling has no turn");
            }
        });
    });
}
