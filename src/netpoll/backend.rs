//! The names of the back-ends.

/// The kernel's interface behind a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "a system has one or two of them")]
pub(crate) enum Backend {
    Epoll,
    IoUring,
    Kqueue,
    Poll,
}

impl Backend {
    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Backend::Epoll => "epoll",
            Backend::IoUring => "io_uring",
            Backend::Kqueue => "kqueue",
            Backend::Poll => "poll",
        }
    }
}
