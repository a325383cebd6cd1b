//! Crates that are written as futures, on [sward](https://docs.rs/sward).
//!
//! A coroutine runs a future with [`sward::block_on`], which parks the coroutine while the future is
//! pending. Most futures need no more. This crate has what the others need:
//!
//! | you have | and need | use |
//! |---|---|---|
//! | a stream of sward | tokio's or futures' `AsyncRead` and `AsyncWrite` | [`Polled`] |
//! | an async stream | std's `Read` and `Write`, which park | [`Blocking`] |
//! | a future that uses tokio's timers, sockets or `spawn` | a tokio runtime | [`block_on`] |
//! | a future that needs a timer | no more than that | [`sleep`] |
//! | connections that one coroutine uses at a time | a pool of them | [`Pool`] |
//!
//! Two crates have interfaces for foreign streams, and this one has such streams for them: the driver `redis`
//! (feature and module `redis`) and the HTTP client `ureq` (feature and module `ureq`).
//!
//! ```
//! use sward::net::{TcpListener, TcpStream};
//! use sward_compat::Polled;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! sward::run(|| {
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let address = listener.local_addr()?;
//!     let server = sward::spawn(move || {
//!         let mut stream = Polled::new(listener.accept()?.0)?;
//!         sward::block_on(async move { stream.write_all(b"hello").await })
//!     });
//!     let mut stream = Polled::new(TcpStream::connect(address)?)?;
//!     let mut text = String::new();
//!     sward::block_on(stream.read_to_string(&mut text))?;
//!     assert_eq!(text, "hello");
//!     server.join().unwrap()
//! })
//! # .unwrap();
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod blocking;
mod polled;
mod pool;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "tokio")]
mod tokio_context;
#[cfg(feature = "ureq")]
pub mod ureq;

#[cfg(any(feature = "tokio", feature = "futures-io"))]
pub use blocking::Blocking;
#[cfg(feature = "futures-io")]
pub use blocking::Futures;
#[cfg(feature = "tokio")]
pub use blocking::Tokio;
pub use polled::{PollStream, Polled, Socket};
pub use pool::{Pool, PoolError, Pooled};
pub use sward::time::{Sleep, sleep_async as sleep, sleep_until_async as sleep_until};
#[cfg(feature = "tokio")]
pub use tokio_context::{InTokio, block_on, handle};
