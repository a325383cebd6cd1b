//! `TcpSocket`: options before a connection is made.

use crate::common::{LONG, both, kind, listen};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};
use sward::net::{SocketAddr, TcpListener, TcpSocket, TcpStream};

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
        // Its drop resets the connection, as set above.
        drop(client);
        assert_eq!(kind(server.read(&mut [0])), ErrorKind::ConnectionReset);
    });
}

#[test]
fn sockets_share_a_port_if_all_allow_it() {
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
