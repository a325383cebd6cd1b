//! A file on a disk: a regular file, or whatever else is always ready.
//!
//! A read takes the shortest way that succeeds:
//!
//! 1. *In place.* The kernel copies what it has in its page cache, and says so if it would have to wait for
//!    the disk. That costs one system call, and the coroutine stays on its worker.
//! 2. *By the ring*, if the read names its offset and the file is on a local disk: the coroutine parks while
//!    the kernel reads. On other file systems the kernel may make the call in the thread that submits it, or
//!    in one of few threads of its own, and wait for a server or another program.
//! 3. *By the pool.* The coroutine parks while another thread makes the call.
//!
//! A read at the file's position is in place only while no call at it is on the pool ([`Position`]). Such
//! reads do not use the ring. The kernel takes that position without the lock that `read` and `write` hold,
//! so two calls at a time on one open file could get the same bytes.
//!
//! Writes and syncs go by the pool, unless a write bypasses the page cache or the settings say otherwise: in
//! the ring the kernel would give them to threads of its own.
//!
//! A read in place copies at most [`MOST_IN_PLACE`] bytes, since nothing else runs on the worker meanwhile.
//! It consumes the budget of the turn like any call that does not have to wait, and more for many bytes. So a
//! coroutine that only reads cached data lets others go first, after half a megabyte at the latest.
//!
//! On a plain thread each call is std's.

use super::by_ring::{by_ring, may_use_ring};
use super::cached::Cached;
use super::call::{call, needs_no_pool};
use super::position::Position;
use super::simulated;
use super::sys::{bypasses_cache, is_local, read_cached};
use crate::ring::Operation;
use crate::sched::{FileWay, consume_budget, consume_budget_of_copy, count_file_call, may_switch};
use std::fs::{FileType, Metadata};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The most that a read in place copies: about ten microseconds.
const MOST_IN_PLACE: usize = 128 << 10;

/// The first and the largest piece in which a file is read to its end in place.
const PIECE: (usize, usize) = (8 << 10, MOST_IN_PLACE);

/// Whether a file can have that offset. The calls here would take the largest number for the file's position;
/// std's refuse it.
fn is_offset(offset: u64) -> bool {
    i64::try_from(offset).is_ok()
}

/// The file.
pub(super) struct Disk {
    pub(super) file: std::fs::File,
    /// Whether it can be read in place: `UNKNOWN` until its first read, then `YES` or `NO`.
    in_place: AtomicU8,
    /// Whether it is a regular file on a local disk, or a disk itself: likewise, until it was looked at.
    local: AtomicU8,
    /// Whether it was opened with `O_DIRECT`, likewise.
    direct: AtomicU8,
    /// Shared with the file's other handles, as the position itself is.
    position: Arc<Position>,
}

const UNKNOWN: u8 = 0;
const YES: u8 = 1;
const NO: u8 = 2;

/// Whether it is a regular file on a local disk, or a disk itself. It may wait.
fn is_on_local_disk(file: &std::fs::File) -> bool {
    let is_disk = |kind: FileType| kind.is_file() || kind.is_block_device();
    file.metadata().is_ok_and(|status| is_disk(status.file_type())) && is_local(file.as_fd())
}

fn answer(yes: bool) -> u8 {
    if yes { YES } else { NO }
}

impl Disk {
    /// A file that was opened elsewhere.
    pub(super) fn new(file: std::fs::File) -> Disk {
        let [in_place, local, direct] = [const { AtomicU8::new(UNKNOWN) }; 3];
        Disk { file, in_place, local, direct, position: Arc::default() }
    }

    /// Looks at the file, which may wait.
    pub(super) fn opened(file: std::fs::File) -> Disk {
        Disk { local: AtomicU8::new(answer(is_on_local_disk(&file))), ..Disk::new(file) }
    }

    /// A regular file on a local disk.
    pub(super) fn local(file: std::fs::File) -> Disk {
        Disk { local: AtomicU8::new(YES), ..Disk::new(file) }
    }

    pub(super) fn try_clone(&self) -> io::Result<Disk> {
        let [in_place, local, direct] = [&self.in_place, &self.local, &self.direct]
            .map(|known| AtomicU8::new(known.load(Ordering::Relaxed)));
        let position = Arc::clone(&self.position);
        Ok(Disk { file: self.file.try_clone()?, in_place, local, direct, position })
    }

    /// Makes a call at the file's position on the pool.
    fn call_at_position<T: Send>(&self, f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        call(|| self.position.call(f))
    }

    /// Moves the file's position. Parks.
    pub(super) fn seek(&self, to: SeekFrom) -> io::Result<u64> {
        self.call_at_position(|| (&self.file).seek(to))
    }

    /// The metadata. Parks unless the file is known to be on a local disk.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        if self.local.load(Ordering::Relaxed) == YES && needs_no_pool() {
            consume_budget();
            count_file_call(FileWay::OnWorker);
            return self.file.metadata();
        }
        call(|| {
            self.look();
            self.file.metadata()
        })
    }

    /// Whether it is on a local disk. It may wait, unless it was called before.
    fn look(&self) -> bool {
        let mut known = self.local.load(Ordering::Relaxed);
        if known == UNKNOWN {
            known = answer(is_on_local_disk(&self.file));
            self.local.store(known, Ordering::Relaxed);
        }
        known == YES
    }

    /// Whether the kernel makes calls on the file in a ring as it should: the thread that submits them does
    /// not wait for another program or machine, and a file that has no offsets is refused. Parks for the
    /// first call on a file that was opened elsewhere. `pays`: whether the ring is faster.
    fn suits_ring(&self, pays: bool) -> bool {
        if !may_use_ring(pays) {
            return false;
        }
        match self.local.load(Ordering::Relaxed) {
            UNKNOWN => call(|| Ok(self.look())).unwrap_or(false),
            known => known == YES,
        }
    }

    /// Reads at the file's position. Parks unless the data is cached.
    pub(super) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(read) = self.read_one_in_place(buf, None) {
            return Ok(read);
        }
        self.call_at_position(|| (&self.file).read(buf))
    }

    /// As `read`, into several buffers.
    pub(super) fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self.read_in_place(bufs, None) {
            Some(read) => Ok(read),
            None => self.call_at_position(|| (&self.file).read_vectored(bufs)),
        }
    }

    /// As `read`, at that offset. The file's position stays.
    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(read) = self.read_one_in_place(buf, Some(offset)) {
            return Ok(read);
        }
        let (fd, len) = (self.file.as_raw_fd(), buf.len());
        let read = Operation::Read { fd, buf: buf.as_mut_ptr(), len, offset };
        if is_offset(offset) && self.suits_ring(true) {
            // SAFETY: the buffer is exclusively borrowed.
            if let Some(done) = unsafe { by_ring(&read) } {
                return done;
            }
        }
        call(|| self.file.read_at(buf, offset))
    }

    /// Writes at the file's position.
    pub(super) fn write(&self, buf: &[u8]) -> io::Result<usize> {
        self.call_at_position(|| {
            let buf = &buf[..simulated::writable(&self.file, None, buf.len())?];
            let count = (&self.file).write(buf)?;
            simulated::wrote(&self.file, None, &buf[..count])?;
            Ok(count)
        })
    }

    /// As `write`, from several buffers.
    pub(super) fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if simulated::is_on() {
            return self.write(bufs.iter().find(|buf| !buf.is_empty()).map_or(&[], |buf| buf));
        }
        self.call_at_position(|| (&self.file).write_vectored(bufs))
    }

    /// Sets the length.
    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        let operation = Operation::SetLen { fd: self.file.as_raw_fd(), len };
        if is_offset(len) && self.suits_ring(false) {
            // SAFETY: it points to nothing.
            if let Some(done) = unsafe { by_ring(&operation) } {
                return done.map(drop);
            }
        }
        call(|| {
            self.file.set_len(len)?;
            simulated::set_len(&self.file, len);
            Ok(())
        })
    }

    /// Writes at that offset. The file's position stays.
    pub(super) fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let (fd, len) = (self.file.as_raw_fd(), buf.len());
        let write = Operation::Write { fd, buf: buf.as_ptr(), len, offset };
        if is_offset(offset) && self.suits_ring(self.bypasses_cache()) {
            // SAFETY: the buffer is borrowed.
            if let Some(done) = unsafe { by_ring(&write) } {
                return done;
            }
        }
        call(|| {
            let buf = &buf[..simulated::writable(&self.file, Some(offset), buf.len())?];
            let count = self.file.write_at(buf, offset)?;
            simulated::wrote(&self.file, Some(offset + count as u64), &buf[..count])?;
            Ok(count)
        })
    }

    /// Writes to the disk what the file holds; with `data_only` not all of its metadata.
    pub(super) fn sync(&self, data_only: bool) -> io::Result<()> {
        if simulated::is_on() {
            // What is written from here on is none of its business.
            let changes = simulated::sync_begins(&self.file);
            return call(|| simulated::sync(&self.file, changes));
        }
        let operation = Operation::Sync { fd: self.file.as_raw_fd(), data_only };
        // SAFETY: it points to nothing.
        match self.suits_ring(false).then(|| unsafe { by_ring(&operation) }).flatten() {
            Some(done) => done.map(drop),
            None if data_only => call(|| self.file.sync_data()),
            None => call(|| self.file.sync_all()),
        }
    }

    /// Reads from the file's position to its end, and appends what it reads.
    pub(super) fn read_to_end(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let before = buf.len();
        let (mut piece, largest) = PIECE;
        while self.may_read_in_place() {
            consume_budget();
            buf.reserve(piece);
            let spare = buf.spare_capacity_mut();
            let room = libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: spare.len().min(largest) };
            let read = self.position.read_in_place(|| {
                // SAFETY: the buffer is exclusively borrowed and has room for that many bytes.
                unsafe { read_cached(self.file.as_fd(), &raw const room, 1, None) }
            });
            match read.and_then(|read| self.outcome(read)) {
                None => break,
                Some(0) => return Ok(buf.len() - before),
                // SAFETY: the kernel has written that many bytes.
                Some(read) => unsafe { buf.set_len(buf.len() + read) },
            }
            piece = largest.min(piece * 2);
        }
        self.call_at_position(|| (&self.file).read_to_end(buf))?;
        Ok(buf.len() - before)
    }

    /// As `read_to_end`, for text. On an error, nothing is appended.
    pub(super) fn read_to_string(&self, buf: &mut String) -> io::Result<usize> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8"))?;
        let len = text.len();
        if buf.is_empty() {
            *buf = text
        } else {
            buf.push_str(&text)
        }
        Ok(len)
    }

    /// Whether reads and writes wait for the disk. The kernel then makes them by itself; others it gives to a
    /// thread of its own, which is no faster than the pool.
    fn bypasses_cache(&self) -> bool {
        let mut known = self.direct.load(Ordering::Relaxed);
        if known == UNKNOWN {
            known = if bypasses_cache(self.file.as_fd()) { YES } else { NO };
            self.direct.store(known, Ordering::Relaxed);
        }
        known == YES
    }

    fn may_read_in_place(&self) -> bool {
        let known = match self.in_place.load(Ordering::Relaxed) {
            UNKNOWN => self.find_out(),
            known => known,
        };
        known == YES && may_switch()
    }

    #[cold]
    fn find_out(&self) -> u8 {
        let known = if self.bypasses_cache() || simulated::is_in_simulation() { NO } else { YES };
        self.in_place.store(known, Ordering::Relaxed);
        known
    }

    /// As `read_in_place`, into one buffer. Not if that is empty: the call is one for several buffers, and
    /// with no room in them it finds 0 bytes in a directory, where `read` fails.
    fn read_one_in_place(&self, buf: &mut [u8], offset: Option<u64>) -> Option<usize> {
        if buf.is_empty() {
            return None;
        }
        self.read_in_place(&mut [IoSliceMut::new(buf)], offset)
    }

    /// Reads what is cached, up to the limit; `None` if the caller has to wait.
    fn read_in_place(&self, bufs: &mut [IoSliceMut<'_>], offset: Option<u64>) -> Option<usize> {
        if !self.may_read_in_place() || !offset.is_none_or(is_offset) {
            return None;
        }
        consume_budget();
        let mut sum = 0;
        let whole = bufs.iter().take_while(|buf| {
            sum += buf.len();
            sum <= MOST_IN_PLACE
        });
        let (count, fd) = (whole.count(), self.file.as_fd());
        let mut read = || match count {
            0 if !bufs.is_empty() => {
                let room = libc::iovec { iov_base: bufs[0].as_mut_ptr().cast(), iov_len: MOST_IN_PLACE };
                // SAFETY: the buffer is exclusively borrowed, and longer than that.
                unsafe { read_cached(fd, &raw const room, 1, offset) }
            }
            // SAFETY: an `IoSliceMut` is an `iovec`. The buffers are exclusively borrowed, and there are at
            // least that many.
            count => unsafe { read_cached(fd, bufs.as_mut_ptr().cast(), count, offset) },
        };
        let read = if offset.is_some() { read() } else { self.position.read_in_place(read)? };
        self.outcome(read)
    }

    fn outcome(&self, read: Cached) -> Option<usize> {
        match read {
            Cached::Read(read) => {
                count_file_call(FileWay::OnWorker);
                consume_budget_of_copy(read);
                Some(read)
            }
            Cached::No => None,
            Cached::Unsupported => {
                self.in_place.store(NO, Ordering::Relaxed);
                None
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::runtime::Builder;
    use std::sync::mpsc::channel;
    use std::thread;

    /// A read in place would wait for the lock of the position, which the call on the pool has.
    #[test]
    fn a_read_in_place_makes_way_for_a_call_at_the_position() {
        let disk = Disk::new(std::fs::File::open(std::env::current_exe().expect("a path")).expect("a file"));
        let runtime = Builder::new().worker_threads(1).build().expect("a runtime");
        let read = || runtime.run(|| disk.read_in_place(&mut [IoSliceMut::new(&mut [0; 16])], None));
        assert!(read().is_some() || !disk.may_read_in_place(), "what runs is cached");
        let ((began, begins), (end, ends)) = (channel(), channel());
        thread::scope(|scope| {
            let position = &disk.position;
            scope.spawn(move || position.call(|| began.send(()).map(|()| ends.recv())));
            begins.recv().expect("it begins");
            assert!(read().is_none());
            let at = runtime.run(|| disk.read_in_place(&mut [IoSliceMut::new(&mut [0; 16])], Some(0)));
            assert!(at.is_some() || !disk.may_read_in_place(), "at an offset nothing waits");
            end.send(()).expect("it waits");
        });
        assert!(disk.position.is_free());
    }
}
