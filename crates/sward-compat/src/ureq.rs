//! The HTTP client [`ureq`](https://docs.rs/ureq) over streams of sward.
//!
//! ```no_run
//! sward::run(|| {
//!     let agent = sward_compat::ureq::agent(ureq::Agent::config_builder().build());
//!     let body = agent.get("http://example.com/").call()?.body_mut().read_to_string()?;
//!     println!("{body}");
//!     Ok::<(), ureq::Error>(())
//! })
//! # .unwrap();
//! ```
//!
//! The traits that this implements are outside of ureq's promise of stability (`ureq::unversioned`), so a
//! minor version of ureq may need another version of this crate.

use ::ureq::config::Config;
use ::ureq::http::Uri;
use ::ureq::unversioned::resolver::{self, DefaultResolver, ResolvedSocketAddrs};
use ::ureq::unversioned::transport::{self, Buffers, ConnectionDetails, LazyBuffers, NextTimeout, Transport};
use ::ureq::{Agent, Error};
use std::fmt;
use std::io::{self, Read, Write};
use sward::net::TcpStream;
use sward::time::timeout;

/// An agent for plain `http`, with that configuration. Its calls park.
///
/// For `https` chain a connector of ureq behind [`Connector`], such as its `RustlsConnector`, and make the
/// agent with `Agent::with_parts(config, Connector.chain(RustlsConnector::default()), Resolver)`.
pub fn agent(config: Config) -> Agent {
    Agent::with_parts(config, Connector, Resolver)
}

/// Connects over TCP. Knows no proxies.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connector;

impl transport::Connector for Connector {
    type Out = Stream;

    fn connect(&self, to: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Stream>, Error> {
        let stream = in_time(to.timeout, || TcpStream::connect(&to.addrs[..]))?;
        stream.set_nodelay(to.config.no_delay())?;
        let buffers = LazyBuffers::new(to.config.input_buffer_size(), to.config.output_buffer_size());
        Ok(Some(Stream { stream, buffers }))
    }
}

/// A connection of [`Connector`].
pub struct Stream {
    stream: TcpStream,
    buffers: LazyBuffers,
}

impl Transport for Stream {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, limit: NextTimeout) -> Result<(), Error> {
        in_time(limit.for_write(), || self.stream.write_all(&self.buffers.output()[..amount]))
    }

    fn await_input(&mut self, limit: NextTimeout) -> Result<bool, Error> {
        let n = in_time(limit.for_read(), || self.stream.read(self.buffers.input_append_buf()))?;
        self.buffers.input_appended(n);
        Ok(n > 0)
    }

    fn is_open(&mut self) -> bool {
        // Between two requests a server sends nothing but the end of the stream.
        let nothing = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        let restored = self.stream.set_nonblocking(false);
        restored.is_ok() && nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.fmt(f)
    }
}

fn in_time<T>(limit: NextTimeout, call: impl FnOnce() -> io::Result<T>) -> Result<T, Error> {
    match limit.not_zero() {
        None => Ok(call()?),
        Some(time) => Ok(timeout(*time, call).map_err(|_| Error::Timeout(limit.reason))??),
    }
}

/// Looks names up as ureq does, on a thread of `sward::blocking`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resolver;

impl resolver::Resolver for Resolver {
    fn resolve(&self, uri: &Uri, config: &Config, limit: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        sward::blocking(|| resolver::Resolver::resolve(&DefaultResolver::default(), uri, config, limit))?
    }
}
