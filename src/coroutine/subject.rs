//! What a coroutine waits for, as a report describes it.
//!
//! A wait has a [`WaitReason`], which names the call, and mostly a *subject*: the lock, channel, coroutine or
//! file that the call waits for. Only the layer that made a subject knows how to describe it, so a wait
//! carries a reference to it as a [`Subject`], which returns [`Facts`]: plain data, for reports and for the
//! wait graph. This layer and the reports never look into a subject.
//!
//! A wait costs a few stores for this, on the suspended stack and in the header. Facts are made only when a
//! report asks for them.

use super::label::Id;
use super::reason::WaitReason;
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::time::Instant;

/// What a wait is for. The waiter borrows it until the wait has ended.
///
/// # Safety
///
/// While a wait borrows it, any thread may call [`facts`](Self::facts): that uses only atomics, what is under
/// locks, and what does not change during the wait.
pub(crate) unsafe trait Subject {
    /// Describes it as it is now. Neither parks nor runs code of a user; takes no lock but those of wait
    /// lists.
    fn facts(&self) -> Facts;
}

/// The description of a subject. `at` is the address of the subject, by which two waits for one subject are
/// recognized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Facts {
    /// A mutex, a reader-writer lock, a one-time initialisation.
    Lock {
        at: usize,
        /// Who holds it exclusively. Between two holders, and if that is not known, `None`.
        holder: Option<Holder>,
        /// How many readers hold it.
        readers: usize,
    },
    /// A semaphore.
    Semaphore {
        at: usize,
        /// How many permits are available.
        available: usize,
        /// How many permits there are in all, if no permit was forgotten.
        total: usize,
        /// Who has taken permits last. The permits may have been passed on to another coroutine since, so
        /// this is no proof of who will release them.
        taken_by: Option<Holder>,
    },
    /// A channel of any kind.
    Channel {
        at: usize,
        /// How many messages are queued.
        len: usize,
        /// For how many there is room; `None` without a limit.
        capacity: Option<usize>,
        /// How many handles to send there are.
        senders: usize,
        /// How many handles to receive there are; `None` if the channel does not count them.
        receivers: Option<usize>,
    },
    /// Something that wakes its waiters together or one by one, and which nobody holds: a condition variable,
    /// a notification, a cancellation token.
    Signal { at: usize },
    /// Something that waits for a number of calls: a barrier, a wait group, a spawn at the limit of a scope.
    Count {
        at: usize,
        /// How many calls are missing.
        missing: usize,
    },
    /// The end of that coroutine.
    Coroutine(Id),
    /// The end of all of these coroutines, or of any of them.
    Coroutines {
        at: usize,
        /// Coroutines that have not ended; only the first of them if there are many.
        left: Vec<Id>,
        /// How many have not ended.
        count: usize,
        /// Whether the wait lasts until all have ended, and not only until one has.
        all: bool,
    },
    /// A file of any kind: a socket, a pipe, a descriptor that says when a child has ended.
    File(RawFd),
    /// A child process.
    Child { pid: u32 },
    /// A call that the thread pool makes, by its number in the pool.
    Blocking { call: u64 },
    /// The first of several things that a select waits for.
    Any(Vec<Facts>),
}

/// How many coroutines a description names one by one.
const NAMED: usize = 64;

impl Facts {
    /// The end of all of these coroutines, or of any of them.
    pub(crate) fn coroutines(at: usize, all: bool, alive: impl Iterator<Item = Id>) -> Facts {
        let (mut left, mut count) = (Vec::new(), 0);
        for id in alive {
            if left.len() < NAMED {
                left.push(id);
            }
            count += 1;
        }
        Facts::Coroutines { at, left, count, all }
    }
}

/// Who holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// A coroutine.
    Coroutine(Id),
    /// A plain thread, or a worker outside of all coroutines, by the number that it got when it first took a
    /// lock or waited.
    Thread(u64),
}

/// The bit in a holder's word that says that it is a thread.
const THREAD: u64 = 1 << 63;

impl Holder {
    /// The holder as a word; never zero.
    #[inline]
    pub(crate) fn word(self) -> u64 {
        match self {
            Holder::Coroutine(id) => id.0,
            Holder::Thread(number) => number | THREAD,
        }
    }

    /// The holder of that word; `None` for zero.
    pub(crate) fn from_word(word: u64) -> Option<Holder> {
        match word {
            0 => None,
            word if word & THREAD != 0 => Some(Holder::Thread(word & !THREAD)),
            word => Some(Holder::Coroutine(Id(word))),
        }
    }
}

/// A reference to a subject of any type: its address, and how to describe it.
// Not a `&dyn Subject`: the address alone goes into the header, so the request on the stack holds only the
// function, and a wait stores one word less.
#[derive(Clone, Copy)]
pub(crate) struct SubjectRef<'a> {
    at: NonNull<()>,
    facts: unsafe fn(NonNull<()>) -> Facts,
    borrow: PhantomData<&'a ()>,
}

/// How to describe the subject at an address.
///
/// # Safety
///
/// The subject is alive, and is of the type that the function was made for.
pub(super) type Describe = unsafe fn(NonNull<()>) -> Facts;

impl<'a> SubjectRef<'a> {
    #[inline(always)]
    pub(crate) fn new<S: Subject>(subject: &'a S) -> SubjectRef<'a> {
        unsafe fn facts<S: Subject>(at: NonNull<()>) -> Facts {
            // SAFETY: as `Describe` says.
            unsafe { at.cast::<S>().as_ref() }.facts()
        }
        SubjectRef { at: NonNull::from(subject).cast(), facts: facts::<S>, borrow: PhantomData }
    }

    /// # Safety
    ///
    /// The parts are those of a reference whose subject is still borrowed.
    pub(super) unsafe fn from_parts(at: NonNull<()>, facts: Describe) -> SubjectRef<'a> {
        SubjectRef { at, facts, borrow: PhantomData }
    }

    /// The same reference, with any lifetime.
    ///
    /// # Safety
    ///
    /// It is not used after the subject's borrow has ended.
    pub(crate) unsafe fn outlive<'b>(self) -> SubjectRef<'b> {
        SubjectRef { borrow: PhantomData, ..self }
    }

    /// Describes it as it is now.
    pub(crate) fn facts(self) -> Facts {
        // SAFETY: borrowed for `'a`; `new` has made the function for this type.
        unsafe { (self.facts)(self.at) }
    }

    /// Its address.
    pub(crate) fn address(self) -> usize {
        self.at.as_ptr().addr()
    }
}

/// Why something waits: for which call, and for what.
#[derive(Clone, Copy)]
pub(crate) struct Why<'a> {
    pub(crate) reason: WaitReason,
    pub(crate) subject: Option<SubjectRef<'a>>,
}

impl<'a> Why<'a> {
    /// A wait for that subject.
    #[inline(always)]
    pub(crate) fn new<S: Subject>(reason: WaitReason, subject: &'a S) -> Why<'a> {
        Why { reason, subject: Some(SubjectRef::new(subject)) }
    }

    /// How to describe the subject.
    #[inline(always)]
    pub(super) fn describe(self) -> Option<Describe> {
        self.subject.map(|subject| subject.facts)
    }

    /// The address of the subject; null without one.
    #[inline(always)]
    pub(super) fn address(self) -> *mut () {
        self.subject.map_or(ptr::null_mut(), |subject| subject.at.as_ptr())
    }
}

impl From<WaitReason> for Why<'_> {
    #[inline(always)]
    fn from(reason: WaitReason) -> Self {
        Why { reason, subject: None }
    }
}

/// The present wait of a suspended coroutine.
#[derive(Clone, Copy)]
pub(crate) struct Waiting<'a> {
    /// What it waits for.
    pub(crate) subject: Option<SubjectRef<'a>>,
    /// When the wait ends at the latest: the call's own deadline, or the time limit of its section of code.
    pub(crate) deadline: Option<Instant>,
    /// Whether no cancellation ends this wait.
    pub(crate) masked: bool,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_holder_fits_into_a_word() {
        for holder in [Holder::Coroutine(Id(7)), Holder::Thread(7), Holder::Thread(0)] {
            assert_ne!(holder.word(), 0);
            assert_eq!(Holder::from_word(holder.word()), Some(holder));
        }
        assert_eq!(Holder::from_word(0), None);
    }
}
