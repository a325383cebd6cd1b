//! The load client: a process of its own, one thread with epoll, the same for all servers. Each connection
//! has one message under way at a time, and every byte that comes back is checked.
//!
//! `load PORT CONNECTIONS ACTIVE SECONDS REQUESTS [once|skewed|RATE]`:
//!
//! 1. It opens the connections, and makes one exchange on each, so that the server has started to serve it.
//! 2. It prints `ready`, and waits for a line of input.
//! 3. The active connections begin. After a fifth of SECONDS, for warming up, it prints `begin`.
//! 4. At the end it prints `end REQUESTS NANOSECONDS P50 P99 P999`. It exits when all outstanding answers
//!    have come.
//!
//! If REQUESTS is above zero, this number of requests ends the run instead of the time. With `once` the
//! server closes after each answer. With `skewed` the server also sends the group of each connection, and the
//! active connections are those of the largest group, and of the next one if that is too small; the others
//! stay open and idle. With RATE, the client
//! sends that many messages a second in all, and the latency of each counts from the time at which it was
//! due.

use super::Group;
use crate::sys::Epoll;
use hdrhistogram::Histogram;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

const MESSAGE: usize = 64;
/// Connections that are being opened at once: below the backlog of every server.
const OPENING: usize = 64;
/// Connections to one address: below the number of ephemeral ports.
const PER_ADDRESS: usize = 20_000;
/// The time between two batches of messages, if the load has a rate.
const TICK: Duration = Duration::from_millis(1);
/// How long an answer may take before the run fails.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

pub struct Load {
    pub port: u16,
    pub connections: usize,
    pub active: usize,
    pub seconds: f64,
    pub requests: u64,
    pub manner: Manner,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Manner {
    /// Each active connection sends as soon as it has its answer.
    Again,
    /// The same, on a new connection: the server closes after each answer.
    Once,
    /// As `Again`, and all active connections are of one group.
    Skewed,
    /// So many messages a second.
    Rate(u64),
}

struct Connection {
    /// `None` before the first message, and after the last one if the server closes.
    stream: Option<TcpStream>,
    sent: [u8; MESSAGE],
    got: usize,
    since: Instant,
    group: Option<Group>,
}

/// The content of a message: it differs from that of every other one.
fn content(message: u64) -> [u8; MESSAGE] {
    let mut content = [0; MESSAGE];
    for (n, chunk) in content.chunks_exact_mut(8).enumerate() {
        let word = (message + n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(n as u32);
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    content
}

struct Client {
    load: Load,
    epoll: Epoll,
    connections: Vec<Connection>,
    /// Messages sent so far.
    messages: u64,
    under_way: usize,
}

impl Client {
    fn connect(&self, number: usize) -> io::Result<TcpStream> {
        let address = Ipv4Addr::new(127, 0, 0, (1 + number / PER_ADDRESS) as u8);
        let stream = TcpStream::connect((address, self.load.port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        self.epoll.add(&stream, number)?;
        Ok(stream)
    }

    fn send(&mut self, number: usize) -> io::Result<()> {
        let began = Instant::now();
        if self.load.manner == Manner::Once {
            self.connections[number].stream = Some(self.connect(number)?);
        }
        self.messages += 1;
        self.under_way += 1;
        let connection = &mut self.connections[number];
        (connection.sent, connection.got, connection.since) = (content(self.messages), 0, began);
        connection.stream.as_mut().map_or(Ok(()), |stream| stream.write_all(&connection.sent))
    }

    /// Waits for answers. Returns the numbers of their connections, with the latencies.
    fn answers(&mut self, into: &mut Vec<(usize, Duration)>) -> io::Result<()> {
        if self.answers_within(ANSWER_LIMIT, into)? {
            return Ok(());
        }
        Err(io::Error::other(format!("no answer within {ANSWER_LIMIT:?}")))
    }

    /// As `answers`, with a timeout. Returns whether anything came.
    fn answers_within(&mut self, limit: Duration, into: &mut Vec<(usize, Duration)>) -> io::Result<bool> {
        into.clear();
        let mut any = false;
        for number in self.epoll.wait(Some(limit)) {
            any = true;
            let connection = &mut self.connections[number];
            let once = self.load.manner == Manner::Once;
            let mut buffer = [0; MESSAGE + 1];
            let Some(stream) = &mut connection.stream else { continue };
            let n = match stream.read(&mut buffer) {
                Ok(0) if once && connection.got == MESSAGE => {
                    into.push((number, connection.since.elapsed()));
                    self.under_way -= 1;
                    connection.stream = None;
                    continue;
                }
                Ok(0) => return Err(io::Error::other("the server has closed a connection")),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e),
            };
            // The byte behind the first answer is the group.
            let grouping = self.load.manner == Manner::Skewed && connection.group.is_none();
            let echoed = if grouping { n.min(MESSAGE - connection.got) } else { n };
            let end = connection.got + echoed;
            if connection.sent.get(connection.got..end) != Some(&buffer[..echoed]) {
                return Err(io::Error::other("an answer differs from what was sent"));
            }
            connection.got = end;
            if echoed < n {
                connection.group = Some(buffer[echoed]);
            }
            let whole = end == MESSAGE && (!grouping || connection.group.is_some());
            if whole && !once {
                into.push((number, connection.since.elapsed()));
                self.under_way -= 1;
            }
        }
        Ok(any)
    }

    /// The connections to load.
    fn active(&self) -> Vec<usize> {
        let (all, active) = (self.connections.len(), self.load.active);
        if self.load.manner != Manner::Skewed {
            // Spread evenly among the idle ones.
            return (0..active).map(|n| n * all / active).collect();
        }
        let mut groups: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
        for (number, connection) in self.connections.iter().enumerate() {
            groups.entry(connection.group.expect("the opening has waited for it")).or_default().push(number);
        }
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        groups.sort_by_key(|group| Reverse(group.len()));
        groups.concat().into_iter().take(active).collect()
    }

    /// Sends at a rate, on connections that have their answers. If there is none, a message waits for one,
    /// and the wait counts.
    fn run_at_rate(&mut self, rate: u64) -> io::Result<()> {
        let mut histogram = Histogram::<u64>::new_with_bounds(100, 60_000_000_000, 3).expect("fine bounds");
        let each_tick = rate * TICK.as_millis() as u64 / 1_000;
        let mut idle: VecDeque<usize> = (0..self.connections.len()).collect();
        let mut waiting: VecDeque<Instant> = VecDeque::new();
        let mut answers = Vec::new();
        let start = Instant::now();
        let seconds = Duration::from_secs_f64(self.load.seconds);
        let (mut due, mut began, mut warm, mut done) = (start, start, false, 0);
        while !warm || began.elapsed() < seconds {
            while due <= Instant::now() {
                waiting.extend((0..each_tick).map(|_| due));
                due += TICK;
            }
            while let Some((&since, &number)) = waiting.front().zip(idle.front()) {
                self.send(number)?;
                // The delay of this thread is not the server's.
                let now = Instant::now();
                self.connections[number].since = if now - since < 2 * TICK { now } else { since };
                waiting.pop_front();
                idle.pop_front();
            }
            self.answers_within(TICK, &mut answers)?;
            for &(number, latency) in &answers {
                histogram.saturating_record(latency.as_nanos() as u64);
                done += 1;
                idle.push_back(number);
            }
            if !warm && start.elapsed() >= seconds / 5 {
                (warm, began, done) = (true, Instant::now(), 0);
                histogram.reset();
                println!("begin");
            }
        }
        say_end(done, began, &histogram);
        self.drain(&mut answers)
    }

    fn drain(&mut self, answers: &mut Vec<(usize, Duration)>) -> io::Result<()> {
        while self.under_way > 0 {
            self.answers(answers)?;
        }
        Ok(())
    }
}

pub fn run(load: Load) -> io::Result<()> {
    let (connections, active) = (load.connections, load.active);
    let mut client =
        Client { load, epoll: Epoll::new()?, connections: Vec::new(), messages: 0, under_way: 0 };
    let mut answers = Vec::new();
    let now = Instant::now();
    for number in 0..connections {
        let stream = if client.load.manner == Manner::Once { None } else { Some(client.connect(number)?) };
        client.connections.push(Connection { stream, sent: [0; MESSAGE], got: 0, since: now, group: None });
        client.send(number)?;
        if number % OPENING == OPENING - 1 {
            client.drain(&mut answers)?;
        }
    }
    client.drain(&mut answers)?;
    let limit = client.load.requests;
    if limit == 0 {
        println!("ready");
        io::stdin().read_line(&mut String::new())?;
    }
    if active == 0 {
        return Ok(());
    }

    if let Manner::Rate(rate) = client.load.manner {
        return client.run_at_rate(rate);
    }

    let mut histogram = Histogram::<u64>::new_with_bounds(100, 60_000_000_000, 3).expect("fine bounds");
    let warming = Duration::from_secs_f64(client.load.seconds / 5.0);
    let mut began = Instant::now();
    let mut warm = limit > 0;
    let (mut sent, mut done) = (0, 0);
    for number in client.active() {
        client.send(number)?;
        sent += 1;
    }
    while client.under_way > 0 {
        client.answers(&mut answers)?;
        let now = Instant::now();
        for &(number, latency) in &answers {
            histogram.saturating_record(latency.as_nanos() as u64);
            done += 1;
            if limit == 0 || sent < limit {
                client.send(number)?;
                sent += 1;
            }
        }
        if !warm && now - began >= warming {
            (warm, began, done) = (true, now, 0);
            histogram.reset();
            println!("begin");
        } else if warm && limit == 0 && (now - began).as_secs_f64() >= client.load.seconds {
            break;
        }
    }
    say_end(done, began, &histogram);
    client.drain(&mut answers)
}

fn say_end(done: u64, began: Instant, histogram: &Histogram<u64>) {
    let quantile = |q| histogram.value_at_quantile(q);
    println!(
        "end {done} {} {} {} {}",
        began.elapsed().as_nanos(),
        quantile(0.5),
        quantile(0.99),
        quantile(0.999)
    );
}
