//! Reading and writing descriptors that other processes share: the standard streams.
//!
//! The shell and other processes share the open files of these streams. So sward leaves their mode alone, and
//! they may be blocking. A worker never makes a call that might block:
//!
//! 1. It makes the call in a form that does not block ([`sys`](super::sys)). Linux has one for pipes,
//!    sockets, and files whose data is in memory.
//! 2. If that call would have blocked, the coroutine parks until the stream is ready, in the shard as for any
//!    other source, and can be cancelled.
//! 3. Where no such form exists (terminals, other systems, disks), the coroutine parks until the stream is
//!    ready, and then a thread of the pool of [`blocking()`] makes the plain call. That call should return at
//!    once, but it may block all the same: another process may take the input first, and a terminal reports
//!    room when it has only a little. A pipe that is ready has room for [`PIECE`] bytes.
//!
//! A plain thread takes the same steps, and blocks where a coroutine parks. Its waits in step 2 obey a time
//! limit.

use super::sys::{read_nowait, write_nowait};
use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::base::sys::{check, retry};
use crate::blocking;
use crate::coroutine::WaitReason;
use crate::descriptor::{Attempt, OpenFile};
use crate::netpoll::{Direction, Source, is_ready};
use crate::sched::{consume_budget_of_file, interruption, sleep_until};
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, RawFd};

/// The most bytes that one plain call writes to a pipe or a terminal.
#[allow(clippy::unnecessary_cast, reason = "it is an `i32` on illumos")]
const PIECE: usize = libc::PIPE_BUF as usize;

/// One transfer.
enum Transfer<'a> {
    Read(&'a mut [u8]),
    Write(&'a [u8]),
}

/// Reads what is available. Parks.
pub(super) fn read(fd: RawFd, reason: WaitReason, buf: &mut [u8]) -> io::Result<usize> {
    if buf.is_empty() { Ok(0) } else { Transfer::Read(buf).perform(fd, reason) }
}

/// Writes as much as there is room for. Parks.
pub(super) fn write(fd: RawFd, reason: WaitReason, buf: &[u8]) -> io::Result<usize> {
    if buf.is_empty() { Ok(0) } else { Transfer::Write(buf).perform(fd, reason) }
}

/// Writes. Blocks the thread while the stream has no room.
pub(super) fn write_now(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of the buffer.
    retry(|| unsafe { libc::write(fd, buf.as_ptr().cast(), buf.len()) }).map(|count| count as usize)
}

fn read_now(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of the buffer.
    retry(|| unsafe { libc::read(fd, buf.as_mut_ptr().cast(), buf.len()) }).map(|count| count as usize)
}

impl Transfer<'_> {
    fn perform(mut self, fd: RawFd, reason: WaitReason) -> io::Result<usize> {
        consume_budget_of_file()?;
        let mut backoff = Backoff::new();
        loop {
            let disk = match self.without_waiting(fd) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => is_disk(fd)?,
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    let disk = is_disk(fd)?;
                    if !disk {
                        self.wait(fd, reason, &mut backoff)?;
                    }
                    match blocking::run(WaitReason::StdioCall, || self.plainly(fd, disk))? {
                        // Another process has made the open file non-blocking, and has taken the data or the
                        // room.
                        Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                        done => return done,
                    }
                }
                done => return done,
            };
            if disk {
                return blocking::run(WaitReason::StdioCall, || self.plainly(fd, disk))?;
            }
            self.wait(fd, reason, &mut backoff)?;
        }
    }

    fn direction(&self) -> Direction {
        match self {
            Transfer::Read(_) => Direction::Read,
            Transfer::Write(_) => Direction::Write,
        }
    }

    fn without_waiting(&mut self, fd: RawFd) -> io::Result<usize> {
        match self {
            Transfer::Read(buf) => read_nowait(fd, buf),
            Transfer::Write(buf) => write_nowait(fd, buf),
        }
    }

    fn plainly(&mut self, fd: RawFd, disk: bool) -> io::Result<usize> {
        match self {
            Transfer::Read(buf) => read_now(fd, buf),
            Transfer::Write(buf) if disk => write_now(fd, buf),
            Transfer::Write(buf) => write_now(fd, &buf[..buf.len().min(PIECE)]),
        }
    }

    /// Waits until the descriptor is ready.
    ///
    /// Each wait watches a duplicate of its own: the descriptor may be closed or replaced meanwhile, and
    /// several coroutines may wait for it. If `poll(2)` reports the descriptor as ready although the transfer
    /// would block, this naps instead. All waits of one transfer share the `backoff`.
    fn wait(&self, fd: RawFd, reason: WaitReason, backoff: &mut Backoff) -> io::Result<()> {
        // SAFETY: the calls below fail if the descriptor is not open, and nothing else is done with it.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        if let Some(why) = interruption() {
            return Err(why.into());
        }
        if is_ready(fd, self.direction())? {
            let nap = backoff.nap();
            if !nap.is_zero() {
                sleep_until(clock::now() + nap, reason);
            }
            return Ok(());
        }
        backoff.wait();
        // Nobody reads or writes through the duplicate, so the source need not change the mode, which is
        // shared.
        let file = OpenFile::new(Source::new_nonblocking(fd.try_clone_to_owned()?));
        file.perform(self.direction(), reason, |_| {
            let ready = is_ready(file.fd(), self.direction())?;
            Ok(if ready { Attempt::Done(()) } else { Attempt::WouldBlock })
        })
    }
}

/// Whether it is a file, a directory or a disk, which are always "ready".
fn is_disk(fd: RawFd) -> io::Result<bool> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `status` lives until the call ends.
    check(unsafe { libc::fstat(fd, status.as_mut_ptr()) })?;
    // SAFETY: the call has filled it in.
    let kind = unsafe { status.assume_init() }.st_mode & libc::S_IFMT;
    Ok(matches!(kind, libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::io::{PipeWriter, Write};
    use std::os::fd::AsRawFd;

    /// As for a terminal: the wait, and then the plain call on the pool.
    #[test]
    fn the_plain_call_is_made_once_the_stream_is_ready() {
        crate::run(|| {
            let (reader, mut writer) = io::pipe().expect("a pipe");
            let fd = reader.as_raw_fd();
            let parked = crate::spawn(move || {
                let mut buf = [0; 8];
                let mut transfer = Transfer::Read(&mut buf);
                transfer.wait(fd, WaitReason::Stdin, &mut Backoff::new())?;
                let count = blocking::run(WaitReason::StdioCall, || transfer.plainly(fd, false))??;
                Ok::<_, io::Error>(buf[..count].to_vec())
            });
            crate::sleep(std::time::Duration::from_millis(5));
            writer.write_all(b"hello").expect("room");
            assert_eq!(parked.join().expect("no panic").expect("read"), b"hello");
        });
    }

    #[test]
    fn a_call_that_may_block_writes_no_more_than_there_is_room_for() {
        let (_reader, writer): (_, PipeWriter) = io::pipe().expect("a pipe");
        let fd = writer.as_raw_fd();
        let large = vec![7; 1 << 20];
        crate::run(|| {
            assert_eq!(Transfer::Write(&large).plainly(fd, false).expect("room"), PIECE);
        });
    }

    /// `poll(2)` reports a socket with something in its error queue as ready, although it has nothing to
    /// read.
    #[test]
    fn a_stream_in_error_neither_spins_nor_hides_the_limit() {
        let closed =
            std::net::UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("an address");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let (fd, on) = (socket.as_raw_fd(), 1 as libc::c_int);
        let len = size_of_val(&on) as libc::socklen_t;
        // SAFETY: the value lives until the call ends.
        check(unsafe {
            libc::setsockopt(fd, libc::IPPROTO_IP, libc::IP_RECVERR, (&raw const on).cast(), len)
        })
        .expect("set");
        socket.connect(closed).expect("connected");
        socket.send(b"x").expect("sent");
        assert_eq!(socket.recv(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        // Elsewhere the plain call blocks, as step 3 says.
        if read_nowait(fd, &mut [0; 8]).unwrap_err().kind() == ErrorKind::Unsupported {
            println!("skipped: this system has no reads of sockets that do not block");
            return;
        }
        let test = || {
            let read = || read(fd, WaitReason::Stdin, &mut [0; 8]);
            assert!(crate::time::timeout(std::time::Duration::from_millis(20), read).is_err());
        };
        test();
        crate::run(test);
    }
}
