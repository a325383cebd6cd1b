//! An open file.

use super::call;
use std::fmt;
use std::fs::{FileTimes, Metadata, Permissions};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::Stdio;
use std::time::SystemTime;

/// An open file, as [`std::fs::File`]. All its calls park; see [the module](super).
///
/// `Read`, `Write` and `Seek` are there for `File` and `&File`, and [`FileExt`] for access at given places.
/// Closing (dropping) the file is done in place.
pub struct File(std::fs::File);

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
        call(|| self.0.sync_all())
    }

    /// Gets all that was written to the disk.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn sync_data(&self) -> io::Result<()> {
        call(|| self.0.sync_data())
    }

    /// Cuts the file off, or fills it up with zeros, at that length.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        call(|| self.0.set_len(size))
    }

    /// What the system says of the file.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn metadata(&self) -> io::Result<Metadata> {
        call(|| self.0.metadata())
    }

    /// A second handle, which shares the place of the next read or write.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn try_clone(&self) -> io::Result<File> {
        self.0.try_clone().map(File)
    }

    /// Changes the file's permissions.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        call(|| self.0.set_permissions(permissions))
    }

    /// Changes the file's times.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        call(|| self.0.set_times(times))
    }

    /// Changes the time of the last modification.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.set_times(FileTimes::new().set_modified(time))
    }

    /// The file as std's.
    pub fn into_std(self) -> std::fs::File {
        self.0
    }
}

/// How a file is to be opened, as [`std::fs::OpenOptions`].
#[derive(Clone, Debug)]
pub struct OpenOptions(std::fs::OpenOptions);

macro_rules! options {
    ($($(#[$attribute:meta])* $name:ident)*) => {$(
        $(#[$attribute])*
        pub fn $name(&mut self, $name: bool) -> &mut OpenOptions {
            self.0.$name($name);
            self
        }
    )*};
}

impl OpenOptions {
    /// Nothing set.
    #[must_use]
    pub fn new() -> OpenOptions {
        OpenOptions(std::fs::OpenOptions::new())
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
    /// # Errors
    ///
    /// The system's; `InvalidInput` for settings that contradict one another.
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        call(|| self.0.open(path)).map(File)
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions::new()
    }
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.0.mode(mode);
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut Self {
        self.0.custom_flags(flags);
        self
    }
}

impl Read for &File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        call(|| (&self.0).read(buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        call(|| (&self.0).read_vectored(bufs))
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        call(|| (&self.0).read_to_end(buf))
    }

    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        call(|| (&self.0).read_to_string(buf))
    }
}

impl Write for &File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        call(|| (&self.0).write(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        call(|| (&self.0).write_vectored(bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        call(|| (&self.0).seek(to))
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
        call(|| self.0.read_at(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        call(|| self.0.write_at(buf, offset))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> File {
        File(file)
    }
}

impl From<File> for std::fs::File {
    fn from(file: File) -> std::fs::File {
        file.0
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        File(fd.into())
    }
}

impl From<File> for OwnedFd {
    fn from(file: File) -> OwnedFd {
        file.0.into()
    }
}

/// What a child is to have for a standard stream.
impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        file.0.into()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl IntoRawFd for File {
    fn into_raw_fd(self) -> RawFd {
        self.0.into_raw_fd()
    }
}

impl FromRawFd for File {
    unsafe fn from_raw_fd(fd: RawFd) -> File {
        // SAFETY: passed on to the caller: an open descriptor that nobody else owns.
        File(unsafe { std::fs::File::from_raw_fd(fd) })
    }
}
