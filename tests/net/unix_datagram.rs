//! `UnixDatagram`.

use crate::common::{LONG, MOMENT, both, in_runtime, kind, uninterrupted};
use crate::unix_stream::{SocketPath, name};
use std::io::ErrorKind;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::thread;
use std::time::{Duration, Instant};
use sward::net::unix::SocketAddr;
use sward::net::{Shutdown, UnixDatagram};

#[test]
fn datagrams_arrive_with_their_sender() {
    both(|| {
        let (here, there) = (SocketPath::new(), SocketPath::new());
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
        assert_eq!(kind(unbound.send_to(b"x", SocketPath::new())), ErrorKind::NotFound);
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
        let place = SocketPath::new();
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
        assert_eq!(kind(client.connect(SocketPath::new())), ErrorKind::NotFound);
    });
}

/// More datagrams than the kernel queues: senders wait, and all arrive in order.
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

        // Two senders to a full queue. One is connected, and the other is not. The address is a new one: a
        // child of another test has the old socket until it calls `exec`.
        let address = name();
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
        assert_eq!(uninterrupted(|| two.recv(&mut [0])).unwrap(), 1);
        let one = later.join().unwrap().unwrap();
        let two = UnixDatagram::from(OwnedFd::from(UnixDatagram::from(two)));
        // SAFETY: the descriptor has no other owner.
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
