//! The server, driven by hyper-util's client and by hand.

use axum::body::Bytes;
use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Extension, Router};
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use sward::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use sward::task::JoinHandle;
use sward_compat::Polled;
use sward_hyper::{Clock, Connector, Coroutines, Handle, Io, Peer, Server};

/// Counts the sleeps that have begun in `begun`.
fn router(begun: &Arc<AtomicUsize>) -> Router {
    let begun = begun.clone();
    Router::new()
        .route("/", get(async || "Hello"))
        .route(
            "/sleep/{millis}",
            get(move |Path(millis): Path<u64>| {
                begun.fetch_add(1, Ordering::Relaxed);
                async move {
                    sward::sleep(Duration::from_millis(millis));
                    "slept"
                }
            }),
        )
        .route("/panic", get(async || -> &'static str { std::panic::resume_unwind(Box::new("handler")) }))
        .route("/echo", post(async |body: Bytes| body))
        .route("/stream", post(async |body: axum::body::Body| body))
}

struct Running {
    address: SocketAddr,
    handle: Handle,
    serves: JoinHandle<std::io::Result<()>>,
    begun: Arc<AtomicUsize>,
}

impl Running {
    /// Returns once a handler sleeps.
    fn until_a_sleep_has_begun(&self) {
        while self.begun.load(Ordering::Relaxed) == 0 {
            sward::sleep(Duration::from_millis(1));
        }
    }
}

fn start(server: Server) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, handle) = (listener.local_addr().unwrap(), server.handle());
    let begun = Arc::new(AtomicUsize::new(0));
    let router = router(&begun);
    let serves = sward::spawn(move || server.serve(listener, router));
    Running { address, handle, serves, begun }
}

fn client(http2: bool) -> Client<Connector, Full<Bytes>> {
    let mut builder = Client::builder(Coroutines);
    builder.pool_timer(Clock).timer(Clock).http2_only(http2);
    builder.build(Connector::new())
}

fn send(
    client: &Client<Connector, Full<Bytes>>,
    address: SocketAddr,
    path: &str,
    body: Option<Vec<u8>>,
) -> Result<(StatusCode, Bytes), hyper_util::client::legacy::Error> {
    let method = if body.is_some() { "POST" } else { "GET" };
    let request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    let request = request.body(Full::from(body.unwrap_or_default())).unwrap();
    sward::block_on(async {
        let response = client.request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await.unwrap().to_bytes()))
    })
}

#[test]
fn both_protocols_answer() {
    sward::run(|| {
        let running = start(Server::new());
        for http2 in [false, true] {
            let client = client(http2);
            let answer = send(&client, running.address, "/", None).unwrap();
            assert_eq!(answer, (StatusCode::OK, Bytes::from_static(b"Hello")));
            // More than all buffers hold, in both directions.
            let body: Vec<u8> = (0..1_500_000).map(|i| (i * 7 % 251) as u8).collect();
            let (status, echoed) = send(&client, running.address, "/echo", Some(body.clone())).unwrap();
            assert!(status == StatusCode::OK && echoed == body, "another body");
            assert_eq!(send(&client, running.address, "/no", None).unwrap().0, StatusCode::NOT_FOUND);
        }
        running.handle.shut_down();
        running.serves.join().unwrap().unwrap();
    });
}

#[test]
fn requests_carry_the_address_of_the_client() {
    sward::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, server) = (listener.local_addr().unwrap(), Server::new());
        let handle = server.handle();
        let peer = async |Extension(Peer(peer)): Extension<Peer>| peer.to_string();
        let router = Router::new().route("/", get(peer));
        let serves = sward::spawn(move || server.serve(listener, router));
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with(&format!("\r\n\r\n{}", stream.local_addr().unwrap())), "{answer}");
        handle.shut_down();
        serves.join().unwrap().unwrap();
    });
}

/// The requests of one HTTP/2 connection park apart from each other.
#[test]
fn handlers_park() {
    sward::run(|| {
        let running = start(Server::new());
        for http2 in [false, true] {
            let (client, start) = (client(http2), Instant::now());
            let all: Vec<_> = (0..50)
                .map(|_| {
                    let (client, address) = (client.clone(), running.address);
                    sward::spawn(move || send(&client, address, "/sleep/2000", None).unwrap().1)
                })
                .collect();
            assert!(all.into_iter().all(|one| one.join().unwrap() == "slept"));
            // One after the other they would take 100 s.
            assert!(start.elapsed() < Duration::from_secs(60), "they have waited for each other");
        }
        running.handle.shut_down();
        running.serves.join().unwrap().unwrap();
    });
}

#[test]
fn a_panic_ends_one_connection() {
    sward::run(|| {
        let running = start(Server::new());
        let client = client(false);
        assert!(send(&client, running.address, "/panic", None).is_err());
        assert_eq!(send(&client, running.address, "/", None).unwrap().1, "Hello");
        running.handle.shut_down();
        running.serves.join().unwrap().unwrap();
    });
}

#[test]
fn a_shutdown_finishes_requests() {
    sward::run(|| {
        for http2 in [false, true] {
            let running = start(Server::new());
            let (client, address) = (client(http2), running.address);
            let request = sward::spawn(move || send(&client, address, "/sleep/300", None));
            running.until_a_sleep_has_begun();
            running.handle.shut_down();
            running.serves.join().unwrap().unwrap();
            assert_eq!(request.join().unwrap().unwrap().1, "slept");
            assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn the_grace_ends() {
    sward::run(|| {
        for http2 in [false, true] {
            let running = start(Server::new().grace(Duration::from_millis(50)));
            let (client, address) = (client(http2), running.address);
            let request = sward::spawn(move || send(&client, address, "/sleep/3600000", None));
            running.until_a_sleep_has_begun();
            running.handle.shut_down();
            let error = running.serves.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(request.join().unwrap().is_err());
        }
    });
}

#[test]
fn slow_heads_are_ended() {
    sward::run(|| {
        let running = start(Server::new().head_time(Duration::from_millis(100)));
        for begin in ["", "PRI * HT", "GET / HTTP/1.1\r\nHo"] {
            let mut stream = TcpStream::connect(running.address).unwrap();
            stream.write_all(begin.as_bytes()).unwrap();
            // It is closed, perhaps after an answer, perhaps by a reset.
            let mut answer = Vec::new();
            if stream.read_to_end(&mut answer).is_ok() {
                let text = String::from_utf8_lossy(&answer);
                assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
            }
        }
        running.handle.shut_down();
        running.serves.join().unwrap().unwrap();
    });
}

#[test]
fn long_heads_are_refused() {
    sward::run(|| {
        let running = start(Server::new());
        let mut stream = TcpStream::connect(running.address).unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(20_000));
        let _ = stream.write_all(head.as_bytes());
        let mut answer = String::new();
        if stream.read_to_string(&mut answer).is_ok() {
            assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
        running.handle.shut_down();
        running.serves.join().unwrap().unwrap();
    });
}

/// A handler whose client is gone is cancelled.
#[test]
fn handlers_end_with_their_connection() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::SeqCst);
        }
    }
    sward::run(|| {
        let router = Router::new().route(
            "/",
            get(async || {
                ALIVE.fetch_add(1, Ordering::SeqCst);
                let _counted = Counted;
                sward::sleep(Duration::from_secs(3600));
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, server) = (listener.local_addr().unwrap(), Server::new());
        let handle = server.handle();
        let serves = sward::spawn(move || server.serve(listener, router));
        let requests: Vec<_> = (0..10)
            .map(|_| {
                sward::spawn(move || {
                    let client = client(true);
                    let _ = sward::time::timeout(Duration::from_millis(500), || {
                        send(&client, address, "/", None).map(drop)
                    });
                })
            })
            .collect();
        let start = Instant::now();
        while ALIVE.load(Ordering::SeqCst) < 10 {
            assert!(start.elapsed() < Duration::from_secs(120), "the handlers do not begin");
            sward::sleep(Duration::from_millis(5));
        }
        requests.into_iter().for_each(|request| request.join().unwrap());
        while ALIVE.load(Ordering::SeqCst) > 0 {
            assert!(start.elapsed() < Duration::from_secs(120), "the handlers do not end");
            sward::sleep(Duration::from_millis(5));
        }
        handle.shut_down();
        serves.join().unwrap().unwrap();
    });
}

/// A client that does not read its answer is left after a while.
#[test]
fn clients_that_do_not_read_are_ended() {
    sward::run(|| {
        let running = start(Server::new().write_time(Duration::from_millis(200)));
        let mut stream = TcpStream::connect(running.address).unwrap();
        let head = b"POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n";
        stream.write_all(head).unwrap();
        // It sends until the server has stopped, and reads nothing.
        let sends =
            sward::time::timeout(
                Duration::from_secs(60),
                || {
                    while stream.write_all(&[0; 1 << 16]).is_ok() {}
                },
            );
        assert!(sends.is_ok(), "the connection lives on");
        running.handle.shut_down();
        running.serves.join().unwrap().unwrap();
    });
}

/// Further connections wait until one ends.
/// A body of 1 MiB in one piece, which counts its drop.
struct Held(Option<Bytes>, Arc<AtomicUsize>);

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_answer_without_a_window_is_reset_and_its_connection_goes_on() {
    sward::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new().write_time(Duration::from_millis(50));
        let handle = server.handle();
        let dropped = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&dropped);
        let held = move || {
            let body = Held(Some(Bytes::from(vec![7; 1 << 20])), Arc::clone(&count));
            async { axum::body::Body::new(body) }
        };
        let router = Router::new().route("/held", get(held)).route("/", get(async || "Hello"));
        let serves = sward::spawn(move || server.serve(listener, router));

        let stream = Polled::new(TcpStream::connect(address).unwrap()).unwrap();
        let mut builder = hyper::client::conn::http2::Builder::new(Coroutines);
        // hyper grants more when the body is read.
        builder.timer(Clock).initial_stream_window_size(1_000);
        let (mut sender, connection) = sward::block_on(builder.handshake(Io::new(stream))).unwrap();
        let drives = sward::spawn(move || sward::block_on(connection));
        let mut send = |path: &str| {
            let request = Request::builder().uri(format!("http://{address}{path}"));
            sward::block_on(sender.send_request(request.body(Full::<Bytes>::default()).unwrap())).unwrap()
        };
        let unread = send("/held");
        assert_eq!(unread.status(), StatusCode::OK);
        while dropped.load(Ordering::Relaxed) == 0 {
            sward::sleep(Duration::from_millis(1));
        }
        // Another answer of the same connection.
        let body = sward::block_on(send("/").into_body().collect()).unwrap().to_bytes();
        assert_eq!(body, "Hello");
        // The client learns that the answer is not complete.
        assert!(sward::block_on(unread.into_body().collect()).is_err());
        drop(sender);
        drives.join().unwrap().unwrap();
        handle.shut_down();
        serves.join().unwrap().unwrap();
    });
}

#[test]
fn connections_are_limited() {
    static AT_ONCE: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    sward::run(|| {
        let router = Router::new().route(
            "/",
            get(async || {
                let now = AT_ONCE.fetch_add(1, Ordering::SeqCst) + 1;
                MOST.fetch_max(now, Ordering::SeqCst);
                sward::sleep(Duration::from_millis(20));
                AT_ONCE.fetch_sub(1, Ordering::SeqCst);
                "done"
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, server) = (listener.local_addr().unwrap(), Server::new().connections(3));
        let handle = server.handle();
        let serves = sward::spawn(move || server.serve(listener, router));
        let all: Vec<_> = (0..12)
            .map(|_| {
                sward::spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).unwrap();
                    answer
                })
            })
            .collect();
        for one in all {
            assert!(one.join().unwrap().ends_with("done"));
        }
        assert!((1..=3).contains(&MOST.load(Ordering::SeqCst)));
        handle.shut_down();
        serves.join().unwrap().unwrap();
    });
}

/// A shutdown while all permits are taken still ends after the grace.
#[test]
fn a_full_server_shuts_down() {
    sward::run(|| {
        let running = start(Server::new().connections(1).grace(Duration::from_millis(50)));
        let (client, address) = (client(false), running.address);
        let request = sward::spawn(move || send(&client, address, "/sleep/3600000", None));
        running.until_a_sleep_has_begun();
        running.handle.shut_down();
        assert_eq!(running.serves.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(request.join().unwrap().is_err());
    });
}

#[test]
fn unix_sockets_serve() {
    sward::run(|| {
        let path = std::env::temp_dir().join(format!("sward-hyper-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let (listener, server) = (UnixListener::bind(&path).unwrap(), Server::new());
        let handle = server.handle();
        let serves = sward::spawn(move || server.serve(listener, router(&Arc::default())));
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("Hello"), "{answer}");
        handle.shut_down();
        serves.join().unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn https_needs_a_tls_connector() {
    sward::run(|| {
        let uri = "https://localhost/".parse().unwrap();
        let error = sward::block_on(client(false).get(uri)).unwrap_err();
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains("TLS connector"), "{cause}");
    });
}

#[cfg(feature = "rustls")]
mod tls {
    use super::*;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
    use std::sync::Arc;
    use sward_hyper::Tls;

    fn configs() -> (Arc<ServerConfig>, ClientConfig) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let certificate = made.cert.der().clone();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone());
        let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut server = server.with_single_cert(vec![certificate.clone()], key).unwrap();
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider);
        let client = client.with_safe_default_protocol_versions().unwrap();
        (Arc::new(server), client.with_root_certificates(roots).with_no_client_auth())
    }

    #[test]
    fn tls_serves_large_bodies() {
        sward::run(|| {
            let (config, client) = configs();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let (address, server) = (listener.local_addr().unwrap(), Server::new());
            let handle = server.handle();
            let serves =
                sward::spawn(move || server.serve(Tls::new(listener, config), router(&Arc::default())));
            let name = ServerName::try_from("localhost").unwrap();
            let config_of_client = Arc::new(client);
            let connection = ClientConnection::new(config_of_client.clone(), name).unwrap();
            // rustls' own blocking stream parks in sward's socket.
            let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
            let body: Vec<u8> = (0..1_000_000).map(|i| (i * 7 % 251) as u8).collect();
            let head = format!(
                "POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(&body), "another body");
            // A client that reads only after it has sent: the server's writes are blocked meanwhile.
            let name = ServerName::try_from("localhost").unwrap();
            let connection = ClientConnection::new(config_of_client.clone(), name).unwrap();
            let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
            stream.write_all(head.replace("/echo", "/stream").as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200"));
            // A client that does not shake hands ends only itself.
            let mut plain = TcpStream::connect(address).unwrap();
            plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let _ = plain.read_to_end(&mut Vec::new());
            handle.shut_down();
            serves.join().unwrap().unwrap();
        });
    }
}
