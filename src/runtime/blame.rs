//! What keeps a worker in one turn: its coroutine, which computes or waits in the kernel, or the system,
//! which does not run the worker's thread.
//!
//! A turn is measured from tick to tick of the netpoller thread. The time between two ticks counts for
//! [`MAX_STEP`] at most: if the next tick comes later than that, the system did not run the netpoller
//! thread either. So a process that was stopped for a minute, or has used up its processor quota, has no
//! turn of that length.
//!
//! The thread's clock says how much of the turn the thread has computed, and the system how long the thread
//! was in the queue of a processor. The rest of the time it has waited in the kernel. The system is first
//! asked when the turn has lasted for a quarter of the threshold. Of the time before that, only what the
//! thread has computed counts, as it may have waited for a processor.
//!
//! So a coroutine is blamed for what it would have done on a machine that had run it at once. If a starved
//! machine has not, the turn is longer than what the coroutine has done, and the report says by how much
//! ([`TurnMeasure::not_run`]).
//!
//! Some systems do not say what a thread does or has waited for. There, a turn that does not compute is
//! judged after ten times the threshold. By then a busy processor is unlikely to be the cause.

use crate::base::sys::{Probe, ThreadClock, ThreadState};
use std::time::Duration;

/// The most that the time between two ticks counts for. As a rule that is a millisecond or two.
const MAX_STEP: Duration = Duration::from_millis(5);

/// A turn is judged without the system's facts after this many times the threshold.
const WITHOUT_FACTS: u32 = 10;
/// The part of the threshold after which the system is asked for the first time.
const ASKED_AFTER_PART: u32 = 4;

/// What keeps a worker in a turn that has reached the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The coroutine has computed for so long.
    Computes(Duration),
    /// The coroutine is blocked in the kernel.
    Blocked,
    /// The coroutine is blocked in the kernel, or the thread is not run: this system does not say which.
    Unclear,
    /// The thread could run, and the system does not run it.
    NotRun,
}

impl Verdict {
    /// Whether the coroutine may be what keeps the worker.
    pub(super) fn blames_coroutine(self) -> bool {
        self != Verdict::NotRun
    }
}

/// What is known of a turn.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    /// How long it has lasted.
    lasted: Duration,
    /// The processor time that it has used.
    used: Duration,
    /// How long that has not changed.
    still: Duration,
    /// What the system does with the thread now.
    state: Option<ThreadState>,
    /// How long the thread was in the queue of a processor, without its present stay there.
    delayed: Option<Duration>,
    /// How long it did not run before the system was asked.
    unknown: Duration,
}

impl Facts {
    /// How long the thread could run, and was not run, as far as the system says.
    fn not_run(&self) -> Duration {
        let past = self.delayed.unwrap_or_default();
        match self.state {
            None | Some(ThreadState::Waiting) => past,
            Some(ThreadState::Running | ThreadState::Stopped) => past + self.still,
        }
    }
}

/// The verdict on a turn; `None` if it is too early for one.
fn judge(facts: &Facts, limit: Duration) -> Option<Verdict> {
    let Facts { lasted, used, delayed, unknown, .. } = *facts;
    if used >= limit {
        return Some(Verdict::Computes(used));
    }
    let long = limit.saturating_mul(WITHOUT_FACTS);
    if facts.state.is_none() {
        return (lasted >= long.saturating_add(used)).then_some(Verdict::Unclear);
    }
    let limit = if delayed.is_some() { limit } else { long };
    let not_run = facts.not_run();
    let blocked = lasted.saturating_sub(used + not_run + unknown);
    if used + blocked < limit {
        (not_run >= limit).then_some(Verdict::NotRun)
    } else if used > blocked {
        Some(Verdict::Computes(used))
    } else {
        Some(Verdict::Blocked)
    }
}

/// The measure of one turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct TurnMeasure {
    lasted: Duration,
    /// The clock of its thread at the first tick.
    first: Duration,
    /// The same at the last tick.
    last: Duration,
    still: Duration,
    /// What [`Probe::run_delay`] said first, and for how long the thread had not run until then.
    delayed: Option<(Option<Duration>, Duration)>,
    /// The verdict, and how long the turn had lasted then.
    verdict: (Option<Verdict>, Duration),
    /// [`Facts::not_run`] at that time.
    not_run: Duration,
}

impl TurnMeasure {
    /// The measure of a turn that two ticks have seen; `None` if the clock of its thread cannot be read.
    pub(super) fn begin(clock: Option<ThreadClock>) -> Option<TurnMeasure> {
        let first = clock?.read()?;
        let zero = Duration::ZERO;
        Some(TurnMeasure {
            lasted: zero,
            first,
            last: first,
            still: zero,
            delayed: None,
            verdict: (None, zero),
            not_run: zero,
        })
    }

    /// Another tick has seen the turn, that long after the tick before.
    pub(super) fn add(&mut self, step: Duration, clock: Option<ThreadClock>) {
        let step = step.min(MAX_STEP);
        self.lasted += step;
        let Some(now) = clock.and_then(ThreadClock::read) else { return };
        self.still = if now > self.last { Duration::ZERO } else { self.still + step };
        self.last = self.last.max(now);
    }

    /// How long the turn has lasted.
    pub(super) fn lasted(&self) -> Duration {
        self.lasted
    }

    /// The processor time that the turn has used.
    pub(super) fn used(&self) -> Duration {
        self.last - self.first
    }

    /// How long the thread could run, but the system did not run it, when the turn was judged last: as far as
    /// it is known.
    pub(super) fn not_run(&self) -> Duration {
        self.not_run
    }

    /// Whether the thread could run, and has mostly not been run in this turn. That ends sooner or later, and
    /// says nothing about the coroutine.
    pub(super) fn is_kept_from_running(&self, probe: Option<Probe>) -> bool {
        let runs = || probe.is_some_and(|probe| probe.state() == Some(ThreadState::Running));
        self.used() < self.lasted / 2 && runs()
    }

    /// The verdict, once the turn has lasted for `limit`. The system is asked about the thread after a part
    /// of the limit, at the limit, and whenever the turn has become longer by such a part after that.
    pub(super) fn judge(&mut self, limit: Duration, probe: Option<Probe>) -> Option<Verdict> {
        let part = limit / ASKED_AFTER_PART;
        if self.lasted < part {
            return None;
        }
        let (lasted, used) = (self.lasted, self.used());
        let first = || (probe.and_then(Probe::run_delay), lasted.saturating_sub(used));
        let (before, unknown) = *self.delayed.get_or_insert_with(first);
        if self.lasted < limit {
            return None;
        }
        let (verdict, at) = self.verdict;
        if at != Duration::ZERO && self.lasted - at < part {
            return verdict;
        }
        let delayed = before.zip(probe.and_then(Probe::run_delay));
        let facts = Facts {
            lasted: self.lasted,
            used: self.used(),
            still: self.still,
            state: probe.and_then(Probe::state),
            delayed: delayed.map(|(before, now)| now.saturating_sub(before)),
            unknown,
        };
        self.verdict = (judge(&facts, limit), self.lasted);
        self.not_run = facts.not_run().min(self.lasted.saturating_sub(self.used()));
        self.verdict.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    /// In milliseconds: lasted, used, still, delayed.
    fn verdict(times: [u64; 4], state: Option<ThreadState>) -> Option<Verdict> {
        let [lasted, used, still, delayed] = times.map(Duration::from_millis);
        let unknown = Duration::ZERO;
        judge(&Facts { lasted, used, still, state, delayed: Some(delayed), unknown }, LIMIT)
    }

    fn computes(used: u64) -> Option<Verdict> {
        Some(Verdict::Computes(Duration::from_millis(used)))
    }

    #[test]
    fn a_turn_that_uses_the_processor_computes() {
        for state in [None, Some(ThreadState::Running), Some(ThreadState::Waiting)] {
            assert_eq!(verdict([200, 200, 0, 0], state), computes(200));
        }
        // Half of the time other threads had the processor.
        assert_eq!(verdict([300, 150, 1, 150], Some(ThreadState::Running)), None);
        assert_eq!(verdict([400, 200, 1, 200], Some(ThreadState::Running)), computes(200));
        // It computes, with short calls in between.
        assert_eq!(verdict([200, 150, 0, 0], Some(ThreadState::Waiting)), computes(150));
    }

    #[test]
    fn a_turn_in_a_call_that_waits_is_blocked() {
        assert_eq!(verdict([200, 2, 198, 0], Some(ThreadState::Waiting)), Some(Verdict::Blocked));
        // It had to wait for a processor before: that is not its fault.
        assert_eq!(verdict([300, 2, 100, 150], Some(ThreadState::Waiting)), None);
        assert_eq!(verdict([352, 2, 200, 150], Some(ThreadState::Waiting)), Some(Verdict::Blocked));
        // Many short calls, and it is seen between two.
        assert_eq!(verdict([210, 5, 0, 0], Some(ThreadState::Running)), Some(Verdict::Blocked));
    }

    #[test]
    fn a_coroutine_is_not_blamed_for_a_thread_that_is_not_run() {
        assert_eq!(verdict([200, 2, 198, 0], Some(ThreadState::Running)), None);
        assert_eq!(verdict([202, 2, 200, 0], Some(ThreadState::Running)), Some(Verdict::NotRun));
        assert_eq!(verdict([1000, 2, 998, 0], Some(ThreadState::Stopped)), Some(Verdict::NotRun));
        // The system runs it for a moment now and then: a quota, or a busy processor.
        assert_eq!(verdict([1000, 50, 20, 930], Some(ThreadState::Running)), Some(Verdict::NotRun));
        assert_eq!(verdict([1000, 50, 20, 930], Some(ThreadState::Waiting)), Some(Verdict::NotRun));
    }

    /// It has computed for as long as the limit, so it is blamed, also on a machine that runs it rarely. How
    /// much of the turn is the machine's is known as well.
    #[test]
    fn the_time_of_a_starved_machine_is_told_from_that_of_the_coroutine() {
        let [lasted, used, still, delayed] = [2347, 200, 40, 2000].map(Duration::from_millis);
        for (state, not_run) in [(ThreadState::Running, 2040), (ThreadState::Waiting, 2000)] {
            let (state, delayed) = (Some(state), Some(delayed));
            let facts = Facts { lasted, used, still, state, delayed, unknown: Duration::ZERO };
            assert_eq!(judge(&facts, LIMIT), computes(200));
            assert_eq!(facts.not_run(), Duration::from_millis(not_run));
        }
        assert_eq!(Facts::default().not_run(), Duration::ZERO);
    }

    #[test]
    fn without_facts_from_the_system_the_verdict_stays_open() {
        assert_eq!(verdict([200, 2, 198, 0], None), None);
        assert_eq!(verdict([2002, 2, 2000, 0], None), Some(Verdict::Unclear));
        // The system does not say how long it was delayed.
        let silent = |lasted| Facts { lasted, state: Some(ThreadState::Waiting), ..Facts::default() };
        assert_eq!(judge(&silent(9 * LIMIT), LIMIT), None);
        assert_eq!(judge(&silent(10 * LIMIT), LIMIT), Some(Verdict::Blocked));
    }

    #[test]
    fn time_of_which_nothing_is_known_is_not_blamed() {
        let part = LIMIT / 4;
        let early = Facts {
            lasted: LIMIT,
            still: LIMIT,
            state: Some(ThreadState::Waiting),
            delayed: Some(Duration::ZERO),
            unknown: part,
            ..Facts::default()
        };
        assert_eq!(judge(&early, LIMIT), None);
        assert_eq!(judge(&Facts { lasted: LIMIT + part, ..early }, LIMIT), Some(Verdict::Blocked));
    }

    #[test]
    fn a_late_tick_counts_for_max_step() {
        let Some(clock) = ThreadClock::of_this_thread() else { return };
        let mut measure = TurnMeasure::begin(Some(clock)).expect("it was read");
        measure.add(Duration::from_secs(60), Some(clock));
        assert_eq!(measure.lasted(), MAX_STEP);
        let stall = Duration::from_millis(20);
        assert_eq!(measure.judge(stall, Probe::of_this_thread()), None);
    }
}
