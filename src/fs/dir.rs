//! Directories.

use super::call::call;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{FileType, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt};
use std::path::{Path, PathBuf};

/// How many entries one call on the pool fetches.
const BATCH: usize = 64;

/// The entries of a directory: [`std::fs::ReadDir`] for coroutines, made by [`read_dir`](super::read_dir).
/// Parks once for 64 entries.
pub struct ReadDir {
    /// What has not been fetched; `None` once all was.
    rest: Option<std::fs::ReadDir>,
    fetched: VecDeque<io::Result<std::fs::DirEntry>>,
}

impl ReadDir {
    pub(super) fn new(rest: std::fs::ReadDir) -> ReadDir {
        ReadDir { rest: Some(rest), fetched: VecDeque::new() }
    }
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        if self.fetched.is_empty()
            && let Some(rest) = &mut self.rest
        {
            match call(|| Ok(rest.take(BATCH).collect())) {
                Ok(fetched) => self.fetched = fetched,
                Err(error) => return Some(Err(error)),
            }
            if self.fetched.len() < BATCH {
                self.rest = None;
            }
        }
        self.fetched.pop_front().map(|entry| entry.map(DirEntry))
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadDir").finish_non_exhaustive()
    }
}

/// An entry of a directory: [`std::fs::DirEntry`] for coroutines.
pub struct DirEntry(std::fs::DirEntry);

impl DirEntry {
    /// The path of the entry: the directory's path, as given to `read_dir`, with the entry's name.
    pub fn path(&self) -> PathBuf {
        self.0.path()
    }

    /// The entry's name.
    pub fn file_name(&self) -> OsString {
        self.0.file_name()
    }

    /// The metadata of the entry. Does not follow links. Parks.
    pub fn metadata(&self) -> io::Result<Metadata> {
        call(|| self.0.metadata())
    }

    /// The type of the entry. Parks, since some file systems have to be asked.
    pub fn file_type(&self) -> io::Result<FileType> {
        call(|| self.0.file_type())
    }

    /// The inode number.
    pub fn ino(&self) -> u64 {
        self.0.ino()
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Creates directories in various ways: [`std::fs::DirBuilder`] for coroutines.
#[derive(Debug)]
pub struct DirBuilder(std::fs::DirBuilder);

impl DirBuilder {
    /// Creates one directory with the default permissions.
    #[must_use]
    pub fn new() -> DirBuilder {
        DirBuilder(std::fs::DirBuilder::new())
    }

    /// Sets whether missing parents are created as well.
    pub fn recursive(&mut self, recursive: bool) -> &mut DirBuilder {
        self.0.recursive(recursive);
        self
    }

    /// Creates the directory. Parks.
    pub fn create(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        call(|| self.0.create(path))
    }
}

impl Default for DirBuilder {
    fn default() -> Self {
        DirBuilder::new()
    }
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.0.mode(mode);
        self
    }
}
