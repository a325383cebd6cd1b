//! Buffers for what is read ahead: pools of them, one for each worker.
//!
//! A connection gets a buffer when its handler asks for one, and the pool gets it back when the handler
//! returns. Bytes that were not consumed move to a box of their size.

use crate::sched::worker_index;
use std::time::Instant;

/// The bytes of a lent buffer.
const BUFFER: usize = 16 * 1024;
/// How many buffers the pool of a worker keeps.
const POOLED: usize = 16;

/// Buffers of one worker. The lock is for workers that are stolen from, and plain threads.
#[derive(Default)]
#[repr(align(64))]
#[expect(clippy::vec_box, reason = "a connection has the box itself")]
struct Pool(parking_lot::Mutex<Vec<Box<Buffer>>>);

/// The buffers of a server, by worker.
pub(super) struct Pools(Box<[Pool]>);

impl Pools {
    /// A pool for each worker.
    pub(super) fn new(workers: usize) -> Pools {
        Pools((0..workers).map(|_| Pool::default()).collect())
    }

    fn here(&self) -> &Pool {
        &self.0[worker_index().unwrap_or(0) % self.0.len()]
    }

    fn lend(&self) -> Box<Buffer> {
        let pooled = self.here().0.lock().pop();
        pooled.unwrap_or_else(|| Box::new(Buffer::with(vec![0; BUFFER].into_boxed_slice())))
    }

    /// Sees to it that the connection has a buffer with room, and returns it.
    pub(super) fn lend_to<'a>(&self, buffer: &'a mut Option<Box<Buffer>>) -> &'a mut Buffer {
        if buffer.as_ref().is_none_or(|buffer| buffer.bytes.len() < BUFFER) {
            let mut lent = self.lend();
            if let Some(small) = buffer {
                let unread = small.unread();
                lent.bytes[..unread.len()].copy_from_slice(unread);
                lent.end = unread.len();
            }
            *buffer = Some(lent);
        }
        buffer.as_deref_mut().expect("just lent, if there was none")
    }

    pub(super) fn take_back(&self, mut buffer: Box<Buffer>) {
        // One that has grown is freed, as is one that a connection had while it waited.
        if buffer.bytes.len() != BUFFER {
            return;
        }
        buffer.clear();
        let mut pool = self.here().0.lock();
        if pool.len() < POOLED {
            pool.push(buffer);
        }
    }
}

/// Bytes that were read ahead: in a buffer of a pool, or, while the connection waits, in one of their size.
pub(super) struct Buffer {
    pub(super) bytes: Box<[u8]>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// For the next run: when the client began to send the request that these bytes begin.
    pub(super) began: Option<Instant>,
    /// For the next run: it follows at once.
    pub(super) at_once: bool,
}

impl Buffer {
    fn with(bytes: Box<[u8]>) -> Buffer {
        Buffer { bytes, start: 0, end: 0, began: None, at_once: false }
    }

    fn clear(&mut self) {
        (self.start, self.end, self.began, self.at_once) = (0, 0, None, false);
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The unread bytes alone.
    pub(super) fn compact(&self) -> Box<Buffer> {
        let (bytes, end, began) = (self.unread().into(), self.end - self.start, self.began);
        Box::new(Buffer { end, began, ..Buffer::with(bytes) })
    }

    /// Makes room behind the unread bytes, and returns where the room ends: there are no more than
    /// `max_unread` then.
    pub(super) fn make_room(&mut self, max_unread: usize) -> usize {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.bytes.len() {
            let unread = self.end - self.start;
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
            } else {
                let mut grown = vec![0; (2 * unread).max(BUFFER)];
                grown[..unread].copy_from_slice(self.unread());
                self.bytes = grown.into_boxed_slice();
            }
            (self.start, self.end) = (0, unread);
        }
        self.start.saturating_add(max_unread).min(self.bytes.len())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn waiting(bytes: &[u8]) -> Box<Buffer> {
        Box::new(Buffer { end: bytes.len(), ..Buffer::with(bytes.into()) })
    }

    #[test]
    fn a_buffer_is_lent_with_what_the_connection_has_kept() {
        let pools = Pools::new(2);
        let mut buffer = Some(waiting(b"GET "));
        let lent = pools.lend_to(&mut buffer);
        assert_eq!((lent.unread(), lent.bytes.len()), (&b"GET "[..], BUFFER));
        let address = lent.bytes.as_ptr();
        assert_eq!(pools.lend_to(&mut buffer).bytes.as_ptr(), address, "it has room already");
        pools.take_back(buffer.take().expect("lent above"));
        let again = pools.lend_to(&mut buffer);
        assert_eq!((again.unread(), again.bytes.as_ptr()), (&b""[..], address));
    }

    #[test]
    fn a_pool_keeps_a_few_buffers_of_its_size() {
        let pools = Pools::new(2);
        pools.take_back(waiting(b"GET "));
        pools.take_back(waiting(&[0; BUFFER + 1]));
        assert!(pools.here().0.lock().is_empty());
        let lent: Vec<_> = (0..2 * POOLED).map(|_| pools.lend()).collect();
        lent.into_iter().for_each(|buffer| pools.take_back(buffer));
        assert_eq!(pools.here().0.lock().len(), POOLED);
    }

    #[test]
    fn room_is_made_behind_the_unread_bytes() {
        let mut buffer = waiting(b"abcdef");
        buffer.start = 4;
        assert_eq!(buffer.make_room(4), 4, "no more than may be unread");
        assert_eq!(buffer.unread(), b"ef");
        buffer.end = buffer.bytes.len();
        let end = buffer.make_room(usize::MAX);
        assert_eq!((&buffer.unread()[..2], end), (&b"ef"[..], BUFFER));
        buffer.start = buffer.end;
        assert_eq!((buffer.make_room(usize::MAX), buffer.unread()), (BUFFER, &b""[..]));
    }
}
