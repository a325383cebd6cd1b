//! Why a run has failed.

use std::fmt;
use std::time::Duration;

/// Why a run has failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The closure of the check has panicked.
    Panic { message: String },
    /// A coroutine has panicked that nobody joined.
    LostPanic { message: String },
    /// The closure of the check was cancelled, or could not run.
    Unfinished { why: String },
    /// Nothing can run, and nothing will happen any more.
    Deadlock { waits: String },
    /// A wait blocks the run's thread, and nothing else can run.
    Stuck { who: String, call: &'static str },
    /// Coroutines that were alive at the end.
    Leak { count: usize, waits: String },
    /// The run took more steps than allowed.
    Steps { steps: u64, waits: String },
    /// It took more simulated time than allowed.
    Time { limit: Duration, waits: String },
    /// Two runs of the same seed differ.
    Differs { from: String },
}

impl Failure {
    /// Whether both are the same kind of failure, so that one may stand for the other in a smaller schedule.
    pub(super) fn is_like(&self, other: &Failure) -> bool {
        match (self, other) {
            (Failure::Panic { message }, Failure::Panic { message: other })
            | (Failure::LostPanic { message }, Failure::LostPanic { message: other }) => message == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Panic { message } => write!(f, "the check panicked: {message}"),
            Failure::LostPanic { message } => {
                write!(f, "a coroutine panicked, and nobody joined it: {message}")
            }
            Failure::Unfinished { why } => write!(f, "the check's closure has not returned: {why}"),
            Failure::Deadlock { waits } => {
                write!(f, "deadlock: nothing can run, and no timer is set. These wait:{waits}")
            }
            Failure::Stuck { who, call } => write!(
                f,
                "coroutine {who} waits in {call} while it unwinds, in a destructor. Such a wait does not park: \
                 it blocks the thread, and whatever could end it cannot run"
            ),
            Failure::Leak { count: 1, waits } => {
                write!(f, "leak: a coroutine outlives the check:{waits}")
            }
            Failure::Leak { count, waits } => {
                write!(f, "leak: {count} coroutines outlive the check:{waits}")
            }
            Failure::Steps { steps, waits } => {
                write!(f, "the check has not ended after {steps} steps. These wait:{waits}")
            }
            Failure::Time { limit, waits } => {
                write!(f, "the check has not ended after {limit:?} of simulated time. These wait:{waits}")
            }
            Failure::Differs { from } => write!(
                f,
                "two runs of this seed differ, so the program depends on something that is not simulated \
                 (a static that keeps its value from run to run, a thread, the system's clock, hash seeds, \
                 an address, a file, a child):{from}"
            ),
        }
    }
}
