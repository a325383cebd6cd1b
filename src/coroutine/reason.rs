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
    /// `Interval::tick`.
    Interval,
    /// `block_on`.
    BlockOn,
}

impl WaitReason {
    /// All of them, each at the place of its number.
    pub(crate) const ALL: [WaitReason; 13] = [
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
        WaitReason::Interval,
        WaitReason::BlockOn,
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
            WaitReason::Interval => "Interval::tick",
            WaitReason::BlockOn => "block_on",
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
