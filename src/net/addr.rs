//! Socket addresses, as the kernel writes them.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// An address in the kernel's form.
pub(super) struct RawAddr {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl RawAddr {
    /// Room for the kernel to write an address into.
    pub(super) fn empty() -> RawAddr {
        // SAFETY: all-zero bytes are a valid `sockaddr_storage`.
        let storage = unsafe { mem::zeroed() };
        RawAddr { storage, len: mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    pub(super) fn new(address: &SocketAddr) -> RawAddr {
        let mut raw = RawAddr::empty();
        let place = &raw mut raw.storage;
        raw.len = match address {
            SocketAddr::V4(v4) => {
                // SAFETY: a `sockaddr_storage` has room and alignment for each kind of address.
                let sin = unsafe { &mut *place.cast::<libc::sockaddr_in>() };
                sin.sin_family = libc::AF_INET as libc::sa_family_t;
                sin.sin_port = v4.port().to_be();
                sin.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                mem::size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            SocketAddr::V6(v6) => {
                // SAFETY: as above.
                let sin = unsafe { &mut *place.cast::<libc::sockaddr_in6>() };
                sin.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                sin.sin6_port = v6.port().to_be();
                sin.sin6_addr.s6_addr = v6.ip().octets();
                sin.sin6_flowinfo = v6.flowinfo();
                sin.sin6_scope_id = v6.scope_id();
                mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t
            }
        };
        raw
    }

    /// Pointer and length, to be read by the kernel.
    pub(super) fn as_ptr(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        ((&raw const self.storage).cast(), self.len)
    }

    /// Pointers to the address and its length, to be written by the kernel.
    pub(super) fn as_mut_ptr(&mut self) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        ((&raw mut self.storage).cast(), &raw mut self.len)
    }

    pub(super) fn to_std(&self) -> io::Result<SocketAddr> {
        let place = &raw const self.storage;
        match libc::c_int::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which kind it is.
                let sin = unsafe { &*place.cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(sin.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddrV4::new(ip, u16::from_be(sin.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let sin = unsafe { &*place.cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(sin.sin6_addr.s6_addr);
                let port = u16::from_be(sin.sin6_port);
                Ok(SocketAddrV6::new(ip, port, sin.sin6_flowinfo, sin.sin6_scope_id).into())
            }
            family => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("not an internet address: family {family}"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        let v6 = SocketAddrV6::new(Ipv6Addr::new(1, 2, 3, 4, 5, 6, 7, 0xfffe), 443, 9, 3);
        for address in ["127.0.0.1:80".parse().expect("an address"), SocketAddr::V6(v6)] {
            assert_eq!(RawAddr::new(&address).to_std().expect("an address"), address);
        }
        assert!(RawAddr::empty().to_std().is_err());
    }
}
