//! A UDP socket. The transfers are in `transfer`.

use super::addr::RawAddr;
use super::macros::{conversions, transfer_methods};
use super::resolve::{ToSocketAddrs, each_address};
use super::socket::{self, Short, Socket, describe};
use super::sys::{self, MulticastV4};
use super::transfer::Take;
use super::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

/// A UDP socket; [`std::net::UdpSocket`] for coroutines.
///
/// A call that would block parks the calling coroutine; on a plain thread it blocks the thread. Any
/// number of coroutines and threads may send and receive at once. The socket is closed when its last clone
/// is dropped.
///
/// A datagram that is longer than the buffer is cut off, and the rest of it is lost, as with std.
///
/// # Examples
///
/// ```
/// use sward::net::UdpSocket;
///
/// sward::run(|| {
///     let server = UdpSocket::bind("127.0.0.1:0")?;
///     let address = server.local_addr()?;
///     sward::spawn(move || {
///         let mut buf = [0; 1500];
///         loop {
///             let (len, sender) = server.recv_from(&mut buf)?;
///             server.send_to(&buf[..len], sender)?;
///         }
///         # #[allow(unreachable_code)]
///         Ok::<_, std::io::Error>(())
///     });
///
///     let socket = UdpSocket::bind("127.0.0.1:0")?;
///     socket.connect(address)?;
///     socket.send(b"hello")?;
///     let mut echo = [0; 8];
///     assert_eq!(socket.recv(&mut echo)?, 5);
///     assert_eq!(&echo[..5], b"hello");
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct UdpSocket {
    socket: Arc<Socket>,
}

impl UdpSocket {
    /// Binds to the first of the addresses that can be had. Port 0 asks for any free port, which
    /// [`local_addr`](Self::local_addr) tells.
    ///
    /// Parks while names are looked up ([`ToSocketAddrs`]).
    ///
    /// # Errors
    ///
    /// The last address's error, such as `AddrInUse`; `InvalidInput` if there is no address.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let taken = UdpSocket::bind(socket.local_addr()?).unwrap_err();
    /// assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<UdpSocket> {
        each_address(addr, |address| {
            let raw = RawAddr::from(address);
            let fd = sys::socket(raw.family(), libc::SOCK_DGRAM)?;
            socket::bind(fd.as_fd(), &raw)?;
            Ok(UdpSocket { socket: Socket::new(fd, Short::Nothing) })
        })
    }

    fn adopt(fd: OwnedFd) -> UdpSocket {
        UdpSocket { socket: Socket::adopt(fd, Short::Nothing) }
    }

    /// Receives a datagram, and tells who has sent it. Parks until there is one.
    ///
    /// # Errors
    ///
    /// As std's. `WouldBlock` after the timeout, and in non-blocking mode; `NotConnected` after
    /// [`close`](Self::close). Once the runtime has shut down, a call that would have to wait fails.
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds; no datagram is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// sward::run(|| {
    ///     let socket = UdpSocket::bind("127.0.0.1:0")?;
    ///     let peer = UdpSocket::bind("127.0.0.1:0")?;
    ///     peer.send_to(b"hello", socket.local_addr()?)?;
    ///     let mut buf = [0; 8];
    ///     assert_eq!(socket.recv_from(&mut buf)?, (5, peer.local_addr()?));
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, sender) = self.socket.receive_from(buf, Take::Yes)?;
        Ok((len, SocketAddr::try_from(&sender)?))
    }

    /// As [`recv_from`](Self::recv_from), but the datagram stays and is received again by the next call.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds; no datagram is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// sward::run(|| {
    ///     let socket = UdpSocket::bind("127.0.0.1:0")?;
    ///     let peer = UdpSocket::bind("127.0.0.1:0")?;
    ///     peer.send_to(b"hello", socket.local_addr()?)?;
    ///     let mut buf = [0; 8];
    ///     assert_eq!(socket.peek_from(&mut buf)?.0, 5);
    ///     assert_eq!(socket.recv_from(&mut buf)?.0, 5);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, sender) = self.socket.receive_from(buf, Take::No)?;
        Ok((len, SocketAddr::try_from(&sender)?))
    }

    /// Sends a datagram to the first of the addresses. Parks while names are looked up, and while the
    /// socket's buffer is full.
    ///
    /// # Errors
    ///
    /// As std's: `InvalidInput` if there is no address, `PermissionDenied` for a broadcast that was not
    /// allowed. `WouldBlock` after the timeout, and in non-blocking mode; `NotConnected` after
    /// [`close`](Self::close).
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds; the datagram was not sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// sward::run(|| {
    ///     let socket = UdpSocket::bind("127.0.0.1:0")?;
    ///     let peer = UdpSocket::bind("127.0.0.1:0")?;
    ///     assert_eq!(socket.send_to(b"hello", peer.local_addr()?)?, 5);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        match addr.to_socket_addrs()?.next() {
            Some(address) => self.socket.send_datagram(buf, Some(&RawAddr::from(&address))),
            None => Err(no_address()),
        }
    }

    /// The address it is connected to. Does not park.
    ///
    /// # Errors
    ///
    /// `NotConnected` if it is not.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// assert!(socket.peer_addr().is_err());
    /// socket.connect(peer.local_addr()?)?;
    /// assert_eq!(socket.peer_addr()?, peer.local_addr()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// The address it is bound to. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockname(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// assert_ne!(socket.local_addr()?.port(), 0);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Connects to the first of the addresses that can be had: [`send`](Self::send) sends there, and
    /// datagrams from elsewhere are not received.
    ///
    /// Parks while names are looked up ([`ToSocketAddrs`]).
    ///
    /// # Errors
    ///
    /// The last address's error; `InvalidInput` if there is no address.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.connect(peer.local_addr()?)?;
    /// socket.send(b"hello")?;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        each_address(addr, |address| socket::connect(self.as_raw_fd(), &RawAddr::from(address)))
    }

    /// Sends a datagram to the address it is connected to. Parks while the socket's buffer is full.
    ///
    /// # Errors
    ///
    /// As std's: `ConnectionRefused` if an earlier datagram has met no socket. `WouldBlock` after the
    /// timeout, and in non-blocking mode; `NotConnected` after [`close`](Self::close).
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds; the datagram was not sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// sward::run(|| {
    ///     let socket = UdpSocket::bind("127.0.0.1:0")?;
    ///     let peer = UdpSocket::bind("127.0.0.1:0")?;
    ///     socket.connect(peer.local_addr()?)?;
    ///     assert_eq!(socket.send(b"hello")?, 5);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.send_datagram(buf, None)
    }

    /// Receives a datagram from the address it is connected to, or from anyone. Parks until there is one.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from), and `ConnectionRefused` if a datagram it has sent has met no
    /// socket.
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds; no datagram is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// sward::run(|| {
    ///     let socket = UdpSocket::bind("127.0.0.1:0")?;
    ///     let peer = UdpSocket::bind("127.0.0.1:0")?;
    ///     peer.connect(socket.local_addr()?)?;
    ///     peer.send(b"hello")?;
    ///     let mut buf = [0; 8];
    ///     assert_eq!(socket.recv(&mut buf)?, 5);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.receive_datagram(buf, Take::Yes)
    }

    /// As [`recv`](Self::recv), but the datagram stays and is received again by the next call.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds; no datagram is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// sward::run(|| {
    ///     let socket = UdpSocket::bind("127.0.0.1:0")?;
    ///     let peer = UdpSocket::bind("127.0.0.1:0")?;
    ///     peer.send_to(b"hello", socket.local_addr()?)?;
    ///     let mut buf = [0; 8];
    ///     assert_eq!(socket.peek(&mut buf)?, 5);
    ///     assert_eq!(socket.recv(&mut buf)?, 5);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.receive_datagram(buf, Take::No)
    }

    /// Sets `SO_BROADCAST`: it may send to broadcast addresses. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_broadcast(true)?;
    /// assert!(socket.broadcast()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.socket.set_option(libc::SOL_SOCKET, libc::SO_BROADCAST, libc::c_int::from(broadcast))
    }

    /// Whether it may send to broadcast addresses. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_broadcast(true)?;
    /// assert!(socket.broadcast()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn broadcast(&self) -> io::Result<bool> {
        self.socket.option(libc::SOL_SOCKET, libc::SO_BROADCAST).map(|value: libc::c_int| value != 0)
    }

    /// Sets `IP_MULTICAST_LOOP`: what it sends to an IPv4 group is received on this machine, too. Does not
    /// park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_multicast_loop_v4(true)?;
    /// assert!(socket.multicast_loop_v4()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP, MulticastV4::from(on))
    }

    /// Whether this machine receives what it sends to an IPv4 group. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_multicast_loop_v4(true)?;
    /// assert!(socket.multicast_loop_v4()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.socket.option(libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP).map(|value: MulticastV4| value != 0)
    }

    /// Sets `IP_MULTICAST_TTL`, how many hops a packet to an IPv4 group may make: 1 by default. Does not
    /// park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_multicast_ttl_v4(3)?;
    /// assert_eq!(socket.multicast_ttl_v4()?, 3);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, ttl as MulticastV4)
    }

    /// How many hops a packet to an IPv4 group may make. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_multicast_ttl_v4(3)?;
    /// assert_eq!(socket.multicast_ttl_v4()?, 3);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.socket.option(libc::IPPROTO_IP, libc::IP_MULTICAST_TTL).map(|value: MulticastV4| value as u32)
    }

    /// Sets `IPV6_MULTICAST_LOOP`: what it sends to an IPv6 group is received on this machine, too. Does not
    /// park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`; it is not an IPv6 socket.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let Ok(socket) = UdpSocket::bind("[::1]:0") else { return Ok(()) }; // no IPv6 here
    /// socket.set_multicast_loop_v6(true)?;
    /// assert!(socket.multicast_loop_v6()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_multicast_loop_v6(&self, on: bool) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP, libc::c_int::from(on))
    }

    /// Whether this machine receives what it sends to an IPv6 group. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let Ok(socket) = UdpSocket::bind("[::1]:0") else { return Ok(()) }; // no IPv6 here
    /// socket.set_multicast_loop_v6(true)?;
    /// assert!(socket.multicast_loop_v6()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.socket.option(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP).map(|value: libc::c_int| value != 0)
    }

    /// Sets `IP_TTL`, how many hops a packet may make. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_ttl(100)?;
    /// assert_eq!(socket.ttl()?, 100);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_ttl(ttl)
    }

    /// How many hops a packet may make. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_ttl(100)?;
    /// assert_eq!(socket.ttl()?, 100);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.ttl()
    }

    /// Joins an IPv4 multicast group, on the interface of that address; the unspecified address leaves the
    /// choice to the system. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`; there is no such interface.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{Ipv4Addr, UdpSocket};
    ///
    /// let group = Ipv4Addr::new(224, 0, 0, 123);
    /// let socket = UdpSocket::bind("0.0.0.0:0")?;
    /// socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    /// socket.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn join_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, membership(multiaddr, interface))
    }

    /// Leaves an IPv4 multicast group that was joined with the same arguments. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`; there is no such interface, or the group was not joined.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{Ipv4Addr, UdpSocket};
    ///
    /// let group = Ipv4Addr::new(224, 0, 0, 123);
    /// let socket = UdpSocket::bind("0.0.0.0:0")?;
    /// socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    /// socket.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn leave_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_IP, libc::IP_DROP_MEMBERSHIP, membership(multiaddr, interface))
    }

    /// Joins an IPv6 multicast group, on the interface of that index; zero leaves the choice to the system.
    /// Does not park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`; there is no such interface.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{Ipv6Addr, UdpSocket};
    ///
    /// let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x123);
    /// let Ok(socket) = UdpSocket::bind("[::1]:0") else { return Ok(()) }; // no IPv6 here
    /// if socket.join_multicast_v6(&group, 0).is_ok() {
    ///     socket.leave_multicast_v6(&group, 0)?;
    /// }
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn join_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_IPV6, sys::JOIN_V6, membership_v6(multiaddr, interface))
    }

    /// Leaves an IPv6 multicast group that was joined with the same arguments. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`; there is no such interface, or the group was not joined.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{Ipv6Addr, UdpSocket};
    ///
    /// let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x123);
    /// let Ok(socket) = UdpSocket::bind("[::1]:0") else { return Ok(()) }; // no IPv6 here
    /// if socket.join_multicast_v6(&group, 0).is_ok() {
    ///     socket.leave_multicast_v6(&group, 0)?;
    /// }
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn leave_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_IPV6, sys::LEAVE_V6, membership_v6(multiaddr, interface))
    }

    /// Closes the socket for all clones at once, although the descriptor and its port are kept until the
    /// last of them is dropped. Does not park.
    ///
    /// Whoever is parked or blocked in a call on it wakes with `NotConnected`, and so do all later calls.
    ///
    /// # Errors
    ///
    /// None at present.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use sward::net::UdpSocket;
    ///
    /// sward::run(|| {
    ///     let socket = UdpSocket::bind("127.0.0.1:0")?;
    ///     let clone = socket.try_clone()?;
    ///     let parked = sward::spawn(move || clone.recv(&mut [0; 8]));
    ///     sward::yield_now();
    ///     socket.close()?;
    ///     assert_eq!(parked.join().unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn close(&self) -> io::Result<()> {
        self.socket.close();
        Ok(())
    }

    /// Turns it into std's type: blocking, or in the mode that [`set_nonblocking`](Self::set_nonblocking)
    /// asked for, and with its timeouts. Does not park.
    ///
    /// If clones remain, std's socket has a duplicate of the descriptor, and the clones go on working as
    /// before.
    ///
    /// # Errors
    ///
    /// No descriptor was free for the duplicate, or the mode could not be set; the handle is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let socket: std::net::UdpSocket = socket.into_std()?;
    /// assert!(socket.take_error()?.is_none());
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn into_std(self) -> io::Result<std::net::UdpSocket> {
        self.socket.release().map(Into::into)
    }
}

fn membership(group: &Ipv4Addr, interface: &Ipv4Addr) -> libc::ip_mreq {
    let raw = |address: &Ipv4Addr| libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) };
    libc::ip_mreq { imr_multiaddr: raw(group), imr_interface: raw(interface) }
}

fn membership_v6(group: &Ipv6Addr, interface: u32) -> libc::ipv6_mreq {
    libc::ipv6_mreq {
        ipv6mr_multiaddr: libc::in6_addr { s6_addr: group.octets() },
        ipv6mr_interface: interface as _,
    }
}

/// In std's words.
#[cold]
fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no addresses to send data to")
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(self.as_fd(), f, "UdpSocket", [("addr", self.local_addr())])
    }
}

transfer_methods! {
    UdpSocket,
    example: "let socket = sward::net::UdpSocket::bind(\"127.0.0.1:0\")?;",
    call: "socket.recv(&mut [0])"
}

conversions! {
    /// Takes the open file's timeouts over. Its mode does not matter: calls park.
    UdpSocket, std::net::UdpSocket
}
