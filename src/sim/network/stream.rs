//! Streams: listeners, connects, and connections with their bytes.
//!
//! A connection has two ends, which know each other by number. What an end sends is an event for the other,
//! after a time that its link decides, and never before what was sent earlier. A packet that does not get
//! through (a loss, a partition, a host that is down) is held, and everything after it with it, until it is
//! sent again.
//!
//! *Room.* A send takes what fits into `Settings::buffer`, less what the other end has not read. A read gives
//! room back, once the news of it has arrived. So a reader that is slow stops its writer, as TCP does.
//!
//! *An end that is gone without a word* (its host has crashed, or its reset was lost) is noticed by the other
//! one when a packet finds that out, or by its questions (`probes.rs`).
//!
//! *Acknowledgements* are no packets of their own. A packet is acknowledged when it arrives, if the way back
//! is open. Otherwise it is sent again, as one that was lost, and taken in once.
//!
//! *A short count says something.* A read that returns less than it was asked for has emptied the inbox,
//! and a write that takes less has filled the room; the caller relies on it. So what arrives is cut into
//! packets by chance, and the room may shrink by chance, but a call takes all that there is.

use super::engine::{Network, RETRANSMIT};
use super::random::nanos;
use super::types::{
    Address, Event, Family, HostId, Kind, Listener, Options, Outcome, Packet, SocketId, State, address_of,
    host_at,
};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// The most bytes of a packet.
const PACKET: usize = 16 << 10;

impl Network {
    /// Makes the socket a listener.
    pub(crate) fn listen(&mut self, id: SocketId, backlog: usize) -> Outcome<()> {
        let socket = self.socket(id)?;
        if socket.kind != Kind::Stream {
            return Err(libc::EOPNOTSUPP);
        }
        let (host, family, name) = (socket.host, socket.family, socket.name.clone());
        match socket.state {
            State::Idle => {}
            State::Listening(_) => return Ok(()),
            State::Connecting | State::Connected => return Err(libc::EINVAL),
        }
        let name = match name {
            Address::Unnamed if family == Family::Unix => return Err(libc::EINVAL),
            Address::Unnamed => {
                let port = self.free_port(host, Kind::Stream)?;
                Address::Internet(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))
            }
            name => name,
        };
        if self.is_taken(id, &name, true) {
            return Err(libc::EADDRINUSE);
        }
        let listener = Listener { backlog: backlog.max(1), ..Listener::default() };
        let socket = self.socket_mut(id)?;
        (socket.name, socket.state) = (name, State::Listening(listener));
        Ok(())
    }

    /// Takes a connection out of a listener's queue.
    pub(crate) fn accept(&mut self, id: SocketId) -> Outcome<(SocketId, Address)> {
        let (exhausted, aborted) = (self.settings.exhausted, self.settings.aborted);
        let limit = self.settings.descriptors;
        let host = self.socket(id)?.host;
        let sockets = self.hosts.get(&host).map_or(0, |host| host.sockets);
        let State::Listening(listener) = &mut self.socket_mut(id)?.state else { return Err(libc::EINVAL) };
        let Some(&connection) = listener.queue.front() else { return Err(libc::EAGAIN) };
        // A connection in the queue counts as a socket already.
        if sockets > limit || self.random.chance(exhausted) {
            self.log.push(format!("host {host} has no descriptor for an accept"));
            return Err(libc::EMFILE);
        }
        let State::Listening(listener) = &mut self.socket_mut(id)?.state else { return Err(libc::EINVAL) };
        listener.queue.pop_front();
        if self.random.chance(aborted) {
            self.log.push(format!("connection {connection} is gone when it is accepted"));
            self.reset_other(connection, libc::ECONNRESET);
            self.remove(connection);
            return Err(libc::ECONNABORTED);
        }
        let socket = self.socket_mut(connection)?;
        socket.stream.listener = None;
        Ok((connection, socket.peer_name.clone()))
    }

    /// Begins to connect a stream. `EINPROGRESS` if that takes time; a Unix socket connects at once.
    pub(super) fn connect_stream(&mut self, id: SocketId, to: &Address) -> Outcome<()> {
        let socket = self.socket_mut(id)?;
        match socket.state {
            State::Idle if socket.error.is_some() => return Err(socket.error.take().expect("it is some")),
            State::Idle => {}
            State::Listening(_) => return Err(libc::EINVAL),
            State::Connecting => return Err(libc::EALREADY),
            State::Connected => return Err(libc::EISCONN),
        }
        let host = socket.host;
        match to {
            Address::Unix(_) => self.connect_unix(id, host, to),
            Address::Internet(to) => self.connect_internet(id, host, *to),
            Address::Unnamed => Err(libc::EINVAL),
        }
    }

    fn connect_unix(&mut self, id: SocketId, host: HostId, to: &Address) -> Outcome<()> {
        let Some(listener) = self.find(host, Kind::Stream, to, true) else {
            return Err(match to {
                Address::Unix(name) if name.first() != Some(&0) => libc::ENOENT,
                _ => libc::ECONNREFUSED,
            });
        };
        if self.is_full(listener) {
            return Err(libc::EAGAIN);
        }
        let server = self.serve(listener, id, host, Address::Unnamed);
        let socket = self.socket_mut(id)?;
        (socket.state, socket.stream.peer) = (State::Connected, Some((server, host)));
        socket.peer_name = to.clone();
        self.enqueue(server);
        Ok(())
    }

    fn connect_internet(&mut self, id: SocketId, host: HostId, to: SocketAddrV4) -> Outcome<()> {
        let to_host = host_at(*to.ip(), host).ok_or(libc::ENETUNREACH)?;
        if matches!(self.socket(id)?.name, Address::Unnamed) {
            let port = self.free_port(host, Kind::Stream)?;
            let local = match () {
                () if to_host != host => address_of(host),
                () if to.ip().is_unspecified() => Ipv4Addr::LOCALHOST,
                () => *to.ip(),
            };
            self.socket_mut(id)?.name = Address::Internet(SocketAddrV4::new(local, port));
        }
        let to =
            if to.ip().is_unspecified() { SocketAddrV4::new(Ipv4Addr::LOCALHOST, to.port()) } else { to };
        let socket = self.socket_mut(id)?;
        socket.state = State::Connecting;
        socket.peer_name = Address::Internet(to);
        let timeout = self.settings.connect_timeout;
        self.plan_after(timeout, Event::ConnectTimeout { client: id });
        self.request(id, host, to, 0);
        Err(libc::EINPROGRESS)
    }

    /// Sends a connection request.
    fn request(&mut self, client: SocketId, from: HostId, to: SocketAddrV4, tries: u32) {
        let to_host = host_at(*to.ip(), from).unwrap_or(from);
        let way = self.send_through(from, to_host, 64);
        if way.lost {
            self.request_again(client, from, to, tries);
        } else {
            self.plan(way.arrival, Event::Request { client, from, to, tries });
        }
    }

    /// As TCP does: after a second, and twice as long each further time.
    fn request_again(&mut self, client: SocketId, from: HostId, to: SocketAddrV4, tries: u32) {
        if tries < 7 {
            let later = Duration::from_secs(1 << tries);
            // Arriving is all that is left out of this attempt.
            self.plan_after(later, Event::Request { client, from, to, tries: tries + 1 });
        }
    }

    /// A connection request arrives.
    pub(super) fn request_arrives(&mut self, client: SocketId, from: HostId, to: SocketAddrV4, tries: u32) {
        if !self.sockets.get(&client).is_some_and(|socket| matches!(socket.state, State::Connecting)) {
            return;
        }
        let Some(host) = host_at(*to.ip(), from) else { return };
        if !self.reaches(from, host) {
            return self.request_again(client, from, to, tries);
        }
        let Some(listener) = self.find_any(host, Kind::Stream, &Address::Internet(to), true) else {
            let way = self.send_through(host, from, 64);
            return self
                .plan(way.arrival, Event::Reset { to: client, from: host, errno: libc::ECONNREFUSED });
        };
        if self.is_full(listener) {
            self.log.push(format!("the queue of {to} is full"));
            return self.request_again(client, from, to, tries);
        }
        let peer_name = match &self.sockets[&client].name {
            Address::Internet(name) if name.ip().is_unspecified() => {
                Address::Internet(SocketAddrV4::new(address_of(from), name.port()))
            }
            name => name.clone(),
        };
        let server = self.serve(listener, client, from, peer_name);
        self.sockets.get_mut(&server).expect("it is new").name = Address::Internet(to);
        let way = self.send_through(host, from, 64);
        self.plan(way.arrival, Event::Answer { client, server });
    }

    fn is_full(&self, listener: SocketId) -> bool {
        match &self.sockets[&listener].state {
            State::Listening(listener) => listener.queue.len() + listener.begun >= listener.backlog,
            _ => true,
        }
    }

    /// The server's end of a connection whose handshake is under way.
    fn serve(&mut self, listener: SocketId, client: SocketId, from: HostId, peer_name: Address) -> SocketId {
        let socket = &self.sockets[&listener];
        let (host, family, name) = (socket.host, socket.family, socket.name.clone());
        let server = self.insert(host, family, Kind::Stream);
        // Some options are inherited.
        let options = self.sockets[&listener].options.clone();
        let socket = self.sockets.get_mut(&server).expect("it is new");
        (socket.state, socket.name, socket.peer_name) = (State::Connected, name, peer_name);
        socket.options = options;
        socket.stream.peer = Some((client, from));
        socket.stream.listener = Some(listener);
        if let Some(State::Listening(listener)) = self.sockets.get_mut(&listener).map(|one| &mut one.state) {
            listener.begun += 1;
        }
        server
    }

    /// The connection can be accepted.
    fn enqueue(&mut self, server: SocketId) {
        let Some(listener) = self.sockets.get(&server).and_then(|socket| socket.stream.listener) else {
            return;
        };
        match self.sockets.get_mut(&listener).map(|socket| &mut socket.state) {
            Some(State::Listening(queue)) => {
                queue.begun = queue.begun.saturating_sub(1);
                queue.queue.push_back(server);
                self.changed(listener);
            }
            // The listener was closed meanwhile.
            _ => {
                self.reset_other(server, libc::ECONNRESET);
                self.remove(server);
            }
        }
    }

    /// The answer to a connection request arrives.
    pub(super) fn answer_arrives(&mut self, client: SocketId, server: SocketId) {
        let Some(server_host) = self.sockets.get(&server).map(|socket| socket.host) else { return };
        let Some(socket) = self.sockets.get_mut(&client) else { return self.forget_begun(server) };
        if !matches!(socket.state, State::Connecting) {
            return self.forget_begun(server);
        }
        let host = socket.host;
        if !self.reaches(server_host, host) {
            let again = self.now + RETRANSMIT.0 * 5;
            return self.plan(again, Event::Answer { client, server });
        }
        let socket = self.sockets.get_mut(&client).expect("it was there");
        socket.state = State::Connected;
        socket.stream.peer = Some((server, server_host));
        self.send_packet(client, Packet::Open);
        self.changed(client);
    }

    /// The client has given up before the handshake ended.
    fn forget_begun(&mut self, server: SocketId) {
        let listener = self.sockets.get(&server).and_then(|socket| socket.stream.listener);
        if let Some(State::Listening(listener)) =
            listener.and_then(|listener| self.sockets.get_mut(&listener)).map(|socket| &mut socket.state)
        {
            listener.begun = listener.begun.saturating_sub(1);
        }
        self.remove(server);
    }

    pub(super) fn connect_times_out(&mut self, client: SocketId) {
        if let Some(socket) = self.sockets.get_mut(&client)
            && matches!(socket.state, State::Connecting)
        {
            (socket.state, socket.error) = (State::Idle, Some(libc::ETIMEDOUT));
            socket.stream.broken = true;
            self.changed(client);
        }
    }

    /// Sends bytes, as far as there is room.
    pub(super) fn send_stream(&mut self, id: SocketId, bytes: &[u8]) -> Outcome<usize> {
        let (buffer, split) = (self.settings.buffer, self.settings.split);
        let less = self.random.chance(split);
        let part = self.random.next();
        let socket = self.socket_mut(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        match socket.state {
            State::Connected => {}
            State::Connecting => return Err(libc::EAGAIN),
            _ if socket.stream.broken => return Err(libc::EPIPE),
            _ => return Err(libc::ENOTCONN),
        }
        let stream = &mut socket.stream;
        if stream.broken || stream.finished {
            return Err(libc::EPIPE);
        }
        let free = buffer.saturating_sub(stream.outstanding);
        // The kernel, too, takes less than there is room for at times. What was sent keeps giving room
        // back, so the caller is told of it; with nothing outstanding nothing would.
        let room =
            if less && stream.outstanding > 0 && free > 1 { 1 + (part % free as u64) as usize } else { free };
        let count = bytes.len().min(room);
        stream.wants_room = count < bytes.len();
        stream.outstanding += count;
        if count < bytes.len() {
            self.begin_to_probe(id);
        }
        if count == 0 {
            return Err(libc::EAGAIN);
        }
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            let mut len = rest.len().min(PACKET);
            if len > 1 && self.random.chance(split) {
                len = 1 + self.random.below(len as u64 - 1) as usize;
            }
            self.send_packet(id, Packet::Data(rest[..len].to_vec()));
            rest = &rest[len..];
        }
        Ok(count)
    }

    /// Sends a packet to the other end, which takes it in after the packets that were sent before.
    fn send_packet(&mut self, from: SocketId, packet: Packet) {
        let Some(socket) = self.sockets.get_mut(&from) else { return };
        let number = socket.stream.next;
        socket.stream.next += 1;
        self.transmit(from, number, packet);
    }

    fn transmit(&mut self, from: SocketId, number: u64, packet: Packet) {
        let Some(socket) = self.sockets.get(&from) else { return };
        let (host, Some((to, to_host))) = (socket.host, socket.stream.peer) else { return };
        let len = if let Packet::Data(bytes) = &packet { bytes.len() } else { 64 };
        let way = self.send_through(host, to_host, len);
        if way.reset && matches!(packet, Packet::Data(_)) {
            self.log.push(format!("the link resets connection {from}"));
            self.plan(way.arrival, Event::Reset { to, from: host, errno: libc::ECONNRESET });
            self.plan(way.arrival, Event::Reset { to: from, from: to_host, errno: libc::ECONNRESET });
        }
        if way.lost {
            return self.hold(from, number, packet);
        }
        self.plan(way.arrival, Event::Packet { from: (from, host), to: (to, to_host), number, packet });
    }

    /// The packet has not got through.
    fn hold(&mut self, from: SocketId, number: u64, packet: Packet) {
        let now = self.now;
        let Some(socket) = self.sockets.get_mut(&from) else { return };
        let stream = &mut socket.stream;
        if stream.broken {
            return;
        }
        stream.held.insert(number, packet);
        if stream.held.len() == 1 {
            if stream.tries == 0 {
                stream.held_since = now;
            }
            self.pause(from);
        }
    }

    /// Sends what is held again after a pause, which is twice as long as the one before.
    fn pause(&mut self, from: SocketId) {
        let stream = &mut self.sockets.get_mut(&from).expect("it was there").stream;
        let pause = (RETRANSMIT.0 << stream.tries.min(20)).min(RETRANSMIT.1);
        stream.tries += 1;
        self.plan(self.now + pause, Event::Again { from });
    }

    /// Sends what was held.
    pub(super) fn send_again(&mut self, from: SocketId) {
        let (now, give_up) = (self.now, nanos(self.settings.give_up));
        let Some(socket) = self.sockets.get_mut(&from) else { return };
        let (host, stream) = (socket.host, &mut socket.stream);
        let Some((_, to_host)) = stream.peer else { return };
        if stream.held.is_empty() {
            return;
        }
        if now - stream.held_since >= give_up {
            return self.breaks(from, libc::ETIMEDOUT);
        }
        if !self.reaches(host, to_host) {
            return self.pause(from);
        }
        let stream = &mut self.sockets.get_mut(&from).expect("it was there").stream;
        for (number, packet) in std::mem::take(&mut stream.held) {
            self.transmit(from, number, packet);
        }
    }

    /// A packet arrives.
    pub(super) fn packet_arrives(
        &mut self,
        (from, host): (SocketId, HostId),
        (to, to_host): (SocketId, HostId),
        number: u64,
        packet: Packet,
    ) {
        if !self.reaches(host, to_host) {
            return self.hold(from, number, packet);
        }
        let is_acknowledged = self.reaches(to_host, host);
        if !is_acknowledged {
            self.hold(from, number, packet.clone());
        }
        let Some(socket) = self.sockets.get_mut(&to) else { return self.answer_with_reset(from, to) };
        if number >= socket.stream.expected {
            socket.stream.early.insert(number, packet);
        }
        if is_acknowledged && let Some(sender) = self.sockets.get_mut(&from) {
            (sender.stream.tries, sender.stream.held_since) = (0, self.now);
        }
        while let Some(socket) = self.sockets.get_mut(&to)
            && let Some(packet) = socket.stream.early.remove(&socket.stream.expected)
        {
            socket.stream.expected += 1;
            self.take_in(from, to, packet);
        }
    }

    fn take_in(&mut self, from: SocketId, to: SocketId, packet: Packet) {
        let Some(socket) = self.sockets.get_mut(&to) else { return };
        if socket.stream.broken || socket.closed && matches!(packet, Packet::Data(_)) {
            return self.answer_with_reset(from, to);
        }
        match packet {
            Packet::Open => return self.enqueue(to),
            // Also if this end reads no more: as on Linux, a read gets what comes all the same.
            Packet::Data(bytes) => socket.stream.inbox.extend(bytes),
            Packet::End => {
                socket.stream.ended = true;
                if let Some(sender) = self.sockets.get_mut(&from) {
                    sender.stream.end_arrived = true;
                }
                self.remove_if_over(from);
                self.remove_if_over(to);
            }
        }
        self.changed(to);
    }

    /// Removes an end that was closed once both ends know that they send no more.
    fn remove_if_over(&mut self, id: SocketId) {
        let over = self.sockets.get(&id).is_some_and(|socket| {
            let stream = &socket.stream;
            socket.closed && stream.ended && stream.end_arrived
        });
        if over {
            self.sockets.remove(&id);
        }
    }

    /// Nobody is there for a packet.
    pub(super) fn answer_with_reset(&mut self, to: SocketId, by: SocketId) {
        let Some(socket) = self.sockets.get_mut(&to) else { return };
        let (host, Some((_, from))) = (socket.host, socket.stream.peer) else { return };
        socket.stream.unanswered = true;
        self.remove_if_closed(by);
        let way = self.send_through(from, host, 64);
        self.plan(way.arrival, Event::Reset { to, from, errno: libc::ECONNRESET });
    }

    fn remove_if_closed(&mut self, id: SocketId) {
        if self.sockets.get(&id).is_some_and(|socket| socket.closed) {
            self.remove(id);
        }
    }

    /// Sends a reset to the other end.
    fn reset_other(&mut self, id: SocketId, errno: libc::c_int) {
        let Some(socket) = self.sockets.get(&id) else { return };
        let (from, Some((to, to_host))) = (socket.host, socket.stream.peer) else { return };
        let way = self.send_through(from, to_host, 64);
        self.plan(way.arrival, Event::Reset { to, from, errno });
    }

    /// A reset arrives.
    pub(super) fn reset_arrives(&mut self, to: SocketId, from: HostId, errno: libc::c_int) {
        let Some(socket) = self.sockets.get(&to) else { return };
        if self.reaches(from, socket.host) {
            self.breaks(to, errno);
        } else {
            self.begin_to_probe(to);
        }
    }

    /// The connection is gone.
    pub(super) fn breaks(&mut self, id: SocketId, errno: libc::c_int) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if socket.closed {
            return self.remove(id);
        }
        if socket.stream.broken {
            return;
        }
        let refused = matches!(socket.state, State::Connecting);
        // As Linux has it: the other end has closed the connection before.
        let is_late = socket.stream.ended && errno == libc::ECONNRESET;
        socket.stream.broken = true;
        socket.stream.held.clear();
        socket.error = Some(if is_late { libc::EPIPE } else { errno });
        if refused {
            socket.state = State::Idle;
        }
        self.changed(id);
    }

    /// Reads what has arrived, up to that many bytes.
    pub(super) fn receive_stream(&mut self, id: SocketId, most: usize, peek: bool) -> Outcome<Vec<u8>> {
        let socket = self.socket_mut(id)?;
        let stream = &mut socket.stream;
        if !stream.inbox.is_empty() && most > 0 {
            let count = most.min(stream.inbox.len());
            if peek {
                return Ok(stream.inbox.iter().take(count).copied().collect());
            }
            let bytes = stream.inbox.drain(..count).collect();
            self.give_room(id, count);
            return Ok(bytes);
        }
        // After the end comes the end, whatever has become of the connection.
        if socket.stream.ended {
            return Ok(Vec::new());
        }
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let stream = &socket.stream;
        match socket.state {
            _ if stream.read_shut || stream.broken => Ok(Vec::new()),
            State::Connected if most == 0 => Ok(Vec::new()),
            State::Connected | State::Connecting => Err(libc::EAGAIN),
            State::Idle | State::Listening(_) => Err(libc::ENOTCONN),
        }
    }

    /// Tells the other end how many bytes were read.
    fn give_room(&mut self, reader: SocketId, bytes: usize) {
        let Some(socket) = self.sockets.get(&reader) else { return };
        let (host, Some((to, to_host))) = (socket.host, socket.stream.peer) else { return };
        let way = self.send_through(host, to_host, 64);
        self.plan(way.arrival, Event::Room { to, bytes, since: self.now });
    }

    /// The news that bytes were read arrives.
    pub(super) fn room_arrives(&mut self, to: SocketId, bytes: usize, since: u64) {
        let Some(socket) = self.sockets.get(&to) else { return };
        let (host, Some((_, from))) = (socket.host, socket.stream.peer) else { return };
        if !self.reaches(from, host) {
            return self.stuck.push((to, bytes, since));
        }
        let stream = &mut self.sockets.get_mut(&to).expect("it was there").stream;
        stream.outstanding = stream.outstanding.saturating_sub(bytes);
        if std::mem::take(&mut stream.wants_room) {
            self.changed(to);
        }
    }

    /// `setsockopt(2)`.
    pub(crate) fn set_option(
        &mut self,
        id: SocketId,
        option: (libc::c_int, libc::c_int),
        value: &[u8],
    ) -> Outcome<()> {
        self.options(id)?.insert(option, value.to_vec());
        self.begin_to_probe(id);
        Ok(())
    }

    /// `shutdown(2)`.
    pub(super) fn shutdown_stream(&mut self, id: SocketId, read: bool, write: bool) -> Outcome<()> {
        let socket = self.socket_mut(id)?;
        match socket.state {
            State::Connected => {}
            // As Linux does: the listener's waiters are woken.
            State::Listening(_) if read => {
                socket.stream.read_shut = true;
                self.changed(id);
                return Ok(());
            }
            _ => return Err(libc::ENOTCONN),
        }
        if socket.stream.broken {
            return Err(libc::ENOTCONN);
        }
        if read {
            socket.stream.read_shut = true;
        }
        self.changed(id);
        if write {
            self.finish(id);
        }
        Ok(())
    }

    fn finish(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if !socket.stream.finished && !socket.stream.broken {
            socket.stream.finished = true;
            self.send_packet(id, Packet::End);
        }
    }

    /// The program has closed the socket.
    pub(super) fn close_stream(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if socket.closed {
            return;
        }
        socket.closed = true;
        let host = socket.host;
        self.release(host);
        let socket = self.sockets.get_mut(&id).expect("it was there");
        match &mut socket.state {
            State::Listening(listener) => {
                let queue = std::mem::take(&mut listener.queue);
                self.remove(id);
                for connection in queue {
                    self.reset_other(connection, libc::ECONNRESET);
                    self.remove(connection);
                }
            }
            State::Connected if socket.stream.broken => self.remove(id),
            // What was not read is lost, and the other end is told; or what was not sent, if the program
            // wants no time to be spent on it.
            State::Connected if !socket.stream.inbox.is_empty() || lingers_for_no_time(&socket.options) => {
                self.reset_other(id, libc::ECONNRESET);
                self.remove(id);
            }
            // It stays until its last packets have arrived and the other end has ended.
            State::Connected => {
                self.finish(id);
                self.remove_if_over(id);
            }
            State::Idle | State::Connecting => self.remove(id),
        }
    }
}

/// Whether `SO_LINGER` is set to zero seconds.
fn lingers_for_no_time(options: &Options) -> bool {
    let number = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
    let set = options.get(&(libc::SOL_SOCKET, libc::SO_LINGER));
    // A `linger`: whether it is on, and the seconds.
    set.is_some_and(|set| set.len() == 8 && number(&set[..4]) && !number(&set[4..]))
}
