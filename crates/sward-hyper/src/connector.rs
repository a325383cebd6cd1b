//! Connections for a client.

use crate::rt::Io;
use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::{Connected, Connection};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use sward::net::TcpStream;
use sward::task::JoinHandle;
use sward_compat::Polled;
use tower_service::Service;

/// Connects to the host of a URI, over TCP: for `hyper_util::client::legacy::Client`. The look-up of the name
/// and the connection wait in a coroutine.
///
/// It makes plain connections. For `https`, wrap it with a connector of a TLS crate, such as hyper-rustls'
/// `HttpsConnector`.
///
/// ```
/// use http_body_util::{BodyExt, Empty};
/// use hyper::body::Bytes;
/// use hyper_util::client::legacy::Client;
/// use sward_hyper::{Clock, Connector, Coroutines};
///
/// # use axum::{Router, routing::get};
/// # use sward_hyper::Server;
/// sward::run(|| {
///     # let listener = sward::net::TcpListener::bind("127.0.0.1:0")?;
///     # let address = listener.local_addr()?;
///     # let router = Router::new().route("/", get(async || "Hello"));
///     # sward::spawn(move || Server::new().serve(listener, router));
///     let mut builder = Client::builder(Coroutines);
///     builder.pool_timer(Clock);
///     let client: Client<_, Empty<Bytes>> = builder.build(Connector::new());
///     let uri = format!("http://{address}/").parse()?;
///     let response = sward::block_on(client.get(uri))?;
///     assert_eq!(sward::block_on(response.into_body().collect())?.to_bytes(), "Hello");
///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Connector {
    limit: Duration,
    https: bool,
}

impl Default for Connector {
    fn default() -> Connector {
        Connector::new()
    }
}

impl Connector {
    /// A connector with a time limit of 10 seconds for each connection.
    pub fn new() -> Connector {
        Connector { limit: Duration::from_secs(10), https: false }
    }

    /// The time limit for a connection, with the look-up of the name.
    pub fn limit(mut self, limit: Duration) -> Connector {
        self.limit = limit;
        self
    }

    /// Connects also for `https` URIs, to port 443: for a TLS connector around this one. Otherwise such a URI
    /// is refused, since the connection would not be encrypted.
    pub fn allow_https(mut self) -> Connector {
        self.https = true;
        self
    }

    fn target(&self, uri: &Uri) -> io::Result<(String, u16)> {
        let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text);
        let default = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => 80,
            Some(scheme) if *scheme == Scheme::HTTPS && self.https => 443,
            Some(scheme) if *scheme == Scheme::HTTPS => {
                return Err(invalid("an https URI needs a TLS connector around this one"));
            }
            _ => return Err(invalid("the URI's scheme is not http")),
        };
        let host = uri.host().ok_or_else(|| invalid("the URI has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok((host, uri.port_u16().unwrap_or(default)))
    }
}

impl Service<Uri> for Connector {
    type Response = Io<Polled<TcpStream>>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let (target, limit) = (self.target(&uri), self.limit);
        Connecting(sward::spawn(move || {
            let target = target?;
            let stream = sward::time::timeout(limit, || TcpStream::connect(target))
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            stream.set_nodelay(true)?;
            Ok(Io::new(Polled::new(stream)?))
        }))
    }
}

/// The future of a [`Connector`]. If it is dropped, the attempt ends.
#[derive(Debug)]
pub struct Connecting(JoinHandle<io::Result<Io<Polled<TcpStream>>>>);

impl Future for Connecting {
    type Output = io::Result<Io<Polled<TcpStream>>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|ended| ended.unwrap_or_else(|error| Err(io::Error::other(error))))
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Connection for Io<Polled<TcpStream>> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
