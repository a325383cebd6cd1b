//! `https`, on rustls.

#[path = "../../../tests/checked/mod.rs"]
mod checked;
#[path = "../../../tests/programs/mod.rs"]
mod programs;

use programs::{Server, read_until};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn start(arguments: &[&str]) -> Server {
    Server::start_at(Path::new(env!("CARGO_BIN_EXE_https")), arguments)
}

/// A path for a temporary file. Its drop removes the file.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str) -> TempFile {
        TempFile(std::env::temp_dir().join(format!("sward-{}-{name}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Reads one response of HTTP/1.1 with a `Content-Length`: the head in lower case, and the body.
fn response(stream: &mut impl Read) -> io::Result<(String, Vec<u8>)> {
    let head = read_until(stream, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}

/// The settings of a client that trusts only the certificate in the file; without a file it trusts none.
fn trusting(file: Option<&TempFile>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = file {
        let certificate = CertificateDer::from_pem_file(&file.0).expect("a certificate");
        roots.add(certificate).expect("a root");
    }
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

fn session(settings: &Arc<ClientConfig>, name: &'static str) -> ClientConnection {
    let name = ServerName::try_from(name).expect("a name");
    ClientConnection::new(Arc::clone(settings), name).expect("a client")
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

const GET_LARGE: &[u8] = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";

const GET_CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[test]
fn https_serves_clients_that_verify_its_certificate() {
    let file = TempFile::new("https.pem");
    let server = start(&["--cert-out", file.path()]);
    let settings = trusting(Some(&file));

    let mut stream = StreamOwned::new(session(&settings, "localhost"), server.connect());
    for _ in 0..3 {
        stream.write_all(GET).expect("written");
        let (head, body) = response(&mut stream).expect("a response");
        assert!(head.starts_with("http/1.1 200 ok") && body == b"Hello, World!\n", "{head}");
    }
    stream.write_all(&[GET_LARGE, GET_CLOSE].concat()).expect("written");
    let (_, large) = response(&mut stream).expect("a response");
    assert_eq!(large.len(), 8 << 20);
    assert!(large.iter().enumerate().all(|(n, &byte)| byte == (n % 251) as u8));
    let mut last = String::new();
    stream.read_to_string(&mut last).expect("an end that is announced, not a cut");
    assert!(last.ends_with("Hello, World!\n"), "{last}");

    let address = session(&settings, "127.0.0.1");
    StreamOwned::new(address, server.connect()).write_all(GET).expect("the address is a name as well");
    for (settings, name) in [(&settings, "example.com"), (&trusting(None), "localhost")] {
        let refused = StreamOwned::new(session(settings, name), server.connect()).write_all(GET);
        assert_eq!(refused.expect_err("not to be trusted").kind(), ErrorKind::InvalidData);
    }

    // Bytes that are not TLS, or stop being TLS.
    assert!(!server.talk(GET).contains("Hello"));
    drop(server.connect());
    let mut cut = server.connect();
    cut.write_all(&[22, 3, 1, 2, 0, 1]).expect("written");
    drop(cut);
    assert_https_answers(&server, &settings);
}

fn assert_https_answers(server: &Server, settings: &Arc<ClientConfig>) {
    let mut stream = StreamOwned::new(session(settings, "localhost"), server.connect());
    stream.write_all(GET).expect("written");
    assert!(response(&mut stream).expect("a response").0.starts_with("http/1.1 200"));
}

/// The protocol and its limits are those of `http`. Here they pass through the encryption.
#[test]
fn https_keeps_to_the_rfc() {
    let file = TempFile::new("rfc.pem");
    let server = start(&["--cert-out", file.path()]);
    let settings = trusting(Some(&file));
    programs::http::drive(|request| {
        let mut stream = StreamOwned::new(session(&settings, "localhost"), server.connect());
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an end that is announced, not a cut");
        answer
    });
}

#[test]
fn https_makes_large_answers_as_they_are_read() {
    const CLIENTS: usize = 30;
    let file = TempFile::new("large.pem");
    let server = start(&["--cert-out", file.path()]);
    let settings = trusting(Some(&file));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = StreamOwned::new(session(&settings, "localhost"), server.connect());
            stream.write_all(GET_LARGE).expect("written");
            stream.read_exact(&mut [0; 100]).expect("the answer begins");
            stream
        })
        .collect();
    server.has_resident(64 << 10);
    drop(clients);
    assert_https_answers(&server, &settings);
}

/// The client side of rustls runs in a coroutine, too.
#[test]
fn https_from_coroutine_to_coroutine() {
    let file = TempFile::new("coroutine.pem");
    let server = start(&["--cert-out", file.path()]);
    let settings = trusting(Some(&file));
    sward::runtime::Builder::new().build().expect("a runtime").run(|| {
        sward::scope(|s| {
            for _ in 0..50 {
                s.spawn(|| {
                    let stream = sward::net::TcpStream::connect(server.address.as_str()).expect("connected");
                    let mut stream = StreamOwned::new(session(&settings, "localhost"), stream);
                    for _ in 0..10 {
                        stream.write_all(GET).expect("written");
                        assert_eq!(response(&mut stream).expect("a response").1, b"Hello, World!\n");
                    }
                });
            }
        });
    });
}
