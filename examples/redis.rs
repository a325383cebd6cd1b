//! A small Redis: `cargo run --release --example redis [PORT]`, then `redis-cli -p 6390` or
//! `redis-benchmark -p 6390 -t set,get -c 50 -P 16`.
//!
//! PING, ECHO, SET (with EX and PX), GET, DEL, EXISTS, INCR, DECR, EXPIRE, TTL, DBSIZE, FLUSHALL, COMMAND,
//! CONFIG, QUIT, in RESP and as inline commands, pipelined. A coroutine for each connection, and one that
//! removes what has expired. Ctrl-C ends it.

mod common;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use sward::net::{TcpListener, TcpStream};

/// The longest argument, and the most of them; what claims to be more is refused before it is stored.
const MOST: usize = 64 << 20;
const MOST_ARGUMENTS: usize = 1 << 20;

struct Entry {
    value: Vec<u8>,
    expires: Option<Instant>,
}

impl Entry {
    fn is_alive(&self, now: Instant) -> bool {
        self.expires.is_none_or(|at| now < at)
    }
}

/// The data. The lock is never held over a wait.
#[derive(Default)]
struct Store(Mutex<HashMap<Vec<u8>, Entry>>);

impl Store {
    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn main() {
    let mut arguments = common::Arguments::new("redis [PORT]");
    let port = arguments.port(6390);
    arguments.end();
    if let Err(e) = sward::run(|| serve(port)) {
        common::fail(&format!("redis on port {port}: {e}"));
    }
}

fn serve(port: u16) -> io::Result<()> {
    // Before anyone can know that it runs.
    let interrupt = sward::signal::signal(sward::signal::SignalKind::INTERRUPT)?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("serves redis on {}", listener.local_addr()?);
    let store = Arc::new(Store::default());
    let sweeper = Arc::clone(&store);
    sward::spawn(move || {
        loop {
            sward::sleep(Duration::from_secs(1));
            let now = Instant::now();
            sweeper.lock().retain(|_, entry| entry.is_alive(now));
        }
    });
    let accepting = sward::spawn(move || -> io::Result<()> {
        for stream in listener.incoming() {
            let (stream, store) = (stream?, Arc::clone(&store));
            sward::spawn(move || {
                // A connection that breaks is the end of that connection only.
                let _ = Connection { stream, input: Vec::new(), output: Vec::new() }.serve(&store);
            });
        }
        Ok(())
    });
    sward::select! {
        recv(interrupt) -> _ => Ok(()),
        join(accepting) -> ended => ended.map_err(io::Error::other)?,
    }
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    fn serve(mut self, store: &Store) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let mut buffer = vec![0; 16 << 10];
        loop {
            let n = self.stream.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            self.input.extend_from_slice(&buffer[..n]);
            let goes_on = self.answer_all(store);
            self.stream.write_all(&self.output)?;
            self.output.clear();
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Answers every command that is complete; false when the connection is to be closed.
    fn answer_all(&mut self, store: &Store) -> bool {
        let mut at = 0;
        let goes_on = loop {
            match parse(&self.input[at..]) {
                Ok(Some((arguments, used))) => {
                    at += used;
                    if !arguments.is_empty() && !execute(&arguments, store, &mut self.output) {
                        break false;
                    }
                }
                Ok(None) => break true,
                Err(message) => {
                    error(&mut self.output, &format!("ERR Protocol error: {message}"));
                    break false;
                }
            }
        };
        self.input.drain(..at);
        goes_on
    }
}

type Arguments<'a> = Vec<&'a [u8]>;

/// The first command and its length; `None` if it is not complete.
fn parse(input: &[u8]) -> Result<Option<(Arguments<'_>, usize)>, &'static str> {
    let Some((first, mut at)) = line(input, 0)? else { return Ok(None) };
    let Some(count) = first.strip_prefix(b"*") else {
        let words = first.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        return Ok(Some((words.collect(), at)));
    };
    let count = length(count, MOST_ARGUMENTS).ok_or("invalid multibulk length")?;
    let mut arguments = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let Some((header, begin)) = line(input, at)? else { return Ok(None) };
        let header = header.strip_prefix(b"$").ok_or("expected '$'")?;
        let end = begin + length(header, MOST).ok_or("invalid bulk length")?;
        if input.len() < end + 2 {
            return Ok(None);
        }
        arguments.push(&input[begin..end]);
        at = end + 2;
    }
    Ok(Some((arguments, at)))
}

/// The line that begins there, and where the next one does.
fn line(input: &[u8], from: usize) -> Result<Option<(&[u8], usize)>, &'static str> {
    const LONGEST: usize = 64 << 10;
    match input[from..].iter().position(|&byte| byte == b'\n') {
        Some(length) => {
            let text = &input[from..from + length];
            Ok(Some((text.strip_suffix(b"\r").unwrap_or(text), from + length + 1)))
        }
        None if input.len() - from > LONGEST => Err("too big inline request"),
        None => Ok(None),
    }
}

fn length(text: &[u8], most: usize) -> Option<usize> {
    number(text).and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= most)
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn error(output: &mut Vec<u8>, message: &str) {
    let _ = write!(output, "-{message}\r\n");
}

fn integer(output: &mut Vec<u8>, n: i64) {
    let _ = write!(output, ":{n}\r\n");
}

fn bulk(output: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => {
            let _ = write!(output, "${}\r\n", value.len());
            output.extend_from_slice(value);
            output.extend_from_slice(b"\r\n");
        }
        None => output.extend_from_slice(b"$-1\r\n"),
    }
}

const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";

/// Carries a command out; false when the connection is to be closed.
fn execute(arguments: &[&[u8]], store: &Store, output: &mut Vec<u8>) -> bool {
    let name = arguments[0].to_ascii_uppercase();
    let now = Instant::now();
    match (name.as_slice(), &arguments[1..]) {
        (b"PING", []) => output.extend_from_slice(b"+PONG\r\n"),
        (b"PING" | b"ECHO", [text]) => bulk(output, Some(text)),
        (b"QUIT", _) => {
            output.extend_from_slice(b"+OK\r\n");
            return false;
        }
        // What clients ask for when they start.
        (b"COMMAND", _) => output.extend_from_slice(b"*0\r\n"),
        (b"CONFIG", [_get, name]) => {
            output.extend_from_slice(b"*2\r\n");
            bulk(output, Some(name));
            bulk(output, Some(b""));
        }
        (b"DBSIZE", []) => integer(output, store.lock().len() as i64),
        (b"FLUSHALL", _) => {
            let all = std::mem::take(&mut *store.lock());
            drop(all);
            output.extend_from_slice(b"+OK\r\n");
        }
        (b"SET", [key, value, options @ ..]) => match expiry(options, now) {
            Ok(expires) => {
                store.lock().insert(key.to_vec(), Entry { value: value.to_vec(), expires });
                output.extend_from_slice(b"+OK\r\n");
            }
            Err(message) => error(output, message),
        },
        (b"GET", [key]) => {
            let store = store.lock();
            bulk(output, store.get(*key).filter(|entry| entry.is_alive(now)).map(|entry| &entry.value[..]));
        }
        (b"DEL", keys @ [_, ..]) => {
            let mut store = store.lock();
            let removed =
                keys.iter().filter_map(|key| store.remove(*key)).filter(|entry| entry.is_alive(now));
            integer(output, removed.count() as i64);
        }
        (b"EXISTS", keys @ [_, ..]) => {
            let store = store.lock();
            let there = keys.iter().filter_map(|key| store.get(*key)).filter(|entry| entry.is_alive(now));
            integer(output, there.count() as i64);
        }
        (b"INCR", [key]) => add(key, 1, store, now, output),
        (b"DECR", [key]) => add(key, -1, store, now, output),
        (b"EXPIRE", [key, seconds]) => match number(seconds) {
            Some(seconds) => {
                let mut store = store.lock();
                let entry = store.get_mut(*key).filter(|entry| entry.is_alive(now));
                integer(output, i64::from(entry.is_some()));
                if let Some(entry) = entry {
                    // A time that has passed: it is gone at once. One that the clock cannot say: it stays.
                    entry.expires = match u64::try_from(seconds) {
                        Ok(seconds) => now.checked_add(Duration::from_secs(seconds)),
                        Err(_) => Some(now),
                    };
                }
            }
            None => error(output, NOT_A_NUMBER),
        },
        (b"TTL", [key]) => {
            let store = store.lock();
            integer(
                output,
                match store.get(*key).filter(|entry| entry.is_alive(now)) {
                    Some(Entry { expires: Some(at), .. }) => (*at - now).as_secs_f64().round() as i64,
                    Some(_) => -1,
                    None => -2,
                },
            );
        }
        (
            b"ECHO" | b"DBSIZE" | b"SET" | b"GET" | b"DEL" | b"EXISTS" | b"INCR" | b"DECR" | b"EXPIRE"
            | b"TTL" | b"PING",
            _,
        ) => error(
            output,
            &format!(
                "ERR wrong number of arguments for '{}' command",
                String::from_utf8_lossy(&name).to_lowercase()
            ),
        ),
        _ => error(
            output,
            &format!("ERR unknown command '{}'", String::from_utf8_lossy(&name).escape_default()),
        ),
    }
    true
}

/// What SET's options say of the end of the entry.
fn expiry(options: &[&[u8]], now: Instant) -> Result<Option<Instant>, &'static str> {
    let unit = |option: &[u8]| match option.to_ascii_uppercase().as_slice() {
        b"EX" => Some(1_000),
        b"PX" => Some(1),
        _ => None,
    };
    match options {
        [] => Ok(None),
        [option, amount] => {
            let unit = unit(option).ok_or("ERR syntax error")?;
            let amount = number(amount).ok_or(NOT_A_NUMBER)?;
            let amount = u64::try_from(amount).ok().filter(|&n| n > 0).and_then(|n| n.checked_mul(unit));
            let amount = amount.ok_or("ERR invalid expire time in 'set' command")?;
            Ok(now.checked_add(Duration::from_millis(amount)))
        }
        _ => Err("ERR syntax error"),
    }
}

fn add(key: &[u8], difference: i64, store: &Store, now: Instant, output: &mut Vec<u8>) {
    let mut store = store.lock();
    let entry = store.entry(key.to_vec()).or_insert(Entry { value: b"0".to_vec(), expires: None });
    if !entry.is_alive(now) {
        *entry = Entry { value: b"0".to_vec(), expires: None };
    }
    match number(&entry.value).and_then(|n| n.checked_add(difference)) {
        Some(sum) => {
            entry.value = sum.to_string().into_bytes();
            integer(output, sum);
        }
        None => error(output, NOT_A_NUMBER),
    }
}
