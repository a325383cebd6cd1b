//! A TCP proxy: `cargo run --release --example proxy -- 7001 127.0.0.1:7000`, with `echo` behind it, then
//! `nc 127.0.0.1 7001`.
//!
//! It shows how to join two streams. Half-closed connections stay half-closed: the proxy passes on the end of
//! one direction, and the other direction goes on. A failure must not look like an end: after a reset, an
//! error, or a limit, the proxy resets both sides.
//!
//! Ctrl-C or SIGTERM ends the proxy: it accepts no more connections, and lets the present ones go on for
//! `--grace` seconds, ten by default. A second signal ends it at once.
//!
//! Limits: 4,000 connections, or `--connections`; further ones wait in the backlog. The proxy resets a
//! connection if nothing moves in either direction for five minutes, or `--idle` seconds, or if the target
//! does not answer within ten seconds. Each connection holds two buffers of at most 64 KiB.

mod common;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use sward::io::CopyBidirectional;
use sward::net::{TcpListener, TcpStream};
use sward::signal::{SignalKind, signal};
use sward::sync::Semaphore;
use sward::task::JoinSet;

const CONNECT_TIME: Duration = Duration::from_secs(10);
const BUFFER: usize = 64 << 10;

#[derive(Clone)]
struct Settings {
    target: String,
    limit: usize,
    grace: Duration,
    copy: CopyBidirectional,
}

fn main() {
    let usage = "proxy LISTEN_PORT TARGET [--grace SECONDS] [--idle SECONDS] [--connections N]";
    let mut arguments = common::Arguments::new(usage);
    let port = arguments.port(7001);
    let Some(target) = arguments.word() else { arguments.refuse("where to? TARGET is a host and a port") };
    let grace = Duration::from_secs(arguments.number("--grace", 10));
    let idle = Duration::from_secs(arguments.number("--idle", 300));
    let limit = common::server::connections(&mut arguments, 2);
    arguments.end();
    let copy = CopyBidirectional::new().idle_timeout(idle).buffer_size(BUFFER);
    let settings = Settings { target, limit, grace, copy };
    if let Err(e) = sward::run(|| serve(port, settings)) {
        common::fail(&format!("proxy on port {port}: {e}"));
    }
}

fn serve(port: u16, settings: Settings) -> io::Result<()> {
    let (interrupt, terminate) = (signal(SignalKind::INTERRUPT)?, signal(SignalKind::TERMINATE)?);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("passes on to {} from {}", settings.target, listener.local_addr()?);
    let permits = Arc::new(Semaphore::new(settings.limit));
    let (accepting, permitting) = (listener.try_clone()?, Arc::clone(&permits));
    sward::spawn(move || {
        for again in [false, true] {
            sward::select! {
                recv(interrupt) -> _ => {}
                recv(terminate) -> _ => {}
            }
            if again {
                std::process::exit(1);
            }
            // The loop below waits for a permit or for a connection: this ends either wait.
            permitting.close();
            let _ = accepting.close();
        }
    });

    let mut connections = JoinSet::new();
    let mut incoming = listener.incoming();
    while let Ok(permit) = permits.acquire_owned() {
        match incoming.next() {
            Some(Ok(client)) => {
                let settings = settings.clone();
                connections.spawn(move || {
                    let _permit = permit;
                    // A broken connection ends only itself.
                    let _ = pass_on(&client, &settings);
                });
            }
            Some(Err(e)) => common::server::pause(&e),
            None => break,
        }
        forget_ended(&mut connections);
    }
    // The reader of this output may be gone.
    let mut out = sward::io::stdout();
    forget_ended(&mut connections);
    let _ = writeln!(out, "ends, with {} connections", connections.len());
    let ended = sward::time::timeout(settings.grace, || while connections.join_next().is_some() {});
    forget_ended(&mut connections);
    if ended.is_err() && !connections.is_empty() {
        let _ = writeln!(out, "gives up {} connections", connections.len());
        connections.shutdown();
    }
    Ok(())
}

fn forget_ended(connections: &mut JoinSet<()>) {
    while connections.try_join_next().is_some() {}
}

fn pass_on(client: &TcpStream, settings: &Settings) -> io::Result<()> {
    // From here on every drop of the streams resets them: by an error, a limit, or a cancellation.
    let reset = Some(Duration::ZERO);
    client.set_linger(reset)?;
    client.set_nodelay(true)?;
    let server = sward::time::timeout(CONNECT_TIME, || TcpStream::connect(settings.target.as_str()))??;
    server.set_linger(reset)?;
    server.set_nodelay(true)?;
    settings.copy.copy(client, &server)?;
    // Both directions have ended in good order.
    client.set_linger(None)?;
    server.set_linger(None)
}
