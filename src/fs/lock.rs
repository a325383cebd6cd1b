//! Advisory locks of whole files: `flock(2)`, as std's.
//!
//! Who waits for one tries again and again, less and less often: a call that blocks could not be cancelled,
//! and as many of them as the pool has threads would keep the holder's own calls from ever being made.

use super::{File, call};
use crate::base::sys::retry;
use crate::coroutine::WaitReason;
use crate::sched::{refusal, sleep_until};
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// How long to wait between the first tries.
const SHORTEST: Duration = Duration::from_micros(100);

/// And between the last.
const LONGEST: Duration = Duration::from_millis(20);

/// Why [`File::try_lock`] or [`File::try_lock_shared`] has no lock, as `std::fs::TryLockError`.
#[derive(Debug)]
pub enum TryLockError {
    /// The system's error.
    Error(io::Error),
    /// Another handle has it.
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
    /// Locks the file for this handle and its clones alone, as soon as nobody else has a lock; as
    /// `std::fs::File::lock`. Closing the file unlocks it.
    ///
    /// Parks, and looks again every 20 ms at the latest: the system tells of no change. So who waits longest
    /// does not come first.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds without the lock.
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

    /// Locks the file together with others who share it; otherwise as [`lock`](Self::lock).
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn lock_shared(&self) -> io::Result<()> {
        self.wait_for(libc::LOCK_SH)
    }

    /// As [`lock`](Self::lock), if it need not wait for that. Parks for the call itself.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if another handle has a lock; the system's.
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.attempt(libc::LOCK_EX)
    }

    /// As [`lock_shared`](Self::lock_shared), if it need not wait for that. Parks for the call itself.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if another handle has a lock alone; the system's.
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        self.attempt(libc::LOCK_SH)
    }

    /// Unlocks the file. Parks for the call itself.
    ///
    /// # Errors
    ///
    /// The system's.
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
            sleep_until(Instant::now() + pause, WaitReason::FileLock);
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
