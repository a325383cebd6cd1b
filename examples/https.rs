//! A small HTTPS server: `cargo run --release --example https -- [PORT] [--cert-out FILE]`, then
//! `curl -k https://127.0.0.1:8443/`, or `curl --cacert FILE https://localhost:8443/`.
//!
//! The encryption is rustls over `sward::net::TcpStream`, which is `Read` and `Write`: none of its code knows of
//! coroutines. The certificate is made at each start, for `localhost` and the loopback addresses, and written to
//! the file if one is named.

mod common;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;
use sward::net::{TcpListener, TcpStream};

const HEAD_LIMIT: usize = 16 << 10;
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
const IDLE_TIME: Duration = Duration::from_secs(60);

/// What `/large` gives, byte by byte from 0 to 250 and again: more than the kernel buffers.
const LARGE: usize = 8 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() {
    let mut arguments = common::Arguments::new("https [PORT] [--cert-out FILE]");
    let port = arguments.port(8443);
    let file = arguments.text("--cert-out");
    arguments.end();
    let served = settings(file.as_deref()).and_then(|settings| sward::run(|| serve(port, settings)));
    if let Err(e) = served {
        common::fail(&format!("https on port {port}: {e}"));
    }
}

/// A certificate of our own, which is its own authority, and the settings of a server that has it.
fn settings(file: Option<&str>) -> Result<Arc<ServerConfig>, Failure> {
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let own = rcgen::generate_simple_self_signed(names)?;
    if let Some(file) = file {
        std::fs::write(file, own.cert.pem()).map_err(|e| format!("{file}: {e}"))?;
    }
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der())?;
    let mut settings =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![own.cert.into()], key)?;
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(settings))
}

fn serve(port: u16, settings: Arc<ServerConfig>) -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("serves https://{}/", listener.local_addr()?);
    for stream in listener.incoming() {
        let (stream, settings) = (stream?, Arc::clone(&settings));
        sward::spawn(move || {
            // A connection that breaks, or whose client does not like us, is the end of that connection only.
            let _ = connection(stream, settings);
        });
    }
    Ok(())
}

fn connection(mut stream: TcpStream, settings: Arc<ServerConfig>) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_TIME))?;
    stream.set_write_timeout(Some(IDLE_TIME))?;
    let mut session = ServerConnection::new(settings)?;
    // The handshake has its time as a whole, however it drips.
    sward::time::timeout(HANDSHAKE_TIME, || session.complete_io(&mut stream))??;
    let mut stream = StreamOwned::new(session, stream);
    answer_all(&mut stream)?;
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

/// Answers requests until the client has enough.
fn answer_all(stream: &mut (impl Read + Write)) -> io::Result<()> {
    let (mut input, mut buffer) = (Vec::new(), [0; 2048]);
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&input) {
            Ok(httparse::Status::Complete(head)) => {
                let goes_on = answer(&request, stream)?;
                if !goes_on {
                    return Ok(());
                }
                input.drain(..head);
            }
            Ok(httparse::Status::Partial) if input.len() < HEAD_LIMIT => match stream.read(&mut buffer)? {
                0 => return Ok(()),
                n => input.extend_from_slice(&buffer[..n]),
            },
            _ => return respond(stream, "400 Bad Request", b"", true),
        }
    }
}

/// Answers one; false if it was the last.
fn answer(request: &httparse::Request<'_, '_>, stream: &mut impl Write) -> io::Result<bool> {
    let header = |name: &str| {
        let header = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.map(|header| header.value.to_ascii_lowercase())
    };
    if header("content-length").is_some_and(|length| length != b"0") || header("transfer-encoding").is_some()
    {
        respond(stream, "413 Content Too Large", b"no bodies here\n", true)?;
        return Ok(false);
    }
    let close = header("connection").map_or(request.version == Some(0), |value| value == b"close");
    match (request.method, request.path) {
        (Some("GET"), Some("/")) => respond(stream, "200 OK", b"Hello, World!\n", close)?,
        (Some("GET"), Some("/large")) => {
            let body: Vec<u8> = (0..LARGE).map(|n| (n % 251) as u8).collect();
            respond(stream, "200 OK", &body, close)?;
        }
        (Some("GET"), _) => respond(stream, "404 Not Found", b"not found\n", close)?,
        _ => {
            respond(stream, "501 Not Implemented", b"", true)?;
            return Ok(false);
        }
    }
    Ok(!close)
}

fn respond(stream: &mut impl Write, status: &str, body: &[u8], close: bool) -> io::Result<()> {
    let connection = if close { "Connection: close\r\n" } else { "" };
    let length = body.len();
    let mut response =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{connection}\r\n").into_bytes();
    response.extend_from_slice(body);
    stream.write_all(&response)?;
    stream.flush()
}
