//! A CRUD service on PostgreSQL, with tracing and metrics, in one file:
//! `crud postgres://USER:PASSWORD@HOST/DATABASE [ADDRESS]`, then
//! `curl --json '{"name": "one"}' http://127.0.0.1:8092/items`.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use sward::net::{TcpListener, TcpStream};
use sward::signal::{SignalKind, signal};
use sward_compat::{Polled, Pool};
use sward_hyper::Server;
use sward_tracing::PerCoroutine;
use tokio_postgres::config::Host;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row};
use tracing::Instrument;

type Failure = Box<dyn Error + Send + Sync>;
type Answer<T> = Result<T, (StatusCode, &'static str)>;
const NOT_FOUND: (StatusCode, &str) = (StatusCode::NOT_FOUND, "there is no such item\n");

#[derive(Serialize, Deserialize)]
struct Item {
    #[serde(default)]
    id: i64,
    name: String,
}

/// At most that many connections, made when they are needed.
struct Database(Pool<Client, Failure>);

impl Database {
    fn open(url: &str, connections: usize) -> Result<Database, Failure> {
        let config: Config = url.parse()?;
        let pool = Pool::new(connections, move || connect(&config));
        let database = Database(pool.check(|client| !client.is_closed()));
        database
            .query("CREATE TABLE IF NOT EXISTS items (id BIGSERIAL PRIMARY KEY, name TEXT NOT NULL)", &[])?;
        Ok(database)
    }

    /// Parks until a connection is free, and until the rows have arrived. A connection whose query fails is
    /// not used again.
    fn query(&self, text: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failure> {
        self.0.with(|client| Ok(sward::block_on(client.query(text, parameters))?))
    }

    fn items(&self, text: &str, parameters: &[&(dyn ToSql + Sync)]) -> Answer<Vec<Item>> {
        let rows = sward::time::timeout(Duration::from_secs(5), || self.query(text, parameters));
        let rows = rows.unwrap_or_else(|error| Err(error.into())).map_err(|error| {
            tracing::error!(%error, "a query failed");
            (StatusCode::SERVICE_UNAVAILABLE, "the database is not available\n")
        })?;
        Ok(rows.iter().map(|row| Item { id: row.get(0), name: row.get(1) }).collect())
    }
}

fn connect(config: &Config) -> Result<Client, Failure> {
    let Some(Host::Tcp(host)) = config.get_hosts().first() else { return Err("no host".into()) };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let connected = sward::time::timeout(Duration::from_secs(3), || {
        let stream = TcpStream::connect((host.as_str(), port))?;
        stream.set_nodelay(true)?;
        let (client, connection) = sward::block_on(config.connect_raw(Polled::new(stream)?, NoTls))?;
        // It ends with the client.
        sward::spawn(move || sward::block_on(connection));
        // A query whose request has failed must not go on in the server.
        sward::block_on(client.batch_execute("SET statement_timeout = '5s'"))?;
        Ok(client)
    });
    connected.map_err(|_| "the database does not answer")?
}

async fn list(State(database): State<Arc<Database>>) -> Answer<Json<Vec<Item>>> {
    database.items("SELECT id, name FROM items ORDER BY id LIMIT 100", &[]).map(Json)
}

async fn create(State(database): State<Arc<Database>>, Json(item): Json<Item>) -> Answer<Json<Vec<Item>>> {
    database.items("INSERT INTO items (name) VALUES ($1) RETURNING id, name", &[&item.name]).map(Json)
}

async fn read(State(database): State<Arc<Database>>, Path(id): Path<i64>) -> Answer<Json<Item>> {
    database.items("SELECT id, name FROM items WHERE id = $1", &[&id])?.pop().map(Json).ok_or(NOT_FOUND)
}

async fn update(
    State(database): State<Arc<Database>>,
    Path(id): Path<i64>,
    Json(item): Json<Item>,
) -> Answer<Json<Item>> {
    let text = "UPDATE items SET name = $2 WHERE id = $1 RETURNING id, name";
    database.items(text, &[&id, &item.name])?.pop().map(Json).ok_or(NOT_FOUND)
}

async fn delete(State(database): State<Arc<Database>>, Path(id): Path<i64>) -> Answer<StatusCode> {
    let deleted = database.items("DELETE FROM items WHERE id = $1 RETURNING id, name", &[&id])?;
    if deleted.is_empty() { Err(NOT_FOUND) } else { Ok(StatusCode::NO_CONTENT) }
}

async fn log(request: Request, next: Next) -> Response {
    let span = tracing::info_span!("request", method = %request.method(), path = request.uri().path());
    let response = next.run(request).instrument(span.clone()).await;
    span.in_scope(|| tracing::info!(status = response.status().as_u16(), "answered"));
    response
}

fn main() -> Result<(), Failure> {
    tracing::subscriber::set_global_default(PerCoroutine::new(tracing_subscriber::fmt().finish()))?;
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: crud postgres://USER:PASSWORD@HOST/DATABASE [ADDRESS]")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8092".to_owned());
    sward::run(move || {
        let router = Router::new()
            .route("/items", get(list).post(create))
            .route("/items/{id}", get(read).put(update).delete(delete))
            .layer(from_fn(log))
            .route("/metrics", get(async || sward::runtime::metrics().expect("it runs").to_prometheus()))
            .with_state(Arc::new(Database::open(&url, 8)?));
        let listener = TcpListener::bind(address.as_str())?;
        println!("serves http://{}/", listener.local_addr()?);
        let (server, terminate) = (Server::new(), signal(SignalKind::TERMINATE)?);
        let handle = server.handle();
        sward::spawn(move || {
            terminate.recv();
            handle.shut_down();
        });
        Ok(server.serve(listener, router)?)
    })
}
