//! An axum router on sward: `cargo run --release -p sward-hyper --example hyper -- [PORT [HEAD_SECONDS
//! [CONNECTIONS]]]`, then `curl -i http://127.0.0.1:8082/`, or with `--http2-prior-knowledge`, or
//! `-d text http://127.0.0.1:8082/echo`. Ctrl-C lets the requests end.
//!
//! Limits: those of `Server`, with 10 seconds for a head and 4,000 connections; further ones wait in the
//! backlog, also while descriptors are exhausted. Bodies stream through.

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use std::io;
use std::time::Duration;
use sward::net::TcpListener;
use sward_hyper::Server;

fn main() -> io::Result<()> {
    let numbers: Result<Vec<u64>, _> = std::env::args().skip(1).map(|argument| argument.parse()).collect();
    let numbers =
        numbers.map_err(|_| io::Error::other("usage: hyper [PORT [HEAD_SECONDS [CONNECTIONS]]]"))?;
    let number = |n: usize, default| numbers.get(n).copied().unwrap_or(default);
    let port = u16::try_from(number(0, 8082)).map_err(io::Error::other)?;
    let server = Server::new().head_time(Duration::from_secs(number(1, 10)));
    let server = server.connections(number(2, 4_000) as usize);

    let router = Router::new()
        .route("/", get(async || "Hello, World!\n"))
        .route("/slow", get(slow))
        .route("/echo", post(async |body: Body| body));
    sward::run(move || {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        println!("serves http://{}/", listener.local_addr()?);
        let handle = server.handle();
        sward::spawn(move || sward::signal::ctrl_c().map(|()| handle.shut_down()));
        server.serve(listener, router)
    })
}

/// A handler may block: this parks its request.
async fn slow() -> &'static str {
    sward::sleep(Duration::from_millis(200));
    "slow\n"
}
