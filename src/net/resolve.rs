//! From names to addresses.
//!
//! The system's resolver can only block. Literal addresses are parsed here and do not need it. In a
//! coroutine, names are looked up on the pool for blocking calls.

use crate::base::sys::calls;
use crate::blocking;
use crate::coroutine::WaitReason;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::{iter, option, slice, vec};

/// What can be turned into socket addresses: [`std::net::ToSocketAddrs`] for coroutines, with the same
/// implementations.
///
/// Addresses and literals (`"127.0.0.1:80"`, `("::1", 80)`) are converted in place. A host name is looked up:
/// in a coroutine, a thread of the pool of [`blocking`](crate::blocking()) does that while the coroutine is
/// parked; a plain thread does it itself.
///
/// # Errors
///
/// As std's trait: `InvalidInput` if the text is not `host:port`, and errors of the resolver. Also an error
/// if the pool has no thread and cannot create one.
///
/// # Cancellation
///
/// A look-up that has begun is not interrupted: a coroutine that is cancelled meanwhile unwinds at its next
/// wait.
///
/// # Examples
///
/// ```
/// use sward::net::ToSocketAddrs;
///
/// sward::run(|| {
///     let mut addresses = ("127.0.0.1", 80).to_socket_addrs()?;
///     assert_eq!(addresses.next(), Some("127.0.0.1:80".parse().unwrap()));
///     let mut local = "localhost:443".to_socket_addrs()?;
///     assert!(local.all(|address| address.ip().is_loopback() && address.port() == 443));
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub trait ToSocketAddrs {
    /// The iterator over the addresses.
    type Iter: Iterator<Item = SocketAddr>;

    /// Converts to addresses. Parks while a name is looked up; see the trait.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;
}

/// Implements the trait for types that std converts without a look-up.
macro_rules! in_place {
    ($($type:ty),*) => {$(
        impl ToSocketAddrs for $type {
            type Iter = option::IntoIter<SocketAddr>;
            fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
                std::net::ToSocketAddrs::to_socket_addrs(self)
            }
        }
    )*};
}

in_place!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl ToSocketAddrs for (&str, u16) {
    type Iter = vec::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let (host, port) = *self;
        match host.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![SocketAddr::new(ip, port)].into_iter()),
            Err(_) => look_up(host, port, (host, port)),
        }
    }
}

impl ToSocketAddrs for (String, u16) {
    type Iter = vec::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (self.0.as_str(), self.1).to_socket_addrs()
    }
}

impl ToSocketAddrs for str {
    type Iter = vec::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match self.parse() {
            Ok(address) => Ok(vec![address].into_iter()),
            Err(_) => {
                let parts = self.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
                let (host, port) = parts.unwrap_or(("", 0));
                look_up(host, port, self)
            }
        }
    }
}

impl ToSocketAddrs for String {
    type Iter = vec::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.as_str().to_socket_addrs()
    }
}

impl<'a> ToSocketAddrs for &'a [SocketAddr] {
    type Iter = iter::Cloned<slice::Iter<'a, SocketAddr>>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(self.iter().cloned())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    type Iter = T::Iter;
    fn to_socket_addrs(&self) -> io::Result<T::Iter> {
        (**self).to_socket_addrs()
    }
}

/// Looks the host up: `name` is how std takes it together with the port.
fn look_up<N>(host: &str, port: u16, name: N) -> io::Result<vec::IntoIter<SocketAddr>>
where
    N: std::net::ToSocketAddrs<Iter = vec::IntoIter<SocketAddr>> + Send,
{
    if let Some(found) = calls::addresses_of(host) {
        return found.map(|ips| ips.into_iter().map(|ip| (ip, port).into()).collect::<Vec<_>>().into_iter());
    }
    blocking::run(WaitReason::Resolve, move || std::net::ToSocketAddrs::to_socket_addrs(&name))?
}

/// Tries the addresses in order. Returns the first success, or else the last error.
pub(super) fn each_address<T>(
    addresses: impl ToSocketAddrs,
    mut attempt: impl FnMut(&SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for address in addresses.to_socket_addrs()? {
        match attempt(&address) {
            Ok(value) => return Ok(value),
            Err(error) => last = Some(error),
        }
    }
    Err(last
        .unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "could not resolve to any addresses")))
}
