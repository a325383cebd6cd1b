//! What keeps a worker in one turn: its coroutine, which computes or waits in the kernel, or the system,
//! which does not run the worker's thread.
//!
//! A turn is measured from look to look of the netpoller thread. The time between two looks counts for
//! [`MOST_STEP`] at most: if the next look comes later than that, the netpoller thread was not run either. So
//! a process that is stopped for a minute, or has used up its processor quota, has no turn that lasted so
//! long.
//!
//! Of the time that a turn has lasted, the thread's clock tells what it computed, and the system how long it
//! was in the queue of a processor. The rest it has waited in the kernel.

use super::shared::Remote;
use crate::base::sys::ThreadClock;
use crate::base::sys::{Probe, ThreadState};
use std::time::Duration;

/// The most that the time between two looks counts for, which is a millisecond or two as a rule.
const MOST_STEP: Duration = Duration::from_millis(5);

/// What keeps a worker in a turn that has reached the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The coroutine has computed for so long.
    Computes(Duration),
    /// The coroutine is blocked in the kernel.
    Blocked,
    /// The coroutine is blocked in the kernel, or the thread is not run: this system does not tell which.
    Unclear,
    /// The thread could run, and the system does not run it.
    NotRun,
}

impl Verdict {
    /// Whether it may be the coroutine.
    pub(super) fn blames_coroutine(self) -> bool {
        self != Verdict::NotRun
    }
}

/// What is known of a turn.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    /// For how long it has lasted.
    lasts: Duration,
    /// The processor time that it has used.
    used: Duration,
    /// For how long that has not changed.
    still: Duration,
    /// What the system does with the thread now.
    doing: Option<ThreadState>,
    /// For how long it was in the queue of a processor, save for the present stay.
    delayed: Option<Duration>,
}

/// The verdict on a turn; `None` if it is too early for one.
fn judge(facts: &Facts, limit: Duration) -> Option<Verdict> {
    let Facts { lasts, used, still, doing, delayed } = *facts;
    if used >= limit {
        return Some(Verdict::Computes(used));
    }
    let Some(doing) = doing else {
        return (lasts >= limit.saturating_add(used)).then_some(Verdict::Unclear);
    };
    let past = delayed.unwrap_or_default();
    let delayed = match doing {
        ThreadState::Waiting => past,
        ThreadState::Running | ThreadState::Stopped => past + still,
    };
    let blocked = lasts.saturating_sub(used + delayed);
    if used + blocked < limit {
        (delayed >= limit).then_some(Verdict::NotRun)
    } else if used > blocked {
        Some(Verdict::Computes(used))
    } else {
        Some(Verdict::Blocked)
    }
}

/// The measure of one turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    lasts: Duration,
    /// The clock of its thread at the first look, and at the last one.
    first: Duration,
    last: Duration,
    still: Duration,
    /// What [`Probe::run_delay`] said when the turn became long.
    delayed: Option<Option<Duration>>,
    /// The verdict, and how long the turn had lasted then.
    verdict: (Option<Verdict>, Duration),
}

impl Measure {
    /// Of a turn that is seen for the second time; `None` if its thread's clock cannot be read.
    pub(super) fn begin(clock: Option<ThreadClock>) -> Option<Measure> {
        let first = clock?.read()?;
        let zero = Duration::ZERO;
        Some(Measure { lasts: zero, first, last: first, still: zero, delayed: None, verdict: (None, zero) })
    }

    /// It is seen once more, that long after the look before.
    pub(super) fn go_on(&mut self, step: Duration, clock: Option<ThreadClock>) {
        let step = step.min(MOST_STEP);
        self.lasts += step;
        let Some(now) = clock.and_then(ThreadClock::read) else { return };
        self.still = if now > self.last { Duration::ZERO } else { self.still + step };
        self.last = self.last.max(now);
    }

    /// For how long the turn has lasted.
    pub(super) fn lasts(&self) -> Duration {
        self.lasts
    }

    /// The processor time that it has used.
    pub(super) fn used(&self) -> Duration {
        self.last - self.first
    }

    /// Whether the thread could run, and has mostly not been run in this turn: that will be over sooner or
    /// later, and says nothing of the coroutine.
    pub(super) fn is_kept_from_running(&self, remote: &Remote) -> bool {
        let runs = || remote.probe.get().is_some_and(|probe| probe.state() == Some(ThreadState::Running));
        self.used() < self.lasts / 2 && runs()
    }

    /// The verdict, once the turn has lasted for `limit`. What the system tells of the thread is read when
    /// the turn becomes `long`, at the limit, and then as often as the turn becomes longer by `long`.
    pub(super) fn judge(&mut self, long: Duration, limit: Duration, probe: Option<Probe>) -> Option<Verdict> {
        if self.lasts < long {
            return None;
        }
        let before = *self.delayed.get_or_insert_with(|| probe.and_then(Probe::run_delay));
        if self.lasts < limit {
            return None;
        }
        let (verdict, at) = self.verdict;
        if at != Duration::ZERO && self.lasts - at < long {
            return verdict;
        }
        let delayed = before.zip(probe.and_then(Probe::run_delay));
        let facts = Facts {
            lasts: self.lasts,
            used: self.used(),
            still: self.still,
            doing: probe.and_then(Probe::state),
            delayed: delayed.map(|(before, now)| now.saturating_sub(before)),
        };
        self.verdict = (judge(&facts, limit), self.lasts);
        self.verdict.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    /// In milliseconds: lasts, used, still, delayed.
    fn verdict(times: [u64; 4], doing: Option<ThreadState>) -> Option<Verdict> {
        let [lasts, used, still, delayed] = times.map(Duration::from_millis);
        judge(&Facts { lasts, used, still, doing, delayed: Some(delayed) }, LIMIT)
    }

    fn computes(used: u64) -> Option<Verdict> {
        Some(Verdict::Computes(Duration::from_millis(used)))
    }

    #[test]
    fn a_turn_that_uses_the_processor_computes() {
        for doing in [None, Some(ThreadState::Running), Some(ThreadState::Waiting)] {
            assert_eq!(verdict([200, 200, 0, 0], doing), computes(200));
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
        // It had to wait for a processor before, which is not its fault.
        assert_eq!(verdict([300, 2, 100, 150], Some(ThreadState::Waiting)), None);
        assert_eq!(verdict([352, 2, 200, 150], Some(ThreadState::Waiting)), Some(Verdict::Blocked));
        // Many short calls, and it is seen between two.
        assert_eq!(verdict([210, 5, 0, 0], Some(ThreadState::Running)), Some(Verdict::Blocked));
    }

    #[test]
    fn a_thread_that_is_not_run_is_not_blamed_on_its_coroutine() {
        assert_eq!(verdict([200, 2, 198, 0], Some(ThreadState::Running)), None);
        assert_eq!(verdict([202, 2, 200, 0], Some(ThreadState::Running)), Some(Verdict::NotRun));
        assert_eq!(verdict([1000, 2, 998, 0], Some(ThreadState::Stopped)), Some(Verdict::NotRun));
        // It is run for a moment now and then: a quota, or a busy processor.
        assert_eq!(verdict([1000, 50, 20, 930], Some(ThreadState::Running)), Some(Verdict::NotRun));
        assert_eq!(verdict([1000, 50, 20, 930], Some(ThreadState::Waiting)), Some(Verdict::NotRun));
    }

    #[test]
    fn a_system_that_tells_nothing_leaves_it_open() {
        assert_eq!(verdict([200, 2, 198, 0], None), None);
        assert_eq!(verdict([202, 2, 200, 0], None), Some(Verdict::Unclear));
        let silent = Facts { lasts: LIMIT, doing: Some(ThreadState::Waiting), ..Facts::default() };
        assert_eq!(judge(&silent, LIMIT), Some(Verdict::Blocked), "delays are not told");
    }

    #[test]
    fn the_time_for_which_nobody_looked_is_not_counted() {
        let Some(clock) = ThreadClock::of_this_thread() else { return };
        let mut measure = Measure::begin(Some(clock)).expect("it was read");
        measure.go_on(Duration::from_secs(60), Some(clock));
        assert_eq!(measure.lasts(), MOST_STEP);
        let stall = Duration::from_millis(20);
        assert_eq!(measure.judge(stall, 10 * stall, Probe::of_this_thread()), None);
    }
}
