//! The report of coroutines that got no stack, so never ran, and that nobody joins.
//!
//! A joiner gets the error; that of a detached coroutine would be lost in silence. When stacks run out there
//! are many such coroutines, so a report comes at most every ten seconds, and says how many there were since
//! the last one.

use super::label::Label;
use crate::base::sys;
use std::io;
use std::time::{Duration, Instant};

const REPORT_EVERY: Duration = Duration::from_secs(10);

/// When the last report was, and how many coroutines were not reported since.
struct Reports {
    last: Option<Instant>,
    since: u64,
}

impl Reports {
    /// Counts one. If a report is due, gives how many were left out since the last one.
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

/// Reports a coroutine, whose error is about to be dropped.
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
    fn a_report_comes_at_most_every_ten_seconds_and_counts_the_others() {
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
