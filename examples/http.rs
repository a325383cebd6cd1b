//! An HTTP/1.1 server: `cargo run --release --example http -- [PORT] [--workers N] [--head-seconds N]
//! [--connections N] [--serve] [--observe ADDR]`, then `curl -i http://127.0.0.1:8080/`, or `/large`, or
//! `-d text http://127.0.0.1:8080/echo`; for load `ab -k -n 100000 -c 100 http://127.0.0.1:8080/`.
//!
//! It shows a coroutine for each connection that reads and answers one request after the other. Keep-alive
//! and pipelining follow from that. So does back-pressure: while the client does not read its answer, the
//! server reads and makes nothing more. The protocol is in `common/http1.rs`, the accept loop in
//! `common/server.rs`. With `--serve` the same code runs in `net::serve`: a connection has a coroutine only
//! from the first byte of a request to the last byte of its answer.
//!
//! Limits: 4,000 connections, or `--connections`; further ones wait in the backlog. A head has ten seconds,
//! or `--head-seconds`, 16 KiB and 64 fields; a body has 30 seconds and 64 KiB. Bad requests get an answer:
//! 400 if malformed or ambiguous, 408 if slow, 413 or 431 if too large, 501 for transfer codings other than
//! chunked.

mod common;

use std::io;
use std::time::Duration;
use sward::net::{self, Conn, ServeOptions, TcpListener, TcpSocket};

fn main() {
    let usage = "http [PORT] [--workers N] [--head-seconds N] [--connections N] [--serve] [--observe ADDR]";
    let mut arguments = common::Arguments::new(usage);
    let port = arguments.port(8080);
    let head_time = Duration::from_secs(arguments.number("--head-seconds", 10));
    let workers = arguments.number("--workers", 0) as usize;
    let limit = common::server::connections(&mut arguments, 1);
    let serve = if arguments.flag("--serve") { serve_activations } else { serve };
    arguments.observe();
    arguments.end();
    let mut builder = sward::runtime::Builder::new();
    if workers > 0 {
        builder = builder.worker_threads(workers);
    }
    let served = builder.build().and_then(|runtime| runtime.run(|| serve(port, limit, head_time)));
    if let Err(e) = served {
        common::fail(&format!("http on port {port}: {e}"));
    }
}

fn serve(port: u16, limit: usize, head_time: Duration) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("serves http://{}/", listener.local_addr()?);
    common::server::serve(&listener, limit, move |stream| {
        // Answers are sent whole or in large pieces, so Nagle's algorithm would only delay the last piece.
        if stream.set_nodelay(true).is_ok() {
            common::http1::serve(stream, head_time, common::site::answer);
        }
    });
    Ok(())
}

fn serve_activations(port: u16, limit: usize, head_time: Duration) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuse_address(true)?;
    // The connections inherit this.
    socket.set_nodelay(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    let listener = socket.listen(4096)?;
    println!("serves http://{}/", listener.local_addr()?);
    let options = ServeOptions::new().max_connections(limit).idle_limit(common::http1::IDLE_TIME);
    net::serve(listener, options, move |connection: &mut Conn<'_>| {
        common::http1::serve_ready(connection, head_time, common::site::answer)
    })
}
