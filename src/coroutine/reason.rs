//! Why a coroutine waits. Each site that parks has a reason of its own, so that a report can name it.

/// The site of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WaitReason {
    /// It does not wait.
    None,
    /// `task::park` and `park_timeout`.
    Park,
    /// `JoinHandle::join`.
    Join,
    /// `sleep` and `sleep_until`.
    Sleep,
    /// A listener's `accept`.
    Accept,
    /// An `accept` that backs off while descriptors are exhausted.
    AcceptBackoff,
    /// A stream's `connect`.
    Connect,
    /// A stream's `read`.
    Read,
    /// A stream's `peek`.
    Peek,
    /// A stream's `write`.
    Write,
    /// A name that is being resolved.
    Resolve,
    /// `sync::Mutex::lock`.
    Mutex,
    /// `sync::RwLock::read`.
    RwLockRead,
    /// `sync::RwLock::write`.
    RwLockWrite,
    /// `sync::Condvar::wait` and the like, for the notification.
    Condvar,
    /// A `sync::Condvar` whose waiter takes the mutex again.
    CondvarRelock,
    /// `sync::Semaphore::acquire` and the like.
    Semaphore,
    /// `sync::Barrier::wait`.
    Barrier,
    /// `sync::Once::call_once`, while another's closure runs.
    Once,
    /// `sync::Once::wait`.
    OnceWait,
    /// `sync::OnceLock::get_or_init`, while another's closure runs.
    OnceLock,
    /// `sync::OnceLock::wait`.
    OnceLockWait,
    /// The first use of a `sync::LazyLock`, while another's closure runs.
    LazyLock,
    /// `sync::WaitGroup::wait`.
    WaitGroup,
    /// `sync::Notify::wait`.
    Notify,
}

impl WaitReason {
    /// All of them, each at the place of its number.
    pub(crate) const ALL: [WaitReason; 25] = [
        WaitReason::None,
        WaitReason::Park,
        WaitReason::Join,
        WaitReason::Sleep,
        WaitReason::Accept,
        WaitReason::AcceptBackoff,
        WaitReason::Connect,
        WaitReason::Read,
        WaitReason::Peek,
        WaitReason::Write,
        WaitReason::Resolve,
        WaitReason::Mutex,
        WaitReason::RwLockRead,
        WaitReason::RwLockWrite,
        WaitReason::Condvar,
        WaitReason::CondvarRelock,
        WaitReason::Semaphore,
        WaitReason::Barrier,
        WaitReason::Once,
        WaitReason::OnceWait,
        WaitReason::OnceLock,
        WaitReason::OnceLockWait,
        WaitReason::LazyLock,
        WaitReason::WaitGroup,
        WaitReason::Notify,
    ];

    /// The reason in words, as in "parked in …".
    pub(crate) fn describe(self) -> &'static str {
        match self {
            WaitReason::None => "no wait",
            WaitReason::Park => "task::park",
            WaitReason::Join => "JoinHandle::join",
            WaitReason::Sleep => "sleep",
            WaitReason::Accept => "accept",
            WaitReason::AcceptBackoff => "accept, out of descriptors",
            WaitReason::Connect => "connect",
            WaitReason::Read => "read",
            WaitReason::Peek => "peek",
            WaitReason::Write => "write",
            WaitReason::Resolve => "name resolution",
            WaitReason::Mutex => "Mutex::lock",
            WaitReason::RwLockRead => "RwLock::read",
            WaitReason::RwLockWrite => "RwLock::write",
            WaitReason::Condvar => "Condvar::wait",
            WaitReason::CondvarRelock => "Condvar::wait, for the mutex",
            WaitReason::Semaphore => "Semaphore::acquire",
            WaitReason::Barrier => "Barrier::wait",
            WaitReason::Once => "Once::call_once",
            WaitReason::OnceWait => "Once::wait",
            WaitReason::OnceLock => "OnceLock::get_or_init",
            WaitReason::OnceLockWait => "OnceLock::wait",
            WaitReason::LazyLock => "LazyLock::force",
            WaitReason::WaitGroup => "WaitGroup::wait",
            WaitReason::Notify => "Notify::wait",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::WaitReason;

    #[test]
    fn each_reason_is_at_its_number() {
        for (number, &reason) in WaitReason::ALL.iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }
}
