//! What happened in a run: its events, in order. Two runs of one seed have the same.

use crate::coroutine::{Site, WaitReason};
use std::fmt;
use std::time::Duration;

/// The most events that are kept of a run. Beyond that only their hash is.
const KEPT: usize = 1 << 20;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It has its turn; it is one of `of` that could.
    Runs { of: u32 },
    /// At a call that need not wait another one, of `of`, runs first.
    Preempted { of: u32 },
    /// It is about to wait.
    Waits(WaitReason),
    /// It lets others run first.
    Yields,
    /// It has ended.
    Ends,
    /// It was spawned, by that coroutine, or by none (`u32::MAX`).
    Spawned { by: u32 },
    /// The simulation has cancelled it.
    Cancelled,
    /// The program has drawn a random number.
    Random(u32),
    /// It does not run for that many microseconds.
    Pauses { micros: u32 },
    /// Nothing could run, and the clock was moved to the event's time.
    Time,
    /// The world has done something, which the text of that number says.
    World(u32),
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// When, in nanoseconds since the run began.
    pub(super) at: u64,
    /// The coroutine, in the order in which they were spawned; `u32::MAX` for none.
    pub(super) who: u32,
    /// What it did.
    pub(super) what: What,
}

/// What a trace says of a coroutine.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) name: Option<Box<str>>,
    pub(super) site: Option<Site>,
    pub(super) by: u32,
    pub(super) host: u32,
}

/// No coroutine.
pub(super) const NOBODY: u32 = u32::MAX;

/// The events of a run.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) events: Vec<Event>,
    /// What the world has done, in words.
    pub(super) texts: Vec<Box<str>>,
    /// Of all events, kept or not.
    hash: u64,
    count: u64,
}

impl Trace {
    /// Adds an event.
    pub(super) fn add(&mut self, event: Event) {
        let (kind, value) = match event.what {
            What::Runs { of } => (1, of),
            What::Preempted { of } => (2, of),
            What::Waits(reason) => (3, reason as u32),
            What::Yields => (4, 0),
            What::Ends => (5, 0),
            What::Spawned { by } => (6, by),
            What::Cancelled => (7, 0),
            What::Random(value) => (8, value),
            What::Time => (9, 0),
            What::World(text) => (10, text),
            What::Pauses { micros } => (11, micros),
        };
        self.mix(event.at ^ kind << 56);
        self.mix(u64::from(event.who) << 32 | u64::from(value));
        self.count += 1;
        if self.events.len() < KEPT {
            self.events.push(event);
        }
    }

    /// Adds what the world has done.
    pub(super) fn add_text(&mut self, at: u64, who: u32, text: &str) {
        text.bytes().for_each(|byte| self.mix(u64::from(byte)));
        let number = self.texts.len() as u32;
        if self.texts.len() < KEPT {
            self.texts.push(text.into());
        }
        self.add(Event { at, who, what: What::World(number) });
    }

    fn mix(&mut self, value: u64) {
        self.hash = (self.hash.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// How many events there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The number of the first event in which the two differ, if they do.
    pub(super) fn differs_from(&self, other: &Trace) -> Option<usize> {
        if (self.hash, self.count) == (other.hash, other.count) {
            return None;
        }
        let text = |trace: &Trace, event: &Event| match event.what {
            What::World(text) => trace.texts.get(text as usize).cloned(),
            _ => None,
        };
        let both = self.events.iter().zip(&other.events);
        let same = both.take_while(|(a, b)| a == b && text(self, a) == text(other, b)).count();
        Some(same)
    }
}

/// An event in words, with the name of its coroutine.
pub(super) struct InWords<'a> {
    pub(super) event: &'a Event,
    pub(super) trace: &'a Trace,
    pub(super) names: &'a [Box<str>],
}

/// The coroutine of that number.
pub(super) fn name_of(names: &[Box<str>], who: u32) -> &str {
    if who == NOBODY { "-" } else { names.get(who as usize).map_or("?", |name| name) }
}

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { at, who, what } = *self.event;
        write!(f, "{}.{:09} {} ", at / 1_000_000_000, at % 1_000_000_000, name_of(self.names, who))?;
        match what {
            What::Runs { of } => write!(f, "runs, of {of} runnable"),
            What::Preempted { of } => write!(f, "is preempted, others runnable: {of}"),
            What::Waits(reason) => write!(f, "waits in {}", reason.describe()),
            What::Yields => f.write_str("yields"),
            What::Ends => f.write_str("ends"),
            What::Spawned { by } => write!(f, "is spawned by {}", name_of(self.names, by)),
            What::Cancelled => f.write_str("is cancelled by the simulation"),
            What::Random(value) => write!(f, "draws {value}"),
            What::Time => f.write_str("time passes"),
            What::Pauses { micros } => write!(f, "pauses for {:?}", Duration::from_micros(micros.into())),
            What::World(text) => f.write_str(
                self.trace.texts.get(text as usize).map_or("the world does something", |text| text),
            ),
        }
    }
}
