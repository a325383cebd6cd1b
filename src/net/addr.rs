//! Addresses as the kernel writes them.
//!
//! Only this file looks into a `sockaddr`. Invariant of [`RawAddr`]: `len` bytes of the storage hold an
//! address of the family it names.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// An address in the kernel's layout.
pub(super) struct RawAddr {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl RawAddr {
    /// What to pass to `bind` and `connect`; it points into `self`.
    pub(super) fn parts(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        ((&raw const self.storage).cast(), self.len)
    }

    /// The address family, as `socket` wants it.
    pub(super) fn family(&self) -> libc::c_int {
        libc::c_int::from(self.storage.ss_family)
    }
}

impl From<&SocketAddr> for RawAddr {
    fn from(address: &SocketAddr) -> RawAddr {
        let mut raw = empty();
        match address {
            SocketAddr::V4(v4) => raw.put(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                ..zeroed()
            }),
            SocketAddr::V6(v6) => {
                // Field by field: some systems have a length besides, which their kernels fill in.
                let mut address: libc::sockaddr_in6 = zeroed();
                address.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                address.sin6_port = v6.port().to_be();
                address.sin6_flowinfo = v6.flowinfo();
                address.sin6_addr = libc::in6_addr { s6_addr: v6.ip().octets() };
                address.sin6_scope_id = v6.scope_id();
                raw.put(address);
            }
        }
        raw
    }
}

impl TryFrom<&RawAddr> for SocketAddr {
    type Error = io::Error;

    fn try_from(raw: &RawAddr) -> io::Result<SocketAddr> {
        match raw.family() {
            libc::AF_INET => {
                let v4: libc::sockaddr_in = raw.get()?;
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                let v6: libc::sockaddr_in6 = raw.get()?;
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Ok(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => Err(not_an_address()),
        }
    }
}

/// Lets a system call write an address, and gives it together with what the call returned.
pub(super) fn written_by<T>(
    call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> io::Result<T>,
) -> io::Result<(T, RawAddr)> {
    let mut raw = empty();
    raw.len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let value = call((&raw mut raw.storage).cast(), &raw mut raw.len)?;
    Ok((value, raw))
}

/// The layouts that go into a `sockaddr_storage`.
///
/// # Safety
///
/// A C struct that fits the storage in size and alignment and is valid for any bytes.
unsafe trait Layout: Copy {}

// SAFETY: the storage is made to hold it; integers and arrays of them.
unsafe impl Layout for libc::sockaddr_in {}
// SAFETY: as above.
unsafe impl Layout for libc::sockaddr_in6 {}
// SAFETY: it is the storage itself.
unsafe impl Layout for libc::sockaddr_storage {}

impl RawAddr {
    fn put<L: Layout>(&mut self, address: L) {
        // SAFETY: `Layout`: it fits.
        unsafe { (&raw mut self.storage).cast::<L>().write(address) };
        self.len = size_of::<L>() as libc::socklen_t;
    }

    fn get<L: Layout>(&self) -> io::Result<L> {
        if (self.len as usize) < size_of::<L>() {
            return Err(not_an_address());
        }
        // SAFETY: `Layout`: it fits, and any bytes will do.
        Ok(unsafe { (&raw const self.storage).cast::<L>().read() })
    }
}

fn empty() -> RawAddr {
    RawAddr { storage: zeroed(), len: 0 }
}

fn zeroed<L: Layout>() -> L {
    // SAFETY: `Layout`: zeros are valid.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

#[cold]
fn not_an_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not an internet address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        let scoped = SocketAddrV6::new("fe80::1".parse().expect("valid"), 443, 7, 3);
        let all = ["127.0.0.1:0", "1.2.3.4:65535", "[::1]:80", "[2001:db8::8:800:200c:417a]:1"];
        let all = all.iter().map(|a| a.parse().expect("valid")).chain([SocketAddr::V6(scoped)]);
        for address in all {
            let raw = RawAddr::from(&address);
            assert_eq!(SocketAddr::try_from(&raw).expect("decoded"), address);
        }
    }

    #[test]
    fn the_kernel_sees_network_byte_order() {
        let raw = RawAddr::from(&"1.2.3.4:258".parse().expect("valid"));
        let v4: libc::sockaddr_in = raw.get().expect("long enough");
        assert_eq!(v4.sin_port.to_ne_bytes(), [1, 2]);
        assert_eq!(v4.sin_addr.s_addr.to_ne_bytes(), [1, 2, 3, 4]);
        assert_eq!(raw.family(), libc::AF_INET);
        assert_eq!(raw.parts().1 as usize, size_of::<libc::sockaddr_in>());
    }

    #[test]
    fn what_is_too_short_or_foreign_is_refused() {
        let mut raw = RawAddr::from(&"[::1]:80".parse().expect("valid"));
        raw.len -= 1;
        assert!(SocketAddr::try_from(&raw).is_err());
        let (_, unnamed) = written_by(|_, len| {
            // SAFETY: it points to the length.
            unsafe { *len = 0 };
            Ok(())
        })
        .expect("no call was made");
        assert!(SocketAddr::try_from(&unnamed).is_err());
    }
}
