//! Folders.

use super::call;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{FileType, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt};
use std::path::{Path, PathBuf};

/// How many entries one call to the pool fetches.
const BATCH: usize = 64;

/// The entries of a folder, made by [`read_dir`](super::read_dir). Parks once for a number of them.
pub struct ReadDir {
    /// `None` once there is no more.
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

/// An entry of a folder, as [`std::fs::DirEntry`].
pub struct DirEntry(std::fs::DirEntry);

impl DirEntry {
    /// The folder's path, with the entry's name.
    pub fn path(&self) -> PathBuf {
        self.0.path()
    }

    /// The entry's name.
    pub fn file_name(&self) -> OsString {
        self.0.file_name()
    }

    /// What the system says of the entry, a link being one itself. Parks.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn metadata(&self) -> io::Result<Metadata> {
        call(|| self.0.metadata())
    }

    /// Whether it is a file, a folder, or what else. Parks, since some file systems have to be asked.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn file_type(&self) -> io::Result<FileType> {
        call(|| self.0.file_type())
    }

    /// The number of the file in its file system.
    pub fn ino(&self) -> u64 {
        self.0.ino()
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a folder is to be made, as [`std::fs::DirBuilder`].
#[derive(Debug)]
pub struct DirBuilder(std::fs::DirBuilder);

impl DirBuilder {
    /// Only the folder itself, with the usual permissions.
    #[must_use]
    pub fn new() -> DirBuilder {
        DirBuilder(std::fs::DirBuilder::new())
    }

    /// With those above it that are missing.
    pub fn recursive(&mut self, recursive: bool) -> &mut DirBuilder {
        self.0.recursive(recursive);
        self
    }

    /// Makes the folder. Parks.
    ///
    /// # Errors
    ///
    /// The system's.
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
