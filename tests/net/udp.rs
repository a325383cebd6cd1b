//! `UdpSocket`.

use crate::common::{LONG, MOMENT, both, in_runtime, kind, turns, uninterrupted};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use sward::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    socket.set_read_timeout(Some(LONG)).expect("set");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

/// Two sockets that are connected to each other.
fn pair() -> (UdpSocket, UdpSocket) {
    let ((one, first), (two, second)) = (socket(), socket());
    one.connect(second).expect("connected");
    two.connect(first).expect("connected");
    (one, two)
}

/// A socket for IPv6; without IPv6, says why the test is skipped.
fn v6() -> Option<UdpSocket> {
    let socket = UdpSocket::bind("[::1]:0");
    socket.map_err(|error| eprintln!("skipped: no IPv6 here: {error}")).ok()
}

#[test]
fn a_socket_has_the_auto_traits_of_std() {
    fn check<T: Send + Sync + Unpin + std::fmt::Debug + UnwindSafe + RefUnwindSafe>() {}
    check::<UdpSocket>();
}

#[test]
fn binding_fails_as_in_std() {
    both(|| {
        let (_first, taken) = socket();
        assert_eq!(kind(UdpSocket::bind(taken)), ErrorKind::AddrInUse);
        assert_eq!(kind(UdpSocket::bind("1.1.1.1:9999")), ErrorKind::AddrNotAvailable);
        assert_eq!(kind(UdpSocket::bind(&[][..])), ErrorKind::InvalidInput);
        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let second = UdpSocket::bind(&[taken, free][..]).expect("the second address");
        assert_ne!(second.local_addr().unwrap(), taken);
    });
}

#[test]
fn datagrams_arrive_with_their_sender() {
    both(|| {
        let ((one, first), (two, second)) = (socket(), socket());
        let mut buf = [0; 16];
        assert_eq!(one.send_to(b"hello", second).unwrap(), 5);
        assert_eq!(two.recv_from(&mut buf).unwrap(), (5, first));
        assert_eq!(&buf[..5], b"hello");
        // A send to several addresses goes to the first.
        assert_eq!(two.send_to(b"back", &[first, second][..]).unwrap(), 4);
        assert_eq!(one.recv_from(&mut buf).unwrap(), (4, second));
        assert_eq!(one.send_to(b"x", ("127.0.0.1", second.port())).unwrap(), 1);
        let nothing: &[SocketAddr] = &[];
        let std = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", nothing).unwrap_err();
        let ours = one.send_to(b"x", nothing).unwrap_err();
        assert_eq!((ours.kind(), ours.to_string()), (std.kind(), std.to_string()));
    });
}

#[test]
fn datagrams_go_over_ipv6() {
    both(|| {
        let (Some(one), Some(two)) = (v6(), v6()) else { return };
        two.set_read_timeout(Some(LONG)).unwrap();
        one.send_to(b"six", two.local_addr().unwrap()).unwrap();
        let mut buf = [0; 16];
        assert_eq!(two.recv_from(&mut buf).unwrap(), (3, one.local_addr().unwrap()));
        for on in [false, true] {
            one.set_multicast_loop_v6(on).unwrap();
            assert_eq!(one.multicast_loop_v6().unwrap(), on);
        }
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x1234);
        match one.join_multicast_v6(&group, 0) {
            Ok(()) => one.leave_multicast_v6(&group, 0).unwrap(),
            Err(error) => eprintln!("skipped: no interface for multicast: {error}"),
        }
        assert!(one.leave_multicast_v6(&group, 0).is_err());
        assert!(one.join_multicast_v6(&Ipv6Addr::LOCALHOST, 0).is_err());
    });
}

#[test]
fn a_connected_socket_receives_from_its_peer_only() {
    both(|| {
        let ((one, first), (two, second), (other, _)) = (socket(), socket(), socket());
        assert_eq!(kind(one.peer_addr()), ErrorKind::NotConnected);
        assert!(one.send(b"x").is_err());
        assert_eq!(kind(one.connect(&[][..])), ErrorKind::InvalidInput);
        one.connect(second).unwrap();
        assert_eq!(one.peer_addr().unwrap(), second);
        other.send_to(b"other", first).unwrap();
        two.send_to(b"two", first).unwrap();
        let mut buf = [0; 16];
        assert_eq!(one.recv(&mut buf).unwrap(), 3);
        assert_eq!(one.send(b"back").unwrap(), 4);
        assert_eq!(two.recv_from(&mut buf).unwrap(), (4, first));
    });
}

#[test]
fn peeked_bytes_stay() {
    both(|| {
        let (one, two) = pair();
        one.send(b"first").unwrap();
        one.send(b"second").unwrap();
        let mut buf = [0; 16];
        for _ in 0..3 {
            assert_eq!(two.peek(&mut buf).unwrap(), 5);
            assert_eq!(two.peek_from(&mut buf).unwrap(), (5, one.local_addr().unwrap()));
        }
        assert_eq!(two.recv(&mut buf).unwrap(), 5);
        assert_eq!(two.peek(&mut buf[..2]).unwrap(), 2);
        assert_eq!(two.recv(&mut buf).unwrap(), 6);
        assert_eq!(&buf[..6], b"second");
        two.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(kind(two.peek(&mut buf)), ErrorKind::WouldBlock);
        assert_eq!(kind(two.peek_from(&mut buf)), ErrorKind::WouldBlock);
    });
}

/// A datagram may be empty, and still arrives. Bytes that do not fit into the buffer are lost.
#[test]
fn lengths_are_kept() {
    both(|| {
        let (one, two) = pair();
        let mut buf = [0; 4];
        assert_eq!(one.send(b"").unwrap(), 0);
        one.send(b"too long").unwrap();
        one.send(b"unread").unwrap();
        one.send(b"end").unwrap();
        assert_eq!(two.recv(&mut buf).unwrap(), 0);
        assert_eq!(two.recv(&mut buf).unwrap(), 4);
        assert_eq!(two.recv(&mut []).unwrap(), 0);
        assert_eq!(two.recv(&mut buf).unwrap(), 3);
        assert_eq!(&buf[..3], b"end");
        assert!(one.send(&vec![0; 70_000]).is_err());
    });
}

#[test]
fn timeouts_are_kept_and_shared() {
    both(|| {
        let one = UdpSocket::bind("127.0.0.1:0").unwrap();
        let clone = one.try_clone().unwrap();
        assert_eq!((one.read_timeout().unwrap(), one.write_timeout().unwrap()), (None, None));
        one.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        clone.set_write_timeout(Some(LONG)).unwrap();
        assert_eq!(clone.read_timeout().unwrap(), Some(Duration::from_millis(5)));
        assert_eq!(one.write_timeout().unwrap(), Some(LONG));
        assert_eq!(kind(one.set_read_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
        assert_eq!(kind(one.set_write_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
        let std = one.into_std().unwrap();
        assert_eq!(std.write_timeout().unwrap(), Some(LONG));
        assert_eq!(UdpSocket::from(std).write_timeout().unwrap(), Some(LONG));
    });
}

#[test]
fn a_timeout_ends_a_receive() {
    both(|| {
        let (one, two) = pair();
        let limit = Duration::from_millis(30);
        two.set_read_timeout(Some(limit)).unwrap();
        let start = Instant::now();
        assert_eq!(kind(two.recv(&mut [0])), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= limit);
        assert_eq!(kind(two.recv_from(&mut [0])), ErrorKind::WouldBlock);
        two.set_read_timeout(Some(LONG)).unwrap();
        one.send(b"x").unwrap();
        assert_eq!(two.recv(&mut [0]).unwrap(), 1);
    });
}

#[test]
fn options_are_kept() {
    both(|| {
        let (one, _) = socket();
        for on in [true, false] {
            one.set_broadcast(on).unwrap();
            assert_eq!(one.broadcast().unwrap(), on);
            one.set_multicast_loop_v4(on).unwrap();
            assert_eq!(one.multicast_loop_v4().unwrap(), on);
        }
        one.set_ttl(100).unwrap();
        assert_eq!(one.ttl().unwrap(), 100);
        one.set_multicast_ttl_v4(3).unwrap();
        assert_eq!(one.multicast_ttl_v4().unwrap(), 3);
        assert!(one.take_error().unwrap().is_none());
        let broadcast: SocketAddr = "255.255.255.255:9".parse().unwrap();
        assert_eq!(kind(one.send_to(b"x", broadcast)), ErrorKind::PermissionDenied);
    });
}

#[test]
fn options_of_ipv6_are_kept() {
    both(|| {
        let Some(socket) = v6() else { return };
        for on in [true, false] {
            socket.set_multicast_loop_v6(on).unwrap();
            assert_eq!(socket.multicast_loop_v6().unwrap(), on);
        }
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x123);
        assert!(socket.leave_multicast_v6(&group, 0).is_err(), "not joined");
        // No interface of this machine may have multicast.
        if socket.join_multicast_v6(&group, 0).is_ok() {
            socket.leave_multicast_v6(&group, 0).unwrap();
        }
        assert!(socket.join_multicast_v6(&Ipv6Addr::LOCALHOST, 0).is_err(), "not a group");
        let (v4, _) = self::socket();
        assert!(v4.set_multicast_loop_v6(true).is_err());
    });
}

#[test]
fn a_group_is_joined_and_left() {
    both(|| {
        let group = Ipv4Addr::new(239, 255, 77, 78);
        let member = UdpSocket::bind("0.0.0.0:0").unwrap();
        let to = SocketAddr::from((group, member.local_addr().unwrap().port()));
        member.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
        assert_eq!(kind(member.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)), ErrorKind::AddrInUse);
        // From a socket on the loopback interface, so that it goes there.
        let (sender, address) = socket();
        member.set_read_timeout(Some(LONG)).unwrap();
        sender.send_to(b"all", to).unwrap();
        assert_eq!(member.recv_from(&mut [0; 8]).unwrap(), (3, address));
        member.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
        assert!(member.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST).is_err());
        assert!(member.join_multicast_v4(&Ipv4Addr::LOCALHOST, &Ipv4Addr::LOCALHOST).is_err());
    });
}

#[test]
fn a_missing_receiver_is_reported() {
    both(|| {
        let (one, two) = pair();
        drop(two);
        // A waiter gets the error, although it came after the send.
        one.send(b"x").unwrap();
        assert_eq!(kind(one.recv(&mut [0])), ErrorKind::ConnectionRefused);
        one.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(kind(one.recv(&mut [0])), ErrorKind::WouldBlock);
        one.send(b"x").unwrap();
        let start = Instant::now();
        while one.take_error().unwrap().is_none() {
            assert!(start.elapsed() < LONG, "no error has come");
            sward::sleep(Duration::from_millis(1));
        }
        assert!(one.take_error().unwrap().is_none());
    });
}

#[test]
fn non_blocking_calls_fail_instead_of_waiting() {
    both(|| {
        let (one, two) = pair();
        two.set_nonblocking(true).unwrap();
        assert_eq!(kind(two.recv(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(kind(two.try_clone().unwrap().peek_from(&mut [0])), ErrorKind::WouldBlock);
        two.set_nonblocking(false).unwrap();
        one.send(b"x").unwrap();
        assert_eq!(two.recv(&mut [0]).unwrap(), 1);
    });
}

/// A socket sends a lot, and receives through a clone meanwhile.
#[test]
fn clones_send_and_receive_at_once() {
    both(|| {
        let ((one, first), (two, _)) = (socket(), socket());
        one.connect(two.local_addr().unwrap()).unwrap();
        let clone = one.try_clone().unwrap();
        let receiver = sward::spawn(move || {
            let mut buf = [0; 8];
            for _ in 0..100 {
                clone.recv(&mut buf).unwrap();
            }
        });
        let echo = sward::spawn(move || {
            for _ in 0..100 {
                let (len, from) = two.recv_from(&mut [0; 8]).unwrap();
                assert_eq!(from, first);
                two.send_to(&[7; 8][..len], from).unwrap();
            }
        });
        for _ in 0..100 {
            one.send(&[7; 4]).unwrap();
            sward::yield_now();
        }
        echo.join().unwrap();
        receiver.join().unwrap();
    });
}

#[test]
fn receivers_of_one_socket_all_make_progress() {
    in_runtime(|| {
        let (one, two) = pair();
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                let two = two.try_clone().unwrap();
                sward::spawn(move || (0..3).map(|_| two.recv(&mut [0; 8]).unwrap()).sum::<usize>())
            })
            .collect();
        for _ in 0..12 {
            one.send(b"x").unwrap();
            sward::sleep(Duration::from_millis(1));
        }
        for receiver in receivers {
            assert_eq!(receiver.join().unwrap(), 3);
        }
    });
}

#[test]
fn close_wakes_receivers() {
    in_runtime(|| {
        for connected in [false, true] {
            let (socket, address) = socket();
            if connected {
                socket.connect(address).unwrap();
            }
            let (one, two) = (socket.try_clone().unwrap(), socket.try_clone().unwrap());
            let parked = sward::spawn(move || one.recv(&mut [0]));
            let blocked = thread::spawn(move || two.recv_from(&mut [0]));
            sward::sleep(MOMENT);
            socket.close().unwrap();
            assert_eq!(kind(parked.join().unwrap()), ErrorKind::NotConnected);
            assert_eq!(kind(blocked.join().unwrap()), ErrorKind::NotConnected);
            assert_eq!(kind(socket.recv(&mut [0])), ErrorKind::NotConnected);
            assert_eq!(kind(socket.send_to(b"x", address)), ErrorKind::NotConnected);
            socket.close().unwrap();
        }
    });
}

#[test]
fn a_cancelled_receiver_loses_nothing() {
    in_runtime(|| {
        let (one, two) = pair();
        let clone = two.try_clone().unwrap();
        let receiver = sward::spawn(move || clone.recv(&mut [0; 8]).map(drop));
        sward::sleep(MOMENT);
        receiver.cancel();
        assert!(receiver.join().is_err());
        one.send(b"kept").unwrap();
        let mut buf = [0; 8];
        assert_eq!(two.recv(&mut buf).unwrap(), 4);
        assert_eq!(&buf[..4], b"kept");
    });
}

#[test]
fn sockets_go_to_std_and_come_back() {
    both(|| {
        let (one, two) = pair();
        let number = two.as_raw_fd();
        let two = two.into_std().unwrap();
        assert_eq!(two.as_raw_fd(), number);
        // The std socket blocks, as the datagram comes later.
        let later = thread::spawn(move || {
            thread::sleep(MOMENT);
            one.send(b"x").map(|_| one)
        });
        assert_eq!(uninterrupted(|| two.recv(&mut [0])).unwrap(), 1);
        let one = later.join().unwrap().unwrap();
        let two = UdpSocket::from(OwnedFd::from(UdpSocket::from(two)));
        // SAFETY: the descriptor has no other owner.
        let two = unsafe { UdpSocket::from_raw_fd(two.into_raw_fd()) };
        one.send(b"x").unwrap();
        assert_eq!(two.recv(&mut [0]).unwrap(), 1);
        assert_eq!(two.as_fd().as_raw_fd(), two.as_raw_fd());
        let address = two.local_addr().unwrap();
        assert!(format!("{two:?}").contains(&format!("addr: {address}")));
        let two: std::net::UdpSocket = two.try_into().unwrap();
        assert_eq!(two.local_addr().unwrap(), address);
    });
}

#[test]
fn a_thread_and_a_coroutine_talk() {
    let (one, two) = pair();
    let thread = thread::spawn(move || {
        let mut buf = [0; 8];
        for _ in 0..100 {
            let len = two.recv(&mut buf).unwrap();
            two.send(&buf[..len]).unwrap();
        }
    });
    in_runtime(|| {
        let mut byte = [0];
        for number in 0..100 {
            one.send(&[number]).unwrap();
            assert_eq!(one.recv(&mut byte).unwrap(), 1);
            assert_eq!(byte[0], number);
        }
    });
    thread.join().unwrap();
}

/// No more datagrams are in flight at once than the kernel queues, so none is dropped.
#[test]
fn ten_thousand_datagrams_are_echoed() {
    const CLIENTS: u32 = 8;
    const WINDOW: u32 = 10;
    const EACH: u32 = 10_000 / CLIENTS / WINDOW;
    in_runtime(|| {
        let (server, address) = socket();
        let stop = server.try_clone().unwrap();
        let echo = sward::spawn(move || {
            let (mut buf, mut count) = ([0; 64], 0);
            while let Ok((len, from)) = server.recv_from(&mut buf) {
                assert_eq!(server.send_to(&buf[..len], from).unwrap(), len);
                count += 1;
            }
            count
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                sward::spawn(move || {
                    let (socket, _) = socket();
                    socket.connect(address).unwrap();
                    for round in 0..EACH {
                        let id = |i| u64::from(client) << 32 | u64::from(round * WINDOW + i);
                        for i in 0..WINDOW {
                            socket.send(&id(i).to_be_bytes()).unwrap();
                        }
                        for i in 0..WINDOW {
                            let mut back = [0; 64];
                            assert_eq!(socket.recv(&mut back).unwrap(), 8);
                            assert_eq!(back[..8], id(i).to_be_bytes());
                        }
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        stop.close().unwrap();
        assert_eq!(echo.join().unwrap(), 10_000);
    });
}

/// No thundering herd: a datagram wakes the first waiter only. That one wakes the next, which finds no
/// further datagram.
#[test]
fn a_datagram_wakes_one_of_many_receivers() {
    // There a readiness may be set for good, as urgent data is not reported, and wakes all waiters.
    if cfg!(sward_libkqueue) || !cfg!(target_os = "linux") {
        println!("skipped: on kqueue a readiness wakes all waiters");
        return;
    }
    const RECEIVERS: u64 = 500;
    const DATAGRAMS: u64 = 200;
    in_runtime(|| {
        let (socket, address) = socket();
        let socket = Arc::new(socket);
        let (tell, told) = sward::channel::bounded(1);
        let receivers: Vec<_> = (0..RECEIVERS)
            .map(|_| {
                let (socket, tell) = (socket.clone(), tell.clone());
                sward::spawn(move || {
                    while socket.recv(&mut [0; 8]).is_ok() {
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
                now if now < before + RECEIVERS / 50 => break,
                now => before = now,
            }
        }
        let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let before = turns();
        for _ in 0..DATAGRAMS {
            sender.send_to(b"x", address).expect("sent");
            told.recv().expect("received");
        }
        let turns = turns() - before;
        socket.close().expect("closed");
        receivers.into_iter().for_each(|receiver| receiver.join().expect("no panic"));
        assert!(turns < 20 * DATAGRAMS, "{turns} turns for {DATAGRAMS} datagrams");
    });
}

/// Many receivers of one socket time out, are cancelled and come back while datagrams arrive. Each datagram
/// is received:
/// if the wake-up for one were lost, the sender would wait for ever.
#[test]
fn receivers_that_leave_lose_no_datagram() {
    const RECEIVERS: u64 = 200;
    const DATAGRAMS: usize = 3_000;
    /// Few enough for the buffer of the socket.
    const ON_THE_WAY: usize = 64;
    let received = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    in_runtime(|| {
        let (socket, address) = socket();
        let socket = Arc::new(socket);
        let receive = |seed: u64| {
            let (socket, received, over) = (socket.clone(), received.clone(), over.clone());
            move || {
                let mut buf = [0; 8];
                for turn in 0.. {
                    let limit = Duration::from_micros((seed * 7_919 + turn * 104_729) % 4_000);
                    match sward::time::timeout(limit, || socket.recv(&mut buf)) {
                        Ok(got) if got.is_ok() => _ = received.fetch_add(1, Ordering::Relaxed),
                        _ if over.load(Ordering::Relaxed) => return,
                        _ => {}
                    }
                }
            }
        };
        let mut receivers: Vec<_> = (0..RECEIVERS).map(|seed| sward::spawn(receive(seed))).collect();
        let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let wait_for = |count: usize| {
            while received.load(Ordering::Relaxed) < count {
                sward::sleep(Duration::from_micros(50));
            }
        };
        for sent in 1..=DATAGRAMS {
            sender.send_to(b"x", address).expect("sent");
            if sent % 16 == 0 {
                // Another receiver in its place.
                let place = sent / 16 % receivers.len();
                receivers[place].cancel();
                receivers[place] = sward::spawn(receive(sent as u64));
            }
            wait_for(if sent % 50 == 0 { sent } else { sent.saturating_sub(ON_THE_WAY) });
        }
        wait_for(DATAGRAMS);
        over.store(true, Ordering::Relaxed);
        receivers.into_iter().for_each(|receiver| receiver.join().expect("no panic"));
    });
    assert_eq!(received.load(Ordering::Relaxed), DATAGRAMS);
}

/// Again and again, one of two receivers is cancelled just as a datagram arrives. Either it has received the
/// datagram, or the other one does.
#[test]
fn a_cancelled_receiver_passes_the_wake_up_on() {
    in_runtime(|| {
        let (socket, address) = socket();
        let socket = Arc::new(socket);
        let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let receive = || {
            let socket = socket.clone();
            sward::spawn(move || socket.recv(&mut [0; 8]).expect("a datagram"))
        };
        for _ in 0..300 {
            let (first, second) = (receive(), receive());
            sward::yield_now();
            sender.send_to(b"x", address).expect("sent");
            first.cancel();
            if first.join().is_ok() {
                sender.send_to(b"x", address).expect("sent");
            }
            assert_eq!(second.join().expect("no panic"), 1);
        }
    });
}
