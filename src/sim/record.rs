//! What is left of a failure on disk: its trace, in the format of the flight recorder, and its schedule,
//! which can be run again.

use super::run::Outcome;
use super::strategy::Decided;
use super::trace::{Event, NOBODY, What};
use crate::coroutine::Id;
use crate::inspect::{Trace, TraceCoroutine, TraceEvent, TraceEventKind, TraceWorker};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};
use std::{fs, io};

/// How long a turn looks in a trace, in nanoseconds. The clock stands still while a coroutine runs.
const TURN: u64 = 900;

/// The number that a trace gives the coroutine of that number: numbers of coroutines begin with one.
fn id_of(who: u32) -> Id {
    Id(u64::from(who) + 1)
}

/// The events of a run as a trace. Each host is shown as a worker; the first one is that of the check itself.
pub(super) fn trace_of(run: &Outcome) -> Trace {
    let worker = |index: usize, name: &str| TraceWorker {
        runtime: format!("sim {name}"),
        index,
        known_from: Duration::ZERO,
    };
    let hosts = run.hosts.iter().enumerate().map(|(place, name)| worker(place + 1, name));
    let workers = std::iter::once(worker(0, "check")).chain(hosts).collect();
    let coroutines = run.described.iter().enumerate().map(|(number, one)| TraceCoroutine {
        id: id_of(number as u32),
        name: one.name.clone(),
        spawned_at: one.site,
        parent: (one.by != NOBODY).then(|| id_of(one.by)),
    });
    let mut started = BTreeSet::new();
    let events = run.trace.events.iter().filter(|event| event.who != NOBODY).filter_map(|event| {
        let Event { at, who, what } = *event;
        let coroutine = id_of(who);
        let (later, what) = match what {
            What::Runs { .. } if started.insert(who) => (0, TraceEventKind::Start { coroutine }),
            What::Runs { .. } => (0, TraceEventKind::Resume { coroutine }),
            What::Preempted { .. } | What::Yields => (TURN, TraceEventKind::Yield { coroutine }),
            What::Waits(reason) => {
                (TURN, TraceEventKind::Park { coroutine, call: reason.describe(), subject: None })
            }
            What::Ends => (TURN, TraceEventKind::End { coroutine }),
            What::Spawned { by } => {
                let by = (by != NOBODY).then(|| id_of(by));
                (TURN / 2, TraceEventKind::Spawn { coroutine, by })
            }
            What::Cancelled | What::Random(_) | What::Time | What::Pauses { .. } | What::World(_) => {
                return None;
            }
        };
        let worker = run.described.get(who as usize).map(|one| one.host as usize);
        Some(TraceEvent { at: Duration::from_nanos(at + later), worker, what })
    });
    let mut events: Vec<_> = events.collect();
    // A coroutine that goes on after a wait that had ended is shown as running until its next event.
    events.sort_by_key(|event| event.at);
    let lasts = events.last().map_or(Duration::ZERO, |event| event.at);
    Trace {
        began: SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_800),
        lasts,
        workers,
        coroutines: coroutines.collect(),
        events,
        lost: run.trace.count().saturating_sub(run.trace.events.len() as u64),
    }
}

/// A schedule with all that a run of it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) seed: u64,
    /// The wait that is cancelled.
    pub(super) cancel_at: Option<u64>,
    pub(super) decisions: Vec<Decided>,
}

impl Schedule {
    /// Writes it to a file.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = format!("sward::sim schedule 1\nseed {}\n", self.seed);
        if let Some(at) = self.cancel_at {
            let _ = writeln!(text, "cancel {at}");
        }
        for decision in &self.decisions {
            let _ = match decision {
                Decided::For(who) => writeln!(text, "{who}"),
                Decided::Default => writeln!(text, "-"),
            };
        }
        fs::write(path, text)
    }

    /// Reads it from a file.
    pub(super) fn read(path: &Path) -> io::Result<Schedule> {
        let text = fs::read_to_string(path)?;
        Schedule::parse(&text).ok_or_else(|| io::Error::other("it is no schedule of sward::sim"))
    }

    fn parse(text: &str) -> Option<Schedule> {
        let mut lines = text.lines().peekable();
        if lines.next()? != "sward::sim schedule 1" {
            return None;
        }
        let seed = lines.next()?.strip_prefix("seed ")?.parse().ok()?;
        let cancel = lines.next_if(|line| line.starts_with("cancel "));
        let cancel_at = match cancel {
            Some(line) => Some(line.strip_prefix("cancel ")?.parse().ok()?),
            None => None,
        };
        let decision = |line: &str| match line {
            "-" => Some(Decided::Default),
            who => who.parse().ok().map(Decided::For),
        };
        Some(Schedule { seed, cancel_at, decisions: lines.map(decision).collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_read_as_it_was_written() {
        let file = std::env::temp_dir().join(format!("sward-sim-test-{}.schedule", std::process::id()));
        for cancel_at in [None, Some(3)] {
            let decisions = vec![Decided::Default, Decided::For(7), Decided::Default];
            let schedule = Schedule { seed: u64::MAX, cancel_at, decisions };
            schedule.write(&file).expect("written");
            assert_eq!(Schedule::read(&file).expect("read"), schedule);
        }
        fs::write(&file, "something else").expect("written");
        assert!(Schedule::read(&file).is_err());
        fs::remove_file(&file).expect("removed");
    }
}
