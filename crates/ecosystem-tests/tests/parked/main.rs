//! Blocking drivers in `sward_interpose::park_blocking`. A program of its own, since that crate overrides
//! calls of libc in the whole program.

#[path = "../rows/peers.rs"]
#[expect(dead_code, reason = "the other rows use the rest")]
mod peers;

use diesel::prelude::*;
use diesel::sql_types::Integer;
use ecosystem_tests::{Gate, Row, check};
use mysql::prelude::Queryable;
use peers::{Mariadb, Postgres};
use sward_compat::Pool;
use sward_interpose::park_blocking;

/// diesel on libpq.
struct Diesel {
    pool: Pool<PgConnection, ConnectionError>,
    server: Postgres,
}

impl Row for Diesel {
    fn operate(&self, n: u32) {
        let n = n as i32;
        let mut connection = self.pool.get().expect("a connection");
        let sum = diesel::dsl::sql::<Integer>("").bind::<Integer, _>(n).sql(" + 1");
        // Glue: diesel_parked
        // SAFETY: libpq keeps nothing in the thread over a call, and no lock is held in here.
        let answer = unsafe { park_blocking(|| diesel::select(sum).get_result(&mut *connection)) };
        // End.
        assert_eq!(answer, Ok(n + 1));
    }

    fn wait(&self) {
        let mut connection = self.pool.get().expect("a connection");
        let query = diesel::sql_query(Postgres::WAIT);
        // SAFETY: as above.
        let answer = unsafe { park_blocking(|| query.execute(&mut *connection)) };
        // Glue: diesel_parked
        if answer.is_err() {
            // A cancellation is an error of libpq. The connection has failed, so it leaves the pool.
            drop(connection.take());
            sward::task::checkpoint();
        }
        // End.
        answer.expect("a row");
    }

    fn gate(&self) -> &dyn Gate {
        &self.server
    }
}

#[test]
fn diesel_parked() {
    let Some(server) = Postgres::new("diesel_parked") else { return };
    let url = server.url();
    // SAFETY: as above.
    let connect = move || unsafe { park_blocking(|| PgConnection::establish(&url)) };
    check(|| Diesel { pool: Pool::new(100, connect), server });
}

struct Mysql {
    pool: Pool<mysql::Conn, mysql::Error>,
    server: Mariadb,
}

impl Row for Mysql {
    fn operate(&self, n: u32) {
        let mut connection = self.pool.get().expect("a connection");
        // Glue: mysql_parked
        // SAFETY: the driver keeps nothing in the thread, and no lock is held in here.
        let answer = unsafe { park_blocking(|| connection.exec_first::<u32, _, _>("SELECT ? + 1", (n,))) };
        // End.
        assert_eq!(answer.expect("a row"), Some(n + 1));
    }

    fn wait(&self) {
        let mut connection = self.pool.get().expect("a connection");
        // SAFETY: as above.
        let answer = unsafe { park_blocking(|| connection.query_first::<u32, _>(Mariadb::WAIT)) };
        // Glue: mysql_parked
        if answer.is_err() {
            // A cancellation is an error of the driver. The connection has failed, so it leaves the pool.
            drop(connection.take());
            sward::task::checkpoint();
        }
        // End.
        assert_eq!(answer.expect("a row"), Some(2));
    }

    fn gate(&self) -> &dyn Gate {
        &self.server
    }
}

#[test]
fn mysql_parked() {
    let Some(server) = Mariadb::new() else { return };
    let options = mysql::Opts::from(server.options());
    // SAFETY: as above.
    let connect = move || unsafe { park_blocking(|| mysql::Conn::new(options.clone())) };
    check(|| Mysql { pool: Pool::new(100, connect), server });
}
