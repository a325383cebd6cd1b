//! A Unix datagram socket. The transfers are in `transfer`.

use super::{Backoff, SocketAddr};
use crate::base::clock;
use crate::coroutine::WaitReason;
use crate::descriptor::{Attempt, would_block};
use crate::net::addr::RawAddr;
use crate::net::macros::{conversions, transfer_methods};
use crate::net::socket::{self, Short, Socket, describe};
use crate::net::transfer::{Receive, try_send};
use crate::net::{Shutdown, sys};
use crate::netpoll::Direction;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// A Unix datagram socket; [`std::os::unix::net::UnixDatagram`] for coroutines.
///
/// Any number of coroutines and threads may send and receive at once. Datagrams keep their order and are not
/// lost: a sender waits while the receiver's queue is full. A datagram that is longer than the buffer is cut
/// off, and the rest of it is lost. The socket's path stays in the file system until a program removes it.
/// What holds for all sockets, such as errors and cancellation, is said in [`net`](crate::net).
///
/// # Examples
///
/// ```
/// use sward::net::UnixDatagram;
///
/// sward::run(|| {
///     let (ours, theirs) = UnixDatagram::pair()?;
///     let reader = sward::spawn(move || {
///         let mut buf = [0; 8];
///         theirs.recv(&mut buf).map(|len| buf[..len].to_vec())
///     });
///     ours.send(b"hello")?;
///     assert_eq!(reader.join().unwrap()?, b"hello");
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct UnixDatagram {
    socket: Arc<Socket>,
}

impl UnixDatagram {
    /// Binds to that path, at which the call makes a socket, as [`std::os::unix::net::UnixDatagram::bind`].
    ///
    /// # Errors
    ///
    /// `AddrInUse` if the file exists already, `InvalidInput` for a path that is too long.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixDatagram> {
        UnixDatagram::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Binds to an address of any kind, as [`std::os::unix::net::UnixDatagram::bind_addr`]. Otherwise as
    /// [`bind`](Self::bind).
    pub fn bind_addr(socket_addr: &SocketAddr) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket::bind(socket.as_fd(), &RawAddr::from(socket_addr))?;
        Ok(socket)
    }

    /// A socket without an address, as [`std::os::unix::net::UnixDatagram::unbound`]. It can send at
    /// once, but receive only once it is connected.
    pub fn unbound() -> io::Result<UnixDatagram> {
        sys::socket(libc::AF_UNIX, libc::SOCK_DGRAM).map(UnixDatagram::from_new)
    }

    /// Two sockets that are connected to each other, as [`std::os::unix::net::UnixDatagram::pair`].
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        sys::socket_pair(libc::SOCK_DGRAM).map(|fds| fds.map(UnixDatagram::from_new).into())
    }

    fn from_new(fd: OwnedFd) -> UnixDatagram {
        UnixDatagram { socket: Socket::new(fd, Short::Nothing) }
    }

    fn adopt(fd: OwnedFd) -> UnixDatagram {
        UnixDatagram { socket: Socket::adopt(fd, Short::Nothing) }
    }

    /// Connects to the socket at that path, as [`std::os::unix::net::UnixDatagram::connect`]:
    /// [`send`](Self::send) sends there, and datagrams from elsewhere are not received.
    ///
    /// # Errors
    ///
    /// `NotFound`; `ConnectionRefused` if no socket is bound there any more.
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to an address of any kind, as [`std::os::unix::net::UnixDatagram::connect_addr`]. Otherwise
    /// as [`connect`](Self::connect).
    pub fn connect_addr(&self, socket_addr: &SocketAddr) -> io::Result<()> {
        socket::connect(self.as_raw_fd(), &RawAddr::from(socket_addr))
    }

    /// The address to which it is bound, as [`std::os::unix::net::UnixDatagram::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The address to which it is connected, as [`std::os::unix::net::UnixDatagram::peer_addr`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Receives a datagram and its sender's address, as [`std::os::unix::net::UnixDatagram::recv_from`].
    /// Parks until there is one.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, sender) = self.socket.receive_from(buf, Receive::Consume)?;
        Ok((len, SocketAddr::try_from(&sender)?))
    }

    /// Receives a datagram, as [`std::os::unix::net::UnixDatagram::recv`]. Parks until there is one.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.receive_datagram(buf, Receive::Consume)
    }

    /// Sends a datagram to the socket at that path, as [`std::os::unix::net::UnixDatagram::send_to`]. Parks
    /// while this socket's buffer or the receiver's queue is full.
    ///
    /// The kernel reports no event when the receiver's queue has room again. So this tries again after 100 µs
    /// and doubles the delay each time, up to 20 ms. A connected socket does not have to: use
    /// [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// `NotFound`; `ConnectionRefused` if no socket is bound there any more; and [those of all
    /// sockets](crate::net#errors).
    pub fn send_to<P: AsRef<Path>>(&self, buf: &[u8], path: P) -> io::Result<usize> {
        self.send_to_addr(buf, &SocketAddr::from_pathname(path)?)
    }

    /// Sends a datagram to an address of any kind, as [`std::os::unix::net::UnixDatagram::send_to_addr`].
    /// Parks and fails as [`send_to`](Self::send_to).
    pub fn send_to_addr(&self, buf: &[u8], socket_addr: &SocketAddr) -> io::Result<usize> {
        let to = RawAddr::from(socket_addr);
        let deadline = self.socket.file.deadline(Direction::Write);
        let mut backoff = Backoff::new();
        loop {
            // Does not wait in `perform`: the kernel does not say which queue is full, and it reports an
            // event only for this socket's own buffer.
            let sent = self.socket.file.perform(Direction::Write, WaitReason::SendDatagram, |fd| {
                try_send(fd, buf, Some(&to)).map(Attempt::Done)
            })?;
            match sent {
                Some(len) => return Ok(len),
                None if self.socket.file.is_nonblocking()
                    || deadline.is_some_and(|at| at <= clock::now()) =>
                {
                    return Err(would_block());
                }
                None => backoff.wait(WaitReason::SendBackoff, deadline)?,
            }
        }
    }

    /// Sends a datagram to the address to which it is connected, as
    /// [`std::os::unix::net::UnixDatagram::send`]. Parks while this socket's buffer or the receiver's queue
    /// is full.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` or `ConnectionReset` if the receiver is gone; and [those of all
    /// sockets](crate::net#errors).
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.send_datagram(buf, None)
    }

    /// Shuts down receiving, sending, or both, for all clones, as
    /// [`std::os::unix::net::UnixDatagram::shutdown`]. A parked receive wakes with an empty datagram; sending
    /// fails with `BrokenPipe`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Closes the socket, [for all clones at once](crate::net#close). Does not park, and does not fail.
    ///
    /// Calls that wait on it end with `NotConnected`, as do all later calls. A [`send_to`](Self::send_to)
    /// that waits for a full queue notices within 20 ms. The descriptor and the address are kept until the
    /// last clone is dropped.
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
    pub fn into_std(self) -> io::Result<std::os::unix::net::UnixDatagram> {
        self.socket.release().map(Into::into)
    }
}

impl fmt::Debug for UnixDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = [("local", self.local_addr()), ("peer", self.peer_addr())];
        describe(self.as_fd(), f, "UnixDatagram", addresses)
    }
}

transfer_methods! {
    UnixDatagram,
    example: "let (socket, _peer) = sward::net::UnixDatagram::pair()?;",
    call: "socket.recv(&mut [0])"
}

conversions! {
    /// Takes the open file's timeouts over. Its mode does not matter: calls park.
    UnixDatagram, std::os::unix::net::UnixDatagram
}
