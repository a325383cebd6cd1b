//! The gateway: see `example_services::gateway` for what it does.

use example_services::arguments::Arguments;
use example_services::gateway::{Balance, Gateway, Settings};
use example_services::{logs, stop, tls};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use sward::net::TcpListener;
use sward_hyper::{Server, Tls};
use tracing::Level;

const USAGE: &str = "gateway [ADDRESS] --upstream HOST:PORT... [--balance round-robin|least] [--health PATH]
    [--health-millis MS] [--answer-seconds S] [--idle-seconds S] [--head-seconds S] [--requests N] [--connections N]
    [--tunnels N] [--body BYTES] [--retries N] [--host NAME...] [--trust-forwarded yes|no]
    [--cert FILE --key FILE | --self-signed FILE] [--admin ADDRESS] [--grace S] [--log LEVEL]

ADDRESS           where it listens, 127.0.0.1:8091 by default
--admin           where /metrics and /healthz are, 127.0.0.1:0 by default
--answer-seconds  the time until an answer begins, and the longest pause in a body, 30 by default
--idle-seconds    how long a WebSocket may be silent, 120 by default
--requests        the most requests at once, 2000 by default; further ones are answered with 503
--tunnels         the most WebSockets at once, 1000 by default; further ones are answered with 503
--connections     the most connections at once, 4000 by default; further ones wait
--body            the longest body of a request, 10 MiB by default
--retries         further attempts for a request, 2 by default
--host            a name that is served; requests for others get 421. All names, if there is none
--trust-forwarded keeps what clients wrote to X-Forwarded-For and Forwarded, for clients that are proxies:
                  yes or no, no by default
--cert, --key     PEM files: it serves HTTPS
--grace           how long requests and WebSockets may last after SIGTERM, 30 by default";

type Failure = Box<dyn Error + Send + Sync>;

/// How many files this process may have open, where `/proc` tells it.
fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn main() -> ExitCode {
    let mut arguments = Arguments::new(USAGE);
    let address = arguments.word(String::from("127.0.0.1:8091"));
    let admin = arguments.value("--admin").unwrap_or_else(|| String::from("127.0.0.1:0"));
    let files: Option<(PathBuf, PathBuf)> = arguments.pair("--cert", "--key");
    let self_signed: Option<PathBuf> = arguments.value("--self-signed");
    let default = Settings::default();
    let mut time = |flag, default: Duration| arguments.value(flag).map_or(default, Duration::from_secs);
    let (answer_time, idle) =
        (time("--answer-seconds", default.answer_time), time("--idle-seconds", default.idle));
    let grace = time("--grace", Duration::from_secs(30));
    let head = time("--head-seconds", Duration::from_secs(10));
    let connections: usize = arguments.value("--connections").unwrap_or(4_000);
    let settings = Settings {
        upstreams: arguments.values("--upstream"),
        balance: arguments.value("--balance").unwrap_or(Balance::RoundRobin),
        health_path: arguments.value("--health").unwrap_or(default.health_path),
        health_every: arguments.value("--health-millis").map_or(default.health_every, Duration::from_millis),
        answer_time,
        connect_time: default.connect_time,
        requests: arguments.value("--requests").unwrap_or(default.requests),
        tunnels: arguments.value("--tunnels").unwrap_or(default.tunnels),
        body: arguments.value("--body").unwrap_or(default.body),
        retries: arguments.value("--retries").unwrap_or(default.retries),
        idle,
        hosts: arguments.values("--host"),
        trust_forwarded: arguments.yes("--trust-forwarded"),
        secure: files.is_some() || self_signed.is_some(),
    };
    logs::start(arguments.value("--log").unwrap_or(Level::INFO));
    arguments.end();
    if !settings.health_path.starts_with('/') {
        arguments.refuse("--health: a path begins with /");
    }
    // A request has a connection to its client and one to an upstream. A WebSocket has both, too, and the
    // server does not count it any more.
    let needed = [settings.requests, settings.tunnels, settings.tunnels];
    let needed = needed.into_iter().fold(connections, usize::saturating_add);
    if let Some(files) = open_files().filter(|files| *files < needed) {
        tracing::warn!(files, needed, "too few open files are allowed for these limits, see ulimit -n");
    }
    if settings.upstreams.is_empty() {
        eprintln!("usage: {USAGE}");
        return ExitCode::from(2);
    }

    let server = Server::new().connections(connections).head_time(head).grace(grace);
    let served = sward::run(|| {
        let config = match (&files, &self_signed) {
            (Some((certificates, key)), _) => Some(tls::from_files(certificates, key)?),
            (None, Some(file)) => Some(tls::self_signed(file)?),
            (None, None) => None,
        };
        let listener = TcpListener::bind(address.as_str())?;
        let operators = TcpListener::bind(admin.as_str())?;
        let gateway = Gateway::start(settings);
        println!("admin http://{}/", operators.local_addr()?);
        println!("serves http{}://{}/", if config.is_some() { "s" } else { "" }, listener.local_addr()?);
        let router = gateway.admin();
        sward::spawn(move || Server::new().connections(16).serve(operators, router));
        let handle = server.handle();
        let (stopped, stops) = sward::channel::bounded(1);
        stop::on_signal(move || {
            let _ = stopped.try_send(Instant::now());
            handle.shut_down();
        })?;
        let served = match config {
            Some(config) => server.serve(Tls::new(listener, config), gateway.router()),
            None => server.serve(listener, gateway.router()),
        };
        let spent = stops.try_recv().map_or(Duration::ZERO, |began| began.elapsed());
        let ended = gateway.close(grace.saturating_sub(spent));
        served?;
        if ended { Ok::<(), Failure>(()) } else { Err("WebSockets were cut after the grace".into()) }
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}
