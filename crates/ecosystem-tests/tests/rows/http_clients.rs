//! Clients of HTTP, and of TLS, against nginx.

use crate::peers::Nginx;
use ecosystem_tests::{Gate, Row, check};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use sward::net::TcpStream;
use sward_compat::Pool;
use sward_hyper::{Clock, Connector, Coroutines};

/// hyper-util's client on streams of sward.
struct Hyper {
    client: Client<Connector, Empty<Bytes>>,
    server: Nginx,
}

impl Hyper {
    fn get(&self, url: &str) -> Bytes {
        let url = url.parse().expect("a URL");
        sward::block_on(async {
            let answer = self.client.get(url).await.expect("an answer");
            answer.into_body().collect().await.expect("a body").to_bytes()
        })
    }
}

impl Row for Hyper {
    fn operate(&self, n: u32) {
        assert_eq!(self.get(&self.server.url(n)), n.to_string());
    }

    fn wait(&self) {
        self.get(&self.server.wait_url());
    }

    fn gate(&self) -> &dyn Gate {
        &self.server
    }
}

#[test]
fn hyper_client() {
    let Some(server) = Nginx::new() else { return };
    check(|| {
        // Glue: hyper_client
        let mut builder = Client::builder(Coroutines);
        builder.pool_timer(Clock);
        let client = builder.build(Connector::new());
        // End.
        Hyper { client, server }
    });
}

/// reqwest, on tokio's sockets.
struct Reqwest {
    client: reqwest::Client,
    server: Nginx,
}

impl Reqwest {
    fn get(&self, url: String) -> String {
        // Glue: reqwest
        sward_compat::block_on(async {
            // End.
            let answer = self.client.get(url).send().await.expect("an answer");
            answer.text().await.expect("a body")
        })
    }
}

impl Row for Reqwest {
    fn operate(&self, n: u32) {
        assert_eq!(self.get(self.server.url(n)), n.to_string());
    }

    fn wait(&self) {
        self.get(self.server.wait_url());
    }

    fn gate(&self) -> &dyn Gate {
        &self.server
    }
}

#[test]
fn reqwest() {
    let Some(server) = Nginx::new() else { return };
    let builder = reqwest::Client::builder().no_proxy();
    check(|| Reqwest { client: builder.build().expect("a client"), server });
}

/// ureq, on streams of sward.
struct Ureq {
    agent: ureq::Agent,
    server: Nginx,
}

impl Ureq {
    fn get(&self, url: &str) -> String {
        let mut answer = self.agent.get(url).call().expect("an answer");
        answer.body_mut().read_to_string().expect("a body")
    }
}

impl Row for Ureq {
    fn operate(&self, n: u32) {
        assert_eq!(self.get(&self.server.url(n)), n.to_string());
    }

    fn wait(&self) {
        self.get(&self.server.wait_url());
    }

    fn gate(&self) -> &dyn Gate {
        &self.server
    }
}

#[test]
fn ureq() {
    let Some(server) = Nginx::new() else { return };
    let config = ureq::Agent::config_builder().proxy(None).build();
    check(|| {
        // Glue: ureq
        let agent = sward_compat::ureq::agent(config);
        // End.
        Ureq { agent, server }
    });
}

/// One request over a stream.
pub(crate) fn ask(stream: &mut impl ReadWrite, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let n = stream.read(&mut chunk).expect("an answer");
        assert_ne!(n, 0, "the server keeps the connection");
        answer.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        if body.len() == length.parse::<usize>().expect("a number") {
            return body.to_owned();
        }
    }
}

pub(crate) trait ReadWrite: Read + Write + Send + 'static {}

impl<S: Read + Write + Send + 'static> ReadWrite for S {}

/// A TLS library over a stream of sward.
struct Tls<S> {
    pool: Pool<S, io::Error>,
    server: Nginx,
}

impl<S: ReadWrite> Row for Tls<S> {
    fn operate(&self, n: u32) {
        let mut connection = self.pool.get().expect("a connection");
        assert_eq!(ask(&mut *connection, &format!("/?n={n}")), n.to_string());
    }

    fn wait(&self) {
        let mut connection = self.pool.get().expect("a connection");
        ask(&mut *connection, "/wait");
    }

    fn gate(&self) -> &dyn Gate {
        &self.server
    }
}

#[test]
fn rustls() {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    let Some(server) = Nginx::new() else { return };
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(&server.certificate).expect("a certificate");
    roots.add(certificate).expect("a root");
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let (config, address) = (Arc::new(config), server.https);
    let connect = move || {
        let name = "localhost".try_into().expect("a name");
        let session = rustls::ClientConnection::new(Arc::clone(&config), name).map_err(io::Error::other)?;
        Ok(rustls::StreamOwned::new(session, stream_to(address)?))
    };
    check(|| Tls { pool: Pool::new(100, connect), server });
}

#[test]
fn native_tls() {
    let Some(server) = Nginx::new() else { return };
    let root = native_tls::Certificate::from_pem(&server.certificate).expect("a certificate");
    let connector = native_tls::TlsConnector::builder().add_root_certificate(root).build();
    let (connector, address) = (connector.expect("a connector"), server.https);
    let connect = move || {
        connector
            .connect("localhost", stream_to(address)?)
            .map_err(|error| io::Error::other(error.to_string()))
    };
    check(|| Tls { pool: Pool::new(100, connect), server });
}

fn stream_to(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
