//! A small Redis: `cargo run --release --example redis -- [PORT] [--connections N] [--memory MIB]
//! [--serve] [--observe ADDR]`, then `redis-cli -p 6390` or `redis-benchmark -p 6390 -t set,get -c 50 -P 16`.
//!
//! PING, ECHO, SET (with EX and PX), GET, DEL, EXISTS, INCR, DECR, EXPIRE, TTL, DBSIZE, FLUSHALL, COMMAND,
//! CONFIG, QUIT, in RESP and as inline commands, pipelined. Each connection has a coroutine, and one more
//! coroutine removes expired entries. Ctrl-C ends the server.
//!
//! It shows that a parser in a coroutine need not be a state machine: it asks for a line, or for a number of
//! bytes, and waits inside. So it looks at no byte twice, however slowly the bytes come. Answers are sent as
//! they are made: if a client does not read them, the server carries out no further command for it, and the
//! client costs one buffer. With `--serve` the same code runs in `net::serve`: a connection has a coroutine
//! only from the first byte of a command to its answer.
//!
//! Limits: 4,000 connections, or `--connections`; further ones wait in the backlog. An argument has at most
//! 64 MiB, a command 128 MiB and 1,048,576 arguments. Keys, values and incomplete commands have 512 MiB
//! together, or `--memory`; the server refuses what would exceed that with `-OOM`. A client that sends
//! nothing for five minutes, or reads nothing for half a minute, loses its connection.

mod common;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::io::{self, BufRead, BufReader, Write};
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use sward::net::{self, Conn, Next, ServeOptions, TcpSocket, TcpStream};

/// The longest argument, the most arguments, and the most bytes of a command.
const LONGEST_ARGUMENT: usize = 64 << 20;
const MOST_ARGUMENTS: usize = 1 << 20;
const LARGEST_COMMAND: usize = 128 << 20;
/// The longest line: an inline command, or the length line of an argument.
const LONGEST_LINE: usize = 64 << 10;
/// How much of an unknown command's name the error repeats.
const LONGEST_NAME: usize = 128;

/// How many bytes are read at once, sent at once of small answers, and sent at once of a large one.
const INPUT: usize = 16 << 10;
const OUTPUT: usize = 16 << 10;
const PIECE: usize = 64 << 10;

/// How long a client may send nothing, and how long it may take to read a piece.
const IDLE_TIME: Duration = Duration::from_secs(300);
const WRITE_TIME: Duration = Duration::from_secs(30);

/// The memory that clients make this process use, and its limit.
struct Memory {
    used: AtomicUsize,
    limit: AtomicUsize,
}

static MEMORY: Memory = Memory { used: AtomicUsize::new(0), limit: AtomicUsize::new(0) };

impl Memory {
    fn take(&self, bytes: usize) -> Result<(), OutOfMemory> {
        let limit = self.limit.load(Ordering::Relaxed);
        let add = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).map(drop).map_err(|_| OutOfMemory)
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

struct OutOfMemory;

/// A key, a value or an argument: bytes that count against the memory limit as long as they exist.
#[derive(Default)]
struct Bytes {
    data: Vec<u8>,
    counted: usize,
}

impl Bytes {
    /// The cost of one beyond its data: its table entry, and what the allocator adds.
    const OVERHEAD: usize = 128;

    fn new() -> Result<Bytes, OutOfMemory> {
        MEMORY.take(Bytes::OVERHEAD)?;
        Ok(Bytes { data: Vec::new(), counted: Bytes::OVERHEAD })
    }

    fn copy(data: &[u8]) -> Result<Bytes, OutOfMemory> {
        let mut bytes = Bytes::new()?;
        bytes.append(data, data.len())?;
        Ok(bytes)
    }

    /// Appends some of `length` bytes in all. It takes memory as they come, since a client may announce any
    /// length.
    fn append(&mut self, piece: &[u8], length: usize) -> Result<(), OutOfMemory> {
        let needed = self.data.len() + piece.len();
        let capacity = self.data.capacity();
        if needed > capacity {
            let more = needed.max(2 * capacity).min(length.max(needed)) - capacity;
            MEMORY.take(more)?;
            self.counted += more;
            self.data.reserve_exact(capacity + more - self.data.len());
        }
        self.data.extend_from_slice(piece);
        Ok(())
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        MEMORY.give_back(self.counted);
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data
    }
}

impl Borrow<[u8]> for Bytes {
    fn borrow(&self) -> &[u8] {
        &self.data
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Bytes) -> bool {
        self.data == other.data
    }
}

impl Eq for Bytes {}

impl Hash for Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.data.hash(state);
    }
}

struct Entry {
    /// Shared with the answers that are being sent, so that a large value is not copied.
    value: Arc<Bytes>,
    expires: Option<Instant>,
}

impl Entry {
    fn is_alive(&self, now: Instant) -> bool {
        self.expires.is_none_or(|at| now < at)
    }
}

/// The data. The lock is never held over a wait.
#[derive(Default)]
struct Store(Mutex<HashMap<Bytes, Entry>>);

impl Store {
    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn main() {
    let mut arguments =
        common::Arguments::new("redis [PORT] [--connections N] [--memory MIB] [--serve] [--observe ADDR]");
    let port = arguments.port(6390);
    let limit = common::server::connections(&mut arguments, 1);
    let memory = arguments.number("--memory", 512);
    let activations = arguments.flag("--serve");
    arguments.observe();
    arguments.end();
    MEMORY.limit.store(usize::try_from(memory << 20).unwrap_or(usize::MAX), Ordering::Relaxed);
    if let Err(e) = sward::run(|| serve(port, limit, activations)) {
        common::fail(&format!("redis on port {port}: {e}"));
    }
}

fn serve(port: u16, limit: usize, activations: bool) -> io::Result<()> {
    // Before clients can know that the server runs.
    let interrupt = sward::signal::signal(sward::signal::SignalKind::INTERRUPT)?;
    let socket = TcpSocket::new_v4()?;
    socket.set_reuse_address(true)?;
    // The connections inherit this.
    socket.set_nodelay(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    let listener = socket.listen(4096)?;
    println!("serves redis on {}", listener.local_addr()?);
    let store = Arc::new(Store::default());
    let sweeper = Arc::clone(&store);
    sward::spawn(move || {
        loop {
            sward::sleep(Duration::from_secs(1));
            let now = Instant::now();
            let expired: Vec<_> = sweeper.lock().extract_if(|_, entry| !entry.is_alive(now)).collect();
            // After the lock, since freeing much memory takes a while.
            drop(expired);
        }
    });
    let accepting = sward::spawn(move || match activations {
        true => {
            let options =
                ServeOptions::new().max_connections(limit).idle_limit(IDLE_TIME).request_limit(IDLE_TIME);
            net::serve(listener, options, move |connection: &mut Conn<'_>| {
                let open =
                    Connection::new(connection).serve(|client| client.buffered().is_empty(), &store)?;
                Ok(if open { Next::Idle } else { Next::Close })
            })
        }
        false => {
            common::server::serve(&listener, limit, move |stream| {
                // A broken connection ends only itself.
                let _ = stream.set_read_timeout(Some(IDLE_TIME)).and_then(|()| {
                    Connection::new(BufReader::with_capacity(INPUT, stream)).serve(|_| false, &store)
                });
            });
            Ok(())
        }
    });
    sward::select! {
        recv(interrupt) -> _ => Ok(()),
        join(accepting) -> ended => ended.map_err(io::Error::other)?,
    }
}

/// Why a connection ends.
enum End {
    /// The client is gone, or has sent QUIT.
    Closed,
    /// The client gets this error first.
    Refused(&'static str),
    Broken(io::Error),
}

impl From<io::Error> for End {
    fn from(e: io::Error) -> End {
        End::Broken(e)
    }
}

const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";
const OVERFLOW: &str = "ERR increment or decrement would overflow";
const SYNTAX: &str = "ERR syntax error";
const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// A client's connection, with what was read ahead.
trait Client: BufRead {
    /// What was read ahead.
    fn buffered(&self) -> &[u8];

    fn write_all(&mut self, data: &[u8]) -> io::Result<()>;

    /// Ends the connection so that the peer gets the last answer.
    fn close_gently(&mut self);
}

impl Client for BufReader<TcpStream> {
    fn buffered(&self) -> &[u8] {
        self.buffer()
    }

    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        self.get_mut().write_all(data)
    }

    fn close_gently(&mut self) {
        common::server::close_gently(self.get_ref());
    }
}

impl Client for &mut Conn<'_> {
    fn buffered(&self) -> &[u8] {
        self.buffer()
    }

    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        Write::write_all(*self, data)
    }

    fn close_gently(&mut self) {
        common::server::close_gently(&mut **self);
    }
}

struct Connection<C> {
    input: C,
    /// The line that was read last.
    line: Vec<u8>,
    /// Answers that are still to be sent.
    output: Vec<u8>,
}

impl<C: Client> Connection<C> {
    fn new(input: C) -> Connection<C> {
        Connection { input, line: Vec::new(), output: Vec::new() }
    }

    /// Returns true, and leaves the connection open, once `leaves` says so after an answer.
    fn serve(mut self, leaves: fn(&C) -> bool, store: &Store) -> io::Result<bool> {
        let message = match self.answer_all(leaves, store) {
            Ok(true) => return self.flush().map(|()| true),
            Err(End::Closed) | Ok(false) => None,
            Err(End::Refused(message)) => Some(message),
            Err(End::Broken(e)) => return Err(e),
        };
        if let Some(message) = message {
            self.answer(Reply::Error(message.to_owned()))?;
        }
        self.flush()?;
        self.input.close_gently();
        Ok(false)
    }

    fn answer_all(&mut self, leaves: fn(&C) -> bool, store: &Store) -> Result<bool, End> {
        loop {
            let mut command = match self.read_command()? {
                Ok(command) => command,
                Err(e) => {
                    self.answer(e.into())?;
                    continue;
                }
            };
            let Some((name, arguments)) = command.split_first_mut() else { continue };
            let name = name[..name.len().min(LONGEST_NAME)].to_ascii_uppercase();
            let reply = execute(&name, arguments, store);
            self.answer(reply)?;
            if name == b"QUIT" {
                return Ok(false);
            }
            if leaves(&self.input) {
                return Ok(true);
            }
        }
    }

    /// Reads a command: its name and its arguments. The caller skips an empty one. If there is no memory for
    /// a command, this reads it to its end all the same, so that the connection can go on.
    fn read_command(&mut self) -> Result<Result<Vec<Bytes>, OutOfMemory>, End> {
        self.read_line("ERR Protocol error: too big inline request")?;
        let Some(count) = self.line.strip_prefix(b"*") else {
            let words = split(&self.line);
            let words = words.ok_or(End::Refused("ERR Protocol error: unbalanced quotes in request"))?;
            return Ok(words.iter().map(|word| Bytes::copy(word)).collect());
        };
        let count = number(count).filter(|&count| count <= MOST_ARGUMENTS as i64);
        let count = count.ok_or(End::Refused("ERR Protocol error: invalid multibulk length"))?;
        let (mut command, mut size) = (Ok(Vec::new()), 0);
        for _ in 0..count {
            self.read_line("ERR Protocol error: too big bulk count string")?;
            let Some(length) = self.line.strip_prefix(b"$") else {
                return Err(End::Refused("ERR Protocol error: expected '$'"));
            };
            let length = number(length).and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|&length| length <= LONGEST_ARGUMENT);
            let length = length.ok_or(End::Refused("ERR Protocol error: invalid bulk length"))?;
            size += Bytes::OVERHEAD + length;
            if size > LARGEST_COMMAND {
                return Err(End::Refused("ERR Protocol error: too big request"));
            }
            let argument = self.read_argument(length)?;
            command = command.and_then(|mut command| {
                command.push(argument?);
                Ok(command)
            });
        }
        Ok(command)
    }

    fn read_argument(&mut self, length: usize) -> Result<Result<Bytes, OutOfMemory>, End> {
        const NO_END: &str = "ERR Protocol error: expected the end of a bulk";
        let (mut argument, mut left) = (Bytes::new(), length);
        while left > 0 {
            self.need_input()?;
            let input = self.input.buffered();
            let count = input.len().min(left);
            argument = argument.and_then(|mut argument| {
                argument.append(&input[..count], length)?;
                Ok(argument)
            });
            self.input.consume(count);
            left -= count;
        }
        self.read_line(NO_END)?;
        if self.line.is_empty() { Ok(argument) } else { Err(End::Refused(NO_END)) }
    }

    /// Reads a line, without its end, into `line`.
    fn read_line(&mut self, if_too_long: &'static str) -> Result<(), End> {
        self.line.clear();
        loop {
            self.need_input()?;
            let input = self.input.buffered();
            let end = input.iter().position(|&byte| byte == b'\n');
            let count = end.map_or(input.len(), |at| at + 1);
            self.line.extend_from_slice(&input[..count]);
            self.input.consume(count);
            if self.line.len() > LONGEST_LINE {
                return Err(End::Refused(if_too_long));
            }
            if end.is_some() {
                self.line.pop();
                if self.line.last() == Some(&b'\r') {
                    self.line.pop();
                }
                return Ok(());
            }
        }
    }

    /// Waits for input. It sends the answers so far first, since the client may wait for them.
    fn need_input(&mut self) -> Result<(), End> {
        if self.input.buffered().is_empty() {
            self.flush()?;
        }
        if self.input.fill_buf()?.is_empty() { Err(End::Closed) } else { Ok(()) }
    }

    fn answer(&mut self, reply: Reply) -> io::Result<()> {
        match reply {
            Reply::Line(line) => self.write(format!("+{line}\r\n").as_bytes()),
            Reply::Error(message) => self.write(format!("-{message}\r\n").as_bytes()),
            Reply::Integer(n) => self.write(format!(":{n}\r\n").as_bytes()),
            Reply::Nothing => self.write(b"$-1\r\n"),
            Reply::Bulk(value) => {
                self.write(format!("${}\r\n", value.len()).as_bytes())?;
                self.write(&value)?;
                self.write(b"\r\n")
            }
            Reply::List(replies) => {
                self.write(format!("*{}\r\n", replies.len()).as_bytes())?;
                replies.into_iter().try_for_each(|reply| self.answer(reply))
            }
        }
    }

    /// Adds to the answers. Large data is not buffered: it is sent piece by piece from where it is.
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if self.output.len() + data.len() > OUTPUT {
            self.flush()?;
        }
        if data.len() > OUTPUT {
            return data.chunks(PIECE).try_for_each(|piece| send(&mut self.input, piece));
        }
        self.output.extend_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            send(&mut self.input, &self.output)?;
            self.output.clear();
        }
        Ok(())
    }
}

fn send(client: &mut impl Client, data: &[u8]) -> io::Result<()> {
    sward::time::timeout(WRITE_TIME, || client.write_all(data))?
}

/// The words of an inline command, split as redis splits them. Double quotes allow escapes, single quotes
/// only `\'`. `None` if a quote is not closed, or if a word goes on after a closing quote.
fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let mut word = Vec::new();
        loop {
            match rest {
                [] => break,
                [blank, ..] if blank.is_ascii_whitespace() => break,
                [quote @ (b'"' | b'\''), after @ ..] => {
                    rest = unquote(*quote, after, &mut word)?;
                    if rest.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
                        return None;
                    }
                }
                [byte, after @ ..] => {
                    word.push(*byte);
                    rest = after;
                }
            }
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    Some(words)
}

/// Adds the text up to the closing quote, and returns the rest behind it.
fn unquote<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let nibble = |digit: u8| (digit as char).to_digit(16).map(|value| value as u8);
    loop {
        match rest {
            [] => return None,
            [b'\\', b'x', high, low, after @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(nibble(*high)? << 4 | nibble(*low)?);
                rest = after;
            }
            [b'\\', escaped, after @ ..] if quote == b'"' || *escaped == b'\'' => {
                word.push(match escaped {
                    b'n' if quote == b'"' => b'\n',
                    b'r' if quote == b'"' => b'\r',
                    b't' if quote == b'"' => b'\t',
                    b'b' if quote == b'"' => 8,
                    b'a' if quote == b'"' => 7,
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                rest = after;
                if *byte == quote {
                    return Some(rest);
                }
                word.push(*byte);
            }
        }
    }
}

/// An integer as redis accepts it: only in the form in which it would be printed. `+5`, `05`, `-0` and ` 5`
/// are refused.
fn number(text: &[u8]) -> Option<i64> {
    let n: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (n.to_string().as_bytes() == text).then_some(n)
}

enum Reply {
    Line(&'static str),
    Error(String),
    Integer(i64),
    Nothing,
    Bulk(Arc<Bytes>),
    List(Vec<Reply>),
}

impl Reply {
    fn error(message: &str) -> Reply {
        Reply::Error(message.to_owned())
    }
}

impl From<OutOfMemory> for Reply {
    fn from(_: OutOfMemory) -> Reply {
        Reply::error(OUT_OF_MEMORY)
    }
}

/// Carries out a command. It may take the arguments out of the list.
fn execute(name: &[u8], arguments: &mut [Bytes], store: &Store) -> Reply {
    let now = Instant::now();
    match (name, arguments) {
        (b"PING", []) => Reply::Line("PONG"),
        (b"PING" | b"ECHO", [text]) => Reply::Bulk(Arc::new(std::mem::take(text))),
        (b"QUIT", _) => Reply::Line("OK"),
        // Commands that clients send when they start.
        (b"COMMAND", _) => Reply::List(Vec::new()),
        (b"CONFIG", [_get, name]) => {
            let values = [std::mem::take(name), Bytes::default()];
            Reply::List(values.map(|value| Reply::Bulk(Arc::new(value))).into())
        }
        (b"DBSIZE", []) => Reply::Integer(store.lock().len() as i64),
        (b"FLUSHALL", _) => {
            let all = std::mem::take(&mut *store.lock());
            drop(all);
            Reply::Line("OK")
        }
        (b"SET", [key, value, options @ ..]) => match expiry(options, now) {
            Ok(expires) => {
                let value = Arc::new(std::mem::take(value));
                let old = store.lock().insert(std::mem::take(key), Entry { value, expires });
                drop(old);
                Reply::Line("OK")
            }
            Err(message) => Reply::error(message),
        },
        (b"GET", [key]) => {
            let store = store.lock();
            let entry = store.get(&key[..]).filter(|entry| entry.is_alive(now));
            entry.map_or(Reply::Nothing, |entry| Reply::Bulk(Arc::clone(&entry.value)))
        }
        (b"DEL", keys @ [_, ..]) => {
            let mut store = store.lock();
            let removed: Vec<_> = keys.iter().filter_map(|key| store.remove_entry(&key[..])).collect();
            drop(store);
            Reply::Integer(removed.iter().filter(|(_, entry)| entry.is_alive(now)).count() as i64)
        }
        (b"EXISTS", keys @ [_, ..]) => {
            let store = store.lock();
            let there = keys.iter().filter_map(|key| store.get(&key[..])).filter(|entry| entry.is_alive(now));
            Reply::Integer(there.count() as i64)
        }
        (b"INCR", [key]) => add(key, 1, store, now),
        (b"DECR", [key]) => add(key, -1, store, now),
        (b"EXPIRE", [key, seconds]) => match number(seconds) {
            Some(seconds) => {
                let mut store = store.lock();
                let entry = store.get_mut(&key[..]).filter(|entry| entry.is_alive(now));
                let is_there = entry.is_some();
                if let Some(entry) = entry {
                    // A time in the past removes the entry at once. A time beyond the clock's range keeps it
                    // for ever.
                    entry.expires = match u64::try_from(seconds) {
                        Ok(seconds) => now.checked_add(Duration::from_secs(seconds)),
                        Err(_) => Some(now),
                    };
                }
                Reply::Integer(i64::from(is_there))
            }
            None => Reply::error(NOT_A_NUMBER),
        },
        (b"TTL", [key]) => {
            let store = store.lock();
            Reply::Integer(match store.get(&key[..]).filter(|entry| entry.is_alive(now)) {
                Some(Entry { expires: Some(at), .. }) => (*at - now).as_secs_f64().round() as i64,
                Some(_) => -1,
                None => -2,
            })
        }
        (
            b"ECHO" | b"DBSIZE" | b"SET" | b"GET" | b"DEL" | b"EXISTS" | b"INCR" | b"DECR" | b"EXPIRE"
            | b"TTL" | b"PING" | b"CONFIG",
            _,
        ) => {
            let name = String::from_utf8_lossy(name).to_lowercase();
            Reply::Error(format!("ERR wrong number of arguments for '{name}' command"))
        }
        _ => {
            let name = String::from_utf8_lossy(&name[..name.len().min(LONGEST_NAME)]);
            Reply::Error(format!("ERR unknown command '{}'", name.escape_default()))
        }
    }
}

/// When the entry expires, by SET's options.
fn expiry(options: &[Bytes], now: Instant) -> Result<Option<Instant>, &'static str> {
    let unit = |option: &[u8]| match option.to_ascii_uppercase().as_slice() {
        b"EX" => Some(1_000),
        b"PX" => Some(1),
        _ => None,
    };
    match options {
        [] => Ok(None),
        [option, amount] => {
            let unit = unit(option).ok_or(SYNTAX)?;
            let amount = number(amount).ok_or(NOT_A_NUMBER)?;
            let amount = u64::try_from(amount).ok().filter(|&n| n > 0).and_then(|n| n.checked_mul(unit));
            let amount = amount.ok_or("ERR invalid expire time in 'set' command")?;
            Ok(now.checked_add(Duration::from_millis(amount)))
        }
        _ => Err(SYNTAX),
    }
}

fn add(key: &mut Bytes, difference: i64, store: &Store, now: Instant) -> Reply {
    let mut store = store.lock();
    let entry = store.get_mut(&key[..]).filter(|entry| entry.is_alive(now));
    let Some(old) = entry.as_ref().map_or(Some(0), |entry| number(&entry.value)) else {
        return Reply::error(NOT_A_NUMBER);
    };
    let Some(sum) = old.checked_add(difference) else { return Reply::error(OVERFLOW) };
    let value = match Bytes::copy(sum.to_string().as_bytes()) {
        Ok(value) => Arc::new(value),
        Err(e) => return e.into(),
    };
    match entry {
        Some(entry) => entry.value = value,
        None => drop(store.insert(std::mem::take(key), Entry { value, expires: None })),
    }
    Reply::Integer(sum)
}
