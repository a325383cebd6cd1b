//! Copying a stream to its end, in one direction or in both.
//!
//! The bytes go through a buffer. `splice(2)`, which leaves them in the kernel, was measured against it: over
//! loopback, a GiB costs the machine 0.7 s of processor time either way, and it takes two pipes
//! a connection. What pays is a large buffer, so it grows where a stream fills it.

use super::shared::{By, ReadShared, WriteShared};
use crate::base::sys::check;
use crate::task::try_scope;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};

/// What a copy begins with: of many connections, most are idle.
const FIRST_BUFFER: usize = 8 << 10;

/// From here on more buys nothing.
const LARGEST_BUFFER: usize = 256 << 10;

/// Copies everything from the reader to the writer, and gives the number of bytes; [`std::io::copy`] with a
/// buffer that grows to 256 KiB where the reader fills it. Parks where the reader and the writer do.
///
/// # Errors
///
/// The first error of either, except `Interrupted`, after which it goes on. What was read and not written is
/// lost.
///
/// # Cancellation
///
/// As that of the reader and the writer; what was read and not written is lost.
///
/// # Examples
///
/// ```
/// use std::io::Write;
///
/// sward::run(|| {
///     let (mut reader, mut writer) = sward::io::pipe()?;
///     let copying = sward::spawn(move || {
///         let mut all = Vec::new();
///         sward::io::copy(&mut reader, &mut all).map(|count| (count, all))
///     });
///     writer.write_all(b"hello")?;
///     drop(writer);
///     assert_eq!(copying.join().unwrap()?, (5, b"hello".to_vec()));
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub fn copy<R: Read + ?Sized, W: Write + ?Sized>(reader: &mut R, writer: &mut W) -> io::Result<u64> {
    let mut buffer = vec![0; FIRST_BUFFER];
    let mut total = 0;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        writer.write_all(&buffer[..count])?;
        total += count as u64;
        if count == buffer.len() && count < LARGEST_BUFFER {
            buffer = vec![0; count * 4];
        }
    }
}

/// Something that can say to its peer that nothing more will be sent, and still receive. As Go's
/// `CloseWrite`.
///
/// Whatever is a socket has it; implement it for streams that are made of sockets, and have no descriptor.
pub trait CloseWrite {
    /// Ends the sending direction. The peer reads the end of the stream.
    ///
    /// # Errors
    ///
    /// The system's: `NotConnected` if the connection is gone.
    fn close_write(&self) -> io::Result<()>;
}

/// `shutdown(2)`, which fails for what is no socket.
impl<T: AsFd> CloseWrite for T {
    fn close_write(&self) -> io::Result<()> {
        // SAFETY: the call takes no pointers.
        check(unsafe { libc::shutdown(self.as_fd().as_raw_fd(), libc::SHUT_WR) }).map(drop)
    }
}

/// Copies both ways between two streams until both have ended, and gives the numbers of bytes from `a` to `b`
/// and from `b` to `a`. Parks.
///
/// When one of them ends, the other one is told by [`close_write`](CloseWrite::close_write), and the opposite
/// direction goes on. The directions run in two coroutines; on a plain thread, in those of the default
/// runtime, as with [`scope`](crate::scope).
///
/// # Errors
///
/// The first error in either direction, which ends the other one as well. What was read and not written is
/// lost. A timeout of a stream is an error of it.
///
/// # Cancellation
///
/// Both directions end, and then the caller unwinds. The streams stay open.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use sward::net::{Shutdown, UnixStream};
///
/// sward::run(|| {
///     let (mut client, a) = UnixStream::pair()?;
///     let (b, mut server) = UnixStream::pair()?;
///     let proxy = sward::spawn(move || sward::io::copy_bidirectional(&a, &b));
///     client.write_all(b"question")?;
///     client.shutdown(Shutdown::Write)?;
///     let mut question = String::new();
///     server.read_to_string(&mut question)?;
///     server.write_all(b"answer")?;
///     drop(server);
///     let mut answer = String::new();
///     client.read_to_string(&mut answer)?;
///     assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
///     assert_eq!(proxy.join().unwrap()?, (8, 6));
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub fn copy_bidirectional<A, B>(a: &A, b: &B) -> io::Result<(u64, u64)>
where
    A: ReadShared + WriteShared + CloseWrite + Sync,
    B: ReadShared + WriteShared + CloseWrite + Sync,
{
    let (mut there, mut back) = (0, 0);
    // Two coroutines, and not one beside the caller: an error of either has to end the wait of the other.
    try_scope(|s| {
        s.spawn(|| one_way(a, b).map(|count| there = count));
        s.spawn(|| one_way(b, a).map(|count| back = count));
        Ok::<(), io::Error>(())
    })?;
    Ok((there, back))
}

/// Copies to the end, and passes that on.
fn one_way<A: ReadShared, B: WriteShared + CloseWrite>(from: &A, to: &B) -> io::Result<u64> {
    let count = copy(&mut By(from), &mut By(to))?;
    match to.close_write() {
        // It is gone, which the opposite direction learns by itself.
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(count),
        done => done.map(|()| count),
    }
}
