//! A UDP socket. The transfers are in `transfer`.

use super::addr::RawAddr;
use super::macros::{conversions, transfer_methods};
use super::resolve::{ToSocketAddrs, each_address};
use super::socket::{self, Short, Socket, describe};
use super::sys::{self, MulticastV4};
use super::transfer::Receive;
use super::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

/// A UDP socket; [`std::net::UdpSocket`] for coroutines.
///
/// Any number of coroutines and threads may send and receive at once. A datagram that is longer than the
/// buffer is cut off, and the rest of it is lost, as with std. What holds for all sockets, such as errors and
/// cancellation, is said in [`net`](crate::net).
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
    /// Binds to the first of the addresses that can be bound, as [`std::net::UdpSocket::bind`]. Parks while
    /// names are looked up.
    ///
    /// # Errors
    ///
    /// The last address's error, such as `AddrInUse`; `InvalidInput` if there is no address.
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

    /// Receives a datagram and its sender's address, as [`std::net::UdpSocket::recv_from`]. Parks until there
    /// is one.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, sender) = self.socket.receive_from(buf, Receive::Consume)?;
        Ok((len, SocketAddr::try_from(&sender)?))
    }

    /// Receives a datagram that the next call receives again, and its sender's address, as
    /// [`std::net::UdpSocket::peek_from`]. Parks until there is one.
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, sender) = self.socket.receive_from(buf, Receive::Peek)?;
        Ok((len, SocketAddr::try_from(&sender)?))
    }

    /// Sends a datagram to the first of the addresses, as [`std::net::UdpSocket::send_to`]. Parks while names
    /// are looked up, and while the socket's buffer is full.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there is no address, `PermissionDenied` for a broadcast that
    /// [`set_broadcast`](Self::set_broadcast) has not allowed, and [those of all sockets](crate::net#errors).
    pub fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        match addr.to_socket_addrs()?.next() {
            Some(address) => self.socket.send_datagram(buf, Some(&RawAddr::from(&address))),
            None => Err(no_address()),
        }
    }

    /// The address to which it is connected, as [`std::net::UdpSocket::peer_addr`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// The address to which it is bound, as [`std::net::UdpSocket::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Connects to the first of the addresses that can be connected, as [`std::net::UdpSocket::connect`]:
    /// [`send`](Self::send) sends there, and datagrams from elsewhere are not received. Parks while names are
    /// looked up.
    ///
    /// # Errors
    ///
    /// The last address's error; `InvalidInput` if there is no address.
    pub fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        each_address(addr, |address| socket::connect(self.as_raw_fd(), &RawAddr::from(address)))
    }

    /// Sends a datagram to the address to which it is connected, as [`std::net::UdpSocket::send`]. Parks
    /// while the socket's buffer is full.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` if no socket received an earlier datagram, and [those of all
    /// sockets](crate::net#errors).
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.send_datagram(buf, None)
    }

    /// Receives a datagram from the address to which it is connected, or from any, as
    /// [`std::net::UdpSocket::recv`]. Parks until there is one.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` if no socket received an earlier datagram, and [those of all
    /// sockets](crate::net#errors).
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.receive_datagram(buf, Receive::Consume)
    }

    /// Receives a datagram that the next call receives again, as [`std::net::UdpSocket::peek`]. Parks until
    /// there is one.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.receive_datagram(buf, Receive::Peek)
    }

    /// Sets `SO_BROADCAST`, as [`std::net::UdpSocket::set_broadcast`]: the socket may send to broadcast
    /// addresses.
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.socket.set_option(libc::SOL_SOCKET, libc::SO_BROADCAST, libc::c_int::from(broadcast))
    }

    /// As [`std::net::UdpSocket::broadcast`].
    pub fn broadcast(&self) -> io::Result<bool> {
        self.socket.option(libc::SOL_SOCKET, libc::SO_BROADCAST).map(|value: libc::c_int| value != 0)
    }

    /// Sets `IP_MULTICAST_LOOP`, as [`std::net::UdpSocket::set_multicast_loop_v4`].
    pub fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP, MulticastV4::from(on))
    }

    /// As [`std::net::UdpSocket::multicast_loop_v4`].
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.socket.option(libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP).map(|value: MulticastV4| value != 0)
    }

    /// Sets `IP_MULTICAST_TTL`, which is 1 by default, as [`std::net::UdpSocket::set_multicast_ttl_v4`].
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, ttl as MulticastV4)
    }

    /// As [`std::net::UdpSocket::multicast_ttl_v4`].
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.socket.option(libc::IPPROTO_IP, libc::IP_MULTICAST_TTL).map(|value: MulticastV4| value as u32)
    }

    /// Sets `IPV6_MULTICAST_LOOP`, as [`std::net::UdpSocket::set_multicast_loop_v6`]. It fails if this is not
    /// an IPv6 socket.
    pub fn set_multicast_loop_v6(&self, on: bool) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP, libc::c_int::from(on))
    }

    /// As [`std::net::UdpSocket::multicast_loop_v6`].
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.socket.option(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP).map(|value: libc::c_int| value != 0)
    }

    /// Sets `IP_TTL`, as [`std::net::UdpSocket::set_ttl`].
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_ttl(ttl)
    }

    /// As [`std::net::UdpSocket::ttl`].
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.ttl()
    }

    /// Joins an IPv4 multicast group on the interface with that address, as
    /// [`std::net::UdpSocket::join_multicast_v4`]. With the unspecified address the system chooses the
    /// interface.
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

    /// Leaves an IPv4 multicast group that was joined with the same arguments, as
    /// [`std::net::UdpSocket::leave_multicast_v4`].
    pub fn leave_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_IP, libc::IP_DROP_MEMBERSHIP, membership(multiaddr, interface))
    }

    /// Joins an IPv6 multicast group on the interface with that index, as
    /// [`std::net::UdpSocket::join_multicast_v6`]. With zero the system chooses the interface.
    pub fn join_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_IPV6, sys::JOIN_V6, membership_v6(multiaddr, interface))
    }

    /// Leaves an IPv6 multicast group that was joined with the same arguments, as
    /// [`std::net::UdpSocket::leave_multicast_v6`].
    pub fn leave_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_IPV6, sys::LEAVE_V6, membership_v6(multiaddr, interface))
    }

    /// Closes the socket, [for all clones at once](crate::net#close). Does not park, and does not fail.
    ///
    /// Calls that wait on it end with `NotConnected`, as do all later calls. The descriptor and the port are
    /// kept until the last clone is dropped.
    pub fn close(&self) -> io::Result<()> {
        self.socket.close();
        Ok(())
    }

    /// Converts it into std's type, with its timeouts. The socket is blocking unless
    /// [`set_nonblocking`](Self::set_nonblocking) has asked for the other mode. If clones remain, std's
    /// socket has a duplicate of the descriptor.
    ///
    /// # Errors
    ///
    /// No descriptor was free for the duplicate, or the mode could not be set. The handle is dropped.
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

/// std's words.
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
