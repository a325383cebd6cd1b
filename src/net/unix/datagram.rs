//! A Unix datagram socket. The transfers are in `transfer`.

use super::{Backoff, SocketAddr};
use crate::coroutine::WaitReason;
use crate::descriptor::{Attempt, would_block};
use crate::net::addr::RawAddr;
use crate::net::macros::{conversions, transfer_methods};
use crate::net::socket::{self, Short, Socket, describe};
use crate::net::transfer::{Take, try_send};
use crate::net::{Shutdown, sys};
use crate::netpoll::Direction;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A Unix datagram socket; [`std::os::unix::net::UnixDatagram`] for coroutines.
///
/// A call that would block parks the calling coroutine; on a plain thread it blocks the thread. Any
/// number of coroutines and threads may send and receive at once. The socket is closed when its last clone
/// is dropped; its path stays in the file system until somebody removes it.
///
/// Datagrams keep their order and are not lost: who sends more than the receiver reads waits. One that is
/// longer than the buffer is cut off, and the rest of it is lost.
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
    /// Binds to that path, where the call makes a socket. Does not park.
    ///
    /// # Errors
    ///
    /// As std's: `AddrInUse` if there is a file already, `InvalidInput` for a path that is too long.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UnixDatagram;
    ///
    /// let path = std::env::temp_dir().join(format!("sward-doc-bind-datagram-{}", std::process::id()));
    /// let socket = UnixDatagram::bind(&path)?;
    /// assert_eq!(socket.local_addr()?.as_pathname(), Some(&*path));
    /// std::fs::remove_file(path)?;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixDatagram> {
        UnixDatagram::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// As [`bind`](Self::bind), for any address.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    /// use sward::net::UnixDatagram;
    /// use sward::net::unix::SocketAddr;
    ///
    /// let name = format!("sward-doc-datagram-{}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let socket = UnixDatagram::bind_addr(&address)?;
    /// assert!(socket.local_addr()?.as_abstract_name().is_some());
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn bind_addr(socket_addr: &SocketAddr) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket::bind(socket.as_fd(), &RawAddr::from(socket_addr))?;
        Ok(socket)
    }

    /// A socket without an address: it can send, and receive only once it is connected. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `socket(2)`: descriptors or memory have run out.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UnixDatagram;
    ///
    /// let socket = UnixDatagram::unbound()?;
    /// assert!(socket.local_addr()?.is_unnamed());
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn unbound() -> io::Result<UnixDatagram> {
        sys::socket(libc::AF_UNIX, libc::SOCK_DGRAM).map(UnixDatagram::from_new)
    }

    /// Two sockets that are connected to each other. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `socketpair(2)`: descriptors or memory have run out.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UnixDatagram;
    ///
    /// let (socket, peer) = UnixDatagram::pair()?;
    /// peer.send(b"hello")?;
    /// assert_eq!(socket.recv(&mut [0; 8])?, 5);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        sys::socket_pair(libc::SOCK_DGRAM).map(|fds| fds.map(UnixDatagram::from_new).into())
    }

    fn from_new(fd: OwnedFd) -> UnixDatagram {
        UnixDatagram { socket: Socket::new(fd, Short::Nothing) }
    }

    fn adopt(fd: OwnedFd) -> UnixDatagram {
        UnixDatagram { socket: Socket::adopt(fd, Short::Nothing) }
    }

    /// Connects to the socket at that path: [`send`](Self::send) sends there, and datagrams from elsewhere
    /// are not received. Does not park.
    ///
    /// # Errors
    ///
    /// As std's: `NotFound`, `ConnectionRefused` if nobody is bound there any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UnixDatagram;
    ///
    /// let path = std::env::temp_dir().join(format!("sward-doc-connect-datagram-{}", std::process::id()));
    /// let socket = UnixDatagram::bind(&path)?;
    /// let sender = UnixDatagram::unbound()?;
    /// sender.connect(&path)?;
    /// sender.send(b"hello")?;
    /// assert_eq!(socket.recv(&mut [0; 8])?, 5);
    /// std::fs::remove_file(path)?;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// As [`connect`](Self::connect), for any address.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    /// use sward::net::UnixDatagram;
    /// use sward::net::unix::SocketAddr;
    ///
    /// let name = format!("sward-doc-connect_addr-{}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let socket = UnixDatagram::bind_addr(&address)?;
    /// UnixDatagram::unbound()?.connect_addr(&address)?;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn connect_addr(&self, socket_addr: &SocketAddr) -> io::Result<()> {
        socket::connect(self.as_raw_fd(), &RawAddr::from(socket_addr))
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
    /// use sward::net::UnixDatagram;
    ///
    /// let (socket, peer) = UnixDatagram::pair()?;
    /// assert!(socket.local_addr()?.is_unnamed());
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
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
    /// use sward::net::UnixDatagram;
    ///
    /// let (socket, peer) = UnixDatagram::pair()?;
    /// assert!(socket.peer_addr()?.is_unnamed());
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
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
    /// use std::os::linux::net::SocketAddrExt;
    /// use sward::net::UnixDatagram;
    /// use sward::net::unix::SocketAddr;
    ///
    /// sward::run(|| {
    ///     let name = format!("sward-doc-recv_from-{}", std::process::id());
    ///     let address = SocketAddr::from_abstract_name(name)?;
    ///     let socket = UnixDatagram::bind_addr(&address)?;
    ///     UnixDatagram::unbound()?.send_to_addr(b"hello", &address)?;
    ///     let (len, sender) = socket.recv_from(&mut [0; 8])?;
    ///     assert!(len == 5 && sender.is_unnamed());
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, sender) = self.socket.receive_from(buf, Take::Yes)?;
        Ok((len, SocketAddr::try_from(&sender)?))
    }

    /// Receives a datagram. Parks until there is one.
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
    /// use sward::net::UnixDatagram;
    ///
    /// sward::run(|| {
    ///     let (socket, peer) = UnixDatagram::pair()?;
    ///     peer.send(b"hello")?;
    ///     assert_eq!(socket.recv(&mut [0; 8])?, 5);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.receive_datagram(buf, Take::Yes)
    }

    /// Sends a datagram to the socket at that path.
    ///
    /// Parks while this socket's buffer or the receiver's queue is full. The kernel tells nobody when there
    /// is room in the latter, so this tries again after 100 µs, then after twice that each time, up to 20
    /// ms. A socket that is connected waits for the event with [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As std's: `NotFound`, `ConnectionRefused` if nobody is bound there any more. `WouldBlock` after the
    /// timeout, and in non-blocking mode; `NotConnected` after [`close`](Self::close).
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds; the datagram was not sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UnixDatagram;
    ///
    /// sward::run(|| {
    ///     let path = std::env::temp_dir().join(format!("sward-doc-send_to-{}", std::process::id()));
    ///     let socket = UnixDatagram::bind(&path)?;
    ///     assert_eq!(UnixDatagram::unbound()?.send_to(b"hello", &path)?, 5);
    ///     std::fs::remove_file(path)?;
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn send_to<P: AsRef<Path>>(&self, buf: &[u8], path: P) -> io::Result<usize> {
        self.send_to_addr(buf, &SocketAddr::from_pathname(path)?)
    }

    /// As [`send_to`](Self::send_to), for any address.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds; the datagram was not sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    /// use sward::net::UnixDatagram;
    /// use sward::net::unix::SocketAddr;
    ///
    /// sward::run(|| {
    ///     let name = format!("sward-doc-send_to_addr-{}", std::process::id());
    ///     let address = SocketAddr::from_abstract_name(name)?;
    ///     let socket = UnixDatagram::bind_addr(&address)?;
    ///     assert_eq!(UnixDatagram::unbound()?.send_to_addr(b"hello", &address)?, 5);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn send_to_addr(&self, buf: &[u8], socket_addr: &SocketAddr) -> io::Result<usize> {
        let to = RawAddr::from(socket_addr);
        let deadline = self.socket.file.deadline(Direction::Write);
        let mut backoff = Backoff::new();
        loop {
            // Never waits there: which queue is full, and whether an event tells of its room, is not known.
            let sent = self.socket.file.perform(Direction::Write, WaitReason::SendDatagram, |fd| {
                try_send(fd, buf, Some(&to)).map(Attempt::Done)
            })?;
            match sent {
                Some(len) => return Ok(len),
                None if self.socket.file.is_nonblocking()
                    || deadline.is_some_and(|at| at <= Instant::now()) =>
                {
                    return Err(would_block());
                }
                None => backoff.wait(WaitReason::SendBackoff, deadline)?,
            }
        }
    }

    /// Sends a datagram to the address it is connected to. Parks while this socket's buffer or the receiver's
    /// queue is full.
    ///
    /// # Errors
    ///
    /// As std's: `ConnectionRefused` or `ConnectionReset` if the receiver is gone. `WouldBlock` after the
    /// timeout, and in non-blocking mode; `NotConnected` after [`close`](Self::close), and if it is not
    /// connected.
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds; the datagram was not sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UnixDatagram;
    ///
    /// sward::run(|| {
    ///     let (socket, peer) = UnixDatagram::pair()?;
    ///     assert_eq!(socket.send(b"hello")?, 5);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.send_datagram(buf, None)
    }

    /// Shuts down receiving, sending, or both, for all clones. Does not park.
    ///
    /// Who is parked in a receive wakes with an empty datagram; to send fails with `BrokenPipe`.
    ///
    /// # Errors
    ///
    /// Those of `shutdown(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{Shutdown, UnixDatagram};
    ///
    /// let (socket, peer) = UnixDatagram::pair()?;
    /// socket.shutdown(Shutdown::Both)?;
    /// assert_eq!(socket.send(b"hello").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Closes the socket for all clones at once, although the descriptor and its address are kept until the
    /// last of them is dropped. Does not park.
    ///
    /// Whoever is parked or blocked in a call on it wakes with `NotConnected`, and so do all later calls.
    /// A [`send_to`](Self::send_to) that waits for a full queue notices within 20 ms.
    ///
    /// # Errors
    ///
    /// None at present.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use sward::net::UnixDatagram;
    ///
    /// sward::run(|| {
    ///     let (socket, _peer) = UnixDatagram::pair()?;
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
    /// use sward::net::UnixDatagram;
    ///
    /// let (socket, peer) = UnixDatagram::pair()?;
    /// let socket: std::os::unix::net::UnixDatagram = socket.into_std()?;
    /// assert!(socket.take_error()?.is_none());
    /// # Ok::<_, std::io::Error>(())
    /// ```
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
