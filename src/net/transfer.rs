//! Transfers of bytes and datagrams.
//!
//! Invariant: each call says itself that it must not block. So the mode of the open file does not matter
//! here, and duplicates of the descriptor may be blocking.

use super::addr::{RawAddr, written_by};
use super::socket::{Short, Socket};
use super::sys;
use crate::base::sys::{calls, nonblocking};
use crate::coroutine::WaitReason;
use crate::descriptor::Attempt;
use crate::netpoll::Direction;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::RawFd;
use std::ptr;

/// The most bytes that one call transfers. It is below the kernel's own limit, so a call that transfers less
/// than it was asked to has met the end of the data or of the room, not that limit.
const MAX_LEN: usize = 1 << 30;

/// The most buffers that one call takes: the kernel's limit.
const MAX_BUFFERS: usize = 1024;

/// Whether a receive consumes the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// It does.
    Consume,
    /// The next call receives the datagram again.
    Peek,
}

/// Streams.
impl Socket {
    /// Reads what is available.
    pub(super) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let len = buf.len().min(MAX_LEN);
        self.receive(WaitReason::Read, |fd| {
            // SAFETY: the buffer has room for `len` bytes.
            let got = nonblocking(|| unsafe { calls::recv(fd, buf.as_mut_ptr().cast(), len, sys::RECV) })?;
            Ok(self.received(got, len))
        })
    }

    /// Reads what is available into one buffer after another.
    pub(super) fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let count = bufs.len().min(MAX_BUFFERS);
        let bufs = &mut bufs[..count];
        let len = bufs.iter().fold(0usize, |sum, buf| sum.saturating_add(buf.len()));
        if len == 0 {
            return Ok(0);
        }
        self.receive(WaitReason::Read, |fd| {
            let mut message = message(bufs.as_mut_ptr().cast(), count);
            // SAFETY: `IoSliceMut` has the layout of `iovec`; there are `count` of them, each of a
            // buffer that is borrowed mutably.
            let got = nonblocking(|| unsafe { calls::recvmsg(fd, &raw mut message, sys::RECV) })?;
            Ok(self.received(got, len.min(MAX_LEN)))
        })
    }

    /// Reads what is available, and leaves it for the next read.
    pub(super) fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.receive(WaitReason::Peek, |fd| {
            let len = buf.len().min(MAX_LEN);
            let flags = sys::RECV | libc::MSG_PEEK;
            // SAFETY: the buffer has room for `len` bytes.
            let got = nonblocking(|| unsafe { calls::recv(fd, buf.as_mut_ptr().cast(), len, flags) })?;
            // Never `Drained`: the next read finds the same bytes.
            Ok(got.map_or(Attempt::WouldBlock, |n| Attempt::Done(n as usize)))
        })
    }

    /// Writes what there is room for.
    pub(super) fn write(&self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let len = buf.len().min(MAX_LEN);
        self.file.perform(Direction::Write, WaitReason::Write, |fd| {
            // SAFETY: the buffer has `len` bytes.
            let put = nonblocking(|| unsafe { calls::send(fd, buf.as_ptr().cast(), len, sys::SEND) })?;
            Ok(self.sent(put, len))
        })
    }

    /// Writes what there is room for, from one buffer after another.
    pub(super) fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let bufs = &bufs[..bufs.len().min(MAX_BUFFERS)];
        let len = bufs.iter().fold(0usize, |sum, buf| sum.saturating_add(buf.len()));
        if len == 0 {
            return Ok(0);
        }
        self.file.perform(Direction::Write, WaitReason::Write, |fd| {
            let message = message(bufs.as_ptr().cast(), bufs.len());
            // SAFETY: `IoSlice` has the layout of `iovec`; there are as many as said. The kernel does
            // not write to the message.
            let put = nonblocking(|| unsafe { calls::sendmsg(fd, &raw const message, sys::SEND) })?;
            Ok(self.sent(put, len.min(MAX_LEN)))
        })
    }

    fn receive(
        &self,
        reason: WaitReason,
        attempt: impl FnMut(RawFd) -> io::Result<Attempt<usize>>,
    ) -> io::Result<usize> {
        match self.file.perform(Direction::Read, reason, attempt)? {
            // After `close`, zero does not mean the end of the stream: `close` has interrupted this call.
            0 => self.file.check_open().map(|()| 0),
            got => Ok(got),
        }
    }

    /// What a receive means for the readiness. Zero bytes are the end of the stream, where each call returns
    /// at once.
    fn received(&self, got: Option<isize>, wanted: usize) -> Attempt<usize> {
        match got.map(|n| n as usize) {
            None => Attempt::WouldBlock,
            Some(n) if n == 0 || n >= wanted || self.short == Short::Nothing => Attempt::Done(n),
            Some(n) => Attempt::Drained(n),
        }
    }

    /// What a send means for the readiness.
    fn sent(&self, put: Option<isize>, wanted: usize) -> Attempt<usize> {
        match put.map(|n| n as usize) {
            None => Attempt::WouldBlock,
            Some(n) if n >= wanted || self.short == Short::Nothing => Attempt::Done(n),
            Some(n) => Attempt::Drained(n),
        }
    }
}

/// Datagrams.
impl Socket {
    /// Receives a datagram and its sender's address. The datagram is cut off at the end of the buffer.
    pub(super) fn receive_from(&self, buf: &mut [u8], mode: Receive) -> io::Result<(usize, RawAddr)> {
        let (reason, flags) = match mode {
            Receive::Consume => (WaitReason::ReceiveDatagram, sys::RECV),
            Receive::Peek => (WaitReason::PeekDatagram, sys::RECV | libc::MSG_PEEK),
        };
        let (len, sender) = self.file.perform(Direction::Read, reason, |fd| {
            let (got, sender) = written_by(|address, address_len| {
                let (place, len) = (buf.as_mut_ptr().cast(), buf.len());
                // SAFETY: the buffer has room for `len` bytes and the address for `address_len`, and all
                // live until the call ends.
                nonblocking(|| unsafe { calls::recvfrom(fd, place, len, flags, address, address_len) })
            })?;
            Ok(got.map_or(Attempt::WouldBlock, |n| Attempt::Done((n as usize, sender))))
        })?;
        if len == 0 {
            // After `close`, zero does not mean an empty datagram: `close` has interrupted this call.
            self.file.check_open()?;
        }
        Ok((len, sender))
    }

    /// Receives a datagram, cut off at the end of the buffer.
    pub(super) fn receive_datagram(&self, buf: &mut [u8], mode: Receive) -> io::Result<usize> {
        self.receive_from(buf, mode).map(|(len, _)| len)
    }

    /// Sends a datagram to that address, or to the address that the socket is connected to.
    pub(super) fn send_datagram(&self, buf: &[u8], to: Option<&RawAddr>) -> io::Result<usize> {
        self.file.perform(Direction::Write, WaitReason::SendDatagram, |fd| {
            Ok(try_send(fd, buf, to)?.map_or(Attempt::WouldBlock, Attempt::Done))
        })
    }
}

/// Sends a datagram; `None` if that would block.
pub(super) fn try_send(fd: RawFd, buf: &[u8], to: Option<&RawAddr>) -> io::Result<Option<usize>> {
    let (address, address_len) = to.map_or((ptr::null(), 0), RawAddr::parts);
    let (place, len) = (buf.as_ptr().cast(), buf.len());
    // SAFETY: the buffer has `len` bytes and the address, if there is one, `address_len`; they live until
    // the call ends.
    let put = nonblocking(|| unsafe { calls::sendto(fd, place, len, sys::SEND, address, address_len) })?;
    Ok(put.map(|n| n as usize))
}

/// A message of those buffers, which have the layout of `iovec`.
fn message(buffers: *const libc::iovec, count: usize) -> libc::msghdr {
    // SAFETY: integers and pointers, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = buffers.cast_mut();
    message.msg_iovlen = count as _;
    message
}
