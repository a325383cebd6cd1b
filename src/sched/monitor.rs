//! What the netpoller thread does for workers that are too busy to poll.

use super::runtime::add_spare_worker;
use super::shared::{Core, Phase, Shared};
use super::wait::wake_all;
use crate::base::sys;
use crate::coroutine::{Batch, Id, Label};
use crate::netpoll::{Events, Rest, Ward};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// From a worker whose turn has lasted for the threshold by the clock, what others can start is taken. The
/// worker is to blame once the turn has used that much processor time, or has lasted so many times as long: a
/// thread that the system keeps from running for a while is not, one that is blocked in the kernel is.
const BLOCKED_AFTER: u32 = 10;
/// The time between two reports of stuck workers.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// What the netpoller thread remembers between two looks.
pub(crate) struct Memory {
    seen: Vec<Seen>,
    events: Events,
    reported: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Seen {
    beat: u64,
    turns: u64,
    /// When it was first seen in this turn, and the processor time of its thread then.
    since: Option<(Instant, Duration)>,
}

impl Default for Memory {
    fn default() -> Self {
        Memory { seen: Vec::new(), events: Events::with_capacity(256), reported: None }
    }
}

impl Ward for Shared {
    type State = Memory;

    fn look(&self, memory: &mut Memory) -> Option<Rest> {
        let now = Instant::now();
        self.looks.fetch_add(1, Ordering::Relaxed);
        let cores = self.active_cores();
        memory.seen.resize(cores.len(), Seen { beat: 0, turns: 0, since: None });
        let (mut busy, mut late, mut left) = (false, 0, 0);
        let mut rest = Rest::new(now);
        let mut culprit: Option<Culprit> = None;
        for (index, core) in cores.iter().enumerate() {
            let seen = &mut memory.seen[index];
            let (beat, turns) = (core.beat.load(Ordering::Relaxed), core.turns.load(Ordering::Relaxed));
            let awake = core.awake();
            let polled = beat != seen.beat;
            busy |= awake || polled;
            let lasts = if !awake || turns != seen.turns {
                seen.since = None;
                Lasts::default()
            } else {
                lasts(core, now, &mut seen.since)
            };
            (seen.beat, seen.turns) = (beat, turns);
            if awake && rest.must_help(polled, self.polled_at(core)) {
                help(core, &mut memory.events);
            }
            left += usize::from(core.left.load(Ordering::Relaxed));
            let stall = self.config.stall;
            let (again, stuck) = (!lasts.elapsed.is_zero(), lasts.elapsed >= stall);
            // Not sooner: a thread that the system does not run for a moment is not slow.
            core.slow.store(lasts.elapsed >= stall / 2, Ordering::Relaxed);
            core.stuck.store(again && stuck, Ordering::Relaxed);
            if again && stuck {
                self.share_work_of(core);
            }
            let blocked = again && lasts.elapsed >= stall.saturating_mul(BLOCKED_AFTER);
            late += usize::from(blocked || again && lasts.used >= stall);
            if blocked {
                let awaited = !core.inbox.is_empty() || core.behind.load(Ordering::Relaxed);
                if awaited || culprit.is_none() {
                    culprit = Some(Culprit { index, elapsed: lasts.elapsed, awaited });
                }
            }
        }
        let all = late > 0 && late == cores.len() - left;
        if let Some(culprit) = culprit
            && (culprit.awaited || all && self.has_shared_work())
            && memory.reported.is_none_or(|at| now - at >= REPORT_EVERY)
        {
            memory.reported = Some(now);
            report(&culprit, &cores[culprit.index]);
        }
        if all && self.config.migrate && self.phase() == Phase::Running {
            add_spare_worker(self);
        }
        busy.then_some(rest)
    }

    fn awake(&self) -> bool {
        self.active_cores().iter().any(Core::awake)
    }
}

impl Shared {
    /// Lets the others take what waits behind a stuck worker and may be taken.
    fn share_work_of(&self, core: &Core) {
        self.take_back(core);
        if self.has_shared_work() {
            self.work_was_pushed();
        }
    }
}

/// How long a worker's present turn has lasted so far, by the clock and in processor time.
#[derive(Default)]
struct Lasts {
    elapsed: Duration,
    used: Duration,
}

fn lasts(core: &Core, now: Instant, since: &mut Option<(Instant, Duration)>) -> Lasts {
    let Some(used) = core.clock.get().and_then(|clock| clock.read()) else { return Lasts::default() };
    let (began, used_then) = *since.get_or_insert((now, used));
    Lasts { elapsed: now - began, used: used.saturating_sub(used_then) }
}

/// Drains the shard of a busy worker and fires its timers, so that whoever can run the result does.
fn help(core: &Core, events: &mut Events) {
    let mut batch = Batch::new();
    if core.shard.poll_for_worker(events, &mut batch).is_ok() {
        core.fire_timers(&mut batch);
    }
    core.helped.fetch_add(1, Ordering::Relaxed);
    wake_all(&mut batch);
}

/// A worker that is blocked in one turn.
struct Culprit {
    index: usize,
    elapsed: Duration,
    /// Whether something waits that it alone can run.
    awaited: bool,
}

fn report(culprit: &Culprit, core: &Core) {
    let id = core.running.load(Ordering::Relaxed);
    let mut name = None;
    core.for_each_live(|header| {
        // SAFETY: listed coroutines are alive.
        let header = unsafe { header.as_ref() };
        if header.id().0 == id {
            name = header.name().map(str::to_owned);
        }
    });
    let label = Label { name: name.as_deref(), id: Id(id) };
    sys::report(format_args!(
        "sward: {label} has kept worker {} for {} ms without a wait, and others are waiting for that worker; \
         it computes, or is blocked in the system (a std lock, channel or file?)",
        culprit.index,
        culprit.elapsed.as_millis()
    ));
}
