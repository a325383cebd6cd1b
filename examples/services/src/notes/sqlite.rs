//! SQLite, in this process. Its calls block on files, so each one runs in [`sward::blocking`], with a
//! connection of a small pool.

use crate::notes::model::{Draft, LISTED, Memo, Store, StoreError, now};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use std::path::{Path, PathBuf};
use std::time::Duration;
use sward::task::catch_cancel;
use sward_compat::Pool;

/// More readers than processors are of no use, and SQLite has one writer at a time.
pub const CONNECTIONS: usize = 4;

/// Opens the file, which is made if it does not exist.
pub fn open(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    // Readers and the writer do not wait for each other. A crash of the machine may lose the last changes,
    // but does not damage the file.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.busy_timeout(Duration::from_secs(4))?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL,
         text TEXT NOT NULL, version INTEGER NOT NULL, changed INTEGER NOT NULL)",
    )?;
    Ok(connection)
}

fn note(row: &Row<'_>) -> Result<Memo> {
    Ok(Memo {
        id: row.get(0)?,
        title: row.get(1)?,
        text: row.get(2)?,
        version: row.get(3)?,
        changed: row.get(4)?,
    })
}

/// The row that a change returns. It reads to the end: SQLite returns the row before it commits, and the last
/// step brings the error of the commit, such as a full disk.
fn returned(mut rows: rusqlite::Rows<'_>) -> Result<Option<Memo>> {
    let changed = rows.next()?.map(note).transpose()?;
    while rows.next()?.is_some() {}
    Ok(changed)
}

// The queries. They know nothing of sward.

pub fn list(db: &Connection, before: Option<i64>) -> Result<Vec<Memo>> {
    let before = before.unwrap_or(i64::MAX);
    let mut query = db.prepare_cached(
        "SELECT id, title, text, version, changed FROM notes WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    query.query_map(params![before, LISTED], note)?.collect()
}

pub fn get(db: &Connection, id: i64) -> Result<Option<Memo>> {
    let mut query = db.prepare_cached("SELECT id, title, text, version, changed FROM notes WHERE id = ?1")?;
    query.query_row([id], note).optional()
}

pub fn create(db: &Connection, draft: &Draft) -> Result<Memo> {
    let mut query = db.prepare_cached(
        "INSERT INTO notes (title, text, version, changed) VALUES (?1, ?2, 1, ?3)
         RETURNING id, title, text, version, changed",
    )?;
    let created = returned(query.query(params![draft.title, draft.text, now()])?)?;
    created.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

pub fn update(db: &Connection, id: i64, version: i64, draft: &Draft) -> Result<Option<Memo>> {
    let mut query = db.prepare_cached(
        "UPDATE notes SET title = ?3, text = ?4, version = version + 1, changed = ?5
         WHERE id = ?1 AND version = ?2 RETURNING id, title, text, version, changed",
    )?;
    returned(query.query(params![id, version, draft.title, draft.text, now()])?)
}

pub fn delete(db: &Connection, id: i64) -> Result<bool> {
    Ok(db.prepare_cached("DELETE FROM notes WHERE id = ?1")?.execute([id])? > 0)
}

/// The store.
pub struct Sqlite(Pool<Connection, StoreError>);

impl Sqlite {
    /// Opens the file, with at most [`CONNECTIONS`] connections. Parks.
    pub fn open(path: PathBuf) -> Result<Sqlite, StoreError> {
        let store = Sqlite(Pool::new(CONNECTIONS, move || Ok(sward::blocking(|| open(&path))??)));
        // So that a file that cannot be used is found out now.
        drop(store.0.get()?);
        Ok(store)
    }

    fn run<T: Send>(&self, query: impl FnOnce(&Connection) -> Result<T> + Send) -> Result<T, StoreError> {
        let mut pooled = self.0.get()?;
        // `&mut`, as a `Connection` is `Send` and not `Sync`.
        let connection = &mut *pooled;
        let result = catch_cancel(|| sward::blocking(move || query(connection)));
        // A query that has begun runs to its end, also if its time limit passes. So the connection is in
        // order, and goes back. Unwinding would close it on the worker, and a close writes files.
        drop(pooled);
        match result {
            Ok(result) => Ok(result??),
            Err(interruption) => {
                sward::task::checkpoint();
                Err(interruption.to_string().into())
            }
        }
    }
}

impl Store for Sqlite {
    fn list(&self, before: Option<i64>) -> Result<Vec<Memo>, StoreError> {
        self.run(|db| list(db, before))
    }

    fn get(&self, id: i64) -> Result<Option<Memo>, StoreError> {
        self.run(|db| get(db, id))
    }

    fn create(&self, draft: &Draft) -> Result<Memo, StoreError> {
        self.run(|db| create(db, draft))
    }

    fn update(&self, id: i64, version: i64, draft: &Draft) -> Result<Option<Memo>, StoreError> {
        self.run(|db| update(db, id, version, draft))
    }

    fn delete(&self, id: i64) -> Result<bool, StoreError> {
        self.run(|db| delete(db, id))
    }
}
