//! What a wait is for, as data.

use crate::coroutine::{Facts, Holder, Id};
use std::fmt;
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{FromRawFd, RawFd};

/// How many coroutines are named.
const NAMED: usize = 8;

/// What a wait is for. Equal addresses are the same thing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// A mutex, a reader-writer lock, or a one-time initialisation.
    Lock {
        /// Where it is.
        address: usize,
        /// Who holds it exclusively, or runs the initialisation. `None` if nobody does, or between two
        /// holders.
        holder: Option<Party>,
        /// How many readers hold it.
        readers: usize,
    },
    /// A semaphore.
    Semaphore {
        /// Where it is.
        address: usize,
        /// How many permits are available.
        available: usize,
        /// How many there are. Forgotten ones do not count.
        total: usize,
        /// Who was the last to take permits. Somebody else may have them by now.
        taken_by: Option<Party>,
    },
    /// A channel.
    Channel {
        /// Where it is.
        address: usize,
        /// How many messages are queued.
        len: usize,
        /// How many have room; `None` without a limit.
        capacity: Option<usize>,
        /// How many handles to send there are.
        senders: usize,
        /// How many handles to receive there are; `None` if the channel does not count them.
        receivers: Option<usize>,
    },
    /// Something that counts calls, such as a barrier or a wait group.
    Count {
        /// Where it is.
        address: usize,
        /// How many calls are missing.
        missing: usize,
    },
    /// The end of that coroutine.
    Coroutine(Id),
    /// The end of several coroutines.
    Coroutines {
        /// Some that have not ended.
        left: Vec<Id>,
        /// How many have not ended.
        count: usize,
        /// Whether the wait is for all of them, and not for the first that ends.
        all: bool,
    },
    /// Readiness of that descriptor. It had these addresses a moment after the capture.
    Descriptor {
        /// Its number.
        fd: i32,
        /// The address of a socket of the Internet.
        local: Option<SocketAddr>,
        /// The address of its peer.
        peer: Option<SocketAddr>,
    },
    /// The end of a child process.
    Child {
        /// Its process id.
        pid: u32,
    },
    /// The first of several things.
    Any(Vec<Subject>),
    /// Something of which only the address is known, or which nobody holds, such as a condition variable.
    Address(usize),
}

/// Who holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Party {
    /// That coroutine. If a dump does not show it, it has ended and has not released what it held.
    Coroutine(Id),
    /// A plain thread, with the number that [`ThreadDump::number`](super::ThreadDump::number) shows while it
    /// waits.
    Thread(u64),
}

impl From<Holder> for Party {
    fn from(holder: Holder) -> Party {
        match holder {
            Holder::Coroutine(id) => Party::Coroutine(id),
            Holder::Thread(number) => Party::Thread(number),
        }
    }
}

impl Subject {
    /// What is known, of what the subject itself said and its address.
    pub(super) fn of(facts: Option<Facts>, address: Option<usize>) -> Option<Subject> {
        facts.and_then(Subject::from_facts).or_else(|| address.map(Subject::Address))
    }

    fn from_facts(facts: Facts) -> Option<Subject> {
        Some(match facts {
            Facts::Lock { at: address, holder, readers } => {
                Subject::Lock { address, holder: holder.map(Party::from), readers }
            }
            Facts::Semaphore { at: address, available, total, taken_by } => {
                Subject::Semaphore { address, available, total, taken_by: taken_by.map(Party::from) }
            }
            Facts::Channel { at: address, len, capacity, senders, receivers } => {
                Subject::Channel { address, len, capacity, senders, receivers }
            }
            Facts::Signal { at } => Subject::Address(at),
            Facts::Count { at: address, missing } => Subject::Count { address, missing },
            Facts::Coroutine(id) => Subject::Coroutine(id),
            Facts::Coroutines { left, count, all, .. } => Subject::Coroutines { left, count, all },
            Facts::File(fd) => {
                let (local, peer) = addresses(fd);
                Subject::Descriptor { fd, local, peer }
            }
            Facts::Child { pid } => Subject::Child { pid },
            // The reason says it all.
            Facts::Blocking { .. } => return None,
            Facts::Any(all) => Subject::Any(all.into_iter().filter_map(Subject::from_facts).collect()),
        })
    }
}

/// The addresses of a socket of the Internet; none for any other descriptor, be it closed or not.
fn addresses(fd: RawFd) -> (Option<SocketAddr>, Option<SocketAddr>) {
    if fd < 0 {
        return (None, None);
    }
    // SAFETY: the two calls below only ask the kernel, whatever the descriptor is, and it is not closed here.
    let socket = ManuallyDrop::new(unsafe { TcpStream::from_raw_fd(fd) });
    (socket.local_addr().ok(), socket.peer_addr().ok())
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Lock { address, holder, readers } => {
                write!(f, "lock {address:#x}")?;
                match (holder, readers) {
                    (Some(holder), _) => write!(f, ", held by {holder}"),
                    (None, 0) => Ok(()),
                    (None, 1) => f.write_str(", held by 1 reader"),
                    (None, readers) => write!(f, ", held by {readers} readers"),
                }
            }
            Subject::Semaphore { address, available, total, taken_by } => {
                write!(f, "semaphore {address:#x}, {available} of {total} permits available")?;
                taken_by.map_or(Ok(()), |party| write!(f, ", last taken by {party}"))
            }
            Subject::Channel { address, len, capacity, senders, receivers } => {
                write!(f, "channel {address:#x}, {len} queued")?;
                if let Some(capacity) = capacity {
                    write!(f, " of {capacity}")?;
                }
                write!(f, ", senders: {senders}")?;
                receivers.map_or(Ok(()), |receivers| write!(f, ", receivers: {receivers}"))
            }
            Subject::Count { address, missing } => write!(f, "{address:#x}, {missing} missing"),
            Subject::Coroutine(id) => write!(f, "coroutine #{id}"),
            Subject::Coroutines { left, count, all } => {
                let (which, plural) = (if *all { "all" } else { "any" }, if *count == 1 { "" } else { "s" });
                write!(f, "{which} of {count} coroutine{plural}")?;
                for (index, id) in left.iter().take(NAMED).enumerate() {
                    write!(f, "{}#{id}", if index == 0 { ": " } else { ", " })?;
                }
                f.write_str(if *count > left.len().min(NAMED) { ", ..." } else { "" })
            }
            Subject::Child { pid } => write!(f, "child process {pid}"),
            Subject::Any(all) => {
                f.write_str("the first of: ")?;
                for (index, subject) in all.iter().enumerate() {
                    write!(f, "{}{subject}", if index == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Subject::Descriptor { fd, local, peer } => {
                write!(f, "descriptor {fd}")?;
                match (local, peer) {
                    (Some(local), Some(peer)) => write!(f, " ({local} to {peer})"),
                    (Some(local), None) => write!(f, " ({local})"),
                    _ => Ok(()),
                }
            }
            Subject::Address(address) => write!(f, "{address:#x}"),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Coroutine(id) => write!(f, "coroutine #{id}"),
            Party::Thread(number) => write!(f, "thread #{number}"),
        }
    }
}
