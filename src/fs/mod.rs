//! Files and directories: [`std::fs`] for coroutines.
//!
//! Regular files have no readiness: the kernel's pollers report them as always ready, and a read may still
//! block for as long as the disk takes. So a call here takes the shortest of three ways that does not keep
//! the worker. [`WorkerMetrics`](crate::runtime::WorkerMetrics) counts each, and says what became of the
//! ring. On a plain thread a call runs in place.
//!
//! 1. *In place*, on Linux, while the kernel says that it has all in memory: reads of an open file, at most
//!    128 KiB at a time; [`metadata`], [`exists`], and opening a regular file to read it, so also [`read`],
//!    on ext4, XFS, btrfs, F2FS and tmpfs (Linux 5.12). That costs as much as on a thread.
//! 2. *By io_uring* (Linux 5.6), on ext4, XFS, btrfs, F2FS and tmpfs: reads that name their offset, as
//!    [`FileExt`](std::os::unix::fs::FileExt) does, and such writes of a file that was opened with
//!    `O_DIRECT`. The kernel makes the call while the coroutine is parked. Each worker makes its ring when a
//!    call first needs one. Where the system refuses that, or does not know a call, the pool makes it.
//!    `SWARD_IO_URING=0` in the environment switches it off. With `SWARD_IO_URING=1` more calls use it: all
//!    writes at offsets, syncs, [`File::set_len`], and on any file system [`rename`], [`remove_file`],
//!    [`remove_dir`], [`create_dir`], [`hard_link`] and [`symlink`]. These occupy threads of the kernel in
//!    place of those of the pool, at most four for each processor. They take less processor time, but a lone
//!    caller may wait longer.
//! 3. *On the pool* of [`blocking`](crate::blocking()), while the coroutine is parked: all else. The
//!    hand-over to another thread and back costs some microseconds. Write in large pieces, through a
//!    [`BufWriter`](std::io::BufWriter), or do several steps in one [`blocking`](crate::blocking()) call of
//!    your own.
//!
//! FIFOs and devices may block for as long as nobody writes to them. They do not use the pool: the coroutine
//! parks until they are ready, as with a socket, and can be cancelled. One difference from std: opening a
//! FIFO to read it does not wait for a writer; the first read does. Two kinds of device still use the pool: a
//! device that cannot be polled, and a device that was opened by std. [`io::Pollable`](crate::io::Pollable)
//! waits for the latter.
//!
//! Two limits. If a program decides about each access to files (fanotify, as virus scanners do), opening and
//! reading in place keeps the worker until that program has answered. And while a worker has calls in its
//! ring, a call of std that blocks its thread for a limited time, such as a receive of `std::net` with
//! `set_read_timeout`, may fail with `Interrupted`.
//!
//! # Errors
//!
//! Those of std's function. Also an error if the pool has no thread and cannot create one.
//!
//! # Cancellation
//!
//! A cancelled coroutine unwinds out of a call that nobody has begun. A call that has begun is awaited and
//! returns its result, so no byte that was read is lost. In a ring the kernel is asked to cancel it, and its
//! end is awaited all the same: until then the kernel may use the caller's buffer.
//!
//! # Examples
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

// Rank 9. `call` has the way to the pool. `file` decides which files park instead; `disk` reads the others in
// place if it can, or leaves a call to the kernel (`by_ring`); `in_place` opens files and asks for metadata
// without a wait; `lock` tries again and again, since `flock(2)` has no event. `position` says who uses the
// position of a file. `dir` has directories. `cached` is the result of a call that did not wait. `simulated`:
// files of simulated hosts. `sys`: what systems supply beyond POSIX.

mod by_ring;
mod cached;
mod call;
mod dir;
mod disk;
mod file;
mod in_place;
mod lock;
mod position;
mod simulated;
mod sys;

pub use dir::{DirBuilder, DirEntry, ReadDir};
pub use file::{File, OpenOptions};
pub use lock::TryLockError;
#[doc(no_inline)]
pub use std::fs::{FileTimes, FileType, Metadata, Permissions};

use crate::ring::Operation;
use by_ring::call_by_paths;
use call::{call, call_on_disk};
use disk::Disk;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

macro_rules! functions {
    ($($(#[$attribute:meta])* fn $name:ident($($arg:ident),*) $(by $operation:expr)?;)*) => {$(
        $(#[$attribute])*
        #[doc = concat!("\n\nAs [`std::fs::", stringify!($name), "`]. Parks.")]
        pub fn $name($($arg: impl AsRef<Path>),*) -> io::Result<()> {
            $(let $arg = &*simulated::real($arg.as_ref())?;)*
            let f = || {
                let paths = [$(simulated::resolved($arg)),*];
                std::fs::$name($($arg),*)?;
                simulated::done(stringify!($name), &paths.each_ref().map(|path| &**path));
                Ok(())
            };
            functions!(@call [$($arg),*] f $($operation)?)
        }
    )*};
    (@call $paths:tt $f:ident $operation:expr) => { call_by_paths($paths, $operation, $f) };
    (@call $paths:tt $f:ident) => { call($f) };
}

functions! {
    /// Creates a directory.
    fn create_dir(path) by |[path]| Operation::CreateDir { path, mode: 0o777 };
    /// Creates a directory and all missing parents.
    fn create_dir_all(path);
    /// Creates a hard link.
    fn hard_link(original, link) by |[original, link]| Operation::HardLink { original, link };
    /// Removes an empty directory.
    fn remove_dir(path) by |[path]| Operation::Remove { path, directory: true };
    /// Removes a directory with everything in it.
    fn remove_dir_all(path);
    /// Removes a file.
    fn remove_file(path) by |[path]| Operation::Remove { path, directory: false };
    /// Renames a file or directory, and replaces what had the new name.
    fn rename(from, to) by |[from, to]| Operation::Rename { from, to };
}

/// The absolute form of a path, with all links resolved.
///
/// As [`std::fs::canonicalize`]. Parks.
pub fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = &*simulated::real(path.as_ref())?;
    call(|| std::fs::canonicalize(path)).map(simulated::shown)
}

/// The target of a symbolic link.
///
/// As [`std::fs::read_link`]. Parks.
pub fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = &*simulated::real(path.as_ref())?;
    call(|| std::fs::read_link(path)).map(simulated::shown)
}

/// The metadata of a file. Follows links.
///
/// As [`std::fs::metadata`]. Parks unless what it takes is cached.
pub fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = &*simulated::real(path.as_ref())?;
    in_place::metadata(path, true).unwrap_or_else(|| call(|| std::fs::metadata(path)))
}

/// The metadata of a file or of a symbolic link itself.
///
/// As [`std::fs::symlink_metadata`]. Parks unless what it takes is cached.
pub fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = &*simulated::real(path.as_ref())?;
    in_place::metadata(path, false).unwrap_or_else(|| call(|| std::fs::symlink_metadata(path)))
}

/// Whether something exists at that path.
///
/// As [`std::fs::exists`]. Parks unless what it takes is cached.
pub fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
    let path = &*simulated::real(path.as_ref())?;
    match in_place::metadata(path, true) {
        Some(Ok(_)) => Ok(true),
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        _ => call(|| std::fs::exists(path)),
    }
}

/// The contents of a file.
///
/// As [`std::fs::read`]. Parks unless what it takes is cached.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let shown = path.as_ref();
    let path = &*simulated::real(shown)?;
    if let Some(file) = in_place::open(path, 0) {
        let mut contents = Vec::new();
        Disk::local(file?).read_to_end(&mut contents)?;
        return Ok(contents);
    }
    if let Some(contents) = call_on_disk([path], || std::fs::read(path))? {
        return Ok(contents);
    }
    let mut contents = Vec::new();
    File::open(shown)?.read_to_end(&mut contents)?;
    Ok(contents)
}

/// The contents of a file as text. `InvalidData` if they are not UTF-8.
///
/// As [`std::fs::read_to_string`]. Parks unless what it takes is cached.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let shown = path.as_ref();
    let path = &*simulated::real(shown)?;
    if let Some(file) = in_place::open(path, 0) {
        let mut contents = String::new();
        Disk::local(file?).read_to_string(&mut contents)?;
        return Ok(contents);
    }
    if let Some(contents) = call_on_disk([path], || std::fs::read_to_string(path))? {
        return Ok(contents);
    }
    io::read_to_string(File::open(shown)?)
}

/// Writes the whole contents of a file, which is created if it is missing.
///
/// As [`std::fs::write`]. Parks.
pub fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    let (path, contents) = (path.as_ref(), contents.as_ref());
    if simulated::is_on() {
        return File::create(path)?.write_all(contents);
    }
    match call_on_disk([path], || std::fs::write(path, contents))? {
        Some(()) => Ok(()),
        None => File::create(path)?.write_all(contents),
    }
}

/// Copies the contents and permissions of a file, and returns the number of bytes. `InvalidInput` if `from`
/// is not a regular file.
///
/// As [`std::fs::copy`]. Parks.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    let (from, to) = (from.as_ref(), to.as_ref());
    if !simulated::is_on()
        && let Some(count) = call_on_disk([from, to], || std::fs::copy(from, to))?
    {
        return Ok(count);
    }
    if !metadata(from)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the source path is no file"));
    }
    io::copy(&mut File::open(from)?, &mut File::create(to)?)
}

/// Creates a symbolic link.
///
/// As [`std::os::unix::fs::symlink`]. Parks.
pub fn symlink(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    let link = &*simulated::real(link.as_ref())?;
    // A relative target stays what it is.
    let original = original.as_ref();
    let original = &*if original.is_absolute() { simulated::real(original)? } else { original.into() };
    let operation = |[original, link]: [_; 2]| Operation::Symlink { original, link };
    call_by_paths([original, link], operation, || {
        std::os::unix::fs::symlink(original, link)?;
        simulated::done("symlink", &[original, link]);
        Ok(())
    })
}

/// Changes the permissions of a file.
///
/// As [`std::fs::set_permissions`]. Parks.
pub fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> io::Result<()> {
    let path = &*simulated::real(path.as_ref())?;
    call(|| std::fs::set_permissions(path, permissions))
}

/// The entries of a directory.
///
/// As [`std::fs::read_dir`]. Parks. The iterator fetches 64 entries at a time, and parks whenever it does.
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
    ReadDir::open(&simulated::real(path.as_ref())?)
}
