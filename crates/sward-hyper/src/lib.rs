//! hyper, and what is built on it, such as axum, on [sward](https://docs.rs/sward).
//!
//! [`Server`] serves a tower service, such as an axum router: HTTP/1.1 and HTTP/2, with a limit of
//! connections, a time limit for heads, and a graceful shutdown. Each connection is a coroutine, and so is
//! each request of HTTP/2. So a handler may block as any coroutine may: `sward::sleep`, a query, a lock. In
//! HTTP/1.1 that parks its connection, which has one request at a time; in HTTP/2 it parks the request.
//!
//! ```
//! use axum::{Router, routing::get};
//! use sward::net::TcpListener;
//! use sward_hyper::Server;
//!
//! sward::run(|| {
//!     let router = Router::new().route("/", get(async || {
//!         sward::sleep(std::time::Duration::from_millis(1)); // Parks.
//!         "Hello, World!"
//!     }));
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let server = Server::new();
//!     let handle = server.handle();
//!     let serves = sward::spawn(move || server.serve(listener, router));
//!     // ...
//!     handle.shut_down();
//!     serves.join().unwrap()
//! })
//! # .unwrap();
//! ```
//!
//! # What a connection costs while it is idle
//!
//! A coroutine with its stack, and hyper's buffers: sward-hyper does not use [`sward::net::serve`], where an
//! idle connection is only a record. hyper's connection is one future from the first request to the last. It
//! holds the stream, the bytes that were read ahead and the state of keep-alive, and it has to be polled when
//! the stream is ready: no call takes it apart between two requests and puts it together again. A connection
//! for each request (`keep_alive(false)`) would tell the client to close. So if most of your connections are
//! idle, and there are very many, parse HTTP/1.1 yourself in `sward::net::serve`, or let a proxy hold them.
//!
//! # With hyper's own builders
//!
//! Use [`Io`], [`Coroutines`] and [`Clock`]: the stream, the executor and the timer
//! of hyper's `rt` traits. A client of `hyper-util` connects with [`Connector`].

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod answer;
mod connector;
mod listener;
mod rt;
mod server;
mod stop;
#[cfg(feature = "rustls")]
mod tls;

pub use connector::Connector;
pub use listener::{Accepted, Listener, Peer, Protocol};
pub use rt::{Clock, Coroutines, Io};
pub use server::{Handle, Server};
#[cfg(feature = "rustls")]
pub use tls::{Tls, TlsStream};
