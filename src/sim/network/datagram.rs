//! Datagrams: each finds its own way, so they overtake each other, get lost and arrive twice.

use super::engine::Network;
use super::types::{Address, Event, Family, HostId, Kind, Outcome, SocketId, address_of, host_at};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The most bytes of a datagram.
const LARGEST: usize = 65_507;

impl Network {
    /// Connects a datagram socket: to where it sends, and from where it receives.
    pub(super) fn connect_datagram(&mut self, id: SocketId, to: &Address) -> Outcome<()> {
        let (host, kind) = (self.socket(id)?.host, Kind::Datagram);
        if let Address::Unix(_) = to
            && self.find(host, kind, to, false).is_none()
        {
            return Err(libc::ECONNREFUSED);
        }
        self.name_for_sending(id)?;
        self.socket_mut(id)?.peer_name = to.clone();
        Ok(())
    }

    /// Gives an internet socket a port, if it has none.
    fn name_for_sending(&mut self, id: SocketId) -> Outcome<()> {
        let socket = self.socket(id)?;
        let host = socket.host;
        if socket.family == Family::Internet && socket.name == Address::Unnamed {
            let port = self.free_port(host, Kind::Datagram)?;
            self.socket_mut(id)?.name = Address::Internet(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
        }
        Ok(())
    }

    /// Sends a datagram.
    pub(super) fn send_datagram(
        &mut self,
        id: SocketId,
        bytes: &[u8],
        to: Option<&Address>,
    ) -> Outcome<usize> {
        let socket = self.socket_mut(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        if socket.stream.finished {
            return Err(libc::EPIPE);
        }
        let to = match to {
            Some(to) => to.clone(),
            None if socket.peer_name == Address::Unnamed => {
                return Err(if socket.family == Family::Unix { libc::ENOTCONN } else { libc::EDESTADDRREQ });
            }
            None => socket.peer_name.clone(),
        };
        if bytes.len() > LARGEST {
            return Err(libc::EMSGSIZE);
        }
        match to {
            Address::Internet(to) => self.send_internet(id, bytes, to),
            to => self.send_unix(id, bytes, &to),
        }
    }

    fn send_internet(&mut self, id: SocketId, bytes: &[u8], to: SocketAddrV4) -> Outcome<usize> {
        self.name_for_sending(id)?;
        let socket = self.socket(id)?;
        let (host, name) = (socket.host, socket.name.clone());
        let to_host = host_at(*to.ip(), host).ok_or(libc::ENETUNREACH)?;
        let sender = match name {
            Address::Internet(name) if name.ip().is_unspecified() => {
                let from = if to.ip().is_loopback() { Ipv4Addr::LOCALHOST } else { address_of(host) };
                Address::Internet(SocketAddrV4::new(from, name.port()))
            }
            name => name,
        };
        let way = self.send_through(host, to_host, bytes.len());
        let event = Event::Datagram { from: id, sender, host, to, bytes: bytes.to_vec() };
        if way.duplicate {
            let second = self.send_through(host, to_host, bytes.len());
            self.plan(second.arrival, event.clone());
        }
        if !way.lost {
            self.plan(way.arrival, event);
        }
        Ok(bytes.len())
    }

    /// Within a host nothing is lost: the sender waits while the queue is full.
    fn send_unix(&mut self, id: SocketId, bytes: &[u8], to: &Address) -> Outcome<usize> {
        let socket = self.socket(id)?;
        let (host, name, most) = (socket.host, socket.name.clone(), self.settings.datagrams);
        let Some(receiver) = self.find(host, Kind::Datagram, to, false) else {
            return Err(libc::ECONNREFUSED);
        };
        let queue = &mut self.socket_mut(receiver)?.datagrams;
        if queue.len() >= most {
            return Err(libc::EAGAIN);
        }
        queue.push_back((bytes.to_vec(), name));
        self.changed(receiver);
        Ok(bytes.len())
    }

    /// A datagram arrives.
    pub(super) fn datagram_arrives(
        &mut self,
        from: SocketId,
        sender: Address,
        host: HostId,
        to: SocketAddrV4,
        bytes: Vec<u8>,
    ) {
        let Some(to_host) = host_at(*to.ip(), host) else { return };
        if !self.reaches(host, to_host) {
            return;
        }
        let receiver = self.find_any(to_host, Kind::Datagram, &Address::Internet(to), false);
        let Some(receiver) = receiver else {
            let way = self.send_through(to_host, host, 64);
            return self.plan(way.arrival, Event::Unreachable { to: from, from: to_host });
        };
        let most = self.settings.datagrams;
        let socket = self.sockets.get_mut(&receiver).expect("it was found");
        // A connected socket receives from its peer alone.
        let is_peer = socket.peer_name == Address::Unnamed || socket.peer_name == sender;
        if is_peer && socket.datagrams.len() < most {
            socket.datagrams.push_back((bytes, sender));
            self.changed(receiver);
        }
    }

    /// The news arrives that nobody was there for a datagram. Only a connected socket hears of it.
    pub(super) fn unreachable_arrives(&mut self, to: SocketId, from: HostId) {
        let Some(socket) = self.sockets.get(&to) else { return };
        if socket.peer_name != Address::Unnamed && self.reaches(from, socket.host) {
            self.sockets.get_mut(&to).expect("it was there").error = Some(libc::ECONNREFUSED);
            self.changed(to);
        }
    }

    /// Receives the first datagram, with its sender.
    pub(super) fn receive_datagram(&mut self, id: SocketId, peek: bool) -> Outcome<(Vec<u8>, Address)> {
        let socket = self.socket_mut(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let first = if peek { socket.datagrams.front().cloned() } else { socket.datagrams.pop_front() };
        match first {
            Some(datagram) => Ok(datagram),
            None if socket.stream.read_shut => Ok((Vec::new(), Address::Unnamed)),
            None => Err(libc::EAGAIN),
        }
    }
}
