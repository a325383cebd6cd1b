//! Directories.

use super::by_ring::call_by_paths;
use super::call::call;
use super::{in_place, simulated};
use crate::ring::Operation;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{FileType, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How many entries one call on the pool fetches.
const BATCH: usize = 64;

/// The entries of a directory: [`std::fs::ReadDir`] for coroutines, made by [`read_dir`](super::read_dir).
/// Parks once for 64 entries, and not for the first ones: `read_dir` brings them along.
pub struct ReadDir {
    /// What has not been fetched; `None` once all was.
    rest: Option<std::fs::ReadDir>,
    fetched: VecDeque<io::Result<DirEntry>>,
}

impl ReadDir {
    /// Parks.
    pub(super) fn open(path: &Path) -> io::Result<ReadDir> {
        let (rest, fetched) = call(|| {
            let mut rest = std::fs::read_dir(path)?;
            let fetched = fetch(&mut rest);
            Ok((rest, fetched))
        })?;
        Ok(ReadDir { rest: (fetched.len() == BATCH).then_some(rest), fetched })
    }
}

fn fetch(rest: &mut std::fs::ReadDir) -> VecDeque<io::Result<DirEntry>> {
    rest.take(BATCH).map(|entry| entry.map(DirEntry::new)).collect()
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        if self.fetched.is_empty()
            && let Some(rest) = &mut self.rest
        {
            match call(|| Ok(fetch(rest))) {
                Ok(fetched) => self.fetched = fetched,
                Err(error) => return Some(Err(error)),
            }
            if self.fetched.len() < BATCH {
                self.rest = None;
            }
        }
        self.fetched.pop_front()
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadDir").finish_non_exhaustive()
    }
}

/// An entry of a directory: [`std::fs::DirEntry`] for coroutines.
pub struct DirEntry {
    std: std::fs::DirEntry,
    file_type: Option<FileType>,
}

impl DirEntry {
    /// Some file systems have to be asked for the type, so this waits.
    fn new(std: std::fs::DirEntry) -> DirEntry {
        DirEntry { file_type: std.file_type().ok(), std }
    }

    /// The path of the entry: the directory's path, as given to `read_dir`, with the entry's name.
    pub fn path(&self) -> PathBuf {
        simulated::shown(self.std.path())
    }

    /// The entry's name.
    pub fn file_name(&self) -> OsString {
        self.std.file_name()
    }

    /// The metadata of the entry. Does not follow links. Parks unless what it takes is cached.
    pub fn metadata(&self) -> io::Result<Metadata> {
        // By now its path may be that of another file, or of none.
        match in_place::metadata(&self.std.path(), false) {
            Some(Ok(metadata)) if metadata.ino() == self.std.ino() => Ok(metadata),
            _ => call(|| self.std.metadata()),
        }
    }

    /// The type of the entry. Parks only to repeat a call that has failed.
    pub fn file_type(&self) -> io::Result<FileType> {
        self.file_type.map_or_else(|| call(|| self.std.file_type()), Ok)
    }

    /// The inode number.
    pub fn ino(&self) -> u64 {
        self.std.ino()
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.std.fmt(f)
    }
}

/// Creates directories in various ways: [`std::fs::DirBuilder`] for coroutines.
#[derive(Debug)]
pub struct DirBuilder {
    std: std::fs::DirBuilder,
    recursive: bool,
    mode: u32,
}

impl DirBuilder {
    /// Creates one directory with the default permissions.
    #[must_use]
    pub fn new() -> DirBuilder {
        DirBuilder { std: std::fs::DirBuilder::new(), recursive: false, mode: 0o777 }
    }

    /// Sets whether missing parents are created as well.
    pub fn recursive(&mut self, recursive: bool) -> &mut DirBuilder {
        self.std.recursive(recursive);
        self.recursive = recursive;
        self
    }

    /// Creates the directory. Parks.
    pub fn create(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = &*simulated::real(path.as_ref())?;
        let create = || {
            self.std.create(path)?;
            simulated::done("create_dir_all", &[path]);
            Ok(())
        };
        if self.recursive {
            call(create)
        } else {
            let operation = |[path]: [_; 1]| Operation::CreateDir { path, mode: self.mode };
            call_by_paths([path], operation, create)
        }
    }
}

impl Default for DirBuilder {
    fn default() -> Self {
        DirBuilder::new()
    }
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.std.mode(mode);
        self.mode = mode;
        self
    }
}
