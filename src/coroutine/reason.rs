//! Why a coroutine waits. Each kind of call that parks has its own reason, so that a report can name it.

/// Makes the enum, and the list of its variants in the order of their numbers, each with its text.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident: $words:literal,)*) => {
        /// The kind of call that waits.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum WaitReason {
            $($(#[$doc])* $name,)*
        }

        /// How many kinds there are, `None` included.
        pub(crate) const WAIT_REASONS: usize = ALL.len();

        const ALL: &[(WaitReason, &str)] = &[$((WaitReason::$name, $words),)*];
    };
}

reasons! {
    /// It does not wait.
    None: "no wait",
    /// `task::park` and `park_timeout`.
    Park: "task::park",
    /// `JoinHandle::join`.
    Join: "JoinHandle::join",
    /// `sleep` and `sleep_until`.
    Sleep: "sleep",
    /// A listener's `accept`.
    Accept: "accept",
    /// An `accept` that backs off while the process is out of descriptors.
    AcceptBackoff: "accept, out of descriptors",
    /// A stream's `connect`.
    Connect: "connect",
    /// A stream's `read`.
    Read: "read",
    /// A stream's `peek`.
    Peek: "peek",
    /// A stream's `write`.
    Write: "write",
    /// A stream's `readable`.
    Readable: "readable",
    /// A stream's `writable`.
    Writable: "writable",
    /// A name that is being resolved.
    Resolve: "name resolution",
    /// A channel's `send`.
    Send: "send",
    /// A channel's `recv`.
    Recv: "recv",
    /// `select!`.
    Select: "select!",
    /// `watch::Receiver::changed`.
    Changed: "watch::Receiver::changed",
    /// `broadcast::Receiver::recv`.
    Broadcast: "broadcast::Receiver::recv",
    /// `blocking`.
    Blocking: "blocking",
    /// A file's or folder's call.
    File: "fs",
    /// A read of a FIFO or a device.
    FileRead: "File::read",
    /// A write to a FIFO or a device.
    FileWrite: "File::write",
    /// Opening a FIFO to write it, while nobody reads it.
    FifoOpen: "opening a FIFO",
    /// `fs::File::lock`, while the file is locked.
    FileLock: "File::lock",
    /// The end of a scope, until its coroutines have ended.
    ScopeEnd: "the end of a scope",
    /// A `spawn` in a scope that is at its limit.
    ScopeSpawn: "spawn in a scope at its limit",
    /// `observe::dump`, while another thread makes the dump.
    Dump: "observe::dump",
    /// `observe::record`, while it records.
    Record: "observe::record",
    /// `JoinSet::join_next`.
    JoinSet: "JoinSet::join_next",
    /// The coroutine that keeps the time limits of idle connections.
    Activations: "time limits of activations",
    /// `net::serve`, until there is room for another connection.
    ServeRoom: "net::serve at its limit",
    /// `net::serve`, until its connections have ended; `ServeHandle::shutdown`.
    ServeEnd: "the end of net::serve",
    /// `OnReady::wait`.
    OnReady: "OnReady::wait",
    /// `CancelToken::wait`.
    Cancel: "CancelToken::wait",
    /// `CancelToken::run`, until what it runs has ended.
    CancelRun: "CancelToken::run",
    /// `Interval::tick`.
    Interval: "Interval::tick",
    /// `block_on`.
    BlockOn: "block_on",
    /// `sync::Mutex::lock`.
    Mutex: "Mutex::lock",
    /// `sync::RwLock::read`.
    RwLockRead: "RwLock::read",
    /// `sync::RwLock::write`.
    RwLockWrite: "RwLock::write",
    /// `sync::Condvar::wait` and its variants, for the notification.
    Condvar: "Condvar::wait",
    /// `sync::Condvar::wait` and its variants, for the mutex after the notification.
    CondvarRelock: "Condvar::wait, for the mutex",
    /// `sync::Semaphore::acquire` and its variants.
    Semaphore: "Semaphore::acquire",
    /// `sync::Barrier::wait`.
    Barrier: "Barrier::wait",
    /// `sync::Once::call_once`, while another caller's closure runs.
    Once: "Once::call_once",
    /// `sync::Once::wait`.
    OnceWait: "Once::wait",
    /// `sync::OnceLock::get_or_init`, while another caller's closure runs.
    OnceLock: "OnceLock::get_or_init",
    /// `sync::OnceLock::wait`.
    OnceLockWait: "OnceLock::wait",
    /// The use of a `sync::LazyLock`, while another caller runs its closure.
    LazyLock: "LazyLock::force",
    /// `sync::WaitGroup::wait`.
    WaitGroup: "WaitGroup::wait",
    /// `sync::Notify::wait`.
    Notify: "Notify::wait",
    /// A `connect` to a Unix listener whose queue is full.
    UnixConnect: "connect, the listener's queue is full",
    /// A datagram socket's `recv` and `recv_from`.
    ReceiveDatagram: "recv of a datagram",
    /// A datagram socket's `peek` and `peek_from`.
    PeekDatagram: "peek of a datagram",
    /// A datagram socket's `send` and `send_to`.
    SendDatagram: "send of a datagram",
    /// A `send_to` whose receiver's queue is full.
    SendBackoff: "send of a datagram, the receiver's queue is full",
    /// A `Pollable`'s reads.
    PollableRead: "Pollable::read_with",
    /// A `Pollable`'s writes.
    PollableWrite: "Pollable::write_with",
    /// `PipeReader`'s reads.
    PipeRead: "PipeReader::read",
    /// `PipeWriter`'s writes.
    PipeWrite: "PipeWriter::write",
    /// `Stdin`'s reads, for input.
    Stdin: "read of standard input",
    /// `Stdout`'s writes, for space in the kernel's buffer.
    Stdout: "write to standard output",
    /// `Stderr`'s writes, for space in the kernel's buffer.
    Stderr: "write to standard error",
    /// A call on a standard stream that can only block its thread.
    StdioCall: "a blocking call on a standard stream",
    /// `Child::wait` and its variants.
    ChildWait: "Child::wait",
    /// `ChildStdin`'s writes.
    ChildStdin: "ChildStdin::write",
    /// `ChildStdout`'s reads.
    ChildStdout: "ChildStdout::read",
    /// `ChildStderr`'s reads.
    ChildStderr: "ChildStderr::read",
    /// `io::poll`.
    Poll: "io::poll",
}

impl WaitReason {
    /// The reason with this number.
    pub(crate) fn from_number(number: u8) -> WaitReason {
        ALL[usize::from(number)].0
    }

    /// Whether such a wait ends only when certain coroutines or threads go on: the holder of a lock, or those
    /// whose end is waited for. Only these can deadlock among themselves.
    #[inline]
    pub(crate) fn needs_others(self) -> bool {
        use WaitReason::*;
        matches!(
            self,
            Join | ScopeEnd
                | JoinSet
                | CancelRun
                | Mutex
                | RwLockRead
                | RwLockWrite
                | CondvarRelock
                | Once
                | OnceWait
                | OnceLock
                | OnceLockWait
                | LazyLock
        )
    }

    /// Whether such a wait ends only when a coroutine or a thread of this process acts, when the time of the
    /// wait has come, or by a cancellation: no kernel object ends it, and no thread of the runtime by itself.
    pub(crate) fn needs_somebody(self) -> bool {
        use WaitReason::*;
        self.needs_others()
            || matches!(
                self,
                Park | Send
                    | Recv
                    | Select
                    | Changed
                    | Broadcast
                    | ScopeSpawn
                    | Cancel
                    | BlockOn
                    | Condvar
                    | Semaphore
                    | Barrier
                    | WaitGroup
                    | Notify
            )
    }

    /// The reason that reports show so.
    pub(crate) fn of_words(words: &str) -> Option<WaitReason> {
        ALL.iter().find(|(_, known)| *known == words).map(|(reason, _)| *reason)
    }

    /// The reason as reports show it, as in "parked in …".
    pub(crate) fn describe(self) -> &'static str {
        ALL[self as usize].1
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, WaitReason};

    #[test]
    fn each_reason_is_at_its_number() {
        for (number, &(reason, words)) in ALL.iter().enumerate() {
            assert_eq!(reason as usize, number);
            assert_eq!(WaitReason::from_number(number as u8).describe(), words);
        }
    }
}
