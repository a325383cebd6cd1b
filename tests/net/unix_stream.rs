//! `UnixListener` and `UnixStream`.

use crate::common::{LONG, MOMENT, both, in_runtime, kind, pattern, temporary_path};
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

/// A path for a socket. Its drop removes the file.
pub(crate) struct SocketPath(PathBuf);

impl SocketPath {
    pub(crate) fn new() -> SocketPath {
        SocketPath(temporary_path())
    }
}

impl AsRef<Path> for SocketPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An abstract address, which is in no file system.
pub(crate) fn name() -> SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from_abstract_name(format!("sward-unix-{}-{number}", std::process::id())).expect("short")
}

/// A listener and a client that is connected to it.
pub(crate) fn connection() -> (UnixListener, UnixStream, UnixStream) {
    let listener = UnixListener::bind_addr(&name()).expect("bound");
    let client = UnixStream::connect_addr(&listener.local_addr().expect("an address")).expect("connected");
    let (server, _) = listener.accept().expect("accepted");
    (listener, client, server)
}

#[test]
fn sockets_have_the_auto_traits_of_std() {
    fn check<T: Send + Sync + Unpin + std::fmt::Debug + UnwindSafe + RefUnwindSafe>() {}
    check::<UnixStream>();
    check::<UnixListener>();
    check::<UnixDatagram>();
    check::<sward::net::unix::Incoming<'static>>();
}

#[test]
fn streams_meet_at_a_path() {
    both(|| {
        let place = SocketPath::new();
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
        let place = SocketPath::new();
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
pub(crate) fn connections_come_as_an_iterator() {
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

/// The kernel reports no event for a queue that has room again.
#[test]
fn connecting_waits_for_a_full_queue() {
    both(|| {
        let address = name();
        let listener = UnixListener::bind_addr(&address).unwrap();
        // SAFETY: the call takes no pointers.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let (connects, connected) = sward::channel::unbounded();
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (address, connects) = (address.clone(), connects.clone());
                sward::spawn(move || {
                    let mut client = UnixStream::connect_addr(&address).unwrap();
                    connects.send(()).unwrap();
                    client.write_all(b"x")
                })
            })
            .collect();
        // There is room for one.
        connected.recv().unwrap();
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
            let bytes = pattern(TOTAL);
            writing.write_all(&bytes)?;
            writing.shutdown(Shutdown::Write)
        });
        let mut back = Vec::new();
        (&one).read_to_end(&mut back).unwrap();
        assert!(back == pattern(TOTAL));
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

/// A read stops short behind bytes that came with a descriptor, and there may be more.
#[test]
fn a_passed_descriptor_does_not_hide_the_bytes_behind_it() {
    both(|| {
        let (mut one, mut two) = UnixStream::pair().unwrap();
        two.set_read_timeout(Some(LONG)).unwrap();
        // Parks, so that the socket is registered at its poller.
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

/// The file of an accepted socket is in blocking mode, and so is one that std has made. The calls do not
/// block nevertheless.
#[test]
fn the_mode_of_the_file_does_not_matter() {
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
fn close_wakes_all_waiters() {
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
        // The reader may have read already.
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
        // SAFETY: the descriptor has no other owner.
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
fn plain_threads_use_sockets_without_a_runtime() {
    let place = SocketPath::new();
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
