//! A network in memory: hosts, links, TCP, UDP and Unix sockets. It is a state machine: calls change its
//! state, and [`Network::advance`] does what is due at a time. It knows no runtime, no descriptor and no
//! clock, and the same seed with the same calls gives the same network.
//!
//! - [`types`]: hosts, addresses, sockets, and what is under way.
//! - [`random`]: its generator. [`link`]: how a link behaves.
//! - [`engine`]: its state, the queue of events, the way of a packet.
//! - [`stream`]: listeners, connects, connections. [`probes`]: whether the other end is still there.
//!   [`datagram`]: datagrams.
//! - This file: the calls that all sockets share, the events, and hosts that crash.
//!
//! Times are nanoseconds since the network was made.

mod datagram;
mod engine;
mod link;
mod probes;
mod random;
mod stream;
#[cfg(test)]
mod tests;
mod types;

pub(crate) use engine::Network;
pub use link::Link;
pub(crate) use random::Random;
pub(crate) use types::{Address, Family, HostId, Kind, Outcome, SocketId, address_of};

use std::net::SocketAddrV4;
use types::{Event, Options, State, host_at};

impl Network {
    /// It is `now`: does what is due, in the order of time.
    pub(crate) fn advance(&mut self, now: u64) {
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= now
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happens(event);
        }
        self.now = self.now.max(now);
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Request { client, from, to, tries } => self.request_arrives(client, from, to, tries),
            Event::Answer { client, server } => self.answer_arrives(client, server),
            Event::ConnectTimeout { client } => self.connect_times_out(client),
            Event::Packet { from, to, number, packet } => self.packet_arrives(from, to, number, packet),
            Event::Again { from } => self.send_again(from),
            Event::Room { to, bytes, since } => self.room_arrives(to, bytes, since),
            Event::Probe { from } => self.probe(from),
            Event::Reset { to, from, errno } => self.reset_arrives(to, from, errno),
            Event::Datagram { from, sender, host, to, bytes } => {
                self.datagram_arrives(from, sender, host, to, bytes);
            }
            Event::Unreachable { to, from } => self.unreachable_arrives(to, from),
        }
    }

    /// `bind(2)`.
    pub(crate) fn bind(&mut self, id: SocketId, name: Address) -> Outcome<()> {
        let socket = self.socket(id)?;
        let (host, family, kind) = (socket.host, socket.family, socket.kind);
        if socket.name != Address::Unnamed {
            return Err(libc::EINVAL);
        }
        let name = match (family, name) {
            (Family::Internet, Address::Internet(name)) => {
                if host_at(*name.ip(), host) != Some(host) {
                    return Err(libc::EADDRNOTAVAIL);
                }
                let port = if name.port() == 0 { self.free_port(host, kind)? } else { name.port() };
                Address::Internet(SocketAddrV4::new(*name.ip(), port))
            }
            // The kernel chooses an abstract name.
            (Family::Unix, Address::Unnamed) => Address::Unix(format!("\0{id:05x}").into_bytes()),
            (Family::Unix, name @ Address::Unix(_)) => name,
            _ => return Err(libc::EINVAL),
        };
        if self.is_taken(id, &name, true) || kind == Kind::Datagram && self.is_taken(id, &name, false) {
            return Err(libc::EADDRINUSE);
        }
        self.socket_mut(id)?.name = name;
        Ok(())
    }

    /// `connect(2)`.
    pub(crate) fn connect(&mut self, id: SocketId, to: &Address) -> Outcome<()> {
        let socket = self.socket(id)?;
        match (socket.family, to) {
            (Family::Internet, Address::Internet(_)) | (Family::Unix, Address::Unix(_)) => {}
            _ => return Err(libc::EAFNOSUPPORT),
        }
        match socket.kind {
            Kind::Stream => self.connect_stream(id, to),
            Kind::Datagram => self.connect_datagram(id, to),
        }
    }

    /// Sends bytes or a datagram.
    pub(crate) fn send(&mut self, id: SocketId, bytes: &[u8], to: Option<&Address>) -> Outcome<usize> {
        match self.socket(id)?.kind {
            Kind::Stream => self.send_stream(id, bytes),
            Kind::Datagram => self.send_datagram(id, bytes, to),
        }
    }

    /// Receives up to that many bytes of a stream, or a whole datagram with its sender.
    pub(crate) fn receive(&mut self, id: SocketId, most: usize, peek: bool) -> Outcome<(Vec<u8>, Address)> {
        match self.socket(id)?.kind {
            Kind::Stream => self.receive_stream(id, most, peek).map(|bytes| (bytes, Address::Unnamed)),
            Kind::Datagram => self.receive_datagram(id, peek),
        }
    }

    /// `shutdown(2)`.
    pub(crate) fn shutdown(&mut self, id: SocketId, read: bool, write: bool) -> Outcome<()> {
        match self.socket(id)?.kind {
            Kind::Stream => self.shutdown_stream(id, read, write),
            Kind::Datagram => {
                let socket = self.socket_mut(id)?;
                socket.stream.read_shut |= read;
                socket.stream.finished |= write;
                self.changed(id);
                Ok(())
            }
        }
    }

    /// The program has closed the socket.
    pub(crate) fn close(&mut self, id: SocketId) {
        match self.sockets.get(&id).map(|socket| socket.kind) {
            Some(Kind::Stream) => self.close_stream(id),
            Some(Kind::Datagram) => self.remove(id),
            None => {}
        }
    }

    /// The socket's own address.
    pub(crate) fn name(&self, id: SocketId) -> Outcome<Address> {
        self.socket(id).map(|socket| socket.name.clone())
    }

    /// The address of its peer.
    pub(crate) fn peer_name(&self, id: SocketId) -> Outcome<Address> {
        let socket = self.socket(id)?;
        let connected = match socket.kind {
            Kind::Stream => matches!(socket.state, State::Connected) && !socket.stream.broken,
            Kind::Datagram => socket.peer_name != Address::Unnamed,
        };
        if connected { Ok(socket.peer_name.clone()) } else { Err(libc::ENOTCONN) }
    }

    /// The family and the kind of a socket.
    pub(crate) fn kind(&self, id: SocketId) -> Outcome<(Family, Kind)> {
        self.socket(id).map(|socket| (socket.family, socket.kind))
    }

    /// Takes the pending error.
    pub(crate) fn take_error(&mut self, id: SocketId) -> Outcome<libc::c_int> {
        self.socket_mut(id).map(|socket| socket.error.take().unwrap_or(0))
    }

    /// Whether it listens.
    pub(crate) fn listens(&self, id: SocketId) -> Outcome<bool> {
        self.socket(id).map(|socket| matches!(socket.state, State::Listening(_)))
    }

    /// The options that were set. Most of them mean nothing here.
    pub(crate) fn options(&mut self, id: SocketId) -> Outcome<&mut Options> {
        self.socket_mut(id).map(|socket| &mut socket.options)
    }

    /// What `poll(2)` reports for the socket.
    pub(crate) fn readiness(&self, id: SocketId) -> libc::c_short {
        let Ok(socket) = self.socket(id) else { return libc::POLLNVAL };
        let mut state = 0;
        let mut set = |flags: libc::c_short, on: bool| state |= if on { flags } else { 0 };
        let stream = &socket.stream;
        set(libc::POLLERR, socket.error.is_some());
        match &socket.state {
            State::Listening(listener) => {
                set(libc::POLLIN, !listener.queue.is_empty());
                set(libc::POLLIN | libc::POLLHUP | libc::POLLRDHUP, stream.read_shut);
            }
            _ if socket.kind == Kind::Datagram => {
                set(libc::POLLIN, !socket.datagrams.is_empty() || socket.error.is_some() || stream.read_shut);
                set(libc::POLLOUT, true);
            }
            State::Connecting => {}
            State::Idle => {
                set(libc::POLLOUT | libc::POLLHUP, true);
                set(libc::POLLIN | libc::POLLRDHUP, stream.broken);
            }
            State::Connected => {
                let ended = stream.ended || stream.read_shut || stream.broken;
                set(libc::POLLIN, !stream.inbox.is_empty() || ended || socket.error.is_some());
                set(libc::POLLRDHUP, ended);
                set(libc::POLLHUP, stream.broken || ended && stream.finished);
                let room = stream.outstanding < self.settings.buffer && !stream.wants_room;
                set(libc::POLLOUT, room || stream.broken || stream.finished);
            }
        }
        state
    }

    /// The host stops. Its sockets are gone; half of the time the others learn of it at once, as if only the
    /// program had died, and half of the time when they next send something that arrives, if ever, or wait
    /// for room.
    pub(crate) fn crash(&mut self, host: HostId) {
        let resets = self.random.chance(0.5);
        let gone: Vec<SocketId> =
            self.sockets.iter().filter(|(_, socket)| socket.host == host).map(|(id, _)| *id).collect();
        for id in gone {
            let peer = self.sockets[&id].stream.peer;
            if let Some((to, _)) = peer
                && resets
            {
                let way = self.now + 1_000_000;
                self.plan(way, Event::Reset { to, from: host, errno: libc::ECONNRESET });
            }
            self.sockets.remove(&id);
            if let Some((to, _)) = peer {
                self.begin_to_probe(to);
            }
        }
        if let Some(host) = self.hosts.get_mut(&host) {
            (host.up, host.sockets) = (false, 0);
        }
    }

    /// The host runs again.
    pub(crate) fn restart(&mut self, host: HostId) {
        if let Some(host) = self.hosts.get_mut(&host) {
            host.up = true;
        }
    }
}
