//! An open file.
//!
//! A call that may block for ever must not occupy a thread of the pool, so calls on FIFOs and devices park
//! instead. Which kind a file is, is decided when it is opened.

use super::call::call;
use super::disk::Disk;
use super::in_place;
use super::simulated;
use crate::base::clock;
use crate::coroutine::WaitReason;
use crate::descriptor::PipeEnd;
use crate::netpoll::can_be_watched;
use crate::sched::sleep_until;
use std::fmt;
use std::fs::{FileTimes, FileType, Metadata, Permissions};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

/// An open file: [`std::fs::File`] for coroutines. All its calls park; [the module](super) has their errors
/// and what a cancellation does.
///
/// Reads and writes of a FIFO, a terminal or another device that can be polled do not use the pool: the
/// coroutine parks until the file is ready, and occupies no thread.
///
/// `File` and `&File` implement `Read`, `Write` and `Seek`; `File` implements [`FileExt`] for access at given
/// offsets. A read may return fewer bytes than there are, as std's may: it returns what is cached, at most
/// 128 KiB, before it waits for the disk. Dropping the file closes it in place, without the pool.
pub struct File(Kind);

/// How the calls of a file wait.
enum Kind {
    /// The file is always ready, and a call takes as long as the disk does.
    Disk(Disk),
    /// Parked: the file is a FIFO or a device, which may be ready only after a long time, or never.
    Pollable(PipeEnd),
}

impl Kind {
    /// The kind of a file that was opened elsewhere. Only a FIFO parks: a terminal or device may be shared
    /// with other processes, which rely on its mode.
    fn adopt(file: std::fs::File) -> Kind {
        match file.metadata() {
            Ok(status) if status.file_type().is_fifo() => Kind::Pollable(PipeEnd::new_fifo(file.into())),
            _ => Kind::Disk(Disk::new(file)),
        }
    }

    /// std's file with this descriptor. Dropping it does not close the descriptor.
    fn std(&self) -> Std<'_> {
        match self {
            Kind::Disk(disk) => Std::Borrowed(&disk.file),
            Kind::Pollable(end) => {
                // SAFETY: the descriptor is open for as long as `self` is borrowed, and `ManuallyDrop` does
                // not close it.
                let file = unsafe { std::fs::File::from_raw_fd(end.fd().as_raw_fd()) };
                Std::Temporary(ManuallyDrop::new(file))
            }
        }
    }

    fn into_std(self) -> std::fs::File {
        match self {
            Kind::Disk(disk) => disk.file,
            Kind::Pollable(end) => end.into_fd().expect("a descriptor for the duplicate").into(),
        }
    }
}

/// A borrowed or a temporary file of std, on which to make calls.
enum Std<'a> {
    Borrowed(&'a std::fs::File),
    Temporary(ManuallyDrop<std::fs::File>),
}

impl Deref for Std<'_> {
    type Target = std::fs::File;

    fn deref(&self) -> &std::fs::File {
        match self {
            Std::Borrowed(file) => file,
            Std::Temporary(file) => file,
        }
    }
}

/// A reader, for `Read`'s own loops over single reads.
struct Reads<'a>(&'a PipeEnd);

impl Read for Reads<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(WaitReason::FileRead, buf)
    }
}

impl File {
    /// Opens a file for reading: [`std::fs::File::open`]. Parks as [`OpenOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file for writing; creates or truncates it: [`std::fs::File::create`]. Parks as
    /// [`OpenOptions::open`].
    pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// Creates a file for reading and writing: [`std::fs::File::create_new`]. `AlreadyExists` if it exists.
    /// Parks.
    pub fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    /// The options for opening a file: [`std::fs::File::options`]. Does not park.
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Writes data and metadata to the disk: [`std::fs::File::sync_all`]. Parks.
    pub fn sync_all(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Disk(disk) => disk.sync(false),
            Kind::Pollable(_) => call(|| self.0.std().sync_all()),
        }
    }

    /// Writes data to the disk: [`std::fs::File::sync_data`]. Parks.
    pub fn sync_data(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Disk(disk) => disk.sync(true),
            Kind::Pollable(_) => call(|| self.0.std().sync_data()),
        }
    }

    /// Truncates the file to that length, or extends it with zeros: [`std::fs::File::set_len`]. Parks.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        match &self.0 {
            Kind::Disk(disk) => disk.set_len(size),
            Kind::Pollable(_) => call(|| self.0.std().set_len(size)),
        }
    }

    /// The metadata of the file: [`std::fs::File::metadata`]. Parks unless the file is on a local disk.
    pub fn metadata(&self) -> io::Result<Metadata> {
        match &self.0 {
            Kind::Disk(disk) => disk.metadata(),
            Kind::Pollable(_) => call(|| self.0.std().metadata()),
        }
    }

    /// Another handle to the open file, with which it shares the position: [`std::fs::File::try_clone`].
    /// Handles of a FIFO or a device share the descriptor as well. Does not park.
    pub fn try_clone(&self) -> io::Result<File> {
        match &self.0 {
            Kind::Disk(disk) => disk.try_clone().map(|disk| File(Kind::Disk(disk))),
            Kind::Pollable(end) => Ok(File(Kind::Pollable(end.clone()))),
        }
    }

    /// Changes the permissions: [`std::fs::File::set_permissions`]. Parks.
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        call(|| self.0.std().set_permissions(permissions))
    }

    /// Changes the timestamps: [`std::fs::File::set_times`]. Parks.
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        call(|| self.0.std().set_times(times))
    }

    /// Changes the modification time: [`std::fs::File::set_modified`]. Parks.
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.set_times(FileTimes::new().set_modified(time))
    }

    /// Converts to std's type: blocking, unless the file was opened with `O_NONBLOCK`. Does not park.
    ///
    /// # Panics
    ///
    /// If the file is a FIFO or a device that has other handles, and no descriptor is free for the duplicate.
    pub fn into_std(self) -> std::fs::File {
        self.0.into_std()
    }
}

/// How a file is opened: [`std::fs::OpenOptions`] for coroutines.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    std: std::fs::OpenOptions,
    flags: libc::c_int,
    /// Whether the file is opened to be read, and no other option was ever set.
    reads: bool,
    others: bool,
}

/// The first and the longest pause between two attempts to open a FIFO that has no reader.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

macro_rules! options {
    ($($(#[$attribute:meta])* $name:ident)*) => {$(
        $(#[$attribute])*
        pub fn $name(&mut self, $name: bool) -> &mut OpenOptions {
            self.std.$name($name);
            self.others = true;
            self
        }
    )*};
}

impl OpenOptions {
    /// All options off.
    #[must_use]
    pub fn new() -> OpenOptions {
        OpenOptions { std: std::fs::OpenOptions::new(), flags: 0, reads: false, others: false }
    }

    /// Sets whether the file can be read.
    pub fn read(&mut self, read: bool) -> &mut OpenOptions {
        self.std.read(read);
        self.reads = read;
        self
    }

    options! {
        /// Sets whether the file can be written.
        write
        /// Sets whether each write appends to the file.
        append
        /// Sets whether the file is truncated to length zero.
        truncate
        /// Sets whether the file is created if it is missing.
        create
        /// Sets whether the file has to be created. `AlreadyExists` if it exists.
        create_new
    }

    /// Opens the file: [`std::fs::OpenOptions::open`]. Parks, unless a regular file is opened only to be
    /// read, and its path is cached.
    ///
    /// Opening a FIFO for writing waits until it has a reader. The kernel has no event for that, so the call
    /// tries again, every 50 ms at the latest. Opening a FIFO for reading returns at once, unlike std's; the
    /// first read waits for a writer. The open file of a FIFO is non-blocking.
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds, and no file is left open.
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = &*simulated::real(path.as_ref())?;
        if self.reads
            && !self.others
            && let Some(file) = in_place::open(path, self.flags)
        {
            return Ok(File(Kind::Disk(Disk::local(file?))));
        }
        let (mut pause, longest) = PAUSE;
        loop {
            let attempt = || {
                let opened = self.attempt(path)?;
                opened.iter().for_each(|kind| simulated::opened(&kind.std()));
                Ok(opened)
            };
            if let Some(kind) = call(attempt)? {
                return Ok(File(kind));
            }
            sleep_until(clock::now() + pause, WaitReason::FifoOpen);
            pause = longest.min(pause * 2);
        }
    }

    /// Opens the file; `None` if it is a FIFO that has no reader.
    fn attempt(&self, path: &Path) -> io::Result<Option<Kind>> {
        let kind = path.metadata().map(|status| status.file_type());
        let nonblocking = self.flags & libc::O_NONBLOCK != 0;
        let pollable = |end: PipeEnd| {
            end.set_nonblocking(nonblocking);
            Some(Kind::Pollable(end))
        };
        if kind.as_ref().is_ok_and(FileType::is_fifo) {
            let file = match self.std.clone().custom_flags(self.flags | libc::O_NONBLOCK).open(path) {
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) && !nonblocking => return Ok(None),
                opened => opened?,
            };
            return Ok(pollable(PipeEnd::new_fifo(file.into())));
        }
        let file = self.std.open(path)?;
        let device = kind.is_ok_and(|kind| kind.is_char_device()) && can_be_watched(file.as_fd());
        Ok(if device { pollable(PipeEnd::new(file.into())) } else { Some(Kind::Disk(Disk::opened(file))) })
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions::new()
    }
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.std.mode(mode);
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut Self {
        self.std.custom_flags(flags);
        self.flags = flags;
        self
    }
}

impl Read for &File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Kind::Disk(disk) => disk.read(buf),
            Kind::Pollable(end) => end.read(WaitReason::FileRead, buf),
        }
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match &self.0 {
            Kind::Disk(disk) => disk.read_vectored(bufs),
            Kind::Pollable(end) => end.read_vectored(WaitReason::FileRead, bufs),
        }
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        match &self.0 {
            Kind::Disk(disk) => disk.read_to_end(buf),
            Kind::Pollable(end) => Reads(end).read_to_end(buf),
        }
    }

    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        match &self.0 {
            Kind::Disk(disk) => disk.read_to_string(buf),
            Kind::Pollable(end) => Reads(end).read_to_string(buf),
        }
    }
}

impl Write for &File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Kind::Disk(disk) => disk.write(buf),
            Kind::Pollable(end) => end.write(WaitReason::FileWrite, buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.0 {
            Kind::Disk(disk) => disk.write_vectored(bufs),
            Kind::Pollable(end) => end.write_vectored(WaitReason::FileWrite, bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &self.0 {
            Kind::Disk(disk) => disk.seek(to),
            Kind::Pollable(_) => call(|| (&*self.0.std()).seek(to)),
        }
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buf)
    }

    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(buf)
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

impl FileExt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.0 {
            Kind::Disk(disk) => disk.read_at(buf, offset),
            Kind::Pollable(_) => call(|| self.0.std().read_at(buf, offset)),
        }
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        match &self.0 {
            Kind::Disk(disk) => disk.write_at(buf, offset),
            Kind::Pollable(_) => call(|| self.0.std().write_at(buf, offset)),
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.std().fmt(f)
    }
}

/// A FIFO or pipe becomes non-blocking at the first call, for all duplicates of the descriptor.
impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> File {
        File(Kind::adopt(file))
    }
}

/// As `into_std`.
impl From<File> for std::fs::File {
    fn from(file: File) -> std::fs::File {
        file.into_std()
    }
}

/// A FIFO or pipe becomes non-blocking at the first call, for all duplicates of the descriptor.
impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        File(Kind::adopt(fd.into()))
    }
}

/// As `into_std`.
impl From<File> for OwnedFd {
    fn from(file: File) -> OwnedFd {
        file.into_std().into()
    }
}

/// For a standard stream of a child.
impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        file.into_std().into()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Disk(disk) => disk.file.as_fd(),
            Kind::Pollable(end) => end.fd(),
        }
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl IntoRawFd for File {
    fn into_raw_fd(self) -> RawFd {
        self.into_std().into_raw_fd()
    }
}

impl FromRawFd for File {
    unsafe fn from_raw_fd(fd: RawFd) -> File {
        // SAFETY: passed on to the caller: an open descriptor that nobody else owns.
        File::from(unsafe { std::fs::File::from_raw_fd(fd) })
    }
}
