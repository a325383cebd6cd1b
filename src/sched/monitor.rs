//! What the netpoller thread does for workers that are too busy to poll.

use super::blame::{Measure, Verdict};
use super::config::Phase;
use super::shared::{Remote, Shared};
use super::start::add_spare_worker;
use crate::base::sys;
use crate::coroutine::{Batch, Id, Label, WaitReason};
use crate::netpoll::{Events, Monitored, NextDeadline};
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

/// A turn is judged once it has lasted so many times as long as the stall threshold.
const JUDGED_AFTER: u32 = 10;
/// The time between two reports of stuck workers, and of threads that are not run.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// What the netpoller thread remembers between two ticks.
pub(crate) struct Memory {
    seen: Vec<Seen>,
    events: Events,
    /// When it looked last.
    last_tick: Option<Instant>,
    /// When it last reported a coroutine, and a thread that is not run.
    blamed: Option<Instant>,
    excused: Option<Instant>,
}

#[derive(Clone, Default)]
struct Seen {
    polls: u64,
    turns: u64,
    /// Of this turn, if it was seen before.
    turn: Option<Measure>,
}

impl Default for Memory {
    fn default() -> Self {
        let events = Events::with_capacity(256);
        Memory { seen: Vec::new(), events, last_tick: None, blamed: None, excused: None }
    }
}

impl Monitored for Shared {
    type State = Memory;

    fn tick(&self, memory: &mut Memory) -> Option<NextDeadline> {
        let now = Instant::now();
        self.ticks.fetch_add(1, Ordering::Relaxed);
        let remotes = self.active_remotes();
        let step = memory.last_tick.replace(now).map_or(Duration::ZERO, |looked| now - looked);
        memory.seen.resize(remotes.len(), Seen::default());
        let (mut busy, mut kept, mut idled, mut left) = (false, 0, 0, 0);
        let mut rest = NextDeadline::new(now);
        let mut culprit: Option<Culprit> = None;
        for (index, remote) in remotes.iter().enumerate() {
            let seen = &mut memory.seen[index];
            let (polls, turns) = (remote.polls.load(Ordering::Relaxed), remote.turns.load(Ordering::Relaxed));
            let awake = remote.awake();
            let polled = polls != seen.polls;
            busy |= awake || polled;
            let clock = remote.clock.get().copied();
            match &mut seen.turn {
                turn if !awake || turns != seen.turns => *turn = None,
                Some(turn) => turn.go_on(step, clock),
                turn => *turn = Measure::begin(clock),
            }
            (seen.polls, seen.turns) = (polls, turns);
            if awake && rest.must_help(polled, self.polled_at(remote)) {
                help(remote, &mut memory.events);
            }
            left += usize::from(remote.left.load(Ordering::Relaxed));
            let stall = self.config.stall;
            let lasts = seen.turn.map_or(Duration::ZERO, |turn| turn.lasts());
            // Not sooner: a thread that the system does not run for a moment is not slow.
            let slow = lasts >= stall / 2 && !seen.turn.is_some_and(|turn| turn.is_kept_from_running(remote));
            remote.slow.store(slow, Ordering::Relaxed);
            let stuck = !lasts.is_zero() && lasts >= stall;
            // Coroutines that were placed there start elsewhere as soon as a turn has lasted from look to
            // look.
            if stuck || !lasts.is_zero() && !remote.assigned.is_empty() {
                self.share_work_of(remote);
            }
            if !stuck {
                continue;
            }
            let Some(turn) = &mut seen.turn else { continue };
            let verdict = turn.judge(stall, stall.saturating_mul(JUDGED_AFTER), remote.probe.get().copied());
            // By its coroutine, or by the system.
            let by_system = verdict == Some(Verdict::NotRun);
            kept += usize::from(!by_system && (verdict.is_some() || turn.used() >= stall));
            idled += usize::from(by_system);
            if let Some(verdict) = verdict {
                let awaited = !remote.inbox.is_empty() || remote.behind.load(Ordering::Relaxed);
                let found = Culprit { index, turns, lasts, verdict, awaited };
                if culprit.as_ref().is_none_or(|other| found.matters() > other.matters()) {
                    culprit = Some(found);
                }
            }
        }
        let workers = remotes.len() - left;
        let nobody = kept + idled > 0 && kept + idled == workers;
        if let Some(culprit) = culprit
            && (culprit.awaited || nobody && self.has_shared_work())
        {
            let blames = culprit.verdict.blames_coroutine();
            let last = if blames { &mut memory.blamed } else { &mut memory.excused };
            if last.is_none_or(|at| now - at >= REPORT_EVERY) && self.report(&culprit) {
                *last = Some(now);
            }
        }
        // Another worker does not help where the system does not run the existing ones.
        if kept > 0 && kept == workers && self.config.migrate && self.phase() == Phase::Running {
            add_spare_worker(self);
        }
        busy.then_some(rest)
    }

    fn awake(&self) -> bool {
        self.active_remotes().iter().any(Remote::awake)
    }
}

impl Shared {
    /// Lets the others take what waits behind a stuck worker and may be taken.
    fn share_work_of(&self, remote: &Remote) {
        self.take_back(remote);
        if self.has_shared_work() {
            self.work_was_pushed();
        }
    }
}

/// Drains the shard of a busy worker and fires its timers, so that whoever can run the result does.
fn help(remote: &Remote, events: &mut Events) {
    let mut batch = Batch::new();
    if remote.shard.poll_for_worker(events, &mut batch).is_ok() {
        remote.fire_timers(&mut batch);
    }
    remote.helped.fetch_add(1, Ordering::Relaxed);
    batch.wake();
}

/// A worker that has been in one turn for too long.
struct Culprit {
    index: usize,
    turns: u64,
    lasts: Duration,
    verdict: Verdict,
    /// Whether something waits that it alone can run.
    awaited: bool,
}

impl Culprit {
    /// Of several the greatest is reported.
    fn matters(&self) -> (bool, bool) {
        (self.awaited, self.verdict.blames_coroutine())
    }
}

impl Shared {
    /// Reports it on stderr; false if there is nobody to name any more.
    fn report(&self, culprit: &Culprit) -> bool {
        let remote = &self.active_remotes()[culprit.index];
        let Some(coroutine) = self.describe_running(remote, culprit.turns) else { return false };
        let Culprit { index, lasts, verdict, .. } = culprit;
        let lasts = lasts.as_millis();
        let kept = format!("sward: {coroutine} has kept worker {index} for {lasts} ms without a wait");
        let others = "others are waiting for that worker";
        let wait = WaitReason::from_number(remote.blocked_in.load(Ordering::Relaxed));
        if wait != WaitReason::None && verdict.blames_coroutine() {
            sys::report(format_args!(
                "sward: {coroutine} has kept worker {index} for {lasts} ms, and {others}: it is blocked by a wait in \
                 a destructor while unwinding ({}), where nothing can switch",
                wait.describe()
            ));
            return true;
        }
        match verdict {
            Verdict::Computes(used) => sys::report(format_args!(
                "{kept}, and {others}: it computes ({} ms of processor time); call sward::yield_now now and \
                 then, or hand the work to sward::blocking",
                used.as_millis()
            )),
            Verdict::Blocked => {
                let place = remote.probe.get().and_then(|probe| probe.wait_channel());
                let place = place.map_or_else(String::new, |place| format!(" ({place})"));
                sys::report(format_args!(
                    "{kept}, and {others}: it is blocked in the kernel{place}; does it use a lock, a channel, a \
                     sleep or a file of std instead of sward's?"
                ));
            }
            Verdict::Unclear => sys::report(format_args!(
                "{kept}, and {others}: it is blocked in the kernel, or the system does not run its thread"
            )),
            Verdict::NotRun => sys::report(format_args!(
                "sward: the system has not run the thread of worker {index} for most of {lasts} ms, and {others}: \
                 other threads have the processors, or a quota is used up; {coroutine} is in its turn there, and \
                 not to blame"
            )),
        }
        true
    }
}

impl Shared {
    /// The coroutine that runs in that turn of a worker, in the words of reports; `None` if the turn is over,
    /// or the worker is between two.
    fn describe_running(&self, remote: &Remote, turn: u64) -> Option<String> {
        let id = remote.running.load(Ordering::Relaxed);
        if id == 0 {
            return None;
        }
        let mut text = None;
        // Where coroutines migrate, it may be listed at another worker than the one that runs it.
        for listed in self.active_remotes() {
            listed.for_each_live(|header| {
                // SAFETY: listed coroutines are alive.
                let header = unsafe { header.as_ref() };
                if header.id().0 == id {
                    text = Some(header.label().to_string());
                }
            });
        }
        let text = text.or_else(|| {
            let site = remote.first_site.get()?;
            Some(Label { id: Id(id), name: None, site }.to_string())
        });
        // Pairs with the release of `running`.
        fence(Ordering::Acquire);
        text.filter(|_| remote.turns.load(Ordering::Relaxed) == turn)
    }
}
