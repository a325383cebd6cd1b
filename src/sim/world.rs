//! The world of a simulation: it answers the system calls of sockets from a network in memory.
//!
//! A socket has a descriptor as a placeholder: an empty file in memory. So ownership, `close` and numbers
//! stay what they are, and a call that goes around the seam (`base/sys/calls`) meets that file. The world
//! knows a placeholder by its number, and checks its inode with each call. So a duplicate is known as well,
//! and another file with the number of a socket that is gone is not taken for it.
//!
//! A descriptor that is none of the world's (a pipe, a socket pair, a signal's) is left to the kernel, and so
//! is the rest of what a poller waits for.
//!
//! *Readiness.* The network says which sockets have changed. The world has one queue of them for each poller
//! that watches, and the poller's next wait gets their present state. That is what an edge-triggered poller
//! owes: one event for the state when the socket is added, and one after each change.

use super::disks::{DiskSettings, Disks};
use super::network::{Address, Family, HostId, Kind, Network, Outcome, Random, SocketId, address_of};
use crate::base::sys::calls::{
    self, Answer, Call, Context, Entered, FileCall, FileChange, OutValue, World, gather, scatter, total,
};
use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::{BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// The most bytes that one call transfers.
const MOST: usize = 1 << 20;

/// The offset of the name in a Unix socket's address.
const SUN_PATH: usize = offset_of!(libc::sockaddr_un, sun_path);

/// The world of one run.
pub(super) struct RunWorld {
    context: Rc<dyn Context>,
    state: RefCell<State>,
    disks: RefCell<Disks>,
}

struct State {
    network: Network,
    /// For what concerns no network: calls that a signal interrupts.
    random: Random,
    interrupted: f64,
    names: BTreeMap<String, HostId>,
    placeholders: BTreeMap<RawFd, Placeholder>,
    /// How many numbers stand for each socket.
    numbers: BTreeMap<SocketId, usize>,
    watches: BTreeMap<SocketId, Vec<Watch>>,
    /// What each poller will be told: sockets with the number under which they are watched.
    changed: BTreeMap<RawFd, VecDeque<(SocketId, RawFd)>>,
}

#[derive(Clone, Copy)]
struct Placeholder {
    inode: libc::ino_t,
    socket: SocketId,
}

#[derive(Clone, Copy)]
struct Watch {
    epoll: RawFd,
    fd: RawFd,
    interest: u32,
    data: u64,
}

impl RunWorld {
    pub(super) fn new(context: Rc<dyn Context>) -> RunWorld {
        let network = Network::new(context.random());
        let random = Random::new(context.random());
        let disks = RefCell::new(Disks::new(context.random()));
        RunWorld {
            context,
            disks,
            state: RefCell::new(State {
                network,
                random,
                interrupted: 0.0,
                names: BTreeMap::new(),
                placeholders: BTreeMap::new(),
                numbers: BTreeMap::new(),
                watches: BTreeMap::new(),
                changed: BTreeMap::new(),
            }),
        }
    }

    /// A new host, which is up. Hosts are numbered from 1.
    pub(super) fn add_host(&self, host: HostId, name: &str) {
        let mut state = self.state.borrow_mut();
        state.network.add_host(host);
        state.names.insert(name.to_owned(), host);
    }

    /// The host of that name. The empty name is that of the check itself.
    pub(super) fn host_named(&self, name: &str) -> Option<HostId> {
        match name {
            "" => Some(0),
            name => self.state.borrow().names.get(name).copied(),
        }
    }

    /// All hosts, with the check itself.
    pub(super) fn hosts(&self) -> Vec<HostId> {
        let state = self.state.borrow();
        std::iter::once(0).chain(state.names.values().copied()).collect()
    }

    /// The host crashes. This comes before its coroutines end: what their destructors do has no effect any
    /// more.
    pub(super) fn crash(&self, host: HostId) {
        self.network().crash(host);
        self.disks.borrow_mut().crash(host);
        self.trace_disks();
    }

    /// The host runs again.
    pub(super) fn restart(&self, host: HostId) {
        self.network().restart(host);
        self.disks.borrow_mut().restart(host);
        self.trace_disks();
    }

    /// Sets how the host's disk behaves.
    pub(super) fn set_disk(&self, host: HostId, settings: DiskSettings) {
        self.disks.borrow_mut().set(host, settings);
    }

    /// Removes the files of all hosts. None of these uses them any more.
    pub(super) fn remove_files(&self) {
        drop(self.disks.replace(Disks::new(0)));
    }

    /// Answers a call at once.
    fn answer(&self, call: &mut Call<'_>) -> Answer {
        let (host, now) = (self.context.host(), self.context.now());
        let mut state = self.state.borrow_mut();
        state.network.set_now(now);
        let answer = state.answer(host, call);
        let log = state.network.take_log();
        drop(state);
        for line in log {
            self.context.trace(format_args!("{line}"));
        }
        match answer {
            Ok(answer) => answer,
            Err(errno) => Answer::Fails(errno),
        }
    }

    fn trace_disks(&self) {
        let log = std::mem::take(&mut self.disks.borrow_mut().log);
        for line in log {
            self.context.trace(format_args!("{line}"));
        }
    }

    /// With which probability a signal interrupts a call.
    pub(super) fn set_interrupted(&self, probability: f64) {
        self.state.borrow_mut().interrupted = probability;
    }

    /// The network, at the present time.
    pub(super) fn network(&self) -> RefMut<'_, Network> {
        let now = self.context.now();
        RefMut::map(self.state.borrow_mut(), |state| {
            state.network.set_now(now);
            &mut state.network
        })
    }
}

/// Makes the world that of the thread, until the guard is dropped.
pub(super) fn enter(world: &Rc<RunWorld>) -> EnteredWorld {
    let kept = Rc::clone(world);
    let world: *const RunWorld = Rc::as_ptr(&kept);
    // SAFETY: the guard is dropped before what it points to, which its field below keeps.
    EnteredWorld { _entered: unsafe { calls::enter(world) }, _world: kept }
}

/// The thread has entered a world.
pub(super) struct EnteredWorld {
    _entered: Entered,
    _world: Rc<RunWorld>,
}

impl World for RunWorld {
    fn call(&self, call: &mut Call<'_>) -> Answer {
        let began = self.context.now();
        loop {
            let answer = self.answer(call);
            // Nothing is ready, and the caller blocks its thread.
            let Call::Poll { limit_nanos: limit, .. } = call else { return answer };
            let until = limit.map(|limit| began.saturating_add(limit));
            if answer != Answer::Is(0) || until.is_some_and(|until| until <= self.context.now()) {
                return answer;
            }
            self.context.block(until);
        }
    }

    fn closing(&self, fd: RawFd) {
        let now = self.context.now();
        let mut state = self.state.borrow_mut();
        state.network.set_now(now);
        if let Some(socket) = state.socket(fd) {
            state.forget(fd, socket);
        }
    }

    fn map_path(&self, path: &Path) -> Option<io::Result<PathBuf>> {
        let host = self.context.host();
        (host != 0).then(|| self.disks.borrow_mut().map(host, path))
    }

    fn unmap_path(&self, path: PathBuf) -> PathBuf {
        self.disks.borrow().unmap(self.context.host(), &path)
    }

    fn before_file(&self, call: FileCall<'_>) -> io::Result<usize> {
        let host = self.context.host();
        if host == 0 {
            return Ok(usize::MAX);
        }
        let limit = self.disks.borrow_mut().before(host, call);
        self.trace_disks();
        limit.map(|limit| limit.unwrap_or(usize::MAX)).map_err(io::Error::from_raw_os_error)
    }

    fn sync_begins(&self, fd: BorrowedFd<'_>) -> u64 {
        let host = self.context.host();
        if host == 0 { 0 } else { self.disks.borrow_mut().sync_begins(host, fd) }
    }

    fn file_delay(&self) -> Duration {
        let host = self.context.host();
        if host == 0 { Duration::ZERO } else { self.disks.borrow_mut().delay(host) }
    }

    fn file_changed(&self, change: FileChange<'_>) -> io::Result<()> {
        let host = self.context.host();
        if host == 0 {
            return Ok(());
        }
        let changed = self.disks.borrow_mut().changed(host, change);
        self.trace_disks();
        changed.map_err(io::Error::from_raw_os_error)
    }

    fn next_event(&self) -> Option<u64> {
        self.state.borrow().network.next_event()
    }

    fn has_news(&self) -> bool {
        let state = self.state.borrow();
        state.network.has_ready() || state.changed.values().any(|queue| !queue.is_empty())
    }

    fn advance(&self, now: u64) {
        let mut state = self.state.borrow_mut();
        state.network.advance(now);
        let log = state.network.take_log();
        drop(state);
        for line in log {
            self.context.trace(format_args!("{line}"));
        }
    }

    fn addresses_of(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let state = self.state.borrow();
        match state.names.get(name) {
            Some(host) => Ok(vec![address_of(*host).into()]),
            None if name == "localhost" => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
            None => Err(io::Error::other(format!("the simulation has no host of the name {name:?}"))),
        }
    }
}

impl State {
    /// The socket behind a number.
    fn socket(&mut self, fd: RawFd) -> Option<SocketId> {
        let known = self.placeholders.get(&fd).copied();
        if self.placeholders.is_empty() {
            return None;
        }
        let inode = inode(fd);
        match known {
            Some(known) if Some(known.inode) == inode => return Some(known.socket),
            // It was closed without a word.
            Some(known) => self.forget(fd, known.socket),
            None => {}
        }
        let inode = inode?;
        let duplicate = self.placeholders.values().find(|known| known.inode == inode)?.socket;
        self.placeholders.insert(fd, Placeholder { inode, socket: duplicate });
        *self.numbers.entry(duplicate).or_default() += 1;
        Some(duplicate)
    }

    /// The number is no placeholder any more.
    fn forget(&mut self, fd: RawFd, socket: SocketId) {
        self.placeholders.remove(&fd);
        if let Some(watches) = self.watches.get_mut(&socket) {
            watches.retain(|watch| watch.fd != fd);
        }
        let left = self.numbers.get_mut(&socket).map_or(0, |numbers| {
            *numbers -= 1;
            *numbers
        });
        if left == 0 {
            self.numbers.remove(&socket);
            self.watches.remove(&socket);
            self.network.close(socket);
        }
    }

    /// A descriptor for a new socket.
    fn place(&mut self, socket: SocketId) -> Outcome<RawFd> {
        // SAFETY: the name ends with a zero byte.
        let fd = unsafe { libc::memfd_create(c"sward-socket".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            let error = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EMFILE);
            self.network.close(socket);
            return Err(error);
        }
        if let Some(former) = self.placeholders.get(&fd).copied() {
            self.forget(fd, former.socket);
        }
        let inode = inode(fd).expect("it is open");
        self.placeholders.insert(fd, Placeholder { inode, socket });
        self.numbers.insert(socket, 1);
        Ok(fd)
    }

    fn answer(&mut self, host: HostId, call: &mut Call<'_>) -> Outcome<Answer> {
        match *call {
            Call::Socket { family, kind } => {
                let family = match family {
                    libc::AF_INET => Family::Internet,
                    libc::AF_UNIX => Family::Unix,
                    _ => return Err(libc::EAFNOSUPPORT),
                };
                let kind = match kind & 0xff {
                    libc::SOCK_STREAM => Kind::Stream,
                    libc::SOCK_DGRAM => Kind::Datagram,
                    _ => return Err(libc::EPROTONOSUPPORT),
                };
                let socket = self.network.open(host, family, kind)?;
                return self.place(socket).map(|fd| Answer::Is(fd as isize));
            }
            // The kernel's: the two ends are in one process in any case.
            Call::SocketPair { .. } => return Ok(Answer::Kernel),
            Call::Poll { ref mut entries, .. } => return Ok(self.poll(entries)),
            Call::Wait { epoll, ref mut events, .. } => return Ok(self.wait(epoll, events)),
            _ => {}
        }
        let fd = match *call {
            Call::Bind { fd, .. } | Call::Listen { fd, .. } | Call::Accept { fd, .. } => fd,
            Call::Connect { fd, .. } | Call::Receive { fd, .. } | Call::Send { fd, .. } => fd,
            Call::Option { fd, .. } | Call::SetOption { fd, .. } | Call::Name { fd, .. } => fd,
            Call::PeerName { fd, .. } | Call::Shutdown { fd, .. } | Call::Watch { fd, .. } => fd,
            Call::Read { fd, .. } | Call::Write { fd, .. } => fd,
            Call::Socket { .. } | Call::SocketPair { .. } | Call::Poll { .. } | Call::Wait { .. } => -1,
        };
        match self.socket(fd) {
            Some(socket) => self.answer_for(socket, call),
            None => Ok(Answer::Kernel),
        }
    }

    fn answer_for(&mut self, socket: SocketId, call: &mut Call<'_>) -> Outcome<Answer> {
        let may_be_interrupted = matches!(
            call,
            Call::Receive { .. }
                | Call::Send { .. }
                | Call::Read { .. }
                | Call::Write { .. }
                | Call::Accept { .. }
        );
        if may_be_interrupted && self.random.chance(self.interrupted) {
            return Err(libc::EINTR);
        }
        match call {
            Call::Bind { address, .. } => self.network.bind(socket, decode(address)?)?,
            Call::Listen { backlog, .. } => self.network.listen(socket, (*backlog).max(1) as usize)?,
            Call::Connect { address, .. } => self.network.connect(socket, &decode(address)?)?,
            Call::Accept { address, .. } => {
                let (connection, peer) = self.network.accept(socket)?;
                let fd = self.place(connection)?;
                if let Some(address) = address {
                    address.put(&encode(&peer));
                }
                return Ok(Answer::Is(fd as isize));
            }
            Call::Receive { buffers, flags, sender, .. } => {
                let peek = *flags & libc::MSG_PEEK != 0;
                let count = self.receive(socket, buffers, peek, sender.as_mut())?;
                return Ok(Answer::Is(count));
            }
            Call::Read { buffers, .. } => return Ok(Answer::Is(self.receive(socket, buffers, false, None)?)),
            Call::Send { buffers, to, .. } => {
                let to = to.map(decode).transpose()?;
                return Ok(Answer::Is(self.send(socket, buffers, to.as_ref())?));
            }
            Call::Write { buffers, .. } => return Ok(Answer::Is(self.send(socket, buffers, None)?)),
            Call::Option { level, name, value, .. } => self.option(socket, *level, *name, value)?,
            Call::SetOption { level, name, value, .. } => {
                self.network.set_option(socket, (*level, *name), value)?;
            }
            Call::Name { address, .. } => {
                let (family, _) = self.network.kind(socket)?;
                address.put(&encode_as(family, &self.network.name(socket)?));
            }
            Call::PeerName { address, .. } => {
                let (family, _) = self.network.kind(socket)?;
                address.put(&encode_as(family, &self.network.peer_name(socket)?));
            }
            Call::Shutdown { how, .. } => {
                let (read, write) = (*how != libc::SHUT_WR, *how != libc::SHUT_RD);
                self.network.shutdown(socket, read, write)?;
            }
            Call::Watch { epoll, operation, fd, event } => {
                let watch = Watch { epoll: *epoll, fd: *fd, interest: event.events, data: event.u64 };
                self.watch(socket, *operation, watch)?;
            }
            Call::Socket { .. } | Call::SocketPair { .. } | Call::Poll { .. } | Call::Wait { .. } => {
                return Ok(Answer::Kernel);
            }
        }
        Ok(Answer::Is(0))
    }

    fn receive(
        &mut self,
        socket: SocketId,
        buffers: &[libc::iovec],
        peek: bool,
        sender: Option<&mut OutValue>,
    ) -> Outcome<isize> {
        let (bytes, from) = self.network.receive(socket, total(buffers).min(MOST), peek)?;
        if let Some(sender) = sender {
            let address = if from == Address::Unnamed { Vec::new() } else { encode(&from) };
            sender.put(&address);
        }
        Ok(scatter(&bytes, buffers) as isize)
    }

    fn send(&mut self, socket: SocketId, buffers: &[libc::iovec], to: Option<&Address>) -> Outcome<isize> {
        self.network.send(socket, &gather(buffers, MOST), to).map(|count| count as isize)
    }

    fn option(
        &mut self,
        socket: SocketId,
        level: libc::c_int,
        name: libc::c_int,
        value: &mut OutValue,
    ) -> Outcome<()> {
        let (family, kind) = self.network.kind(socket)?;
        let number = match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => self.network.take_error(socket)?,
            (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => self.network.listens(socket)?.into(),
            (libc::SOL_SOCKET, libc::SO_TYPE) => match kind {
                Kind::Stream => libc::SOCK_STREAM,
                Kind::Datagram => libc::SOCK_DGRAM,
            },
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => match family {
                Family::Internet => libc::AF_INET,
                Family::Unix => libc::AF_UNIX,
            },
            other => {
                let set = self.network.options(socket)?.get(&other).cloned();
                let room = value.room();
                match (set, other) {
                    (Some(set), _) => value.put(&set),
                    (None, (libc::IPPROTO_IP, libc::IP_TTL)) => value.put(&64i32.to_ne_bytes()),
                    (None, _) => value.put(&vec![0; room]),
                }
                return Ok(());
            }
        };
        value.put(&number.to_ne_bytes());
        Ok(())
    }

    fn watch(&mut self, socket: SocketId, operation: libc::c_int, watch: Watch) -> Outcome<()> {
        let watches = self.watches.entry(socket).or_default();
        let is_it = |one: &Watch| one.epoll == watch.epoll && one.fd == watch.fd;
        let known = watches.iter().position(is_it);
        match (operation, known) {
            (libc::EPOLL_CTL_ADD, None) => watches.push(watch),
            (libc::EPOLL_CTL_ADD, Some(_)) => return Err(libc::EEXIST),
            (_, None) => return Err(libc::ENOENT),
            (libc::EPOLL_CTL_MOD, Some(known)) => watches[known] = watch,
            (_, Some(known)) => {
                watches.remove(known);
                return Ok(());
            }
        }
        self.changed.entry(watch.epoll).or_default().push_back((socket, watch.fd));
        Ok(())
    }

    /// Fills in the events of the sockets that have changed.
    fn wait(&mut self, epoll: RawFd, events: &mut [libc::epoll_event]) -> Answer {
        for socket in self.network.take_ready() {
            for watch in self.watches.get(&socket).into_iter().flatten() {
                let queue = self.changed.entry(watch.epoll).or_default();
                if !queue.contains(&(socket, watch.fd)) {
                    queue.push_back((socket, watch.fd));
                }
            }
        }
        let mut count = 0;
        let Some(queue) = self.changed.get_mut(&epoll) else { return Answer::Kernel };
        while count < events.len()
            && let Some((socket, fd)) = queue.pop_front()
        {
            let watches = self.watches.get(&socket).into_iter().flatten();
            let Some(watch) = watches.into_iter().find(|watch| watch.epoll == epoll && watch.fd == fd) else {
                continue;
            };
            // The values of epoll are those of poll.
            let state = self.network.readiness(socket) as u32;
            let always = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
            let state = state & (watch.interest | always);
            if state != 0 {
                events[count] = libc::epoll_event { events: state, u64: watch.data };
                count += 1;
            }
        }
        if count == 0 { Answer::Kernel } else { Answer::Is(count as isize) }
    }

    /// Answers for the sockets of the network. If all entries are such, or one is ready, the kernel is not
    /// asked.
    fn poll(&mut self, entries: &mut [libc::pollfd]) -> Answer {
        let (mut ready, mut own) = (0, 0);
        for entry in entries.iter_mut().filter(|entry| entry.fd >= 0) {
            if let Some(socket) = self.socket(entry.fd) {
                own += 1;
                let always = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
                entry.revents = self.network.readiness(socket) & (entry.events | always);
                ready += isize::from(entry.revents != 0);
            }
        }
        if own == 0 {
            return Answer::Kernel;
        }
        for entry in entries.iter_mut().filter(|entry| entry.fd >= 0) {
            if self.socket(entry.fd).is_none() {
                // SAFETY: one entry, which lives until the call ends.
                let count = unsafe { libc::poll(&raw mut *entry, 1, 0) };
                ready += isize::from(count == 1);
            }
        }
        Answer::Is(ready)
    }
}

/// The inode of an open file; none if the number is not open.
fn inode(fd: RawFd) -> Option<libc::ino_t> {
    // SAFETY: all zeros is a value of this type.
    let mut status = unsafe { std::mem::zeroed::<libc::stat>() };
    // SAFETY: there is room for the answer.
    let got = unsafe { libc::fstat(fd, &raw mut status) };
    // Files in memory all are on one device, whose inodes are numbered through.
    (got == 0).then_some(status.st_ino ^ (status.st_dev << 40))
}

/// The address in the kernel's layout.
fn decode(bytes: &[u8]) -> Outcome<Address> {
    let family = bytes.get(..2).ok_or(libc::EINVAL)?;
    match libc::c_int::from(u16::from_ne_bytes([family[0], family[1]])) {
        libc::AF_INET if bytes.len() >= size_of::<libc::sockaddr_in>() => {
            let port = u16::from_be_bytes([bytes[2], bytes[3]]);
            Ok(Address::Internet(SocketAddrV4::new(
                Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]),
                port,
            )))
        }
        libc::AF_UNIX if bytes.len() <= SUN_PATH => Ok(Address::Unnamed),
        libc::AF_UNIX => {
            let name = &bytes[SUN_PATH..];
            // A path ends at its zero byte; an abstract name begins with one.
            let len = match name {
                [0, ..] => name.len(),
                path => path.iter().position(|byte| *byte == 0).unwrap_or(path.len()),
            };
            Ok(Address::Unix(name[..len].to_vec()))
        }
        _ => Err(libc::EAFNOSUPPORT),
    }
}

fn encode(address: &Address) -> Vec<u8> {
    let family = |family: libc::c_int| (family as u16).to_ne_bytes();
    match address {
        Address::Unnamed => family(libc::AF_UNIX).to_vec(),
        Address::Internet(address) => {
            let mut bytes = family(libc::AF_INET).to_vec();
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(address.ip().octets());
            bytes.resize(size_of::<libc::sockaddr_in>(), 0);
            bytes
        }
        Address::Unix(name) => {
            let mut bytes = family(libc::AF_UNIX).to_vec();
            bytes.extend(name);
            if name.first() != Some(&0) {
                bytes.push(0);
            }
            bytes
        }
    }
}

/// As `encode`; an internet socket without a name has the address of zeros.
fn encode_as(family: Family, address: &Address) -> Vec<u8> {
    match (family, address) {
        (Family::Internet, Address::Unnamed) => {
            encode(&Address::Internet(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)))
        }
        _ => encode(address),
    }
}
