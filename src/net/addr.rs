//! Addresses in the kernel's layout.
//!
//! Only this file reads and writes the fields of a `sockaddr`. Invariant of [`RawAddr`]: `len` bytes of the
//! storage hold an address of the family that the storage names.

use super::sys;
use std::ffi::OsStr;
use std::io;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::Path;

/// An address in the kernel's layout.
pub(super) struct RawAddr {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl RawAddr {
    /// The arguments for `bind` and `connect`. The pointer points into `self`.
    pub(super) fn parts(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        ((&raw const self.storage).cast(), self.len)
    }

    /// Whether the kernel has written no address at all.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address family, as `socket` takes it.
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
                // Field by field: on some systems the struct also has a length, which their kernels fill in.
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

impl From<&UnixAddr> for RawAddr {
    fn from(address: &UnixAddr) -> RawAddr {
        let mut un = libc::sockaddr_un { sun_family: libc::AF_UNIX as libc::sa_family_t, ..zeroed() };
        // A path has a zero byte after it, an abstract name has one before it. Either fits, since std has
        // made the address by the same rule.
        let (start, name, end) = match (address.as_pathname(), sys::abstract_name(address)) {
            (Some(path), _) => (0, path.as_os_str().as_bytes(), 1),
            (None, Some(name)) => (1, name, 0),
            (None, None) => (0, &[][..], 0),
        };
        for (to, from) in un.sun_path[start..].iter_mut().zip(name) {
            *to = *from as libc::c_char;
        }
        let mut raw = empty();
        raw.put(un);
        raw.len = (SUN_PATH + start + name.len() + end) as libc::socklen_t;
        raw
    }
}

impl TryFrom<&RawAddr> for UnixAddr {
    type Error = io::Error;

    fn try_from(raw: &RawAddr) -> io::Result<UnixAddr> {
        // For a datagram from an unbound socket the kernel writes no address at all.
        let len = (raw.len as usize).saturating_sub(SUN_PATH);
        if len == 0 && matches!(raw.family(), 0 | libc::AF_UNIX) {
            return UnixAddr::from_pathname("");
        }
        if raw.family() != libc::AF_UNIX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a Unix socket's address"));
        }
        // SAFETY: `Layout`: it fits, and any bytes are valid. All of the storage is initialized.
        let un = unsafe { (&raw const raw.storage).cast::<libc::sockaddr_un>().read() };
        let bytes = un.sun_path.map(|byte| byte as u8);
        let name = &bytes[..len.min(bytes.len())];
        match name {
            [0, name @ ..] => sys::from_abstract_name(name),
            // Without the last byte, as std does it: that is the zero byte, if the kernel had room for it.
            [path @ .., _] => UnixAddr::from_pathname(Path::new(OsStr::from_bytes(path))),
            [] => UnixAddr::from_pathname(""),
        }
    }
}

/// The offset of the name in a Unix socket's address.
const SUN_PATH: usize = offset_of!(libc::sockaddr_un, sun_path);

/// Makes a system call that writes an address, and returns its result with the address.
pub(super) fn written_by<T>(
    call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> io::Result<T>,
) -> io::Result<(T, RawAddr)> {
    let mut raw = empty();
    raw.len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let value = call((&raw mut raw.storage).cast(), &raw mut raw.len)?;
    Ok((value, raw))
}

/// The types that a `sockaddr_storage` can hold.
///
/// # Safety
///
/// A C struct that fits the storage in size and alignment and is valid for any bytes.
unsafe trait Layout: Copy {}

// SAFETY: the storage is made to hold it; integers and arrays of them.
unsafe impl Layout for libc::sockaddr_in {}
// SAFETY: as above.
unsafe impl Layout for libc::sockaddr_in6 {}
// SAFETY: as above.
unsafe impl Layout for libc::sockaddr_un {}
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
        // SAFETY: `Layout`: it fits, and any bytes are valid.
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
        let raw = RawAddr::from(&"1.2.3.4:258".parse::<SocketAddr>().expect("valid"));
        let v4: libc::sockaddr_in = raw.get().expect("long enough");
        assert_eq!(v4.sin_port.to_ne_bytes(), [1, 2]);
        assert_eq!(v4.sin_addr.s_addr.to_ne_bytes(), [1, 2, 3, 4]);
        assert_eq!(raw.family(), libc::AF_INET);
        assert_eq!(raw.parts().1 as usize, size_of::<libc::sockaddr_in>());
    }

    #[test]
    fn unix_addresses_survive_the_round_trip() {
        let longest = "x".repeat(107);
        let path = |path: &str| UnixAddr::from_pathname(path).expect("valid");
        let name = |name: &[u8]| sys::from_abstract_name(name).expect("valid");
        for address in
            [path("/tmp/socket"), path(&longest), path(""), name(b"name"), name(b"a\0b"), name(b"")]
        {
            let raw = RawAddr::from(&address);
            assert_eq!(raw.family(), libc::AF_UNIX);
            let back = UnixAddr::try_from(&raw).expect("decoded");
            assert_eq!(back.is_unnamed(), address.is_unnamed());
            assert_eq!(back.as_pathname(), address.as_pathname());
            assert_eq!(sys::abstract_name(&back), sys::abstract_name(&address));
        }
        assert!(path("").is_unnamed());
        assert!(UnixAddr::try_from(&empty()).expect("nobody's").is_unnamed());
        assert!(
            UnixAddr::try_from(&RawAddr::from(&"1.2.3.4:5".parse::<SocketAddr>().expect("valid"))).is_err()
        );
    }

    #[test]
    fn what_is_too_short_or_foreign_is_refused() {
        let mut raw = RawAddr::from(&"[::1]:80".parse::<SocketAddr>().expect("valid"));
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
