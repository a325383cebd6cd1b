//! How many connections each address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::RawFd;

/// What counts as one peer: an IPv4 address, or a network of 64 bits of IPv6, which one host usually has to
/// itself.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

/// How many connections each address has.
#[derive(Default)]
pub(super) struct Peers {
    counts: HashMap<IpAddr, usize>,
    addresses: HashMap<RawFd, IpAddr>,
}

impl Peers {
    /// False if the address has the most already.
    pub(super) fn enter(&mut self, fd: RawFd, address: IpAddr, most: usize) -> bool {
        let address = network_of(address);
        let count = self.counts.entry(address).or_insert(0);
        if *count >= most {
            return false;
        }
        *count += 1;
        self.addresses.insert(fd, address);
        true
    }

    pub(super) fn leave(&mut self, fd: RawFd) {
        let Some(address) = self.addresses.remove(&fd) else { return };
        if let Some(count) = self.counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&address);
            }
        }
    }
}
