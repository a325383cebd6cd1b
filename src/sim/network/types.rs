//! The terms of a simulated network: hosts, addresses, sockets, and what is under way between them.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

/// A host. Host 0 is the test itself, outside of all others.
pub(crate) type HostId = u32;

/// A socket. Numbers are not used again.
pub(crate) type SocketId = u64;

/// The result of a call: an errno if it fails.
pub(crate) type Outcome<T> = Result<T, libc::c_int>;

/// The options of a socket that were set, by level and name.
pub(crate) type Options = BTreeMap<(libc::c_int, libc::c_int), Vec<u8>>;

/// Where a socket is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Address {
    /// The socket has none.
    Unnamed,
    Internet(SocketAddrV4),
    /// The bytes of a Unix socket's name: a path, or an abstract name with a zero byte before it.
    Unix(Vec<u8>),
}

/// The family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Internet,
    Unix,
}

/// The kind of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Stream,
    Datagram,
}

/// What a socket is at the moment.
#[derive(Debug)]
pub(super) enum State {
    /// Neither connected nor listening. All datagram sockets stay this.
    Idle,
    Listening(Listener),
    /// The handshake is under way; the number of the attempt.
    Connecting,
    Connected,
}

/// A listening socket.
#[derive(Debug, Default)]
pub(super) struct Listener {
    pub(super) backlog: usize,
    /// Connections that wait for `accept`.
    pub(super) queue: VecDeque<SocketId>,
    /// How many handshakes are under way towards it.
    pub(super) begun: usize,
}

/// A socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) host: HostId,
    pub(super) family: Family,
    pub(super) kind: Kind,
    pub(super) state: State,
    pub(super) name: Address,
    pub(super) peer_name: Address,
    pub(super) options: Options,
    /// The pending error, which the next call takes.
    pub(super) error: Option<libc::c_int>,
    /// The program has closed it.
    pub(super) closed: bool,
    /// Streams.
    pub(super) stream: Stream,
    /// Datagrams that have arrived, with their senders.
    pub(super) datagrams: VecDeque<(Vec<u8>, Address)>,
}

/// One end of a connection.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The other end, and its host.
    pub(super) peer: Option<(SocketId, HostId)>,
    /// What has arrived and was not read.
    pub(super) inbox: VecDeque<u8>,
    /// Bytes that were sent and that the other end has not read yet, as far as this end knows.
    pub(super) outstanding: usize,
    /// A send found less room than it wanted, so the next room is reported.
    pub(super) wants_room: bool,
    /// The other end sends no more.
    pub(super) ended: bool,
    /// This end sends no more.
    pub(super) finished: bool,
    /// The other end knows that.
    pub(super) end_arrived: bool,
    /// This end reads no more.
    pub(super) read_shut: bool,
    /// The connection is gone.
    pub(super) broken: bool,
    /// The number of the next packet that this end sends.
    pub(super) next: u64,
    /// The number of the packet that this end takes in next.
    pub(super) expected: u64,
    /// Packets that have arrived before an earlier one.
    pub(super) early: BTreeMap<u64, Packet>,
    /// Packets that did not get through.
    pub(super) held: BTreeMap<u64, Packet>,
    /// When the first of them was sent first, and none before it is missing.
    pub(super) held_since: u64,
    /// How many pauses there were since a packet got through.
    pub(super) tries: u32,
    /// A packet has found that the other end is gone.
    pub(super) unanswered: bool,
    /// While this end asks whether the other one is still there.
    pub(super) probes: Option<Probes>,
    /// The listener in whose queue it waits, or whose handshake it is.
    pub(super) listener: Option<SocketId>,
}

/// Why an end asks whether the other one is still there, of which it would not learn otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// It has something to send, or has found out already and not got the answer.
    Soon,
    /// `SO_KEEPALIVE`.
    KeepsAlive,
}

/// The state of such questions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probes {
    pub(super) why: Asks,
    pub(super) since: u64,
    /// How often it has asked.
    pub(super) tries: u32,
    /// When it asks next.
    pub(super) next: u64,
}

/// What a stream sends, in order.
#[derive(Clone, Debug)]
pub(super) enum Packet {
    /// The end of the handshake: the other end can be accepted.
    Open,
    Data(Vec<u8>),
    /// The end of the stream.
    End,
}

/// What happens at a time.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A connection request arrives. `tries` were made before.
    Request { client: SocketId, from: HostId, to: SocketAddrV4, tries: u32 },
    /// The answer to it arrives.
    Answer { client: SocketId, server: SocketId },
    /// The client gives up, unless the connection was made.
    ConnectTimeout { client: SocketId },
    /// A packet of a stream arrives.
    Packet { from: (SocketId, HostId), to: (SocketId, HostId), number: u64, packet: Packet },
    /// Packets that were held are sent again.
    Again { from: SocketId },
    /// The sender learns how many bytes were read, at that time.
    Room { to: SocketId, bytes: usize, since: u64 },
    /// An end that can send nothing asks whether the other one is still there.
    Probe { from: SocketId },
    /// A reset arrives.
    Reset { to: SocketId, from: HostId, errno: libc::c_int },
    /// A datagram arrives.
    Datagram { from: SocketId, sender: Address, host: HostId, to: SocketAddrV4, bytes: Vec<u8> },
    /// Nobody was there for a datagram.
    Unreachable { to: SocketId, from: HostId },
}

/// The address of a host: 10.0.0.n.
pub(crate) fn address_of(host: HostId) -> Ipv4Addr {
    let number = match host {
        0 => 254,
        1..254 => host,
        // 10.0.0.255 is left out.
        more => more + 2,
    };
    Ipv4Addr::from(0x0a00_0000 + number)
}

/// The host with that address, as host `from` sees it.
pub(super) fn host_at(address: Ipv4Addr, from: HostId) -> Option<HostId> {
    if address.is_loopback() || address.is_unspecified() {
        return Some(from);
    }
    match u32::from(address).checked_sub(0x0a00_0000)? {
        254 => Some(0),
        number @ 1..254 => Some(number),
        number @ 256..0x0100_0000 => Some(number - 2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_an_address_of_its_own() {
        for host in 0..600 {
            assert_eq!(host_at(address_of(host), 7), Some(host), "{}", address_of(host));
        }
        assert_eq!(host_at(Ipv4Addr::LOCALHOST, 7), Some(7));
        assert_eq!(host_at(Ipv4Addr::new(192, 168, 0, 1), 7), None);
    }
}
