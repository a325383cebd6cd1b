//! Drivers of PostgreSQL.

use crate::peers::Postgres;
use deadpool::managed::{Manager, Metrics, Pool, RecycleError, RecycleResult};
use diesel::prelude::*;
use diesel::r2d2::ConnectionManager;
use ecosystem_tests::{Gate, Row, check};
use sqlx::postgres::PgPoolOptions;
use std::time::Duration;
use sward::net::TcpStream;
use sward_compat::Polled;
use tokio_postgres::{Client, Error, NoTls};

/// tokio-postgres on streams of sward: without tokio's sockets, timers and threads.
struct TokioPostgres {
    pool: Pool<Connect>,
    server: Postgres,
}

// Glue: tokio_postgres
struct Connect(tokio_postgres::Config, std::net::SocketAddr);

impl Manager for Connect {
    type Type = Client;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    async fn create(&self) -> Result<Client, Self::Error> {
        let stream = Polled::new(TcpStream::connect(self.1)?)?;
        let (client, connection) = self.0.connect_raw(stream, NoTls).await?;
        sward::spawn(move || sward::block_on(connection));
        Ok(client)
    }

    async fn recycle(&self, client: &mut Client, _: &Metrics) -> RecycleResult<Self::Error> {
        if client.is_closed() { Err(RecycleError::message("closed")) } else { Ok(()) }
    }
}
// End.

impl Row for TokioPostgres {
    fn operate(&self, n: u32) {
        let n = n as i32;
        let row = sward::block_on(async {
            let client = self.pool.get().await.expect("a client");
            client.query_one("select $1::int4 + 1", &[&n]).await
        });
        assert_eq!(row.expect("a row").get::<_, i32>(0), n + 1);
    }

    fn wait(&self) {
        sward::block_on(async {
            let client = self.pool.get().await.expect("a client");
            client.query_one(Postgres::WAIT, &[]).await
        })
        .expect("a row");
    }

    fn gate(&self) -> &dyn Gate {
        &self.server
    }
}

#[test]
fn tokio_postgres() {
    let Some(server) = Postgres::new("tokio_postgres") else { return };
    check(|| {
        let manager = Connect(server.url().parse().expect("a URL"), server.address);
        TokioPostgres { pool: Pool::builder(manager).max_size(100).build().expect("a pool"), server }
    });
}

/// sqlx on tokio's sockets, with its own pool.
struct Sqlx {
    pool: sqlx::PgPool,
    server: Postgres,
}

impl Row for Sqlx {
    fn operate(&self, n: u32) {
        let n = n as i32;
        // Glue: sqlx_postgres
        let sum = sward_compat::block_on(
            // End.
            sqlx::query_scalar::<_, i32>("select $1::int4 + 1").bind(n).fetch_one(&self.pool),
        );
        assert_eq!(sum.expect("a row"), n + 1);
    }

    fn wait(&self) {
        let query = sqlx::query_scalar::<_, i32>(Postgres::WAIT);
        sward_compat::block_on(query.fetch_one(&self.pool)).expect("a row");
    }

    fn gate(&self) -> &dyn Gate {
        &self.server
    }
}

impl Drop for Sqlx {
    fn drop(&mut self) {
        sward_compat::block_on(self.pool.close());
    }
}

#[test]
fn sqlx_postgres() {
    let Some(server) = Postgres::new("sqlx_postgres") else { return };
    check(|| {
        let options = PgPoolOptions::new().max_connections(100).acquire_timeout(Duration::from_secs(120));
        let pool = sward_compat::block_on(options.connect(&server.url())).expect("a pool");
        Sqlx { pool, server }
    });
}

/// `postgres`, which blocks, on the pool of threads.
struct Blocking {
    pool: sward_compat::Pool<postgres::Client, Error>,
    server: Postgres,
}

impl Blocking {
    fn ask(&self, query: &str, with: &[&(dyn postgres::types::ToSql + Sync)]) -> i32 {
        let mut client = self.pool.get().expect("a client");
        // Glue: postgres_blocking
        let row = sward::blocking(|| client.query_one(query, with)).expect("a thread");
        // End.
        row.expect("a row").get(0)
    }
}

impl Row for Blocking {
    const CANCELS: bool = false;

    fn operate(&self, n: u32) {
        let n = n as i32;
        assert_eq!(self.ask("select $1::int4 + 1", &[&n]), n + 1);
    }

    fn wait(&self) {
        self.ask(Postgres::WAIT, &[]);
    }

    fn gate(&self) -> &dyn Gate {
        &self.server
    }
}

#[test]
fn postgres_blocking() {
    let Some(server) = Postgres::new("postgres_blocking") else { return };
    check(|| {
        let config = server.config();
        let connect = move || sward::blocking(|| config.connect(NoTls)).expect("a thread");
        Blocking { pool: sward_compat::Pool::new(100, connect), server }
    });
}

/// diesel on libpq, with its pool of r2d2, on the pool of threads.
struct DieselBlocking {
    pool: diesel::r2d2::Pool<ConnectionManager<PgConnection>>,
    server: Postgres,
}

fn sum(pool: &diesel::r2d2::Pool<ConnectionManager<PgConnection>>, n: i32) -> QueryResult<i32> {
    use diesel::dsl::sql;
    use diesel::sql_types::Integer;
    let plus_one = sql::<Integer>("").bind::<Integer, _>(n).sql(" + 1");
    diesel::select(plus_one).get_result(&mut pool.get().expect("a connection"))
}

fn at_gate(pool: &diesel::r2d2::Pool<ConnectionManager<PgConnection>>) -> QueryResult<usize> {
    diesel::sql_query(Postgres::WAIT).execute(&mut pool.get().expect("a connection"))
}

fn diesel_pool(server: &Postgres) -> diesel::r2d2::Pool<ConnectionManager<PgConnection>> {
    let builder = diesel::r2d2::Pool::builder().max_size(100).min_idle(Some(1)).test_on_check_out(false);
    let builder = builder.connection_timeout(Duration::from_secs(120));
    builder.build(ConnectionManager::new(server.url())).expect("a pool")
}

impl Row for DieselBlocking {
    const CANCELS: bool = false;

    fn operate(&self, n: u32) {
        let n = n as i32;
        // Glue: diesel_blocking
        let answer = sward::blocking(|| sum(&self.pool, n)).expect("a thread");
        // End.
        assert_eq!(answer.expect("a row"), n + 1);
    }

    fn wait(&self) {
        sward::blocking(|| at_gate(&self.pool)).expect("a thread").expect("a row");
    }

    fn gate(&self) -> &dyn Gate {
        &self.server
    }
}

#[test]
fn diesel_blocking() {
    let Some(server) = Postgres::new("diesel_blocking") else { return };
    check(|| DieselBlocking { pool: diesel_pool(&server), server });
}
