//! The main job: 10,000 connections exchange messages, and the client checks every byte.
//!
//! `cargo run --release --example c10k -- [--conns N] [--secs S] [--size BYTES] [--serve]`
//!
//! With `--serve` the server is `sward::net::serve`, where a connection has a coroutine only while a message
//! is answered. Without it, each connection has one.
//!
//! It starts itself twice more: as an echo server and as a load client, each a process of its own, both on
//! sward. It ends with status 0 only if every byte came back right and no connection broke.
//!
//! Limits: the hard limit of open files (`ulimit -Hn`). If it allows fewer connections than `--conns`, the
//! example says so and goes on with fewer.

mod common;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sward::net::{self, Conn, Next, ServeOptions, SocketAddr, TcpListener, TcpStream};

const USAGE: &str = "c10k [--conns N] [--secs S] [--size BYTES] [--serve]
  --conns  connections to hold at once (10000)
  --secs   seconds to exchange messages for (10)
  --size   bytes of a message, from 16 to 1048576 (64)
  --serve  the server keeps no stacks for idle connections: sward::net::serve";
/// Bytes of a message: each begins with two numbers.
const SIZES: std::ops::RangeInclusive<usize> = 16..=1 << 20;
/// Descriptors that a process needs besides its connections.
const SPARE_DESCRIPTORS: u64 = 64;
/// Connections to one address: below the number of ephemeral ports.
const PER_ADDRESS: usize = 20_000;
/// Connections that are being opened at once.
const OPENING: usize = 256;

struct Job {
    conns: usize,
    secs: u64,
    size: usize,
    serve: bool,
}

fn main() {
    let mut arguments = common::Arguments::new(USAGE);
    let mut job = Job {
        conns: arguments.number("--conns", 10_000) as usize,
        secs: arguments.number("--secs", 10),
        size: arguments.number("--size", 64) as usize,
        serve: arguments.flag("--serve"),
    };
    // Only the coordinator passes these: which of the two children this is, and where the server listens.
    let role = arguments.word();
    let addresses: Vec<String> =
        std::iter::from_fn(|| role.as_ref().and_then(|_| arguments.word())).collect();
    arguments.end();
    for (flag, number) in [("--conns", job.conns as u64), ("--secs", job.secs)] {
        if number == 0 {
            arguments.refuse(&format!("{flag} wants 1 at least, not 0"));
        }
    }
    if !SIZES.contains(&job.size) {
        arguments.refuse(&format!(
            "--size wants from {} to {}, not {}",
            SIZES.start(),
            SIZES.end(),
            job.size
        ));
    }
    let limit =
        common::raise_descriptor_limit().unwrap_or_else(|e| common::fail(&format!("descriptor limit: {e}")));
    let fit = limit.saturating_sub(SPARE_DESCRIPTORS) as usize;
    if job.conns > fit {
        eprintln!("the hard limit of open files (RLIMIT_NOFILE) is {limit}: going on with {fit} connections");
        job.conns = fit;
    }
    let done = match role.as_deref() {
        None => coordinate(&job),
        Some("server") => serve(&job),
        Some("load") => load(&job, &addresses),
        Some(other) => arguments.refuse(&format!("unknown argument: {other:?}")),
    };
    if let Err(e) = done {
        common::fail(&format!("c10k: {e}"));
    }
}

// ---- The coordinator -------------------------------------------------------------------------------

fn coordinate(job: &Job) -> io::Result<()> {
    let mut server = Process::start(job, &["server"])?;
    let addresses = server.line()?;
    let before = common::status(server.id(), "VmRSS").unwrap_or(0);
    let ports: Vec<&str> = addresses.split_whitespace().collect();
    let mut load = Process::start(job, &[&["load"], ports.as_slice()].concat())?;

    let bar = Progress::new(job);
    let (mut at_start, mut idle, mut resident, mut threads) = ((0.0, 0.0), 0, 0, 0);
    let summary = loop {
        let line = load.line()?;
        let (kind, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match kind {
            "open" => bar.opening(rest),
            "begin" => {
                idle = common::status(server.id(), "VmRSS").unwrap_or(0);
                at_start = common::cpu_seconds(server.id()).unwrap_or_default();
                bar.exchanging();
            }
            "messages" => {
                resident = common::status(server.id(), "VmRSS").unwrap_or(0);
                threads = common::status(server.id(), "Threads").unwrap_or(0);
                bar.messages(rest);
            }
            "done" => break rest.to_owned(),
            _ => return Err(io::Error::other(format!("the load client said: {line}"))),
        }
    };
    let at_end = common::cpu_seconds(server.id()).unwrap_or_default();
    bar.finish();
    load.end()?;
    server.end()?;

    let numbers: Vec<f64> = summary.split_whitespace().filter_map(|text| text.parse().ok()).collect();
    let [stood, failed, wrong, messages, seconds, p50, p99, p999] = numbers[..] else {
        return Err(io::Error::other(format!("the load client ended with: {summary}")));
    };
    let per_message = |seconds: f64| seconds * 1e6 / messages.max(1.0);
    println!();
    println!("connections                 {stood:>12}");
    println!("messages                    {messages:>12}, {} bytes each", job.size);
    println!("messages/s                  {:>12.0}", messages / seconds);
    println!("latency p50                 {:>12.2} ms", p50 / 1e6);
    println!("latency p99                 {:>12.2} ms", p99 / 1e6);
    println!("latency p99.9               {:>12.2} ms", p999 / 1e6);
    let per_connection = |rss: u64| rss.saturating_sub(before) as f64 / stood.max(1.0);
    println!("server RSS per connection   {:>12.0} bytes idle", per_connection(idle) * 1024.0);
    println!("                            {:>12.0} bytes busy", per_connection(resident) * 1024.0);
    println!("server threads              {threads:>12}");
    println!("server CPU per message      {:>12.2} µs user", per_message(at_end.0 - at_start.0));
    println!("                            {:>12.2} µs kernel", per_message(at_end.1 - at_start.1));
    println!("failed connections          {failed:>12}");
    println!("wrong or lost messages      {wrong:>12}");
    exit(i32::from(failed + wrong > 0.0 || stood as usize != job.conns));
}

/// A child that ends when its standard input does, so that it never outlives this process.
struct Process {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(job: &Job, arguments: &[&str]) -> io::Result<Process> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .args(["--conns", &job.conns.to_string()])
            .args(["--secs", &job.secs.to_string()])
            .args(["--size", &job.size.to_string()])
            .args(job.serve.then_some("--serve"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().expect("it was piped"));
        Ok(Process { child, output })
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(io::Error::other(format!("a child has ended early: {}", self.child.wait()?)));
        }
        Ok(line.trim_end().to_owned())
    }

    fn end(&mut self) -> io::Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().map(drop)
    }
}

/// Ends the process when its standard input does.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        exit(0);
    });
}

/// A bar on a terminal, plain lines elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    conns: usize,
    secs: u64,
    began: std::cell::Cell<Option<Instant>>,
}

impl Progress {
    fn new(job: &Job) -> Progress {
        let bar = io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{msg:34} {wide_bar} {pos}/{len}").expect("a fine template");
            ProgressBar::new(job.conns as u64).with_style(style).with_message("opening connections")
        });
        Progress { bar, conns: job.conns, secs: job.secs, began: std::cell::Cell::new(None) }
    }

    fn opening(&self, count: &str) {
        match &self.bar {
            Some(bar) => bar.set_position(count.parse().unwrap_or(0)),
            None => println!("opened {count} of {} connections", self.conns),
        }
    }

    fn exchanging(&self) {
        self.began.set(Some(Instant::now()));
        match &self.bar {
            Some(bar) => {
                bar.set_length(self.secs);
                bar.set_position(0);
            }
            None => println!("all connections exchange messages for {} s", self.secs),
        }
    }

    fn messages(&self, count: &str) {
        let elapsed = self.began.get().map_or(0, |began| began.elapsed().as_secs());
        match &self.bar {
            Some(bar) => {
                bar.set_message(format!("{count} messages"));
                bar.set_position(elapsed);
            }
            None => println!("{elapsed:>4} s: {count} messages"),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

// ---- The server ------------------------------------------------------------------------------------

fn serve(job: &Job) -> io::Result<()> {
    end_with_parent();
    let (addresses, activations) = (job.conns.div_ceil(PER_ADDRESS), job.serve);
    sward::run(|| {
        let mut listeners = Vec::new();
        for n in 1..=addresses {
            listeners.push(TcpListener::bind((Ipv4Addr::new(127, 0, 0, n as u8), 0))?);
        }
        let names: io::Result<Vec<String>> =
            listeners.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect();
        println!("{}", names?.join(" "));
        let accept = move |listener| match activations {
            false => accept(&listener),
            true => net::serve(listener, ServeOptions::new(), echo_once),
        };
        let loops: Vec<_> =
            listeners.into_iter().map(|listener| sward::spawn(move || accept(listener))).collect();
        for accepting in loops {
            accepting.join().map_err(|e| io::Error::other(e.to_string()))??;
        }
        Ok(())
    })
}

/// The handler of `net::serve`: it runs when a connection has something to read.
fn echo_once(connection: &mut Conn) -> io::Result<Next> {
    let mut buffer = [0; 1024];
    let count = connection.read(&mut buffer)?;
    connection.write_all(&buffer[..count])?;
    Ok(Next::Idle)
}

fn accept(listener: &TcpListener) -> io::Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        sward::spawn(move || {
            let _ = echo(stream);
        });
    }
    Ok(())
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

// ---- The load client -------------------------------------------------------------------------------

#[derive(Default)]
struct Count {
    opened: AtomicUsize,
    failed: AtomicUsize,
    opening: AtomicUsize,
    messages: AtomicU64,
    wrong: AtomicU64,
    go: AtomicBool,
    stop: AtomicBool,
}

fn load(job: &Job, addresses: &[String]) -> io::Result<()> {
    end_with_parent();
    let addresses: Vec<SocketAddr> = addresses.iter().map_while(|text| text.parse().ok()).collect();
    sward::run(|| {
        let count = Arc::new(Count::default());
        let mut clients = Vec::with_capacity(job.conns);
        for number in 0..job.conns {
            while count.opening.load(Ordering::Relaxed) >= OPENING {
                sward::sleep(Duration::from_micros(200));
            }
            count.opening.fetch_add(1, Ordering::Relaxed);
            let (count, address, size) = (count.clone(), addresses[number / PER_ADDRESS], job.size);
            clients.push(sward::spawn(move || client(number as u64, address, size, &count)));
            if number % 1_000 == 999 {
                say(&format!("open {}", number + 1));
            }
        }
        while count.opened.load(Ordering::Relaxed) + count.failed.load(Ordering::Relaxed) < job.conns {
            sward::sleep(Duration::from_millis(1));
        }
        say("begin");
        let began = Instant::now();
        count.go.store(true, Ordering::Release);
        for client in &clients {
            client.task().unpark();
        }
        for second in 1..=job.secs {
            sward::time::sleep_until(began + Duration::from_secs(second));
            say(&format!("messages {}", count.messages.load(Ordering::Relaxed)));
        }
        count.stop.store(true, Ordering::Relaxed);
        let elapsed = began.elapsed();
        let mut latency = new_histogram();
        for client in clients {
            match client.join() {
                Ok(mine) => latency.add(mine).expect("the same bounds"),
                Err(e) => {
                    eprintln!("a client failed: {e}");
                    count.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        say(&format!(
            "done {} {} {} {} {} {} {} {}",
            count.opened.load(Ordering::Relaxed),
            count.failed.load(Ordering::Relaxed),
            count.wrong.load(Ordering::Relaxed),
            count.messages.load(Ordering::Relaxed),
            elapsed.as_secs_f64(),
            latency.value_at_quantile(0.5),
            latency.value_at_quantile(0.99),
            latency.value_at_quantile(0.999),
        ));
        Ok(())
    })
}

fn say(line: &str) {
    let mut out = io::stdout();
    // If this fails, the parent is gone, and the process ends when its standard input does.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Buckets for nanoseconds, exact to two digits, up to a minute.
fn new_histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 1).expect("fine bounds")
}

fn client(number: u64, address: SocketAddr, size: usize, count: &Count) -> Histogram<u32> {
    let mut latency = new_histogram();
    let stream = TcpStream::connect(address).and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    count.opening.fetch_sub(1, Ordering::Relaxed);
    let stream = match stream {
        Ok(stream) => stream,
        Err(e) => {
            if count.failed.fetch_add(1, Ordering::Relaxed) == 0 {
                eprintln!("connection {number} failed: {e}");
            }
            return latency;
        }
    };
    count.opened.fetch_add(1, Ordering::Relaxed);
    while !count.go.load(Ordering::Acquire) {
        sward::task::park();
    }
    if let Err(e) = exchange(number, &stream, size, count, &mut latency)
        && count.wrong.fetch_add(1, Ordering::Relaxed) == 0
    {
        eprintln!("connection {number} lost a message: {e}");
    }
    latency
}

fn exchange(
    number: u64,
    mut stream: &TcpStream,
    size: usize,
    count: &Count,
    latency: &mut Histogram<u32>,
) -> io::Result<()> {
    let (mut sent, mut received) = (vec![0; size], vec![0; size]);
    for message in 0.. {
        if count.stop.load(Ordering::Relaxed) {
            break;
        }
        fill(&mut sent, number, message);
        let start = Instant::now();
        stream.write_all(&sent)?;
        stream.read_exact(&mut received)?;
        latency.saturating_record(start.elapsed().as_nanos() as u64);
        count.messages.fetch_add(1, Ordering::Relaxed);
        if sent != received {
            return Err(io::Error::other(format!("message {message} came back changed")));
        }
    }
    // The server must send nothing after the last message.
    stream.shutdown(sward::net::Shutdown::Write)?;
    match stream.read(&mut received)? {
        0 => Ok(()),
        n => Err(io::Error::other(format!("{n} bytes came that nobody sent"))),
    }
}

/// The content of a message: it differs from that of every other message of every connection.
fn fill(message: &mut [u8], connection: u64, number: u64) {
    let mut state = (connection << 32 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    message[..8].copy_from_slice(&connection.to_be_bytes());
    message[8..16].copy_from_slice(&number.to_be_bytes());
    for chunk in message[16..].chunks_mut(8) {
        state = state.wrapping_mul(0xd129_0f72_0ff8_4d1d).wrapping_add(1);
        chunk.copy_from_slice(&state.to_be_bytes()[..chunk.len()]);
    }
}
