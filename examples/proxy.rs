//! A TCP proxy: `cargo run --release --example proxy -- 7001 127.0.0.1:7000`, with `echo` behind it.
//!
//! Half-closed connections stay half-closed: an end in one direction is passed on, and the other goes on. An
//! error in either ends both. Ctrl-C, or a polite kill, ends the proxy: it accepts no more, and gives those
//! that are connected `--grace` seconds. The same again ends it at once.

mod common;

use std::io::{self, Write};
use std::time::Duration;
use sward::net::{TcpListener, TcpStream};
use sward::signal::{SignalKind, signal};
use sward::task::JoinSet;

fn main() {
    let mut arguments = common::Arguments::new("proxy LISTEN_PORT TARGET [--grace SECONDS]");
    let port = arguments.port(7001);
    let Some(target) = arguments.word() else { arguments.refuse("where to? TARGET is a host and a port") };
    let grace = Duration::from_secs(arguments.number("--grace", 10));
    arguments.end();
    if let Err(e) = sward::run(|| serve(port, target, grace)) {
        common::fail(&format!("proxy on port {port}: {e}"));
    }
}

fn serve(port: u16, target: String, grace: Duration) -> io::Result<()> {
    let (interrupt, terminate) = (signal(SignalKind::INTERRUPT)?, signal(SignalKind::TERMINATE)?);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("passes on to {target} from {}", listener.local_addr()?);
    let accepting = listener.try_clone()?;
    sward::spawn(move || {
        for again in [false, true] {
            sward::select! {
                recv(interrupt) -> _ => {}
                recv(terminate) -> _ => {}
            }
            if again {
                std::process::exit(1);
            }
            let _ = accepting.close();
        }
    });

    let mut connections = JoinSet::new();
    for client in listener.incoming() {
        let (client, target) = (client?, target.clone());
        // A connection that breaks is the end of that connection only.
        connections.spawn(move || drop(pass_on(&client, &target)));
        while connections.try_join_next().is_some() {}
    }
    // Nobody may be there any more to read it.
    let mut out = sward::io::stdout();
    let _ = writeln!(out, "ends, with {} connections", connections.len());
    if sward::time::timeout(grace, || while connections.join_next().is_some() {}).is_err() {
        let _ = writeln!(out, "gives up {} connections", connections.len());
        connections.shutdown();
    }
    Ok(())
}

fn pass_on(client: &TcpStream, target: &str) -> io::Result<(u64, u64)> {
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    sward::io::copy_bidirectional(client, &server)
}
