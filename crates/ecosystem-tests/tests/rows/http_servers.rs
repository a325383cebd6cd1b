//! Servers of HTTP, gRPC and WebSocket. Server and client are in this process.

use crate::http_clients::ask;
use axum::extract::{Path, State};
use axum::{Router, routing};
use ecosystem_tests::{Gate, Local, Row, check};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use sward::net::{TcpListener, TcpStream};
use sward::sync::Mutex;
use sward_compat::Pool;
use sward_hyper::{Clock, Connector, Coroutines, Server};
use tonic::body::Body;
use tungstenite::{Message, WebSocket};

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// hyper-util's client, for the servers of HTTP/1.1.
struct Http {
    client: Client<Connector, Empty<Bytes>>,
    server: SocketAddr,
    gate: Local,
}

impl Http {
    fn new(server: SocketAddr, gate: Local) -> Http {
        let mut builder = Client::builder(Coroutines);
        builder.pool_timer(Clock);
        Http { client: builder.build(Connector::new()), server, gate }
    }

    fn get(&self, path: &str) -> Bytes {
        let url = format!("http://{}{path}", self.server).parse().expect("a URL");
        sward::block_on(async {
            let answer = self.client.get(url).await.expect("an answer");
            answer.into_body().collect().await.expect("a body").to_bytes()
        })
    }
}

impl Row for Http {
    fn operate(&self, n: u32) {
        assert_eq!(self.get(&format!("/twice/{n}")), (2 * n).to_string());
    }

    fn wait(&self) {
        self.get("/wait");
    }

    fn gate(&self) -> &dyn Gate {
        &self.gate
    }
}

/// Handlers that park.
#[test]
fn axum() {
    check(|| {
        let (gate, (listener, address)) = (Local::default(), listener());
        let router = Router::new()
            .route("/twice/{n}", routing::get(async |Path(n): Path<u32>| (2 * n).to_string()))
            .route("/wait", routing::get(async |State(gate): State<Local>| gate.pass()))
            .with_state(gate.clone());
        // Glue: axum
        sward::spawn(move || Server::new().serve(listener, router));
        // End.
        Http::new(address, gate)
    });
}

/// tiny_http has threads of its own for its sockets. Each request gets a coroutine.
#[test]
fn tiny_http() {
    let server = tiny_http::Server::http("127.0.0.1:0").expect("a port");
    let address = server.server_addr().to_ip().expect("an address");
    let server = Arc::new(server);
    let stop = Arc::clone(&server);
    check(|| {
        let gate = Local::default();
        let at = gate.clone();
        // Glue: tiny_http
        sward::spawn(move || {
            while let Ok(request) = sward::blocking(|| server.recv()).expect("a thread") {
                // End.
                let gate = at.clone();
                sward::spawn(move || {
                    let answer = match request.url().strip_prefix("/twice/") {
                        Some(n) => (2 * n.parse::<u32>().expect("a number")).to_string(),
                        None => {
                            gate.pass();
                            String::new()
                        }
                    };
                    let _ = request.respond(tiny_http::Response::from_string(answer));
                });
            }
        });
        // Connections that come at the same time may stay without a thread: tiny_http counts a thread that is
        // about to take a connection as idle. So a connection has its thread before the next one comes.
        let turn = Mutex::new(());
        let connect = move || {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            let mut stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            assert_eq!(ask(&mut stream, "/twice/1"), "2");
            Ok(stream)
        };
        TinyHttp { pool: Pool::new(100, connect), gate, stop }
    });
}

struct TinyHttp {
    pool: Pool<TcpStream, std::io::Error>,
    gate: Local,
    stop: Arc<tiny_http::Server>,
}

impl Row for TinyHttp {
    fn operate(&self, n: u32) {
        let mut connection = self.pool.get().expect("a connection");
        assert_eq!(ask(&mut *connection, &format!("/twice/{n}")), (2 * n).to_string());
    }

    fn wait(&self) {
        let mut connection = self.pool.get().expect("a connection");
        ask(&mut *connection, "/wait");
    }

    fn gate(&self) -> &dyn Gate {
        &self.gate
    }
}

impl Drop for TinyHttp {
    fn drop(&mut self) {
        // Otherwise `recv` keeps a thread of `sward::blocking`.
        self.stop.unblock();
    }
}

/// The message of each call.
#[derive(Clone, PartialEq, prost::Message)]
struct Number {
    #[prost(uint32, tag = "1")]
    n: u32,
}

type Codec = tonic_prost::ProstCodec<Number, Number>;

/// What tonic generates for a service with two methods.
#[derive(Clone)]
struct Service(Local);

impl tonic::server::UnaryService<Number> for Service {
    type Response = Number;
    type Future = std::future::Ready<Result<tonic::Response<Number>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Number>) -> Self::Future {
        let n = request.into_inner().n;
        if n == u32::MAX {
            self.0.pass();
        }
        std::future::ready(Ok(tonic::Response::new(Number { n: n.wrapping_mul(2) })))
    }
}

impl tower_service::Service<http::Request<hyper::body::Incoming>> for Service {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(tonic::server::Grpc::new(Codec::new()).unary(service, request).await) })
    }
}

/// Client and server of tonic: one connection of HTTP/2 for all calls.
struct Tonic {
    client: Client<Connector, Body>,
    server: http::Uri,
    gate: Local,
}

impl Tonic {
    fn twice(&self, n: u32) -> u32 {
        sward::block_on(async {
            let mut grpc = tonic::client::Grpc::with_origin(self.client.clone(), self.server.clone());
            grpc.ready().await.expect("a connection");
            let path = http::uri::PathAndQuery::from_static("/test.Numbers/Twice");
            let answer = grpc.unary(tonic::Request::new(Number { n }), path, Codec::new()).await;
            answer.expect("an answer").into_inner().n
        })
    }
}

impl Row for Tonic {
    fn operate(&self, n: u32) {
        assert_eq!(self.twice(n), 2 * n);
    }

    fn wait(&self) {
        self.twice(u32::MAX);
    }

    fn gate(&self) -> &dyn Gate {
        &self.gate
    }
}

#[test]
fn tonic() {
    check(|| {
        let (gate, (listener, address)) = (Local::default(), listener());
        let service = Service(gate.clone());
        // Glue: tonic
        sward::spawn(move || Server::new().serve(listener, service));
        let client = Client::builder(Coroutines).http2_only(true).timer(Clock).build(Connector::new());
        // End.
        Tonic { client, server: format!("http://{address}").parse().expect("a URL"), gate }
    });
}

/// Both sides over streams of sward.
struct Tungstenite {
    pool: Pool<WebSocket<TcpStream>, std::io::Error>,
    gate: Local,
}

impl Tungstenite {
    fn ask(&self, text: String) -> String {
        let mut socket = self.pool.get().expect("a connection");
        socket.send(Message::text(text)).expect("the server reads");
        socket.read().expect("an answer").into_text().expect("text").to_string()
    }
}

impl Row for Tungstenite {
    fn operate(&self, n: u32) {
        assert_eq!(self.ask(n.to_string()), n.to_string());
    }

    fn wait(&self) {
        self.ask("wait".to_owned());
    }

    fn gate(&self) -> &dyn Gate {
        &self.gate
    }
}

#[test]
fn tungstenite() {
    check(|| {
        let (gate, (listener, address)) = (Local::default(), listener());
        let at = gate.clone();
        sward::spawn(move || {
            for stream in listener.incoming() {
                let (gate, stream) = (at.clone(), stream.expect("a connection"));
                sward::spawn(move || {
                    let mut socket = tungstenite::accept(stream).expect("a handshake");
                    while let Ok(message) = socket.read() {
                        if message.to_text().is_ok_and(|text| text == "wait") {
                            gate.pass();
                        }
                        let _ = socket.send(message);
                    }
                });
            }
        });
        let connect = move || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            let opened = tungstenite::client(format!("ws://{address}/"), stream);
            Ok(opened.map_err(|error| std::io::Error::other(error.to_string()))?.0)
        };
        Tungstenite { pool: Pool::new(100, connect), gate }
    });
}
