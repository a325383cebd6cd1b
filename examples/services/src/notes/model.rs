//! Notes, and what a store of notes does.

use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

/// How many notes one answer lists.
pub const LISTED: i64 = 50;
const TITLE: usize = 200;
const TEXT: usize = 20_000;

/// A note as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memo {
    pub id: i64,
    pub title: String,
    pub text: String,
    /// Counts the changes.
    pub version: i64,
    /// When it was changed, in seconds since 1970.
    pub changed: i64,
}

/// What a client sends for a new note.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    pub title: String,
    #[serde(default)]
    pub text: String,
}

/// What a client sends for a change: the version that it has seen, too.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    pub title: String,
    pub text: String,
    pub version: i64,
}

impl Edit {
    /// The new content.
    pub fn draft(self) -> Draft {
        Draft { title: self.title, text: self.text }
    }
}

impl Draft {
    /// The draft with a trimmed title, or why it is refused.
    pub fn checked(mut self) -> Result<Draft, &'static str> {
        self.title = self.title.trim().to_owned();
        if self.title.is_empty() {
            return Err("a note needs a title");
        }
        if self.title.chars().count() > TITLE || self.text.chars().count() > TEXT {
            return Err("a title has at most 200 characters, and a text 20,000");
        }
        // PostgreSQL stores no NUL in a text.
        if self.title.contains('\0') || self.text.contains('\0') {
            return Err("a note contains no NUL");
        }
        Ok(self)
    }
}

/// The time now, in seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64)
}

pub type StoreError = Box<dyn Error + Send + Sync>;

/// A store of notes. Its calls park.
pub trait Store: Send + Sync + 'static {
    /// The newest [`LISTED`] notes with an id below `before`, the newest first.
    fn list(&self, before: Option<i64>) -> Result<Vec<Memo>, StoreError>;
    fn get(&self, id: i64) -> Result<Option<Memo>, StoreError>;
    fn create(&self, draft: &Draft) -> Result<Memo, StoreError>;
    /// Changes the note if it has that version. `None` otherwise.
    fn update(&self, id: i64, version: i64, draft: &Draft) -> Result<Option<Memo>, StoreError>;
    /// Whether the note existed.
    fn delete(&self, id: i64) -> Result<bool, StoreError>;
}
