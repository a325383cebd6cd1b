//! io_uring for one thread: submit, wait, take completions.

use io_uring::{IoUring, squeue};
use std::io;

pub struct Ring(IoUring);

impl Ring {
    /// A ring whose completions are worked on inside the wait, where the kernel has that (6.1); otherwise a
    /// plain one.
    pub fn new(entries: u32) -> io::Result<Ring> {
        let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(entries);
        ring.or_else(|_| IoUring::new(entries)).map(Ring)
    }

    /// Queues an operation; submits what is queued if there is no room.
    ///
    /// # Safety
    ///
    /// What the operation points to lives until its completion has been taken.
    pub unsafe fn push(&mut self, operation: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the caller's promise.
        if unsafe { self.0.submission().push(operation) }.is_ok() {
            return Ok(());
        }
        self.0.submit()?;
        // SAFETY: the same.
        unsafe { self.0.submission().push(operation) }.map_err(|e| io::Error::other(e.to_string()))
    }

    /// Submits what is queued, without waiting.
    pub fn submit(&mut self) -> io::Result<()> {
        self.0.submit().map(drop)
    }

    /// Submits what is queued, waits for a completion and returns it: user data, result, flags.
    pub fn wait(&mut self) -> io::Result<(u64, i32, u32)> {
        loop {
            if let Some(done) = self.0.completion().next() {
                // The next wait submits what is queued since.
                return Ok((done.user_data(), done.result(), done.flags()));
            }
            match self.0.submit_and_wait(1) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
        }
    }
}
