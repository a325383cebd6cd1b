//! A trace: what the flight recorder has recorded, as data.

use crate::coroutine::{Cause, Id};
use crate::sched::{Clock, Cursor, Raw, Recorded, What};
use std::collections::HashMap;
use std::panic::Location;
use std::time::{Duration, SystemTime};

/// What the workers of the process did in a span of time, event by event.
///
/// [`to_json`](Trace::to_json) and [`write_to`](Trace::write_to) write it for Perfetto and speedscope.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Trace {
    /// When the span began. The times of events count from here.
    pub began: SystemTime,
    /// How long it was.
    pub lasts: Duration,
    /// The workers that have recorded something, of all runtimes.
    pub workers: Vec<TraceWorker>,
    /// The coroutines that the events name, by their number.
    pub coroutines: Vec<TraceCoroutine>,
    /// The events, in the order of their times.
    pub events: Vec<TraceEvent>,
    /// How many events of the span are missing: they were overwritten, or there were too many for a trace. If
    /// some are missing in the midst, two turns of a coroutine may be shown as one.
    pub lost: u64,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceWorker {
    /// The name of its runtime's threads.
    pub runtime: String,
    /// Its number in its runtime.
    pub index: usize,
    /// From when on its events are known.
    pub known_from: Duration,
}

/// A coroutine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceCoroutine {
    /// Its number.
    pub id: Id,
    /// Its name, cut after 64 bytes if it has ended.
    pub name: Option<Box<str>>,
    /// The call that has spawned it, if it has had a turn or was spawned in the span.
    pub spawned_at: Option<&'static Location<'static>>,
    /// The coroutine that has spawned it.
    pub parent: Option<Id>,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceEvent {
    /// When it happened, since the trace began.
    pub at: Duration,
    /// The worker on which it happened: an index in [`Trace::workers`]. `None`: on another thread.
    pub worker: Option<usize>,
    /// What happened.
    pub what: TraceEventKind,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceEventKind {
    /// A coroutine was spawned.
    Spawn {
        /// It.
        coroutine: Id,
        /// The coroutine that has spawned it.
        by: Option<Id>,
    },
    /// The first turn of a coroutine began.
    Start {
        /// It.
        coroutine: Id,
    },
    /// Another turn of a coroutine began.
    Resume {
        /// It.
        coroutine: Id,
    },
    /// A turn ended: the coroutine waits.
    Park {
        /// It.
        coroutine: Id,
        /// The call that waits, such as `"Mutex::lock"`.
        call: &'static str,
        /// The address of what it waits for.
        subject: Option<usize>,
    },
    /// A turn ended: the coroutine lets others run first.
    Yield {
        /// It.
        coroutine: Id,
    },
    /// The last turn of a coroutine ended.
    End {
        /// It.
        coroutine: Id,
    },
    /// The wait of a coroutine ended: it is runnable.
    Wake {
        /// It.
        coroutine: Id,
        /// What ended the wait.
        cause: WakeCause,
        /// The coroutine in whose turn that was.
        by: Option<Id>,
        /// The turn that follows: the index of its [`Resume`](TraceEventKind::Resume) in [`Trace::events`].
        turn: Option<usize>,
    },
    /// The worker took work from another worker.
    Steal {
        /// An unstarted coroutine; in a migrating runtime any. `None`: a mobile home.
        coroutine: Option<Id>,
        /// The number of the other worker in the runtime.
        from: usize,
    },
    /// The worker slept until now.
    Sleep {
        /// When it fell asleep.
        began: Duration,
    },
    /// The worker polled until now: it asked the kernel for events, fired timers, and woke coroutines.
    Poll {
        /// When it began, or woke up.
        began: Duration,
        /// Whether it woke anybody.
        woke: bool,
    },
    /// A coroutine made so many calls without waiting that it must yield.
    BudgetYield {
        /// It.
        coroutine: Id,
    },
    /// A thread of the pool for [`blocking`](crate::blocking()) calls began one.
    CallBegin {
        /// Its number.
        call: u64,
        /// Where it was made.
        made_at: &'static Location<'static>,
        /// The coroutine that waits for it.
        caller: Option<Id>,
    },
    /// Such a call ended.
    CallEnd {
        /// Its number.
        call: u64,
    },
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WakeCause {
    /// What the coroutine waited for.
    Event,
    /// Its deadline.
    Timeout,
    /// Its cancellation.
    Cancelled,
}

impl Trace {
    /// The coroutine of that number, if events name it.
    pub fn coroutine(&self, id: Id) -> Option<&TraceCoroutine> {
        let found = self.coroutines.binary_search_by_key(&id, |coroutine| coroutine.id);
        found.ok().map(|index| &self.coroutines[index])
    }
}

impl TraceEventKind {
    /// The coroutine whose turn begins.
    pub(super) fn begins(&self) -> Option<Id> {
        match *self {
            TraceEventKind::Start { coroutine } | TraceEventKind::Resume { coroutine } => Some(coroutine),
            _ => None,
        }
    }

    /// The coroutine whose turn ends.
    pub(super) fn ends(&self) -> Option<Id> {
        match *self {
            TraceEventKind::Park { coroutine, .. }
            | TraceEventKind::Yield { coroutine }
            | TraceEventKind::End { coroutine } => Some(coroutine),
            _ => None,
        }
    }
}

/// What a trace is made from.
pub(super) struct Recording {
    pub(super) began: SystemTime,
    pub(super) lasts: Duration,
    /// The tick at which the span began.
    pub(super) start: u64,
    /// The nanoseconds of a tick.
    pub(super) rate: f64,
    /// The end of the span.
    pub(super) end: Clock,
    pub(super) tracks: Vec<Track>,
    /// The names of coroutines that have not ended.
    pub(super) names: Vec<(Id, Box<str>)>,
    pub(super) lost: u64,
}

/// What was read of a ring.
pub(super) struct Track {
    /// The name of the runtime's threads, and the number of the worker. `None`: the threads that are no
    /// workers.
    pub(super) worker: Option<(String, usize)>,
    pub(super) events: Vec<Raw>,
    /// How many events are missing in between or before.
    pub(super) lost: u64,
    pub(super) cursor: Cursor,
}

/// An event with its time in nanoseconds since the span began.
struct Timed {
    at: i64,
    track: usize,
    what: What,
    /// The turn that follows a wake-up: an index in the same list.
    turn: Option<usize>,
}

/// Makes a trace of what was read.
pub(super) fn assemble(recording: Recording) -> Trace {
    let Recording { began, lasts, start, rate, end, tracks, names, lost } = recording;
    let length = lasts.as_nanos() as i64;
    let nanoseconds = |tick| length - end.since(tick, rate) as i64;
    let mut about = About { coroutines: names.into_iter().map(named).collect(), parts: HashMap::new() };
    let mut timed: Vec<Timed> = Vec::new();
    let mut workers = Vec::new();
    for (track, read) in tracks.iter().enumerate() {
        let oldest = read.events.iter().find_map(|raw| raw.decode()).map(|event| nanoseconds(event.at));
        let known_from = if read.lost > 0 { oldest.map_or(length, |at| at.clamp(0, length)) } else { 0 };
        if let Some((runtime, index)) = &read.worker {
            let known_from = Duration::from_nanos(known_from as u64);
            workers.push(TraceWorker { runtime: runtime.clone(), index: *index, known_from });
        }
        // Ticks never go back on a thread, but threads move between processors.
        let mut last = i64::MIN;
        for Recorded { at, what } in read.events.iter().filter_map(|raw| raw.decode()) {
            about.note(&what);
            if matches!(what, What::Name { .. }) || at < start {
                continue;
            }
            last = nanoseconds(at).max(last);
            if last <= length {
                timed.push(Timed { at: last.max(0), track, what, turn: None });
            }
        }
    }
    pair_wakes(&mut timed);
    let mut order: Vec<usize> = (0..timed.len()).collect();
    order.sort_by_key(|&index| timed[index].at);
    let mut place = vec![0; order.len()];
    for (to, &from) in order.iter().enumerate() {
        place[from] = to;
    }
    let index_of: Vec<Option<usize>> = {
        let mut next = 0..;
        tracks.iter().map(|read| read.worker.as_ref().and_then(|_| next.next())).collect()
    };
    let ago = |at: i64, ticks: u64| Duration::from_nanos((at - (ticks as f64 * rate) as i64).max(0) as u64);
    let events = order.iter().filter_map(|&index| {
        let event = &timed[index];
        Some(TraceEvent {
            at: Duration::from_nanos(event.at as u64),
            worker: index_of[event.track],
            what: kind(event, &place, ago)?,
        })
    });
    let events = events.collect();
    Trace { began, lasts, workers, coroutines: about.coroutines(), events, lost }
}

/// The public form of an event. All but names, which are no events any more, have one.
fn kind(event: &Timed, place: &[usize], ago: impl Fn(i64, u64) -> Duration) -> Option<TraceEventKind> {
    Some(match event.what {
        What::Spawned { coroutine, parent, .. } => TraceEventKind::Spawn { coroutine, by: parent },
        What::Begins { coroutine, first: true, .. } => TraceEventKind::Start { coroutine },
        What::Begins { coroutine, first: false, .. } => TraceEventKind::Resume { coroutine },
        What::Parked { coroutine, reason, subject, .. } => {
            let subject = (subject != 0).then_some(subject);
            TraceEventKind::Park { coroutine, call: reason.describe(), subject }
        }
        What::Yielded { coroutine } => TraceEventKind::Yield { coroutine },
        What::Ended { coroutine } => TraceEventKind::End { coroutine },
        What::Woken { coroutine, cause, by, .. } => {
            let cause = match cause {
                Cause::Event => WakeCause::Event,
                Cause::Timeout => WakeCause::Timeout,
                Cause::Cancelled => WakeCause::Cancelled,
            };
            TraceEventKind::Wake { coroutine, cause, by, turn: event.turn.map(|index| place[index]) }
        }
        What::Stolen { coroutine, from } => TraceEventKind::Steal { coroutine, from },
        What::Slept { took } => TraceEventKind::Sleep { began: ago(event.at, took) },
        What::Polled { took, woke } => TraceEventKind::Poll { began: ago(event.at, took), woke },
        What::BudgetUsedUp { coroutine } => TraceEventKind::BudgetYield { coroutine },
        What::CallBegan { call, site, caller } => TraceEventKind::CallBegin { call, made_at: site, caller },
        What::CallEnded { call } => TraceEventKind::CallEnd { call },
        What::Name { .. } => return None,
    })
}

/// The wake-ups and the turns of one coroutine, each with its time, place and mark.
#[derive(Default)]
struct Waits {
    wakes: Vec<(i64, usize, u8)>,
    begins: Vec<(i64, usize, u8)>,
}

/// Finds for each wake-up the turn that follows: the first one with its mark. If the turn seems to begin
/// before the wake-up, it begins with it.
fn pair_wakes(timed: &mut [Timed]) {
    let mut of: HashMap<Id, Waits> = HashMap::new();
    for (index, event) in timed.iter().enumerate() {
        match event.what {
            What::Woken { coroutine, mark, .. } => {
                of.entry(coroutine).or_default().wakes.push((event.at, index, mark));
            }
            What::Begins { coroutine, mark, .. } => {
                of.entry(coroutine).or_default().begins.push((event.at, index, mark));
            }
            _ => {}
        }
    }
    for mut waits in of.into_values() {
        waits.wakes.sort_unstable();
        waits.begins.sort_unstable();
        // A turn after a yield has the mark of the turn before.
        waits.begins.dedup_by_key(|(_, _, mark)| *mark);
        let mut begins = waits.begins.into_iter().peekable();
        for (woken_at, wake, mark) in waits.wakes {
            // Marks wrap around.
            let ahead = |of: u8| of.wrapping_sub(mark) as i8;
            while begins.next_if(|(_, _, of)| ahead(*of) < 0).is_some() {}
            let Some((begins_at, turn, _)) = begins.next_if(|(_, _, of)| ahead(*of) == 0) else { continue };
            timed[wake].turn = Some(turn);
            if begins_at < woken_at {
                // No later than what happens next on that worker.
                let next = timed.get(turn + 1).filter(|next| next.track == timed[turn].track);
                timed[turn].at = next.map_or(woken_at, |next| next.at.min(woken_at)).max(begins_at);
                if timed[turn].at < woken_at {
                    timed[wake].at = timed[turn].at;
                }
            }
        }
    }
}

/// What is known of coroutines.
struct About {
    coroutines: HashMap<Id, TraceCoroutine>,
    /// Parts of the names of coroutines that have ended.
    parts: HashMap<Id, Vec<u8>>,
}

fn named((id, name): (Id, Box<str>)) -> (Id, TraceCoroutine) {
    (id, TraceCoroutine { id, name: Some(name), spawned_at: None, parent: None })
}

impl About {
    fn entry(&mut self, id: Id) -> &mut TraceCoroutine {
        let new = || TraceCoroutine { id, name: None, spawned_at: None, parent: None };
        self.coroutines.entry(id).or_insert_with(new)
    }

    fn note(&mut self, what: &What) {
        match *what {
            What::Spawned { coroutine, site, parent } | What::Begins { coroutine, site, parent, .. } => {
                let entry = self.entry(coroutine);
                entry.spawned_at = Some(site);
                entry.parent = parent;
            }
            What::Parked { coroutine, .. }
            | What::Yielded { coroutine }
            | What::Ended { coroutine }
            | What::Woken { coroutine, .. } => _ = self.entry(coroutine),
            What::Name { coroutine, part, bytes } => {
                let parts = self.parts.entry(coroutine).or_default();
                // Unless the first part was overwritten.
                if parts.len() == usize::from(part) * bytes.len() {
                    parts.extend(bytes);
                }
            }
            _ => {}
        }
    }

    fn coroutines(mut self) -> Vec<TraceCoroutine> {
        for (id, bytes) in std::mem::take(&mut self.parts) {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let whole = match std::str::from_utf8(&bytes[..end]) {
                Ok(name) => name,
                Err(cut) => std::str::from_utf8(&bytes[..cut.valid_up_to()]).unwrap_or_default(),
            };
            if !whole.is_empty() {
                self.entry(id).name = Some(whole.into());
            }
        }
        let mut all: Vec<_> = self.coroutines.into_values().collect();
        all.sort_unstable_by_key(|coroutine| coroutine.id);
        all
    }
}
