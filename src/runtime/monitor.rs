//! The monitor: what each tick of the netpoller thread does for workers that stay in long turns.
//!
//! The problem: a worker that is inside a long turn runs nothing else. Its sockets and timers go unseen, the
//! coroutines behind it wait, and nobody knows why. Nothing can interrupt the turn.
//!
//! So the netpoller thread checks all workers at each tick, which comes every millisecond or two while a
//! worker is awake. For each worker it
//! - *helps* if the worker has not polled lately: it polls the worker's shard and fires its timers;
//! - measures for how long the worker's present turn has lasted, from tick to tick ([`blame`](super::blame));
//! - takes back the coroutines that are assigned to a worker whose turn has lasted from one tick to the next,
//!   so that other workers start them, and wakes another worker for what they may steal from it;
//! - keeps new coroutines away from a worker whose turn has lasted half of the stall threshold
//!   (`Remote::slow`);
//! - from the stall threshold on, finds out whether the coroutine or the system keeps the worker. A stall is
//!   counted; one of the stalled workers is reported if others wait for it, together with the stack of the
//!   coroutine.
//!
//! A tick that finds all workers asleep, and no timer set, leaves a hint for the watch for deadlocks.
//!
//! In migrating mode the monitor adds a spare worker when coroutines keep all workers beyond the threshold.
//!
//! With mobile homes it acts sooner, since all that waits behind a long turn may run elsewhere, except for
//! the siblings of the coroutine in that turn:
//! - once a turn has lasted from one tick to the next, the items in the worker's deque go to the injector;
//! - at each tick, a sleeping worker is woken if items wait anywhere;
//! - a home whose turn has used a tenth of the stall threshold of processor time, or lasted for all of it
//!   although the system runs the thread, is marked: no coroutine starts there for [`QUIET_TICKS`];
//! - if all workers but the spare ones are in such turns, items that wait wake a spare worker; if the spare
//!   ones are, too, one is added.

use super::blame::{TurnMeasure, Verdict};
use crate::base::sys;
use crate::coroutine::{Batch, Label, WaitReason};
use crate::inspect::{self, OnStall, Stall, StallKind, StalledCoroutine};
use crate::netpoll::{Events, Monitored, NextDeadline};
use crate::sched::{AbortOnPanic, Phase, Remote, Shared, add_spare_worker, hint_of_rest};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// With mobile homes: a turn is long that has used this part of the stall threshold of processor time.
const LONG_TURN_PART: u32 = 10;
/// With mobile homes: for how many ticks after a long turn no coroutine starts in the home. That is ten
/// seconds or more.
const QUIET_TICKS: u64 = 10_000;
/// After how many times the stall threshold it is reported that the system does not run a worker's thread.
const DELAYED_AFTER: u32 = 10;
/// A turn of a runtime whose waits are checked is judged after this many times the stall threshold.
const CHECKED: u32 = 10;
/// The least time between two reports of stalled coroutines, and between two of threads that are not run.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// How many parked siblings of a blocked coroutine a report names.
const SUSPECTS: usize = 8;
/// Events that are fetched at once.
const EVENTS: usize = 256;

/// Starts the netpoller thread of a runtime. `on_stall` gets the stalls that would be reported on stderr;
/// without it they are reported if `reports` says so.
pub(super) fn start(shared: &Arc<Shared>, on_stall: Option<OnStall>, reports: bool) -> io::Result<()> {
    let monitor = Monitor { shared: Arc::clone(shared), on_stall, reports };
    let name = format!("{}-netpoll", shared.config().thread_name);
    shared.threads.start(name, move || {
        let _bomb = AbortOnPanic;
        monitor.shared.netpoller_time.begin();
        monitor.shared.netpoller.run(&monitor);
    })
}

/// A runtime as its netpoller thread sees it.
struct Monitor {
    shared: Arc<Shared>,
    on_stall: Option<OnStall>,
    /// Whether stalls are reported on stderr.
    reports: bool,
}

/// What the netpoller thread remembers between two ticks.
struct Memory {
    /// One for each worker.
    seen: Vec<Seen>,
    events: Events,
    last_tick: Option<Instant>,
    /// When it last reported a coroutine.
    blamed: Option<Instant>,
    /// When it last reported a thread that the system does not run.
    excused: Option<Instant>,
}

/// What the last tick saw of a worker.
#[derive(Clone, Default)]
struct Seen {
    polls: u64,
    turns: u64,
    /// Whether the present turn has lasted for the stall threshold.
    long: bool,
    /// The measure of the present turn, if the tick before had seen this turn as well.
    turn: Option<TurnMeasure>,
}

impl Default for Memory {
    fn default() -> Self {
        Memory {
            seen: Vec::new(),
            events: Events::with_capacity(EVENTS),
            last_tick: None,
            blamed: None,
            excused: None,
        }
    }
}

/// How many workers are kept in a turn beyond the stall threshold.
#[derive(Default)]
struct Stalled {
    /// By their coroutines.
    by_coroutine: usize,
    /// By the system, which does not run their threads.
    by_system: usize,
    /// With mobile homes: how many workers are in a long turn.
    in_long_turn: usize,
    /// How many of these are no spare workers.
    regular_in_long_turn: usize,
}

impl Stalled {
    /// Whether they are that many: no worker takes shared work.
    fn keep_all_of(&self, workers: usize) -> bool {
        workers > 0 && self.by_coroutine + self.by_system == workers
    }
}

impl Monitored for Monitor {
    type State = Memory;

    fn tick(&self, memory: &mut Memory) -> Option<NextDeadline> {
        let shared = &*self.shared;
        let now = Instant::now();
        shared.ticks.fetch_add(1, Ordering::Relaxed);
        let remotes = shared.active_remotes();
        let step = memory.last_tick.replace(now).map_or(Duration::ZERO, |last| now - last);
        memory.seen.resize(remotes.len(), Seen::default());
        let (mut busy, mut left, mut stalled) = (false, 0, Stalled::default());
        let mut next = NextDeadline::new(now);
        let mut worst: Option<Kept> = None;
        for (index, remote) in remotes.iter().enumerate() {
            let seen = &mut memory.seen[index];
            let awake = remote.awake();
            let polled = seen.look(remote, awake, step);
            busy |= awake || polled;
            if awake && next.must_help(polled, shared.polled_at(remote)) {
                shared.in_place_of_a_worker(|| help(remote, &mut memory.events));
            }
            left += usize::from(remote.left.load(Ordering::Relaxed));
            if let Some(stall) = self.check_turn(index, remote, seen, &mut stalled)
                && worst.as_ref().is_none_or(|other| stall.weight() > other.weight())
            {
                worst = Some(stall);
            }
        }
        let workers = remotes.len() - left;
        if let Some(stall) = worst {
            self.report_if_due(&stall, stalled.keep_all_of(workers), memory, now);
        }
        self.use_spare_workers(&stalled, workers);
        if !busy && !shared.has_timers() {
            hint_of_rest();
        }
        busy.then_some(next)
    }

    fn awake(&self) -> bool {
        self.shared.active_remotes().iter().any(Remote::awake)
    }
}

impl Monitor {
    /// Acts on how long the worker's present turn has lasted. Returns the stall, once the turn is judged.
    fn check_turn(
        &self,
        index: usize,
        remote: &Remote,
        seen: &mut Seen,
        stalled: &mut Stalled,
    ) -> Option<Kept> {
        let threshold = self.shared.config().stall;
        let lasted = seen.turn.map_or(Duration::ZERO, |turn| turn.lasted());
        // Not sooner: a thread that the system does not run for a moment is not slow.
        let slow = lasted >= threshold / 2
            && !seen.turn.is_some_and(|turn| turn.is_kept_from_running(remote.probe.get().copied()));
        remote.slow.store(slow, Ordering::Relaxed);
        let long = !lasted.is_zero() && lasted >= threshold;
        if long && !std::mem::replace(&mut seen.long, long) {
            remote.stalls.fetch_add(1, Ordering::Relaxed);
        }
        seen.long = long;
        // With mobile homes items that wait wake a worker at each tick as it is.
        let stealable = || !self.shared.has_mobile_homes() && remote.has_stealable();
        if long || !lasted.is_zero() && (!remote.assigned.is_empty() || stealable()) {
            self.share_work_of(remote);
        }
        if self.shared.has_mobile_homes() && !lasted.is_zero() {
            self.shared.take_back_items(remote);
            // Not if the system does not run the thread: that says nothing about the coroutine.
            let lasts = long && slow;
            if lasts || seen.turn.is_some_and(|turn| turn.used() >= threshold / LONG_TURN_PART) {
                stalled.in_long_turn += 1;
                stalled.regular_in_long_turn += usize::from(index < self.shared.regular());
                let until = self.shared.ticks.load(Ordering::Relaxed) + QUIET_TICKS;
                if let Some(home) = remote.home_of_turn(seen.turns) {
                    home.mark_until(until);
                }
            }
        }
        let turn = seen.turn.as_mut()?;
        // The first checked wait of each chain of calls takes long.
        let factor = if self.shared.config().checks { CHECKED } else { 1 };
        let verdict = turn.judge(threshold.saturating_mul(factor), remote.probe.get().copied());
        if !long {
            return None;
        }
        let by_system = verdict == Some(Verdict::NotRun);
        let by_coroutine = !by_system && (verdict.is_some() || turn.used() >= threshold);
        stalled.by_coroutine += usize::from(by_coroutine);
        stalled.by_system += usize::from(by_system);
        let awaited = !remote.running_home().inbox.is_empty() || remote.others_ready.load(Ordering::Relaxed);
        let verdict = verdict?;
        // A busy machine is no news, so that is reported only if it lasts.
        let is_news = verdict.blames_coroutine() || lasted >= threshold.saturating_mul(DELAYED_AFTER);
        is_news.then_some(Kept { index, turn: seen.turns, lasted, not_run: turn.not_run(), verdict, awaited })
    }

    /// Reports a stall, if coroutines wait for it and the last report is some time ago.
    fn report_if_due(&self, stall: &Kept, none_runs: bool, memory: &mut Memory, now: Instant) {
        let waited_for = stall.awaited || none_runs && self.shared.has_shared_work();
        if !waited_for {
            return;
        }
        let blames = stall.verdict.blames_coroutine();
        let last = if blames { &mut memory.blamed } else { &mut memory.excused };
        if last.is_none_or(|at| now - at >= REPORT_EVERY) && self.report(stall) {
            *last = Some(now);
        }
    }

    /// Wakes a spare worker for items that wait, or adds one, while coroutines keep all others. It would not
    /// help if the system does not run the existing ones.
    fn use_spare_workers(&self, stalled: &Stalled, workers: usize) {
        let shared = &*self.shared;
        let all_kept = if shared.has_mobile_homes() {
            let kept = stalled.regular_in_long_turn >= shared.regular();
            shared.wants_spare.store(kept, Ordering::Relaxed);
            let waits = shared.has_shared_work();
            if waits {
                shared.work_was_pushed();
            }
            waits && stalled.in_long_turn == workers
        } else {
            shared.config().migrate && stalled.by_coroutine == workers
        };
        if all_kept && workers > 0 && shared.phase() == Phase::Running {
            add_spare_worker(&self.shared);
        }
    }

    /// Lets other workers take what waits behind a busy worker and may be taken.
    fn share_work_of(&self, remote: &Remote) {
        self.shared.take_back(remote);
        if self.shared.has_shared_work() {
            self.shared.work_was_pushed();
        }
    }
}

impl Seen {
    /// Notes what the worker has done, `step` after the last tick. Returns whether it has polled since.
    fn look(&mut self, remote: &Remote, awake: bool, step: Duration) -> bool {
        let (polls, turns) = (remote.polls.load(Ordering::Relaxed), remote.running.turns());
        let clock = remote.clock.get().copied();
        match &mut self.turn {
            turn if !awake || turns != self.turns => *turn = None,
            Some(turn) => turn.add(step, clock),
            turn => *turn = TurnMeasure::begin(clock),
        }
        let polled = polls != self.polls;
        (self.polls, self.turns) = (polls, turns);
        polled
    }
}

/// Polls the shard of a busy worker and fires its timers, in its place.
fn help(remote: &Remote, events: &mut Events) {
    let mut batch = Batch::new();
    // Timers need no poller: they fire even if the poll fails. The worker may stay in its turn for long, and
    // the polls of later ticks may fail as well. Events that a failed poll did not fetch stay in the poller.
    let _ = remote.shard.poll_for_worker(events, &mut batch);
    remote.ring.serve(&mut batch);
    remote.fire_timers(&mut batch);
    remote.helped.fetch_add(1, Ordering::Relaxed);
    batch.wake();
}

/// A worker that has been in one turn for too long.
struct Kept {
    index: usize,
    turn: u64,
    lasted: Duration,
    not_run: Duration,
    verdict: Verdict,
    /// Whether something waits that only this worker can run.
    awaited: bool,
}

impl Kept {
    /// The stall with the greatest weight is reported.
    fn weight(&self) -> (bool, bool) {
        (self.awaited, self.verdict.blames_coroutine())
    }
}

impl Monitor {
    /// Reports a stall; false if its turn is over, so that no coroutine can be named.
    fn report(&self, kept: &Kept) -> bool {
        let Some((coroutine, siblings)) = describe_running(&self.shared, kept) else { return false };
        let Some(kind) = self.kind_of(kept) else {
            if self.reports {
                sys::report(format_args!(
                    "sward: the system has not run the thread of worker {} for most of {} ms, and others are waiting \
                     for that worker: other threads have the processors, or a quota is used up; {coroutine} is in its \
                     turn there, and not to blame",
                    kept.index,
                    kept.lasted.as_millis()
                ));
            }
            return true;
        };
        let blocked = matches!(kind, StallKind::Blocked { .. } | StallKind::Unclear);
        let remote = &self.shared.active_remotes()[kept.index];
        let stall = Stall {
            coroutine,
            worker: kept.index,
            lasts: kept.lasted,
            not_run: kept.not_run,
            kind,
            waiting: siblings.ready + remote.assigned.len() + self.shared.unstarted_in_queues(),
            suspects: if blocked { siblings.parked } else { Vec::new() },
            stack: None,
        };
        if self.reports || self.on_stall.is_some() {
            inspect::report_stall(&self.shared, stall, kept.turn, self.on_stall.clone());
        }
        true
    }

    /// What the coroutine does; `None` if the system does not run its thread.
    fn kind_of(&self, kept: &Kept) -> Option<StallKind> {
        let remote = &self.shared.active_remotes()[kept.index];
        let wait = WaitReason::from_number(remote.blocked_in.load(Ordering::Relaxed));
        Some(match kept.verdict {
            Verdict::NotRun => return None,
            _ if wait != WaitReason::None => StallKind::InDestructor { call: wait.describe() },
            Verdict::Computes(used) => StallKind::Computes { used },
            Verdict::Blocked => {
                StallKind::Blocked { place: remote.probe.get().and_then(|probe| probe.wait_channel()) }
            }
            Verdict::Unclear => StallKind::Unclear,
        })
    }
}

/// The coroutines that share a home with the one that runs.
#[derive(Default)]
struct Siblings {
    /// How many are ready to run.
    ready: usize,
    /// Some that wait.
    parked: Vec<StalledCoroutine>,
}

/// The coroutine that runs in that turn of a worker, and its siblings; `None` if the turn is over, or the
/// worker is between two. How the words of the worker are read is in `sched/running.rs`.
fn describe_running(shared: &Shared, kept: &Kept) -> Option<(StalledCoroutine, Siblings)> {
    let remote = &shared.active_remotes()[kept.index];
    let id = remote.running.id()?;
    let (mut found, mut siblings) = (None, Siblings::default());
    let own_home = std::ptr::from_ref(remote.running_home());
    // In migrating mode another worker than the one that runs it may list it.
    for home in shared.homes() {
        home.for_each_listed(|header| {
            // SAFETY: listed coroutines are alive.
            let header = unsafe { header.as_ref() };
            if header.id() == id {
                found = Some(StalledCoroutine::of(&header.label(), WaitReason::None));
            } else if !std::ptr::eq(home, own_home) {
            } else if header.waiter.parked_in().is_none() {
                siblings.ready += 1;
            } else if siblings.parked.len() < SUSPECTS {
                siblings.parked.push(StalledCoroutine::of(&header.label(), header.reason()));
            }
        });
    }
    let found = found.or_else(|| {
        let site = remote.running.first_site_of(id)?;
        Some(StalledCoroutine::of(&Label { id, name: None, site }, WaitReason::None))
    });
    found.filter(|_| remote.running.was_turn(kept.turn)).map(|found| (found, siblings))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::Cause;
    use crate::coroutine::testing::{ticket_of, waiter};
    use crate::netpoll::Shard;
    use std::sync::Weak;

    #[test]
    fn due_timers_fire_even_if_the_poll_fails() {
        let shard = Arc::new(Shard::new().expect("a shard"));
        let remote = Remote::new(&Weak::new(), 0, shard, false);
        let waiter = waiter();
        let ticket = ticket_of(&waiter);
        remote.timers.lock().insert(Instant::now(), ticket);

        // `epoll_wait` refuses a buffer for no events. Where it is accepted, the timer fires all the same.
        help(&remote, &mut Events::with_capacity(0));
        assert_eq!(waiter.cause(ticket), Some(Cause::Timeout));
    }
}
