//! SQLite, which has no server: the file is locked by another connection while operations wait.

use ecosystem_tests::{Gate, Local, Row, check};
use rusqlite::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;
use sward_compat::Pool;

const LIMIT: Duration = Duration::from_secs(120);

/// A database in a scratch folder.
struct Database {
    folder: PathBuf,
    control: Mutex<Connection>,
    /// Counts what waits, since SQLite does not.
    waiting: Local,
}

impl Database {
    fn new(name: &str) -> Database {
        let folder = std::env::temp_dir().join(format!("sward-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("a scratch folder");
        let control = open(&folder.join("db")).expect("SQLite");
        control.execute_batch("create table waited (n integer)").expect("a table");
        Database { folder, control: Mutex::new(control), waiting: Local::default() }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("db")
    }

    fn control(&self, statement: &str) {
        self.control.lock().expect("no panic").execute_batch(statement).expect("SQLite");
    }
}

fn open(file: &std::path::Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(LIMIT)?;
    connection.execute_batch("pragma journal_mode = wal; pragma synchronous = off")?;
    Ok(connection)
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Gate for Database {
    fn close(&self) {
        self.control("begin immediate");
    }

    fn open(&self) {
        self.control("commit");
    }

    fn waiting(&self) -> usize {
        self.waiting.waiting()
    }
}

struct Rusqlite {
    pool: Pool<Connection, rusqlite::Error>,
    database: Database,
}

impl Row for Rusqlite {
    const CANCELS: bool = false;

    fn operate(&self, n: u32) {
        let connection = self.pool.get().expect("a connection");
        // Glue: rusqlite
        let answer = sward::blocking(move || {
            // End.
            connection.query_row("select ?1 + 1", [n], |row| row.get::<_, u32>(0))
        });
        assert_eq!(answer.expect("a thread").expect("a row"), n + 1);
    }

    fn wait(&self) {
        let _waiting = self.database.waiting.enter();
        let connection = self.pool.get().expect("a connection");
        let done = sward::blocking(move || connection.execute("insert into waited values (1)", []));
        assert_eq!(done.expect("a thread").expect("the lock"), 1);
    }

    fn gate(&self) -> &dyn Gate {
        &self.database
    }
}

#[test]
fn rusqlite() {
    check(|| {
        let database = Database::new("rusqlite");
        let file = database.file();
        let connect = move || sward::blocking(|| open(&file)).expect("a thread");
        Rusqlite { pool: Pool::new(100, connect), database }
    });
}

/// sqlx has a thread for each connection to SQLite.
struct Sqlx {
    pool: sqlx::SqlitePool,
    database: Database,
}

impl Row for Sqlx {
    fn operate(&self, n: u32) {
        let query = sqlx::query_scalar::<_, u32>("select ?1 + 1").bind(n);
        // Glue: sqlx_sqlite
        let answer = sward_compat::block_on(query.fetch_one(&self.pool));
        // End.
        assert_eq!(answer.expect("a row"), n + 1);
    }

    fn wait(&self) {
        let _waiting = self.database.waiting.enter();
        let insert = sqlx::query("insert into waited values (1)");
        sward_compat::block_on(insert.execute(&self.pool)).expect("the lock");
    }

    fn gate(&self) -> &dyn Gate {
        &self.database
    }
}

impl Drop for Sqlx {
    fn drop(&mut self) {
        sward_compat::block_on(self.pool.close());
    }
}

#[test]
fn sqlx_sqlite() {
    check(|| {
        let database = Database::new("sqlx");
        let options = SqliteConnectOptions::new()
            .filename(database.file())
            .busy_timeout(LIMIT)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Off);
        let pool = SqlitePoolOptions::new().max_connections(8).acquire_timeout(LIMIT);
        let pool = sward_compat::block_on(pool.connect_with(options)).expect("a pool");
        Sqlx { pool, database }
    });
}
