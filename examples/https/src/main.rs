//! An HTTPS server: `cargo run --release -p example-https -- [PORT] [--cert-out FILE] [--connections N]`,
//! then `curl -k https://127.0.0.1:8443/`, or `curl --cacert FILE https://localhost:8443/large`.
//!
//! rustls encrypts over `sward::net::TcpStream`, which is `Read` and `Write`: none of its code knows of
//! coroutines. The rest, with its limits, is the example `http`. A handshake may take ten seconds.
//!
//! The server makes a new certificate at each start, for `localhost` and the loopback addresses, and writes
//! it to FILE if that is given.

#[path = "../../common/mod.rs"]
mod common;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;
use sward::net::{TcpListener, TcpStream};

const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The most bytes that rustls holds, encrypted or not, for a client that does not read.
const TLS_BUFFER: usize = 32 << 10;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() {
    let mut arguments = common::Arguments::new("https [PORT] [--cert-out FILE] [--connections N]");
    let port = arguments.port(8443);
    let file = arguments.text("--cert-out");
    let limit = common::server::connections(&mut arguments, 1);
    arguments.end();
    let served = settings(file.as_deref()).and_then(|settings| sward::run(|| serve(port, limit, settings)));
    if let Err(e) = served {
        common::fail(&format!("https on port {port}: {e}"));
    }
}

/// A self-signed certificate, and the settings of a server that has it.
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

fn serve(port: u16, limit: usize, settings: Arc<ServerConfig>) -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("serves https://{}/", listener.local_addr()?);
    common::server::serve(&listener, limit, move |stream| {
        // A client that breaks off, or does not trust the certificate, ends only its own connection.
        if let Ok(stream) = handshake(stream, settings) {
            common::http1::serve(stream, HEAD_TIME, common::site::answer);
        }
    });
    Ok(())
}

fn handshake(mut stream: TcpStream, settings: Arc<ServerConfig>) -> Result<Encrypted, Failure> {
    stream.set_nodelay(true)?;
    let mut session = ServerConnection::new(settings)?;
    session.set_buffer_limit(Some(TLS_BUFFER));
    // The time limit is for the handshake as a whole.
    sward::time::timeout(HANDSHAKE_TIME, || session.complete_io(&mut stream))??;
    Ok(Encrypted(StreamOwned::new(session, stream)))
}

struct Encrypted(StreamOwned<ServerConnection, TcpStream>);

impl Read for Encrypted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Encrypted {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl common::http1::Stream for Encrypted {
    fn end(&mut self) -> io::Result<()> {
        // Without this notice the client could not tell the end from a cut by an attacker between the two.
        self.0.conn.send_close_notify();
        self.0.flush()
    }

    fn close_gently(&mut self) {
        common::server::close_gently(&self.0.sock);
    }
}
