//! An open file.
//!
//! A call that may block for ever must not hold a thread of the pool, so FIFOs and devices park. The kind of
//! a file is decided when it is opened.

use super::call;
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
use std::time::{Duration, Instant, SystemTime};

/// An open file, as [`std::fs::File`]. All its calls park; see [the module](super).
///
/// A FIFO, a terminal or another device that can be polled is not read and written on the pool: a coroutine
/// parks until it is ready, and holds no thread.
///
/// `Read`, `Write` and `Seek` are there for `File` and `&File`, and [`FileExt`] for access at given places.
/// Closing (dropping) the file is done in place.
pub struct File(Kind);

/// How the calls of a file wait.
enum Kind {
    /// On the pool: it is always ready, and takes as long as the disk does.
    Disk(std::fs::File),
    /// Parked: it is a FIFO or a device, and may be ready only after a long time, or never.
    Waits(PipeEnd),
}

impl Kind {
    /// For a file that was opened elsewhere. A terminal or device may be shared with other processes, which
    /// rely on its mode, so only FIFOs park.
    fn adopt(file: std::fs::File) -> Kind {
        match file.metadata() {
            Ok(status) if status.file_type().is_fifo() => Kind::Waits(PipeEnd::new_fifo(file.into())),
            _ => Kind::Disk(file),
        }
    }

    /// The file, which is not closed with this.
    fn std(&self) -> Std<'_> {
        match self {
            Kind::Disk(file) => Std::Own(file),
            Kind::Waits(end) => {
                // SAFETY: the descriptor is open for as long as `self` is, and is not closed by what borrows
                // it.
                let lent = unsafe { std::fs::File::from_raw_fd(end.fd().as_raw_fd()) };
                Std::Lent(ManuallyDrop::new(lent))
            }
        }
    }

    fn into_std(self) -> std::fs::File {
        match self {
            Kind::Disk(file) => file,
            Kind::Waits(end) => end.into_fd().expect("a descriptor for the duplicate").into(),
        }
    }
}

/// std's file, for its calls.
enum Std<'a> {
    Own(&'a std::fs::File),
    Lent(ManuallyDrop<std::fs::File>),
}

impl Deref for Std<'_> {
    type Target = std::fs::File;

    fn deref(&self) -> &std::fs::File {
        match self {
            Std::Own(file) => file,
            Std::Lent(file) => file,
        }
    }
}

/// Reads to the end by single reads.
struct Reads<'a>(&'a PipeEnd);

impl Read for Reads<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(WaitReason::FileRead, buf)
    }
}

impl File {
    /// Opens a file to read it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file to write it, made anew or emptied.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// Makes a file to read and write it; there must be none.
    ///
    /// # Errors
    ///
    /// The system's; `AlreadyExists` if there is one.
    pub fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    /// Settings of a file that is to be opened.
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Gets all that was written to the disk, with what the system says of the file.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn sync_all(&self) -> io::Result<()> {
        call(|| self.0.std().sync_all())
    }

    /// Gets all that was written to the disk.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn sync_data(&self) -> io::Result<()> {
        call(|| self.0.std().sync_data())
    }

    /// Cuts the file off, or fills it up with zeros, at that length.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        call(|| self.0.std().set_len(size))
    }

    /// What the system says of the file.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn metadata(&self) -> io::Result<Metadata> {
        call(|| self.0.std().metadata())
    }

    /// A second handle, which shares the place of the next read or write. The handles of a FIFO or a device
    /// share the descriptor, too.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn try_clone(&self) -> io::Result<File> {
        match &self.0 {
            Kind::Disk(file) => file.try_clone().map(|file| File(Kind::Disk(file))),
            Kind::Waits(end) => Ok(File(Kind::Waits(end.clone()))),
        }
    }

    /// Changes the file's permissions.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        call(|| self.0.std().set_permissions(permissions))
    }

    /// Changes the file's times.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        call(|| self.0.std().set_times(times))
    }

    /// Changes the time of the last modification.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.set_times(FileTimes::new().set_modified(time))
    }

    /// The file as std's: blocking, unless it was opened with `O_NONBLOCK`.
    ///
    /// # Panics
    ///
    /// If it is a FIFO or a device of which there are other handles, and no descriptor is free for the
    /// duplicate.
    pub fn into_std(self) -> std::fs::File {
        self.0.into_std()
    }
}

/// How a file is to be opened, as [`std::fs::OpenOptions`].
#[derive(Clone, Debug)]
pub struct OpenOptions {
    std: std::fs::OpenOptions,
    flags: libc::c_int,
}

/// The first and the longest time between two attempts to open a FIFO that nobody reads.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

macro_rules! options {
    ($($(#[$attribute:meta])* $name:ident)*) => {$(
        $(#[$attribute])*
        pub fn $name(&mut self, $name: bool) -> &mut OpenOptions {
            self.std.$name($name);
            self
        }
    )*};
}

impl OpenOptions {
    /// Nothing set.
    #[must_use]
    pub fn new() -> OpenOptions {
        OpenOptions { std: std::fs::OpenOptions::new(), flags: 0 }
    }

    options! {
        /// To read.
        read
        /// To write.
        write
        /// To write at the end.
        append
        /// Emptied.
        truncate
        /// Made if it is missing.
        create
        /// Made, and an error if it is there.
        create_new
    }

    /// Opens the file.
    ///
    /// Opening a FIFO for writing parks until it has a reader. The kernel has no event for that, so the call
    /// tries again, at intervals of up to 50 ms. Opening a FIFO for reading returns at once, unlike std's:
    /// the first read waits for a writer. The open file is non-blocking.
    ///
    /// # Errors
    ///
    /// The system's; `InvalidInput` for settings that contradict one another.
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds, and no file is left open.
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        let (mut pause, longest) = PAUSE;
        loop {
            if let Some(kind) = call(|| self.attempt(path))? {
                return Ok(File(kind));
            }
            sleep_until(Instant::now() + pause, WaitReason::FifoOpen);
            pause = longest.min(pause * 2);
        }
    }

    /// Opens the file, unless that would have to wait for the reader of a FIFO.
    fn attempt(&self, path: &Path) -> io::Result<Option<Kind>> {
        let kind = path.metadata().map(|status| status.file_type());
        let nonblocking = self.flags & libc::O_NONBLOCK != 0;
        let waits = |end: PipeEnd| {
            end.set_nonblocking(nonblocking);
            Some(Kind::Waits(end))
        };
        if kind.as_ref().is_ok_and(FileType::is_fifo) {
            let file = match self.std.clone().custom_flags(self.flags | libc::O_NONBLOCK).open(path) {
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) && !nonblocking => return Ok(None),
                opened => opened?,
            };
            return Ok(waits(PipeEnd::new_fifo(file.into())));
        }
        let file = self.std.open(path)?;
        let device = kind.is_ok_and(|kind| kind.is_char_device()) && can_be_watched(file.as_fd());
        Ok(if device { waits(PipeEnd::new(file.into())) } else { Some(Kind::Disk(file)) })
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
            Kind::Disk(file) => call(|| (&*file).read(buf)),
            Kind::Waits(end) => end.read(WaitReason::FileRead, buf),
        }
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match &self.0 {
            Kind::Disk(file) => call(|| (&*file).read_vectored(bufs)),
            Kind::Waits(end) => end.read_vectored(WaitReason::FileRead, bufs),
        }
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        match &self.0 {
            Kind::Disk(file) => call(|| (&*file).read_to_end(buf)),
            Kind::Waits(end) => Reads(end).read_to_end(buf),
        }
    }

    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        match &self.0 {
            Kind::Disk(file) => call(|| (&*file).read_to_string(buf)),
            Kind::Waits(end) => Reads(end).read_to_string(buf),
        }
    }
}

impl Write for &File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Kind::Disk(file) => call(|| (&*file).write(buf)),
            Kind::Waits(end) => end.write(WaitReason::FileWrite, buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.0 {
            Kind::Disk(file) => call(|| (&*file).write_vectored(bufs)),
            Kind::Waits(end) => end.write_vectored(WaitReason::FileWrite, bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        call(|| (&*self.0.std()).seek(to))
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
        call(|| self.0.std().read_at(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        call(|| self.0.std().write_at(buf, offset))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.std().fmt(f)
    }
}

/// A FIFO or pipe becomes non-blocking at the first call, for all its duplicates.
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

/// A FIFO or pipe becomes non-blocking at the first call, for all its duplicates.
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

/// What a child is to have for a standard stream.
impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        file.into_std().into()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Disk(file) => file.as_fd(),
            Kind::Waits(end) => end.fd(),
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
