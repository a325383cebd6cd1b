//! Files and folders, with the surface of [`std::fs`].
//!
//! A file is always "ready" as far as the kernel's pollers are concerned, and reading it may block for as
//! long as the disk takes. So each call here runs on the pool of [`blocking`](crate::blocking()), while the
//! calling coroutine is parked; on a plain thread it runs in place. That costs a hand-over to another thread
//! and back, some microseconds: read and write in large pieces, through a [`std::io::BufReader`] or
//! [`BufWriter`](std::io::BufWriter), or do several steps in one [`blocking`](crate::blocking()) call of your
//! own.
//!
//! FIFOs and devices may block for as long as nobody writes to them. Opening, reading and writing them does
//! not happen on the pool: the coroutine parks until they are ready, as with a socket, and can be cancelled.
//! One difference from std: opening a FIFO to read it does not wait for a writer; the first read does. A
//! device that cannot be polled is left to the pool, and so is a device that comes from std as an open file:
//! [`io::Pollable`](crate::io::Pollable) waits for these.
//!
//! Errors are std's, and an error if the pool has no thread and can create none. A cancelled coroutine
//! unwinds out of a call that no thread has begun; one that has been begun is awaited and gives its result,
//! so no byte that was read is lost.
//!
//! ```
//! use std::io::{BufRead, BufReader};
//!
//! sward::run(|| {
//!     let file = sward::fs::File::open("Cargo.toml")?;
//!     let first = BufReader::new(file).lines().next().expect("it has a line")?;
//!     assert!(first.starts_with('['));
//!     Ok::<(), std::io::Error>(())
//! })
//! # .unwrap();
//! ```

mod dir;
mod file;
mod lock;

pub use dir::{DirBuilder, DirEntry, ReadDir};
pub use file::{File, OpenOptions};
pub use lock::TryLockError;
#[doc(no_inline)]
pub use std::fs::{FileTimes, FileType, Metadata, Permissions};

use crate::blocking;
use crate::coroutine::WaitReason;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Makes the call on the pool.
fn call<T: Send>(f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    blocking::run(WaitReason::File, f)?
}

macro_rules! functions {
    ($($(#[$attribute:meta])* fn $name:ident($($arg:ident: $kind:ident),*) -> $result:ty;)*) => {$(
        $(#[$attribute])*
        ///
        /// As the function of that name in [`std::fs`]. Parks.
        ///
        /// # Errors
        ///
        /// The system's.
        pub fn $name($($arg: impl AsRef<functions!(@kind $kind)>),*) -> io::Result<$result> {
            $(let $arg = $arg.as_ref();)*
            call(|| std::fs::$name($($arg),*))
        }
    )*};
    (@kind path) => { Path };
}

functions! {
    /// The absolute form of a path, with all links resolved.
    fn canonicalize(path: path) -> PathBuf;
    /// Creates a folder.
    fn create_dir(path: path) -> ();
    /// Creates a folder and those above it that are missing.
    fn create_dir_all(path: path) -> ();
    /// Whether there is something at that path.
    fn exists(path: path) -> bool;
    /// Gives a file a second name.
    fn hard_link(original: path, link: path) -> ();
    /// What the system says of a file, links followed.
    fn metadata(path: path) -> Metadata;
    /// What a link points to.
    fn read_link(path: path) -> PathBuf;
    /// Removes an empty folder.
    fn remove_dir(path: path) -> ();
    /// Removes a folder with all that is in it.
    fn remove_dir_all(path: path) -> ();
    /// Removes a file.
    fn remove_file(path: path) -> ();
    /// Renames a file or folder, in place of what has that name.
    fn rename(from: path, to: path) -> ();
    /// What the system says of a file, a link being one itself.
    fn symlink_metadata(path: path) -> Metadata;
}

/// Makes the call on the pool, unless one of the files is a FIFO or a device, which might keep the thread for
/// ever.
fn call_on_disk<T: Send, const N: usize>(
    paths: [&Path; N],
    f: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<Option<T>> {
    call(|| {
        let waits = |path: &&Path| {
            path.metadata()
                .is_ok_and(|status| status.file_type().is_fifo() || status.file_type().is_char_device())
        };
        if paths.iter().any(waits) { Ok(None) } else { f().map(Some) }
    })
}

/// The contents of a file.
///
/// As the function of that name in [`std::fs`]. Parks.
///
/// # Errors
///
/// The system's.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    if let Some(contents) = call_on_disk([path], || std::fs::read(path))? {
        return Ok(contents);
    }
    let mut contents = Vec::new();
    File::open(path)?.read_to_end(&mut contents)?;
    Ok(contents)
}

/// The contents of a file, which has to be UTF-8.
///
/// As the function of that name in [`std::fs`]. Parks.
///
/// # Errors
///
/// The system's; `InvalidData` if the contents are not UTF-8.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let path = path.as_ref();
    if let Some(contents) = call_on_disk([path], || std::fs::read_to_string(path))? {
        return Ok(contents);
    }
    io::read_to_string(File::open(path)?)
}

/// Writes a file as a whole.
///
/// As the function of that name in [`std::fs`]. Parks.
///
/// # Errors
///
/// The system's.
pub fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    let (path, contents) = (path.as_ref(), contents.as_ref());
    match call_on_disk([path], || std::fs::write(path, contents))? {
        Some(()) => Ok(()),
        None => File::create(path)?.write_all(contents),
    }
}

/// Copies a file's contents and permissions; gives the number of bytes.
///
/// As the function of that name in [`std::fs`]. Parks.
///
/// # Errors
///
/// The system's; `InvalidInput` if `from` is no file.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    let (from, to) = (from.as_ref(), to.as_ref());
    if let Some(count) = call_on_disk([from, to], || std::fs::copy(from, to))? {
        return Ok(count);
    }
    if !metadata(from)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the source path is no file"));
    }
    io::copy(&mut File::open(from)?, &mut File::create(to)?)
}

/// Makes a link that says where else to look.
///
/// As [`std::os::unix::fs::symlink`]. Parks.
///
/// # Errors
///
/// The system's.
pub fn symlink(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    call(|| std::os::unix::fs::symlink(original, link))
}

/// Changes a file's permissions.
///
/// As [`std::fs::set_permissions`]. Parks.
///
/// # Errors
///
/// The system's.
pub fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref();
    call(|| std::fs::set_permissions(path, permissions))
}

/// The entries of a folder.
///
/// As [`std::fs::read_dir`]. Parks, and so does the iterator, once for a number of entries.
///
/// # Errors
///
/// The system's.
///
/// ```
/// sward::run(|| {
///     let names: Vec<_> = sward::fs::read_dir("src")?
///         .map(|entry| Ok(entry?.file_name()))
///         .collect::<std::io::Result<_>>()?;
///     assert!(names.contains(&"lib.rs".into()));
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let path = path.as_ref();
    call(|| std::fs::read_dir(path)).map(ReadDir::new)
}
