//! An echo server: `cargo run --release --example echo -- [PORT] [--serve] [--observe ADDR]`, then `nc
//! 127.0.0.1 7000`.
//!
//! It shows the least that a real server has: a coroutine for each connection, a limit on their number, and
//! errors that end one connection and not the server. With `--serve` a connection has a coroutine only while
//! it is served, and a limit on silence.
//!
//! Limits: 1,000 connections; further clients wait in the kernel's queue. Without `--serve` a client
//! may stay silent for ever.

mod common;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;
use sward::net::{self, Conn, Next, ServeOptions, TcpListener, TcpStream};
use sward::sync::Semaphore;

/// How many connections it serves at a time. Each has a descriptor and a coroutine.
const MOST_CONNECTIONS: usize = 1_000;

fn main() {
    let mut arguments = common::Arguments::new("echo [PORT] [--serve] [--observe ADDR]");
    let port = arguments.port(7000);
    let serve = if arguments.flag("--serve") { serve_activations } else { serve };
    arguments.observe();
    arguments.end();
    if let Err(e) = sward::run(|| serve(port)) {
        common::fail(&format!("echo on port {port}: {e}"));
    }
}

fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("echoes on {}", listener.local_addr()?);
    let permits = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let permit = permits.acquire_owned().expect("the semaphore is never closed");
        // An error is the listener's own: `accept` passes over connections that have failed, and waits while
        // descriptors are exhausted.
        let (stream, peer) = listener.accept()?;
        sward::spawn(move || {
            let _permit = permit;
            if let Err(error) = echo(stream) {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 2048];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

/// The same with `net::serve`: the handler runs whenever there is something to read, and in between a
/// connection costs some 250 bytes.
fn serve_activations(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("echoes on {}", listener.local_addr()?);
    let options = ServeOptions::new()
        .max_connections(MOST_CONNECTIONS)
        .idle_limit(Duration::from_secs(600))
        .write_limit(Duration::from_secs(30));
    net::serve(listener, options, |connection: &mut Conn| {
        let mut buffer = [0; 2048];
        let count = connection.read(&mut buffer)?;
        connection.write_all(&buffer[..count])?;
        Ok(Next::Idle)
    })
}
