//! From names to addresses.

use crate::blocking;
use crate::coroutine::WaitReason;
use crate::sched;
use std::io;
use std::net::ToSocketAddrs as StdToSocketAddrs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::{iter, option, slice, vec};

/// What can be turned into socket addresses, as [`std::net::ToSocketAddrs`], for the same types.
///
/// Addresses and literals are turned where they are. A name in a coroutine is resolved on a helper
/// thread while the coroutine parks; a cancellation waits for the resolver. On a plain thread it is
/// resolved right there.
///
/// ```
/// use sward::net::ToSocketAddrs;
///
/// let address = ("127.0.0.1", 80).to_socket_addrs().unwrap().next().unwrap();
/// assert_eq!(address, "127.0.0.1:80".parse().unwrap());
/// ```
pub trait ToSocketAddrs {
    /// The addresses, in the order in which they are to be tried.
    type Iter: Iterator<Item = SocketAddr>;

    /// The addresses.
    ///
    /// # Errors
    ///
    /// The resolver's; `InvalidInput` for text that is no address and has no port.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;
}

/// Calls `f` with each of the addresses until it succeeds; the last error otherwise.
pub(super) fn each_address<A: ToSocketAddrs, T>(
    address: &A,
    mut f: impl FnMut(&SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for address in address.to_socket_addrs()? {
        match f(&address) {
            Ok(value) => return Ok(value),
            Err(e) => last = Some(e),
        }
    }
    Err(last
        .unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "could not resolve to any addresses")))
}

/// Resolves a name without keeping a worker.
fn resolve<A>(name: A) -> io::Result<vec::IntoIter<SocketAddr>>
where
    A: StdToSocketAddrs<Iter = vec::IntoIter<SocketAddr>> + Sync,
{
    if sched::may_switch() {
        blocking::run(WaitReason::Resolve, || StdToSocketAddrs::to_socket_addrs(&name))?
    } else {
        StdToSocketAddrs::to_socket_addrs(&name)
    }
}

macro_rules! single {
    ($($kind:ty),*) => {$(
        impl ToSocketAddrs for $kind {
            type Iter = option::IntoIter<SocketAddr>;
            fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
                StdToSocketAddrs::to_socket_addrs(self)
            }
        }
    )*};
}

single!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl ToSocketAddrs for (&str, u16) {
    type Iter = vec::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match self.0.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![SocketAddr::new(ip, self.1)].into_iter()),
            Err(_) => resolve(*self),
        }
    }
}

impl ToSocketAddrs for (String, u16) {
    type Iter = vec::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        ToSocketAddrs::to_socket_addrs(&(self.0.as_str(), self.1))
    }
}

impl ToSocketAddrs for str {
    type Iter = vec::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match self.parse::<SocketAddr>() {
            Ok(address) => Ok(vec![address].into_iter()),
            Err(_) => resolve(self),
        }
    }
}

impl ToSocketAddrs for String {
    type Iter = vec::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        ToSocketAddrs::to_socket_addrs(self.as_str())
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
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (**self).to_socket_addrs()
    }
}
