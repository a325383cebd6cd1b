//! The flight recorder: what the workers have done lately, event by event.
//!
//! Each worker has a ring ([`ring`](super::ring)), and so have all other threads together: those of the
//! blocking pool, the netpoller thread, plain threads that wake coroutines. A ring is fixed memory; its
//! oldest events are overwritten. The recorder is the process's: one switch, and one size of rings.
//!
//! # An event
//!
//! ```text
//!  word 0   when, in ticks (`base/sys/ticks`)
//!  word 1   number of the coroutine or the blocking call << 16 | mark << 8 | kind
//!  word 2   by kind: spawn site, address, duration, bytes of a name
//!  word 3   by kind: coroutine, wait reason, bytes of a name
//!
//!  63                        16 15    8 7      0
//! +----------------------------+-------+--------+
//! |           number           | mark  |  kind  |   word 1
//! +----------------------------+-------+--------+
//! ```
//!
//! The *mark* of a turn or a wake-up counts the waits of the coroutine that have ended, modulo 256. A wake-up
//! and the turn that it leads to have the same mark, so they are found in each other's ring, whatever the
//! order of their times.
//!
//! # What is not exact
//!
//! A turn that follows another one at once begins when that one ended: the clock is read once for both. So a
//! wake-up may come a few nanoseconds after the turn that it leads to. The reader moves the beginning of such
//! a turn.
//!
//! # Names
//!
//! An event has no room for the name of its coroutine. The header of a coroutine that lives has its name. A
//! coroutine that ends leaves its name in the ring, before the end of its last turn.
//!
//! # Cost
//!
//! Off: turns, wake-ups and spawns test a byte that they share with other instruments (`instruments`).
//! Everything else happens at most once in a poll, and reads [`is_on`]. On: a few nanoseconds for an event,
//! one reading of the clock among them. The memory of a ring stays until its runtime ends.

use super::ring::{Ring, WORDS};
use crate::base::spin_lock::SpinLock;
use crate::base::sys::ticks;
use crate::coroutine::{Cause, Header, Holder, Id, Site, WaitReason};
use std::num::NonZero;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The memory of a ring, unless somebody has set another size.
pub(crate) const DEFAULT_BYTES: usize = 1 << 20;
const EVENT_BYTES: usize = WORDS * size_of::<u64>();
/// A ring holds at least this many events.
const LEAST_EVENTS: usize = 256;
/// A ring is no larger.
const MOST_BYTES: usize = 1 << 30;
/// So much of a name is kept, in bytes.
const NAME: usize = 4 * CHUNK;
/// The bytes of a name in one event.
const CHUNK: usize = 2 * size_of::<u64>();

static ON: AtomicBool = AtomicBool::new(false);
/// The events of a ring that is made from now on.
static EVENTS: AtomicUsize = AtomicUsize::new(DEFAULT_BYTES / EVENT_BYTES);
/// The ring of the threads that are no workers.
static ELSEWHERE: OnceLock<Elsewhere> = OnceLock::new();

struct Elsewhere {
    ring: Arc<Ring>,
    /// Held by the thread that writes.
    writer: SpinLock<()>,
}

/// Whether events are recorded.
// Relaxed: nothing is published by it.
#[inline]
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Switches the recorder on or off. Hooks that share a switch with other instruments have their own.
pub(super) fn switch(on: bool) {
    Clock::start();
    ON.store(on, Ordering::Relaxed);
}

/// Rings that are made from now on have at most that many bytes.
pub(crate) fn set_bytes(bytes: usize) {
    let events = (bytes.min(MOST_BYTES) / EVENT_BYTES).max(LEAST_EVENTS);
    EVENTS.store(1 << events.ilog2(), Ordering::Relaxed);
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        enum Kind {
            $($(#[$doc])* $name,)*
        }
        const KINDS: &[Kind] = &[$(Kind::$name,)*];
    };
}

kinds! {
    Spawned,
    /// The first turn begins.
    Started,
    Resumed,
    Parked,
    Yielded,
    Ended,
    Woken,
    TimedOut,
    Cancelled,
    Stolen,
    Polled,
    Slept,
    BudgetUsedUp,
    CallBegan,
    CallEnded,
    Name,
}

/// Word 1 of an event. Numbers have 48 bits here: at a million coroutines a second that is nine years.
#[inline(always)]
fn head(kind: Kind, number: u64, mark: u8) -> u64 {
    number << 16 | u64::from(mark) << 8 | kind as u64
}

#[inline(always)]
fn site_word(site: Site) -> u64 {
    ptr::from_ref(site).expose_provenance() as u64
}

/// What happens in turns of one worker. Only the worker writes; any thread reads.
#[derive(Default)]
pub(crate) struct Track {
    ring: OnceLock<Arc<Ring>>,
    /// The tick at which the last turn ended, if the worker has done nothing else since; otherwise zero.
    boundary: AtomicU64,
}

/// The events of the calling worker.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    track: &'a Track,
    ring: &'a Ring,
}

/// How a turn has ended, noted while the coroutine was still the worker's.
#[derive(Clone, Copy)]
pub(super) struct TurnEnd {
    /// When, in ticks; zero if it is still to come. If the coroutine parks or yields, it may run elsewhere
    /// before its turn is over here, and then the end of this turn must not come after the next one.
    at: u64,
    head: u64,
    words: [u64; 2],
}

impl Track {
    /// The worker's writer. Its ring is made at the first use.
    ///
    /// # Safety
    ///
    /// The caller runs on the worker's thread.
    #[inline]
    pub(super) unsafe fn writer(&self) -> Writer<'_> {
        let ring = match self.ring.get() {
            Some(ring) => ring,
            None => self.make_ring(),
        };
        Writer { track: self, ring }
    }

    #[cold]
    #[inline(never)]
    fn make_ring(&self) -> &Ring {
        self.ring.get_or_init(|| Arc::new(Ring::new(EVENTS.load(Ordering::Relaxed))))
    }

    /// The worker does something else than turns. Only the worker calls this.
    #[inline]
    pub(super) fn leave_turns(&self) {
        self.boundary.store(0, Ordering::Relaxed);
    }
}

impl Writer<'_> {
    #[inline(always)]
    fn write_at(self, at: u64, head: u64, words: [u64; 2]) {
        // SAFETY: a writer is used on the worker's thread (`Track::writer`), one call after the other.
        unsafe { self.ring.write([at, head, words[0], words[1]]) };
    }

    #[inline(always)]
    fn write(self, head: u64, words: [u64; 2]) {
        self.write_at(ticks(), head, words);
    }

    /// A turn of that coroutine begins, which the caller owns.
    #[inline]
    pub(super) fn begin(self, header: &Header) {
        let at = match self.track.boundary.load(Ordering::Relaxed) {
            0 => ticks(),
            boundary => boundary,
        };
        let kind = if header.has_run() { Kind::Resumed } else { Kind::Started };
        let parent = header.parent().map_or(0, |id| id.0);
        let head = head(kind, header.id().0, header.waiter.mark());
        self.write_at(at, head, [site_word(header.site()), parent]);
    }

    /// The turn ends so. The coroutine may be gone.
    #[inline]
    pub(super) fn end(self, how: TurnEnd) {
        let at = if how.at == 0 { ticks() } else { how.at };
        self.write_at(at, how.head, how.words);
        self.track.boundary.store(at, Ordering::Relaxed);
    }

    /// The coroutine has ended, and leaves its name, if it has one. The caller owns it.
    pub(super) fn ended(self, header: &Header) -> TurnEnd {
        if let Some(name) = header.name() {
            self.write_name(header.id(), name);
        }
        TurnEnd { at: 0, head: head(Kind::Ended, header.id().0, header.waiter.mark()), words: [0; 2] }
    }

    #[cold]
    fn write_name(self, id: Id, name: &str) {
        let (at, name) = (ticks(), name.as_bytes());
        for (index, bytes) in name[..name.len().min(NAME)].chunks(CHUNK).enumerate() {
            let mut chunk = [0; CHUNK];
            chunk[..bytes.len()].copy_from_slice(bytes);
            let chunk = u128::from_le_bytes(chunk);
            self.write_at(at, head(Kind::Name, id.0, index as u8), [chunk as u64, (chunk >> 64) as u64]);
        }
    }

    /// A coroutine is woken, which the caller owns; by that coroutine, or by none.
    #[inline]
    pub(super) fn wake(self, header: &Header, by: Id) {
        let (head, words) = wake(header, by);
        self.write(head, words);
    }

    /// A coroutine is spawned, which the caller owns.
    #[inline]
    pub(super) fn spawn(self, header: &Header) {
        let (head, words) = spawn(header);
        self.write(head, words);
    }

    /// It has stolen from that worker: that coroutine, or a home.
    pub(super) fn steal(self, coroutine: Option<Id>, victim: usize) {
        self.write(head(Kind::Stolen, coroutine.map_or(0, |id| id.0), 0), [victim as u64, 0]);
    }

    /// It has slept since that tick.
    pub(super) fn slept(self, began: u64) {
        let at = ticks();
        self.write_at(at, head(Kind::Slept, 0, 0), [at.wrapping_sub(began), 0]);
    }

    /// It has polled since that tick.
    pub(super) fn polled(self, began: u64, woke: bool) {
        let at = ticks();
        self.write_at(at, head(Kind::Polled, 0, 0), [at.wrapping_sub(began), u64::from(woke)]);
    }

    /// The running coroutine has used up its budget.
    pub(super) fn budget_used_up(self, id: Id) {
        self.write(head(Kind::BudgetUsedUp, id.0, 0), [0; 2]);
    }
}

impl TurnEnd {
    /// The coroutine is about to park, or to find that its wait has ended. The caller owns it.
    #[inline]
    pub(super) fn parks(header: &Header) -> TurnEnd {
        let subject = header.subject_address().map_or(0, |at| at.as_ptr().addr() as u64);
        let head = head(Kind::Parked, header.id().0, header.waiter.mark());
        TurnEnd { at: ticks(), head, words: [subject, header.reason() as u64] }
    }

    /// Not known yet.
    pub(super) fn none() -> TurnEnd {
        TurnEnd { at: 0, head: 0, words: [0; 2] }
    }

    /// The coroutine yields. The caller owns it.
    #[inline]
    pub(super) fn yields(header: &Header) -> TurnEnd {
        let head = head(Kind::Yielded, header.id().0, header.waiter.mark());
        TurnEnd { at: ticks(), head, words: [0; 2] }
    }
}

fn wake(header: &Header, by: Id) -> (u64, [u64; 2]) {
    let kind = match header.waiter.last_cause() {
        Cause::Event => Kind::Woken,
        Cause::Timeout => Kind::TimedOut,
        Cause::Cancelled => Kind::Cancelled,
    };
    (head(kind, header.id().0, header.waiter.mark()), [0, by.0])
}

fn spawn(header: &Header) -> (u64, [u64; 2]) {
    let parent = header.parent().map_or(0, |id| id.0);
    (head(Kind::Spawned, header.id().0, 0), [site_word(header.site()), parent])
}

// What happens on other threads.

#[cold]
#[inline(never)]
fn write_elsewhere(head: u64, words: [u64; 2]) {
    let Elsewhere { ring, writer } = ELSEWHERE.get_or_init(|| {
        let ring = Arc::new(Ring::new(EVENTS.load(Ordering::Relaxed)));
        Elsewhere { ring, writer: SpinLock::new(()) }
    });
    let _writer = writer.lock();
    // SAFETY: the lock makes this the only writer, which synchronizes with the last one.
    unsafe { ring.write([ticks(), head, words[0], words[1]]) };
}

/// A thread that is no worker of its runtime wakes a coroutine, which it owns.
pub(super) fn wake_elsewhere(header: &Header) {
    let (head, words) = wake(header, Id(0));
    write_elsewhere(head, words);
}

/// A thread that is no worker of its runtime spawns a coroutine, which it owns.
pub(super) fn spawn_elsewhere(header: &Header) {
    let (head, words) = spawn(header);
    write_elsewhere(head, words);
}

/// A thread of the blocking pool begins a call.
#[inline]
pub(crate) fn note_call_began(number: u64, site: Site, caller: Option<Holder>) {
    if is_on() {
        let caller = if let Some(Holder::Coroutine(id)) = caller { id.0 } else { 0 };
        write_elsewhere(head(Kind::CallBegan, number, 0), [site_word(site), caller]);
    }
}

/// A thread of the blocking pool has ended a call.
#[inline]
pub(crate) fn note_call_ended(number: u64) {
    if is_on() {
        write_elsewhere(head(Kind::CallEnded, number, 0), [0; 2]);
    }
}

// Reading.

/// An event, as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// In ticks.
    pub(crate) at: u64,
    pub(crate) what: What,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Spawned {
        coroutine: Id,
        site: Site,
        parent: Option<Id>,
    },
    /// A turn begins.
    Begins {
        coroutine: Id,
        mark: u8,
        first: bool,
        site: Site,
        parent: Option<Id>,
    },
    /// A turn ends. `subject` is the address of what the wait is for.
    Parked {
        coroutine: Id,
        mark: u8,
        reason: WaitReason,
        subject: usize,
    },
    Yielded {
        coroutine: Id,
    },
    Ended {
        coroutine: Id,
    },
    /// `by` is the coroutine in whose turn that was.
    Woken {
        coroutine: Id,
        mark: u8,
        cause: Cause,
        by: Option<Id>,
    },
    /// A coroutine; a home, if there is none.
    Stolen {
        coroutine: Option<Id>,
        from: usize,
    },
    /// It lasted until then, for that many ticks.
    Polled {
        took: u64,
        woke: bool,
    },
    /// Likewise.
    Slept {
        took: u64,
    },
    BudgetUsedUp {
        coroutine: Id,
    },
    CallBegan {
        call: u64,
        site: Site,
        caller: Option<Id>,
    },
    CallEnded {
        call: u64,
    },
    /// A part of a coroutine's name: that many parts come before it.
    Name {
        coroutine: Id,
        part: u8,
        bytes: [u8; CHUNK],
    },
}

/// An event as it is in a ring.
#[derive(Clone, Copy)]
pub(crate) struct Raw([u64; WORDS]);

impl Raw {
    /// The event. `None` does not happen.
    pub(crate) fn decode(self) -> Option<Recorded> {
        decode(self.0)
    }
}

/// The words come from a ring.
fn decode(words: [u64; WORDS]) -> Option<Recorded> {
    let [at, head, first, second] = words;
    let (number, mark) = (head >> 16, (head >> 8) as u8);
    let (id, other) = (Id(number), NonZero::new(second).map(|id| Id(id.get())));
    let site = || {
        let at = ptr::with_exposed_provenance::<std::panic::Location<'static>>(first as usize);
        // SAFETY: events of these kinds are written with the address of a site, which lives for ever; and an
        // event that was read is whole (`ring`).
        unsafe { &*at }
    };
    let woken = |cause| What::Woken { coroutine: id, mark, cause, by: other };
    let begins = |first| What::Begins { coroutine: id, mark, first, site: site(), parent: other };
    let what = match *KINDS.get(usize::from(head as u8))? {
        Kind::Spawned => What::Spawned { coroutine: id, site: site(), parent: other },
        Kind::Started => begins(true),
        Kind::Resumed => begins(false),
        Kind::Parked => {
            let reason = WaitReason::from_number(second as u8);
            What::Parked { coroutine: id, mark, reason, subject: first as usize }
        }
        Kind::Yielded => What::Yielded { coroutine: id },
        Kind::Ended => What::Ended { coroutine: id },
        Kind::Woken => woken(Cause::Event),
        Kind::TimedOut => woken(Cause::Timeout),
        Kind::Cancelled => woken(Cause::Cancelled),
        Kind::Stolen => What::Stolen { coroutine: (number != 0).then_some(id), from: first as usize },
        Kind::Polled => What::Polled { took: first, woke: second != 0 },
        Kind::Slept => What::Slept { took: first },
        Kind::BudgetUsedUp => What::BudgetUsedUp { coroutine: id },
        Kind::CallBegan => What::CallBegan { call: number, site: site(), caller: other },
        Kind::CallEnded => What::CallEnded { call: number },
        Kind::Name => {
            let bytes = (u128::from(second) << 64 | u128::from(first)).to_le_bytes();
            What::Name { coroutine: id, part: mark, bytes }
        }
    };
    Some(Recorded { at, what })
}

/// A place in a ring up to which a reader has read.
pub(crate) struct Cursor {
    ring: Arc<Ring>,
    next: u64,
}

impl Cursor {
    /// The oldest event that a worker's ring holds, or the next one; `None` if it has recorded nothing.
    pub(crate) fn of(track: &Track, oldest: bool) -> Option<Cursor> {
        track.ring.get().map(|ring| Cursor::at(ring, oldest))
    }

    /// Likewise, of the threads that are no workers.
    pub(crate) fn elsewhere(oldest: bool) -> Option<Cursor> {
        ELSEWHERE.get().map(|elsewhere| Cursor::at(&elsewhere.ring, oldest))
    }

    fn at(ring: &Arc<Ring>, oldest: bool) -> Cursor {
        let next = if oldest { 0 } else { ring.recorded() };
        Cursor { ring: Arc::clone(ring), next }
    }

    /// Whether it is in the same ring.
    pub(crate) fn is_of(&self, other: &Cursor) -> bool {
        Arc::ptr_eq(&self.ring, &other.ring)
    }

    /// Appends what was recorded since. Returns how many events are lost.
    pub(crate) fn read(&mut self, into: &mut Vec<Raw>) -> u64 {
        let (next, lost) = self.ring.read(self.next, into, Raw);
        self.next = next;
        lost
    }
}

/// What ticks are in time: a tick and the time at which it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    ticks: u64,
    at: Instant,
}

impl Clock {
    /// The first reading of the process.
    pub(crate) fn start() -> Clock {
        static START: OnceLock<Clock> = OnceLock::new();
        *START.get_or_init(Clock::now)
    }

    /// A reading: of several, the one that took least.
    pub(crate) fn now() -> Clock {
        let read = || {
            let before = ticks();
            let at = Instant::now();
            let took = ticks().wrapping_sub(before);
            (took, Clock { ticks: before.wrapping_add(took / 2), at })
        };
        let readings = [read(), read(), read(), read()];
        readings.into_iter().min_by_key(|(took, _)| *took).expect("four").1
    }

    /// When it was read.
    pub(crate) fn at(self) -> Instant {
        self.at
    }

    /// In ticks.
    pub(crate) fn ticks(self) -> u64 {
        self.ticks
    }

    /// The nanoseconds of a tick between an earlier reading and this one.
    pub(crate) fn rate_since(self, start: Clock) -> f64 {
        let ticks = self.ticks.saturating_sub(start.ticks);
        let nanoseconds = self.at.saturating_duration_since(start.at).as_nanos();
        if ticks == 0 { 1.0 } else { nanoseconds as f64 / ticks as f64 }
    }

    /// How long before this reading a tick was, in nanoseconds; negative if it was after it.
    pub(crate) fn since(self, tick: u64, rate: f64) -> f64 {
        self.ticks.wrapping_sub(tick) as i64 as f64 * rate
    }
}

/// The least time between two readings from which their rate is known well.
pub(crate) const CALIBRATION: Duration = Duration::from_millis(2);
