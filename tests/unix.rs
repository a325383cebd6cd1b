//! Unix sockets: what std's own tests cover, and what is particular to parking.

mod checked;
mod common;

use common::{LONG, MOMENT, both, in_runtime, kind};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use sward::net::unix::SocketAddr;
use sward::net::{Shutdown, UnixDatagram, UnixListener, UnixStream};

/// A path for a socket, which is removed in the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Place(std::env::temp_dir().join(format!("sward-unix-{}-{number}", std::process::id())))
    }
}

impl AsRef<Path> for Place {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An address in no file system.
fn name() -> SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from_abstract_name(format!("sward-unix-{}-{number}", std::process::id())).expect("short")
}

/// A listener and a client that is connected to it.
fn connection() -> (UnixListener, UnixStream, UnixStream) {
    let listener = UnixListener::bind_addr(&name()).expect("bound");
    let client = UnixStream::connect_addr(&listener.local_addr().expect("an address")).expect("connected");
    let (server, _) = listener.accept().expect("accepted");
    (listener, client, server)
}

#[test]
fn sockets_are_what_std_s_are() {
    fn check<T: Send + Sync + Unpin + std::fmt::Debug + UnwindSafe + RefUnwindSafe>() {}
    check::<UnixStream>();
    check::<UnixListener>();
    check::<UnixDatagram>();
    check::<sward::net::unix::Incoming<'static>>();
}

#[test]
fn streams_meet_at_a_path() {
    both(|| {
        let place = Place::new();
        let listener = UnixListener::bind(&place).unwrap();
        assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(place.as_ref()));
        let path = place.0.clone();
        let client = sward::spawn(move || {
            let mut client = UnixStream::connect(&path).unwrap();
            assert_eq!(client.peer_addr().unwrap().as_pathname(), Some(&*path));
            assert!(client.local_addr().unwrap().is_unnamed());
            client.write_all(b"question").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            io::read_to_string(client).unwrap()
        });
        let (mut server, peer) = listener.accept().unwrap();
        assert!(peer.is_unnamed());
        assert_eq!(server.local_addr().unwrap().as_pathname(), Some(place.as_ref()));
        assert_eq!(io::read_to_string(&mut server).unwrap(), "question");
        server.write_all(b"answer").unwrap();
        drop(server);
        assert_eq!(client.join().unwrap(), "answer");
    });
}

#[test]
fn streams_meet_at_a_name() {
    both(|| {
        let address = name();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let heard = listener.local_addr().unwrap();
        assert_eq!(heard.as_abstract_name(), address.as_abstract_name());
        let mut client = UnixStream::connect_addr(&address).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert_eq!(client.peer_addr().unwrap().as_abstract_name(), address.as_abstract_name());
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        assert_eq!(kind(UnixListener::bind_addr(&address)), ErrorKind::AddrInUse);
        drop(listener);
        assert_eq!(kind(UnixStream::connect_addr(&address)), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn binding_and_connecting_fail_as_in_std() {
    both(|| {
        let place = Place::new();
        assert_eq!(kind(UnixStream::connect(&place)), ErrorKind::NotFound);
        let listener = UnixListener::bind(&place).unwrap();
        assert_eq!(kind(UnixListener::bind(&place)), ErrorKind::AddrInUse);
        assert_eq!(kind(UnixDatagram::bind(&place)), ErrorKind::AddrInUse);
        drop(listener);
        assert_eq!(kind(UnixStream::connect(&place)), ErrorKind::ConnectionRefused);
        let long = "x".repeat(200);
        for bad in [&*long, "a\0b"] {
            assert_eq!(kind(UnixListener::bind(bad)), ErrorKind::InvalidInput);
            assert_eq!(kind(UnixStream::connect(bad)), ErrorKind::InvalidInput);
            assert_eq!(kind(UnixDatagram::bind(bad)), ErrorKind::InvalidInput);
            let socket = UnixDatagram::unbound().unwrap();
            assert_eq!(kind(socket.connect(bad)), ErrorKind::InvalidInput);
            assert_eq!(kind(socket.send_to(b"x", bad)), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn a_pair_talks() {
    both(|| {
        let (mut one, mut two) = UnixStream::pair().unwrap();
        let echo = sward::spawn(move || {
            let mut buf = [0; 5];
            two.read_exact(&mut buf).unwrap();
            two.write_all(&buf).unwrap();
        });
        one.write_all(b"hello").unwrap();
        let mut back = [0; 5];
        one.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
        echo.join().unwrap();
        assert_eq!(one.read(&mut back).unwrap(), 0);
        assert_eq!(kind(one.write(b"x")), ErrorKind::BrokenPipe);
        assert_eq!((one.read(&mut []).unwrap(), one.write(&[]).unwrap()), (0, 0));
    });
}

#[test]
fn buffers_are_gathered_and_scattered() {
    both(|| {
        let (mut one, mut two) = UnixStream::pair().unwrap();
        let sent = one.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")]);
        assert_eq!(sent.unwrap(), 5);
        let (mut first, mut second) = ([0; 1], [0; 8]);
        let got = two.read_vectored(&mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)]);
        assert_eq!((got.unwrap(), &first, &second[..4]), (5, b"a", &b"bcde"[..]));
    });
}

#[test]
fn connections_come_as_an_iterator() {
    both(|| {
        let listener = UnixListener::bind_addr(&name()).unwrap();
        let address = listener.local_addr().unwrap();
        let clients = sward::spawn(move || {
            let greet = |_| io::read_to_string(UnixStream::connect_addr(&address).unwrap()).unwrap();
            (0..6).map(greet).collect::<Vec<_>>()
        });
        for stream in listener.incoming().take(3) {
            stream.unwrap().write_all(b"hello").unwrap();
        }
        for stream in (&listener).into_iter().take(3) {
            stream.unwrap().write_all(b"hello").unwrap();
        }
        assert_eq!(clients.join().unwrap(), ["hello"; 6]);
    });
}

/// Of a queue that is full the kernel gives no event.
#[test]
fn connecting_waits_for_a_full_queue() {
    both(|| {
        let address = name();
        let listener = UnixListener::bind_addr(&address).unwrap();
        // SAFETY: the call takes no pointers.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let address = address.clone();
                sward::spawn(move || UnixStream::connect_addr(&address).unwrap().write_all(b"x"))
            })
            .collect();
        sward::sleep(MOMENT);
        let address = address.clone();
        let given_up = sward::spawn(move || UnixStream::connect_addr(&address).map(drop));
        sward::sleep(MOMENT);
        given_up.cancel();
        assert!(given_up.join().is_err());
        for _ in 0..8 {
            listener.accept().unwrap().0.read_exact(&mut [0]).unwrap();
        }
        for client in clients {
            client.join().unwrap().unwrap();
        }
    });
}

#[test]
fn megabytes_go_through_clones() {
    both(|| {
        const TOTAL: usize = 4 << 20;
        let (one, two) = UnixStream::pair().unwrap();
        let echo = sward::spawn(move || {
            let mut writing = two.try_clone().unwrap();
            io::copy(&mut &two, &mut writing).map(|_| two.shutdown(Shutdown::Write))
        });
        let mut writing = one.try_clone().unwrap();
        let writer = sward::spawn(move || {
            let bytes: Vec<u8> = (0..TOTAL).map(|i| (i % 251) as u8).collect();
            writing.write_all(&bytes)?;
            writing.shutdown(Shutdown::Write)
        });
        let mut back = Vec::new();
        (&one).read_to_end(&mut back).unwrap();
        assert_eq!(back.len(), TOTAL);
        assert!(back.iter().enumerate().all(|(i, &byte)| byte == (i % 251) as u8));
        writer.join().unwrap().unwrap();
        echo.join().unwrap().unwrap().unwrap();
    });
}

/// Sends a byte and a descriptor with it.
fn send_descriptor(socket: &impl AsRawFd, fd: &impl AsRawFd) {
    let mut byte = *b"a";
    let mut iov = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = [0u64; 8];
    // SAFETY: the message points to the byte and to the control buffer, which is large enough for a header
    // and a descriptor, and aligned for them; both live until the call ends.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<libc::c_int>() as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<libc::c_int>() as u32) as _;
        libc::CMSG_DATA(header).cast::<libc::c_int>().write_unaligned(fd.as_raw_fd());
        assert_eq!(libc::sendmsg(socket.as_raw_fd(), &raw const message, 0), 1);
    }
}

/// A read stops short behind bytes that a descriptor came with, and there may be more.
#[test]
fn a_passed_descriptor_does_not_hide_what_is_behind_it() {
    both(|| {
        let (mut one, mut two) = UnixStream::pair().unwrap();
        two.set_read_timeout(Some(LONG)).unwrap();
        // Parks, so that the socket has joined its poller.
        let late = one.try_clone().unwrap();
        let writer = sward::spawn(move || {
            sward::sleep(MOMENT);
            (&late).write_all(b"x")
        });
        let mut buf = [0; 8];
        assert_eq!(two.read(&mut buf).unwrap(), 1);
        writer.join().unwrap().unwrap();
        for _ in 0..3 {
            send_descriptor(&one, &one);
            one.write_all(b"bc").unwrap();
            two.read_exact(&mut buf[..3]).unwrap();
            assert_eq!(&buf[..3], b"abc");
        }
    });
}

#[test]
fn timeouts_are_kept_and_end_calls() {
    both(|| {
        let (mut one, mut two) = UnixStream::pair().unwrap();
        assert_eq!((one.read_timeout().unwrap(), one.write_timeout().unwrap()), (None, None));
        assert_eq!(kind(one.set_read_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
        assert_eq!(kind(one.set_write_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
        let limit = Duration::from_millis(30);
        one.set_read_timeout(Some(limit)).unwrap();
        one.try_clone().unwrap().set_write_timeout(Some(limit)).unwrap();
        assert_eq!(one.write_timeout().unwrap(), Some(limit));
        let start = Instant::now();
        assert_eq!(kind(one.read(&mut [0])), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= limit);
        let block = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = one.write(&block) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        two.write_all(b"x").unwrap();
        one.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(one.read(&mut [0]).unwrap(), 1);
        one.set_write_timeout(None).unwrap();
        let std = one.into_std().unwrap();
        assert_eq!(std.read_timeout().unwrap(), Some(LONG));
        assert_eq!(std.write_timeout().unwrap(), None);
        assert_eq!(UnixStream::from(std).read_timeout().unwrap(), Some(LONG));
    });
}

#[test]
fn non_blocking_calls_fail_instead_of_waiting() {
    both(|| {
        let (listener, mut client, mut server) = connection();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(kind(listener.accept()), ErrorKind::WouldBlock);
        client.set_nonblocking(true).unwrap();
        assert_eq!(kind(client.read(&mut [0])), ErrorKind::WouldBlock);
        let block = vec![0; 1 << 20];
        while client.write(&block).is_ok() {}
        assert_eq!(kind(client.write(b"x")), ErrorKind::WouldBlock);
        client.set_nonblocking(false).unwrap();
        server.write_all(b"x").unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 1);
        assert!(client.take_error().unwrap().is_none());
        assert!(listener.take_error().unwrap().is_none());
    });
}

/// An accepted socket's file blocks, as does one that std has made: the calls themselves do not.
#[test]
fn the_mode_of_the_file_means_nothing() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    runtime.run(|| {
        let (_listener, client, server) = connection();
        // SAFETY: the call takes no pointers.
        let flags = unsafe { libc::fcntl(server.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0);
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        for (mut reader, mut writer) in [(server, client), (ours.into(), theirs.into())] {
            let parked = sward::spawn(move || UnixStream::read(&mut reader, &mut [0]));
            sward::sleep(MOMENT);
            UnixStream::write_all(&mut writer, b"x").unwrap();
            assert_eq!(parked.join().unwrap().unwrap(), 1);
        }
    });
}

#[test]
fn shutdown_wakes_the_reader() {
    both(|| {
        for how in [Shutdown::Read, Shutdown::Both] {
            let (one, _two) = UnixStream::pair().unwrap();
            let mut reading = one.try_clone().unwrap();
            let reader = sward::spawn(move || reading.read(&mut [0]));
            sward::sleep(MOMENT);
            one.shutdown(how).unwrap();
            assert_eq!(reader.join().unwrap().unwrap(), 0);
        }
    });
}

#[test]
fn close_wakes_whoever_is_parked() {
    in_runtime(|| {
        let (listener, client, mut server) = connection();
        let (mut one, mut two) = (client.try_clone().unwrap(), client.try_clone().unwrap());
        let parked = sward::spawn(move || one.read(&mut [0]));
        let blocked = thread::spawn(move || two.read(&mut [0]));
        let (three, four) = (listener.try_clone().unwrap(), listener.try_clone().unwrap());
        let accepting = sward::spawn(move || three.accept());
        let blocked_accepting = thread::spawn(move || four.accept());
        sward::sleep(MOMENT);
        client.close().unwrap();
        listener.close().unwrap();
        assert_eq!(kind(parked.join().unwrap()), ErrorKind::NotConnected);
        assert_eq!(kind(blocked.join().unwrap()), ErrorKind::NotConnected);
        assert_eq!(kind(accepting.join().unwrap()), ErrorKind::NotConnected);
        assert_eq!(kind(blocked_accepting.join().unwrap()), ErrorKind::NotConnected);
        assert_eq!(kind((&client).write(b"x")), ErrorKind::NotConnected);
        assert_eq!(kind(listener.accept()), ErrorKind::NotConnected);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn cancelled_calls_lose_nothing() {
    in_runtime(|| {
        let (listener, client, server) = connection();
        let mut reading = server.try_clone().unwrap();
        let reader = sward::spawn(move || reading.read(&mut [0; 8]).map(drop));
        let accepting = listener.try_clone().unwrap();
        let acceptor = sward::spawn(move || accepting.accept().map(drop));
        let mut filling = client.try_clone().unwrap();
        let filler = sward::spawn(move || while filling.write(&[1; 1 << 16]).is_ok() {});
        sward::sleep(MOMENT);
        for waiting in [&reader, &acceptor] {
            waiting.cancel();
        }
        // The reader may have read before.
        let _ = reader.join();
        assert!(acceptor.join().is_err());
        filler.cancel();
        assert!(filler.join().is_err());
        let late = UnixStream::connect_addr(&listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap();
        drop((late, client));
        assert!(io::copy(&mut &server, &mut io::sink()).unwrap() > 0);
    });
}

#[test]
fn streams_go_to_std_and_come_back() {
    both(|| {
        let (listener, client, mut server) = connection();
        let number = listener.as_raw_fd();
        let listener = listener.into_std().unwrap();
        assert_eq!(listener.as_raw_fd(), number);
        let listener = UnixListener::from(OwnedFd::from(UnixListener::from(listener)));
        let address = listener.local_addr().unwrap();

        let mut client: std::os::unix::net::UnixStream = client.try_into().unwrap();
        let later = thread::spawn(move || {
            thread::sleep(MOMENT);
            server.write_all(b"ab").map(|()| server)
        });
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        let client = UnixStream::from(OwnedFd::from(UnixStream::from(client)));
        // SAFETY: the descriptor is nobody else's.
        let mut client = unsafe { UnixStream::from_raw_fd(client.into_raw_fd()) };
        client.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"b");
        assert_eq!(client.as_fd().as_raw_fd(), client.as_raw_fd());
        later.join().unwrap().unwrap();
        let text = format!("{:?}", address);
        assert!(format!("{listener:?}").contains(&format!("local: {text}")));
        assert!(format!("{client:?}").contains(&format!("peer: {text}")));

        let clone = listener.try_clone().unwrap();
        let std: std::os::unix::net::UnixListener = listener.try_into().unwrap();
        assert_eq!(kind(std.accept()), ErrorKind::WouldBlock);
        drop(clone);
    });
}

#[test]
fn datagrams_arrive_with_their_sender() {
    both(|| {
        let (here, there) = (Place::new(), Place::new());
        let (one, two) = (UnixDatagram::bind(&here).unwrap(), UnixDatagram::bind(&there).unwrap());
        let mut buf = [0; 16];
        assert_eq!(one.send_to(b"hello", &there).unwrap(), 5);
        let (len, sender) = two.recv_from(&mut buf).unwrap();
        assert_eq!((&buf[..len], sender.as_pathname()), (&b"hello"[..], Some(here.as_ref())));
        two.send_to_addr(b"back", &sender).unwrap();
        assert_eq!(one.recv(&mut buf).unwrap(), 4);

        let named = UnixDatagram::bind_addr(&name()).unwrap();
        let unbound = UnixDatagram::unbound().unwrap();
        assert!(unbound.local_addr().unwrap().is_unnamed());
        unbound.send_to_addr(b"", &named.local_addr().unwrap()).unwrap();
        let (len, sender) = named.recv_from(&mut buf).unwrap();
        assert!(len == 0 && sender.is_unnamed());
        named.send_to(b"named", &here).unwrap();
        let (_, sender) = one.recv_from(&mut buf).unwrap();
        assert_eq!(sender.as_abstract_name(), named.local_addr().unwrap().as_abstract_name());
        assert_eq!(kind(unbound.send_to(b"x", Place::new())), ErrorKind::NotFound);
    });
}

#[test]
fn datagrams_of_a_pair() {
    both(|| {
        let (one, two) = UnixDatagram::pair().unwrap();
        one.send(b"too long").unwrap();
        one.send(b"end").unwrap();
        let mut buf = [0; 4];
        assert_eq!(two.recv(&mut buf).unwrap(), 4);
        assert_eq!(two.recv_from(&mut buf).unwrap().0, 3);
        assert_eq!(kind(UnixDatagram::unbound().unwrap().send(b"x")), ErrorKind::NotConnected);
        assert!(one.take_error().unwrap().is_none());
        one.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(kind(one.recv(&mut buf)), ErrorKind::WouldBlock);
        one.set_nonblocking(true).unwrap();
        assert_eq!(kind(one.recv_from(&mut buf)), ErrorKind::WouldBlock);
        two.shutdown(Shutdown::Write).unwrap();
        assert_eq!(kind(two.send(b"x")), ErrorKind::BrokenPipe);
        drop(two);
        assert!(one.send(b"x").is_err());
    });
}

#[test]
fn a_connected_datagram_socket_talks_to_its_peer_only() {
    both(|| {
        let address = name();
        let server = UnixDatagram::bind_addr(&address).unwrap();
        let place = Place::new();
        let client = UnixDatagram::bind(&place).unwrap();
        assert_eq!(kind(client.peer_addr()), ErrorKind::NotConnected);
        client.connect_addr(&address).unwrap();
        assert_eq!(client.peer_addr().unwrap().as_abstract_name(), address.as_abstract_name());
        client.send(b"x").unwrap();
        assert_eq!(server.recv(&mut [0; 8]).unwrap(), 1);
        server.connect(&place).unwrap();
        server.send(b"yz").unwrap();
        assert_eq!(client.recv(&mut [0; 8]).unwrap(), 2);
        let other = UnixDatagram::unbound().unwrap();
        assert_eq!(kind(other.send_to(b"x", &place)), ErrorKind::PermissionDenied);
        assert_eq!(kind(client.connect(Place::new())), ErrorKind::NotFound);
    });
}

/// More datagrams than the kernel queues: who sends waits, and all arrive in order.
#[test]
fn senders_wait_for_a_full_queue() {
    const COUNT: u32 = 2_000;
    both(|| {
        for connected in [true, false] {
            let address = name();
            let receiver = UnixDatagram::bind_addr(&address).unwrap();
            receiver.set_read_timeout(Some(LONG)).unwrap();
            let sender = sward::spawn(move || {
                let socket = UnixDatagram::unbound().unwrap();
                if connected {
                    socket.connect_addr(&address).unwrap();
                }
                for number in 0..COUNT {
                    let bytes = number.to_be_bytes();
                    let sent =
                        if connected { socket.send(&bytes) } else { socket.send_to_addr(&bytes, &address) };
                    assert_eq!(sent.unwrap(), 4);
                }
            });
            sward::sleep(MOMENT);
            for number in 0..COUNT {
                let mut bytes = [0; 4];
                assert_eq!(receiver.recv(&mut bytes).unwrap(), 4);
                assert_eq!(u32::from_be_bytes(bytes), number);
            }
            sender.join().unwrap();
        }
    });
}

#[test]
fn a_full_queue_ends_in_the_timeout() {
    both(|| {
        let address = name();
        let receiver = UnixDatagram::bind_addr(&address).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        while sender.send_to_addr(b"x", &address).is_ok() {}
        assert_eq!(kind(sender.send_to_addr(b"x", &address)), ErrorKind::WouldBlock);
        sender.set_nonblocking(false).unwrap();
        let limit = Duration::from_millis(30);
        sender.set_write_timeout(Some(limit)).unwrap();
        let start = Instant::now();
        assert_eq!(kind(sender.send_to_addr(b"x", &address)), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= limit);
        sender.connect_addr(&address).unwrap();
        assert_eq!(kind(sender.send(b"x")), ErrorKind::WouldBlock);
        receiver.recv(&mut [0; 8]).unwrap();
        assert_eq!(sender.send(b"x").unwrap(), 1);
    });
}

#[test]
fn close_and_cancel_end_the_waits_of_datagram_sockets() {
    in_runtime(|| {
        let address = name();
        let receiver = UnixDatagram::bind_addr(&address).unwrap();
        let (one, two) = (receiver.try_clone().unwrap(), receiver.try_clone().unwrap());
        let cancelled = sward::spawn({
            let receiver = receiver.try_clone().unwrap();
            move || receiver.recv(&mut [0; 8]).map(drop)
        });
        sward::sleep(MOMENT);
        cancelled.cancel();
        assert!(cancelled.join().is_err());
        let parked = sward::spawn(move || one.recv(&mut [0]).map(drop));
        let blocked = thread::spawn(move || two.recv_from(&mut [0]));
        sward::sleep(MOMENT);
        receiver.close().unwrap();
        assert_eq!(kind(parked.join().unwrap()), ErrorKind::NotConnected);
        assert_eq!(kind(blocked.join().unwrap()), ErrorKind::NotConnected);
        assert_eq!(kind(receiver.send_to_addr(b"x", &address)), ErrorKind::NotConnected);
        drop(receiver);

        // Senders to a full queue, the one connected, the other not.
        let receiver = UnixDatagram::bind_addr(&address).unwrap();
        for connected in [true, false] {
            let sender = UnixDatagram::unbound().unwrap();
            if connected {
                sender.connect_addr(&address).unwrap();
            }
            let fill = |socket: UnixDatagram, address: SocketAddr| {
                move || loop {
                    let sent =
                        if connected { socket.send(b"x") } else { socket.send_to_addr(b"x", &address) };
                    if let Err(error) = sent {
                        break error.kind();
                    }
                }
            };
            let cancelled = sward::spawn(fill(sender.try_clone().unwrap(), address.clone()));
            let closed = sward::spawn(fill(sender.try_clone().unwrap(), address.clone()));
            sward::sleep(MOMENT);
            cancelled.cancel();
            assert!(cancelled.join().is_err());
            sender.close().unwrap();
            assert_eq!(closed.join().unwrap(), ErrorKind::NotConnected);
        }
        assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 1);
    });
}

#[test]
fn datagram_sockets_go_to_std_and_come_back() {
    both(|| {
        let (one, two) = UnixDatagram::pair().unwrap();
        two.set_read_timeout(Some(LONG)).unwrap();
        let two: std::os::unix::net::UnixDatagram = two.try_into().unwrap();
        assert_eq!(two.read_timeout().unwrap(), Some(LONG));
        let later = thread::spawn(move || {
            thread::sleep(MOMENT);
            one.send(b"x").map(|_| one)
        });
        assert_eq!(two.recv(&mut [0]).unwrap(), 1);
        let one = later.join().unwrap().unwrap();
        let two = UnixDatagram::from(OwnedFd::from(UnixDatagram::from(two)));
        // SAFETY: the descriptor is nobody else's.
        let two = unsafe { UnixDatagram::from_raw_fd(two.into_raw_fd()) };
        assert_eq!(two.read_timeout().unwrap(), Some(LONG));
        one.send(b"x").unwrap();
        assert_eq!(two.recv(&mut [0]).unwrap(), 1);
        assert!(format!("{two:?}").starts_with("UnixDatagram { local: (unnamed), peer: (unnamed), fd: "));
    });
}

#[test]
fn ten_thousand_datagrams_are_echoed() {
    const COUNT: u32 = 10_000;
    in_runtime(|| {
        let (one, two) = UnixDatagram::pair().unwrap();
        let echo = sward::spawn(move || {
            let mut buf = [0; 8];
            for _ in 0..COUNT {
                let len = two.recv(&mut buf).unwrap();
                two.send(&buf[..len]).unwrap();
            }
        });
        let sending = one.try_clone().unwrap();
        let sender = sward::spawn(move || {
            for number in 0..COUNT {
                sending.send(&number.to_be_bytes()).unwrap();
            }
        });
        for number in 0..COUNT {
            let mut back = [0; 8];
            assert_eq!(one.recv(&mut back).unwrap(), 4);
            assert_eq!(back[..4], number.to_be_bytes());
        }
        sender.join().unwrap();
        echo.join().unwrap();
    });
}

#[test]
fn plain_threads_use_sockets_without_a_runtime() {
    let place = Place::new();
    let listener = UnixListener::bind(&place).unwrap();
    let server = thread::spawn(move || {
        for stream in listener.incoming().take(4) {
            let stream = stream.unwrap();
            io::copy(&mut &stream, &mut &stream).unwrap();
        }
    });
    for _ in 0..4 {
        let mut client = UnixStream::connect(&place).unwrap();
        client.write_all(b"echo").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(io::read_to_string(client).unwrap(), "echo");
    }
    server.join().unwrap();
}
