//! Advisory locks of whole files: `flock(2)`, as std's.
//!
//! A waiter tries again and again, with a pause that doubles. A blocking `flock` on the pool could not be
//! cancelled. Worse, it could deadlock: with such a call in each thread of the pool, the calls of the lock's
//! holder would never run.

use super::File;
use super::call::call;
use crate::base::clock;
use crate::base::sys::retry;
use crate::coroutine::WaitReason;
use crate::sched::{refusal, sleep_until};
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The first pause between two tries.
const SHORTEST: Duration = Duration::from_micros(100);

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_millis(20);

/// The error of [`File::try_lock`] and [`File::try_lock_shared`], as [`std::fs::TryLockError`].
#[derive(Debug)]
pub enum TryLockError {
    /// The system's error.
    Error(io::Error),
    /// Another handle holds a lock that excludes this one.
    WouldBlock,
}

impl fmt::Display for TryLockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryLockError::Error(_) => f.write_str("lock acquisition failed due to I/O error"),
            TryLockError::WouldBlock => {
                f.write_str("lock acquisition failed because the operation would block")
            }
        }
    }
}

impl Error for TryLockError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            TryLockError::Error(error) => Some(error),
            TryLockError::WouldBlock => None,
        }
    }
}

impl From<TryLockError> for io::Error {
    fn from(error: TryLockError) -> io::Error {
        match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => ErrorKind::WouldBlock.into(),
        }
    }
}

impl File {
    /// Acquires an exclusive lock, held by this handle and its clones: [`std::fs::File::lock`]. Closing the
    /// file releases it. Parks.
    ///
    /// The system has no event for the release of a lock, so a waiter tries again, every 20 ms at the latest.
    /// Waiters therefore do not get the lock in the order of their calls.
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds without the lock.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::fs::{File, TryLockError};
    ///
    /// let path = std::env::temp_dir().join(format!("sward-lock-{}", std::process::id()));
    /// sward::run(|| {
    ///     let file = File::create(&path)?;
    ///     file.lock()?;
    ///     assert!(matches!(File::open(&path)?.try_lock_shared(), Err(TryLockError::WouldBlock)));
    ///     file.unlock()?;
    ///     sward::fs::remove_file(&path)
    /// })
    /// # .unwrap();
    /// ```
    pub fn lock(&self) -> io::Result<()> {
        self.wait_for(libc::LOCK_EX)
    }

    /// Acquires a shared lock: [`std::fs::File::lock_shared`]. Otherwise as [`lock`](Self::lock).
    pub fn lock_shared(&self) -> io::Result<()> {
        self.wait_for(libc::LOCK_SH)
    }

    /// Acquires an exclusive lock if no other handle holds a lock: [`std::fs::File::try_lock`]. Parks only
    /// for the system call on the pool.
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.attempt(libc::LOCK_EX)
    }

    /// Acquires a shared lock if no other handle holds an exclusive one: [`std::fs::File::try_lock_shared`].
    /// Parks only for the system call on the pool.
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        self.attempt(libc::LOCK_SH)
    }

    /// Releases all locks of this handle: [`std::fs::File::unlock`]. Parks only for the system call on the
    /// pool.
    pub fn unlock(&self) -> io::Result<()> {
        self.flock(libc::LOCK_UN)
    }

    fn wait_for(&self, kind: libc::c_int) -> io::Result<()> {
        let mut pause = SHORTEST;
        loop {
            match self.attempt(kind) {
                Err(TryLockError::WouldBlock) => {}
                done => return done.map_err(Into::into),
            }
            if let Some(refused) = refusal() {
                return Err(refused);
            }
            sleep_until(clock::now() + pause, WaitReason::FileLock);
            pause = LONGEST.min(pause * 2);
        }
    }

    fn attempt(&self, kind: libc::c_int) -> Result<(), TryLockError> {
        self.flock(kind | libc::LOCK_NB).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => TryLockError::WouldBlock,
            _ => TryLockError::Error(error),
        })
    }

    fn flock(&self, operation: libc::c_int) -> io::Result<()> {
        let fd = self.as_raw_fd();
        // SAFETY: the call takes no pointers.
        call(|| retry(|| unsafe { libc::flock(fd, operation) }).map(drop))
    }
}
