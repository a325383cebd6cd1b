//! The report of detached coroutines that got no stack, and so never ran.
//!
//! A joiner gets the error; the error of a detached coroutine would be lost in silence. When stacks run out
//! there are many such coroutines, so there is at most one report in ten seconds, with the number of
//! coroutines since the last one.

use super::label::Label;
use crate::base::sys;
use std::io;
use std::time::{Duration, Instant};

const REPORT_EVERY: Duration = Duration::from_secs(10);

/// The time of the last report, and how many coroutines were not reported since.
struct Reports {
    last: Option<Instant>,
    since: u64,
}

impl Reports {
    /// Counts a coroutine. If a report is due, returns how many were not reported since the last one.
    fn count(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < REPORT_EVERY) {
            self.since += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

static REPORTS: parking_lot::Mutex<Reports> = parking_lot::Mutex::new(Reports { last: None, since: 0 });

/// Reports a coroutine whose error is about to be dropped, or counts it for the next report.
#[cold]
pub(super) fn report(label: &Label<'_>, error: &io::Error) {
    let counted = REPORTS.lock().count(Instant::now());
    let Some(before) = counted else { return };
    let others = if before == 0 { String::new() } else { format!(" (and {before} others before)") };
    sys::report(format_args!("sward: {label}{others} never ran, and nobody joins it: no stack: {error}"));
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_report_in_ten_seconds_which_counts_the_others() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut reports = Reports { last: None, since: 0 };
        assert_eq!(reports.count(start), Some(0));
        assert_eq!([1, 2, 9].map(|seconds| reports.count(at(seconds))), [None; 3]);
        assert_eq!(reports.count(at(10)), Some(3));
        assert_eq!(reports.count(at(19)), None);
        assert_eq!(reports.count(at(21)), Some(1));
    }
}
