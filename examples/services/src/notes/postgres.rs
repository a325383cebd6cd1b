//! PostgreSQL, through tokio-postgres over sward's sockets: no thread but the workers.

use crate::notes::model::{Draft, LISTED, Memo, Store, StoreError, now};
use std::time::Duration;
use sward::block_on;
use sward::net::TcpStream;
use sward_compat::{Polled, Pool};
use tokio_postgres::config::Host;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Error, NoTls, Row, Statement};

pub const CONNECTIONS: usize = 16;
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// The server gives a query up after the time that a request waits for it. Otherwise the queries of requests
/// that have failed would pile up in the server.
const STATEMENT_TIME: &str = "SET statement_timeout = '5s'";

const LIST: &str =
    "SELECT id, title, text, version, changed FROM notes WHERE id < $1 ORDER BY id DESC LIMIT $2";
const GET: &str = "SELECT id, title, text, version, changed FROM notes WHERE id = $1";
const CREATE: &str = "INSERT INTO notes (title, text, version, changed) VALUES ($1, $2, 1, $3)
    RETURNING id, title, text, version, changed";
const UPDATE: &str = "UPDATE notes SET title = $3, text = $4, version = version + 1, changed = $5
    WHERE id = $1 AND version = $2 RETURNING id, title, text, version, changed";
const DELETE: &str = "DELETE FROM notes WHERE id = $1";

/// A connection, with its prepared statements.
struct Session {
    client: Client,
    list: Statement,
    get: Statement,
    create: Statement,
    update: Statement,
    delete: Statement,
}

/// The store.
pub struct Postgres(Pool<Session, StoreError>);

impl Postgres {
    /// Connects once, and makes the table if it does not exist. `url` is
    /// `postgres://USER:PASSWORD@HOST/DATABASE`, or `host=... user=...`.
    pub fn open(url: &str) -> Result<Postgres, StoreError> {
        let config: Config = url.parse()?;
        let first = connect(&config)?;
        // Without it, two processes that start at once could both try to make the table.
        block_on(first.batch_execute(
            "BEGIN; SELECT pg_advisory_xact_lock(8206931);
             CREATE TABLE IF NOT EXISTS notes (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             title TEXT NOT NULL, text TEXT NOT NULL, version BIGINT NOT NULL, changed BIGINT NOT NULL); COMMIT",
        ))?;
        let pool = Pool::new(CONNECTIONS, move || session(&config));
        Ok(Postgres(pool.check(|session| !session.client.is_closed())))
    }

    /// Runs a query on a connection of the pool. One that has broken, or whose query fails, is replaced; the
    /// query is not repeated, since it may have taken effect.
    fn run<T>(&self, query: impl AsyncFnOnce(&Session) -> Result<T, Error>) -> Result<T, StoreError> {
        self.0.with(|session| Ok(block_on(query(session))?))
    }
}

fn connect(config: &Config) -> Result<Client, StoreError> {
    let Some(Host::Tcp(host)) = config.get_hosts().first() else { return Err("no TCP host".into()) };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let connected = sward::time::timeout(CONNECT_TIME, || {
        let stream = TcpStream::connect((host.as_str(), port))?;
        stream.set_nodelay(true)?;
        let (client, connection) = block_on(config.connect_raw(Polled::new(stream)?, NoTls))?;
        // It ends when the client is dropped.
        sward::spawn(move || {
            if let Err(error) = block_on(connection) {
                tracing::warn!(%error, "a connection to the database broke");
            }
        });
        block_on(client.batch_execute(STATEMENT_TIME))?;
        Ok(client)
    });
    connected.map_err(|_| "the database does not answer")?
}

fn session(config: &Config) -> Result<Session, StoreError> {
    let client = connect(config)?;
    let prepare = |text, types: &[Type]| block_on(client.prepare_typed(text, types));
    let (list, get) = (prepare(LIST, &[])?, prepare(GET, &[])?);
    let (create, update, delete) = (prepare(CREATE, &[])?, prepare(UPDATE, &[])?, prepare(DELETE, &[])?);
    Ok(Session { list, get, create, update, delete, client })
}

fn note(row: Row) -> Memo {
    Memo { id: row.get(0), title: row.get(1), text: row.get(2), version: row.get(3), changed: row.get(4) }
}

impl Store for Postgres {
    fn list(&self, before: Option<i64>) -> Result<Vec<Memo>, StoreError> {
        let parameters: [&(dyn ToSql + Sync); 2] = [&before.unwrap_or(i64::MAX), &LISTED];
        let rows = self.run(async |session| session.client.query(&session.list, &parameters).await)?;
        Ok(rows.into_iter().map(note).collect())
    }

    fn get(&self, id: i64) -> Result<Option<Memo>, StoreError> {
        let row = self.run(async |session| session.client.query_opt(&session.get, &[&id]).await)?;
        Ok(row.map(note))
    }

    fn create(&self, draft: &Draft) -> Result<Memo, StoreError> {
        let parameters: [&(dyn ToSql + Sync); 3] = [&draft.title, &draft.text, &now()];
        self.run(async |session| session.client.query_one(&session.create, &parameters).await).map(note)
    }

    fn update(&self, id: i64, version: i64, draft: &Draft) -> Result<Option<Memo>, StoreError> {
        let parameters: [&(dyn ToSql + Sync); 5] = [&id, &version, &draft.title, &draft.text, &now()];
        let row = self.run(async |session| session.client.query_opt(&session.update, &parameters).await)?;
        Ok(row.map(note))
    }

    fn delete(&self, id: i64) -> Result<bool, StoreError> {
        Ok(self.run(async |session| session.client.execute(&session.delete, &[&id]).await)? > 0)
    }
}
