//! Notes on sward: see `example_services::notes` for what it serves.

use example_services::arguments::Arguments;
use example_services::notes::App;
use example_services::notes::postgres::Postgres;
use example_services::notes::sqlite::Sqlite;
use example_services::{logs, stop, tls};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use sward::net::TcpListener;
use sward_hyper::{Server, Tls};
use tracing::Level;

const USAGE: &str =
    "notes [ADDRESS] [--sqlite FILE | --postgres URL] [--cert FILE --key FILE | --self-signed FILE]
    [--connections N] [--head-seconds S] [--grace S] [--drain-first S] [--log LEVEL]

ADDRESS        where it listens, 127.0.0.1:8090 by default
--sqlite       the database, notes.db by default
--postgres     another one: postgres://USER:PASSWORD@HOST/DATABASE, or env: it is in DATABASE_URL
--cert, --key  PEM files: it serves HTTPS
--self-signed  HTTPS with a new certificate, which is written to FILE
--connections  the most connections at once, 4000 by default; further ones wait
--head-seconds the time for the head of a request, 10 by default
--grace        how long requests may last after SIGTERM, 30 by default
--drain-first  how long the health check fails before the listener closes, 0 by default
--log          error, warn, info or debug; info by default";

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let mut arguments = Arguments::new(USAGE);
    let address = arguments.word(String::from("127.0.0.1:8090"));
    // Everybody on the machine sees the arguments of a process, and only its user the environment.
    let postgres: Option<String> = match arguments.value("--postgres") {
        Some(url) if url == "env" => match std::env::var("DATABASE_URL") {
            Ok(url) => Some(url),
            Err(_) => arguments.refuse("--postgres env: DATABASE_URL is not set"),
        },
        given => given,
    };
    let sqlite = arguments.value("--sqlite").unwrap_or_else(|| PathBuf::from("notes.db"));
    let files: Option<(PathBuf, PathBuf)> = arguments.pair("--cert", "--key");
    let self_signed: Option<PathBuf> = arguments.value("--self-signed");
    let mut seconds = |flag, default| Duration::from_secs(arguments.value(flag).unwrap_or(default));
    let (head, grace) = (seconds("--head-seconds", 10), seconds("--grace", 30));
    let first = seconds("--drain-first", 0);
    let connections = arguments.value("--connections").unwrap_or(4_000);
    logs::start(arguments.value("--log").unwrap_or(Level::INFO));
    arguments.end();

    let server = Server::new().connections(connections).head_time(head).grace(grace);
    let served = sward::run(|| {
        let app = match &postgres {
            Some(url) => App::new(Postgres::open(url)?),
            None => App::new(Sqlite::open(sqlite)?),
        };
        let config = match (&files, &self_signed) {
            (Some((certificates, key)), _) => Some(tls::from_files(certificates, key)?),
            (None, Some(file)) => Some(tls::self_signed(file)?),
            (None, None) => None,
        };
        let listener = TcpListener::bind(address.as_str())?;
        let (handle, draining) = (server.handle(), app.clone());
        stop::on_signal(move || {
            draining.drain();
            sward::sleep(first);
            handle.shut_down();
        })?;
        let scheme = if config.is_some() { "https" } else { "http" };
        println!("serves {scheme}://{}/", listener.local_addr()?);
        match config {
            Some(config) => server.serve(Tls::new(listener, config), app.router())?,
            None => server.serve(listener, app.router())?,
        }
        Ok::<(), Failure>(())
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("notes: {error}");
            ExitCode::FAILURE
        }
    }
}
