//! The state of a simulated network, its queue of events, and the way of a packet through a link.

use super::link::Link;
use super::random::{Random, nanos};
use super::types::{Address, Event, Family, HostId, Kind, Outcome, Socket, SocketId, State, Stream};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

/// How long a packet of a stream waits before it is sent again the first time, and at most.
pub(super) const RETRANSMIT: (u64, u64) = (200_000_000, 30_000_000_000);

/// A network.
#[derive(Debug)]
pub(crate) struct Network {
    pub(super) now: u64,
    pub(super) random: Random,
    pub(super) sockets: BTreeMap<SocketId, Socket>,
    pub(super) last_socket: SocketId,
    pub(super) hosts: BTreeMap<HostId, Host>,
    /// Pairs of hosts of which the first one does not reach the second.
    pub(super) partitions: BTreeSet<(HostId, HostId)>,
    pub(super) links: BTreeMap<(HostId, HostId), Link>,
    pub(super) default_link: Link,
    /// When the link is free again, for each direction of a link with a bandwidth.
    pub(super) busy_until: BTreeMap<(HostId, HostId), u64>,
    /// What happens at which time. The second number keeps the order in which events were planned.
    pub(super) events: BTreeMap<(u64, u64), Event>,
    pub(super) planned: u64,
    /// News of room that has not got through, until a link is mended: the sender, how many bytes were read,
    /// and since when it waits.
    pub(super) stuck: Vec<(SocketId, usize, u64)>,
    /// Sockets whose readiness has changed, in order, without repetition in a row.
    pub(super) ready: VecDeque<SocketId>,
    pub(super) settings: Settings,
    /// What has happened, for the trace.
    pub(super) log: Vec<String>,
}

/// What a network has for a host.
#[derive(Debug)]
pub(super) struct Host {
    /// It is running. A packet to a host that is not is lost.
    pub(super) up: bool,
    pub(super) next_port: u16,
    pub(super) sockets: usize,
}

/// Settings of the whole network.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How many bytes a stream takes that the other end has not read.
    pub(crate) buffer: usize,
    /// After how long a connect gives up.
    pub(crate) connect_timeout: Duration,
    /// After how long a connection is given up whose packets do not get through.
    pub(crate) give_up: Duration,
    /// How many datagrams wait in a socket; further ones are lost.
    pub(crate) datagrams: usize,
    /// How many sockets a host may have.
    pub(crate) descriptors: usize,
    /// With which probability a send takes only a part of what there is room for.
    pub(crate) split: f64,
    /// With which probability a new socket fails for lack of descriptors, and an accept fails.
    pub(crate) exhausted: f64,
    /// With which probability a connection is gone when it is accepted.
    pub(crate) aborted: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            buffer: 128 << 10,
            connect_timeout: Duration::from_secs(127),
            give_up: Duration::from_secs(15 * 60),
            datagrams: 256,
            descriptors: 100_000,
            split: 0.25,
            exhausted: 0.0,
            aborted: 0.0,
        }
    }
}

impl Network {
    pub(crate) fn new(seed: u64) -> Network {
        let mut network = Network {
            now: 0,
            random: Random::new(seed),
            sockets: BTreeMap::new(),
            last_socket: 0,
            hosts: BTreeMap::new(),
            partitions: BTreeSet::new(),
            links: BTreeMap::new(),
            default_link: Link::new(),
            busy_until: BTreeMap::new(),
            events: BTreeMap::new(),
            planned: 0,
            stuck: Vec::new(),
            ready: VecDeque::new(),
            settings: Settings::default(),
            log: Vec::new(),
        };
        network.add_host(0);
        network
    }

    /// A host, which is up.
    pub(crate) fn add_host(&mut self, host: HostId) {
        let next_port = 32_768 + self.random.below(10_000) as u16;
        self.hosts.insert(host, Host { up: true, next_port, sockets: 0 });
    }

    pub(crate) fn settings(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// Sets how the hosts are linked: two of them, or all that have no link of their own.
    pub(crate) fn set_link(&mut self, between: Option<(HostId, HostId)>, link: Link) {
        match between {
            None => self.default_link = link,
            Some((a, b)) => _ = self.links.insert(pair(a, b), link),
        }
    }

    /// Cuts the link between two hosts. What is under way does not arrive.
    pub(crate) fn partition(&mut self, a: HostId, b: HostId) {
        self.partition_one_way(a, b);
        self.partition_one_way(b, a);
    }

    /// Cuts the link in one direction.
    pub(crate) fn partition_one_way(&mut self, from: HostId, to: HostId) {
        self.partitions.insert((from, to));
        let connections: Vec<SocketId> = self.sockets.keys().copied().collect();
        connections.into_iter().for_each(|id| self.begin_to_probe(id));
    }

    /// Mends the link.
    pub(crate) fn heal(&mut self, a: HostId, b: HostId) {
        self.partitions.remove(&(a, b));
        self.partitions.remove(&(b, a));
        self.tell_again();
    }

    /// Mends all links.
    pub(crate) fn heal_all(&mut self) {
        self.partitions.clear();
        self.tell_again();
    }

    /// A link was mended. The pauses between two tries double, so the next try comes within as much time as
    /// has passed since the first one, and within the longest pause.
    fn tell_again(&mut self) {
        self.end_probes();
        for (to, bytes, since) in std::mem::take(&mut self.stuck) {
            let longest = (self.now - since).clamp(RETRANSMIT.0, RETRANSMIT.1);
            let pause = self.random.below(longest);
            self.plan(self.now.saturating_add(pause), Event::Room { to, bytes, since });
        }
    }

    /// Whether a packet from one host reaches the other.
    pub(super) fn reaches(&self, from: HostId, to: HostId) -> bool {
        let up = |host| self.hosts.get(&host).is_some_and(|host| host.up);
        up(to) && (from == to || !self.partitions.contains(&(from, to)))
    }

    fn link(&self, from: HostId, to: HostId) -> &Link {
        self.links.get(&pair(from, to)).unwrap_or(&self.default_link)
    }

    /// When a packet of that length arrives that is sent now; whether the link loses it, duplicates it, or
    /// resets its connection. Within a host a packet takes a microsecond, and none is lost.
    pub(super) fn send_through(&mut self, from: HostId, to: HostId, len: usize) -> Way {
        if from == to {
            return Way { arrival: self.now + 1_000, lost: false, duplicate: false, reset: false };
        }
        let link = self.link(from, to).clone();
        let mut starts = self.now;
        if let Some(bandwidth) = link.bandwidth {
            let busy_until = self.busy_until.entry((from, to)).or_default();
            starts = starts.max(*busy_until);
            starts += (len as u64).saturating_mul(1_000_000_000) / bandwidth;
            *busy_until = starts;
        }
        let mut latency = self.random.between(link.latency.0, link.latency.1);
        if self.random.chance(link.slow) {
            latency = latency.saturating_mul(10);
        }
        Way {
            arrival: starts.saturating_add(latency),
            lost: self.random.chance(link.loss),
            duplicate: self.random.chance(link.duplicate),
            reset: self.random.chance(link.reset),
        }
    }

    /// Plans an event. One at the end of time never happens.
    pub(super) fn plan(&mut self, at: u64, event: Event) {
        if at == u64::MAX {
            return;
        }
        self.planned += 1;
        self.events.insert((at.max(self.now), self.planned), event);
    }

    /// Plans it for that much later.
    pub(super) fn plan_after(&mut self, time: Duration, event: Event) {
        self.plan(self.now.saturating_add(nanos(time)), event);
    }

    /// It is that late; what is due happens later.
    pub(crate) fn set_now(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// When something happens next.
    pub(crate) fn next_event(&self) -> Option<u64> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// The readiness of the socket has changed.
    pub(super) fn changed(&mut self, socket: SocketId) {
        if self.ready.back() != Some(&socket) {
            self.ready.push_back(socket);
        }
    }

    /// The sockets whose readiness has changed since the last call.
    pub(crate) fn take_ready(&mut self) -> VecDeque<SocketId> {
        std::mem::take(&mut self.ready)
    }

    /// Whether there are such.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// What has happened since the last call.
    pub(crate) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    pub(super) fn socket(&self, id: SocketId) -> Outcome<&Socket> {
        self.sockets.get(&id).ok_or(libc::EBADF)
    }

    pub(super) fn socket_mut(&mut self, id: SocketId) -> Outcome<&mut Socket> {
        self.sockets.get_mut(&id).ok_or(libc::EBADF)
    }

    /// A new socket.
    pub(crate) fn open(&mut self, host: HostId, family: Family, kind: Kind) -> Outcome<SocketId> {
        let exhausted = self.random.chance(self.settings.exhausted);
        let limit = self.settings.descriptors;
        // A host that has crashed has no socket left, so without new ones nothing that it does is sent.
        let sockets = &mut self.hosts.get_mut(&host).filter(|host| host.up).ok_or(libc::ENETDOWN)?.sockets;
        if exhausted || *sockets >= limit {
            self.log.push(format!("host {host} has no descriptor for a socket"));
            return Err(libc::EMFILE);
        }
        Ok(self.insert(host, family, kind))
    }

    pub(super) fn insert(&mut self, host: HostId, family: Family, kind: Kind) -> SocketId {
        self.last_socket += 1;
        if let Some(host) = self.hosts.get_mut(&host) {
            host.sockets += 1;
        }
        let socket = Socket {
            host,
            family,
            kind,
            state: State::Idle,
            name: Address::Unnamed,
            peer_name: Address::Unnamed,
            options: BTreeMap::new(),
            error: None,
            closed: false,
            stream: Stream::default(),
            datagrams: VecDeque::new(),
        };
        self.sockets.insert(self.last_socket, socket);
        self.last_socket
    }

    pub(super) fn remove(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.remove(&id) else { return };
        if !socket.closed {
            self.release(socket.host);
        }
        if let Some((to, _)) = socket.stream.peer {
            self.begin_to_probe(to);
        }
    }

    /// A socket of that host uses no descriptor any more.
    pub(super) fn release(&mut self, host: HostId) {
        if let Some(host) = self.hosts.get_mut(&host) {
            host.sockets = host.sockets.saturating_sub(1);
        }
    }

    /// The open sockets of a host with that name.
    fn all(
        &self,
        host: HostId,
        kind: Kind,
        name: &Address,
        listens: bool,
    ) -> impl Iterator<Item = (SocketId, &Socket)> {
        let found = self.sockets.iter().filter(move |(_, socket)| {
            socket.host == host
                && socket.kind == kind
                && !socket.closed
                && matches!(socket.state, State::Listening(_)) == listens
                // An accepted connection has its listener's name.
                && !matches!(socket.state, State::Connected | State::Connecting)
                && same_place(&socket.name, name)
        });
        found.map(|(id, socket)| (*id, socket))
    }

    /// The first of them.
    pub(super) fn find(&self, host: HostId, kind: Kind, name: &Address, listens: bool) -> Option<SocketId> {
        self.all(host, kind, name, listens).next().map(|(id, _)| id)
    }

    /// Any of them: several share a port (`SO_REUSEPORT`).
    pub(super) fn find_any(
        &mut self,
        host: HostId,
        kind: Kind,
        name: &Address,
        listens: bool,
    ) -> Option<SocketId> {
        let all: Vec<SocketId> = self.all(host, kind, name, listens).map(|(id, _)| id).collect();
        match all.len() {
            0 | 1 => all.first().copied(),
            count => Some(all[self.random.below(count as u64) as usize]),
        }
    }

    /// Whether another socket has that name, with which this one does not share it.
    pub(super) fn is_taken(&self, id: SocketId, name: &Address, listens: bool) -> bool {
        let Some(socket) = self.sockets.get(&id) else { return false };
        let mut others = self.all(socket.host, socket.kind, name, listens).filter(|(other, _)| *other != id);
        others.any(|(_, other)| !(shares_port(socket) && shares_port(other)))
    }

    /// A port that no socket of the host uses.
    pub(super) fn free_port(&mut self, host: HostId, kind: Kind) -> Outcome<u16> {
        for _ in 0..28_000 {
            let next = &mut self.hosts.get_mut(&host).ok_or(libc::ENETDOWN)?.next_port;
            let port = *next;
            *next = if port >= 60_998 { 32_768 } else { port + 1 };
            let taken = self.sockets.values().any(|socket| {
                socket.host == host
                    && socket.kind == kind
                    && matches!(&socket.name, Address::Internet(name) if name.port() == port)
            });
            if !taken {
                return Ok(port);
            }
        }
        Err(libc::EADDRINUSE)
    }
}

/// Whether `SO_REUSEPORT` is on.
fn shares_port(socket: &Socket) -> bool {
    let set = socket.options.get(&(libc::SOL_SOCKET, libc::SO_REUSEPORT));
    socket.family == Family::Internet && set.is_some_and(|set| set.iter().any(|byte| *byte != 0))
}

/// The way of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) arrival: u64,
    pub(super) lost: bool,
    pub(super) duplicate: bool,
    pub(super) reset: bool,
}

fn pair(a: HostId, b: HostId) -> (HostId, HostId) {
    (a.min(b), a.max(b))
}

/// Whether a socket of the first name gets what is sent to the second one, on the same host.
fn same_place(bound: &Address, wanted: &Address) -> bool {
    match (bound, wanted) {
        (Address::Internet(bound), Address::Internet(wanted)) => {
            let any = |address: &Ipv4Addr| address.is_unspecified();
            bound.port() == wanted.port()
                && (bound.ip() == wanted.ip() || any(bound.ip()) || any(wanted.ip()))
        }
        (Address::Unix(bound), Address::Unix(wanted)) => bound == wanted,
        _ => false,
    }
}
