//! A reverse proxy and load balancer for HTTP. hyper parses and writes both sides, so what reaches an
//! upstream was framed by hyper and not by the client.
//!
//! - *Balance*: round robin, or the upstream with the fewest requests in flight.
//! - *Health*: each upstream is asked every second. Two failures in a row, or a connection that is refused,
//!   take it out; one success puts it back. While none is up, requests get 503 with `Retry-After`: to send
//!   them to upstreams that fail would only keep them waiting, and the checks go on.
//! - *Retries*: on an upstream that was not tried, as long as one is up, and then on the same ones
//!   again. Only if nothing of the answer has arrived. A request whose connection failed has reached
//!   nobody, so it may be sent again. One that was sent is repeated only if its method is idempotent.
//!   No request is repeated once a part of its body has been read.
//! - *Limits*: connections, requests at once, the size of a head and of a body, the time until an answer
//!   begins, and how long a body may pause.
//! - *Fields*: those for one hop are removed (RFC 9110, 7.6.1). `X-Forwarded-For` and `Forwarded` (RFC 7239)
//!   name the client; what a client wrote there, in `X-Real-IP` or in another `X-Forwarded-` field is
//!   dropped, unless it is trusted. `Proxy`, and names with `_`, never pass.
//! - *Hosts*: with a list of them, requests for other names get 421. Without one, `Host` is passed on as it
//!   is, and the upstreams decide.
//! - *`OPTIONS *`*, which asks about a server as a whole, is answered here.
//! - *WebSocket*: passed through, until it is idle for too long. No other protocol is: an upgrade to `h2c`,
//!   say, would let a client talk to an upstream past these rules.

mod body;
mod headers;
mod tunnel;
mod upstream;

use crate::counts::{Answers, runtime};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use body::{Outgoing, Source};
use headers::{Forwarded, Refused};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy::Client;
use std::error::Error;
use std::fmt::Write;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use sward::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use sward::task::JoinSet;
use sward_hyper::{Clock, Connector, Coroutines, Peer};
pub use upstream::Balance;
use upstream::{Flight, Upstream};

/// What an operator chooses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The upstreams: `HOST:PORT`.
    pub upstreams: Vec<String>,
    pub balance: Balance,
    /// The path that the health checks ask for.
    pub health_path: String,
    pub health_every: Duration,
    /// The time until the answer begins, including all attempts, from the last part of the request's body on;
    /// and the longest pause of both bodies.
    pub answer_time: Duration,
    pub connect_time: Duration,
    /// The most requests at once. Further ones are answered with 503.
    pub requests: usize,
    /// The most WebSockets at once. They last, and must not take the places of requests.
    pub tunnels: usize,
    /// The longest body of a request, in bytes.
    pub body: u64,
    pub retries: usize,
    /// How long an upgraded connection may be silent in both directions.
    pub idle: Duration,
    /// The names that are served, without a port. All, if there are none.
    pub hosts: Vec<String>,
    /// Whether the clients are proxies whose `X-Forwarded-For` is kept.
    pub trust_forwarded: bool,
    /// Whether the clients speak TLS.
    pub secure: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            upstreams: Vec::new(),
            balance: Balance::RoundRobin,
            health_path: "/".to_owned(),
            health_every: Duration::from_secs(1),
            answer_time: Duration::from_secs(30),
            connect_time: Duration::from_secs(3),
            requests: 2_000,
            tunnels: 1_000,
            body: 10 << 20,
            retries: 2,
            idle: Duration::from_secs(120),
            hosts: Vec::new(),
            trust_forwarded: false,
            secure: false,
        }
    }
}

impl Settings {
    fn serves(&self, host: Option<&HeaderValue>) -> bool {
        let host = host.and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
        let is = |name: &String| host.as_ref().is_some_and(|host| host.host().eq_ignore_ascii_case(name));
        self.hosts.is_empty() || self.hosts.iter().any(is)
    }
}

/// The gateway. Clones are the same one.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    settings: Settings,
    upstreams: Vec<Arc<Upstream>>,
    client: Client<Connector, Outgoing>,
    /// For health checks: without idle connections, so that each check makes a new one.
    probes: Client<Connector, Outgoing>,
    next: AtomicUsize,
    permits: Arc<Semaphore>,
    tunnel_permits: Arc<Semaphore>,
    tunnels: Mutex<JoinSet<()>>,
    answers: Answers,
    retried: AtomicU64,
    refused: AtomicU64,
}

impl Gateway {
    /// A gateway, and a health check for each upstream. Must run in a coroutine.
    pub fn start(settings: Settings) -> Gateway {
        let mut builder = Client::builder(Coroutines);
        builder.pool_timer(Clock).pool_idle_timeout(Duration::from_secs(30)).pool_max_idle_per_host(256);
        // An upstream's head may be as large as a client's.
        builder.http1_max_buf_size(64 << 10);
        let connector = || Connector::new().limit(settings.connect_time);
        let client = builder.build(connector());
        let probes = builder.pool_max_idle_per_host(0).build(connector());
        let gateway = Gateway(Arc::new(Inner {
            upstreams: settings.upstreams.iter().map(|address| Arc::new(Upstream::new(address))).collect(),
            client,
            probes,
            next: AtomicUsize::new(0),
            permits: Arc::new(Semaphore::new(settings.requests)),
            tunnel_permits: Arc::new(Semaphore::new(settings.tunnels)),
            tunnels: Mutex::new(JoinSet::new()),
            answers: Answers::default(),
            retried: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            settings,
        }));
        for upstream in &gateway.0.upstreams {
            let (gateway, upstream) = (gateway.clone(), Arc::clone(upstream));
            // It ends with the runtime.
            sward::spawn(move || {
                loop {
                    upstream.checked(gateway.healthy(&upstream));
                    sward::sleep(gateway.0.settings.health_every);
                }
            });
        }
        gateway
    }

    /// The service for the clients.
    pub fn router(&self) -> Router {
        Router::new().fallback(forward).with_state(self.clone())
    }

    /// The service for operators: `/metrics` and `/healthz`. Not for the listener of the clients.
    pub fn admin(&self) -> Router {
        let healthz =
            async |State(gateway): State<Gateway>| match gateway.0.upstreams.iter().any(|u| u.is_up()) {
                true => (StatusCode::OK, "ok\n"),
                false => (StatusCode::SERVICE_UNAVAILABLE, "no upstream is up\n"),
            };
        let metrics = async |State(gateway): State<Gateway>| {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], gateway.metrics())
        };
        Router::new().route("/healthz", get(healthz)).route("/metrics", get(metrics)).with_state(self.clone())
    }

    /// Waits until the WebSockets have ended, for that time at most; then it cuts them, and returns `false`.
    /// Parks.
    pub fn close(&self, grace: Duration) -> bool {
        let mut tunnels =
            std::mem::take(&mut *self.0.tunnels.lock().unwrap_or_else(|error| error.into_inner()));
        let _ = sward::time::timeout(grace, || while tunnels.join_next().is_some() {});
        while tunnels.try_join_next().is_some() {}
        // The drop of the set cancels the rest.
        tunnels.is_empty()
    }

    fn healthy(&self, upstream: &Upstream) -> bool {
        let uri = format!("http://{}{}", upstream.address, self.0.settings.health_path);
        let request = Request::builder().uri(uri).header(header::CONNECTION, "close");
        let Ok(request) = request.body(Outgoing::empty()) else { return false };
        let answer = limited(Duration::from_secs(1), self.0.probes.request(request));
        matches!(sward::block_on(answer), Some(Ok(response)) if !response.status().is_server_error())
    }

    fn metrics(&self) -> String {
        let inner = &*self.0;
        let mut text = runtime();
        inner.answers.write(&mut text, "gateway");
        let busy = inner.settings.requests - inner.permits.available_permits();
        let (retried, refused) =
            (inner.retried.load(Ordering::Relaxed), inner.refused.load(Ordering::Relaxed));
        let tunnels = inner.settings.tunnels - inner.tunnel_permits.available_permits();
        let _ = writeln!(text, "# TYPE gateway_tunnels gauge\ngateway_tunnels {tunnels}");
        let _ = writeln!(text, "# TYPE gateway_requests gauge\ngateway_requests {busy}");
        let _ = writeln!(text, "# TYPE gateway_retries_total counter\ngateway_retries_total {retried}");
        let _ = writeln!(text, "# TYPE gateway_refused_total counter\ngateway_refused_total {refused}");
        for (name, kind, value) in upstream::METRICS {
            let _ = writeln!(text, "# TYPE gateway_upstream_{name} {kind}");
            for upstream in &inner.upstreams {
                let address = &upstream.address;
                let _ =
                    writeln!(text, "gateway_upstream_{name}{{upstream=\"{address}\"}} {}", value(upstream));
            }
        }
        text
    }
}

/// The future's result, or `None` after that time.
async fn limited<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let (mut future, mut sleep) = (pin!(future), pin!(sward_compat::sleep(limit)));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// The future's result, or `None` if the upstream neither answers nor takes any of the body for that time.
async fn answered<F: Future>(source: &Source, limit: Duration, future: F) -> Option<F::Output> {
    let (mut future, mut sleep) = (pin!(future), sward_compat::sleep_until(source.deadline(limit)));
    poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        while Pin::new(&mut sleep).poll(context).is_ready() {
            let deadline = source.deadline(limit);
            if deadline <= Instant::now() {
                return Poll::Ready(None);
            }
            sleep = sward_compat::sleep_until(deadline);
        }
        Poll::Pending
    })
    .await
}

/// Whether the upstream refused the connection. Other failures of connecting may be the gateway's own, such
/// as too many open files, and say nothing about the upstream: its health check decides.
fn was_refused(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.kind() == ErrorKind::ConnectionRefused,
        None => error.source().is_some_and(was_refused),
    }
}

/// The answer to a request that is not forwarded, or whose upstream failed.
fn error(status: StatusCode, why: &'static str) -> Response {
    let mut response = (status, format!("{why}\n")).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// What a request holds until the last bytes of its body and of its answer were sent.
struct Held {
    _flight: Flight,
    _permit: Arc<OwnedSemaphorePermit>,
}

async fn forward(
    State(gateway): State<Gateway>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    let (started, method) = (Instant::now(), request.method().clone());
    let path = request.uri().path().to_owned();
    let upgrades = headers::asks_to_upgrade(&request);
    let permits = if upgrades { &gateway.0.tunnel_permits } else { &gateway.0.permits };
    let response = match permits.try_acquire_owned() {
        Ok(permit) => gateway.forward(peer.ip(), request, Arc::new(permit)).await,
        Err(_) => {
            gateway.0.refused.fetch_add(1, Ordering::Relaxed);
            error(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once")
        }
    };
    let (status, time) = (response.status().as_u16(), started.elapsed());
    gateway.0.answers.count(status, time);
    tracing::info!(%peer, %method, path, status, micros = time.as_micros() as u64, "answered");
    response
}

impl Gateway {
    // It is async throughout, although handlers may block: while a handler of HTTP/1.1 blocks, hyper reads
    // nothing of its body, which here is still arriving.
    async fn forward(
        &self,
        peer: IpAddr,
        mut request: Request,
        permit: Arc<OwnedSemaphorePermit>,
    ) -> Response {
        let settings = &self.0.settings;
        let upgrade = headers::asks_to_upgrade(&request).then(|| hyper::upgrade::on(&mut request));
        let from = Forwarded { peer, secure: settings.secure, trusted: settings.trust_forwarded };
        let (mut parts, body) = request.into_parts();
        if headers::asks_about_the_server(&parts) {
            return (StatusCode::NO_CONTENT, [(header::ALLOW, headers::METHODS)]).into_response();
        }
        let target = match headers::to_upstream(&mut parts, from, upgrade.is_some()) {
            Ok(target) => target,
            Err(Refused(status, why)) => return error(status, why),
        };
        if !settings.serves(parts.headers.get(header::HOST)) {
            return error(StatusCode::MISDIRECTED_REQUEST, "this host is not served here");
        }
        let Some(source) = Source::new(body, settings.body, settings.answer_time) else {
            return error(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
        };
        if source.needs_chunks() {
            // hyper's client sends no body with a `GET`, unless a field announces one.
            parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let idempotent = matches!(
            parts.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
        ) && upgrade.is_none();

        let mut tried = vec![false; self.0.upstreams.len()];
        let mut failure = error(StatusCode::SERVICE_UNAVAILABLE, "no upstream is up");
        for attempt in 0..=settings.retries {
            let Some(chosen) = upstream::choose(&self.0.upstreams, settings.balance, &tried, &self.0.next)
            else {
                break;
            };
            tried[chosen] = true;
            let upstream = &self.0.upstreams[chosen];
            if attempt > 0 {
                self.0.retried.fetch_add(1, Ordering::Relaxed);
            }
            let held = Arc::new(Held { _flight: Flight::start(upstream), _permit: Arc::clone(&permit) });
            let mut attempted = Request::new(source.attempt(&held));
            *attempted.method_mut() = parts.method.clone();
            *attempted.version_mut() = Version::HTTP_11;
            *attempted.headers_mut() = parts.headers.clone();
            match format!("http://{}{target}", upstream.address).parse() {
                Ok(uri) => *attempted.uri_mut() = uri,
                Err(_) => return error(StatusCode::BAD_REQUEST, "the target is not valid"),
            }
            match answered(&source, settings.answer_time, self.0.client.request(attempted)).await {
                Some(Ok(response)) => return self.answer(response, upgrade, held),
                Some(Err(broken)) => {
                    // The client's fault, and not the upstream's.
                    if let Some((status, why)) = source.fault() {
                        return error(status, why);
                    }
                    tracing::warn!(upstream = upstream.address, error = %broken, "an attempt failed");
                    upstream.failed(was_refused(&broken));
                    failure = error(StatusCode::BAD_GATEWAY, "the upstream failed");
                    if !(source.is_untouched() && (broken.is_connect() || idempotent)) {
                        break;
                    }
                }
                None => {
                    if let Some((status, why)) = source.fault() {
                        return error(status, why);
                    }
                    // It may still work on the request: another one would do the same work again.
                    upstream.failed(false);
                    failure = error(StatusCode::GATEWAY_TIMEOUT, "the upstream does not answer");
                    break;
                }
            }
        }
        failure
    }

    fn answer(
        &self,
        mut response: Response<Incoming>,
        upgrade: Option<OnUpgrade>,
        held: Arc<Held>,
    ) -> Response {
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        headers::to_client(response.headers_mut(), switched);
        if !switched {
            let pause = self.0.settings.answer_time;
            return response.map(|body| Body::new(body::Answer::new(body, pause, held)));
        }
        // An upstream that switches unasked would leave the client without an answer.
        let Some(client) = upgrade else {
            return error(StatusCode::BAD_GATEWAY, "the upstream switched protocols");
        };
        let (upstream, idle) = (hyper::upgrade::on(&mut response), self.0.settings.idle);
        let mut tunnels = self.0.tunnels.lock().unwrap_or_else(|error| error.into_inner());
        while tunnels.try_join_next().is_some() {}
        tunnels.spawn(move || {
            // It counts as a request of its upstream until it ends.
            let _held = held;
            if let Err(error) = sward::block_on(tunnel::join(client, upstream, idle)) {
                tracing::debug!(%error, "an upgraded connection broke");
            }
        });
        response.map(|_| Body::empty())
    }
}
