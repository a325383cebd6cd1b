//! `sward-bench completions`: does a server on loopback win anything if the kernel reports that data *has
//! been received*, instead of that it *can be received*? Bare event loops, one thread each, echo messages. No
//! runtime takes part, so the figures are what a runtime could win at most. `docs/PERFORMANCE.md` has the
//! results.
//!
//! The server has one processor and its client another one, where there are two. The client sends the next
//! message of a connection when it has the last one back.

use crate::suite::grid::{Grid, Part, Unit, missing, not_here};
use crate::suite::{Options, Suite, Wanted};
use crate::sys::{Epoll, pin_to};
use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The command.
pub const COMPLETIONS: Suite = Suite {
    name: "completions",
    about: "Bare event loops that echo: readiness by epoll and by io_uring, and io_uring's own receive and send.",
    parts: &["echo"],
    measure,
};

const SMALL: usize = 64;
const LARGE: usize = 64 << 10;

/// Name, connections, bytes of a message, messages.
const COLUMNS: [(&str, usize, usize, u64); 5] = [
    ("1", 1, SMALL, 10_000),
    ("64", 64, SMALL, 50_000),
    ("1,000", 1_000, SMALL, 50_000),
    ("1, 64 KiB", 1, LARGE, 2_000),
    ("64, 64 KiB", 64, LARGE, 5_000),
];

#[derive(Clone, Copy, PartialEq)]
enum Polls {
    OneShot,
    Multishot,
}

/// Who has completions posted: any thread, as where several may wait for one ring; or only the one thread
/// that uses the ring, inside of its wait (`SINGLE_ISSUER`, `DEFER_TASKRUN`).
#[derive(Clone, Copy, PartialEq)]
enum Owner {
    Any,
    One,
}

#[derive(Clone, Copy)]
enum Way {
    Epoll,
    Poll(Polls, Owner),
    PlainBuffers(Owner),
    Provided(Owner),
}

const EPOLL: &str = "epoll, recv and send";
const AS_SWARD: &str = "io_uring poll, one-shot, any thread; recv and send";
const BEST_POLL: &str = "io_uring poll, multishot, one thread; recv and send";
const PLAIN: &str = "io_uring recv and send, own buffers, any thread";
const BEST_PLAIN: &str = "io_uring recv and send, own buffers, one thread";
const BEST_PROVIDED: &str = "io_uring multishot recv into provided buffers, one thread";

const WAYS: [(&str, Way); 8] = [
    (EPOLL, Way::Epoll),
    (AS_SWARD, Way::Poll(Polls::OneShot, Owner::Any)),
    ("io_uring poll, multishot, any thread; recv and send", Way::Poll(Polls::Multishot, Owner::Any)),
    (BEST_POLL, Way::Poll(Polls::Multishot, Owner::One)),
    (PLAIN, Way::PlainBuffers(Owner::Any)),
    (BEST_PLAIN, Way::PlainBuffers(Owner::One)),
    ("io_uring multishot recv into provided buffers, any thread", Way::Provided(Owner::Any)),
    (BEST_PROVIDED, Way::Provided(Owner::One)),
];

/// What a server has to do: echo until all connections have ended.
struct Server<'a> {
    sockets: &'a [TcpStream],
    /// The most that arrives at once.
    size: usize,
    /// System calls so far.
    calls: &'a AtomicU64,
}

impl Server<'_> {
    fn count(&self) {
        self.calls.store(self.calls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn fd(&self, number: usize) -> Fd {
        Fd(self.sockets[number].as_raw_fd())
    }

    fn run(&self, way: Way) -> io::Result<()> {
        match way {
            Way::Epoll => self.by_epoll(),
            Way::Poll(polls, owner) => self.by_polls(Ring::new(owner)?, polls),
            Way::PlainBuffers(owner) => self.by_plain_buffers(Ring::new(owner)?),
            Way::Provided(owner) => self.by_provided_buffers(Ring::new(owner)?),
        }
    }

    /// Echoes what has arrived. False at the end of the connection.
    fn echo(&self, number: usize, buffer: &mut [u8]) -> io::Result<bool> {
        let mut socket = &self.sockets[number];
        loop {
            self.count();
            let count = match socket.read(buffer) {
                Ok(0) => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                count => count?,
            };
            self.count();
            // The socket's buffer has room for what the client awaits.
            socket.write_all(&buffer[..count])?;
            if count < buffer.len() {
                return Ok(true);
            }
        }
    }

    fn by_epoll(&self) -> io::Result<()> {
        let mut epoll = Epoll::new()?;
        for (number, socket) in self.sockets.iter().enumerate() {
            epoll.watch(socket.as_fd(), number, libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET)?;
        }
        let (mut open, mut buffer) = (Open::new(self.sockets.len()), vec![0; self.size + 1]);
        while open.any() {
            self.count();
            for number in epoll.wait(None) {
                if !self.echo(number, &mut buffer)? {
                    open.end(number);
                }
            }
        }
        Ok(())
    }

    fn by_polls(&self, mut ring: Ring, polls: Polls) -> io::Result<()> {
        let multi = polls == Polls::Multishot;
        let poll = |number: usize| {
            let poll = opcode::PollAdd::new(self.fd(number), libc::POLLIN as u32).multi(multi);
            poll.build().user_data(number as u64)
        };
        for number in 0..self.sockets.len() {
            // SAFETY: the operation points to nothing.
            unsafe { ring.push(&poll(number))? };
        }
        let (mut open, mut buffer) = (Open::new(self.sockets.len()), vec![0; self.size + 1]);
        while open.any() {
            self.count();
            ring.wait()?;
            while let Some((number, result, flags)) = ring.next() {
                if result < 0 {
                    return Err(io::Error::from_raw_os_error(-result));
                }
                if !self.echo(number as usize, &mut buffer)? {
                    open.end(number as usize);
                } else if !cqueue::more(flags) {
                    // SAFETY: as above. It goes to the kernel with the next wait.
                    unsafe { ring.push(&poll(number as usize))? };
                }
            }
        }
        Ok(())
    }

    fn by_plain_buffers(&self, mut ring: Ring) -> io::Result<()> {
        // Leaked after an error, since operations may be under way then.
        let mut buffers = ManuallyDrop::new(vec![vec![0_u8; self.size]; self.sockets.len()]);
        let receive = |number: usize, buffer: &mut Vec<u8>| {
            let operation = opcode::Recv::new(self.fd(number), buffer.as_mut_ptr(), buffer.len() as u32);
            operation.build().user_data(2 * number as u64)
        };
        for (number, buffer) in buffers.iter_mut().enumerate() {
            // SAFETY: a buffer is touched only between two operations on it, and is freed when all have
            // ended.
            unsafe { ring.push(&receive(number, buffer))? };
        }
        let mut open = self.sockets.len();
        while open > 0 {
            self.count();
            ring.wait()?;
            while let Some((data, result, _)) = ring.next() {
                let (number, sent) = (data as usize / 2, data % 2 == 1);
                if result < 0 {
                    return Err(io::Error::from_raw_os_error(-result));
                }
                let buffer = &mut buffers[number];
                let next = match (sent, result) {
                    (false, 0) => {
                        open -= 1;
                        continue;
                    }
                    (true, _) => receive(number, buffer),
                    (false, count) => {
                        let send = opcode::Send::new(self.fd(number), buffer.as_ptr(), count as u32);
                        send.flags(libc::MSG_WAITALL).build().user_data(data + 1)
                    }
                };
                // SAFETY: as above.
                unsafe { ring.push(&next)? };
            }
        }
        drop(ManuallyDrop::into_inner(buffers));
        Ok(())
    }

    fn by_provided_buffers(&self, mut ring: Ring) -> io::Result<()> {
        // Leaked after an error, as above.
        let mut provided = ManuallyDrop::new(Provided::new(&ring, self.size)?);
        let receive = |number: usize| {
            opcode::RecvMulti::new(self.fd(number), 0).build().user_data((number as u64) << 1)
        };
        for number in 0..self.sockets.len() {
            // SAFETY: the buffers belong to the kernel until it names them in a completion.
            unsafe { ring.push(&receive(number))? };
        }
        let (mut open, mut ended) = (self.sockets.len(), Vec::new());
        while open > 0 {
            self.count();
            ring.wait()?;
            while let Some((data, result, flags)) = ring.next() {
                if data & 1 == 1 {
                    provided.give_back((data >> 1) as u16);
                    if result < 0 {
                        return Err(io::Error::from_raw_os_error(-result));
                    }
                    continue;
                }
                let number = (data >> 1) as usize;
                match (result, cqueue::buffer_select(flags)) {
                    (0, buffer) => {
                        open -= 1;
                        buffer.into_iter().for_each(|id| provided.give_back(id));
                        continue;
                    }
                    (1.., Some(id)) => {
                        let send = opcode::Send::new(self.fd(number), provided.at(id), result as u32);
                        let send = send.flags(libc::MSG_WAITALL).build().user_data(u64::from(id) << 1 | 1);
                        // SAFETY: the buffer is given back after this operation has ended.
                        unsafe { ring.push(&send)? };
                    }
                    (result, _) if result == -libc::ENOBUFS => {}
                    (result, _) => return Err(io::Error::from_raw_os_error(-result)),
                }
                if !cqueue::more(flags) {
                    ended.push(number);
                }
            }
            for number in ended.drain(..) {
                // SAFETY: as above.
                unsafe { ring.push(&receive(number))? };
            }
        }
        drop(ring);
        drop(ManuallyDrop::into_inner(provided));
        Ok(())
    }
}

/// The connections that have not ended. An edge-triggered end may be reported twice.
struct Open {
    ended: Vec<bool>,
    count: usize,
}

impl Open {
    fn new(count: usize) -> Open {
        Open { ended: vec![false; count], count }
    }

    fn any(&self) -> bool {
        self.count > 0
    }

    fn end(&mut self, number: usize) {
        self.count -= usize::from(!std::mem::replace(&mut self.ended[number], true));
    }
}

struct Ring(IoUring);

impl Ring {
    fn new(owner: Owner) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(8192);
        if owner == Owner::One {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        builder.build(2048).map(Ring).map_err(|e| not_here(format!("io_uring is refused: {e}")))
    }

    /// # Safety
    ///
    /// What the operation points to lives until it has ended.
    unsafe fn push(&mut self, operation: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the caller's promise.
        if unsafe { self.0.submission().push(operation) }.is_ok() {
            return Ok(());
        }
        self.0.submit()?;
        // SAFETY: the same.
        unsafe { self.0.submission().push(operation) }.map_err(|e| io::Error::other(e.to_string()))
    }

    /// Submits what was pushed and waits for a completion.
    fn wait(&self) -> io::Result<()> {
        match self.0.submit_and_wait(1) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => Err(e),
            _ => Ok(()),
        }
    }

    fn next(&mut self) -> Option<(u64, i32, u32)> {
        self.0.completion().next().map(|done| (done.user_data(), done.result(), done.flags()))
    }
}

/// Buffers that the kernel chooses from, and the ring by which it gets them.
struct Provided {
    ring: *mut BufRingEntry,
    layout: Layout,
    buffers: Vec<u8>,
    size: usize,
    tail: u16,
}

impl Provided {
    fn new(ring: &Ring, size: usize) -> io::Result<Provided> {
        let count: u16 = if size > SMALL { 256 } else { 2048 };
        let layout = Layout::from_size_align(usize::from(count) * size_of::<BufRingEntry>(), 4096);
        let layout = layout.expect("it is not large");
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) }.cast::<BufRingEntry>();
        assert!(!memory.is_null(), "no memory");
        let buffers = vec![0; usize::from(count) * size];
        let mut provided = Provided { ring: memory, layout, buffers, size, tail: 0 };
        // SAFETY: the memory is aligned, and `by_provided_buffers` frees it after the ring.
        unsafe { ring.0.submitter().register_buf_ring_with_flags(memory as u64, count, 0, 0) }
            .map_err(|e| not_here(format!("the kernel takes no ring of buffers: {e}")))?;
        (0..count).for_each(|id| provided.give_back(id));
        Ok(provided)
    }

    fn at(&self, id: u16) -> *const u8 {
        self.buffers[usize::from(id) * self.size..].as_ptr()
    }

    fn give_back(&mut self, id: u16) {
        let mask = (self.layout.size() / size_of::<BufRingEntry>() - 1) as u16;
        // SAFETY: the place is inside of the ring, and the kernel reads it only once the tail has passed it.
        // The tail is in a field of the first place that the other setters leave alone.
        unsafe {
            let entry = &mut *self.ring.add(usize::from(self.tail & mask));
            entry.set_addr(self.buffers.as_ptr().add(usize::from(id) * self.size) as u64);
            entry.set_len(self.size as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.ring).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Provided {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout.
        unsafe { dealloc(self.ring.cast(), self.layout) };
    }
}

/// One figure: what a message costs.
struct Sample {
    /// Processor time of the server's thread, in nanoseconds.
    cpu: f64,
    calls: f64,
    per_second: f64,
}

fn pairs(connections: usize) -> io::Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind(crate::peers::ANY)?;
    let (mut servers, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..connections {
        clients.push(TcpStream::connect(listener.local_addr()?)?);
        servers.push(listener.accept()?.0);
    }
    for socket in clients.iter().chain(&servers) {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        for option in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
            let bytes: libc::c_int = 4 * LARGE as libc::c_int;
            let (at, len) = ((&raw const bytes).cast(), size_of_val(&bytes) as libc::socklen_t);
            // SAFETY: the value lives until the call ends.
            unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, at, len) };
        }
    }
    Ok((servers, clients))
}

/// The client: so many messages on each connection.
fn drive(sockets: &[TcpStream], epoll: &mut Epoll, size: usize, rounds: u64) -> io::Result<()> {
    let (message, mut buffer) = (vec![7; size], vec![0; LARGE]);
    let mut left = vec![(rounds, size); sockets.len()];
    for mut socket in sockets {
        socket.write_all(&message)?;
    }
    let mut open = sockets.len();
    while open > 0 {
        for number in epoll.wait(None) {
            let mut socket = &sockets[number];
            let count = socket.read(&mut buffer)?;
            let (rounds, bytes) = &mut left[number];
            if count == 0 {
                return Err(io::Error::other("the server has ended a connection"));
            }
            *bytes -= count;
            if *bytes == 0 {
                (*rounds, *bytes) = (*rounds - 1, size);
                if *rounds > 0 {
                    socket.write_all(&message)?;
                } else {
                    open -= 1;
                }
            }
        }
    }
    Ok(())
}

fn clock_of_this_thread() -> libc::clockid_t {
    let mut clock = 0;
    // SAFETY: the thread is alive, and the place lives until the call ends.
    unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
    clock
}

fn time_of(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place lives until the call ends.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn measure_one(way: Way, connections: usize, size: usize, messages: u64) -> io::Result<Sample> {
    let (servers, clients) = pairs(connections)?;
    let (calls, rounds) = (AtomicU64::new(0), (messages / connections as u64).max(2));
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let (report, clock) = mpsc::channel();
        let (sockets, calls) = (&servers, &calls);
        let server = scope.spawn(move || {
            pin_to(0)?;
            let _ = report.send(clock_of_this_thread());
            let result = Server { sockets, size, calls }.run(way);
            // The client must not wait for ever after an error.
            sockets.iter().for_each(|socket| _ = socket.shutdown(std::net::Shutdown::Both));
            result
        });
        let client = scope.spawn(move || {
            pin_to(1 % processors)?;
            let clock = clock.recv().map_err(io::Error::other)?;
            let mut epoll = Epoll::new()?;
            for (number, socket) in clients.iter().enumerate() {
                epoll.add(socket, number)?;
            }
            drive(&clients, &mut epoll, size, rounds / 10 + 1)?;
            let before = (time_of(clock), calls.load(Ordering::Relaxed), Instant::now());
            drive(&clients, &mut epoll, size, rounds)?;
            let done = (rounds * connections as u64) as f64;
            let spent: Duration = before.2.elapsed();
            Ok(Sample {
                cpu: (time_of(clock) - before.0) / done,
                calls: (calls.load(Ordering::Relaxed) - before.1) as f64 / done,
                per_second: done / spent.as_secs_f64(),
            })
        });
        let sample = client.join().expect("no panic");
        // What stopped the server comes first: the client only sees that the connections end.
        server.join().expect("no panic")?;
        sample
    })
}

fn measure(options: &Options, _wanted: &Wanted) -> io::Result<Vec<Part>> {
    let columns = COLUMNS.map(|(name, ..)| name.to_owned());
    let names = WAYS.map(|(name, _)| name);
    let grid = |name: &str, title: &str, unit| {
        Grid::new(&format!("completions-{name}"), title, unit, "connections", &columns, &names)
    };
    let mut cpu = grid("cpu", "The server's processor time for one message", Unit::Nanos);
    let mut calls = grid("calls", "The server's system calls for one message", Unit::Count);
    let mut rate = grid("rate", "Messages in a second", Unit::PerSecond);
    for round in 0..options.rounds {
        for (column, &(name, connections, size, messages)) in COLUMNS.iter().enumerate() {
            let messages = if options.quick { messages / 12 } else { messages };
            for turn in 0..WAYS.len() {
                let way = (round + turn) % WAYS.len();
                options.progress(&format!("{name} connections: {}", WAYS[way].0));
                let sample = measure_one(WAYS[way].1, connections, size, messages);
                let part = |part: fn(&Sample) -> f64| sample.as_ref().map(part).map_err(missing);
                cpu.cell(way, column).add(part(|sample| sample.cpu));
                calls.cell(way, column).add(part(|sample| sample.calls));
                rate.cell(way, column).add(part(|sample| sample.per_second));
            }
        }
    }
    for (column, (name, ..)) in COLUMNS.iter().enumerate() {
        for way in [AS_SWARD, BEST_POLL, PLAIN, BEST_PLAIN, BEST_PROVIDED] {
            cpu.claim(&format!("{way} to epoll, {name}"), (way, column), (EPOLL, column));
        }
    }
    Ok(vec![Part::Figures(cpu), Part::Figures(calls), Part::Figures(rate)])
}
