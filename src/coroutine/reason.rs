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
    /// A channel's `send`.
    Send,
    /// A channel's `recv`.
    Recv,
    /// `select!`.
    Select,
    /// `watch::Receiver::changed`.
    Changed,
    /// `broadcast::Receiver::recv`.
    Broadcast,
    /// A `connect` to a Unix listener whose queue is full.
    UnixConnect,
    /// A datagram socket's `recv` and `recv_from`.
    ReceiveDatagram,
    /// A datagram socket's `peek` and `peek_from`.
    PeekDatagram,
    /// A datagram socket's `send` and `send_to`.
    SendDatagram,
    /// A `send_to` whose receiver's queue is full.
    SendBackoff,
    /// `Pollable::readable`.
    Readable,
    /// `Pollable::writable`.
    Writable,
    /// A `Pollable`'s reads.
    PollableRead,
    /// A `Pollable`'s writes.
    PollableWrite,
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
        WaitReason::Send,
        WaitReason::Recv,
        WaitReason::Select,
        WaitReason::Changed,
        WaitReason::Broadcast,
        WaitReason::UnixConnect,
        WaitReason::ReceiveDatagram,
        WaitReason::PeekDatagram,
        WaitReason::SendDatagram,
        WaitReason::SendBackoff,
        WaitReason::Readable,
        WaitReason::Writable,
        WaitReason::PollableRead,
        WaitReason::PollableWrite,
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
            WaitReason::Send => "send",
            WaitReason::Recv => "recv",
            WaitReason::Select => "select!",
            WaitReason::Changed => "watch::Receiver::changed",
            WaitReason::Broadcast => "broadcast::Receiver::recv",
            WaitReason::UnixConnect => "connect, the listener's queue is full",
            WaitReason::ReceiveDatagram => "recv of a datagram",
            WaitReason::PeekDatagram => "peek of a datagram",
            WaitReason::SendDatagram => "send of a datagram",
            WaitReason::SendBackoff => "send of a datagram, the receiver's queue is full",
            WaitReason::Readable => "Pollable::readable",
            WaitReason::Writable => "Pollable::writable",
            WaitReason::PollableRead => "Pollable::read_with",
            WaitReason::PollableWrite => "Pollable::write_with",
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
